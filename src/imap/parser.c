/* The tokens of an IMAP command (RFC 3501 section 9). Used by every command of this folder. It looks only at the command's
 * text, which is complete; it never reads beyond it and never changes it. */
#include "parser.h"

#include <string.h>
#include <time.h>

bool parse_end(const struct imap_parser *p)
{
    return p->rest.len == 0;
}

static void step_over(struct imap_parser *p, size_t count)
{
    p->rest = slice_from(p->rest, count);
}

static bool take_byte(struct slice *s, char byte)
{
    if (s->len == 0 || s->data[0] != byte)
        return false;
    *s = slice_from(*s, 1);
    return true;
}

bool parse_byte(struct imap_parser *p, char byte)
{
    return take_byte(&p->rest, byte);
}

bool parse_space(struct imap_parser *p)
{
    return parse_byte(p, ' ');
}

/* ATOM-CHAR: a printable 7-bit character that is none of atom-specials ("}" and "[" are not among them). */
static bool is_atom(char c)
{
    unsigned char u = (unsigned char)c;
    return u > 0x20 && u < 0x7f && strchr("(){%*\"\\]", c) == NULL;
}

static bool is_astring_char(char c)
{
    return is_atom(c) || c == ']';
}

static bool is_list_char(char c)
{
    return is_astring_char(c) || c == '%' || c == '*';
}

static bool take_while(struct imap_parser *p, bool (*accept)(char c), struct slice *out)
{
    size_t len = 0;
    while (len < p->rest.len && accept(p->rest.data[len]))
        len++;
    if (len == 0)
        return false;
    *out = slice_part(p->rest, 0, len);
    step_over(p, len);
    return true;
}

bool parse_keyword(struct imap_parser *p, const char *keyword)
{
    size_t len = strlen(keyword);
    if (!slice_starts_with_nocase(p->rest, keyword))
        return false;
    if (p->rest.len > len && is_atom(p->rest.data[len]))
        return false;
    step_over(p, len);
    return true;
}

bool parse_atom(struct imap_parser *p, struct slice *out)
{
    return take_while(p, is_atom, out);
}

/* Removes the backslashes of a quoted string; the content is copied only if it has any. */
static struct slice unescape(struct arena *arena, struct slice content)
{
    if (slice_find(content, '\\') < 0)
        return content;
    char *text = arena_alloc(arena, content.len + 1);
    size_t len = 0;
    for (size_t i = 0; i < content.len; i++) {
        if (content.data[i] == '\\')
            i++;
        text[len++] = content.data[i];
    }
    return slice_make(text, len);
}

