/* SELECT sum(price * discount) WHERE day BETWEEN, over three columns that are read from end to end. */

#include <stdlib.h>

#include "kernel.h"

enum { LANES = 8, DAYS = 2048, FIRST_DAY = 400, LAST_DAY = 1200 };

static double *price, *discount;
static uint32_t *day;
static size_t rows;
static double total;

uint64_t prepare(uint64_t size, uint64_t seed) {
    rows = (size_t)size / LANES * LANES;
    price = malloc(rows * sizeof *price);
    discount = malloc(rows * sizeof *discount);
    day = malloc(rows * sizeof *day);
    if (price == NULL || discount == NULL || day == NULL) {
        return 0;
    }
    for (size_t i = 0; i < rows; i++) {
        price[i] = next_fraction(&seed) * 1000;
        discount[i] = next_fraction(&seed);
        day[i] = (uint32_t)(next_random(&seed) % DAYS);
    }
    return 1;
}

/* Sums have an order, and each lane its own, so that a compiler may take several rows at once. */
static double pass(void) {
    double sums[LANES] = {0};
    for (size_t i = 0; i < rows; i += LANES) {
        for (size_t lane = 0; lane < LANES; lane++) {
            double taken = day[i + lane] - FIRST_DAY <= LAST_DAY - FIRST_DAY;
            sums[lane] += price[i + lane] * discount[i + lane] * taken;
        }
    }
    double sum = 0;
    for (size_t lane = 0; lane < LANES; lane++) {
        sum += sums[lane];
    }
    return sum;
}

uint64_t work(uint64_t step, uint64_t times) {
    (void)step;
    uint64_t digest = 0;
    for (uint64_t k = 0; k < times; k++) {
        price[k % rows] *= -1; /* Another table each time. */
        total = pass();
        digest = digested_double(digest, total);
    }
    for (uint64_t k = 0; k < times; k++) {
        price[k % rows] *= -1;
    }
    return digest;
}

double value(void) { return total; }
