/* fetch_simple: FLAGS, UID, RFC822.SIZE and INTERNALDATE from memory, written by hand since a client asks for them of a whole mailbox at
 * once. Called by fetch.c, and fetch_write_flags by all who send unsolicited FETCH responses. */
#include <string.h>
#include <time.h>

#include "fetch_internal.h"
#include "fetch_text.h"

enum { FIXED_BYTES = 320, ZONE_BLOCK = 900 };

static char *put(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}

#define PUT(to, text) put((to), (text), sizeof(text) - 1)

static char *put_number(char *to, uint64_t number)
{
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + number % 10);
    while ((number /= 10) > 0);
    return put(to, digits + at, sizeof(digits) - at);
}

static char *put_two(char *to, unsigned number)
{
    *to++ = (char)('0' + number / 10 % 10);
    *to++ = (char)('0' + number % 10);
    return to;
}

static char *put_system_flags(char *to, unsigned flags)
{
    static const struct { unsigned flag; const char *name; size_t len; } names[] = {
        { MESSAGE_ANSWERED, "\\Answered ", 10 }, { MESSAGE_FLAGGED, "\\Flagged ", 9 }, { MESSAGE_DELETED, "\\Deleted ", 9 },
        { MESSAGE_SEEN, "\\Seen ", 6 }, { MESSAGE_DRAFT, "\\Draft ", 7 }, { MESSAGE_RECENT, "\\Recent ", 8 },
    };
    for (size_t i = 0; flags != 0 && i < sizeof(names) / sizeof(names[0]); i++)
        if (flags & names[i].flag)
            to = put(to, names[i].name, names[i].len);
    return to;
}

/* Closes a list whose items are followed by a blank each. */
static char *close_list(char *to)
{
    if (to[-1] == ' ')
        to--;
    *to++ = ')';
    return to;
}

static char *put_flags(char *to, const struct fetch *fetch, const struct message *message)
{
    to = put_system_flags(PUT(to, "FLAGS ("), message->flags);
    for (uint32_t left = message->keywords & ((1u << KEYWORDS_MAX) - 1); left != 0; left &= left - 1) {
        struct slice name = fetch->keywords[__builtin_ctz(left)];
        if (name.len > 0) {
            to = put(to, name.data, name.len);
            *to++ = ' ';
        }
    }
    return close_list(to);
}

/* Seconds east of UTC at that time; offsets change only at whole quarters of an hour. */
static int zone_offset(struct fetch *fetch, time_t when)
{
    int64_t block = when / ZONE_BLOCK;
    if (block != fetch->zone_block) {
        struct tm tm = { 0 };
        fetch->zone_offset = localtime_r(&when, &tm) != NULL ? (int)tm.tm_gmtoff : 0;
        fetch->zone_block = block;
    }
    return fetch->zone_offset;
}

/* "dd-Mon-yyyy hh:mm:ss +zzzz" (RFC 3501 section 9, date-time) */
static char *put_date(char *to, struct fetch *fetch, time_t when)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int offset = zone_offset(fetch, when);
    time_t local = when + offset;
    struct tm tm = { 0 };
    if (gmtime_r(&local, &tm) == NULL || tm.tm_year < -1900 || tm.tm_year > 8099)
        return PUT(to, "INTERNALDATE \"01-Jan-1970 00:00:00 +0000\"");
    to = put_two(PUT(to, "INTERNALDATE \""), (unsigned)tm.tm_mday);
    *to++ = '-';
    to = put(to, months + 3 * tm.tm_mon, 3);
    *to++ = '-';
    to = put_two(put_two(to, (unsigned)(tm.tm_year + 1900) / 100), (unsigned)(tm.tm_year + 1900) % 100);
    *to++ = ' ';
    to = put_two(to, (unsigned)tm.tm_hour);
    *to++ = ':';
    to = put_two(to, (unsigned)tm.tm_min);
    *to++ = ':';
    to = put_two(to, (unsigned)tm.tm_sec);
    *to++ = ' ';
    *to++ = offset < 0 ? '-' : '+';
    unsigned minutes = (unsigned)(offset < 0 ? -offset : offset) / 60;
    to = put_two(put_two(to, minutes / 60), minutes % 60);
    *to++ = '"';
    return to;
}

static char *put_item(char *to, struct fetch *fetch, enum item_kind kind, const struct message *message)
{
    switch (kind) {
    case ITEM_FLAGS:
        return put_flags(to, fetch, message);
    case ITEM_UID:
        return put_number(PUT(to, "UID "), message->uid);
    case ITEM_SIZE:
        return put_number(PUT(to, "RFC822.SIZE "), message->size);
    case ITEM_DATE:
        return put_date(to, fetch, message->internal_date);
    default:
        return to;
    }
}

void fetch_simple_item(struct fetch *fetch, struct buf *out, enum item_kind kind, const struct message *message)
{
    char *to = buf_reserve(out, FIXED_BYTES + fetch->keyword_bytes);
    if (to != NULL)
        buf_extend(out, (size_t)(put_item(to, fetch, kind, message) - to));
}

void fetch_simple_write(struct fetch *fetch, struct buf *out, uint32_t sequence, const struct message *message)
{
    char *from = buf_reserve(out, FIXED_BYTES + fetch->keyword_bytes), *to = from;
    if (from == NULL)
        return;
    to = put_number(PUT(to, "* "), sequence);
    to = PUT(to, " FETCH (");
    if (fetch->with_uid) {
        to = put_number(PUT(to, "UID "), message->uid);
        *to++ = ' ';
    }
    unsigned written = 0;
    for (const struct item *item = fetch->items; item != NULL; item = item->next) {
        /* The same item again says nothing new, and the room is for one of each. */
        if (written & 1u << item->kind)
            continue;
        written |= 1u << item->kind;
        to = put_item(to, fetch, item->kind, message);
        *to++ = ' ';
    }
    to = PUT(close_list(to), "\r\n");
    buf_extend(out, (size_t)(to - from));
}

void fetch_load_keywords(struct fetch *fetch)
{
    uint64_t version = mailbox_keywords_version(fetch->mailbox);
    if (fetch->keyword_bytes > 0 && version == fetch->keywords_version)
        return;
    fetch->keywords_version = version;
    fetch->keyword_bytes = 1;
    for (unsigned i = 0; i < KEYWORDS_MAX; i++) {
        char name[KEYWORD_LENGTH_MAX + 1];
        fetch->keywords[i] = SLICE_NONE;
        if (mailbox_keyword_name(fetch->mailbox, i, name)) {
            fetch->keywords[i] = arena_copy(fetch->arena, slice_from_string(name));
            fetch->keyword_bytes += fetch->keywords[i].len + 1;
        }
    }
}

void fetch_write_flags(struct buf *out, struct mailbox *mailbox, const struct message *message)
{
    char *to = buf_reserve(out, FIXED_BYTES), *from = to;
    if (to == NULL)
        return;
    to = put_system_flags(PUT(to, "FLAGS ("), message->flags);
    buf_extend(out, (size_t)(to - from));
    for (unsigned i = 0; i < KEYWORDS_MAX; i++) {
        char name[KEYWORD_LENGTH_MAX + 1];
        if ((message->keywords & 1u << i) && mailbox_keyword_name(mailbox, i, name)) {
            buf_append_text(out, name);
            buf_append_byte(out, ' ');
        }
    }
    if (out->data[out->len - 1] == ' ')
        buf_truncate(out, out->len - 1);
    buf_append_byte(out, ')');
}
