/* Reads what a Post Office Agent says. Called by remote.c. It must never believe anything that it reads: numbers have limits, lists may nest as
 * they like, and a line over the limit ends it all. */
#include "remote_reader.h"

#include "postern/base/memory.h"

/* --- lines and literals --------------------------------------------------------------------------------------------------------- */

static const char *const status_words[] = { "* OK", "* NO", "* BAD", "* BYE", "* PREAUTH" };

static bool has_literals(struct slice text)
{
    if (!slice_starts_with(text, "* "))
        return false;
    for (size_t i = 0; i < sizeof(status_words) / sizeof(status_words[0]); i++)
        if (slice_starts_with_nocase(text, status_words[i]))
            return false;
    return true;
}

/* {N} at the end of the text; false if there is one that is too big. */
static bool find_literal(struct remote_reader *reader, struct slice text)
{
    ptrdiff_t brace = slice_find_last(text, '{');
    reader->literal_follows = false;
    if (!reader->may_have_literals || brace < 0 || text.data[text.len - 1] != '}')
        return true;
    struct slice number = slice_part(text, (size_t)brace + 1, text.len - (size_t)brace - 2);
    for (size_t i = 0; i < number.len; i++)
        if (!ascii_is_digit(number.data[i]))
            return true;
    reader->literal_follows = number.len != 0;
    return number.len == 0 || slice_to_number(number, UINT32_MAX, &reader->literal_left);
}

static enum remote_event take_literal(struct remote_reader *reader, struct slice *rest, struct slice *piece_out)
{
    size_t len = rest->len < reader->literal_left ? rest->len : (size_t)reader->literal_left;
    *piece_out = slice_part(*rest, 0, len);
    *rest = slice_from(*rest, len);
    reader->literal_left -= len;
    return REMOTE_LITERAL;
}

static enum remote_event give_text(struct remote_reader *reader, struct slice text, struct slice *piece_out)
{
    if (text.len != 0 && text.data[text.len - 1] == '\r')
        text.len--;
    reader->begins = !reader->literal_follows;
    if (reader->begins)
        reader->may_have_literals = has_literals(text);
    *piece_out = text;
    return find_literal(reader, text) ? REMOTE_TEXT : REMOTE_BROKEN;
}

enum remote_event remote_reader_next(struct remote_reader *reader, struct slice *rest, struct slice *piece_out)
{
    if (reader->given)
        buf_fini(&reader->line);
    reader->given = false;
    if (rest->len == 0)
        return REMOTE_MORE;
    if (reader->literal_left != 0)
        return take_literal(reader, rest, piece_out);
    ptrdiff_t end = slice_find(*rest, '\n');
    struct slice part = end < 0 ? *rest : slice_part(*rest, 0, (size_t)end);
    if (part.len + reader->line.len > REMOTE_LINE_MAX)
        return REMOTE_BROKEN;
    *rest = slice_from(*rest, part.len + (end >= 0));
    if (end >= 0 && reader->line.len == 0)
        return give_text(reader, part, piece_out);
    buf_append(&reader->line, part);
    if (end < 0)
        return REMOTE_MORE;
    reader->given = true;
    return give_text(reader, buf_slice(&reader->line), piece_out);
}

void remote_reader_fini(struct remote_reader *reader)
{
    buf_fini(&reader->line);
    *reader = (struct remote_reader){ 0 };
}

/* --- FETCH ---------------------------------------------------------------------------------------------------------------------- */

/* A quoted string with its quotes at the front: its octets, or 0. */
static size_t quoted_length(struct slice text)
{
    for (size_t i = 1; i < text.len; i++) {
        if (text.data[i] == '\\')
            i++;
        else if (text.data[i] == '"')
            return i + 1;
    }
    return 0;
}

static size_t list_length(struct slice text)
{
    size_t depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"') {
            size_t len = quoted_length(slice_from(text, i));
            if (len == 0)
                return 0;
            i += len - 1;
        } else if (text.data[i] == '(') {
            depth++;
        } else if (text.data[i] == ')' && --depth == 0) {
            return i + 1;
        }
    }
    return 0;
}

static size_t atom_length(struct slice text)
{
    size_t len = 0;
    while (len < text.len && text.data[len] != ' ' && text.data[len] != ')' && text.data[len] != '(' && text.data[len] != '"')
        len++;
    return len;
}

/* An item's name may have blanks, lists and strings between its brackets. */
static size_t name_length(struct slice text)
{
    size_t len = 0;
    bool in_brackets = false;
    for (; len < text.len && (in_brackets || (text.data[len] != ' ' && text.data[len] != ')')); len++) {
        if (text.data[len] == '[')
            in_brackets = true;
        else if (text.data[len] == ']')
            in_brackets = false;
    }
    return len;
}

