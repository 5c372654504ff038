/*
 * A component that filters, for tests: what it reads at /in/unfiltered/data decides what it does.
 *
 * `refuse` ends it with an error, `loop` never ends, `grow` writes a mebibyte, `nothing` writes no file, `look` writes
 * the names that it can see, `random` sixteen random bytes; anything else comes out in capitals. Built with:
 *
 *     python -m tools.build_command tests/vectors/components/filter.c -o tests/vectors/components/filter.wasm
 */

#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char bytes[1 << 20];

static void list(FILE *output, const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) {
        return;
    }
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] != '.') {
            fprintf(output, "%s/%s\n", path, entry->d_name);
        }
    }
    closedir(folder);
}

int main(void) {
    FILE *input = fopen("/in/unfiltered/data", "rb");
    if (input == NULL) {
        return 1;
    }
    size_t size = fread(bytes, 1, sizeof bytes - 1, input);
    fclose(input);
    if (strcmp(bytes, "refuse") == 0) {
        return 1;
    }
    if (strcmp(bytes, "nothing") == 0) {
        return 0;
    }
    for (volatile int forever = strcmp(bytes, "loop") == 0; forever;) {
    }
    FILE *output = fopen("/out/filtered/data", "wb");
    if (output == NULL) {
        return 1;
    }
    if (strcmp(bytes, "look") == 0) {
        list(output, "/in");
        list(output, "/in/unfiltered");
        list(output, "/out");
        list(output, "/out/filtered");
        return fclose(output) != 0;
    }
    if (strcmp(bytes, "grow") == 0) {
        size = sizeof bytes;
    }
    if (strcmp(bytes, "random") == 0) {
        size = 16;
        getentropy(bytes, size);
    }
    for (size_t index = 0; index < size; index++) {
        bytes[index] = (char)toupper((unsigned char)bytes[index]);
    }
    size_t done = fwrite(bytes, 1, size, output);
    return fclose(output) != 0 || done != size;
}
