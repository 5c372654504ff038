/*
 * The four kernels of McCalpin's STREAM over arrays of f64: copy, scale, add, triad.
 *
 * The arrays lie in one piece of memory, everywhere alike, and not at the same place of a page: where they do, what one
 * stores holds up what another loads, and which allocator it was decides the result.
 */

#include <stdlib.h>

#include "kernel.h"

enum { LINE = 64, APART = 4096 / 3 / LINE * LINE };

static double *restrict a, *restrict b, *restrict c;
static size_t n;
static const double factor = 3;

uint64_t prepare(uint64_t size, uint64_t seed) {
    n = (size_t)size;
    size_t each = (n * sizeof *a + LINE - 1) / LINE * LINE + APART;
    char *all = aligned_alloc(LINE, 3 * each);
    if (all == NULL) {
        return 0;
    }
    a = (double *)(void *)all;
    b = (double *)(void *)(all + each);
    c = (double *)(void *)(all + 2 * each);
    for (size_t i = 0; i < n; i++) {
        a[i] = next_fraction(&seed);
        b[i] = 2;
        c[i] = 0;
    }
    return 1;
}

static void copy(const double *restrict from, double *restrict to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = from[i];
    }
}

static void scale(const double *restrict from, double *restrict to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = factor * from[i];
    }
}

static void add(const double *restrict one, const double *restrict other, double *restrict to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = one[i] + other[i];
    }
}

static void triad(const double *restrict one, const double *restrict other, double *restrict to) {
    for (size_t i = 0; i < n; i++) {
        to[i] = one[i] + factor * other[i];
    }
}

static uint64_t some_of(const double *numbers) {
    uint64_t digest = 0;
    for (size_t i = 0; i < n; i += 4099) {
        digest = digested_double(digest, numbers[i]);
    }
    return digest;
}

uint64_t work(uint64_t step, uint64_t times) {
    for (uint64_t k = 0; k < times; k++) {
        switch (step) {
        case 0:
            copy(a, c);
            break;
        case 1:
            scale(c, b);
            break;
        case 2:
            add(a, b, c);
            break;
        default:
            /* Into c, so that the next round finds what this one did. */
            triad(a, b, c);
        }
        /* Somebody may have looked at it: so each round is to be done, and none is another one's. */
        __asm__ volatile("" : : : "memory");
    }
    return some_of(step == 1 ? b : c);
}

double value(void) { return c[n / 2]; }
