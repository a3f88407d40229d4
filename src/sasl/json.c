/* A reader of JSON for bytes that come from strangers. Called by jwt.c. Every function but json_is_object relies on its having said yes. */
#include "json.h"

#define ESCAPES "\"\\/bfnrt"

enum { DEPTH_MAX = 16 };

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static size_t skip_space(struct slice text, size_t at)
{
    while (at < text.len && is_space(text.data[at]))
        at++;
    return at;
}

static bool is_char(struct slice text, size_t at, char c)
{
    return at < text.len && text.data[at] == c;
}

static int hex_value(char c)
{
    c = ascii_lower(c);
    return ascii_is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_hex4(struct slice text, size_t at)
{
    for (size_t i = 0; i < 4; i++)
        if (at + i >= text.len || hex_value(text.data[at + i]) < 0)
            return false;
    return true;
}

/* Each of these gives the place behind what stands at `at`, or 0 if that is malformed. */

static size_t pass_string(struct slice text, size_t at)
{
    if (!is_char(text, at, '"'))
        return 0;
    for (at++; at < text.len; at++) {
        unsigned char c = (unsigned char)text.data[at];
        if (c == '"')
            return at + 1;
        if (c < ' ')
            return 0;
        if (c != '\\')
            continue;
        if (++at >= text.len)
            return 0;
        if (text.data[at] == 'u') {
            if (!is_hex4(text, at + 1))
                return 0;
            at += 4;
        } else if (slice_find(SLICE_LITERAL(ESCAPES), text.data[at]) < 0)
            return 0;
    }
    return 0;
}

static size_t pass_digits(struct slice text, size_t at)
{
    size_t from = at;
    while (at < text.len && ascii_is_digit(text.data[at]))
        at++;
    return at > from ? at : 0;
}

static size_t pass_number(struct slice text, size_t at)
{
    at += is_char(text, at, '-');
    at = is_char(text, at, '0') ? at + 1 : pass_digits(text, at);
    if (at != 0 && is_char(text, at, '.'))
        at = pass_digits(text, at + 1);
    if (at != 0 && (is_char(text, at, 'e') || is_char(text, at, 'E'))) {
        at++;
        at = pass_digits(text, at + (is_char(text, at, '+') || is_char(text, at, '-')));
    }
    return at;
}

static size_t pass_value(struct slice text, size_t at, unsigned depth);

/* "{...}" or "[...]" */
static size_t pass_group(struct slice text, size_t at, unsigned depth)
{
    bool object = text.data[at] == '{';
    char close = object ? '}' : ']';
    if (depth >= DEPTH_MAX)
        return 0;
    at = skip_space(text, at + 1);
    if (is_char(text, at, close))
        return at + 1;
    for (;;) {
        if (object) {
            if ((at = pass_string(text, at)) == 0 || !is_char(text, at = skip_space(text, at), ':'))
                return 0;
            at = skip_space(text, at + 1);
        }
        if ((at = pass_value(text, at, depth + 1)) == 0)
            return 0;
        at = skip_space(text, at);
        if (is_char(text, at, close))
            return at + 1;
        if (!is_char(text, at, ','))
            return 0;
        at = skip_space(text, at + 1);
    }
}

static size_t pass_value(struct slice text, size_t at, unsigned depth)
{
    static const char *const words[] = { "true", "false", "null" };
    if (at >= text.len)
        return 0;
    if (text.data[at] == '"')
        return pass_string(text, at);
    if (text.data[at] == '{' || text.data[at] == '[')
        return pass_group(text, at, depth);
    for (size_t i = 0; i < 3; i++) {
        struct slice word = slice_from_string(words[i]);
        if (slice_is_equal(slice_part(text, at, word.len), word))
            return at + word.len;
    }
    return pass_number(text, at);
}

bool json_is_object(struct slice text)
{
    size_t at = skip_space(text, 0);
    if (!is_char(text, at, '{'))
        return false;
    at = pass_group(text, at, 0);
    return at != 0 && skip_space(text, at) == text.len;
}

int json_find(struct slice object, const char *name, struct slice *value_out)
{
    size_t at = skip_space(object, skip_space(object, 0) + 1);
    int found = 0;
    while (is_char(object, at, '"')) {
        struct buf key = { .cap = 0 };
        size_t end = pass_string(object, at);
        bool is_it = json_string(slice_part(object, at, end - at), &key) && slice_is(buf_slice(&key), name);
        buf_fini(&key);
        size_t from = skip_space(object, skip_space(object, end) + 1);
        end = pass_value(object, from, 0);
        if (is_it && found++ == 0)
            *value_out = slice_part(object, from, end - from);
        at = skip_space(object, end);
        at = is_char(object, at, ',') ? skip_space(object, at + 1) : object.len;
    }
    return found > 1 ? -1 : found;
}

bool json_next(struct slice array, size_t *at, struct slice *value_out)
{
    if (!is_char(array, 0, '['))
        return false;
    size_t from = skip_space(array, *at + 1);
    if (from >= array.len || array.data[from] == ']')
        return false;
    size_t end = pass_value(array, from, 0);
    *value_out = slice_part(array, from, end - from);
    *at = skip_space(array, end);
    if (!is_char(array, *at, ','))
        *at = array.len;
    return true;
}

static uint32_t read_hex4(struct slice text, size_t at)
{
    uint32_t value = 0;
    for (size_t i = 0; i < 4; i++)
        value = value << 4 | (uint32_t)hex_value(text.data[at + i]);
    return value;
}

static void append_utf8(struct buf *out, uint32_t c)
{
    if (c < 0x80)
        buf_append_byte(out, (char)c);
    else {
        unsigned more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
        static const unsigned char leads[] = { 0, 0xc0, 0xe0, 0xf0 };
        buf_append_byte(out, (char)(leads[more] | c >> (6 * more)));
        while (more-- > 0)
            buf_append_byte(out, (char)(0x80 | (c >> (6 * more) & 0x3f)));
    }
}

/* The escape whose backslash stands at *at; moves to its last character. */
static bool append_escape(struct slice text, size_t *at, struct buf *out)
{
    static const char values[] = "\"\\/\b\f\n\r\t";
    char letter = text.data[++*at];
    if (letter != 'u') {
        buf_append_byte(out, values[slice_find(SLICE_LITERAL(ESCAPES), letter)]);
        return true;
    }
    uint32_t c = read_hex4(text, *at + 1);
    *at += 4;
    if (c >= 0xd800 && c < 0xdc00 && is_char(text, *at + 1, '\\') && is_char(text, *at + 2, 'u')) {
        uint32_t low = read_hex4(text, *at + 3);
        if (low < 0xdc00 || low > 0xdfff)
            return false;
        c = 0x10000 + ((c - 0xd800) << 10 | (low - 0xdc00));
        *at += 6;
    }
    if (c == 0 || (c >= 0xd800 && c < 0xe000))
        return false;
    append_utf8(out, c);
    return true;
}

bool json_string(struct slice value, struct buf *out)
{
    if (value.len < 2 || value.data[0] != '"')
        return false;
    for (size_t at = 1; at + 1 < value.len; at++) {
        if (value.data[at] != '\\')
            buf_append_byte(out, value.data[at]);
        else if (!append_escape(value, &at, out))
            return false;
    }
    return true;
}

bool json_number(struct slice value, int64_t *out)
{
    struct slice digits = value;
    bool negative = is_char(digits, 0, '-');
    digits = slice_from(digits, negative);
    size_t len = 0;
    while (len < digits.len && ascii_is_digit(digits.data[len]))
        len++;
    uint64_t number = 0;
    bool plain = len > 0 && (len == digits.len || digits.data[len] == '.') && slice_find(digits, 'e') < 0 && slice_find(digits, 'E') < 0;
    if (!plain || !slice_to_number(slice_part(digits, 0, len), (uint64_t)1 << 53, &number))
        return false;
    *out = negative ? -(int64_t)number : (int64_t)number;
    return true;
}
