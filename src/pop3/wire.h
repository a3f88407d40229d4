/* wire: a stored message as POP3 sends it: every line ends in CRLF, a leading dot is doubled (RFC 1939 section 3), MIME fields are added where
 * asked, and TOP stops after its lines. Pure; bytes may come in pieces of any size. */
#ifndef POP3_WIRE_H
#define POP3_WIRE_H

#include "postern/base/buf.h"

struct wire {
    const char *fields;       /* put before the empty line that ends the header, or NULL */
    uint64_t body_lines;      /* TOP: lines of the body still to be sent */
    bool is_top;
    bool is_measured;         /* no doubled dots and no last line: RFC 1939 section 11 counts neither */
    bool in_body;
    bool in_line;             /* the current line has bytes */
    bool held_cr;             /* a CR at the start of a header line, not sent yet: it may be the empty line */
    bool full;                /* TOP: nothing more is wanted */
    char last;
};

/* A zeroed struct is the start of a whole message. */
void wire_write(struct wire *wire, struct slice stored, struct buf *out);
/* The end of the last line, if the message has none, and the line with the dot. */
void wire_end(struct wire *wire, struct buf *out);

#endif
