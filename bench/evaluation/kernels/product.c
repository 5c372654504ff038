/* A matrix times a vector, again and again, all in one: what was y is the next x, so that nothing can be left out. */

#include <stdlib.h>

#include "kernel.h"

static double *a, *x, *y;
static size_t n;

uint64_t prepare(uint64_t size, uint64_t seed) {
    n = (size_t)size;
    a = malloc(n * n * sizeof *a);
    x = malloc(n * sizeof *x);
    y = malloc(n * sizeof *y);
    if (a == NULL || x == NULL || y == NULL) {
        return 0;
    }
    /* Each row's sum is 1, so that however often it is done, the numbers stay of one size. */
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++) {
            sum += a[i * n + j] = next_fraction(&seed);
        }
        for (size_t j = 0; j < n; j++) {
            a[i * n + j] /= sum;
        }
    }
    return 1;
}

static void multiply(void) {
    for (size_t i = 0; i < n; i++) {
        double t = 0;
        for (size_t j = 0; j < n; j++) {
            t += a[i * n + j] * x[j];
        }
        y[i] = t;
    }
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    for (size_t i = 0; i < n; i++) {
        x[i] = (double)(i + 1);
    }
    for (uint64_t k = 0; k < times; k++) {
        multiply();
        double *last = x;
        x = y;
        y = last;
    }
    uint64_t digest = 0;
    for (size_t i = 0; i < n; i++) {
        digest = digested_double(digest, x[i]);
    }
    return digest;
}

double value(void) {
    double sum = 0;
    for (size_t i = 0; i < n; i++) {
        sum += x[i];
    }
    return sum;
}
