/* CHECK: our own bugs abort, in every build (architecture, three kinds of failure). Never reachable by a peer's bytes. */
#ifndef POSTERN_BASE_CHECK_H
#define POSTERN_BASE_CHECK_H

#define CHECK(condition) \
    do { \
        if (!(condition)) \
            check_failed(#condition, __FILE__, __LINE__); \
    } while (0)

/* Writes one line to standard error and aborts. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#endif
