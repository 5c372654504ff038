/* Breadth first through a random graph of eight edges a vertex, from another vertex each time. */

#include <stdlib.h>

#include "kernel.h"

enum { DEGREE = 8, UNSEEN = -1 };

static uint32_t *begins, *ends_at, *waiting;
static int32_t *depth;
static size_t vertices;
static uint64_t reached;

uint64_t prepare(uint64_t size, uint64_t seed) {
    vertices = (size_t)size;
    begins = malloc((vertices + 1) * sizeof *begins);
    ends_at = malloc(vertices * DEGREE * sizeof *ends_at);
    waiting = malloc(vertices * sizeof *waiting);
    depth = malloc(vertices * sizeof *depth);
    if (begins == NULL || ends_at == NULL || waiting == NULL || depth == NULL) {
        return 0;
    }
    for (size_t i = 0; i <= vertices; i++) {
        begins[i] = (uint32_t)(i * DEGREE);
    }
    for (size_t i = 0; i < vertices * DEGREE; i++) {
        ends_at[i] = (uint32_t)(next_random(&seed) % vertices);
    }
    return 1;
}

static uint64_t search(uint32_t from) {
    uint64_t sum = 0;
    size_t first = 0, last = 0;
    for (size_t i = 0; i < vertices; i++) {
        depth[i] = UNSEEN;
    }
    depth[from] = 0;
    waiting[last++] = from;
    while (first < last) {
        uint32_t vertex = waiting[first++];
        int32_t next = depth[vertex] + 1;
        sum += (uint64_t)next;
        for (uint32_t edge = begins[vertex]; edge < begins[vertex + 1]; edge++) {
            uint32_t other = ends_at[edge];
            if (depth[other] == UNSEEN) {
                depth[other] = next;
                waiting[last++] = other;
            }
        }
    }
    reached = last;
    return sum;
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        digest = digested(digest, search((uint32_t)(k * 7919 % vertices)));
    }
    return digest;
}

double value(void) { return (double)reached; }
