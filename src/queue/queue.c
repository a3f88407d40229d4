/* The queue of the process: its threads, what is due when, and new messages on their way into the spool. The service starts and stops
 * it; SMTP's steps put messages in. Its lock is never held across a disk or a peer. */
#include "postern/queue/queue.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "attempt.h"
#include "gate.h"
#include "lane.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/snapshot.h"
#include "result.h"
#include "schedule.h"
#include "spool.h"

enum { STOP_SECONDS = 5, LOOK_SECONDS = 30, NO_SNAPSHOT_SECONDS = 1 };

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct spool spool;
    struct schedule here;   /* messages for mailboxes here only: they never wait for a relay host */
    struct schedule away;   /* the others */
    size_t busy;            /* messages under work, which are in no schedule */
    size_t busy_away;       /* those of them for elsewhere: at most `wanted` */
    size_t running, wanted; /* threads: one more runs than wanted, for mail for here */
    uint64_t hurry;         /* rises when the relay host changed */
    char *relay_host;
    uint64_t ways;          /* how post offices are reached, as a hash */
    uint64_t ways_serial;   /* the post offices that it was made from */
    bool started;
    atomic_bool stopping;
};

static struct queue queue = {
    .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER, .spool = { -1, -1, -1 },
};

struct queue_message {
    struct envelope envelope;
    int fd;
    bool invalid;
    bool committed;
};

/* --- threads ------------------------------------------------------------------------------------------------------------ */

/* What is to be done next, and when; NULL: nothing. */
static const struct schedule_item *first_to_do(void)
{
    const struct schedule_item *here = schedule_first(&queue.here);
    const struct schedule_item *away = queue.busy_away < queue.wanted ? schedule_first(&queue.away) : NULL;
    return here == NULL || (away != NULL && away->due < here->due) ? away : here;
}

static bool has_due(void)
{
    const struct schedule_item *first = first_to_do();
    return first != NULL && first->due <= clock_wall().tv_sec;
}

static void put(const char *id, bool away, uint32_t mark, time_t due)
{
    schedule_put(away ? &queue.away : &queue.here, id, mark, due);
}

static void put_ready(void)
{
    char id[SPOOL_ID_MAX];
    lane_wake();
    while (lane_take_ready(id))
        put(id, true, 0, clock_wall().tv_sec);
}

static void wait_until(time_t due)
{
    struct timespec until = clock_wall();
    pthread_mutex_unlock(&queue.lock);
    bool connections = gate_close_idle();
    pthread_mutex_lock(&queue.lock);
    put_ready();
    time_t latest = until.tv_sec + (connections ? GATE_IDLE_MS / 1000 + 1 : LOOK_SECONDS);   /* the wall clock may be set */
    until.tv_sec = due < latest ? due : latest;
    until.tv_nsec = 0;
    if (!atomic_load(&queue.stopping) && !has_due())
        pthread_cond_timedwait(&queue.changed, &queue.lock, &until);
}

/* Takes the first due ID out of a schedule; false after a wait. */
static bool take_due(char *id, bool *away_out)
{
    const struct schedule_item *first = first_to_do();
    time_t now = clock_wall().tv_sec;
    if (first == NULL || first->due > now) {
        wait_until(first != NULL ? first->due : now + LOOK_SECONDS);
        return false;
    }
    *away_out = first == schedule_first(&queue.away);
    memcpy(id, first->id, SPOOL_ID_MAX);
    schedule_remove_first(*away_out ? &queue.away : &queue.here);
    return true;
}

/* A post office as a mark in the schedule: one that it shares with another costs a go in vain. */
static uint32_t mark_of(const char *uuid)
{
    uint32_t hash = 2166136261u;
    for (; *uuid != '\0'; uuid++)
        hash = (hash ^ (unsigned char)*uuid) * 16777619u;
    return hash | 1;
}

/* Under the lock, after an attempt: back into a schedule, or to those that wait for their turn. */
static void put_back(const char *id, const struct attempt_result *result, bool hurried)
{
    time_t now = clock_wall().tv_sec;
    uint32_t mark = result->office[0] != '\0' ? mark_of(result->office) : 0;
    if (result->notice[0] != '\0')
        put(result->notice, result->notice_away, 0, now);
    if (result->back[0] != '\0')
        schedule_hurry_marked(&queue.away, mark_of(result->back), now);
    if (result->next == 0 || (result->waits_for_lane && lane_wait(result->office, result->lane_width, result->all_lanes, id)))
        return;
    put(id, result->away, mark, hurried || result->waits_for_lane ? now : result->next);
}

