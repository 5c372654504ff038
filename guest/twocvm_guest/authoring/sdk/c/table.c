#include "table.h"

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_COLUMNS = 256, LONGEST_CELL = 63 };

static bool is_allowed(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr(" +-._", c) != NULL);
}

/* Take one cell and the separator after it from the front of `rest`. */
static bool take_cell(struct text *rest, struct text *taken, char *separator) {
    size_t size = 0;
    while (size < rest->size && is_allowed(rest->at[size])) {
        size++;
    }
    if (size == 0 || size > LONGEST_CELL || size == rest->size) {
        return false;
    }
    *taken = (struct text){rest->at, size};
    *separator = rest->at[size];
    rest->at += size + 1;
    rest->size -= size + 1;
    return *separator == ',' || *separator == '\n';
}

static size_t count_lines(struct text content) {
    size_t lines = 0;
    for (size_t i = 0; i < content.size; i++) {
        lines += content.at[i] == '\n';
    }
    return lines;
}

static bool is_among(const struct text *names, size_t count, struct text name) {
    for (size_t i = 0; i < count; i++) {
        if (compare_texts(names[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool parse_names(struct text *rest, struct text *names, size_t *columns) {
    char separator = ',';
    for (*columns = 0; separator == ','; (*columns)++) {
        if (*columns == MOST_COLUMNS || !take_cell(rest, &names[*columns], &separator) ||
            is_among(names, *columns, names[*columns])) {
            return false;
        }
    }
    return true;
}

bool parse_table(struct text content, struct table *table) {
    struct text *names = calloc(MOST_COLUMNS, sizeof *names);
    size_t columns = 0;
    if (names == NULL || !parse_names(&content, names, &columns)) {
        return false;
    }
    size_t rows = count_lines(content);
    if (rows > SIZE_MAX / columns) {
        return false;
    }
    struct text *cells = calloc(rows * columns, sizeof *cells);
    if (cells == NULL) {
        return false;
    }
    for (size_t i = 0; i < rows * columns; i++) {
        char separator;
        char expected = (i + 1) % columns == 0 ? '\n' : ',';
        if (!take_cell(&content, &cells[i], &separator) || separator != expected) {
            return false;
        }
    }
    *table = (struct table){rows, columns, names, cells};
    return content.size == 0;
}

struct text cell(const struct table *table, size_t row, size_t column) {
    return table->cells[row * table->columns + column];
}

int compare_texts(struct text left, struct text right) {
    size_t common = left.size < right.size ? left.size : right.size;
    int order = memcmp(left.at, right.at, common);
    return order != 0 ? order : (left.size > right.size) - (left.size < right.size);
}

bool equals(struct text text, const char *literal) {
    return compare_texts(text, (struct text){literal, strlen(literal)}) == 0;
}

bool parse_number(struct text text, double *number) {
    char digits[LONGEST_CELL + 1];
    /* strspn ends at the latest at the separator, which follows every cell. */
    if (text.size == 0 || text.size > LONGEST_CELL || strspn(text.at, "0123456789+-.eE") < text.size) {
        return false;
    }
    memcpy(digits, text.at, text.size);
    digits[text.size] = '\0';
    char *end;
    *number = strtod(digits, &end);
    return *end == '\0' && isfinite(*number);
}
