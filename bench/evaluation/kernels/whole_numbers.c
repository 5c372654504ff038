/*
 * A matrix times a vector, both of small whole numbers in f64: exact, whoever computes it, by whichever method.
 *
 * Every product has the vector turned one further, so that nothing can be left out; the last one has it as it is.
 */

#include <stdlib.h>

#include "kernel.h"

enum { MOST = 15 };

static double *a, *x, *y;
static size_t n;

uint64_t prepare(uint64_t size, uint64_t seed) {
    n = (size_t)size;
    a = malloc(n * n * sizeof *a);
    x = malloc(2 * n * sizeof *x);
    y = malloc(n * sizeof *y);
    if (a == NULL || x == NULL || y == NULL) {
        return 0;
    }
    for (size_t i = 0; i < n * n; i++) {
        a[i] = (double)(next_random(&seed) & MOST);
    }
    for (size_t i = 0; i < n; i++) {
        x[i] = x[n + i] = (double)(next_random(&seed) & MOST);
    }
    return 1;
}

static void multiply(const double *by) {
    for (size_t i = 0; i < n; i++) {
        double t = 0;
        for (size_t j = 0; j < n; j++) {
            t += a[i * n + j] * by[j];
        }
        y[i] = t;
    }
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    for (uint64_t left = times; left > 0; left--) {
        multiply(x + (left - 1) % n);
        __asm__ volatile("" : : "r"(y) : "memory"); /* Somebody may have looked at it. */
    }
    uint64_t digest = 0;
    for (size_t i = 0; i < n; i++) {
        digest = digested_double(digest, y[i]);
    }
    return digest;
}

double value(void) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += (double)(i + 1) * y[i];
    }
    return sum;
}
