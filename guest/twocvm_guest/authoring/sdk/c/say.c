/* Standard error through WASI 0.2 itself. A component that never calls `say` imports nothing of this. */

#include "say.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define IMPORT(interface, function) __attribute__((import_module(interface), import_name(function)))

enum { LARGEST_CHARACTERS = 511 };

/* result<_, stream-error>, of which one case has the handle of an error: twelve bytes, and none is looked at. */
struct written {
    uint32_t failed, reason, error;
};

IMPORT("wasi:cli/stderr@0.2.0", "get-stderr")
int32_t get_stderr(void);

IMPORT("wasi:io/streams@0.2.0", "[method]output-stream.blocking-write-and-flush")
void write_and_flush(int32_t stream, const char *bytes, size_t size, struct written *result);

void say(const char *format, ...) {
    char line[LARGEST_CHARACTERS + 2]; /* The line feed, and the zero byte that printf's family ends with. */
    va_list arguments;
    va_start(arguments, format);
    int size = vsnprintf(line, LARGEST_CHARACTERS + 1, format, arguments);
    va_end(arguments);
    if (size < 0) {
        return;
    }
    size_t length = (size_t)size < LARGEST_CHARACTERS ? (size_t)size : LARGEST_CHARACTERS;
    line[length] = '\n';
    struct written result;
    write_and_flush(get_stderr(), line, length + 1, &result); /* Nobody may be listening; that is no failure. */
}
