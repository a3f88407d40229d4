/* fault: what the outside world did wrong, by value. Functions that can fail return 0 or -1 and fill it. Its class picks
 * the protocol's reply; its text goes to the log, never to a client. */
#ifndef POSTERN_BASE_FAULT_H
#define POSTERN_BASE_FAULT_H

enum fault_class {
    FAULT_NONE,
#define X(name, word, meaning) FAULT_##name,
#include "postern/tbl/fault_classes.h"
#undef X
    FAULT_COUNT
};

struct fault {
    enum fault_class class;
    int error;            /* errno, or 0 */
    char text[232];       /* NUL-terminated, no line breaks */
};

/* Always returns -1, so that `return fault_set(...)` ends a failing function. fault may be NULL. Control characters in
 * the text are replaced by '?'. */
int fault_set(struct fault *fault, enum fault_class class, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The class that errno speaks of, with ": strerror" appended to the text. */
int fault_set_errno(struct fault *fault, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
void fault_clear(struct fault *fault);
const char *fault_class_word(enum fault_class class);

#endif
