/* words: encoded words in header values (RFC 2047), for SEARCH. What is not a whole encoded word stays as it is written. */
#include <string.h>

#include "postern/mime/decode.h"

enum { WORD_MAX = 4096 };   /* RFC 2047 section 2 says 75; real mail has more */

struct word {
    struct slice charset;
    char encoding;
    struct slice text;
    size_t len;        /* of all of it */
};

/* "=?" charset ["*" language] "?" encoding "?" text "?=" (RFC 2047 section 2, RFC 2231 section 5) */
static bool word_read(struct slice at, struct word *out)
{
    struct slice rest, part;
    if (!slice_starts_with(at, "=?"))
        return false;
    at = slice_part(at, 0, WORD_MAX);
    rest = slice_from(at, 2);
    if (!slice_split(&rest, '?', &out->charset) || !slice_split(&rest, '?', &part) || part.len != 1 || rest.data == NULL)
        return false;
    out->encoding = ascii_lower(part.data[0]);
    ptrdiff_t end = slice_find_text(rest, SLICE_LITERAL("?="));
    ptrdiff_t star = slice_find(out->charset, '*');
    if (end < 0 || (out->encoding != 'b' && out->encoding != 'q') || slice_find(out->charset, ' ') >= 0)
        return false;
    if (star >= 0)
        out->charset.len = (size_t)star;
    out->text = slice_make(rest.data, (size_t)end);
    out->len = (size_t)(rest.data + end + 2 - at.data);
    return true;
}

static void word_decode(const struct word *word, struct buf *bytes)
{
    struct transfer_decoder decoder = { .encoding = word->encoding == 'b' ? TRANSFER_BASE64 : TRANSFER_QUOTED_PRINTABLE };
    for (size_t i = 0; i < word->text.len; i++) {
        char c = word->text.data[i];
        bool underscore = word->encoding == 'q' && c == '_';
        transfer_decode(&decoder, underscore ? SLICE_LITERAL("=20") : slice_make(&c, 1), bytes);
    }
    transfer_decode_end(&decoder, bytes);
}

static size_t blanks(struct slice s)
{
    size_t len = 0;
    while (len < s.len && memchr(" \t\r\n", s.data[len], 4) != NULL)
        len++;
    return len;
}

/* Words that follow each other with only blanks between are one text: characters may be split between them in practice. */
static size_t decode_words(struct slice value, struct word word, struct buf *out)
{
    struct buf bytes = { 0 };
    struct slice charset_name = word.charset;
    size_t used = 0, gap = 0;
    do {
        word_decode(&word, &bytes);
        used += gap + word.len;
        gap = blanks(slice_from(value, used));
    } while (word_read(slice_from(value, used + gap), &word) && slice_is_equal_nocase(word.charset, charset_name));
    struct charset *charset = charset_new(charset_name);
    if (charset != NULL)
        charset_decode(charset, buf_slice(&bytes), out);
    else
        buf_append(out, slice_make(value.data, used));
    charset_free(&charset);
    buf_fini(&bytes);
    return used;
}

void words_decode(struct slice value, struct buf *out)
{
    bool after_word = false;
    while (value.len > 0) {
        struct word word;
        size_t gap = blanks(value);
        bool is_word = word_read(slice_from(value, gap), &word);
        /* Blanks between two encoded words are no text (RFC 2047 6.2). */
        for (size_t i = 0; i < gap && !(is_word && after_word); i++)
            if (value.data[i] != '\r' && value.data[i] != '\n')
                buf_append_byte(out, value.data[i]);
        value = slice_from(value, gap);
        if (is_word) {
            value = slice_from(value, decode_words(value, word, out));
            after_word = true;
        } else if (value.len > 0) {
            buf_append_byte(out, value.data[0]);
            value = slice_from(value, 1);
            after_word = false;
        }
    }
}
