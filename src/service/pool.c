/* Threads and the order of steps. Called by connections and look-ups; must never run a step under its lock, nor two steps of
 * one serial key at once. */
#include "pool.h"

#include <errno.h>
#include <pthread.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"

enum {
    STACK_BYTES = 2 * 1024 * 1024,
    FREE_WAIT_MS = 1000,
    SLOW_MS = 50,             /* steps this old may be hanging: their fair key gets no more than half, and gives back what it has above that */
};

/* The steps of one fair key; it lives while there are any. */
struct lane {
    struct list link;         /* in pool->lanes */
    const void *key;
    const char *label;
    struct list ready;        /* by sequence */
    struct list queued;       /* all that are not running, by lane_link */
    size_t tasks;
    unsigned running;         /* without the stuck ones */
    unsigned stuck;
};

/* A serial key that a step holds, from when it is ready until it has ended. */
struct serial {
    struct list waiting;
};

struct thread {
    struct list link;         /* in pool->ended */
    struct pool *pool;
    pthread_t id;
};

struct pool {
    const char *name;
    pthread_mutex_t lock;
    pthread_cond_t news;
    struct map lanes_by_key;
    struct list lanes;
    struct map serials;
    struct list delayed;      /* STEP_AGAIN, by again_ms */
    struct list running;
    struct list ended;        /* threads to be joined */
    uint64_t sequence;
    size_t queued;
    unsigned wanted;
    unsigned live;            /* threads without the stuck ones */
    unsigned lent;            /* threads in place of those that slow fair keys have beyond their half */
    unsigned busy;
    unsigned stuck;
    bool stopping;
};

static struct slice key_bytes(const void *const *key)
{
    return slice_make((const char *)key, sizeof(*key));
}

/* --- lanes and serial keys (all under the lock) ---------------------------------------------------------------------- */

static struct lane *lane_of(struct pool *p, const struct pool_task *task)
{
    struct lane *lane = map_get(&p->lanes_by_key, key_bytes(&task->fair_key));
    if (lane == NULL) {
        lane = MEM_NEW(struct lane);
        lane->key = task->fair_key;
        lane->label = task->label ? task->label : "-";
        list_init(&lane->ready);
        list_init(&lane->queued);
        list_append(&p->lanes, &lane->link);
        map_put(&p->lanes_by_key, key_bytes(&task->fair_key), lane);
    }
    return lane;
}

static void leave_lane(struct pool *p, struct pool_task *task)
{
    struct lane *lane = task->lane;
    CHECK(lane->tasks > 0);
    if (--lane->tasks > 0)
        return;
    map_remove(&p->lanes_by_key, key_bytes(&lane->key));
    list_remove(&lane->link);
    mem_free(&lane);
}

static unsigned half(const struct pool *p)
{
    return (p->wanted + 1) / 2;
}

static bool is_slow(const struct pool *p, const struct lane *lane, uint64_t now)
{
    LIST_FOR_EACH (&p->running, at) {
        const struct pool_task *task = LIST_ITEM(at, struct pool_task, link);
        if (task->lane == lane && !task->is_stuck)
            return now >= task->started_ms + SLOW_MS;   /* they stand in the order in which they started */
    }
    return false;
}

/* Half of the threads, and while all goes quickly what nobody else needs but a few: who comes next finds a thread. */
static unsigned lane_limit(const struct pool *p, const struct lane *lane, uint64_t now)
{
    unsigned kept = p->wanted < 10 ? 1 : p->wanted / 5, most = p->wanted > kept ? p->wanted - kept : 1;
    if (lane->key == NULL)
        return p->wanted;
    return lane->running < half(p) || most <= half(p) || lane->stuck > 0 || is_slow(p, lane, now) ? half(p) : most;
}

static void make_ready(struct pool_task *task)
{
    struct list *at = &task->lane->ready;
    while (at->prev != &task->lane->ready && LIST_ITEM(at->prev, struct pool_task, link)->sequence > task->sequence)
        at = at->prev;
    list_append(at, &task->link);   /* before `at` */
}

/* False: another step holds the key, and the task waits for it. */
static bool take_serial(struct pool *p, struct pool_task *task)
{
    if (task->serial_key == NULL)
        return true;
    struct serial *serial = map_get(&p->serials, key_bytes(&task->serial_key));
    if (serial != NULL) {
        list_append(&serial->waiting, &task->link);
        return false;
    }
    serial = MEM_NEW(struct serial);
    list_init(&serial->waiting);
    map_put(&p->serials, key_bytes(&task->serial_key), serial);
    task->holds_serial = true;
    return true;
}

