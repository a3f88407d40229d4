/* conn: one client's connection: the session that the protocol sees, the stream below it, and what it waits for. Lives on
 * one loop; only the functions marked so are called elsewhere. */
#ifndef SERVICE_CONN_H
#define SERVICE_CONN_H

#include "gateway.h"
#include "login_gate.h"
#include "postern/net/stream.h"

enum conn_state {
    CONN_HANDSHAKE,   /* TLS from the first byte: the protocol has not begun */
    CONN_OPEN,
    CONN_CLOSING,     /* the last output is being written */
    CONN_LINGER,      /* all is written; the client has a moment to read it and close */
    CONN_DEAD,        /* closed; waits for its step and messages to end */
};

enum conn_action { CONN_NO_ACTION, CONN_STEP, CONN_LOGIN, CONN_RESOLVE, CONN_START_TLS };

/* A look-up under way; owned by the connection, used by a thread while the action is under way. */
struct look_up {
    struct conn *conn;
    struct login_ticket ticket;   /* of a login */
    bool through_gate;            /* it has to be left */
    struct directory_bind *bind;  /* under way on the loop; or NULL */
    struct loop_watch watch;
    struct loop_timer timer;
    enum session_proof proof;     /* of a login */
    struct sasl_keys keys;        /* after PROOF_KEYS */
    char *keys_dn;                /* whose they are; NULL: nobody's */
    struct buf name;
    struct buf password;          /* or token */
    struct buf gateway;           /* after PROOF_GATEWAY: whose password it is */
    struct user *user;
    uint64_t begun;               /* config_remember_begin */
    enum action_result result;
};

struct reach;
struct tls_facts;
struct claim;

struct conn {
    struct session session;       /* first */
    struct gateway *gateway;
    struct home *home;
    struct room *room;
    struct list link;             /* in home->conns */
    struct list stranger_link;    /* in home->strangers, until somebody has logged in; of SMTP only while the handshake lasts */
    struct stream stream;
    struct pool_task task;
    enum step_result (*work)(struct session *session);
    struct look_up *look_up;
    struct reach *reach;          /* a POA is asked, or the session is relayed to it; else NULL */
    struct tls_facts *tls_facts;  /* mechanisms.c; or NULL */
    struct claim *claim;          /* claims.c: made and not yet believed; or NULL */
    char address[48];             /* where it comes from, whomever it speaks for: what trust goes by */
    uint16_t port;
    struct loop_timer watchdog;   /* idle, login, write and closing limits: the nearest of them */
    struct loop_timer later;      /* wake_after; the answer of a failed login */
    uint64_t began_ms;
    uint64_t input_ms;            /* last input, or end of the last action */
    uint64_t state_ms;            /* when the state was entered */
    uint64_t arrived_ms;          /* of the login under way */
    uint64_t watchdog_ms;         /* when it will fire */
    _Atomic unsigned holds;       /* messages under way that name this connection */
    _Atomic bool woken;
    enum conn_state state;
    enum conn_action action;      /* asked for or under way */
    enum close_reason reason;
    bool under_way;               /* a thread or the handshake has the action */
    bool close_wanted;            /* the gateway closes it as soon as the action has ended */
    bool failing;                 /* a refused login waits for its time */
    bool rerun;                   /* the protocol stopped because out was full */
    bool in_run;
    bool finished;                /* the protocol's fini was called */
    bool counted;                 /* in room->sessions */
    bool claimed;
    bool waits;                   /* in a list of revoke.c, by wait_link */
    struct list wait_link;
    struct user *fresh;           /* takes the place of session.user when no action is under way; or NULL */
    enum close_reason at_rest;    /* closed with it when the protocol asks for no more steps; CLOSE_CLIENT: no */
    char *counted_user;           /* user_counts.c */
    char last_byte;               /* of what was handed to the stream; 0: nothing yet */
};

/* Takes the descriptor over; the connection begins on its own loop. Loop 0. */
void conn_open(struct gateway *gateway, struct room *room, enum listener_kind kind, int fd);
/* On its loop. */
void conn_close(struct conn *conn, enum close_reason reason);
/* On its loop, when an action has ended that the protocol shall not hear of: ends the session. */
void conn_turn_away(struct conn *conn, enum close_reason reason);
/* Posts fn(conn) to its loop; the connection lives until then. Any thread, while it is known to live. */
void conn_post(struct conn *conn, void (*fn)(void *conn));
/* First line of a posted fn: false if the connection has ended meanwhile (and may be gone now). */
bool conn_take(struct conn *conn);
/* Lets the protocol look for what has changed, unless an action is under way. */
void conn_run(struct conn *conn);
/* The action under way has ended. */
void conn_action_ended(struct conn *conn, enum action_result result);

/* step.c: hands conn->work over, which session_step asked for. */
void step_start(struct conn *conn);

/* look_up.c */
void look_up_start(struct conn *conn);
/* Tells the protocol how the login has ended, a refusal at its time. */
void look_up_finish(struct conn *conn);
void look_up_free(struct look_up **look_up);
/* A login's turn has come. Any thread. */
void look_up_may_go(struct login_ticket *ticket);

extern const struct session_ops conn_ops;

#endif
