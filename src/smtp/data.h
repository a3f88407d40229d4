/* data: the automaton between the bytes after DATA and the message (RFC 5321 4.1.1.4, 4.5.2). Pure. */
#ifndef POSTERN_SMTP_DATA_H
#define POSTERN_SMTP_DATA_H

#include "postern/base/buf.h"

enum data_state { DATA_LINE_START, DATA_DOT, DATA_DOT_CR, DATA_TEXT, DATA_CR, DATA_DONE };

/* A zeroed struct begins a message. */
struct data_reader {
    enum data_state state;
    bool bare;     /* a CR or LF that is not part of CRLF was seen: the message is to be refused (RFC 5321 2.3.8) */
};

/* Takes bytes from *in until it is exhausted or CRLF "." CRLF was seen (state DATA_DONE; what follows stays in *in). Content without
 * the stuffed dots is appended to out. Only CRLF is a line's end: nothing else ends the data, however it is mixed with dots. */
void data_read(struct data_reader *reader, struct slice *in, struct buf *out);

#endif
