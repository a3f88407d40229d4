/* session: one client's connection as a protocol sees it. The protocol takes bytes from `in`, puts bytes into `out`, and
 * asks for actions through `ops`; it knows no descriptor, loop or LDAP. src/service implements ops; unit tests fake them.
 *
 * Life: protocol->init (greeting), then protocol->run each time something may have changed: input came, output drained, a
 * step, a login or a look-up ended, TLS is up, session_wake was called, the time of session_wake_after is over. run does as much
 * as it can and returns. While `busy`, nothing is called but farewell, and state, in and out belong to the step.
 * All callbacks are on the session's loop thread, except the work of a step. */
#ifndef POSTERN_SESSION_SESSION_H
#define POSTERN_SESSION_SESSION_H

#include "postern/base/buf.h"
#include "postern/base/counter.h"
#include "postern/base/fault.h"
#include "postern/base/slice.h"
#include "postern/sasl/sasl.h"

struct snapshot;
struct user;
struct session;

enum service {
#define X(name, word, title) SERVICE_##name,
#include "postern/tbl/services.h"
#undef X
    SERVICE_COUNT
};

enum close_reason {
#define X(name, word) CLOSE_##name,
#include "postern/tbl/close_reasons.h"
#undef X
    CLOSE_COUNT
};

/* Which port the client came in by. */
enum listener_kind {
    LISTENER_PLAIN,         /* POP3, IMAP, SMTP port 25 */
    LISTENER_TLS,           /* POP3S, IMAPS: TLS from the first byte */
    LISTENER_SUBMISSION,    /* 587 (RFC 6409) */
    LISTENER_SUBMISSIONS,   /* 465: submission, TLS from the first byte (RFC 8314) */
    LISTENER_LMTP,          /* RFC 2033: resolve then takes user IDs too, of any domain, and never answers REMOTE */
    LISTENER_LMTPS,         /* the same, TLS from the first byte */
};

enum step_result {
    STEP_DONE,
    STEP_AGAIN,     /* a lock is held (FAULT_BUSY): the same work is called again in a few milliseconds and goes on */
};

static inline bool listener_begins_with_tls(enum listener_kind kind)
{
    return kind == LISTENER_TLS || kind == LISTENER_SUBMISSIONS || kind == LISTENER_LMTPS;
}

/* How the last step, login or look-up ended; valid when run is called after it. */
enum action_result {
    ACTION_NONE,         /* no action has ended since run was last called */
    ACTION_OK,
    ACTION_REFUSED,      /* login: wrong name, password, class of service, disabled...: the client hears one and the same;
                            resolve: no such local address in a local domain */
    ACTION_REMOTE,       /* resolve: not a domain of ours */
    ACTION_UNAVAILABLE,  /* directory or post office not reachable, stalled, or the lock not free in time: temporary failure */
};

struct protocol {
    enum service service;
    /* Sets session->state and writes the greeting. Not called before TLS is up on TLS ports. */
    void (*init)(struct session *session);
    void (*run)(struct session *session);
    /* Last words for a close that the gateway decides ("* BYE ...", "421 ..."): static text or SLICE_NONE. When session->busy
     * it must not look at state. Sent only if the output ends at a line's end. */
    struct slice (*farewell)(const struct session *session, enum close_reason reason);
    bool uses_remote;   /* can work with session->remote */
    /* While session->remote is there and nothing is kept in a buffer of either side; may be NULL. bytes is lent: what the client, or the POA, has just sent. What goes on to
     * the other side as it is is put into onward, or is onward, with the same memory; what is to be kept is left in bytes. False: run is to be called. */
    bool (*pass)(struct session *session, bool from_client, struct buf *bytes, struct buf *onward);
    /* Frees session->state (NULL if init was never called). Never while busy. */
    void (*fini)(struct session *session);
};

