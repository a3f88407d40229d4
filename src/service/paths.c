/* The paths of post offices, looked at by threads of their own: one that hangs holds up no session and no other path. Started and ended by gateway.c. The
 * thread that plans never touches a file, and never holds the lock while it calls the pool. */
#include "paths.h"

#include <string.h>

#include "gateway.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/config/found.h"
#include "postern/store/account.h"

enum { THREADS = 4, UNDER_WAY_MOST = 64, TICK_MS = 200, WELL_MS = 10 * 1000, BROKEN_MS = 250 };

/* One post office with a path. */
struct place {
    struct list link;          /* in paths->places */
    struct pool_task task;
    struct paths *paths;
    char uuid[37];
    char *path;
    char *dn;                  /* of the object that says the path */
    uint64_t due_ms;
    char *reason;              /* as it was told; NULL: it can be used */
    bool seen;
    /* Under the lock: */
    struct fault result;       /* of the last look */
    bool looked;               /* there is a result that the planner has not seen */
    bool under_way;
    bool stuck;
    bool gone;                 /* nobody but the look under way knows it */
};

struct paths {
    struct pool *pool;
    pthread_t thread;
    pthread_mutex_t lock;      /* what of places is under it, and what follows */
    pthread_cond_t bell;
    unsigned under_way;        /* without the stuck ones */
    bool changed;
    bool stopping;
    /* The planner's: */
    struct list places;
    struct map by_uuid;
    size_t count;
    size_t broken;
    uint64_t followed;         /* the post offices of the snapshot that was seen last */
    uint64_t stall_ms;
    bool news;                 /* to be told */
};

static void free_place(struct place *p)
{
    list_remove(&p->link);
    mem_free(&p->path);
    mem_free(&p->dn);
    mem_free(&p->reason);
    mem_free(&p);
}

/* --- one look: in a thread of the pool -------------------------------------------------------------------------------------------- */

static enum step_result look(struct pool_task *task)
{
    struct place *p = LIST_ITEM(task, struct place, task);
    struct fault fault = { .class = FAULT_NONE };
    postoffice_check(p->path, slice_from_string(p->uuid), true, &fault);
    pthread_mutex_lock(&p->paths->lock);
    p->result = fault;
    pthread_mutex_unlock(&p->paths->lock);
    return STEP_DONE;
}

static void look_hangs(struct pool_task *task)
{
    struct place *p = LIST_ITEM(task, struct place, task);
    pthread_mutex_lock(&p->paths->lock);
    fault_set(&p->result, FAULT_TIMEOUT, 0, "%s does not answer", p->path);
    p->looked = p->stuck = true;
    p->paths->under_way--;
    pthread_mutex_unlock(&p->paths->lock);
}

static void look_ended(struct pool_task *task, bool ran)
{
    struct place *p = LIST_ITEM(task, struct place, task);
    struct paths *paths = p->paths;
    pthread_mutex_lock(&paths->lock);
    paths->under_way -= !p->stuck;
    p->under_way = p->stuck = false;
    p->looked = p->looked || ran;
    bool gone = p->gone;
    pthread_mutex_unlock(&paths->lock);
    if (gone)
        free_place(p);
}

/* --- the planner ------------------------------------------------------------------------------------------------------------------ */

static void retire(struct paths *paths, struct place *p)
{
    paths->news = paths->news || p->reason != NULL;
    paths->broken -= p->reason != NULL;
    paths->count--;
    map_remove(&paths->by_uuid, slice_from_string(p->uuid));
    list_remove(&p->link);
    pthread_mutex_lock(&paths->lock);
    bool busy = p->gone = p->under_way;
    pthread_mutex_unlock(&paths->lock);
    if (!busy)
        free_place(p);
}

static void add(struct paths *paths, const struct post_office *office, const char *dn)
{
    struct place *p = MEM_NEW(struct place);
    p->paths = paths;
    memcpy(p->uuid, office->uuid, sizeof(p->uuid));
    p->path = mem_strdup(office->path);
    p->dn = mem_strdup(dn);
    p->task = (struct pool_task){ .fair_key = p, .label = fair_key_of(office), .work = look, .done = look_ended, .stuck = look_hangs };
    p->seen = true;
    list_init(&p->link);
    list_append(&paths->places, &p->link);
    map_put(&paths->by_uuid, slice_from_string(p->uuid), p);
    paths->count++;
}

static void see(struct paths *paths, const struct post_office *office)
{
    const char *dn = office->path_from != NULL ? office->path_from : office->dn;
    struct place *p = map_get(&paths->by_uuid, slice_from_string(office->uuid));
    if (p != NULL && strcmp(p->path, office->path) == 0 && strcmp(p->dn, dn) == 0) {
        p->seen = true;
        return;
    }
    if (p != NULL)
        retire(paths, p);
    add(paths, office, dn);
}

