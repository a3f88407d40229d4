/* The current snapshot, references, look-ups. Called from every thread. */
#include <pthread.h>
#include <stdatomic.h>

#include "build.h"
#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/config/snapshot.h"
#include "postern/directory/dn.h"
#include "rights.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct snapshot *current;
static uint64_t last_serial;
static _Atomic uint64_t current_serial;

const struct snapshot_body *snapshot_body(const struct snapshot *snapshot)
{
    return (const struct snapshot_body *)snapshot;
}

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    CHECK(atomic_fetch_add(&snapshot->references, 1) > 0);
    return snapshot;
}

static void snapshot_free(struct snapshot *snapshot)
{
    struct snapshot_body *body = (struct snapshot_body *)snapshot;
    for (size_t i = 0; i < body->version_count; i++)
        version_unref(&body->versions[i]);
    map_fini(&body->offices);
    map_fini(&body->domains);
    rights_index_free(body);
    arena_clear(&body->arena);
    mem_free(&body->versions);
    mem_free(&body->base);
    mem_free(&snapshot->faults);
    mem_free(&snapshot->post_offices);
    mem_free(&snapshot->classes);
    mem_release(body);
}

void snapshot_unref(struct snapshot **snapshot)
{
    struct snapshot *s = *snapshot;
    *snapshot = NULL;
    if (s != NULL && atomic_fetch_sub(&s->references, 1) == 1)
        snapshot_free(s);
}

struct snapshot *snapshot_current(void)
{
    pthread_mutex_lock(&mutex);
    struct snapshot *s = current != NULL ? snapshot_ref(current) : NULL;
    pthread_mutex_unlock(&mutex);
    return s;
}

uint64_t snapshot_current_serial(void)
{
    return atomic_load_explicit(&current_serial, memory_order_acquire);
}

void snapshot_publish(struct snapshot *snapshot)
{
    pthread_mutex_lock(&mutex);
    struct snapshot *old = current;
    if (snapshot != NULL)
        snapshot->serial = ++last_serial;
    current = snapshot;
    atomic_store_explicit(&current_serial, snapshot != NULL ? snapshot->serial : 0, memory_order_release);
    pthread_mutex_unlock(&mutex);
    snapshot_unref(&old);
}

const struct post_office *snapshot_post_office(const struct snapshot *snapshot, const char *dn)
{
    char *normal = dn_normalise(slice_from_string(dn));
    const struct post_office *po = normal != NULL ? map_get(&snapshot_body(snapshot)->offices, slice_from_string(normal)) : NULL;
    mem_free(&normal);
    return po;
}

const struct post_office *snapshot_domain(const struct snapshot *snapshot, struct slice domain)
{
    char lower[256];
    if (domain.len > sizeof(lower))
        return NULL;
    for (size_t i = 0; i < domain.len; i++)
        lower[i] = ascii_lower(domain.data[i]);
    return map_get(&snapshot_body(snapshot)->domains, slice_make(lower, domain.len));
}