/* How a client shows who it is. */
enum session_proof {
    PROOF_PASSWORD,      /* session_login */
    PROOF_KEYS,          /* none yet: OK and session->keys, made up for names without any, so that nobody can tell; or UNAVAILABLE */
    PROOF_SHOWN,         /* it has proven that it knows the secret behind session->keys of the same name */
    PROOF_WRONG,         /* it has proven that it does not: REFUSED, counted as a wrong password */
    PROOF_TOKEN,         /* the secret is a bearer token; name: the user that it must speak of, or empty */
    PROOF_CERTIFICATE,   /* the one of the connection; name likewise */
    PROOF_GATEWAY,       /* name: the user to act as; the secret: the name of a gateway that is trusted, NUL, its password */
};

struct session_ops {
    void (*step)(struct session *session, enum step_result (*work)(struct session *));
    void (*login)(struct session *session, struct slice name, struct slice password);
    void (*authenticate)(struct session *session, enum session_proof proof, struct slice name, struct slice secret);
    void (*resolve)(struct session *session, struct slice address);
    void (*start_tls)(struct session *session);
    void (*close)(struct session *session, enum close_reason reason);
    void (*wake)(struct session *session);
    void (*wake_after)(struct session *session, unsigned milliseconds);
    void (*refresh)(struct session *session);
    void (*drop_remote)(struct session *session);
    void (*claim_peer)(struct session *session, struct slice address, uint16_t port);
    bool (*may_go_directly)(const struct session *session);
};

enum { SESSION_OUT_CHUNK = 128 * 1024 };   /* a step stops adding to out above this and goes on after run is called again */

/* A connection to the user's Post Office Agent, logged in as the user. The protocol takes bytes from `in` and puts bytes into `out`; run
 * is called when there is something new in either. */
struct remote {
    struct buf in;             /* from the POA and not yet consumed */
    struct buf out;            /* for the POA: sent when run returns */
    size_t in_limit;           /* reading pauses at this many bytes in `in`; set by the protocol, default 16 KiB */
    struct buf capability;     /* what the POA said of itself after the login, separated by spaces; the protocol may free it */
    bool eof;                  /* the POA sends no more, or is lost: what is in `in` is the last of it */
    bool out_full;             /* the POA does not keep up: put nothing more into out */
    bool direct_too;           /* the mailbox may also be opened directly: offer what both have; see session_may_go_directly */
    bool waiting;              /* set by the protocol: the POA owes an answer. One that says nothing for long, and is found away, is lost */
    uint64_t bulk;             /* set by the protocol, with nothing in `in`: so many of the POA's next octets are the client's as they are, after what is in the
                                  session's out. The gateway may send them on unseen, and counts down here */
    bool end_wanted;           /* the gateway wants to close the session: do so with end_reason as soon as the client is between two responses */
    enum close_reason end_reason;
};

struct session {
    const struct session_ops *ops;
    const struct protocol *protocol;
    void *state;               /* the protocol's own */
    struct buf in;             /* received and not yet consumed: take with buf_consume */
    struct buf out;            /* to be sent when run returns or the step has ended */
    size_t in_limit;           /* reading pauses at this many bytes in `in`; set by the protocol, default 16 KiB */
    unsigned idle_seconds;     /* closed with CLOSE_IDLE after that long without input while not busy; set by the protocol */
    enum listener_kind listener;
    bool busy;                 /* an action is under way */
    bool out_full;             /* the client does not keep up: begin nothing new until run is called again */
    bool eof;                  /* the client sends no more */
    bool closing;              /* close was called: run is not called again */
    bool tls;                  /* the connection is encrypted */
    bool tls_offered;          /* STARTTLS/STLS may be offered now (TLS configured, not yet on, mode not disabled) */
    bool clear_login;          /* login is allowed on this connection as it is now */
    bool loopback;             /* the client is on this machine */
    enum action_result result;
    char peer[48];             /* the client's address in text, without port, for logs and Received fields (RFC 5321 4.4) */
    char local[48];            /* our address */
    uint16_t peer_port;
    uint64_t id;               /* unique in this process, for logs */
    struct snapshot *snapshot; /* the configuration as of the last session_refresh; owned by the service */
    struct user *user;         /* after a login that ended in ACTION_OK: owned by the service, until the session ends */
    struct user *recipient;    /* after a resolve that ended in ACTION_OK: owned by the protocol now (user_ref rules) */
    const void *serial_key;    /* steps with the same key run one at a time (the mailbox); NULL: no such rule */
    const void *fair_key;      /* steps with the same key take at most half of the threads when they are slow (the post office); set by service
                                  from user at login, by SMTP for the recipient's post office before each delivery step */
    struct counters *counters; /* of its service */
    struct remote *remote;     /* after a login that ended in ACTION_OK: the mailbox is reached by this; NULL: directly */
    struct sasl_offer sasl;    /* what can be used now beside clear text, as of the last session_refresh; `clear` in it is not set */
    const struct sasl_keys *keys;   /* after PROOF_KEYS: owned by the service, until the next action */
    bool fallback;             /* after such a login, and after session_drop_remote: directly, because the POA is not reachable */
};

