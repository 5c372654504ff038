/*
 * Fits a logistic regression on seven tenths of the patients and evaluates it on the rest. Who is in which part follows
 * from the patient's name alone, so that the same patients always give the same result, in whatever order they come.
 */

#include <stdint.h>
#include <stdlib.h>

#include "evaluation.h"
#include "model.h"
#include "table.h"
#include "writer.h"

enum { PARTS = 10, PARTS_FOR_EVALUATION = 3 };

/* FNV-1a, 64 bits. */
static uint64_t hash(struct text text) {
    uint64_t value = 0xcbf29ce484222325;
    for (size_t i = 0; i < text.size; i++) {
        value = (value ^ (unsigned char)text.at[i]) * 0x100000001b3;
    }
    return value;
}

static bool is_for_evaluation(struct text patient) { return hash(patient) % PARTS < PARTS_FOR_EVALUATION; }

static bool parse_label(struct text diagnosis, double *label) {
    *label = equals(diagnosis, "malignant") ? 1 : 0;
    return *label > 0 || equals(diagnosis, "benign");
}

static bool is_complete(const struct table *table) {
    return table->columns >= 3 && equals(table->names[0], "patient") &&
           equals(table->names[table->columns - 1], "diagnosis");
}

/* Take the rows of one part out of the table, as numbers. */
static bool select_samples(const struct table *table, bool for_evaluation, struct samples *samples) {
    size_t features = table->columns - 2, count = 0;
    double *values = calloc(table->rows, features * sizeof *values);
    double *labels = calloc(table->rows, sizeof *labels);
    if (values == NULL || labels == NULL) {
        return false;
    }
    for (size_t row = 0; row < table->rows; row++) {
        if (is_for_evaluation(cell(table, row, 0)) != for_evaluation) {
            continue;
        }
        for (size_t feature = 0; feature < features; feature++) {
            if (!parse_number(cell(table, row, feature + 1), &values[count * features + feature])) {
                return false;
            }
        }
        if (!parse_label(cell(table, row, table->columns - 1), &labels[count])) {
            return false;
        }
        count++;
    }
    *samples = (struct samples){count, features, values, labels};
    return true;
}

/* Numbers have 17 significant digits, from which a double can be read back exactly. */
static bool write_model(const struct model *model, const struct text *names, size_t fitted_on) {
    struct writer writer = {0};
    write_format(&writer, "{\"kind\": \"logistic-regression\", \"predicts\": \"malignant\",\n");
    write_format(&writer, " \"fitted_on\": %zu,\n", fitted_on);
    write_format(&writer, " \"ridge\": %.17g, \"intercept\": %.17g,\n \"coefficients\": {", RIDGE, model->intercept);
    for (size_t i = 0; i < model->features; i++) {
        write_format(&writer, "%s\n  \"%.*s\": %.17g", i > 0 ? "," : "", (int)names[i].size, names[i].at,
                     model->coefficients[i]);
    }
    write_format(&writer, "}}\n");
    return write_out(&writer, "/out/model/data");
}

static bool write_evaluation(const struct evaluation *evaluation, size_t fitted_on) {
    struct writer writer = {0};
    write_format(&writer, "{\"fitted_on\": %zu, \"evaluated_on\": %zu,\n", fitted_on, evaluation->samples);
    write_format(&writer, " \"true_positives\": %zu, \"false_positives\": %zu,\n", evaluation->true_positives,
                 evaluation->false_positives);
    write_format(&writer, " \"true_negatives\": %zu, \"false_negatives\": %zu,\n", evaluation->true_negatives,
                 evaluation->false_negatives);
    write_format(&writer, " \"accuracy\": %.17g, \"log_loss\": %.17g, \"auc\": %.17g}\n", evaluation->accuracy,
                 evaluation->log_loss, evaluation->area);
    return write_out(&writer, "/out/evaluation/data");
}

bool run(void) {
    struct text content;
    struct table table;
    struct samples training, testing;
    struct model model;
    struct evaluation evaluation;
    return read_port("/in/table/data", &content) && parse_table(content, &table) && is_complete(&table) &&
           select_samples(&table, false, &training) && select_samples(&table, true, &testing) &&
           fit(&training, &model) && evaluate(&model, &testing, &evaluation) &&
           write_model(&model, &table.names[1], training.count) &&
           write_evaluation(&evaluation, training.count);
}
