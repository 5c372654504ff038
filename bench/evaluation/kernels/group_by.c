/* SELECT key, count(*), sum(amount), min(amount), max(amount) GROUP BY key, by hashing; a fourth as many keys as rows.
 *
 * Rows are taken by the block, as in vectorised engines: the groups of all of them are found, then each row is added to
 * its group. Finding is what waits for memory, and the shorter its loop is, the more rows wait at once. */

#include <stdlib.h>

#include "kernel.h"

enum { BLOCK = 1024 };

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
static unsigned shift; /* Of a hash, to leave as many bits as number the places. */

uint64_t prepare(uint64_t size, uint64_t seed) {
    count = (size_t)size;
    for (places = 2, shift = 63; places < count / 2; places *= 2) {
        shift--;
    }
    rows = malloc(count * sizeof *rows);
    groups = aligned_alloc(sizeof *groups, places * sizeof *groups); /* None lies in two lines of a cache. */
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
    struct group *group = &groups[key * 0x9e3779b97f4a7c15u >> shift];
    while (group->key != key) {
        if (group->key == 0) {
            *group = (struct group){key, 0, UINT32_MAX, 0, 0};
            break;
        }
        group = group + 1 < groups + places ? group + 1 : groups;
    }
    return group;
}

static void add(struct group *group, const struct row *row) {
    group->count++;
    group->sum += row->amount;
    group->least = row->amount < group->least ? row->amount : group->least;
    group->most = row->amount > group->most ? row->amount : group->most;
}

static void add_block(const struct row *first, const struct row *end) {
    struct group *found[BLOCK], **group = found;
    for (const struct row *row = first; row < end; row++) {
        *group++ = group_of(row->key);
    }
    group = found;
    for (const struct row *row = first; row < end; row++) {
        add(*group++, row);
    }
}

static uint64_t digest_of_groups(void) {
    uint64_t digest = 0;
    for (const struct group *group = groups; group < groups + places; group++) {
        digest += (group->key ^ group->sum) * (group->count + group->least) + group->most; /* Of a free place 0. */
    }
    return digest;
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        memset(groups, 0, places * sizeof *groups);
        __asm__ volatile("" : : : "memory"); /* Rows may have changed: each round is to be done. */
        for (size_t i = 0; i < count; i += BLOCK) {
            add_block(&rows[i], &rows[count - i < BLOCK ? count : i + BLOCK]);
        }
        digest += digest_of_groups();
    }
    return digest;
}

double value(void) { return (double)groups[0].sum; }