static void release_serial(struct pool *p, struct pool_task *task)
{
    if (!task->holds_serial)
        return;
    task->holds_serial = false;
    struct serial *serial = map_get(&p->serials, key_bytes(&task->serial_key));
    if (!list_is_empty(&serial->waiting)) {
        struct pool_task *next = LIST_ITEM(serial->waiting.next, struct pool_task, link);
        list_remove(&next->link);
        next->holds_serial = true;
        make_ready(next);
        pthread_cond_signal(&p->news);
        return;
    }
    map_remove(&p->serials, key_bytes(&task->serial_key));
    mem_free(&serial);
}

/* Takes everything that waits in the lane out, into `failed`. */
static void fail_queued(struct pool *p, struct lane *lane, struct list *failed)
{
    lane->tasks++;   /* holds the lane */
    while (!list_is_empty(&lane->queued)) {
        struct pool_task *task = LIST_ITEM(lane->queued.next, struct pool_task, lane_link);
        list_remove(&task->lane_link);
        list_remove(&task->link);
        release_serial(p, task);
        p->queued--;
        lane->tasks--;
        list_append(failed, &task->link);
    }
    struct pool_task hold = { .lane = lane };
    leave_lane(p, &hold);
}

static void end_failed(struct list *failed)
{
    while (!list_is_empty(failed)) {
        struct pool_task *task = LIST_ITEM(failed->next, struct pool_task, link);
        list_remove(&task->link);
        task->done(task, false);
    }
}

/* --- threads ----------------------------------------------------------------------------------------------------------- */

/* The step that may start: of the fair key with the fewest at work, so that one with many waiting holds up no other; among equals
 * the one that came first. Taken out; or NULL. */
static struct pool_task *next_task(struct pool *p, uint64_t now)
{
    struct pool_task *first = NULL;
    LIST_FOR_EACH (&p->lanes, at) {
        struct lane *lane = LIST_ITEM(at, struct lane, link);
        if (list_is_empty(&lane->ready) || lane->running >= lane_limit(p, lane, now))
            continue;
        struct pool_task *task = LIST_ITEM(lane->ready.next, struct pool_task, link);
        if (first == NULL || lane->running < first->lane->running ||
            (lane->running == first->lane->running && task->sequence < first->sequence))
            first = task;
    }
    if (first != NULL) {
        list_remove(&first->link);
        list_remove(&first->lane_link);
        p->queued--;
    }
    return first;
}

static void take_due(struct pool *p, uint64_t now)
{
    while (!list_is_empty(&p->delayed)) {
        struct pool_task *task = LIST_ITEM(p->delayed.next, struct pool_task, link);
        if (task->again_ms > now)
            return;
        list_remove(&task->link);
        make_ready(task);
        pthread_cond_signal(&p->news);
    }
}

static void wait_for_news(struct pool *p)
{
    if (list_is_empty(&p->delayed)) {
        pthread_cond_wait(&p->news, &p->lock);
        return;
    }
    uint64_t at = LIST_ITEM(p->delayed.next, struct pool_task, link)->again_ms;
    struct timespec until = { .tv_sec = (time_t)(at / 1000), .tv_nsec = (long)(at % 1000) * 1000000 };
    pthread_cond_timedwait(&p->news, &p->lock, &until);
}

/* True if the task is to be tried again; it is queued for it. */
static bool try_again(struct pool *p, struct pool_task *task)
{
    uint64_t now = clock_monotonic_ms();
    if (task->is_stuck || task->lane->stuck > 0 || p->stopping || now - task->began_ms >= POOL_AGAIN_TOTAL_MS)
        return false;
    unsigned delay = POOL_AGAIN_FIRST_MS << (task->tries < 4 ? task->tries : 4);
    task->tries++;
    task->again_ms = now + (delay < POOL_AGAIN_MOST_MS ? delay : POOL_AGAIN_MOST_MS);
    struct list *at = &p->delayed;
    while (at->prev != &p->delayed && LIST_ITEM(at->prev, struct pool_task, link)->again_ms > task->again_ms)
        at = at->prev;
    list_append(at, &task->link);
    list_append(&task->lane->queued, &task->lane_link);
    p->queued++;
    pthread_cond_signal(&p->news);
    return true;
}

