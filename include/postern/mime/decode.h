/* decode: transfer encodings, character sets, encoded words and case folding, for SEARCH. All text ends as UTF-8. */
#ifndef POSTERN_MIME_DECODE_H
#define POSTERN_MIME_DECODE_H

#include "postern/base/buf.h"

enum transfer_encoding { TRANSFER_PLAIN, TRANSFER_BASE64, TRANSFER_QUOTED_PRINTABLE };

/* Zeroed with an encoding is the start of a text. */
struct transfer_decoder {
    enum transfer_encoding encoding;
    uint32_t bits;
    unsigned bit_count;
    unsigned held;             /* quoted-printable: bytes of an unfinished "=XX" or of blanks before a line end */
    char hold[80];
};

/* From the value of Content-Transfer-Encoding; what is unknown is TRANSFER_PLAIN. */
enum transfer_encoding transfer_encoding_of(struct slice name);
/* Appends what can be decoded so far; bytes that do not belong are skipped (RFC 2045 6.8) or kept as they are (6.7). */
void transfer_decode(struct transfer_decoder *decoder, struct slice bytes, struct buf *out);
void transfer_decode_end(struct transfer_decoder *decoder, struct buf *out);

struct charset;

/* NULL if it is not known. "", US-ASCII and UTF-8 always are. */
struct charset *charset_new(struct slice name);
void charset_free(struct charset **charset);
bool charset_is_known(struct slice name);
/* Appends as UTF-8; characters may be split between calls; bytes that are no character become '?'. */
void charset_decode(struct charset *charset, struct slice bytes, struct buf *out);

/* A header value as UTF-8: RFC 2047 encoded words decoded, folding removed. */
void words_decode(struct slice value, struct buf *out);

/* Case folding: ASCII and the simple pairs of Latin, Greek and Cyrillic; other characters stay as they are. */
void text_fold(struct slice utf8, struct buf *out);

/* Finds `needle` (folded) in a text that comes in pieces. */
struct text_search {
    struct slice needle;    /* borrowed */
    struct buf window;
    bool found;
};
void text_search_init(struct text_search *search, struct slice needle);
void text_search_fini(struct text_search *search);
/* Folded text; true once the needle has been seen. */
bool text_search_feed(struct text_search *search, struct slice folded);

#endif
