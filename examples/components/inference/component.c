/*
 * A small neural network: one participant's weights on another's features. Neither sees what the other has.
 *
 * in weights:  CSV `layer,unit,input,weight`; `input` is the number of a column or of a unit before, or `bias`. Layer 0
 *              takes the columns, layer 1 its units, through the greater of their value and 0; layer 1 has one unit.
 * in features: CSV `NAME,...`, a name for each line and then numbers
 * out scores:  CSV `NAME,score`, the logistic function of what comes out
 */

#include <math.h>

#include "say.h"
#include "table.h"
#include "writer.h"

enum { MOST_INPUTS = 64, MOST_UNITS = 64 };

struct network {
    size_t inputs, units;
    double hidden[MOST_UNITS][MOST_INPUTS + 1]; /* The last weight of each unit is its bias. */
    double last[MOST_UNITS + 1];
};

/* A whole number from 0 to `most`. */
static bool parse_index(struct text text, size_t most, size_t *index) {
    double number;
    if (!parse_number(text, &number) || !(number >= 0 && number <= (double)most) || number != floor(number)) {
        return false;
    }
    *index = (size_t)number;
    return true;
}

/* Put one line of the weights where it belongs. A weight that is given twice is the later one. */
static bool take_weight(struct network *network, const struct table *table, size_t row) {
    size_t layer, unit, input;
    double weight;
    if (!parse_index(cell(table, row, 0), 1, &layer) || !parse_index(cell(table, row, 1), MOST_UNITS - 1, &unit) ||
        !parse_number(cell(table, row, 3), &weight)) {
        return false;
    }
    size_t bias = layer == 0 ? MOST_INPUTS : MOST_UNITS;
    if (equals(cell(table, row, 2), "bias")) {
        input = bias;
    } else if (!parse_index(cell(table, row, 2), bias - 1, &input)) {
        return false;
    }
    if (layer == 0) {
        network->hidden[unit][input] = weight;
        network->units = unit >= network->units ? unit + 1 : network->units;
        network->inputs = input != bias && input >= network->inputs ? input + 1 : network->inputs;
        return true;
    }
    network->last[input] = weight;
    return unit == 0;
}

static bool read_network(struct network *network) {
    struct text content;
    struct table table;
    if (!read_port("/in/weights/data", &content) || !parse_table(content, &table) || table.columns != 4) {
        say("weights: want CSV layer,unit,input,weight");
        return false;
    }
    for (size_t row = 0; row < table.rows; row++) {
        if (!take_weight(network, &table, row)) {
            say("weights: line %zu is none", row + 2);
            return false;
        }
    }
    return true;
}

static double score(const struct network *network, const double *features) {
    double sum = network->last[MOST_UNITS];
    for (size_t unit = 0; unit < network->units; unit++) {
        const double *weights = network->hidden[unit];
        double value = weights[MOST_INPUTS];
        for (size_t i = 0; i < network->inputs; i++) {
            value += weights[i] * features[i];
        }
        sum += value > 0 ? value * network->last[unit] : 0;
    }
    return 1 / (1 + exp(-sum));
}

static bool write_scores(const struct network *network, const struct table *table, struct writer *writer) {
    write_text(writer, table->names[0]);
    write_format(writer, ",score\n");
    for (size_t row = 0; row < table->rows; row++) {
        double features[MOST_INPUTS];
        for (size_t i = 0; i < network->inputs; i++) {
            if (!parse_number(cell(table, row, i + 1), &features[i])) {
                say("features: line %zu: not a number", row + 2);
                return false;
            }
        }
        write_text(writer, cell(table, row, 0));
        write_format(writer, ",%.17g\n", score(network, features));
    }
    return true;
}

bool run(void) {
    static struct network network;
    struct text content;
    struct table table;
    struct writer writer = {0};
    if (!read_network(&network)) {
        return false;
    }
    if (!read_port("/in/features/data", &content) || !parse_table(content, &table) ||
        table.columns != network.inputs + 1) {
        say("features: want CSV with a name and %zu numbers", network.inputs);
        return false;
    }
    return write_scores(&network, &table, &writer) && write_out(&writer, "/out/scores/data");
}
