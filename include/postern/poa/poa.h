/* poa: client/server access to a post office: which way to it is open now, and connections to its Post Office Agent that are logged in as a
 * user. State is kept by post office, across snapshots. */
#ifndef POSTERN_POA_POA_H
#define POSTERN_POA_POA_H

#include "postern/base/fault.h"
#include "postern/config/snapshot.h"
#include "postern/net/stream.h"

enum poa_path { PATH_POA, PATH_DIRECT, PATH_NONE };

enum poa_result {
    POA_OPEN,
    POA_REFUSED,    /* the user's own password was refused: no fallback */
    POA_FAILED,     /* a failed access: noted, the caller falls back if the mode allows */
};

struct poa_opening;

/* All of it is copied, or referenced, until the answer. */
struct poa_open_request {
    struct loop *loop;
    struct snapshot *snapshot;
    const struct post_office *post_office;
    const char *user;
    struct slice password;      /* copied and wiped; may be SLICE_NONE */
    const char *client;         /* address in text, to be passed on, and port */
    uint16_t client_port;
    const char *local;
    uint64_t session_id;
    bool tls;                   /* of the client's connection */
    /* On the loop, never from within poa_open. The handle ends with the call: poa_take before it returns, if the result is OPEN. */
    void (*answered)(void *context, enum poa_result result, const struct fault *fault);
    void *context;
};

/* What is to be tried now, by the effective mode and by what is known of the POA. [L] */
enum poa_path poa_choose(const struct post_office *post_office);
/* Does the post office have a POA, and does its mode use it? */
bool poa_is_used(const struct post_office *post_office);
struct poa_opening *poa_open(const struct poa_open_request *request);
/* answered will not be called. */
void poa_open_cancel(struct poa_opening **opening);
/* The connection becomes the caller's, as if by stream_init; input is not wanted yet. in: what has come after the login; capability: what the
 * POA says of itself now, the words of CAPABILITY separated by spaces. */
void poa_take(struct poa_opening *opening, struct stream *stream, struct buf *in, struct buf *capability, stream_callback *callback,
              void *context);

#endif
