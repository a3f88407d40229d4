/* Rights that change while a session lives. Called by conn.c, look_up.c and gateway.c. What a user may do now is asked in the look-up threads, once
 * for all sessions of the user and a few users at a time, so that an edit that concerns everybody is no storm on the directory; must never end a
 * session because the directory cannot be reached. */
#include "revoke.h"

#include <string.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "reach.h"

enum {
    PART = 1000,           /* sessions looked at before the loop does something else, */
    TELL_PART = 50,        /* and sessions of one user ended or changed */
    AT_ONCE = 4,           /* users asked about at a time */
    QUEUE_MOST = 4000,     /* users that wait for it: those of the next look come after */
    DOWN_MS = 900,         /* nothing is asked for so long after the directory failed */
};

enum outcome { OUTCOME_UNKNOWN, OUTCOME_FRESH, OUTCOME_GONE };

/* One loop is told that a refresh has ended. */
struct telling {
    struct refresh *refresh;
    struct home *home;
};

/* One user asked about, for all sessions that wait for it. */
struct refresh {
    struct pool_task task;
    struct revoker *revoker;
    struct list link;                    /* in the queue */
    struct list all;
    struct user *old;
    struct user *fresh;
    enum outcome outcome;
    unsigned homes;                      /* bit i: sessions of loop i wait */
    unsigned references;                 /* loops that have not been told */
    struct list waiting[LOOPS_MAX];      /* each touched on its own loop only */
    struct telling tellings[LOOPS_MAX];
};

struct revoker {
    struct gateway *gateway;
    pthread_mutex_t mutex;               /* all of what follows */
    struct map by_user;                  /* not yet ended */
    struct list queue;
    struct list all;
    unsigned queued, running;
    unsigned failures;                   /* in a row */
    bool left_out;                       /* the queue was full */
    uint64_t down_until;
};

bool revoke_is_allowed(const struct user *user, enum service service)
{
    switch (service) {
    case SERVICE_POP3:
        return user->pop3.allowed;
    case SERVICE_IMAP4:
        return user->imap4_allowed;
    default:
        return user->smtp_outgoing_allowed || user->smtp_incoming_allowed;
    }
}

/* --- what becomes of a session ------------------------------------------------------------------------------------------------ */

static bool is_same_mailbox(const struct user *a, const struct user *b)
{
    return a->post_office != NULL && b->post_office != NULL && strcmp(a->post_office->uuid, b->post_office->uuid) == 0 &&
           strcmp(a->mailbox_dir, b->mailbox_dir) == 0;
}

/* CLOSE_CLIENT: the session goes on. */
static enum close_reason judge(const struct conn *c, const struct user *fresh, const char **cause)
{
    const enum service service = c->room->service;
    *cause = fresh == NULL ? "the user is gone" : fresh->disabled ? "disabled or expired" : "class of service";
    if (fresh == NULL || fresh->disabled || !revoke_is_allowed(fresh, service))
        return CLOSE_ACCESS_REVOKED;
    *cause = "another access mode";
    if (reach_is_outdated(c, fresh))
        return CLOSE_LINK_CHANGED;
    *cause = fresh->post_office == NULL ? "post office gone" : "another mailbox";
    return service == SERVICE_SMTP || is_same_mailbox(c->session.user, fresh) ? CLOSE_CLIENT : CLOSE_MAILBOX_MOVED;
}

static void end_session(struct conn *c, enum close_reason reason, const char *cause)
{
    log_normal("login", "%s session %llu of %s from %s ends: %s: %s", service_word(c->room->service), (unsigned long long)c->session.id,
               c->session.user->id, c->session.peer, close_reason_word(reason), cause);
    conn_close(c, reason);
}

void revoke_settle(struct conn *conn)
{
    if (conn->fresh == NULL)
        return;
    user_unref(&conn->session.user);
    conn->session.user = conn->fresh;
    conn->fresh = NULL;
}

/* The user of a session may be in use by a step: it is exchanged when none is under way. */
static void apply(struct conn *c, const struct refresh *r)
{
    const char *cause;
    if (c->state != CONN_OPEN || c->session.user == NULL || r->outcome == OUTCOME_UNKNOWN)
        return;
    enum close_reason reason = judge(c, r->fresh, &cause);
    if (reason != CLOSE_CLIENT) {
        end_session(c, reason, cause);
        return;
    }
    user_unref(&c->fresh);
    c->fresh = user_ref(r->fresh);
    if (!c->session.busy)
        revoke_settle(c);
}

