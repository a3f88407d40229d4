/* exchange: one SASL exchange of a session, the same for POP3, IMAP and SMTP: lines go in, challenges come out, and in the end the service is asked for
 * the login. The protocol owns the struct and words the replies. On the session's loop. */
#ifndef POSTERN_SESSION_EXCHANGE_H
#define POSTERN_SESSION_EXCHANGE_H

#include "postern/sasl/sasl.h"
#include "postern/session/session.h"

enum exchange_result {
    EXCHANGE_CHALLENGE,   /* send `challenge`, then give the client's line to exchange_line */
    EXCHANGE_WAIT,        /* an action is under way: exchange_resume when it has ended */
    EXCHANGE_LOGIN,       /* the login has ended: as the action did, as after session_login; from exchange_line: ACTION_OK */
    EXCHANGE_BAD,         /* malformed; it is over, as after the next two; the session is closed if the login had been let in */
    EXCHANGE_CANCELLED,   /* by the client's "*" */
    EXCHANGE_NAME,        /* take_name did not like the name */
};

/* A zeroed one is none. */
struct exchange {
    struct sasl_server *sasl;
    struct buf challenge;          /* base64, without a line end */
    /* The part of the name that is to be logged in with; false: it cannot be. May be NULL. */
    bool (*take_name)(struct session *session, struct slice full, struct slice *name_out);
    bool keys_wanted;
    bool proven;                   /* SCRAM: our own proof is in `challenge`, for when the login is let in */
    bool let_in;
};

/* What the session offers now: appended, separated by blanks; false if nothing. */
bool exchange_write_mechanisms(const struct session *session, struct buf *out);
/* False: the mechanism is not offered. Then exchange_line, at first with the initial response: empty if there was none. */
bool exchange_begin(struct exchange *exchange, const struct session *session, struct slice mechanism);
/* The line, without its line end, is the caller's. */
enum exchange_result exchange_line(struct exchange *exchange, struct session *session, struct slice line);
/* result: how the action ended. */
enum exchange_result exchange_resume(struct exchange *exchange, struct session *session, enum action_result result);
/* Wipes what was learned. */
void exchange_end(struct exchange *exchange);

#endif
