/*
 * The entry of a kernel's component in the whole runtime.
 *
 * in request: SIZE SEED TIMES..., decimal, one TIMES for each step
 * out result: a digest for each step, in hex, and the value
 */

#include <inttypes.h>

#include "kernel.h"
#include "writer.h"

static bool read_number(struct text *rest, uint64_t *number) {
    bool any = false;
    *number = 0;
    while (rest->size > 0 && *rest->at == ' ') {
        rest->at++, rest->size--;
    }
    while (rest->size > 0 && *rest->at >= '0' && *rest->at <= '9') {
        *number = *number * 10 + (uint64_t)(*rest->at - '0');
        rest->at++, rest->size--;
        any = true;
    }
    return any;
}

bool run(void) {
    struct text rest;
    struct writer writer = {0};
    uint64_t size, seed, times;
    if (!read_port("/in/request/data", &rest) || !read_number(&rest, &size) || !read_number(&rest, &seed)) {
        return false;
    }
    if (!prepare(size, seed)) {
        return false;
    }
    for (uint64_t step = 0; read_number(&rest, &times); step++) {
        write_format(&writer, "%016" PRIx64 "\n", work(step, times));
    }
    write_format(&writer, "%.17g\n", value());
    return write_out(&writer, "/out/result/data");
}
