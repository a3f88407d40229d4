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
    slots_unref(&body->offices);
    slots_unref(&body->by_name);
    slots_unref(&body->by_domain);
    class_index_unref(&body->classes);
    version_unref(&body->agent);
    version_unref(&body->agent_present);
    generation_unref(&body->generation);
    for (unsigned by = 0; by < FOUND_BY_COUNT; by++)
        found_unref(&body->found[by]);
    arena_clear(&body->arena);
    mem_free(&body->base);
    mem_free(&snapshot->faults);
    mem_free(&snapshot->post_offices);
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
    const struct part *part = normal != NULL ? slots_get(snapshot_body(snapshot)->by_name, normal) : NULL;
    mem_free(&normal);
    return part != NULL ? &part->office : NULL;
}

const struct post_office *snapshot_domain(const struct snapshot *snapshot, struct slice domain)
{
    char lower[257];
    if (domain.len >= sizeof(lower) || slice_has_nul(domain))
        return NULL;
    for (size_t i = 0; i < domain.len; i++)
        lower[i] = ascii_lower(domain.data[i]);
    lower[domain.len] = '\0';
    const struct part *part = slots_get(snapshot_body(snapshot)->by_domain, lower);
    return part != NULL ? &part->office : NULL;
}

void snapshot_for_each_version(const struct snapshot *snapshot, void (*visit)(struct version *version, void *context), void *context)
{
    const struct snapshot_body *body = snapshot_body(snapshot);
    if (body->agent_present != NULL)
        visit(body->agent_present, context);
    if (body->agent != NULL)
        visit(body->agent, context);
    for (size_t i = 0; i < body->offices->count; i++) {
        const struct part *part = body->offices->at[i].part;
        visit(part->version, context);
        if (part->link != NULL)
            visit(part->link, context);
        for (size_t j = 0; j < part->agent_count; j++)
            visit(part->agents[j], context);
    }
    for (size_t i = 0; i < snapshot->class_count; i++)
        visit(snapshot->classes[i].version, context);
}
