/* mechanisms: what the service knows of logins that are not by name and password: which SASL mechanisms a connection can use now, and who its certificate or
 * token speaks of. */
#ifndef SERVICE_MECHANISMS_H
#define SERVICE_MECHANISMS_H

#include "conn.h"

/* On the connection's loop: fills session.sasl. */
void mechanisms_refresh(struct conn *conn, enum tls_mode mode);
/* TLS is up: learns what the handshake has shown. */
void mechanisms_tls_up(struct conn *conn);
void mechanisms_free(struct conn *conn);
/* [T] The user of the login under way, into look_up->user: by name; of a token or certificate, by what it says, and then the name must mean the same user. A
 * token is verified. FAULT_AUTHENTICATION: it is not good. */
int mechanisms_find_user(struct conn *conn, struct fault *fault);

#endif
