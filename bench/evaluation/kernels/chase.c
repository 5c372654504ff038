/* Follows a random ring of numbers, each of which is the place of the next; every step waits for the one before. */

#include <stdlib.h>

#include "kernel.h"

static uint32_t *next;
static uint32_t at;

uint64_t prepare(uint64_t size, uint64_t seed) {
    size_t places = (size_t)size / sizeof *next;
    next = malloc(places * sizeof *next);
    if (next == NULL) {
        return 0;
    }
    for (size_t i = 0; i < places; i++) {
        next[i] = (uint32_t)i;
    }
    /* Sattolo's way of shuffling leaves one single ring. */
    for (size_t i = places - 1; i > 0; i--) {
        size_t other = next_random(&seed) % i;
        uint32_t last = next[i];
        next[i] = next[other];
        next[other] = last;
    }
    return 1;
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    at = 0;
    for (uint64_t k = 0; k < times; k++) {
        at = next[at];
    }
    return at;
}

double value(void) { return (double)at; }
