/* poa: client/server access to a post office: which way to it is open now, and connections to its Post Office Agent that are logged in as a
 * user. State is kept by post office, across snapshots. */
#ifndef POSTERN_POA_POA_H
#define POSTERN_POA_POA_H

#include "postern/base/fault.h"
#include "postern/config/snapshot.h"
#include "postern/net/stream.h"

struct poa_options {
    const char *credentials_dir;   /* the files that posternPoaCredentials names; NULL: there are none */
    const char *tls_dir;           /* CA files and client certificates; NULL: there are none */
    const char *state_dir;         /* what the comparisons of POA and path have found is kept here; NULL: nowhere */
};

/* Starts the thread that probes POAs, reads CA files and credentials, and compares POA and path. Options are borrowed until poa_stop. */
int poa_start(const struct poa_options *options, struct fault *fault);
/* After the loops have ended. */
void poa_stop(void);

enum poa_path { PATH_POA, PATH_DIRECT, PATH_NONE };

enum poa_result {
    POA_OPEN,
    POA_REFUSED,    /* the user's own password was refused: no fallback */
    POA_FAILED,     /* a failed access: noted, the caller falls back if the mode allows */
};
/* Silence after the login was sent is a failed access when it cannot be the slow refusal of the user's own password: of credentials of the gateway, of a login that the same
 * host has accepted quickly within the last hour, or of the logins of two users at once; else only after login_timeout_ms. */

struct poa_opening;

/* All of it is copied, or referenced, until the answer. */
struct poa_open_request {
    struct loop *loop;
    struct snapshot *snapshot;
    const struct post_office *post_office;
    const char *user;
    struct slice password;      /* copied and wiped; may be SLICE_NONE */
    bool token;                 /* it is the user's bearer token */
    const char *client;         /* address in text, to be passed on, and port */
    uint16_t client_port;
    const char *local;
    uint64_t session_id;
    bool tls;                   /* of the client's connection */
    uint16_t local_port;        /* 0: not told */
    const char *mailbox_dir;    /* of the user, for the comparison of POA and path; or NULL */
    /* On the loop, never from within poa_open. The handle ends with the call: poa_take before it returns, if the result is OPEN. */
    void (*answered)(void *context, enum poa_result result, const struct fault *fault);
    void *context;
};

/* What is to be tried now, by the effective mode and by what is known of the POA. [L] */
enum poa_path poa_choose(const struct post_office *post_office);
/* What is next after POA_FAILED: PATH_DIRECT, if the mode allows it and POA and path have been found to show the same mailboxes; else PATH_NONE. [L] */
enum poa_path poa_fallback(const struct post_office *post_office);
/* Does the post office have a POA, and does its mode use it? */
bool poa_is_used(const struct post_office *post_office);
struct poa_opening *poa_open(const struct poa_open_request *request);
/* answered will not be called. */
void poa_open_cancel(struct poa_opening **opening);
/* Which of the post office's agents it is: for poa_is_away. */
size_t poa_agent(const struct poa_opening *opening);
/* For one who has waited for an answer of it since then: is it away? Asks for a probe if nobody has heard of it since, and then tells later. [L] */
bool poa_is_away(const struct post_office *post_office, size_t agent, uint64_t since_ms);
/* The connection becomes the caller's, as if by stream_init; input is not wanted yet. in: what has come after the login; capability: what the
 * POA says of itself now, the words of CAPABILITY separated by spaces. */
void poa_take(struct poa_opening *opening, struct stream *stream, struct buf *in, struct buf *capability, stream_callback *callback,
              void *context);

/* What connections to the POA other than for IMAP are to use, by its object: CA and own certificate, and the gateway's own credentials; each NULL: none. A fault: the files
 * are not read yet (BUSY), or cannot be. Any thread. */
struct poa_keys {
    struct tls_client *tls;
    char *name, *secret;
};
int poa_keys_get(const struct post_office_agent *agent, struct poa_keys *out, struct fault *fault);
/* Wipes. A zeroed one is accepted. */
void poa_keys_fini(struct poa_keys *keys);

/* Is a message in a user's INBOX? */
struct poa_look {
    struct snapshot *snapshot;
    const struct post_office *post_office;
    const char *user;
    int64_t since;              /* seconds: of the messages that are older, only those among the newest 100 are looked at */
    struct slice wanted;
    bool (*is_it)(struct slice received, struct slice wanted);   /* the Received fields of one message; on poa's thread */
};
enum poa_looked {
    POA_LOOK_FOUND,
    POA_LOOK_ABSENT,
    POA_LOOK_FAILED,    /* there is a way to look, and it did not work now */
    POA_LOOK_NO_WAY,    /* the gateway has no credentials of its own at the POA */
};
/* [T] By IMAP, with the gateway's own credentials. Waits, at most 45 seconds. */
enum poa_looked poa_look_for(const struct poa_look *look);

/* How one post office is reached. Texts live until the visit returns. */
struct poa_report {
    const struct post_office *post_office;   /* mode, path and agents, each with the DN that it came from */
    enum poa_path now;          /* how logins are served */
    const char *state;          /* the same in words */
    const char *host;           /* of the POA that is asked; NULL: none is */
    uint16_t port;
    int64_t since;              /* seconds since the epoch; 0: since the start */
    const char *failure;        /* the last failed access; "": none */
    int64_t failed_at;          /* seconds since the epoch; 0: never */
    const char *fallback;       /* "none", "ready", "off", "off until POA and path are compared" */
    const char *difference;     /* in what POA and path differ: then fallback is off; "" for nothing */
    uint64_t switches;          /* changes of the way since the start */
    uint64_t opened;            /* logins through the POA */
    uint64_t failures;          /* failed accesses */
    uint64_t refused;           /* logins that the POA refused */
};
/* Calls back before it returns. [L] */
void poa_describe(const struct post_office *post_office, void (*visit)(const struct poa_report *report, void *context), void *context);
/* For config_set_link_report: one line for each post office, those in trouble first. */
void poa_report_links(const struct snapshot *snapshot, struct buf *out, void *context);

#endif
