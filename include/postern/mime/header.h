/* header: walks over a message header in memory (RFC 5322 2.2), tolerant of what real mail holds. Pure. Callers: the
 * rest of mime/, IMAP FETCH and SEARCH, SMTP. */
#ifndef POSTERN_MIME_HEADER_H
#define POSTERN_MIME_HEADER_H

#include "postern/base/arena.h"
#include "postern/base/buf.h"
#include "postern/base/slice.h"

/* What is read of one header at most; the rest of a longer one counts in sizes but is not looked at. */
enum { HEADER_BYTES_MAX = 256 * 1024 };

struct header_field {
    struct slice name;     /* without blanks before the colon; a line without a colon is all name */
    struct slice value;    /* without leading blanks on its first line; still folded, without its last line end */
    struct slice raw;      /* name to the last line end, as it stands */
};

/* The next field; false at the blank line or the end. Lines end in LF or CRLF. */
bool header_next(struct slice *rest, struct header_field *out);
/* The first field of that name; false if there is none. */
bool header_find(struct slice header, const char *name, struct header_field *out);
/* A value on one line: line ends go, a line that begins without a blank gets one. In the arena. */
struct slice header_unfold(struct arena *arena, struct slice value);
/* The calendar date of a Date field as written, without regard to its time zone (RFC 3501 6.4.4, SENTBEFORE): days
 * since 1970-01-01. False if there is none to be read. */
bool header_date(struct slice value, int64_t *day_out);
/* Days since 1970-01-01 of a date in the Gregorian calendar; month 1..12. */
int64_t date_day_number(int year, unsigned month, unsigned day);
/* 1..12 for "Jan".."Dec" in any case, 0 otherwise. */
unsigned date_month_number(struct slice name);

#endif
