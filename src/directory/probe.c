/* A thread that tries, while a later server is in use, whether an earlier one is back. Connecting blocks, and the watch must go on following
 * meanwhile. Called by the watch. It decides nothing: the watch does, since only it knows how far the server in use has come. */
#include "probe.h"

#include <pthread.h>
#include <time.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"

#define EVERY_MS 1000
#define ATTEMPT_MS 2000

struct probe {
    const struct directory_options *options;
    const char *inside;
    void (*found)(void *context);
    void *context;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    unsigned before;
    bool stopping;
    bool offered;
    struct offer offer;
    uint64_t *good_since;      /* the thread's own; 0: was not good last time */
};

void offer_fini(struct offer *offer)
{
    connection_close(&offer->connection);
    server_fini(&offer->server);
}

static bool try_server(struct probe *p, unsigned at, struct offer *offer)
{
    struct fault fault;
    uint64_t now = clock_monotonic_ms();
    offer->server.base = NULL;
    if (connection_open_one(&offer->connection, p->options, at, true, now + ATTEMPT_MS, &fault) != 0 ||
        server_read(&offer->connection, p->inside, &offer->server, &fault) != 0) {
        offer_fini(offer);
        p->good_since[at] = 0;
        return false;
    }
    if (p->good_since[at] == 0)
        p->good_since[at] = now;
    offer->good_ms = clock_monotonic_ms() - p->good_since[at];
    return true;
}

/* Waits until there is something to look for, then until it is time. Under the mutex. */
static void wait_for_work(struct probe *p)
{
    while (!p->stopping && p->before == 0)
        pthread_cond_wait(&p->changed, &p->mutex);
    uint64_t until = clock_monotonic_ms() + EVERY_MS;
    struct timespec at = { (time_t)(until / 1000), (long)(until % 1000 * 1000000) };
    int rc = 0;
    while (!p->stopping && rc == 0)
        rc = pthread_cond_timedwait(&p->changed, &p->mutex, &at);
}

static void *probe_run(void *context)
{
    struct probe *p = context;
    pthread_mutex_lock(&p->mutex);
    for (wait_for_work(p); !p->stopping; wait_for_work(p)) {
        unsigned before = p->offered ? 0 : p->before;
        struct offer offer;
        bool good = false;
        pthread_mutex_unlock(&p->mutex);
        for (unsigned at = 0; at < before && !good; at++)
            good = try_server(p, at, &offer);
        pthread_mutex_lock(&p->mutex);
        if (good) {
            p->offer = offer;
            p->offered = true;
            p->found(p->context);
        }
    }
    pthread_mutex_unlock(&p->mutex);
    return NULL;
}

struct probe *probe_new(const struct directory_options *options, const char *inside, void (*found)(void *context), void *context)
{
    struct probe *p = MEM_NEW(struct probe);
    pthread_condattr_t attributes;
    p->options = options;
    p->inside = inside;
    p->found = found;
    p->context = context;
    p->good_since = MEM_NEW_ARRAY(uint64_t, options->uri_count + 1);
    pthread_mutex_init(&p->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    CHECK(pthread_create(&p->thread, NULL, probe_run, p) == 0);
    return p;
}

void probe_free(struct probe **probe)
{
    struct probe *p = *probe;
    if (p == NULL)
        return;
    pthread_mutex_lock(&p->mutex);
    p->stopping = true;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->mutex);
    pthread_join(p->thread, NULL);
    if (p->offered)
        offer_fini(&p->offer);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->mutex);
    mem_free(&p->good_since);
    mem_free(probe);
}

void probe_look(struct probe *p, unsigned before)
{
    pthread_mutex_lock(&p->mutex);
    if (p->before != before) {
        p->before = before;
        pthread_cond_signal(&p->changed);
    }
    pthread_mutex_unlock(&p->mutex);
}

bool probe_take(struct probe *p, struct offer *out)
{
    pthread_mutex_lock(&p->mutex);
    bool offered = p->offered;
    if (offered)
        *out = p->offer;
    p->offered = false;
    pthread_mutex_unlock(&p->mutex);
    return offered;
}