/* 8-bit bytes are taken inside quotes, though RFC 3501 wants a literal for them: clients send passwords so. */
static bool parse_quoted(struct imap_parser *p, struct slice *out)
{
    struct slice s = p->rest;
    if (!take_byte(&s, '"'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.data[i];
        if (c == '"') {
            *out = unescape(p->arena, slice_part(s, 0, i));
            p->rest = slice_from(s, i + 1);
            return true;
        }
        if (c == '\0' || c == '\r' || c == '\n')
            return false;
        if (c == '\\') {
            i++;
            if (i >= s.len || (s.data[i] != '"' && s.data[i] != '\\'))
                return false;
        }
    }
    return false;
}

static bool take_number(struct slice *s, uint64_t max, uint64_t *out)
{
    size_t len = 0;
    while (len < s->len && ascii_is_digit(s->data[len]))
        len++;
    if (!slice_to_number(slice_part(*s, 0, len), max, out))
        return false;
    *s = slice_from(*s, len);
    return true;
}

static bool parse_literal(struct imap_parser *p, struct slice *out)
{
    struct slice s = p->rest;
    uint64_t len;
    if (!take_byte(&s, '{') || !take_number(&s, s.len, &len))
        return false;
    take_byte(&s, '+');
    if (!take_byte(&s, '}'))
        return false;
    take_byte(&s, '\r');
    if (!take_byte(&s, '\n') || len > s.len)
        return false;
    struct slice content = slice_part(s, 0, (size_t)len);
    if (slice_has_nul(content))
        return false;
    *out = content;
    p->rest = slice_from(s, (size_t)len);
    return true;
}

bool parse_string(struct imap_parser *p, struct slice *out)
{
    return parse_quoted(p, out) || parse_literal(p, out);
}

bool parse_astring(struct imap_parser *p, struct slice *out)
{
    return take_while(p, is_astring_char, out) || parse_string(p, out);
}

bool parse_nstring(struct imap_parser *p, struct slice *out)
{
    if (parse_keyword(p, "NIL")) {
        *out = SLICE_NONE;
        return true;
    }
    return parse_string(p, out);
}

bool parse_list_mailbox(struct imap_parser *p, struct slice *out)
{
    return take_while(p, is_list_char, out) || parse_string(p, out);
}

bool parse_number(struct imap_parser *p, uint64_t max, uint64_t *out)
{
    return take_number(&p->rest, max, out);
}

bool parse_flag(struct imap_parser *p, struct slice *out)
{
    struct slice start = p->rest, name;
    if (!parse_byte(p, '\\'))
        return parse_atom(p, out);
    if (!parse_atom(p, &name) && !parse_byte(p, '*')) {
        p->rest = start;
        return false;
    }
    *out = slice_part(start, 0, start.len - p->rest.len);
    return true;
}

/* Exactly `count` digits. */
static bool take_digits(struct slice *s, size_t count, int max, int *out)
{
    uint64_t number;
    if (s->len < count || !slice_to_number(slice_part(*s, 0, count), (uint64_t)max, &number))
        return false;
    *s = slice_from(*s, count);
    *out = (int)number;
    return true;
}

static bool take_month(struct slice *s, int *out)
{
    static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    for (size_t i = 0; i < 12; i++) {
        if (slice_is_equal_nocase(slice_part(*s, 0, 3), slice_make(months + i * 3, 3))) {
            *s = slice_from(*s, 3);
            *out = (int)i;
            return true;
        }
    }
    return false;
}

static bool take_date(struct slice *s, struct tm *tm)
{
    static const int days[] = { 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    bool one_digit = take_byte(s, ' ');
    int year;
    if (!take_digits(s, one_digit ? 1 : 2, 31, &tm->tm_mday) || !take_byte(s, '-') || !take_month(s, &tm->tm_mon) ||
        !take_byte(s, '-') || !take_digits(s, 4, 9999, &year))
        return false;
    tm->tm_year = year - 1900;
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (tm->tm_mon == 1 && tm->tm_mday == 29 && !leap)
        return false;
    return tm->tm_mday >= 1 && tm->tm_mday <= days[tm->tm_mon];
}

static bool take_time(struct slice *s, struct tm *tm)
{
    return take_digits(s, 2, 23, &tm->tm_hour) && take_byte(s, ':') && take_digits(s, 2, 59, &tm->tm_min) &&
           take_byte(s, ':') && take_digits(s, 2, 60, &tm->tm_sec);
}

/* ("+" / "-") 4DIGIT: hours and minutes east of Greenwich. */
static bool take_zone(struct slice *s, int64_t *seconds_out)
{
    bool west = false;
    int hours, minutes;
    if (!take_byte(s, '+')) {
        west = take_byte(s, '-');
        if (!west)
            return false;
    }
    if (!take_digits(s, 2, 23, &hours) || !take_digits(s, 2, 59, &minutes))
        return false;
    *seconds_out = (int64_t)(hours * 60 + minutes) * 60 * (west ? -1 : 1);
    return true;
}

bool parse_date_time(struct imap_parser *p, int64_t *seconds_out)
{
    struct slice s = p->rest;
    struct tm tm = { 0 };
    int64_t zone;
    if (!take_byte(&s, '"') || !take_date(&s, &tm) || !take_byte(&s, ' ') || !take_time(&s, &tm) || !take_byte(&s, ' ') ||
        !take_zone(&s, &zone) || !take_byte(&s, '"'))
        return false;
    *seconds_out = (int64_t)timegm(&tm) - zone;
    p->rest = s;
    return true;
}

/* seq-number: nz-number or "*", which is 0 here. */
static bool take_sequence_number(struct slice *s, uint32_t *out)
{
    uint64_t number;
    if (take_byte(s, '*')) {
        *out = 0;
        return true;
    }
    if (!take_number(s, UINT32_MAX, &number) || number == 0)
        return false;
    *out = (uint32_t)number;
    return true;
}

static bool take_sequence_range(struct slice *s, struct sequence_range *range)
{
    if (!take_sequence_number(s, &range->first))
        return false;
    range->last = range->first;
    return !take_byte(s, ':') || take_sequence_number(s, &range->last);
}

static bool is_sequence_char(char c)
{
    return ascii_is_digit(c) || c == '*' || c == ':' || c == ',';
}

bool parse_sequence_set(struct imap_parser *p, struct sequence_set *out)
{
    size_t most = 1, count = 0;
    for (size_t i = 0; i < p->rest.len && is_sequence_char(p->rest.data[i]); i++)
        most += p->rest.data[i] == ',';
    struct slice s = p->rest;
    struct sequence_range *ranges = ARENA_NEW_ARRAY(p->arena, struct sequence_range, most);
    do {
        if (!take_sequence_range(&s, &ranges[count++]))
            return false;
    } while (take_byte(&s, ','));
    *out = (struct sequence_set){ ranges, count };
    p->rest = s;
    return true;
}
