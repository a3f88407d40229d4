/* reach: how the mailbox of a user who has just been verified is reached, and the connection to the POA while the session lasts. Called by
 * look_up.c and conn.c, on the connection's loop. */
#ifndef SERVICE_REACH_H
#define SERVICE_REACH_H

#include "conn.h"

/* With conn->look_up->result OK: decides. True: the POA is being asked, look_up_finish is called when it has answered. False: decided already,
 * the result may have changed. */
bool reach_begin(struct conn *conn);
/* After the protocol has run: sends what it had for the POA, reads from it as far as there is room. */
void reach_settle(struct conn *conn);
/* True: the session is asked to end with reason between two responses, before reach_end_ms. */
bool reach_end(struct conn *conn, enum close_reason reason);
/* When a session that was asked to end is closed all the same; UINT64_MAX: it was not asked. */
uint64_t reach_end_ms(const struct conn *conn);
/* When a POA that owes an answer has been silent for too long; UINT64_MAX: it owes none. */
uint64_t reach_silence_ms(const struct conn *conn);
/* If that time has come: a POA that is away now is lost to the session. False: it has not come. */
bool reach_look(struct conn *conn);
/* Must a session end because the link of its post office is another now? fresh: its user as of now. */
bool reach_is_outdated(const struct conn *conn, const struct user *fresh);
/* Nothing more is read or awaited from the POA. */
void reach_stop(struct conn *conn);
/* Closes and frees. Not from within a callback of the POA's stream. */
void reach_free(struct conn *conn);
/* session_ops: later, by a message. */
void reach_drop(struct session *session);
/* session_ops. */
bool reach_may_go_directly(const struct session *session);

#endif
