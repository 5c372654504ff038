/*
 * A component that does whatever its input tells it to, for tests of what the runtime lets a component do.
 *
 * /in/script/data holds one command a line; what each found is a line of /out/report/data. A command that ends the
 * component, or never ends, is the last. Built with:
 *
 *     python -m tools.build_command tests/vectors/components/actor.c -o tests/vectors/components/actor.wasm
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static FILE *report;
static char script[1 << 16];
static char block[1 << 16];

/* What a call gave: "ok", or the error's own words. */
static void tell(const char *command, int result) {
    fprintf(report, "%s: %s\n", command, result < 0 ? strerror(errno) : "ok");
}

/* Written to past what the compiler can see, so that the calls are really made. */
static volatile int sink;

/* Nests calls without taking stack in linear memory, so that the engine's own stack is what ends it. */
static int recurse(int depth);
static int (*volatile again)(int) = recurse;
static int recurse(int depth) { return again(depth + 1) + 1; }

static void grow(size_t step) {
    size_t total = 0;
    for (;;) {
        char *more = malloc(step);
        if (more == NULL) {
            fprintf(report, "grow: %zu\n", total);
            fclose(report);
            abort();
        }
        memset(more, 1, step);
        sink = more[step / 2]; /* Else the compiler sees that nobody wants the memory, and asks for none. */
        total += step;
    }
}

static void write_bytes(const char *path, unsigned long long count) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    unsigned long long left = count;
    while (file >= 0 && left > 0) {
        ssize_t done = write(file, block, left < sizeof block ? (size_t)left : sizeof block);
        if (done <= 0) {
            break;
        }
        left -= (unsigned long long)done;
    }
    fprintf(report, "write: %llu %s\n", count - left, left > 0 ? strerror(errno) : "ok");
    if (left > 0) {
        fclose(report);
        exit(3);
    }
}

static void read_file(const char *path) {
    int file = open(path, O_RDONLY);
    ssize_t size = file < 0 ? -1 : read(file, block, 64);
    if (size < 0) {
        tell("read", -1);
    } else {
        fprintf(report, "read: %.*s\n", (int)size, block);
    }
}

static void copy(const char *from, const char *to) {
    int input = open(from, O_RDONLY);
    int output = open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    long long total = 0;
    for (ssize_t size = 1; size > 0; total += size) {
        size = read(input, block, sizeof block);
        if (size < 0 || write(output, block, (size_t)size) != size) {
            fclose(report);
            exit(3);
        }
    }
    fprintf(report, "copy: %lld\n", total);
}

static void list(const char *path) {
    DIR *folder = opendir(path);
    if (folder == NULL) {
        tell("list", -1);
        return;
    }
    fprintf(report, "list:");
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        fprintf(report, " %s", entry->d_name);
    }
    fprintf(report, "\n");
}

static void many_files(const char *folder, int count) {
    int made = 0;
    for (; made < count; made++) {
        char path[128];
        snprintf(path, sizeof path, "%s/%d", folder, made);
        int file = open(path, O_WRONLY | O_CREAT, 0644);
        if (file < 0) {
            break;
        }
        close(file);
    }
    fprintf(report, "files: %d\n", made);
}

static void times(const char *path) {
    struct stat found;
    if (stat(path, &found) < 0) {
        tell("times", -1);
        return;
    }
    fprintf(report, "times: %lld.%09ld %lld.%09ld %lld.%09ld\n", (long long)found.st_atim.tv_sec,
            found.st_atim.tv_nsec, (long long)found.st_mtim.tv_sec, found.st_mtim.tv_nsec,
            (long long)found.st_ctim.tv_sec, found.st_ctim.tv_nsec);
}

static void clocks(void) {
    struct timespec wall, monotonic;
    clock_gettime(CLOCK_REALTIME, &wall);
    for (int i = 0; i < 1000000; i++) {
        sink = i;
    }
    clock_gettime(CLOCK_MONOTONIC, &monotonic);
    fprintf(report, "clocks: %lld.%09ld %lld.%09ld\n", (long long)wall.tv_sec, wall.tv_nsec,
            (long long)monotonic.tv_sec, monotonic.tv_nsec);
}

