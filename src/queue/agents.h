/* agents: one message to recipients of one post office through its Post Office Agents by LMTP (RFC 2033). Used by attempt.c; blocks. */
#ifndef POSTERN_QUEUE_AGENTS_H
#define POSTERN_QUEUE_AGENTS_H

#include <stdatomic.h>

#include "postern/config/snapshot.h"
#include "spool.h"

struct agents_job {
    const struct envelope *envelope;
    int message;
    const char *helo;
    const atomic_bool *stopping;
    const struct post_office *office;
    struct envelope_recipient **recipients;  /* each gets outcome, status, text; their order may change */
    size_t count;
    bool (*before_end)(void *context);       /* as of give_job */
    void (*answered)(void *context);
    void *context;
    bool came_back;                          /* out: an agent answers that did not before */
};

void agents_give(struct agents_job *job);

#endif
