/* transfer: base64 and quoted-printable (RFC 2045 section 6), for SEARCH. It never fails: bytes that do not belong are skipped
 * or kept. */
#include <string.h>

#include "postern/mime/decode.h"

enum transfer_encoding transfer_encoding_of(struct slice name)
{
    name = slice_trim(name);
    if (slice_is_nocase(name, "base64"))
        return TRANSFER_BASE64;
    return slice_is_nocase(name, "quoted-printable") ? TRANSFER_QUOTED_PRINTABLE : TRANSFER_PLAIN;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (ascii_is_digit(c))
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

static void decode_base64(struct transfer_decoder *d, struct slice bytes, struct buf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        int value = base64_value(bytes.data[i]);
        if (bytes.data[i] == '=')
            d->bits = d->bit_count = 0;
        if (value < 0)
            continue;
        d->bits = d->bits << 6 | (uint32_t)value;
        d->bit_count += 6;
        if (d->bit_count >= 8) {
            d->bit_count -= 8;
            buf_append_byte(out, (char)(d->bits >> d->bit_count));
            d->bits &= (1u << d->bit_count) - 1;
        }
    }
}

static int hex_value(char c)
{
    if (ascii_is_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void release(struct transfer_decoder *d, struct buf *out)
{
    buf_append(out, slice_make(d->hold, d->held));
    d->held = 0;
}

/* One byte after a held '='. */
static void decode_escape(struct transfer_decoder *d, char c, struct buf *out)
{
    d->hold[d->held++] = c;
    if (c == '\n') {
        d->held = 0;    /* soft line break, with blanks and CR before it */
    } else if (d->held == 3 && hex_value(d->hold[1]) >= 0 && hex_value(c) >= 0) {
        buf_append_byte(out, (char)(hex_value(d->hold[1]) * 16 + hex_value(c)));
        d->held = 0;
    } else if (!(c == ' ' || c == '\t' || c == '\r' || (d->held == 2 && hex_value(c) >= 0)) || d->held == sizeof(d->hold)) {
        release(d, out);
    }
}

static void decode_quoted_printable(struct transfer_decoder *d, struct slice bytes, struct buf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        char c = bytes.data[i];
        if (d->held > 0 && d->hold[0] == '=') {
            decode_escape(d, c, out);
        } else if (c == ' ' || c == '\t') {
            if (d->held == sizeof(d->hold))
                release(d, out);
            d->hold[d->held++] = c;
        } else {
            /* Blanks before a line end were added on the way (rule 3). */
            if (c == '\n' || c == '\r')
                d->held = 0;
            release(d, out);
            if (c == '=')
                d->hold[d->held++] = c;
            else
                buf_append_byte(out, c);
        }
    }
}

void transfer_decode(struct transfer_decoder *decoder, struct slice bytes, struct buf *out)
{
    if (decoder->encoding == TRANSFER_BASE64)
        decode_base64(decoder, bytes, out);
    else if (decoder->encoding == TRANSFER_QUOTED_PRINTABLE)
        decode_quoted_printable(decoder, bytes, out);
    else
        buf_append(out, bytes);
}

void transfer_decode_end(struct transfer_decoder *decoder, struct buf *out)
{
    release(decoder, out);
}
