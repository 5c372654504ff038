/* The ports of a component, which the profile `files` gives as files: /in/PORT/data and /out/PORT/data. */

#ifndef PORTS_H
#define PORTS_H

#include <stdbool.h>
#include <stddef.h>

/* Bytes that somebody else owns. */
struct text {
    const char *at;
    size_t size;
};

/* Read the whole of the file at `path`. False means that it is absent, unreadable or too large for memory. */
bool read_port(const char *path, struct text *content);

/* Create the file at `path` with this content. */
bool write_port(const char *path, struct text content);

/* What a component does, defined once in each: true is success. Exported as wasi:cli/run. */
bool run(void);

#endif