static void random_numbers(void) {
    unsigned char bytes[16];
    getentropy(bytes, sizeof bytes);
    fprintf(report, "random: ");
    for (size_t i = 0; i < sizeof bytes; i++) {
        fprintf(report, "%02x", bytes[i]);
    }
    fprintf(report, "\n");
}

static void act(const char *command, const char *first, const char *second) {
    if (strcmp(command, "loop") == 0) {
        for (;;) {
            sink++;
        }
    } else if (strcmp(command, "sleep") == 0) {
        tell("sleep", usleep((useconds_t)atoi(first)));
    } else if (strcmp(command, "trap") == 0) {
        __builtin_trap();
    } else if (strcmp(command, "outside") == 0) {
        sink = *(volatile int *)(uintptr_t)0xfffffff0;
    } else if (strcmp(command, "recurse") == 0) {
        sink = recurse(0);
    } else if (strcmp(command, "grow") == 0) {
        grow((size_t)atoll(first));
    } else if (strcmp(command, "exit") == 0) {
        fclose(report);
        exit(atoi(first));
    } else if (strcmp(command, "stdout") == 0) {
        for (long long left = atoll(first); left > 0; left -= (long long)sizeof block) {
            fwrite(block, 1, sizeof block, stdout);
            fwrite(block, 1, sizeof block, stderr);
        }
        fprintf(report, "stdout: ok\n");
    } else if (strcmp(command, "write") == 0) {
        write_bytes(first, (unsigned long long)atoll(second));
    } else if (strcmp(command, "read") == 0) {
        read_file(first);
    } else if (strcmp(command, "copy") == 0) {
        copy(first, second);
    } else if (strcmp(command, "list") == 0) {
        list(first);
    } else if (strcmp(command, "append") == 0) {
        int file = open(first, O_WRONLY | O_APPEND);
        tell("append", file < 0 ? -1 : (int)write(file, "x", 1));
    } else if (strcmp(command, "symlink") == 0) {
        tell("symlink", symlink(first, second));
    } else if (strcmp(command, "link") == 0) {
        tell("link", link(first, second));
    } else if (strcmp(command, "rename") == 0) {
        tell("rename", rename(first, second));
    } else if (strcmp(command, "unlink") == 0) {
        tell("unlink", unlink(first));
    } else if (strcmp(command, "mkdir") == 0) {
        tell("mkdir", mkdir(first, 0755));
    } else if (strcmp(command, "touch") == 0) {
        struct timespec both[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
        tell("touch", utimensat(AT_FDCWD, first, both, 0));
    } else if (strcmp(command, "files") == 0) {
        many_files(first, atoi(second));
    } else if (strcmp(command, "times") == 0) {
        times(first);
    } else if (strcmp(command, "clocks") == 0) {
        clocks();
    } else if (strcmp(command, "random") == 0) {
        random_numbers();
    } else if (strcmp(command, "environment") == 0) {
        fprintf(report, "environment: %s\n", environ == NULL || environ[0] == NULL ? "empty" : environ[0]);
    }
}

int main(int count, char **arguments) {
    (void)arguments;
    int input = open("/in/script/data", O_RDONLY);
    if (input < 0 || read(input, script, sizeof script - 1) < 0) {
        return 2;
    }
    report = fopen("/out/report/data", "w");
    if (report == NULL) {
        return 2;
    }
    fprintf(report, "arguments: %d\n", count);
    char *rest = script;
    for (char *line = strsep(&rest, "\n"); line != NULL; line = strsep(&rest, "\n")) {
        char *command = strsep(&line, " ");
        char *first = line == NULL ? "" : strsep(&line, " ");
        act(command, first, line == NULL ? "" : line);
    }
    return fclose(report) == 0 ? 0 : 2;
}