void revoke_forget(struct conn *conn)
{
    list_remove(&conn->wait_link);
    conn->waits = false;
    user_unref(&conn->fresh);
}

/* --- refreshes ------------------------------------------------------------------------------------------------------------------ */

/* Another user may have the DN that this one had. */
static struct slice key_of(const struct user *user)
{
    return slice_from_string(user->uuid[0] != '\0' ? user->uuid : user->dn);
}

/* Under the mutex. */
static void free_refresh(struct refresh *r)
{
    list_remove(&r->all);
    user_unref(&r->old);
    user_unref(&r->fresh);
    mem_free(&r);
}

static void tell(void *arg)
{
    struct telling *telling = arg;
    struct refresh *r = telling->refresh;
    struct revoker *revoker = r->revoker;
    struct list *waiting = &r->waiting[telling->home - revoker->gateway->homes];
    for (unsigned n = 0; n < TELL_PART && !list_is_empty(waiting); n++) {
        struct conn *c = LIST_ITEM(waiting->next, struct conn, wait_link);
        list_remove(&c->wait_link);
        c->waits = false;
        apply(c, r);
    }
    if (!list_is_empty(waiting)) {
        loop_post(telling->home->loop, tell, telling);
        return;
    }
    pthread_mutex_lock(&revoker->mutex);
    bool last = --r->references == 0;
    if (last)
        free_refresh(r);
    bool again = last && revoker->left_out && revoker->queued == 0;
    if (again)
        revoker->left_out = false;
    pthread_mutex_unlock(&revoker->mutex);
    if (again)
        revoke_look(revoker->gateway);
}

/* Under the mutex: nobody joins any more. The caller posts to the loops, outside the mutex. */
static void retire(struct refresh *r)
{
    map_remove(&r->revoker->by_user, key_of(r->old));
    r->references = (unsigned)__builtin_popcount(r->homes);
}

static void tell_loops(struct refresh *r)
{
    struct gateway *g = r->revoker->gateway;
    unsigned homes = r->homes;   /* r may be gone after the last post */
    for (unsigned i = 0; i < g->home_count; i++) {
        if (!(homes >> i & 1))
            continue;
        r->tellings[i] = (struct telling){ r, &g->homes[i] };
        loop_post(g->homes[i].loop, tell, &r->tellings[i]);
    }
}

static enum step_result work(struct pool_task *task)
{
    struct refresh *r = LIST_ITEM(task, struct refresh, task);
    struct fault fault = { .class = FAULT_NONE };
    if (config_refresh_user(r->old, &r->fresh, &fault) == 0)
        r->outcome = OUTCOME_FRESH;
    else if (fault.class == FAULT_NOT_FOUND)
        r->outcome = OUTCOME_GONE;
    else
        log_verbose("login", "the rights of %s are not known now: %s", r->old->id, fault.text);
    return STEP_DONE;
}

static void done(struct pool_task *task, bool ran);

/* Under the mutex: those of the queue that may run now; they are submitted outside of it. */
static struct refresh *next_to_run(struct revoker *revoker)
{
    if (revoker->running >= AT_ONCE || list_is_empty(&revoker->queue))
        return NULL;
    struct refresh *r = LIST_ITEM(revoker->queue.next, struct refresh, link);
    list_remove(&r->link);
    revoker->queued--;
    revoker->running++;
    return r;
}

static void start_some(struct revoker *revoker)
{
    for (;;) {
        pthread_mutex_lock(&revoker->mutex);
        struct refresh *r = next_to_run(revoker);
        pthread_mutex_unlock(&revoker->mutex);
        if (r == NULL)
            return;
        r->task = (struct pool_task){ .work = work, .done = done, .fair_key = revoker, .label = "rights" };
        pool_submit(revoker->gateway->look_ups, &r->task);
    }
}

/* The directory does not answer: those that wait are asked about later, by the next looks. */
static void drop_queue(struct revoker *revoker)
{
    for (;;) {
        pthread_mutex_lock(&revoker->mutex);
        struct refresh *r = list_is_empty(&revoker->queue) ? NULL : LIST_ITEM(revoker->queue.next, struct refresh, link);
        if (r != NULL) {
            list_remove(&r->link);
            revoker->queued--;
            retire(r);
        }
        pthread_mutex_unlock(&revoker->mutex);
        if (r == NULL)
            return;
        tell_loops(r);
    }
}

