/* structure: the parts of a message, found by a parser that is fed the stored bytes in chunks of any size. It keeps only
 * headers (capped), never bodies. Bytes of a peer cannot make it fail: what is broken is read as Dovecot reads it. */
#ifndef POSTERN_MIME_STRUCTURE_H
#define POSTERN_MIME_STRUCTURE_H

#include "postern/mime/content.h"

enum {
    STRUCTURE_DEPTH_MAX = 100,        /* deeper multiparts and messages are leaves (overflow) */
    STRUCTURE_PARTS_MAX = 10000,
};

struct part_size {
    uint64_t stored;    /* octets in the file */
    uint64_t sent;      /* octets if every line ended in CRLF */
    uint64_t lines;     /* line ends */
};

struct part {
    struct part *parent;
    struct part *children;
    struct part *last_child;
    struct part *next;
    uint64_t offset;             /* of its header, in stored octets; its body is at offset + header.stored */
    struct part_size header;     /* with the blank line, if there is one */
    struct part_size body;       /* with everything inside */
    struct content content;
    struct envelope *envelope;   /* of the message itself, and of the child of a message/rfc822 part */
    unsigned depth;
    bool multipart;
    bool message;                /* message/rfc822: its only child is the message inside */
    bool digest;
    bool overflow;
};

struct structure;

/* The tree lives in the arena; the parser itself on the heap. */
struct structure *structure_new(struct arena *arena);
void structure_free(struct structure **structure);
void structure_feed(struct structure *structure, struct slice chunk);
/* The message; call once, after the last chunk. */
struct part *structure_finish(struct structure *structure);

#endif
