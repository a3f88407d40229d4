/* revoke: keeps the rights of logged-in sessions as the directory has them now: one whose right is gone ends, one whose limits changed goes on under
 * the new ones. Sessions are looked over when something changed and each second, since time alone ends some rights. */
#ifndef SERVICE_REVOKE_H
#define SERVICE_REVOKE_H

#include "conn.h"

struct revoker;

struct revoker *revoker_new(struct gateway *gateway);
/* After the look-up threads have ended. */
void revoker_free(struct revoker **revoker);
/* Looks over the sessions of all loops, a part at a time. Any thread. */
void revoke_look(struct gateway *gateway);

/* On the connection's loop: a user has just logged in; an action has ended and the session may be given new rights; it ends. */
void revoke_logged_in(struct conn *conn);
void revoke_settle(struct conn *conn);
void revoke_forget(struct conn *conn);

/* Whether the user may use the service at all. */
bool revoke_is_allowed(const struct user *user, enum service service);

#endif
