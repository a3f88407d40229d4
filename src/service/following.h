/* following: those who watch the configuration change (posternctl watch). First loop only. */
#ifndef SERVICE_FOLLOWING_H
#define SERVICE_FOLLOWING_H

#include "gateway.h"
#include "postern/base/list.h"
#include "postern/config/snapshot.h"
#include "postern/net/stream.h"

struct follow_job;

struct followers {
    struct gateway *gateway;
    struct list list;
    struct snapshot *seen;     /* what they were told last; NULL while there are none */
    struct follow_job *job;    /* what has changed since is found out in a thread; NULL: nothing is under way */
};

struct follow_state {
    struct list link;
    struct stream *stream;
    uint64_t missed;           /* changes not told since the follower does not keep up */
    bool json;
};

void followers_init(struct followers *f, struct gateway *gateway);
/* No thread is at work any more. */
void followers_fini(struct followers *f);
/* snapshot may be NULL: there is none yet. The stream outlives the state. */
void follow_begin(struct followers *f, struct follow_state *state, struct stream *stream, bool json, struct snapshot *snapshot);
void follow_end(struct followers *f, struct follow_state *state);
/* There is something new: all followers will be told. */
void follow_tell(struct followers *f, struct snapshot *snapshot);
/* Some output was written: says how much was missed, when there is room again. */
void follow_drained(struct follow_state *state);

#endif