/* A thread that was given up has come back after all. */
static void return_stuck(struct pool *p, struct pool_task *task)
{
    struct lane *lane = task->lane;
    p->stuck--;
    p->live++;
    lane->stuck--;
    log_warning("service", "%s: a step on %s returned after %llu ms%s", p->name, lane->label,
                (unsigned long long)(clock_monotonic_ms() - task->started_ms),
                lane->stuck == 0 && lane->key != NULL ? "; the post office is served again" : "");
}

static void run_task(struct pool *p, struct pool_task *task)
{
    struct lane *lane = task->lane;
    lane->running++;
    p->busy++;
    task->started_ms = clock_monotonic_ms();
    if (task->began_ms == 0)
        task->began_ms = task->started_ms;
    list_append(&p->running, &task->link);
    pthread_mutex_unlock(&p->lock);
    enum step_result result = task->work(task);
    pthread_mutex_lock(&p->lock);
    list_remove(&task->link);
    if (task->is_stuck)
        return_stuck(p, task);
    else {
        lane->running--;
        p->busy--;
    }
    /* This thread itself takes the next step; there may be room for one more, now that a slow one has ended. */
    if (!list_is_empty(&lane->ready) && lane->running + 1 < lane_limit(p, lane, clock_monotonic_ms()))
        pthread_cond_signal(&p->news);
    bool again = result == STEP_AGAIN && try_again(p, task);
    if (!again) {
        release_serial(p, task);
        leave_lane(p, task);
    }
    if (again)
        return;
    pthread_mutex_unlock(&p->lock);
    task->done(task, result == STEP_DONE);
    pthread_mutex_lock(&p->lock);
}

static void *thread_main(void *arg)
{
    struct thread *self = arg;
    struct pool *p = self->pool;
    pthread_mutex_lock(&p->lock);
    while (p->live <= p->wanted + p->lent && !p->stopping) {
        uint64_t now = clock_monotonic_ms();
        take_due(p, now);
        struct pool_task *task = next_task(p, now);
        if (task != NULL)
            run_task(p, task);
        else
            wait_for_news(p);
    }
    p->live--;
    list_append(&p->ended, &self->link);
    pthread_cond_broadcast(&p->news);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Under the lock. */
static void start_threads(struct pool *p)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    while (p->live < p->wanted + p->lent && !p->stopping) {
        struct thread *thread = MEM_NEW(struct thread);
        list_init(&thread->link);
        thread->pool = p;
        int error = pthread_create(&thread->id, &attributes, thread_main, thread);
        if (error != 0) {
            log_error("service", "%s: no more threads than %u can be started", p->name, p->live);
            mem_free(&thread);
            break;
        }
        p->live++;
    }
    pthread_attr_destroy(&attributes);
}

static void join_ended(struct pool *p)
{
    pthread_mutex_lock(&p->lock);
    while (!list_is_empty(&p->ended)) {
        struct thread *thread = LIST_ITEM(p->ended.next, struct thread, link);
        list_remove(&thread->link);
        pthread_mutex_unlock(&p->lock);
        pthread_join(thread->id, NULL);
        mem_free(&thread);
        pthread_mutex_lock(&p->lock);
    }
    pthread_mutex_unlock(&p->lock);
}

/* --- what others call -------------------------------------------------------------------------------------------------- */

struct pool *pool_new(const char *name, unsigned threads)
{
    struct pool *p = MEM_NEW(struct pool);
    p->name = name;
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p->news, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&p->lock, NULL);
    list_init(&p->lanes);
    list_init(&p->delayed);
    list_init(&p->running);
    list_init(&p->ended);
    pool_resize(p, threads);
    return p;
}

void pool_resize(struct pool *pool, unsigned threads)
{
    pthread_mutex_lock(&pool->lock);
    pool->wanted = threads;
    start_threads(pool);
    pthread_cond_broadcast(&pool->news);
    pthread_mutex_unlock(&pool->lock);
}

void pool_submit(struct pool *pool, struct pool_task *task)
{
    list_init(&task->link);
    list_init(&task->lane_link);
    task->began_ms = 0;
    task->tries = 0;
    task->holds_serial = task->is_stuck = false;
    pthread_mutex_lock(&pool->lock);
    struct lane *lane = lane_of(pool, task);
    task->lane = lane;
    lane->tasks++;
    bool ready = false;
    bool refused = pool->stopping || (lane->stuck > 0 && lane->key != NULL);
    if (refused)
        leave_lane(pool, task);
    else {
        task->sequence = ++pool->sequence;
        list_append(&lane->queued, &task->lane_link);
        pool->queued++;
        ready = take_serial(pool, task);
        if (ready)
            make_ready(task);
    }
    pthread_mutex_unlock(&pool->lock);
    /* A thread that is woken before the lock is free only waits again. */
    if (ready)
        pthread_cond_signal(&pool->news);
    if (refused)
        task->done(task, false);
}