/* Runs work in a thread of the session's service; busy until then; then run with result OK or UNAVAILABLE (work was not run, or
 * a lock stayed busy too long). work may touch state, in, out and user, and nothing else of the session. */
static inline void session_step(struct session *s, enum step_result (*work)(struct session *))
{
    s->ops->step(s, work);
}

/* Verifies name and password; copies and wipes its own copy. busy until then; a refusal is answered at a fixed time after now
 * (the service waits; result REFUSED). The service logs and counts. session->user is set on OK. Class of service for the
 * session's service is part of the check. */
static inline void session_login(struct session *s, struct slice name, struct slice password)
{
    s->ops->login(s, name, password);
}

/* The same for other proofs: the answers are those of session_login. */
static inline void session_authenticate(struct session *s, enum session_proof proof, struct slice name, struct slice secret)
{
    s->ops->authenticate(s, proof, name, secret);
}

/* Looks an e-mail address up: OK sets session->recipient, a user who may receive; REFUSED, REMOTE or UNAVAILABLE. */
static inline void session_resolve(struct session *s, struct slice address)
{
    s->ops->resolve(s, address);
}

/* Sends what is in out, drops what is in `in` (RFC 3207 section 4, RFC 2595), does the handshake, then run with tls set. The
 * protocol forgets what it learned before. */
static inline void session_start_tls(struct session *s)
{
    s->ops->start_tls(s);
}

/* Sends what is in out, then closes. With a reason other than LOGOUT and CLIENT the farewell is sent first. */
static inline void session_close(struct session *s, enum close_reason reason)
{
    s->ops->close(s, reason);
}

/* Any thread, as long as the caller knows that the session lives: run will be called on its loop. */
static inline void session_wake(struct session *s)
{
    s->ops->wake(s);
}

/* run will be called once after that time; 0 cancels. */
static inline void session_wake_after(struct session *s, unsigned milliseconds)
{
    s->ops->wake_after(s, milliseconds);
}

/* Takes the newest snapshot: call at the beginning of each command. Also refreshes tls_offered and clear_login. */
static inline void session_refresh(struct session *s)
{
    s->ops->refresh(s);
}

/* Closes the connection to the POA; session->remote is NULL then. */
static inline void session_drop_remote(struct session *s)
{
    s->ops->drop_remote(s);
}

/* With a remote, lost or not: may its user's mailbox be opened directly in its place, now? */
static inline bool session_may_go_directly(const struct session *s)
{
    return s->remote->direct_too && s->ops->may_go_directly(s);
}

/* The client says that it speaks for a client at that address: believed, now or after the login, if it is a gateway that is trusted; peer changes then. */
static inline void session_claim_peer(struct session *s, struct slice address, uint16_t port)
{
    s->ops->claim_peer(s, address, port);
}

static inline bool session_out_has_room(const struct session *s)
{
    return s->out.len < SESSION_OUT_CHUNK;
}

const char *service_word(enum service service);
const char *close_reason_word(enum close_reason reason);

#endif
