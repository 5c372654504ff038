/* A text that grows as it is written. */

#ifndef WRITER_H
#define WRITER_H

#include "ports.h"

/* Starts as all zero. `failed` is set once there was no memory, and from then on nothing changes any more. */
struct writer {
    char *at;
    size_t size;
    size_t capacity;
    bool failed;
};

void write_text(struct writer *writer, struct text text);

/* As printf has it, up to 511 characters at a time. */
void write_format(struct writer *writer, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Write all of it to a port; false where writing anything failed before. */
bool write_out(const struct writer *writer, const char *path);

#endif
