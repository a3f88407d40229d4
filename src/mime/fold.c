/* fold: case folding and substring search over text in pieces, for SEARCH (RFC 3501 6.4.4: matching is without case). */
#include <string.h>

#include "postern/mime/decode.h"

/* Simple folding of the letters of two UTF-8 bytes: Latin-1, Latin Extended-A, Greek, Cyrillic. */
static uint32_t fold_letter(uint32_t c)
{
    if ((c >= 0xC0 && c <= 0xDE && c != 0xD7) || (c >= 0x391 && c <= 0x3A9 && c != 0x3A2) || (c >= 0x410 && c <= 0x42F))
        return c + 0x20;
    if (c >= 0x400 && c <= 0x40F)
        return c + 0x50;
    if ((c >= 0x100 && c <= 0x12F) || (c >= 0x132 && c <= 0x137) || (c >= 0x14A && c <= 0x177) || (c >= 0x460 && c <= 0x481))
        return c | 1;
    if ((c >= 0x139 && c <= 0x148) || (c >= 0x179 && c <= 0x17E))
        return c + (c & 1);
    return c == 0x178 ? 0xFF : c == 0x3C2 ? 0x3C3 : c;
}

void text_fold(struct slice utf8, struct buf *out)
{
    char *to = buf_reserve(out, utf8.len + 1);
    if (to == NULL)
        return;
    for (size_t i = 0; i < utf8.len; i++) {
        unsigned char c = (unsigned char)utf8.data[i];
        unsigned char second = i + 1 < utf8.len ? (unsigned char)utf8.data[i + 1] : 0;
        if (c >= 0xC3 && c <= 0xD2 && (second & 0xC0) == 0x80) {
            uint32_t letter = fold_letter((uint32_t)(c & 0x1F) << 6 | (second & 0x3F));
            *to++ = (char)(0xC0 | letter >> 6);
            *to++ = (char)(0x80 | (letter & 0x3F));
            i++;
        } else {
            *to++ = ascii_lower((char)c);
        }
    }
    buf_extend(out, utf8.len);
}

void text_search_init(struct text_search *search, struct slice needle)
{
    *search = (struct text_search){ .needle = needle, .found = needle.len == 0 };
}

void text_search_fini(struct text_search *search)
{
    buf_fini(&search->window);
}

bool text_search_feed(struct text_search *search, struct slice folded)
{
    if (search->found || folded.len == 0)
        return search->found;
    struct buf *window = &search->window;
    buf_append(window, folded);
    search->found = memmem(window->data, window->len, search->needle.data, search->needle.len) != NULL;
    /* The end may be the beginning of the needle. */
    if (window->len >= search->needle.len)
        buf_consume(window, window->len - (search->needle.len - 1));
    return search->found;
}
