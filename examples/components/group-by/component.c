/*
 * SELECT key, count(*), sum(value), min(value), max(value) FROM (a UNION ALL b) GROUP BY key ORDER BY key
 *
 * in a, in b: CSV of two columns, a key and a number; both have the same names of columns
 * out groups: CSV KEY,count,sum,minimum,maximum, one line a key, in the order of the keys' bytes
 *
 * The sum is of the numbers in the order of their size, so that it is the same whichever side they come from.
 */

#include <stdlib.h>

#include "say.h"
#include "table.h"
#include "writer.h"

struct row {
    struct text key;
    double value;
};

static int compare_rows(const void *left, const void *right) {
    const struct row *one = left, *other = right;
    int order = compare_texts(one->key, other->key);
    return order != 0 ? order : (one->value > other->value) - (one->value < other->value);
}

static bool append(const struct table *table, struct row *rows) {
    for (size_t i = 0; i < table->rows; i++) {
        rows[i].key = cell(table, i, 0);
        if (!parse_number(cell(table, i, 1), &rows[i].value)) {
            say("line %zu: not a number", i + 2);
            return false;
        }
    }
    return true;
}

/* Write the group that begins at `rows` and return how many rows it has. */
static size_t write_group(struct writer *writer, const struct row *rows, size_t left) {
    size_t count = 0;
    double sum = 0;
    while (count < left && compare_texts(rows[count].key, rows[0].key) == 0) {
        sum += rows[count++].value;
    }
    write_text(writer, rows[0].key);
    write_format(writer, ",%zu,%.17g,%.17g,%.17g\n", count, sum, rows[0].value, rows[count - 1].value);
    return count;
}

static bool read_table(const char *path, struct table *table) {
    struct text content;
    if (read_port(path, &content) && parse_table(content, table) && table->columns == 2) {
        return true;
    }
    say("%s: want CSV of two columns", path);
    return false;
}

bool run(void) {
    struct table a, b;
    struct writer writer = {0};
    if (!read_table("/in/a/data", &a) || !read_table("/in/b/data", &b)) {
        return false;
    }
    if (compare_texts(a.names[0], b.names[0]) != 0 || compare_texts(a.names[1], b.names[1]) != 0) {
        say("the two sides name their columns differently");
        return false;
    }
    size_t count = a.rows + b.rows;
    struct row *rows = calloc(count + 1, sizeof *rows);
    if (rows == NULL || !append(&a, rows) || !append(&b, rows + a.rows)) {
        return false;
    }
    qsort(rows, count, sizeof *rows, compare_rows);
    write_text(&writer, a.names[0]);
    write_format(&writer, ",count,sum,minimum,maximum\n");
    for (size_t i = 0; i < count;) {
        i += write_group(&writer, rows + i, count - i);
    }
    return write_out(&writer, "/out/groups/data");
}
