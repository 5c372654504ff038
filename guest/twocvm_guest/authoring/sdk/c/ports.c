/*
 * Files through WASI 0.2 itself, without a C library's idea of files: four imported functions, called by the canonical
 * ABI of the component model. A result comes back in memory whose layout the structures here repeat.
 *
 * Descriptors and memory are never given back, because a component runs once.
 */

#include "ports.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define IMPORT(interface, function) __attribute__((import_module(interface), import_name(function)))
#define EXPORT(name) __attribute__((export_name(name)))
#define PREOPENS "wasi:filesystem/preopens@0.2.0"
#define TYPES "wasi:filesystem/types@0.2.0"

enum { OPEN_CREATE = 1, OPEN_EXCLUSIVE = 4 };            /* open-flags */
enum { DESCRIPTOR_READ = 1, DESCRIPTOR_WRITE = 2 };      /* descriptor-flags */
enum { FIRST_READ_BYTES = 65536, LARGEST_BYTES = 1 << 30 };

struct preopen {
    int32_t descriptor;
    struct text name;
};

struct preopens {
    const struct preopen *at;
    size_t count;
};

struct open_result {
    uint8_t failed;
    int32_t descriptor;
};

struct read_result {
    uint8_t failed;
    struct text bytes;
    bool at_end;
};

struct write_result {
    uint8_t failed;
    uint64_t written;
};

_Static_assert(sizeof(struct preopen) == 12, "tuple<own<descriptor>, string>");
_Static_assert(offsetof(struct open_result, descriptor) == 4, "result<own<descriptor>, error-code>");
_Static_assert(offsetof(struct read_result, at_end) == 12, "result<tuple<list<u8>, bool>, error-code>");
_Static_assert(offsetof(struct write_result, written) == 8, "result<filesize, error-code>");

IMPORT(PREOPENS, "get-directories")
void get_directories(struct preopens *result);

IMPORT(TYPES, "[method]descriptor.open-at")
void open_at(int32_t directory, int32_t path_flags, const char *path, size_t path_size, int32_t open_flags,
             int32_t descriptor_flags, struct open_result *result);

IMPORT(TYPES, "[method]descriptor.read")
void read_at(int32_t descriptor, uint64_t length, uint64_t offset, struct read_result *result);

IMPORT(TYPES, "[method]descriptor.write")
void write_at(int32_t descriptor, const char *bytes, size_t size, uint64_t offset, struct write_result *result);

/* The host asks for memory through this, to put lists and strings into. */
EXPORT("cabi_realloc")
void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    (void)old_size;
    (void)alignment; /* malloc aligns to 16, which is more than any type here needs. */
    void *memory = realloc(old, size);
    if (memory == NULL && size > 0) {
        __builtin_trap();
    }
    return memory;
}

EXPORT("wasi:cli/run@0.2.0#run")
int32_t exported_run(void) { return run() ? 0 : 1; }

/* What follows `directory` and a slash in `path`; NULL where the path is not below the directory. */
static const char *below(struct text directory, const char *path) {
    if (strncmp(path, directory.at, directory.size) != 0 || path[directory.size] != '/') {
        return NULL;
    }
    return path + directory.size + 1;
}

static bool open_path(const char *path, int32_t open_flags, int32_t descriptor_flags, int32_t *descriptor) {
    struct preopens preopens;
    get_directories(&preopens);
    for (size_t i = 0; i < preopens.count; i++) {
        const char *rest = below(preopens.at[i].name, path);
        if (rest != NULL) {
            struct open_result result;
            open_at(preopens.at[i].descriptor, 0, rest, strlen(rest), open_flags, descriptor_flags, &result);
            *descriptor = result.descriptor;
            return !result.failed;
        }
    }
    return false;
}

bool read_port(const char *path, struct text *content) {
    int32_t file;
    if (!open_path(path, 0, DESCRIPTOR_READ, &file)) {
        return false;
    }
    char *bytes = NULL;
    size_t size = 0;
    size_t chunk = FIRST_READ_BYTES;
    for (;;) {
        struct read_result result;
        read_at(file, chunk, size, &result);
        if (result.failed || result.bytes.size > LARGEST_BYTES - size) {
            return false;
        }
        char *grown = realloc(bytes, size + result.bytes.size + 1);
        if (grown == NULL) {
            return false;
        }
        bytes = grown;
        memcpy(bytes + size, result.bytes.at, result.bytes.size);
        free((void *)result.bytes.at);
        size += result.bytes.size;
        if (result.at_end || result.bytes.size == 0) {
            *content = (struct text){bytes, size};
            return true;
        }
    }
}

bool write_port(const char *path, struct text content) {
    int32_t file;
    if (!open_path(path, OPEN_CREATE | OPEN_EXCLUSIVE, DESCRIPTOR_WRITE, &file)) {
        return false;
    }
    size_t written = 0;
    while (written < content.size) {
        struct write_result result;
        write_at(file, content.at + written, content.size - written, written, &result);
        if (result.failed || result.written == 0 || result.written > content.size - written) {
            return false;
        }
        written += (size_t)result.written;
    }
    return true;
}
