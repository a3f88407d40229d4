/* plain: the login option n: a message as plain RFC 822: its header without MIME fields, then its first text part, decoded to UTF-8. */
#ifndef POP3_PLAIN_H
#define POP3_PLAIN_H

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/mime/decode.h"

struct part;

struct plain {
    struct buf header;        /* without MIME fields, with the empty line */
    uint64_t offset;          /* of the text part's body in the message, */
    uint64_t length;          /* and its stored octets; 0 if there is no text part */
    bool is_html;             /* or there is none: a part behind it could be preferred */
    struct transfer_decoder decoder;
    struct charset *charset;
    struct buf decoded;       /* between the two decoders */
};

/* [T] Reads the message file once, in pieces in scratch, and finds the part. */
int plain_new(int fd, char *scratch, size_t scratch_size, struct plain **out, struct fault *fault);
/* The same from a structure, and the message's first octets: its header, or as much of it as counts (HEADER_BYTES_MAX). */
struct plain *plain_of(const struct part *message, struct slice beginning);
void plain_free(struct plain **plain);
/* Appends what a piece of the part's body says. */
void plain_decode(struct plain *plain, struct slice stored, struct buf *text);
void plain_decode_end(struct plain *plain, struct buf *text);

#endif
