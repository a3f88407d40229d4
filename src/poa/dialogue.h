/* dialogue: what is said to a POA until the user is logged in: greeting, capabilities, STARTTLS, ID, login (RFC 3501, 2971, 4959). Takes bytes and gives bytes; knows
 * no descriptor, loop or time. Internal to src/poa. */
#ifndef POA_DIALOGUE_H
#define POA_DIALOGUE_H

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/config/snapshot.h"

enum { DIALOGUE_IN_MAX = 8192 };   /* longest line */

enum dialogue_result {
    DIALOGUE_MORE,
    DIALOGUE_START_TLS,    /* send what is in out, do the handshake, then dialogue_tls_up */
    DIALOGUE_OPEN,         /* logged in; of a probe: the POA is well */
    DIALOGUE_REFUSED,      /* the user's own password */
    DIALOGUE_FAILED,
};

enum dialogue_phase { PHASE_GREETING, PHASE_PREPARING, PHASE_LOGIN };

struct dialogue_who {
    struct slice user;
    struct slice password;         /* of the user; SLICE_NONE: none */
    bool token;                    /* it is a bearer token */
    struct slice name;             /* the gateway's own, for authorization and master user */
    struct slice secret;
    const char *client, *local;    /* addresses in text; client NULL: nothing is told */
    uint16_t client_port, local_port;
    uint64_t session_id;
};

struct dialogue {
    const struct post_office_agent *agent;
    const struct dialogue_who *who;    /* borrowed until the login is sent, as are its slices */
    bool probe;                        /* no login */
    bool tls;
    int state;                         /* dialogue.c */
    bool has_capability;
    bool skip_line;                    /* the rest of a line after a literal */
    bool of_user;                      /* a failure that may be this user's alone */
    bool name_sent;                    /* LOGIN by literals; or what a bearer token is refused for was read */
    unsigned lines;                    /* that were not asked for */
    uint64_t skip;                     /* octets of a literal that nobody reads */
    struct buf capability;
    struct fault fault;
};

/* tls: from the first byte, and up. */
void dialogue_init(struct dialogue *d, const struct post_office_agent *agent, const struct dialogue_who *who, bool probe);
void dialogue_fini(struct dialogue *d);
/* Before anything is read: the PROXY header, if there must be one. */
void dialogue_begin(struct dialogue *d, struct buf *out);
/* Consumes what it can of in; appends to out what holds secrets: wipe it when it was sent. After FAILED and REFUSED the fault is set. */
enum dialogue_result dialogue_run(struct dialogue *d, struct buf *in, struct buf *out);
/* The handshake is done; whatever was known before is forgotten. */
void dialogue_tls_up(struct dialogue *d, struct buf *out);
enum dialogue_phase dialogue_phase(const struct dialogue *d);

#endif
