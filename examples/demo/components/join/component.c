/*
 * Joins two tables on their first column, so that only the patients of both go on, in an order that says nothing about
 * either side's. A patient that occurs twice on one side is an error, because the join would be a guess.
 */

#include <stdlib.h>

#include "table.h"
#include "writer.h"

static const struct table *sorted_table; /* What qsort's comparison looks at. */

static int compare_rows(const void *left, const void *right) {
    size_t left_row = *(const size_t *)left;
    size_t right_row = *(const size_t *)right;
    return compare_texts(cell(sorted_table, left_row, 0), cell(sorted_table, right_row, 0));
}

/* The rows of `table` in the order of their patients; NULL where a patient occurs twice. */
static const size_t *sort_rows(const struct table *table) {
    size_t *order = calloc(table->rows, sizeof *order);
    if (order == NULL) {
        return NULL;
    }
    for (size_t i = 0; i < table->rows; i++) {
        order[i] = i;
    }
    sorted_table = table;
    qsort(order, table->rows, sizeof *order, compare_rows);
    for (size_t i = 1; i < table->rows; i++) {
        if (compare_rows(&order[i - 1], &order[i]) == 0) {
            return NULL;
        }
    }
    return order;
}

/* Write the cells of one line of `table` from column `from` on, each after a comma. */
static void write_cells(struct writer *writer, const struct text *cells, size_t from, size_t columns) {
    for (size_t column = from; column < columns; column++) {
        write_text(writer, (struct text){",", 1});
        write_text(writer, cells[column]);
    }
}

static void write_line(struct writer *writer, struct text patient, const struct text *features, size_t feature_columns,
                       const struct text *diagnoses, size_t diagnosis_columns) {
    write_text(writer, patient);
    write_cells(writer, features, 1, feature_columns);
    write_cells(writer, diagnoses, 1, diagnosis_columns);
    write_text(writer, (struct text){"\n", 1});
}

static bool join(const struct table *features, const struct table *diagnoses, struct writer *writer) {
    const size_t *left = sort_rows(features);
    const size_t *right = sort_rows(diagnoses);
    if (left == NULL || right == NULL) {
        return false;
    }
    write_line(writer, features->names[0], features->names, features->columns, diagnoses->names, diagnoses->columns);
    for (size_t i = 0, j = 0; i < features->rows && j < diagnoses->rows;) {
        struct text patient = cell(features, left[i], 0);
        int order = compare_texts(patient, cell(diagnoses, right[j], 0));
        if (order == 0) {
            write_line(writer, patient, &features->cells[left[i] * features->columns], features->columns,
                       &diagnoses->cells[right[j] * diagnoses->columns], diagnoses->columns);
        }
        i += order <= 0;
        j += order >= 0;
    }
    return true;
}

bool run(void) {
    struct text content;
    struct table features, diagnoses;
    struct writer writer = {0};
    return read_port("/in/features/data", &content) && parse_table(content, &features) &&
           read_port("/in/diagnoses/data", &content) && parse_table(content, &diagnoses) &&
           equals(features.names[0], "patient") && equals(diagnoses.names[0], "patient") &&
           join(&features, &diagnoses, &writer) && write_out(&writer, "/out/table/data");
}
