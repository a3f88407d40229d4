/* pop3: the server's side of POP3: RFC 1939, CAPA and response codes (RFC 2449, RFC 3206), AUTH (RFC 5034), STLS (RFC 2595), and the POP3
 * login options. It speaks through the session's contract only (postern/session/session.h). */
#ifndef POSTERN_POP3_POP3_H
#define POSTERN_POP3_POP3_H

#include "postern/session/session.h"

extern const struct protocol pop3_protocol;

/* Where views of mailboxes behind Post Office Agents are kept that keep none themselves. At the start, before there are sessions. */
void pop3_configure(const char *state_dir);

#endif
