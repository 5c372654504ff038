/* What multiplies for somebody else: natively by plain calls, as a component through the canonical ABI. */

#ifndef MULTIPLIER_H
#define MULTIPLIER_H

#include <stddef.h>
#include <stdint.h>

/* A `list<f64>`, as the canonical ABI has it. */
struct numbers {
    double *at;
    size_t count;
};

#ifdef __wasm__
#define CALLED(name) __attribute__((import_module("$root"), import_name(#name)))
#else
#define CALLED(name)
#endif

/* Keep a matrix, row by row. */
CALLED(load) void multiplier_load(double *a, size_t count);

/* The matrix times x. */
CALLED(multiply) void multiplier_multiply(double *x, size_t count, struct numbers *y);

/* A matrix times x, that times x again, and so on. */
CALLED(repeat)
void multiplier_repeat(double *a, size_t a_count, double *x, size_t count, uint64_t times, struct numbers *y);

#endif
