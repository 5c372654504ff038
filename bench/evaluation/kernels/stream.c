/* The four kernels of McCalpin's STREAM over arrays of f64: copy, scale, add, triad. */

#include <stdlib.h>

#include "kernel.h"

static double *restrict a, *restrict b, *restrict c;
static size_t n;
static const double factor = 3;

uint64_t prepare(uint64_t size, uint64_t seed) {
    n = (size_t)size;
    a = malloc(n * sizeof *a);
    b = malloc(n * sizeof *b);
    c = malloc(n * sizeof *c);
    if (a == NULL || b == NULL || c == NULL) {
        return 0;
    }
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
    }
    return some_of(step == 1 ? b : c);
}

double value(void) { return c[n / 2]; }
