/* attempt: one go at delivering one queued message, and what follows from it. Used by queue.c's threads; blocks. */
#ifndef POSTERN_QUEUE_ATTEMPT_H
#define POSTERN_QUEUE_ATTEMPT_H

#include <stdatomic.h>

#include "spool.h"

struct snapshot;

struct attempt_result {
    time_t next;          /* when the message is due again; 0: it is done and gone */
    bool away;            /* whether what waits is (also) for elsewhere, or for an agent; kept if nothing is known */
    char office[37];      /* entryUUID of a post office whose agent it waits for; "": none */
    bool waits_for_lane;  /* it waits until one of at most lane_width threads has left that post office, or one of all_lanes any: see lane.h */
    size_t lane_width, all_lanes;
    char back[37];        /* of one whose agent answers again, after it had been away; "": none */
    char notice[SPOOL_ID_MAX];   /* a notice that is in the spool and due: what it tells of is written down; "": none */
    bool notice_away;     /* it is for elsewhere, or for an agent */
};
void attempt_run(struct spool *spool, const char *id, const struct snapshot *snapshot, const atomic_bool *stopping, struct attempt_result *result);
/* True if a recipient that waits is for elsewhere. */
bool attempt_is_away(const struct envelope *envelope, const struct snapshot *snapshot);

/* Minutes until the next go after `attempts` goes, from agent.defer_minutes. */
unsigned attempt_delay_minutes(const struct snapshot *snapshot, uint64_t attempts);

/* notice.c: a delivery status notification about the FAILED recipients into the spool, from the null path (RFC 3464, RFC 5321 6.1). It counts from then on, also after
 * a crash: see result_finish. *notice_out: its envelope, which the caller ends. */
int notice_write(struct spool *spool, const struct envelope *envelope, int message, const struct snapshot *snapshot, const char *host, struct envelope *notice_out,
                 struct fault *fault);

#endif