static void done(struct pool_task *task, bool ran)
{
    struct refresh *r = LIST_ITEM(task, struct refresh, task);
    struct revoker *revoker = r->revoker;
    pthread_mutex_lock(&revoker->mutex);
    revoker->running--;
    revoker->failures = !ran || r->outcome == OUTCOME_UNKNOWN ? revoker->failures + 1 : 0;
    /* One may fail for a reason of its own: that is no reason to keep the others waiting. */
    bool down = revoker->failures >= AT_ONCE;
    if (down) {
        revoker->down_until = clock_monotonic_ms() + DOWN_MS;
        revoker->failures = 0;
    }
    retire(r);
    pthread_mutex_unlock(&revoker->mutex);
    tell_loops(r);
    if (down)
        drop_queue(revoker);
    else
        start_some(revoker);
}

/* --- looking ---------------------------------------------------------------------------------------------------------------------- */

static struct refresh *new_refresh(struct revoker *revoker, struct user *user)
{
    struct refresh *r = MEM_NEW(struct refresh);
    r->revoker = revoker;
    r->old = user_ref(user);
    for (unsigned i = 0; i < LOOPS_MAX; i++)
        list_init(&r->waiting[i]);
    list_init(&r->link);
    list_init(&r->all);
    list_append(&revoker->all, &r->all);
    list_append(&revoker->queue, &r->link);
    revoker->queued++;
    map_put(&revoker->by_user, key_of(user), r);
    return r;
}

/* The refresh that the session waits for now; NULL: not now. */
static struct refresh *join(struct revoker *revoker, struct user *user, unsigned home)
{
    pthread_mutex_lock(&revoker->mutex);
    struct refresh *r = map_get(&revoker->by_user, key_of(user));
    bool full = revoker->queued >= QUEUE_MOST;
    if (r == NULL && clock_monotonic_ms() >= revoker->down_until && !full)
        r = new_refresh(revoker, user);
    else if (r == NULL && full)
        revoker->left_out = true;
    if (r != NULL)
        r->homes |= 1u << home;
    pthread_mutex_unlock(&revoker->mutex);
    return r;
}

static void look_at(struct conn *c)
{
    struct user *user = c->fresh != NULL ? c->fresh : c->session.user;
    if (user == NULL || c->waits || c->state != CONN_OPEN || c->close_wanted || c->at_rest != CLOSE_CLIENT || config_user_is_current(user))
        return;
    unsigned home = (unsigned)(c->home - c->gateway->homes);
    struct refresh *r = join(c->gateway->revoker, user, home);
    if (r == NULL)
        return;
    list_append(&r->waiting[home], &c->wait_link);
    c->waits = true;
}

void revoke_logged_in(struct conn *conn)
{
    look_at(conn);
    if (conn->waits)
        start_some(conn->gateway->revoker);
}

static void look_over(void *arg)
{
    struct home *home = arg;
    if (atomic_exchange(&home->look_wanted, false))
        home->look_at = home->conns.next;
    for (unsigned n = 0; n < PART && home->look_at != NULL && home->look_at != &home->conns; n++) {
        struct conn *c = LIST_ITEM(home->look_at, struct conn, link);
        home->look_at = home->look_at->next;
        look_at(c);
    }
    start_some(home->gateway->revoker);
    if (home->look_at != NULL && home->look_at != &home->conns)
        loop_post(home->loop, look_over, home);
    else
        home->look_at = NULL;
}

/* A look that is under way goes on from the beginning: one message of it is on its way at most. */
static void begin_look(void *arg)
{
    struct home *home = arg;
    if (home->look_at == NULL)
        look_over(home);
}

void revoke_look(struct gateway *gateway)
{
    for (unsigned i = 0; i < gateway->home_count; i++) {
        struct home *home = &gateway->homes[i];
        if (!atomic_exchange(&home->look_wanted, true))
            loop_post(home->loop, begin_look, home);
    }
}

/* --- start and end ---------------------------------------------------------------------------------------------------------------- */

struct revoker *revoker_new(struct gateway *gateway)
{
    struct revoker *revoker = MEM_NEW(struct revoker);
    revoker->gateway = gateway;
    pthread_mutex_init(&revoker->mutex, NULL);
    map_init(&revoker->by_user);
    list_init(&revoker->queue);
    list_init(&revoker->all);
    return revoker;
}

void revoker_free(struct revoker **revoker)
{
    struct revoker *r = *revoker;
    if (r == NULL)
        return;
    LIST_FOR_EACH (&r->all, at)
        free_refresh(LIST_ITEM(at, struct refresh, all));
    map_fini(&r->by_user);
    pthread_mutex_destroy(&r->mutex);
    mem_free(revoker);
}
