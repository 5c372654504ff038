/* What SQLite asks of an operating system, where there are no files: a database in memory opens none. */

#include <string.h>

#include "sqlite3.h"

static int refuse_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *file, int flags, int *got) {
    (void)vfs, (void)name, (void)flags, (void)got;
    file->pMethods = NULL;
    return SQLITE_CANTOPEN;
}

static int refuse_delete(sqlite3_vfs *vfs, const char *name, int sync) {
    (void)vfs, (void)name, (void)sync;
    return SQLITE_IOERR_DELETE;
}

static int find_nothing(sqlite3_vfs *vfs, const char *name, int flags, int *found) {
    (void)vfs, (void)name, (void)flags;
    *found = 0;
    return SQLITE_OK;
}

static int keep_path(sqlite3_vfs *vfs, const char *name, int size, char *full) {
    (void)vfs;
    if (strlen(name) >= (size_t)size) {
        return SQLITE_CANTOPEN;
    }
    strcpy(full, name);
    return SQLITE_OK;
}

/* The same every time: so are the results. */
static int repeat_randomness(sqlite3_vfs *vfs, int size, char *bytes) {
    (void)vfs;
    memset(bytes, 7, (size_t)size);
    return size;
}

static int never_sleep(sqlite3_vfs *vfs, int microseconds) {
    (void)vfs, (void)microseconds;
    return 0;
}

/* The Julian day of the beginning of 1970, in milliseconds. */
static int stand_still(sqlite3_vfs *vfs, sqlite3_int64 *now) {
    (void)vfs;
    *now = 210866760000000;
    return SQLITE_OK;
}

int sqlite3_os_init(void) {
    static sqlite3_vfs none = {
        .iVersion = 2,
        .szOsFile = sizeof(sqlite3_file),
        .mxPathname = 64,
        .zName = "none",
        .xOpen = refuse_open,
        .xDelete = refuse_delete,
        .xAccess = find_nothing,
        .xFullPathname = keep_path,
        .xRandomness = repeat_randomness,
        .xSleep = never_sleep,
        .xCurrentTimeInt64 = stand_still,
    };
    return sqlite3_vfs_register(&none, 1);
}

int sqlite3_os_end(void) { return SQLITE_OK; }