static void follow(struct paths *paths, const struct snapshot *snapshot)
{
    uint64_t serial = snapshot->post_offices_serial != 0 ? snapshot->post_offices_serial : snapshot->serial;
    paths->stall_ms = snapshot->agent.stall_seconds * 1000;
    if (serial == paths->followed)
        return;
    paths->followed = serial;
    LIST_FOR_EACH (&paths->places, at)
        LIST_ITEM(at, struct place, link)->seen = false;
    for (size_t i = 0; i < snapshot->post_office_count; i++)
        if (snapshot->post_offices[i]->path != NULL)
            see(paths, snapshot->post_offices[i]);
    LIST_FOR_EACH (&paths->places, at)
        if (!LIST_ITEM(at, struct place, link)->seen)
            retire(paths, LIST_ITEM(at, struct place, link));
}

/* What the last look has found, if it is news; and when the next one is due. */
static void take_result(struct paths *paths, struct place *p, uint64_t now)
{
    struct fault result = { .class = FAULT_NONE };
    pthread_mutex_lock(&paths->lock);
    bool looked = p->looked;
    if (looked)
        result = p->result;
    p->looked = false;
    pthread_mutex_unlock(&paths->lock);
    if (!looked)
        return;
    bool broken = result.class != FAULT_NONE;
    if (broken != (p->reason != NULL) || (broken && strcmp(p->reason, result.text) != 0)) {
        paths->broken += (size_t)broken - (p->reason != NULL);
        paths->news = true;
        mem_free(&p->reason);
        p->reason = broken ? mem_strdup(result.text) : NULL;
    }
    /* With very many a thousand of them are looked at in a second. */
    p->due_ms = now + (broken ? BROKEN_MS + paths->broken : WELL_MS + paths->count);
}

static void plan(struct paths *paths, struct place *p, uint64_t now)
{
    pthread_mutex_lock(&paths->lock);
    bool due = !p->under_way && now >= p->due_ms && paths->under_way < UNDER_WAY_MOST;
    p->under_way = p->under_way || due;
    paths->under_way += due;
    pthread_mutex_unlock(&paths->lock);
    if (due)
        pool_submit(paths->pool, &p->task);
}

static void tell(struct paths *paths)
{
    struct config_fault *faults = MEM_NEW_ARRAY(struct config_fault, paths->broken + 1);
    size_t count = 0;
    LIST_FOR_EACH (&paths->places, at) {
        struct place *p = LIST_ITEM(at, struct place, link);
        if (p->reason != NULL)
            faults[count++] = (struct config_fault){ .dn = p->dn, .attribute = (char *)(uintptr_t)"posternPath", .reason = p->reason };
    }
    paths->news = false;
    config_set_found(FOUND_BY_PATHS, faults, count);
    mem_free(&faults);
}

static void go_round(struct paths *paths)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot != NULL)
        follow(paths, snapshot);
    snapshot_unref(&snapshot);
    uint64_t now = clock_monotonic_ms();
    LIST_FOR_EACH (&paths->places, at) {
        take_result(paths, LIST_ITEM(at, struct place, link), now);
        plan(paths, LIST_ITEM(at, struct place, link), now);
    }
    pool_watch(paths->pool, paths->stall_ms);
    if (paths->news)
        tell(paths);
}

static void *run(void *arg)
{
    struct paths *paths = arg;
    pthread_mutex_lock(&paths->lock);
    while (!paths->stopping) {
        paths->changed = false;
        pthread_mutex_unlock(&paths->lock);
        go_round(paths);
        uint64_t until = clock_monotonic_ms() + TICK_MS;
        struct timespec at = { (time_t)(until / 1000), (long)(until % 1000 * 1000000) };
        pthread_mutex_lock(&paths->lock);
        int rc = 0;
        while (!paths->stopping && !paths->changed && rc == 0)
            rc = pthread_cond_timedwait(&paths->bell, &paths->lock, &at);
    }
    pthread_mutex_unlock(&paths->lock);
    return NULL;
}

/* --- what others call -------------------------------------------------------------------------------------------------------------- */

struct paths *paths_new(void)
{
    struct paths *paths = MEM_NEW(struct paths);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&paths->bell, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_mutex_init(&paths->lock, NULL);
    list_init(&paths->places);
    map_init(&paths->by_uuid);
    paths->stall_ms = UINT64_MAX / 2;   /* until a snapshot says */
    paths->pool = pool_new("paths", THREADS);
    CHECK(pthread_create(&paths->thread, NULL, run, paths) == 0);
    return paths;
}

static void ring(struct paths *paths, bool stop)
{
    pthread_mutex_lock(&paths->lock);
    paths->changed = true;
    paths->stopping = paths->stopping || stop;
    pthread_cond_signal(&paths->bell);
    pthread_mutex_unlock(&paths->lock);
}

void paths_changed(struct paths *paths)
{
    ring(paths, false);
}

void paths_free(struct paths **paths)
{
    struct paths *p = *paths;
    if (p == NULL)
        return;
    *paths = NULL;
    ring(p, true);
    pthread_join(p->thread, NULL);
    if (!pool_free(&p->pool))
        return;   /* a thread that hangs still uses its place */
    LIST_FOR_EACH (&p->places, at)
        free_place(LIST_ITEM(at, struct place, link));
    map_fini(&p->by_uuid);
    pthread_cond_destroy(&p->bell);
    pthread_mutex_destroy(&p->lock);
    mem_free(&p);
}
