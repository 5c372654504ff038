/* Sorts random numbers by quicksort, short runs by insertion. */

#include <stdlib.h>

#include "kernel.h"

enum { SHORT = 16 };

static uint64_t *given, *numbers;
static size_t count;

uint64_t prepare(uint64_t size, uint64_t seed) {
    count = (size_t)size;
    given = malloc(count * sizeof *given);
    numbers = malloc(count * sizeof *numbers);
    if (given == NULL || numbers == NULL) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        given[i] = next_random(&seed);
    }
    return 1;
}

static void insert(uint64_t *first, uint64_t *end) {
    for (uint64_t *place = first; place < end; place++) {
        uint64_t number = *place;
        uint64_t *at = place;
        for (; at > first && at[-1] > number; at--) {
            *at = at[-1];
        }
        *at = number;
    }
}

static uint64_t middle(uint64_t one, uint64_t two, uint64_t three) {
    uint64_t least = one < two ? one : two;
    uint64_t most = one < two ? two : one;
    return three < least ? least : three > most ? most : three;
}

static void sort(uint64_t *first, uint64_t *end) {
    while (end - first > SHORT) {
        uint64_t pivot = middle(first[0], first[(end - first) / 2], end[-1]);
        uint64_t *left = first, *right = end - 1;
        for (;; left++, right--) {
            while (*left < pivot) {
                left++;
            }
            while (*right > pivot) {
                right--;
            }
            if (left >= right) {
                break;
            }
            uint64_t number = *left;
            *left = *right;
            *right = number;
        }
        /* The shorter side by itself, the longer one in this loop, so that the stack stays low. */
        if (left - first < end - left) {
            sort(first, left);
            first = left;
        } else {
            sort(left, end);
            end = left;
        }
    }
    insert(first, end);
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        given[k % count] ^= k + 1; /* Other numbers each time. */
        memcpy(numbers, given, count * sizeof *numbers);
        sort(numbers, numbers + count);
        for (size_t i = 0; i < count; i += 97) {
            digest = digested(digest, numbers[i]);
        }
    }
    for (uint64_t k = 0; k < times; k++) {
        given[k % count] ^= k + 1;
    }
    return digest;
}

double value(void) { return (double)numbers[count / 2]; }