static void work_on(const char *id, bool away)
{
    uint64_t hurry = queue.hurry;
    queue.busy++;
    queue.busy_away += away;
    pthread_mutex_unlock(&queue.lock);
    struct snapshot *snapshot = snapshot_current();
    struct attempt_result result = { .next = clock_wall().tv_sec + NO_SNAPSHOT_SECONDS, .away = away };
    if (snapshot != NULL)
        attempt_run(&queue.spool, id, snapshot, &queue.stopping, &result);
    if (snapshot != NULL)
        snapshot_unref(&snapshot);
    pthread_mutex_lock(&queue.lock);
    queue.busy--;
    queue.busy_away -= away;
    put_back(id, &result, hurry != queue.hurry);
    put_ready();
    /* The place for elsewhere that is free now may be another thread's to take. */
    if (away)
        pthread_cond_signal(&queue.changed);
}

static void *run_thread(void *unused)
{
    char id[SPOOL_ID_MAX];
    bool away;
    (void)unused;
    pthread_mutex_lock(&queue.lock);
    while (!atomic_load(&queue.stopping) && queue.running <= queue.wanted + 1)
        if (take_due(id, &away))
            work_on(id, away);
    queue.running--;
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    return NULL;
}

/* Under the lock. Threads are detached: one that hangs in a name look-up must not hold up the end of the process. */
static void start_threads(void)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 1024 * 1024);
    while (queue.running < queue.wanted + 1) {
        pthread_t thread;
        int error = pthread_create(&thread, &attributes, run_thread, NULL);
        if (error != 0) {
            log_error("queue", "cannot start a send thread: %s", strerror(error));
            break;
        }
        queue.running++;
    }
    pthread_attr_destroy(&attributes);
}

static uint64_t mix(uint64_t hash, const char *text)
{
    for (; text != NULL && *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return (hash ^ 0xff) * 1099511628211u;
}

static uint64_t hash_ways(const struct snapshot *snapshot)
{
    uint64_t hash = 14695981039346656037u;
    char numbers[40];
    for (size_t i = 0; i < snapshot->post_office_count; i++) {
        const struct post_office *office = snapshot->post_offices[i];
        hash = mix(mix(hash, office->uuid), office->path);
        for (size_t j = 0; j < office->agent_count; j++) {
            const struct post_office_agent *agent = &office->agents[j];
            snprintf(numbers, sizeof(numbers), "%u %d %d %d", agent->lmtp_port, (int)agent->tls, (int)agent->login, agent->proxy_header);
            hash = mix(mix(mix(hash, agent->host), agent->ca_file), agent->certificate);
            hash = mix(mix(mix(hash, agent->key), agent->credentials), numbers);
        }
    }
    return hash;
}

/* Under the lock: mail that waits for another way goes at once when there is one. */
static void note_ways(const struct snapshot *snapshot)
{
    if (snapshot->post_offices_serial != 0 && snapshot->post_offices_serial == queue.ways_serial)
        return;
    queue.ways_serial = snapshot->post_offices_serial;
    uint64_t ways = hash_ways(snapshot);
    if (ways == queue.ways)
        return;
    queue.ways = ways;
    schedule_hurry_marked(&queue.away, 0, clock_wall().tv_sec);
}

void queue_changed(void)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL)
        return;
    const char *host = snapshot->agent.relay_host != NULL ? snapshot->agent.relay_host : "";
    pthread_mutex_lock(&queue.lock);
    if (queue.started) {
        queue.wanted = snapshot->agent.smtp_send_threads;
        if (strcmp(host, queue.relay_host) != 0) {
            mem_free(&queue.relay_host);
            queue.relay_host = mem_strdup(host);
            queue.hurry++;
            schedule_hurry(&queue.here, clock_wall().tv_sec);
            schedule_hurry(&queue.away, clock_wall().tv_sec);
        }
        note_ways(snapshot);
        start_threads();
        pthread_cond_broadcast(&queue.changed);
    }
    pthread_mutex_unlock(&queue.lock);
    snapshot_unref(&snapshot);
}

/* --- start and stop ----------------------------------------------------------------------------------------------------- */

/* Without a configuration nobody knows what is here: the first attempt tells. */
static bool is_away(const struct envelope *envelope)
{
    struct snapshot *snapshot = snapshot_current();
    bool away = snapshot == NULL || attempt_is_away(envelope, snapshot);
    if (snapshot != NULL)
        snapshot_unref(&snapshot);
    return away;
}

/* A message that waited when the process ended is due when it was due. */
static void take_up(const char *id, void *context)
{
    struct envelope envelope;
    struct fault fault;
    (void)context;
    time_t due = 0;
    bool away = false;
    if (result_is_held(id))
        return;
    if (spool_load(&queue.spool, id, &envelope, &fault) == 0) {
        due = envelope.next;
        away = is_away(&envelope);
        queue_envelope_fini(&envelope);
    }
    put(id, away, 0, due);
}