static bool is_seen(struct slice list)
{
    struct slice rest = slice_part(list, 1, list.len - 2);
    struct slice word;
    while (slice_split(&rest, ' ', &word))
        if (slice_is_nocase(word, "\\Seen"))
            return true;
    return false;
}

static int month_of(struct slice word)
{
    static const char *const months[] = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" };
    for (int i = 0; i < 12; i++)
        if (slice_is_nocase(word, months[i]))
            return i;
    return -1;
}

static bool take_number(struct slice text, size_t at, size_t len, uint64_t max, int *number_out)
{
    uint64_t number;
    if (!slice_to_number(slice_part(text, at, len), max, &number))
        return false;
    *number_out = (int)number;
    return true;
}

bool fetched_take_date(struct slice text, time_t *date_out)
{
    struct tm day = { 0 };
    int hours, minutes;
    size_t blank = text.len != 0 && text.data[0] == ' ';
    if (text.len != 26 || text.data[2] != '-' || text.data[6] != '-' || text.data[11] != ' ' || text.data[14] != ':' ||
        text.data[17] != ':' || text.data[20] != ' ' || (text.data[21] != '+' && text.data[21] != '-'))
        return false;
    day.tm_mon = month_of(slice_part(text, 3, 3));
    if (day.tm_mon < 0 || !take_number(text, blank, 2 - blank, 31, &day.tm_mday) || !take_number(text, 7, 4, 9999, &day.tm_year) ||
        !take_number(text, 12, 2, 23, &day.tm_hour) || !take_number(text, 15, 2, 59, &day.tm_min) ||
        !take_number(text, 18, 2, 60, &day.tm_sec) || !take_number(text, 22, 2, 23, &hours) || !take_number(text, 24, 2, 59, &minutes))
        return false;
    day.tm_year -= 1900;
    int offset = (hours * 60 + minutes) * 60;
    *date_out = timegm(&day) - (text.data[21] == '-' ? -offset : offset);
    return true;
}

static bool take_value(struct fetched *fetched, struct slice name, struct slice value)
{
    uint64_t number;
    if (slice_is_nocase(name, "UID")) {
        if (fetched->has_uid || !slice_to_number(value, UINT32_MAX, &number) || number == 0)
            return false;
        fetched->has_uid = true;
        fetched->uid = (uint32_t)number;
    } else if (slice_is_nocase(name, "RFC822.SIZE")) {
        if (!slice_to_number(value, INT64_MAX, &fetched->size))
            return false;
        fetched->has_size = true;
    } else if (slice_is_nocase(name, "FLAGS")) {
        if (value.data[0] != '(')
            return false;
        fetched->has_flags = true;
        fetched->seen = is_seen(value);
    } else if (slice_is_nocase(name, "INTERNALDATE")) {
        fetched->has_date = value.len >= 2 && fetched_take_date(slice_part(value, 1, value.len - 2), &fetched->date);
        return fetched->has_date;
    }
    return true;
}

/* BODY[] and BODY[]<0>. */
static bool take_body(struct fetched *fetched, struct slice value, bool is_literal)
{
    if (fetched->has_body)
        return false;
    fetched->has_body = true;
    fetched->body_is_literal = is_literal;
    if (!is_literal && value.data[0] == '"')
        fetched->body = slice_part(value, 1, value.len - 2);
    return is_literal || value.data[0] == '"' || slice_is_nocase(value, "NIL");
}

static size_t value_length(struct slice text)
{
    if (text.len == 0)
        return 0;
    return text.data[0] == '(' ? list_length(text) : text.data[0] == '"' ? quoted_length(text) : atom_length(text);
}

bool fetched_take(struct fetched *fetched, struct slice text, bool literal_follows)
{
    fetched->body_is_literal = false;
    fetched->body = SLICE_NONE;
    for (;;) {
        while (text.len != 0 && text.data[0] == ' ')
            text = slice_from(text, 1);
        if (text.len == 0 || text.data[0] == ')')
            return text.len == 1 && !literal_follows;
        struct slice name = slice_part(text, 0, name_length(text));
        text = slice_from(text, name.len);
        if (name.len == 0 || text.len < 2 || text.data[0] != ' ')
            return false;
        text = slice_from(text, 1);
        struct slice value = slice_part(text, 0, value_length(text));
        if (value.len == 0)
            return false;
        text = slice_from(text, value.len);
        bool is_literal = literal_follows && text.len == 0;
        if (slice_starts_with_nocase(name, "BODY[]") ? !take_body(fetched, value, is_literal) : !take_value(fetched, name, value))
            return false;
        if (is_literal)
            return value.data[0] == '{';
    }
}
