/* charset: character sets to UTF-8 by iconv, which is used nowhere else. Called by words.c and IMAP SEARCH. A name that comes
 * from a message never reaches iconv with anything but letters, digits and "-_:.+". */
#include <errno.h>
#include <iconv.h>
#include <string.h>

#include "postern/base/memory.h"
#include "postern/mime/decode.h"

enum { NAME_MAX_LENGTH = 60, REST_MAX = 32 };

struct charset {
    iconv_t iconv;
    bool plain;             /* US-ASCII or UTF-8: nothing to convert */
    char rest[REST_MAX];    /* a character that is not whole yet */
    size_t rest_len;
};

static bool is_plain(struct slice name)
{
    return name.len == 0 || slice_is_nocase(name, "us-ascii") || slice_is_nocase(name, "ascii") ||
           slice_is_nocase(name, "utf-8") || slice_is_nocase(name, "utf8");
}

static bool is_safe(struct slice name)
{
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && (c == '\0' || strchr("-_:.+", c) == NULL))
            return false;
    }
    return name.len <= NAME_MAX_LENGTH;
}

struct charset *charset_new(struct slice name)
{
    char text[NAME_MAX_LENGTH + 1] = "";
    struct charset charset = { .plain = is_plain(name) };
    if (!charset.plain) {
        if (!is_safe(name))
            return NULL;
        memcpy(text, name.data, name.len);
        charset.iconv = iconv_open("UTF-8", text);
        if (charset.iconv == (iconv_t)-1)
            return NULL;
    }
    struct charset *made = MEM_NEW(struct charset);
    *made = charset;
    return made;
}

void charset_free(struct charset **charset)
{
    if (*charset != NULL && !(*charset)->plain)
        iconv_close((*charset)->iconv);
    mem_free(charset);
}

bool charset_is_known(struct slice name)
{
    struct charset *charset = charset_new(name);
    bool known = charset != NULL;
    charset_free(&charset);
    return known;
}

/* Converts until the end or an unfinished character; returns the bytes left. */
static size_t convert(struct charset *charset, char *from, size_t left, struct buf *out)
{
    while (left > 0) {
        char text[4096], *to = text;
        size_t room = sizeof(text);
        size_t done = iconv(charset->iconv, &from, &left, &to, &room);
        buf_append(out, slice_make(text, sizeof(text) - room));
        if (done != (size_t)-1)
            continue;
        if (errno == EINVAL)
            break;
        if (errno == EILSEQ) {
            buf_append_byte(out, '?');
            from++;
            left--;
        }
    }
    return left;
}

void charset_decode(struct charset *charset, struct slice bytes, struct buf *out)
{
    char joined[4096];
    if (charset->plain) {
        buf_append(out, bytes);
        return;
    }
    while (bytes.len > 0) {
        size_t take = sizeof(joined) - charset->rest_len;
        if (take > bytes.len)
            take = bytes.len;
        size_t len = charset->rest_len + take;
        memcpy(joined, charset->rest, charset->rest_len);
        memcpy(joined + charset->rest_len, bytes.data, take);
        bytes = slice_from(bytes, take);
        size_t left = convert(charset, joined, len, out);
        charset->rest_len = left <= REST_MAX ? left : 0;
        memcpy(charset->rest, joined + len - left, charset->rest_len);
    }
}
