/* A product of dense matrices of f32, the innermost loop along the rows, four rows at a time. */

#include <stdlib.h>

#include "kernel.h"

enum { TILE = 64, ROWS = 4 };

static float *a, *b, *c;
static size_t n;

uint64_t prepare(uint64_t size, uint64_t seed) {
    n = (size_t)size / TILE * TILE;
    a = malloc(n * n * sizeof *a);
    b = malloc(n * n * sizeof *b);
    c = malloc(n * n * sizeof *c);
    if (a == NULL || b == NULL || c == NULL) {
        return 0;
    }
    for (size_t i = 0; i < n * n; i++) {
        a[i] = (float)next_fraction(&seed);
        b[i] = (float)next_fraction(&seed);
    }
    return 1;
}

/* Four rows of c += four numbers of a, one of each of its rows, times one row of b. */
static void add_rows(float *restrict c0, float *restrict c1, float *restrict c2, float *restrict c3,
                     const float *restrict row, const float *left) {
    float a0 = left[0], a1 = left[n], a2 = left[2 * n], a3 = left[3 * n];
    for (size_t j = 0; j < n; j++) {
        c0[j] += a0 * row[j];
        c1[j] += a1 * row[j];
        c2[j] += a2 * row[j];
        c3[j] += a3 * row[j];
    }
}

static void multiply(void) {
    memset(c, 0, n * n * sizeof *c);
    for (size_t first = 0; first < n; first += TILE) {
        for (size_t i = 0; i < n; i += ROWS) {
            float *out = c + i * n;
            for (size_t k = first; k < first + TILE; k++) {
                add_rows(out, out + n, out + 2 * n, out + 3 * n, b + k * n, a + i * n + k);
            }
        }
    }
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        a[k % (n * n)] *= -1; /* Another matrix each time. */
        multiply();
        for (size_t i = 0; i < n * n; i += 31) {
            digest = digested_double(digest, (double)c[i]);
        }
    }
    for (uint64_t k = 0; k < times; k++) {
        a[k % (n * n)] *= -1;
    }
    return digest;
}

double value(void) {
    double sum = 0;
    for (size_t i = 0; i < n * n; i++) {
        sum += (double)c[i];
    }
    return sum;
}
