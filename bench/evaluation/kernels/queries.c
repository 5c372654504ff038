/*
 * Asks a database, as the paper's benchmark does: text for every request.
 *
 * step 0: insert so many rows in one transaction
 * step 1: read so many single rows, the next one 97 further on each time
 * step 2: read the whole table so many times
 */

#include "database.h"
#include "kernel.h"

enum { APART = 97, LOOKED_AT = 100 };

struct query {
    char text[96];
    size_t size;
};

static uint64_t rows;
static bool failed;

static uint64_t ask(const struct query *query) {
    struct answer answer;
    database_request(query->text, query->size, &answer);
    failed = failed || answer.failed;
    return answer.failed ? 0 : answer.rows;
}

static void put(struct query *query, const char *text) {
    size_t size = strlen(text);
    memcpy(query->text + query->size, text, size);
    query->size += size;
}

static void put_number(struct query *query, uint64_t number) {
    char digits[20];
    size_t count = 0;
    do {
        digits[count++] = (char)('0' + number % 10);
    } while (number /= 10);
    while (count > 0) {
        query->text[query->size++] = digits[--count];
    }
}

static uint64_t ask_text(const char *text) {
    struct query query = {.size = 0};
    put(&query, text);
    return ask(&query);
}

uint64_t prepare(uint64_t size, uint64_t seed) {
    (void)seed;
    rows = size;
    failed = false;
    ask_text("open");
    ask_text("CREATE TABLE users(id INTEGER PRIMARY KEY, name TEXT NOT NULL) WITHOUT ROWID");
    return !failed;
}

static uint64_t insert(uint64_t times) {
    ask_text("BEGIN");
    for (uint64_t i = 0; i < times; i++) {
        struct query query = {.size = 0};
        put(&query, "INSERT INTO users VALUES(");
        put_number(&query, i);
        put(&query, ",'user_");
        put_number(&query, i);
        put(&query, "')");
        ask(&query);
    }
    ask_text("COMMIT");
    return times;
}

static uint64_t read_points(uint64_t times) {
    uint64_t found = 0;
    for (uint64_t i = 0; i < times; i++) {
        struct query query = {.size = 0};
        put(&query, "SELECT * FROM users WHERE id=");
        put_number(&query, i * APART % rows);
        found += ask(&query);
    }
    return found;
}

static uint64_t scan(uint64_t times) {
    uint64_t found = 0;
    for (uint64_t i = 0; i < times; i++) {
        found += ask_text("SELECT * FROM users");
    }
    return found;
}

uint64_t work(uint64_t step, uint64_t times) {
    ask_text("SELECT 1"); /* The warm-up. */
    uint64_t found = step == 0 ? insert(times) : step == 1 ? read_points(times) : scan(times);
    return failed ? UINT64_MAX : found;
}

/* Of some rows, how many are there with the name that they were given. */
double value(void) {
    uint64_t right = 0;
    for (uint64_t i = 0; i < LOOKED_AT; i++) {
        uint64_t id = i * (rows / LOOKED_AT);
        struct query query = {.size = 0};
        put(&query, "SELECT 1 FROM users WHERE id=");
        put_number(&query, id);
        put(&query, " AND name='user_");
        put_number(&query, id);
        put(&query, "'");
        right += ask(&query);
    }
    return (double)right;
}