static void mark_stuck(struct pool *p, struct pool_task *task, struct list *failed)
{
    struct lane *lane = task->lane;
    task->is_stuck = true;
    lane->running--;
    lane->stuck++;
    p->busy--;
    p->live--;
    p->stuck++;
    log_error("service", "%s: a step on %s does not return%s", p->name, lane->label,
              lane->key != NULL ? ": the post office is marked stalled" : "");
    if (task->stuck != NULL)
        task->stuck(task);
    if (lane->key != NULL)
        fail_queued(p, lane, failed);
}

/* What slow fair keys have beyond their half is no longer there for the others: they get as many threads in its place. */
static void lend(struct pool *p, uint64_t now)
{
    p->lent = 0;
    LIST_FOR_EACH (&p->lanes, at) {
        const struct lane *lane = LIST_ITEM(at, struct lane, link);
        if (lane->key != NULL && lane->running > half(p) && is_slow(p, lane, now))
            p->lent += lane->running - half(p);
    }
    if (p->live > p->wanted + p->lent)
        pthread_cond_broadcast(&p->news);
}

void pool_watch(struct pool *pool, uint64_t stall_ms)
{
    struct list failed;
    list_init(&failed);
    uint64_t now = clock_monotonic_ms();
    pthread_mutex_lock(&pool->lock);
    LIST_FOR_EACH (&pool->running, at) {
        struct pool_task *task = LIST_ITEM(at, struct pool_task, link);
        if (!task->is_stuck && now >= task->started_ms + stall_ms)
            mark_stuck(pool, task, &failed);
    }
    lend(pool, now);
    start_threads(pool);
    pthread_mutex_unlock(&pool->lock);
    end_failed(&failed);
    join_ended(pool);
}

void pool_get_status(struct pool *pool, struct pool_status *status_out)
{
    pthread_mutex_lock(&pool->lock);
    *status_out = (struct pool_status){
        .threads = pool->wanted,
        .busy = pool->busy,
        .idle = pool->live > pool->busy ? pool->live - pool->busy : 0,
        .stuck = pool->stuck,
        .queued = pool->queued,
    };
    pthread_mutex_unlock(&pool->lock);
}

void pool_for_each_stalled(struct pool *pool, void (*visit)(const char *label, void *context), void *context)
{
    pthread_mutex_lock(&pool->lock);
    LIST_FOR_EACH (&pool->lanes, at) {
        const struct lane *lane = LIST_ITEM(at, struct lane, link);
        if (lane->stuck > 0 && lane->key != NULL)
            visit(lane->label, context);
    }
    pthread_mutex_unlock(&pool->lock);
}

/* False if threads were left behind. */
static bool stop_threads(struct pool *p)
{
    struct list failed;
    list_init(&failed);
    uint64_t until_ms = clock_monotonic_ms() + FREE_WAIT_MS;
    struct timespec until = { .tv_sec = (time_t)(until_ms / 1000), .tv_nsec = (long)(until_ms % 1000) * 1000000 };
    pthread_mutex_lock(&p->lock);
    p->stopping = true;
    LIST_FOR_EACH (&p->lanes, at)
        fail_queued(p, LIST_ITEM(at, struct lane, link), &failed);
    pthread_cond_broadcast(&p->news);
    int error = 0;
    while ((p->live > 0 || p->stuck > 0) && error == 0)
        error = pthread_cond_timedwait(&p->news, &p->lock, &until);
    bool all = p->live == 0 && p->stuck == 0;
    pthread_mutex_unlock(&p->lock);
    end_failed(&failed);
    return all;
}

bool pool_free(struct pool **pool)
{
    struct pool *p = *pool;
    if (p == NULL)
        return true;
    *pool = NULL;
    bool all = stop_threads(p);
    join_ended(p);
    if (!all)
        return false;   /* the threads that are left behind still use it */
    map_fini(&p->lanes_by_key);
    map_fini(&p->serials);
    pthread_cond_destroy(&p->news);
    pthread_mutex_destroy(&p->lock);
    mem_free(&p);
    return true;
}
