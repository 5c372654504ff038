/*
 * Makes a matrix and has it multiplied by somebody else.
 *
 * step 0: the matrix crosses once, and is multiplied again and again on the other side
 * step 1: the matrix is there already; each vector crosses, and each product comes back
 */

#include <stdlib.h>

#include "kernel.h"
#include "multiplier.h"

static double *a, *x;
static size_t n;

uint64_t prepare(uint64_t size, uint64_t seed) {
    n = (size_t)size;
    a = malloc(n * n * sizeof *a);
    x = malloc(n * sizeof *x);
    if (a == NULL || x == NULL) {
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        double sum = 0;
        for (size_t j = 0; j < n; j++) {
            sum += a[i * n + j] = next_fraction(&seed);
        }
        for (size_t j = 0; j < n; j++) {
            a[i * n + j] /= sum;
        }
    }
    multiplier_load(a, n * n);
    return 1;
}

static void take(struct numbers result) {
    memcpy(x, result.at, n * sizeof *x);
    free(result.at);
}

uint64_t work(uint64_t step, uint64_t times) {
    struct numbers y;
    for (size_t i = 0; i < n; i++) {
        x[i] = (double)(i + 1);
    }
    if (step == 0) {
        multiplier_repeat(a, n * n, x, n, times, &y);
        take(y);
    }
    for (uint64_t k = 0; step == 1 && k < times; k++) {
        multiplier_multiply(x, n, &y);
        take(y);
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
