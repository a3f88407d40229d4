/* Faults by value: the classes, their words, and the class that an errno speaks of. */
#include "postern/base/fault.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/check.h"

static const char *const words[FAULT_COUNT] = {
    [FAULT_NONE] = "none",
#define X(name, word, meaning) [FAULT_##name] = word,
#include "postern/tbl/fault_classes.h"
#undef X
};

static void clean_text(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 127)
            *text = '?';
}

__attribute__((format(printf, 4, 0)))
static void fault_fill(struct fault *fault, enum fault_class class, int error, const char *format, va_list args)
{
    fault->class = class;
    fault->error = error;
    vsnprintf(fault->text, sizeof(fault->text), format, args);
    clean_text(fault->text);
}

int fault_set(struct fault *fault, enum fault_class class, int error, const char *format, ...)
{
    if (fault != NULL) {
        va_list args;
        va_start(args, format);
        fault_fill(fault, class, error, format, args);
        va_end(args);
    }
    return -1;
}

static enum fault_class class_of_errno(int error)
{
    switch (error) {
    case ENOENT: case ENOTDIR: return FAULT_NOT_FOUND;
    case EEXIST: case ENOTEMPTY: return FAULT_EXISTS;
    case EACCES: case EPERM: case EROFS: return FAULT_DENIED;
    case ENOSPC: case EDQUOT: return FAULT_NO_SPACE;
    case ETIMEDOUT: return FAULT_TIMEOUT;
    case ECONNREFUSED: case EHOSTUNREACH: case ENETUNREACH: case ENOTCONN: return FAULT_UNREACHABLE;
    case EMFILE: case ENFILE: return FAULT_LIMIT;
    case EINVAL: case ENAMETOOLONG: return FAULT_INVALID;
    case ESTALE: return FAULT_GONE;
    default: return FAULT_IO;
    }
}

int fault_set_errno(struct fault *fault, int error, const char *format, ...)
{
    if (fault != NULL) {
        va_list args;
        va_start(args, format);
        fault_fill(fault, class_of_errno(error), error, format, args);
        va_end(args);
        size_t len = strlen(fault->text);
        char message[96];
        snprintf(fault->text + len, sizeof(fault->text) - len, ": %s", strerror_r(error, message, sizeof(message)));
    }
    return -1;
}

void fault_clear(struct fault *fault)
{
    memset(fault, 0, sizeof(*fault));
}

const char *fault_class_word(enum fault_class class)
{
    CHECK(class < FAULT_COUNT);
    return words[class];
}
