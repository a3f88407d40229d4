/* slice: borrowed bytes, not NUL-terminated. The owner outlives it. Text from peers is always a slice or a buf. */
#ifndef POSTERN_BASE_SLICE_H
#define POSTERN_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct slice {
    const char *data;
    size_t len;
};

#define SLICE_LITERAL(text) ((struct slice){ "" text "", sizeof(text) - 1 })
#define SLICE_NONE ((struct slice){ NULL, 0 })
/* For printf formats: "%.*s". */
#define SLICE_ARG(s) (int)(s).len, (s).data ? (s).data : ""

struct slice slice_make(const char *data, size_t len);
/* NULL gives SLICE_NONE. */
struct slice slice_from_string(const char *text);
bool slice_is_equal(struct slice a, struct slice b);
/* Compared without regard to ASCII case. */
bool slice_is_equal_nocase(struct slice a, struct slice b);
bool slice_is(struct slice a, const char *text);
bool slice_is_nocase(struct slice a, const char *text);
/* Byte order, shorter first on a common prefix. */
int slice_compare(struct slice a, struct slice b);
bool slice_starts_with(struct slice s, const char *prefix);
bool slice_starts_with_nocase(struct slice s, const char *prefix);
bool slice_ends_with(struct slice s, const char *suffix);
/* The part from `from` on, at most `len` bytes; out of range gives an empty slice. */
struct slice slice_part(struct slice s, size_t from, size_t len);
struct slice slice_from(struct slice s, size_t from);
/* Index of the first byte, or -1. */
ptrdiff_t slice_find(struct slice s, char byte);
ptrdiff_t slice_find_last(struct slice s, char byte);
/* Index of the first occurrence, or -1; needle "" is found at 0. */
ptrdiff_t slice_find_text(struct slice s, struct slice needle);
ptrdiff_t slice_find_text_nocase(struct slice s, struct slice needle);
/* Without leading and trailing blanks, tabs, CR and LF. */
struct slice slice_trim(struct slice s);
/* Takes the part before `separator` from the front of *rest and steps over the separator. False when *rest is exhausted
 * (data == NULL). "a,b," gives "a", "b", "". */
bool slice_split(struct slice *rest, char separator, struct slice *part_out);
/* Decimal digits only, no sign, no blanks, no overflow past max; false otherwise. Leading zeros are allowed. */
bool slice_to_number(struct slice s, uint64_t max, uint64_t *number_out);
/* A new NUL-terminated copy, freed with mem_free; bytes after an embedded NUL are kept but invisible to C. */
char *slice_to_string(struct slice s);
bool slice_has_nul(struct slice s);
/* Octets of the UTF-8 character at the front (RFC 3629, section 4); 0 if there is none or it is malformed. */
size_t slice_utf8_length(struct slice s);
/* The same, but 0 for what a terminal would obey and not show: control characters, U+0080 to U+009F among them. */
size_t slice_shown_length(struct slice s);

/* ASCII only, whatever the locale. */
char ascii_lower(char c);
char ascii_upper(char c);
bool ascii_is_digit(char c);
bool ascii_is_alpha(char c);

#endif
