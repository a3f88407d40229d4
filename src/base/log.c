/* One write(2) per line, so that lines of several threads do not mix. */
#include "postern/base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/slice.h"

static _Atomic int threshold = LOG_NORMAL;
static const char *const words[] = { "error", "warning", "normal", "verbose", "debug" };
/* syslog priorities: err, warning, info, info, debug (sd-daemon(3)). */
static const char *const priorities[] = { "<3>", "<4>", "<6>", "<6>", "<7>" };

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

static size_t log_prefix(char *line, size_t size, enum log_level level, const char *area)
{
    int len;
    if (getenv("JOURNAL_STREAM") != NULL) {
        len = snprintf(line, size, "%s%s: ", priorities[level], area);
    } else {
        struct timespec now = clock_wall();
        struct tm utc;
        gmtime_r(&now.tv_sec, &utc);
        len = snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s %s: ", utc.tm_year + 1900, utc.tm_mon + 1,
                       utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec, now.tv_nsec / 1000000, words[level], area);
    }
    return len < 0 ? 0 : (size_t)len < size ? (size_t)len : size - 1;
}

/* What peers say must not steer the terminal that shows the log. */
static void clean(char *text, size_t len)
{
    for (size_t at = 0; at < len;) {
        size_t shown = slice_shown_length(slice_make(text + at, len - at));
        if (shown == 0)
            text[at] = '?';
        at += shown > 0 ? shown : 1;
    }
}

void log_write(enum log_level level, const char *area, const char *format, ...)
{
    if ((int)level > atomic_load_explicit(&threshold, memory_order_relaxed))
        return;
    char line[1200];
    size_t len = log_prefix(line, sizeof(line) - 1, level, area);
    va_list args;
    va_start(args, format);
    int more = vsnprintf(line + len, sizeof(line) - 1 - len, format, args);
    va_end(args);
    if (more > 0) {
        size_t room = sizeof(line) - 2 - len;
        size_t from = len;
        len += (size_t)more < room ? (size_t)more : room;
        clean(line + from, len - from);
    }
    line[len++] = '\n';
    ssize_t written = write(STDERR_FILENO, line, len);
    (void)written;   /* nowhere to say that the log is gone */
}
