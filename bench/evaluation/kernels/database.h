/* SQLite behind one function: natively a plain call, as a component `request: func(query: string) -> result<u64, u32>`. */

#ifndef DATABASE_H
#define DATABASE_H

#include <stddef.h>
#include <stdint.h>

/* As the canonical ABI lays out `result<u64, u32>`: how many rows there were, or SQLite's code. */
struct answer {
    uint8_t failed;
    union {
        uint64_t rows;
        uint32_t code;
    };
};

_Static_assert(offsetof(struct answer, rows) == 8, "result<u64, u32>");

#ifdef __wasm__
#define CALLED(name) __attribute__((import_module("$root"), import_name(#name)))
#else
#define CALLED(name)
#endif

CALLED(request) void database_request(const char *query, size_t size, struct answer *answer);

#endif
