/* header: fields of a header block, one after the other, and the dates in them. Called by all who look into headers. It keeps
 * no state and copies nothing. */
#include "postern/mime/header.h"

#include <string.h>

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Length of the line with its end. */
static size_t line_length(struct slice s)
{
    const char *end = memchr(s.data, '\n', s.len);
    return end == NULL ? s.len : (size_t)(end - s.data) + 1;
}

static struct slice without_line_end(struct slice s)
{
    if (s.len > 0 && s.data[s.len - 1] == '\n')
        s.len--;
    if (s.len > 0 && s.data[s.len - 1] == '\r')
        s.len--;
    return s;
}

/* All the blanks of the first line, but only one if it has nothing else. */
static struct slice without_leading_blanks(struct slice value)
{
    size_t first = without_line_end(slice_make(value.data, value.len > 0 ? line_length(value) : 0)).len, blanks = 0;
    while (blanks < first && is_blank(value.data[blanks]))
        blanks++;
    if (blanks == first && blanks > 1)
        blanks = 1;
    return slice_from(value, blanks);
}

bool header_next(struct slice *rest, struct header_field *out)
{
    if (rest->len == 0)
        return false;
    size_t len = line_length(*rest);
    struct slice line = without_line_end(slice_make(rest->data, len));
    if (line.len == 0) {
        *rest = slice_from(*rest, len);
        return false;
    }
    ptrdiff_t colon = slice_find(line, ':');
    while (len < rest->len && is_blank(rest->data[len]))
        len += line_length(slice_from(*rest, len));
    out->raw = slice_make(rest->data, len);
    out->name = colon < 0 ? line : slice_make(line.data, (size_t)colon);
    while (colon >= 0 && out->name.len > 0 && is_blank(out->name.data[out->name.len - 1]))
        out->name.len--;
    out->value = without_line_end(slice_from(out->raw, colon < 0 ? line.len : (size_t)colon + 1));
    out->value = without_leading_blanks(out->value);
    *rest = slice_from(*rest, len);
    return true;
}

bool header_find(struct slice header, const char *name, struct header_field *out)
{
    while (header_next(&header, out))
        if (slice_is_nocase(out->name, name))
            return true;
    return false;
}

struct slice header_unfold(struct arena *arena, struct slice value)
{
    if (value.len == 0 || memchr(value.data, '\n', value.len) == NULL)
        return value;
    char *text = arena_alloc(arena, value.len);
    size_t len = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] != '\r' && value.data[i] != '\n')
            text[len++] = value.data[i];
        else if (i + 1 < value.len && strchr(" \t\r\n", value.data[i + 1]) == NULL)
            text[len++] = ' ';
    }
    return slice_make(text, len);
}

unsigned date_month_number(struct slice name)
{
    static const char *const months[] = { "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec" };
    for (unsigned i = 0; i < 12; i++)
        if (slice_is_nocase(name, months[i]))
            return i + 1;
    return 0;
}

/* The usual arithmetic with years that begin in March. */
int64_t date_day_number(int year, unsigned month, unsigned day)
{
    int64_t y = month <= 2 ? (int64_t)year - 1 : year;
    int64_t era = (y >= 0 ? y : y - 399) / 400;
    int64_t year_of_era = y - era * 400;
    int64_t day_of_year = (153 * ((int64_t)month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

/* A run of letters and digits. */
static struct slice next_word(struct slice *rest)
{
    size_t from = 0, len = 0;
    while (from < rest->len && !ascii_is_alpha(rest->data[from]) && !ascii_is_digit(rest->data[from]))
        from++;
    *rest = slice_from(*rest, from);
    while (len < rest->len && (ascii_is_alpha(rest->data[len]) || ascii_is_digit(rest->data[len])))
        len++;
    struct slice word = slice_make(rest->data, len);
    *rest = slice_from(*rest, len);
    return word;
}

/* RFC 5322 3.3 and 4.3: [day-name ","] day month year; a year of two digits is 1950 to 2049, of three 1900 + year. */
bool header_date(struct slice value, int64_t *day_out)
{
    struct slice rest = value, word = next_word(&rest);
    uint64_t day, year;
    if (word.len > 0 && ascii_is_alpha(word.data[0]))
        word = next_word(&rest);
    if (word.len > 2 || !slice_to_number(word, 31, &day) || day == 0)
        return false;
    unsigned month = date_month_number(slice_part(next_word(&rest), 0, 3));
    word = next_word(&rest);
    if (month == 0 || word.len < 2 || word.len > 4 || !slice_to_number(word, 9999, &year))
        return false;
    if (word.len < 4)
        year += word.len == 2 && year < 50 ? 2000 : 1900;
    *day_out = date_day_number((int)year, month, (unsigned)day);
    return true;
}