int queue_start(const char *state_dir, struct fault *fault)
{
    pthread_mutex_lock(&queue.lock);
    bool free = !queue.started && queue.running == 0;
    pthread_mutex_unlock(&queue.lock);
    if (!free)
        return fault_set(fault, FAULT_INVALID, 0, "the queue runs already");
    if (spool_init(&queue.spool, state_dir, fault) < 0)
        return -1;
    /* What notices tell of is finished first. */
    if (spool_recover(&queue.spool, result_finish, &queue.spool, fault) < 0 || spool_recover(&queue.spool, take_up, NULL, fault) < 0) {
        spool_fini(&queue.spool);
        schedule_fini(&queue.here);
        schedule_fini(&queue.away);
        return -1;
    }
    pthread_mutex_lock(&queue.lock);
    atomic_store(&queue.stopping, false);
    queue.relay_host = mem_strdup("");
    queue.wanted = 1;
    queue.started = true;
    if (queue.here.count + queue.away.count != 0)
        log_normal("queue", "%zu messages taken up again", queue.here.count + queue.away.count);
    start_threads();
    pthread_mutex_unlock(&queue.lock);
    queue_changed();
    return 0;
}

bool queue_stop(void)
{
    struct timespec until = clock_wall();
    until.tv_sec += STOP_SECONDS;
    pthread_mutex_lock(&queue.lock);
    atomic_store(&queue.stopping, true);
    queue.started = false;
    pthread_cond_broadcast(&queue.changed);
    while (queue.running != 0 && pthread_cond_timedwait(&queue.changed, &queue.lock, &until) == 0)
        ;
    bool ended = queue.running == 0;
    if (ended) {
        spool_fini(&queue.spool);
        schedule_fini(&queue.here);
        schedule_fini(&queue.away);
        lane_clear();
        gate_clear();
        result_clear();
        mem_free(&queue.relay_host);
    } else {
        /* What is on disk is right at every moment; what these threads need stays. */
        log_warning("queue", "%zu deliveries under way are left behind", queue.running);
    }
    pthread_mutex_unlock(&queue.lock);
    return ended;
}

void queue_report_links(const struct snapshot *snapshot, struct buf *out, void *context)
{
    (void)context;
    for (size_t i = 0; gate_any_is_away() && i < snapshot->post_office_count; i++) {
        const struct post_office *office = snapshot->post_offices[i];
        for (size_t j = 0; j < office->agent_count; j++)
            if (gate_is_away(&office->agents[j]))
                buf_printf(out, "%s: LMTP at %s:%u is away\n", office->dn, office->agents[j].host, office->agents[j].lmtp_port);
    }
}

size_t queue_length(void)
{
    pthread_mutex_lock(&queue.lock);
    size_t length = queue.here.count + queue.away.count + queue.busy + lane_count();
    pthread_mutex_unlock(&queue.lock);
    return length;
}

/* --- new messages ------------------------------------------------------------------------------------------------------- */

int queue_message_open(struct slice sender, const struct slice *recipients, size_t recipient_count, bool eight_bit,
                       struct queue_message **out, struct fault *fault)
{
    struct queue_message *m = MEM_NEW(struct queue_message);
    spool_make_id(m->envelope.id);
    m->fd = -1;
    m->envelope.sender = slice_to_string(sender);
    m->envelope.eight_bit = eight_bit;
    for (size_t i = 0; i < recipient_count; i++)
        queue_message_add(m, recipients[i]);
    *out = m;
    if (queue.spool.tmp >= 0 && spool_create_message(&queue.spool, m->envelope.id, &m->fd, fault) == 0)
        return 0;
    if (queue.spool.tmp < 0)
        fault_set(fault, FAULT_UNREACHABLE, 0, "the queue does not run");
    queue_message_free(out);
    return -1;
}

void queue_message_set_client(struct queue_message *message, const struct queue_client *client)
{
    queue_envelope_set_client(&message->envelope, client);
}

void queue_message_add(struct queue_message *message, struct slice recipient)
{
    if (!queue_envelope_add(&message->envelope, recipient))
        message->invalid = true;
}

int queue_message_write(struct queue_message *message, struct slice bytes, struct fault *fault)
{
    return spool_write_message(message->fd, bytes, fault);
}

int queue_message_commit(struct queue_message *message, struct fault *fault)
{
    struct envelope *envelope = &message->envelope;
    envelope->arrived = envelope->next = clock_wall().tv_sec;
    if (message->invalid || envelope->count == 0)
        return fault_set(fault, FAULT_INVALID, 0, "a recipient is not an address");
    if (spool_commit_message(&queue.spool, envelope, message->fd, fault) < 0)
        return -1;
    message->committed = true;
    bool away = is_away(envelope);
    pthread_mutex_lock(&queue.lock);
    put(envelope->id, away, 0, envelope->next);
    pthread_cond_broadcast(&queue.changed);
    pthread_mutex_unlock(&queue.lock);
    return 0;
}

void queue_message_free(struct queue_message **message)
{
    struct queue_message *m = *message;
    if (m == NULL)
        return;
    if (m->fd >= 0)
        close(m->fd);
    if (m->fd >= 0 && !m->committed)
        spool_discard_message(&queue.spool, m->envelope.id);
    queue_envelope_fini(&m->envelope);
    mem_free(message);
}
