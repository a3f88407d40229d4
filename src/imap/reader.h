/* reader: collects one command with its literals out of a session's input, however the bytes arrive. Used by imap.c. It answers nothing. */
#ifndef POSTERN_IMAP_READER_H
#define POSTERN_IMAP_READER_H

#include "postern/base/buf.h"
#include "postern/base/slice.h"

enum read_result {
    READ_MORE,       /* everything there was is taken; call again when more has come */
    READ_COMMAND,    /* text holds a whole command, without its line end */
    READ_LITERAL,    /* a literal is announced: reader_collect_literal, or reader_reset and see to its bytes */
    READ_TOO_LONG,   /* text holds its beginning; the rest will be skipped: reader_reset, then go on */
};

struct literal {
    uint64_t size;
    bool unasked;    /* LITERAL+ (RFC 7888): its bytes come whether we like them or not */
};

/* Does the line, without its line end, end in "{n}" or "{n+}"? *before_out: what stands before it. */
bool reader_ends_in_literal(struct slice line, struct slice *before_out, struct literal *literal_out);

struct reader {
    struct buf text;          /* parser.h says how literals stand in it */
    size_t line;              /* where the current line begins in text: after the last literal */
    uint64_t collect;         /* bytes of a literal still to come */
    uint64_t discard;         /* bytes still to be thrown away: a literal in a command that is skipped */
    char tail[32];            /* last bytes of a line that is skipped */
    uint8_t tail_len;
    bool skipping;            /* up to the end of an over-long line */
};

/* limit: longest text of a command, literals included. */
enum read_result reader_read(struct reader *reader, struct buf *in, size_t limit, struct literal *literal_out);
/* True if the literal fits into limit: it is going to be part of the text. False: nothing has happened. */
bool reader_collect_literal(struct reader *reader, struct literal literal, size_t limit);
/* Forgets the text and frees it, wiped if it is a secret. A skip that has begun goes on. */
void reader_reset(struct reader *reader, bool secret);

enum line_result { LINE_MORE, LINE_DONE, LINE_TOO_LONG };
/* A line outside commands (IDLE's DONE, an answer to AUTHENTICATE): *line_out is in `in` and without its line end, *total_out is what
 * to buf_consume. */
enum line_result reader_line(const struct buf *in, size_t limit, struct slice *line_out, size_t *total_out);

#endif
