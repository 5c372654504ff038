/* Windows as docs/spec/window.md has them. A component that opens none imports nothing of this. */

#include "window.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define WINDOWS "twocvm:window/windows@1.0.0"
#define IMPORT(interface, function) __attribute__((import_module(interface), import_name(function)))

enum { PAGE_BYTES = 65536, MOST_BYTES = 1 << 30 };

IMPORT(WINDOWS, "size")
uint64_t window_size(const char *port, size_t port_size);

IMPORT(WINDOWS, "place")
void window_place(const char *port, size_t port_size, void *address);

bool open_window(const char *port, struct text *content) {
    uint64_t size = window_size(port, strlen(port));
    if (size > MOST_BYTES) {
        return false;
    }
    size_t room = ((size_t)size + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
    char *memory = aligned_alloc(PAGE_BYTES, room);
    if (memory == NULL && room > 0) {
        return false;
    }
    window_place(port, strlen(port), memory);
    *content = (struct text){memory, (size_t)size};
    return true;
}
