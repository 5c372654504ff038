/* The host puts lists and strings into memory that it asks for by this. For components that have no files. */

#include <stdlib.h>

__attribute__((export_name("cabi_realloc")))
void *cabi_realloc(void *old, size_t old_size, size_t alignment, size_t size) {
    (void)old_size;
    (void)alignment; /* malloc aligns to 16, which is more than any type here needs. */
    void *memory = realloc(old, size);
    if (memory == NULL && size > 0) {
        __builtin_trap();
    }
    return memory;
}
