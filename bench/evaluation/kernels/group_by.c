/* SELECT key, count(*), sum(amount), min(amount), max(amount) GROUP BY key, by hashing; a fourth as many keys as rows. */

#include <stdlib.h>

#include "kernel.h"

struct group {
    uint64_t key; /* 0 is a free place. */
    uint32_t count, least, most;
    uint64_t sum;
};

struct row {
    uint64_t key;
    uint32_t amount;
};

static struct row *rows;
static struct group *groups;
static size_t count, places;

uint64_t prepare(uint64_t size, uint64_t seed) {
    count = (size_t)size;
    for (places = 1; places < count / 2; places *= 2) {
    }
    rows = malloc(count * sizeof *rows);
    groups = malloc(places * sizeof *groups);
    if (rows == NULL || groups == NULL) {
        return 0;
    }
    for (size_t i = 0; i < count; i++) {
        uint64_t key = next_random(&seed) % (count / 4);
        rows[i] = (struct row){next_random(&key) | 1, (uint32_t)next_random(&seed)};
    }
    return 1;
}

static struct group *group_of(uint64_t key) {
    size_t at = (size_t)(key * 0x9e3779b97f4a7c15u >> 20) & (places - 1);
    while (groups[at].key != key && groups[at].key != 0) {
        at = (at + 1) & (places - 1);
    }
    return &groups[at];
}

static void add(const struct row *row) {
    struct group *group = group_of(row->key);
    if (group->key == 0) {
        *group = (struct group){row->key, 0, UINT32_MAX, 0, 0};
    }
    group->count++;
    group->sum += row->amount;
    group->least = row->amount < group->least ? row->amount : group->least;
    group->most = row->amount > group->most ? row->amount : group->most;
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        memset(groups, 0, places * sizeof *groups);
        __asm__ volatile("" : : : "memory"); /* Rows may have changed: each round is to be done. */
        for (size_t i = 0; i < count; i++) {
            add(&rows[i]);
        }
        for (size_t i = 0; i < places; i++) {
            if (groups[i].key != 0) {
                digest += (groups[i].key ^ groups[i].sum) * (groups[i].count + groups[i].least) + groups[i].most;
            }
        }
    }
    return digest;
}

double value(void) { return (double)groups[0].sum; }
