/*
 * Multiplies a matrix with a vector for somebody else.
 *
 * As a component it is called with lists that were made in its own memory and are its own from then on, and it returns
 * the place of a list that stays its own. Natively lists belong to the caller, who gets a copy, as through the ABI.
 */

#include <stdlib.h>
#include <string.h>

#include "multiplier.h"

static double *matrix, *x, *y;

static double *room(double *old, size_t count) {
    double *made = realloc(old, count * sizeof *made);
    if (made == NULL) {
        __builtin_trap();
    }
    return made;
}

static void multiply(size_t n) {
    for (size_t i = 0; i < n; i++) {
        double t = 0;
        for (size_t j = 0; j < n; j++) {
            t += matrix[i * n + j] * x[j];
        }
        y[i] = t;
    }
}

static void repeat(size_t n, uint64_t times) {
    for (uint64_t k = 0; k < times; k++) {
        multiply(n);
        double *last = x;
        x = y;
        y = last;
    }
}

#ifdef __wasm__

#define SHOWN(name) __attribute__((export_name(#name)))

static struct numbers result;

static struct numbers *returned(double *at, size_t count) {
    result = (struct numbers){at, count};
    return &result;
}

SHOWN(load) void exported_load(double *a, size_t count) {
    (void)count;
    free(matrix);
    matrix = a;
}

SHOWN(multiply) struct numbers *exported_multiply(double *given, size_t count) {
    free(x);
    x = given;
    y = room(y, count);
    multiply(count);
    return returned(y, count);
}

SHOWN(repeat)
struct numbers *exported_repeat(double *a, size_t a_count, double *given, size_t count, uint64_t times) {
    exported_load(a, a_count);
    free(x);
    x = given;
    y = room(y, count);
    repeat(count, times);
    return returned(x, count);
}

#else

static double *copied(double *old, const double *from, size_t count) {
    return memcpy(room(old, count), from, count * sizeof *from);
}

void multiplier_load(double *a, size_t count) { matrix = copied(matrix, a, count); }

void multiplier_multiply(double *given, size_t count, struct numbers *out) {
    x = copied(x, given, count);
    y = room(y, count);
    multiply(count);
    *out = (struct numbers){copied(NULL, y, count), count};
}

void multiplier_repeat(double *a, size_t a_count, double *given, size_t count, uint64_t times, struct numbers *out) {
    multiplier_load(a, a_count);
    x = copied(x, given, count);
    y = room(y, count);
    repeat(count, times);
    *out = (struct numbers){copied(NULL, x, count), count};
}

#endif
