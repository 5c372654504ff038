/* What every kernel defines; a host calls it, natively or through a component. */

#ifndef KERNEL_H
#define KERNEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __wasm__
#define SHOWN(name) __attribute__((export_name(#name)))
#else
#define SHOWN(name) __attribute__((visibility("default")))
#endif

/* Make the data. Not timed. Returns 1, or 0 where there is no memory for it. */
SHOWN(prepare) uint64_t prepare(uint64_t size, uint64_t seed);

/* Do one of the steps so many times, and return a digest of the result. */
SHOWN(work) uint64_t work(uint64_t step, uint64_t times);

/* A number that is near the same for results that are near each other. */
SHOWN(value) double value(void);

/* The next of a sequence of random numbers (SplitMix64). */
static inline uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* Evenly in [0, 1). */
static inline double next_fraction(uint64_t *state) { return (double)(next_random(state) >> 11) * 0x1p-53; }

/* One more number into a digest, which begins as 0. */
static inline uint64_t digested(uint64_t digest, uint64_t number) {
    uint64_t mixed = digest ^ number;
    return next_random(&mixed);
}

static inline uint64_t digested_double(uint64_t digest, double number) {
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return digested(digest, bits);
}

#endif
