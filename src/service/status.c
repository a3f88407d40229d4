/* What posternctl status says. Called on the first loop; only reads. */
#include <stdio.h>
#include <unistd.h>

#include "config.h"
#include "control.h"
#include "listeners.h"
#include "postern/base/clock.h"
#include "postern/config/config.h"
#include "postern/directory/watch.h"
#include "postern/queue/queue.h"

enum { STALLED_MOST = 64 };

struct stalled {
    char *labels[STALLED_MOST];
    size_t count;
};

static void note_stalled(const char *label, void *context)
{
    struct stalled *s = context;
    if (s->count < STALLED_MOST)
        s->labels[s->count++] = (char *)(uintptr_t)label;
}

static void say_room(struct answer *a, struct gateway *gateway, struct room *room)
{
    struct pool_status pool;
    struct stalled stalled = { .count = 0 };
    pool_get_status(room->pool, &pool);
    pool_for_each_stalled(room->pool, note_stalled, &stalled);
    const char *word = service_word(room->service), *state = room->enabled ? "enabled" : "disabled";
    struct buf title = { .cap = 0 };
    buf_printf(&title, "%s %s", word, state);
    answer_item(a, buf_text(&title));
    buf_fini(&title);
    if (a->json) {
        answer_text(a, "service", word);
        answer_flag(a, "enabled", room->enabled);
    }
    answer_number(a, "sessions now", atomic_load(&room->sessions));
    answer_number(a, "threads", pool.threads);
    answer_count(a, "threads busy", pool.busy);
    answer_count(a, "threads idle", pool.idle);
    answer_count(a, "threads stuck", pool.stuck);
    answer_count(a, "requests queued", pool.queued);
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        answer_count(a, counter_word(i), counter_get(&room->counters, i));
    for (unsigned i = 0; i < CLOSE_COUNT; i++) {
        char name[80];
        snprintf(name, sizeof(name), "ended, %s", close_reason_word(i));
        answer_count(a, name, atomic_load(&room->closed[i]));
    }
    answer_texts(a, "stalled", stalled.labels, stalled.count);
    if (gateway->listeners != NULL)
        listeners_status(gateway->listeners, room->service, a);
    answer_close(a);
}

static void say_gateway(struct answer *a, struct gateway *gateway, const struct snapshot *snapshot)
{
    answer_object(a, "gateway");
    answer_text(a, "version", PACKAGE_VERSION);
    answer_number(a, "process", (uint64_t)getpid());
    answer_time(a, "started", gateway->started);
    answer_text(a, "agent", snapshot != NULL ? snapshot->agent.dn : NULL);
    if (snapshot != NULL) {
        answer_number(a, "snapshot", snapshot->serial);
        answer_flag(a, "from cache", snapshot->from_cache);
        answer_number(a, "post offices", snapshot->post_office_count);
        answer_number(a, "faults", snapshot->fault_count);
    } else
        answer_text(a, "snapshot", a->json ? NULL : "none");
    answer_flag(a, "tls", atomic_load(&gateway->tls_ready));
    answer_count(a, "queue length", queue_length());
    answer_close(a);
}

static void say_directory(struct answer *a)
{
    struct directory_watch_state state;
    uint64_t now = clock_monotonic_ms();
    int64_t wall_ms = (int64_t)clock_wall().tv_sec * 1000 + clock_wall().tv_nsec / 1000000;
    config_directory_state(&state);
    answer_object(a, "directory");
    answer_text(a, "followed by", directory_watch_mode_word(state.mode));
    answer_text(a, "server", state.uri);
    answer_time(a, "since", state.since_ms > 0 ? (wall_ms - (int64_t)(now - state.since_ms)) / 1000 : 0);
    answer_time(a, "heard", state.heard_ms > 0 ? (wall_ms - (int64_t)(now - state.heard_ms)) / 1000 : 0);
    answer_count(a, "last full refresh, milliseconds", state.refresh_ms);
    answer_text(a, "reason", state.mode == WATCH_AWAY ? state.why.text : NULL);
    answer_close(a);
}

static void say_faults(struct answer *a, const struct snapshot *snapshot)
{
    answer_table(a, "faults");
    for (size_t i = 0; snapshot != NULL && i < snapshot->fault_count; i++) {
        const struct config_fault *fault = &snapshot->faults[i];
        answer_row(a);
        answer_text(a, "dn", fault->dn);
        answer_text(a, "attribute", fault->attribute);
        answer_text(a, "reason", fault->reason);
        answer_close(a);
    }
    answer_close(a);
}

int status_answer(struct question *q)
{
    struct answer a;
    struct snapshot *snapshot = snapshot_current();
    answer_init(&a, &q->out, q->json, q->all);
    say_gateway(&a, q->gateway, snapshot);
    say_directory(&a);
    answer_list(&a, "services");
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        say_room(&a, q->gateway, &q->gateway->rooms[i]);
    answer_close(&a);
    say_faults(&a, snapshot);
    answer_fini(&a);
    snapshot_unref(&snapshot);
    return 0;
}
