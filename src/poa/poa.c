/* poa's own thread: probes POAs that are away, reads CA files and credentials, follows the configuration. Called by posternd; nobody waits for it but poa_stop. */
#include "postern/poa/poa.h"

#include <errno.h>
#include <pthread.h>

#include "circuit.h"
#include "compare.h"
#include "look.h"
#include "material.h"
#include "opening.h"
#include "postern/base/memory.h"

enum { TICK_MS = 50, FILES_TICKS = 40 };

struct prober {
    struct loop *loop;
    pthread_t thread;
    struct loop_timer tick;
    struct snapshot *snapshot;
    unsigned ticks;
    struct list probes;
    struct comparer *comparer;
};

struct probe {
    struct list link;
    struct prober *prober;
    struct snapshot *snapshot;
    const struct post_office *office;
    size_t agent;
    struct poa_opening *opening;
};

static struct prober *_Atomic running;

/* --- probes ------------------------------------------------------------------------------------------------------------------- */

static void free_probe(struct probe *p)
{
    list_remove(&p->link);
    snapshot_unref(&p->snapshot);
    mem_free(&p);
}

static void probed(void *context, bool well, const struct fault *fault)
{
    struct probe *p = context;
    circuit_probed(p->office, p->agent, well, fault);
    free_probe(p);
}

static void begin_probe(const struct post_office *office, size_t agent, bool doubted, void *context)
{
    struct prober *prober = context;
    struct probe *p = MEM_NEW(struct probe);
    p->prober = prober;
    p->snapshot = snapshot_ref(prober->snapshot);
    p->office = office;
    p->agent = agent;
    list_append(&prober->probes, &p->link);
    p->opening = opening_probe(prober->loop, p->snapshot, office, agent, doubted, probed, p);
}

/* --- the thread ---------------------------------------------------------------------------------------------------------------- */

static void follow(struct prober *p)
{
    uint64_t followed = p->snapshot != NULL ? p->snapshot->post_offices_serial : 0;
    if (p->snapshot == NULL || p->snapshot->serial != snapshot_current_serial()) {
        snapshot_unref(&p->snapshot);
        p->snapshot = snapshot_current();
    }
    if (p->snapshot == NULL)
        return;
    bool fresh = p->snapshot->post_offices_serial != followed;
    if (fresh || p->ticks++ % FILES_TICKS == 0)
        material_follow(p->snapshot);
    if (fresh) {
        circuit_follow(p->snapshot);
        comparer_follow(p->comparer, p->snapshot);
    }
    circuit_for_each_due(p->snapshot, begin_probe, p);
}

static void tick(void *arg)
{
    struct prober *p = arg;
    follow(p);
    loop_timer_set(&p->tick, TICK_MS);
}

static void *run(void *arg)
{
    loop_run(((struct prober *)arg)->loop);
    return NULL;
}

int poa_start(const struct poa_options *options, struct fault *fault)
{
    struct prober *p = MEM_NEW(struct prober);
    material_start(options);
    p->loop = loop_new();
    list_init(&p->probes);
    p->comparer = comparer_new(p->loop, options->state_dir);
    loop_timer_init(&p->tick, p->loop, tick, p);
    loop_timer_set(&p->tick, 0);
    circuit_set_prober(true);
    running = p;
    int error = pthread_create(&p->thread, NULL, run, p);
    if (error == 0)
        return 0;
    p->thread = pthread_self();
    poa_stop();
    return fault_set_errno(fault, error, "a thread for POAs");
}

void poa_stop(void)
{
    struct prober *p = running;
    if (p == NULL)
        return;
    running = NULL;
    if (!pthread_equal(p->thread, pthread_self())) {
        loop_stop(p->loop);
        pthread_join(p->thread, NULL);
    }
    LIST_FOR_EACH (&p->probes, at) {
        struct probe *probe = LIST_ITEM(at, struct probe, link);
        poa_open_cancel(&probe->opening);
        free_probe(probe);
    }
    look_cancel_all();
    comparer_free(&p->comparer);
    loop_timer_cancel(&p->tick);
    snapshot_unref(&p->snapshot);
    circuit_set_prober(false);
    circuit_clear();
    material_stop();
    loop_free(&p->loop);
    mem_free(&p);
}

enum poa_looked poa_look_for(const struct poa_look *look)
{
    struct prober *p = running;
    return look_for(p != NULL ? p->loop : NULL, look);
}
