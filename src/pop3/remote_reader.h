/* remote_reader: what a Post Office Agent says (RFC 9051 section 2.2.2), cut into lines and literals, and what a FETCH response tells. Pure; bytes
 * may come in pieces of any size, and everything that they can grow has a cap. */
#ifndef POP3_REMOTE_READER_H
#define POP3_REMOTE_READER_H

#include <time.h>

#include "postern/base/buf.h"

enum { REMOTE_LINE_MAX = 65536 };

/* Zeroed: the start. */
struct remote_reader {
    struct buf line;          /* the beginning of a line whose end has not come */
    uint64_t literal_left;    /* octets of the literal that have not come */
    bool begins;              /* the text given last is the beginning of a response */
    bool literal_follows;     /* the text given last ends in {N} */
    bool may_have_literals;   /* the response is no status response, whose text could end in braces by chance */
    bool given;               /* line has been given to the caller */
};

enum remote_event {
    REMOTE_MORE,       /* all is taken */
    REMOTE_TEXT,       /* a line, or the part of one before or behind a literal, without its line end */
    REMOTE_LITERAL,    /* a piece of a literal */
    REMOTE_BROKEN,     /* a line or a literal that is too long */
};

/* Takes the next thing from the front of *rest. *piece_out is valid until the next call. */
enum remote_event remote_reader_next(struct remote_reader *reader, struct slice *rest, struct slice *piece_out);
void remote_reader_fini(struct remote_reader *reader);

/* What one FETCH response has told so far. */
struct fetched {
    bool has_uid;
    bool has_size;
    bool has_flags;
    bool has_date;
    bool has_body;
    bool body_is_literal;    /* it follows */
    bool seen;
    uint32_t uid;
    uint64_t size;
    time_t date;
    struct slice body;       /* if it is no literal: as it was quoted, with its backslashes */
};

/* Takes the items of the first text of a FETCH response from behind its "(", or those of a text behind a literal. False: it is none. */
bool fetched_take(struct fetched *fetched, struct slice text, bool literal_follows);
/* The date and time of RFC 9051 section 9, without its quotes. */
bool fetched_take_date(struct slice text, time_t *date_out);

#endif
