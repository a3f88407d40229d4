/* fetch_text: ENVELOPE, BODY and BODYSTRUCTURE in IMAP's words (RFC 3501 7.4.2 and section 9), and strings in general. Pure. For the
 * FETCH files only. */
#ifndef POSTERN_IMAP_FETCH_TEXT_H
#define POSTERN_IMAP_FETCH_TEXT_H

#include "postern/base/buf.h"
#include "postern/mime/structure.h"

/* NIL (data NULL), quoted if the grammar allows it and it is not long, else a literal. NUL becomes 0x80. */
void fetch_text_string(struct buf *out, struct slice text);
/* With the parentheses; NULL is an empty envelope. */
void fetch_text_envelope(struct buf *out, const struct envelope *envelope);
/* With the parentheses; extended: BODYSTRUCTURE, else BODY. */
void fetch_text_structure(struct buf *out, const struct part *part, bool extended);

#endif
