/* claims: for whom a connection speaks. */
#ifndef SERVICE_CLAIMS_H
#define SERVICE_CLAIMS_H

#include "conn.h"

/* session_ops.claim_peer; the first claim of a connection counts. */
void claims_take(struct session *session, struct slice address, uint16_t port);
/* A gateway that is trusted has logged in. */
void claims_believe(struct conn *conn);

#endif
