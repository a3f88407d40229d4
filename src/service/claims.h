/* claims: for whom a connection speaks. */
#ifndef SERVICE_CLAIMS_H
#define SERVICE_CLAIMS_H

#include "conn.h"

/* session_ops.claim_peer; the first claim of a connection counts. */
void claims_take(struct session *session, struct slice address, uint16_t port);
/* A login begins: an address that is trusted is believed now. */
void claims_consider(struct conn *conn);
/* STARTTLS: whoever made the claim before it may have been somebody else (RFC 3501, section 6.2.1). Also at the end. */
void claims_forget(struct conn *conn);
/* A gateway that is trusted has logged in. */
void claims_believe(struct conn *conn);

#endif
