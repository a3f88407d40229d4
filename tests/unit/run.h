/* Runs one module's CUnit tests: a test file has a table of its tests and a one-line main. */
#ifndef TESTS_UNIT_RUN_H
#define TESTS_UNIT_RUN_H

#include <CUnit/CUnit.h>
#include <stddef.h>

struct unit_test {
    const char *name;
    void (*run)(void);
};

/* Prints CUnit's summary; returns main's exit code: 0 only if at least one assertion ran and none failed.
 * An argument on the command line runs only the tests whose name contains it. */
int unit_run(const char *suite, const struct unit_test *tests, size_t count, int argc, char **argv);

#define UNIT_MAIN(suite, tests) \
    int main(int argc, char **argv) \
    { \
        return unit_run((suite), (tests), sizeof(tests) / sizeof((tests)[0]), argc, argv); \
    }

#endif
