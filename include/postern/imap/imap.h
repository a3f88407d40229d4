/* imap: the server side of IMAP4rev1 (RFC 3501) with LITERAL+, SASL-IR, ID, ENABLE, IDLE, NAMESPACE, UIDPLUS, UNSELECT, CHILDREN,
 * SPECIAL-USE, MOVE, STATUS=SIZE and APPENDLIMIT, over a direct post office. For src/service; see session.h for when each function is called. */
#ifndef POSTERN_IMAP_IMAP_H
#define POSTERN_IMAP_IMAP_H

#include "postern/session/session.h"

extern const struct protocol imap_protocol;

#endif
