#include "writer.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct writer *writer, size_t more) {
    if (writer->failed || more > SIZE_MAX / 4 - writer->size) {
        writer->failed = true;
    } else if (writer->size + more > writer->capacity) {
        size_t capacity = 2 * (writer->size + more);
        char *grown = realloc(writer->at, capacity);
        writer->failed = grown == NULL;
        if (grown != NULL) {
            writer->at = grown;
            writer->capacity = capacity;
        }
    }
    return !writer->failed;
}

void write_text(struct writer *writer, struct text text) {
    if (reserve(writer, text.size)) {
        memcpy(writer->at + writer->size, text.at, text.size);
        writer->size += text.size;
    }
}

void write_format(struct writer *writer, const char *format, ...) {
    char line[512];
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (size < 0 || (size_t)size >= sizeof line) {
        writer->failed = true;
    } else {
        write_text(writer, (struct text){line, (size_t)size});
    }
}

bool write_out(const struct writer *writer, const char *path) {
    return !writer->failed && write_port(path, (struct text){writer->at, writer->size});
}
