/*
 * @name@: counts and adds up the numbers that it is given.
 *
 * in numbers:  CSV, its one column `number`
 * out summary: JSON, {"count":N,"sum":S}
 */

#include "say.h"
#include "table.h"
#include "writer.h"

static bool add_up(const struct table *table, double *sum) {
    for (size_t row = 0; row < table->rows; row++) {
        double number;
        if (!parse_number(cell(table, row, 0), &number)) {
            say("line %zu: not a number", row + 2);
            return false;
        }
        *sum += number;
    }
    return true;
}

bool run(void) {
    struct text content;
    struct table table;
    struct writer writer = {0};
    double sum = 0;
    if (!read_port("/in/numbers/data", &content) || !parse_table(content, &table) || table.columns != 1) {
        say("numbers: want CSV with one column");
        return false;
    }
    if (!add_up(&table, &sum)) {
        return false;
    }
    write_format(&writer, "{\"count\":%zu,\"sum\":%.17g}\n", table.rows, sum);
    return write_out(&writer, "/out/summary/data");
}
