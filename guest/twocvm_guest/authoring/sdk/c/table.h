/* A strict CSV table: a line of column names, then lines with as many cells. */

#ifndef TABLE_H
#define TABLE_H

#include "ports.h"

/* Cells point into the text that was parsed. Cell (row, column) is cells[row * columns + column]. */
struct table {
    size_t rows;
    size_t columns;
    const struct text *names;
    const struct text *cells;
};

/*
 * Parse `content`. Every line, the last one too, ends with a line feed; every cell has at least one character, and only
 * letters, digits and " +-._", so that nothing needs quoting, here or in JSON; no two columns have the same name. False
 * means malformed.
 */
bool parse_table(struct text content, struct table *table);

struct text cell(const struct table *table, size_t row, size_t column);

/* Order by bytes, as memcmp does; a prefix comes first. */
int compare_texts(struct text left, struct text right);

bool equals(struct text text, const char *literal);

/* A decimal number that is finite as a double, with nothing around it. False means that it is not one. */
bool parse_number(struct text text, double *number);

#endif
