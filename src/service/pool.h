/* pool: the threads of one service and the steps that wait for them. Steps start in the order they came, except that one with a
 * serial key waits while another with that key has not ended, that a fair key with fewer steps at work goes first, and that the steps of one fair key
 * take at most half (rounded up) of the threads if any of them is slow. While none is they take all but a fifth; what a fair key that becomes slow has beyond its half the
 * others get in threads that are started for them, until it has given it back. */
#ifndef SERVICE_POOL_H
#define SERVICE_POOL_H

#include "postern/base/list.h"
#include "postern/session/session.h"

enum { POOL_AGAIN_FIRST_MS = 5, POOL_AGAIN_MOST_MS = 50, POOL_AGAIN_TOTAL_MS = 10000 };

struct pool;
struct lane;

/* Embedded in its owner, which fills in the first part; the rest is the pool's. */
struct pool_task {
    const void *serial_key;       /* or NULL */
    const void *fair_key;         /* or NULL: no limit, never stalled */
    const char *label;            /* name of fair_key for logs; outlives the pool; or NULL */
    enum step_result (*work)(struct pool_task *task);
    void (*done)(struct pool_task *task, bool ran);   /* any thread; the pool's last use of the task */
    void (*stuck)(struct pool_task *task);            /* may be NULL; any thread, under the pool's lock: only posts a message */

    struct list link;             /* in ready, waiting, delayed or running */
    struct list lane_link;        /* in its lane while not running */
    struct lane *lane;
    uint64_t sequence;
    uint64_t began_ms;            /* first try */
    uint64_t started_ms;          /* this try */
    uint64_t again_ms;            /* next try */
    unsigned tries;
    bool holds_serial;
    bool is_stuck;
};

struct pool_status {
    unsigned threads;             /* wanted */
    unsigned busy;
    unsigned idle;
    unsigned stuck;
    size_t queued;
};

/* name: for logs, outlives the pool. */
struct pool *pool_new(const char *name, unsigned threads);
/* Queued steps end without having run; waits a second for running ones. False: threads that do not return are left behind with the
 * pool, and what they use has to stay. */
bool pool_free(struct pool **pool);
/* Grows at once; a thread too many ends after its step. */
void pool_resize(struct pool *pool, unsigned threads);
/* done may be called before it returns: when the fair key is stalled. Any thread. */
void pool_submit(struct pool *pool, struct pool_task *task);
/* To be called a few times a second: finds steps older than stall_ms, replaces their threads and ends what waits for their fair key. */
void pool_watch(struct pool *pool, uint64_t stall_ms);
void pool_get_status(struct pool *pool, struct pool_status *status_out);
/* Calls back with the label of each fair key that is stalled now. */
void pool_for_each_stalled(struct pool *pool, void (*visit)(const char *label, void *context), void *context);

#endif
