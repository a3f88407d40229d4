/* What posternctl status says. Called on the first loop; only reads. */
#include "gateway.h"

#include "listeners.h"
#include "postern/queue/queue.h"

static void say_stalled(const char *label, void *context)
{
    buf_printf(context, "stalled: %s\n", label);
}

static void say_room(struct room *room, struct buf *out)
{
    const char *word = service_word(room->service);
    struct pool_status pool;
    pool_get_status(room->pool, &pool);
    buf_printf(out, "%s: %s\n", word, room->enabled ? "enabled" : "disabled");
    buf_printf(out, "%s sessions now: %u\n", word, atomic_load(&room->sessions));
    buf_printf(out, "%s threads: %u\n%s threads busy: %u\n%s threads idle: %u\n", word, pool.threads, word, pool.busy, word,
               pool.idle);
    buf_printf(out, "%s threads stuck: %u\n%s requests queued: %zu\n", word, pool.stuck, word, pool.queued);
    for (unsigned i = 0; i < COUNTER_COUNT; i++)
        buf_printf(out, "%s %s: %llu\n", word, counter_word(i), (unsigned long long)counter_get(&room->counters, i));
    for (unsigned i = 0; i < CLOSE_COUNT; i++)
        buf_printf(out, "%s ended, %s: %llu\n", word, close_reason_word(i),
                   (unsigned long long)atomic_load(&room->closed[i]));
    pool_for_each_stalled(room->pool, say_stalled, out);
}

/* One line, whatever is in the text. */
static void say_text(struct buf *out, const char *text)
{
    for (; text != NULL && *text != '\0'; text++)
        buf_append_byte(out, (unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
}

static void say_snapshot(const struct snapshot *snapshot, struct buf *out)
{
    buf_printf(out, "snapshot: %llu\nfrom cache: %s\npost offices: %zu\nfaults: %zu\n",
               (unsigned long long)snapshot->serial, snapshot->from_cache ? "yes" : "no", snapshot->post_office_count,
               snapshot->fault_count);
    for (size_t i = 0; i < snapshot->fault_count; i++) {
        const struct config_fault *fault = &snapshot->faults[i];
        buf_append_text(out, "fault: ");
        say_text(out, fault->dn);
        buf_append_text(out, fault->attribute ? " " : "");
        say_text(out, fault->attribute);
        buf_append_text(out, ": ");
        say_text(out, fault->reason);
        buf_append_byte(out, '\n');
    }
}

void gateway_status(struct gateway *gateway, struct buf *out)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot != NULL)
        say_snapshot(snapshot, out);
    else
        buf_append_text(out, "snapshot: none\n");
    snapshot_unref(&snapshot);
    buf_printf(out, "tls: %s\nqueue length: %zu\n", atomic_load(&gateway->tls_ready) ? "yes" : "no", queue_length());
    if (gateway->listeners != NULL)
        listeners_status(gateway->listeners, out);
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        say_room(&gateway->rooms[i], out);
}
