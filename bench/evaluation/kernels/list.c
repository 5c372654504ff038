/*
 * Walks a list of nodes of 16 bytes that lie in random order, again and again; where each walk ends is the result.
 *
 * The last node leads to the first. So every step waits for the one before, that of another walk too: a processor cannot
 * do several walks at once, which it does of short lists that end.
 */

#include <stdlib.h>

#include "kernel.h"

struct node {
    struct node *next;
    uint64_t number; /* On 32 bits the pointer is half as long, and the node is not. */
};

_Static_assert(sizeof(struct node) == 16, "a node is 16 bytes everywhere");

static struct node *nodes;
static struct node *first;
static uint64_t sum;

uint64_t prepare(uint64_t size, uint64_t seed) {
    size_t count = (size_t)size / sizeof *nodes;
    size_t *order = malloc(count * sizeof *order);
    nodes = malloc(count * sizeof *nodes);
    if (nodes == NULL || order == NULL) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        order[i] = i;
    }
    for (size_t i = count - 1; i > 0; i--) {
        size_t other = next_random(&seed) % (i + 1);
        size_t last = order[i];
        order[i] = order[other];
        order[other] = last;
    }
    for (size_t i = 0; i < count; i++) {
        nodes[order[i]] = (struct node){&nodes[order[(i + 1) % count]], i + 1};
    }
    first = &nodes[order[0]];
    free(order);
    return 1;
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    sum = 0;
    const struct node *node = first;
    for (uint64_t k = 0; k < times; k++) {
        do {
            node = node->next;
        } while (node != first);
        sum += (uint64_t)(node - nodes) + node->number;
        /* Neither what is in memory nor where the walk is, is known to a compiler: each walk is to be walked. */
        __asm__ volatile("" : "+r"(node) : : "memory");
    }
    return sum;
}

double value(void) { return (double)sum; }
