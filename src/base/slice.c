/* Borrowed bytes. */
#include "postern/base/slice.h"

#include <string.h>

#include "postern/base/memory.h"

char ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

char ascii_upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

bool ascii_is_digit(char c)
{
    return c >= '0' && c <= '9';
}

bool ascii_is_alpha(char c)
{
    c = ascii_lower(c);
    return c >= 'a' && c <= 'z';
}

static bool bytes_equal_nocase(const char *a, const char *b, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (ascii_lower(a[i]) != ascii_lower(b[i]))
            return false;
    return true;
}

struct slice slice_make(const char *data, size_t len)
{
    return (struct slice){ data, len };
}

struct slice slice_from_string(const char *text)
{
    return (struct slice){ text, text ? strlen(text) : 0 };
}

bool slice_is_equal(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

bool slice_is_equal_nocase(struct slice a, struct slice b)
{
    return a.len == b.len && bytes_equal_nocase(a.data, b.data, a.len);
}

bool slice_is(struct slice a, const char *text)
{
    return slice_is_equal(a, slice_from_string(text));
}

bool slice_is_nocase(struct slice a, const char *text)
{
    return slice_is_equal_nocase(a, slice_from_string(text));
}

int slice_compare(struct slice a, struct slice b)
{
    size_t common = a.len < b.len ? a.len : b.len;
    int order = common ? memcmp(a.data, b.data, common) : 0;
    if (order != 0)
        return order;
    return a.len < b.len ? -1 : a.len > b.len;
}

bool slice_starts_with(struct slice s, const char *prefix)
{
    size_t len = strlen(prefix);
    return s.len >= len && (len == 0 || memcmp(s.data, prefix, len) == 0);
}

bool slice_starts_with_nocase(struct slice s, const char *prefix)
{
    size_t len = strlen(prefix);
    return s.len >= len && bytes_equal_nocase(s.data, prefix, len);
}

bool slice_ends_with(struct slice s, const char *suffix)
{
    size_t len = strlen(suffix);
    return s.len >= len && (len == 0 || memcmp(s.data + s.len - len, suffix, len) == 0);
}

struct slice slice_part(struct slice s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return (struct slice){ s.data ? s.data + from : NULL, len };
}

struct slice slice_from(struct slice s, size_t from)
{
    return slice_part(s, from, s.len);
}

ptrdiff_t slice_find(struct slice s, char byte)
{
    const char *at = s.len ? memchr(s.data, byte, s.len) : NULL;
    return at ? at - s.data : -1;
}

ptrdiff_t slice_find_last(struct slice s, char byte)
{
    for (size_t i = s.len; i > 0; i--)
        if (s.data[i - 1] == byte)
            return (ptrdiff_t)(i - 1);
    return -1;
}

ptrdiff_t slice_find_text(struct slice s, struct slice needle)
{
    if (needle.len == 0)
        return 0;
    for (size_t i = 0; i + needle.len <= s.len; i++) {
        const char *at = memchr(s.data + i, needle.data[0], s.len - i - needle.len + 1);
        if (at == NULL)
            return -1;
        i = (size_t)(at - s.data);
        if (memcmp(at, needle.data, needle.len) == 0)
            return (ptrdiff_t)i;
    }
    return -1;
}

ptrdiff_t slice_find_text_nocase(struct slice s, struct slice needle)
{
    for (size_t i = 0; i + needle.len <= s.len; i++)
        if (bytes_equal_nocase(s.data + i, needle.data, needle.len))
            return (ptrdiff_t)i;
    return -1;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice slice_trim(struct slice s)
{
    while (s.len && is_space(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len && is_space(s.data[s.len - 1]))
        s.len--;
    return s;
}

bool slice_split(struct slice *rest, char separator, struct slice *part_out)
{
    if (rest->data == NULL)
        return false;
    ptrdiff_t at = slice_find(*rest, separator);
    if (at < 0) {
        *part_out = *rest;
        *rest = SLICE_NONE;
    } else {
        *part_out = slice_part(*rest, 0, (size_t)at);
        *rest = slice_from(*rest, (size_t)at + 1);
    }
    return true;
}

bool slice_to_number(struct slice s, uint64_t max, uint64_t *number_out)
{
    uint64_t number = 0;
    if (s.len == 0)
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!ascii_is_digit(s.data[i]))
            return false;
        uint64_t digit = (uint64_t)(s.data[i] - '0');
        if (digit > max || number > (max - digit) / 10)
            return false;
        number = number * 10 + digit;
    }
    *number_out = number;
    return true;
}

char *slice_to_string(struct slice s)
{
    char *text = mem_alloc(s.len + 1);
    if (s.len)
        memcpy(text, s.data, s.len);
    return text;
}

size_t slice_utf8_length(struct slice s)
{
    const unsigned char *p = (const unsigned char *)s.data;
    if (s.len == 0)
        return 0;
    size_t len = p[0] < 0x80 ? 1 : p[0] >= 0xc2 && p[0] < 0xe0 ? 2 : p[0] >= 0xe0 && p[0] < 0xf0 ? 3 : p[0] >= 0xf0 && p[0] < 0xf5 ? 4 : 0;
    if (len == 0 || len > s.len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    /* Overlong forms, surrogates, beyond U+10FFFF. */
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

size_t slice_shown_length(struct slice s)
{
    size_t len = slice_utf8_length(s);
    const unsigned char *p = (const unsigned char *)s.data;
    bool control = len == 1 ? p[0] < ' ' || p[0] == 127 : len == 2 && p[0] == 0xc2 && p[1] < 0xa0;
    return control ? 0 : len;
}

bool slice_has_nul(struct slice s)
{
    return slice_find(s, '\0') >= 0;
}
