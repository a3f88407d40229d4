/* One go at one message: recipients here into their INBOX, those elsewhere to the relay host; then notices for what failed for good, and the
 * envelope is rewritten. Called by queue.c's threads. Order matters: a notice is safe before the failed recipient is forgotten. */
#include "attempt.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/queue/inbox.h"
#include "relay.h"

enum {
    TROUBLE_SECONDS = 300,   /* until the next go when our own disk makes trouble */
    DOWN_MS = 10000,         /* a relay host that cannot be reached is left alone */
};

static struct {
    pthread_mutex_t lock;
    char *host;              /* as the directory writes it */
    uint64_t until;
} down = { .lock = PTHREAD_MUTEX_INITIALIZER };

struct attempt {
    struct spool *spool;
    const struct snapshot *snapshot;
    const atomic_bool *stopping;
    struct envelope envelope;
    int message;
    char host[256];
    bool soon;
    bool poa_waits;   /* a Post Office Agent was not there or did not take it: it may be back soon */
};

static void set_result(struct envelope_recipient *to, enum outcome outcome, const char *status, const char *text)
{
    to->outcome = outcome;
    snprintf(to->status, sizeof(to->status), "%s", status);
    snprintf(to->text, sizeof(to->text), "%s", text);
}

static bool is_local(const struct snapshot *snapshot, const char *address)
{
    struct slice s = slice_from_string(address);
    ptrdiff_t at = slice_find_last(s, '@');
    return at < 0 || snapshot_domain(snapshot, slice_from(s, (size_t)at + 1)) != NULL;
}

/* Of a post office that is reached by LMTP. */
static bool is_far(const struct snapshot *snapshot, const char *address)
{
    struct slice s = slice_from_string(address);
    ptrdiff_t at = slice_find_last(s, '@');
    const struct post_office *office = at < 0 ? NULL : snapshot_domain(snapshot, slice_from(s, (size_t)at + 1));
    return office != NULL && office->agent_count > 0;
}

bool attempt_is_away(const struct envelope *envelope, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < envelope->count; i++)
        if (envelope->recipients[i].outcome == OUTCOME_WAITING &&
            (!is_local(snapshot, envelope->recipients[i].address) || is_far(snapshot, envelope->recipients[i].address)))
            return true;
    return false;
}

/* --- recipients here ---------------------------------------------------------------------------------------------------- */

static int copy_message(int message, struct inbox_writer *writer, struct fault *fault)
{
    char piece[32 * 1024];
    for (off_t at = 0;;) {
        ssize_t got = pread(message, piece, sizeof(piece), at);
        if (got < 0)
            return fault_set_errno(fault, errno, "reading the message");
        if (got == 0)
            return 0;
        if (inbox_writer_write(writer, slice_make(piece, (size_t)got), fault) < 0)
            return -1;
        at += got;
    }
}

/* RFC 5321 4.4: the final delivery puts the return path in front. */
static int write_copy(struct attempt *a, struct inbox_writer *writer, struct fault *fault)
{
    struct buf line = { 0 };
    buf_printf(&line, "Return-Path: <%s>\r\n", a->envelope.sender);
    int result = inbox_writer_write(writer, buf_slice(&line), fault);
    buf_fini(&line);
    if (result == 0)
        result = copy_message(a->message, writer, fault);
    return result == 0 ? inbox_writer_deliver(writer, fault) : -1;
}

static void give_to_agents(struct attempt *a, const struct post_office *office, struct envelope_recipient *to)
{
    const struct agent_settings *settings = &a->snapshot->agent;
    bool unreachable = true;
    for (size_t i = 0; i < office->agent_count && unreachable && !atomic_load(a->stopping); i++) {
        const struct post_office_agent *agent = &office->agents[i];
        struct relay_job job = {
            .host = agent->host, .port = agent->lmtp_port, .helo = a->host, .lmtp = true, .clear_text = agent->tls == POA_TLS_DISABLED,
            .envelope = &a->envelope, .message = a->message, .recipients = &to, .count = 1, .stopping = a->stopping,
            .connect_ms = agent->timeout_ms, .greeting_ms = agent->timeout_ms, .read_ms = (unsigned)settings->smtp_read_minutes * 60000,
        };
        to->other_way = false;
        if (agent->tls >= POA_TLS_REQUIRED || agent->ca_file != NULL) {
            set_result(to, OUTCOME_WAITING, "4.7.0", "LMTP with verified TLS is not possible");
            to->other_way = true;
            continue;
        }
        relay_send(&job);
        unreachable = job.unreachable;
    }
}

static void deliver_to(struct attempt *a, const struct user *user, struct envelope_recipient *to)
{
    struct fault fault;
    struct inbox_writer *writer = NULL;
    const struct post_office *office = user->post_office;
    bool allowed = !user->disabled && user->smtp_incoming_allowed;
    if (allowed && office != NULL && office->agent_count > 0) {
        give_to_agents(a, office, to);
        a->poa_waits = a->poa_waits || to->outcome == OUTCOME_WAITING;
        /* What a server may have is not given elsewhere: it would be there twice. */
        if (to->outcome != OUTCOME_WAITING || !to->other_way || to->unknown || office->path == NULL || atomic_load(a->stopping))
            return;
    }
    if (user->disabled) {
        set_result(to, OUTCOME_FAILED, "5.2.1", "mailbox disabled");
    } else if (!user->smtp_incoming_allowed) {
        set_result(to, OUTCOME_FAILED, "5.7.1", "recipient may not receive mail");
    } else if (inbox_writer_open(user, &writer, &fault) < 0 || write_copy(a, writer, &fault) < 0) {
        log_warning("queue", "%s: to %s: %s", a->envelope.id, to->address, fault.text);
        set_result(to, OUTCOME_WAITING, "4.3.0", "mailbox not reachable");
    } else {
        set_result(to, OUTCOME_SENT, "2.0.0", "delivered");
    }
    inbox_writer_free(&writer);
}

static void deliver_local(struct attempt *a, struct envelope_recipient *to)
{
    struct user *user = NULL;
    struct fault fault;
    if (config_find_user(slice_from_string(to->address), &user, &fault) == 0) {
        deliver_to(a, user, to);
        user_unref(&user);
    } else if (fault.class == FAULT_NOT_FOUND) {
        set_result(to, OUTCOME_FAILED, "5.1.1", "no such user here");
    } else {
        set_result(to, OUTCOME_WAITING, "4.3.0", "directory not reachable");
    }
}

/* --- recipients elsewhere ----------------------------------------------------------------------------------------------- */

static bool is_known_down(const char *host)
{
    pthread_mutex_lock(&down.lock);
    bool known = down.host != NULL && strcmp(down.host, host) == 0 && clock_monotonic_ms() < down.until;
    pthread_mutex_unlock(&down.lock);
    return known;
}

static void note_down(const char *host)
{
    pthread_mutex_lock(&down.lock);
    mem_free(&down.host);
    down.host = mem_strdup(host);
    down.until = clock_monotonic_ms() + DOWN_MS;
    pthread_mutex_unlock(&down.lock);
}

static void defer_remote(struct envelope_recipient **to, size_t count, const char *text)
{
    for (size_t i = 0; i < count; i++)
        set_result(to[i], OUTCOME_WAITING, "4.4.1", text);
}

static void send_remote(struct attempt *a, struct envelope_recipient **to, size_t count)
{
    const struct agent_settings *agent = &a->snapshot->agent;
    char *host = NULL;
    struct relay_job job = {
        .helo = a->host, .envelope = &a->envelope, .message = a->message, .recipients = to, .count = count, .stopping = a->stopping,
        .connect_ms = (unsigned)agent->smtp_connect_minutes * 60000, .greeting_ms = (unsigned)agent->smtp_greeting_minutes * 60000,
        .read_ms = (unsigned)agent->smtp_read_minutes * 60000,
    };
    if (agent->relay_host == NULL || !relay_parse_host(agent->relay_host, &host, &job.port)) {
        defer_remote(to, count, "there is no relay host");
    } else if (is_known_down(agent->relay_host)) {
        defer_remote(to, count, "the relay host could not be reached a moment ago");
    } else {
        job.host = host;
        relay_send(&job);
        a->soon = job.try_again_soon;
        if (job.unreachable)
            note_down(agent->relay_host);
    }
    mem_free(&host);
}

static void deliver_all(struct attempt *a)
{
    struct envelope_recipient **remote = MEM_NEW_ARRAY(struct envelope_recipient *, a->envelope.count);
    size_t count = 0;
    for (size_t i = 0; i < a->envelope.count && !atomic_load(a->stopping); i++) {
        struct envelope_recipient *to = &a->envelope.recipients[i];
        if (is_local(a->snapshot, to->address))
            deliver_local(a, to);
        else
            remote[count++] = to;
    }
    if (count != 0 && !atomic_load(a->stopping))
        send_remote(a, remote, count);
    mem_release(remote);
}

/* --- what follows ------------------------------------------------------------------------------------------------------- */

static size_t count_outcome(const struct envelope *envelope, enum outcome outcome)
{
    size_t count = 0;
    for (size_t i = 0; i < envelope->count; i++)
        count += envelope->recipients[i].outcome == outcome;
    return count;
}

/* RFC 5321 4.5.4.1: after the give-up time what waits has failed. */
static void give_up(struct attempt *a, time_t now)
{
    if (now - a->envelope.arrived < (time_t)a->snapshot->agent.defer_hours * 3600)
        return;
    for (size_t i = 0; i < a->envelope.count; i++) {
        struct envelope_recipient *to = &a->envelope.recipients[i];
        if (to->outcome != OUTCOME_WAITING)
            continue;
        to->outcome = OUTCOME_FAILED;
        snprintf(to->status, sizeof(to->status), "4.4.7");
    }
}

static void log_outcomes(const struct envelope *envelope)
{
    static const char *const words[] = { "deferred", "sent", "failed" };
    for (size_t i = 0; i < envelope->count; i++) {
        const struct envelope_recipient *to = &envelope->recipients[i];
        log_normal("queue", "%s: from <%s> to <%s>: %s: %s", envelope->id, envelope->sender, to->address, words[to->outcome], to->text);
    }
}

/* The sender hears of it; a notice about a notice would go round for ever, so it is kept aside for the postmaster to look at. */
static int report_failed(struct attempt *a, struct fault *fault)
{
    if (a->envelope.sender[0] != '\0')
        return notice_send(&a->envelope, a->message, a->snapshot, a->host, fault);
    log_error("queue", "%s: cannot be delivered nor returned: kept in queue/bad", a->envelope.id);
    return spool_keep_failed(a->spool, &a->envelope, fault);
}

unsigned attempt_delay_minutes(const struct snapshot *snapshot, uint64_t attempts)
{
    static const unsigned defaults[] = { 20, 20, 20, 240 };
    const struct text_list *list = &snapshot->agent.defer_minutes;
    uint64_t at = 0, minutes = 0, number;
    for (size_t i = 0; i < list->count; i++) {
        struct slice rest = slice_from_string(list->values[i]), word;
        while (slice_split(&rest, ' ', &word))
            if (slice_to_number(word, 10080, &number) && number != 0 && (minutes == 0 || at < attempts)) {
                minutes = number;
                at++;
            }
    }
    if (minutes == 0)
        minutes = defaults[attempts < 1 ? 0 : attempts > 4 ? 3 : attempts - 1];
    return (unsigned)minutes;
}

/* A Post Office Agent is one of ours and soon back: 20, 40, 80 ... seconds, until the schedule's own step is shorter. */
static time_t delay_seconds(const struct attempt *a)
{
    time_t delay = (time_t)attempt_delay_minutes(a->snapshot, a->envelope.attempts) * 60;
    time_t quick = a->poa_waits && a->envelope.attempts < 10 ? (time_t)10 << a->envelope.attempts : delay;
    return quick < delay ? quick : delay;
}

/* Writes down what the attempt brought; when the message is due again, 0 if it is done. */
static time_t conclude(struct attempt *a)
{
    struct envelope *envelope = &a->envelope;
    struct fault fault;
    time_t now = clock_wall().tv_sec;
    bool stopped = atomic_load(a->stopping);
    if (!stopped) {
        give_up(a, now);
        envelope->attempts++;
    }
    log_outcomes(envelope);
    if (count_outcome(envelope, OUTCOME_FAILED) != 0 && report_failed(a, &fault) < 0) {
        log_error("queue", "%s: notice: %s", envelope->id, fault.text);
        for (size_t i = 0; i < envelope->count; i++)
            if (envelope->recipients[i].outcome == OUTCOME_FAILED)
                envelope->recipients[i].outcome = OUTCOME_WAITING;
    }
    size_t waiting = count_outcome(envelope, OUTCOME_WAITING);
    /* An attempt that a stop cut short does not count. */
    bool soon = stopped || (a->soon && waiting < envelope->count);
    envelope->next = now + (soon ? 0 : delay_seconds(a));
    int result = waiting == 0 ? spool_remove(a->spool, envelope->id, &fault) : spool_store(a->spool, envelope, &fault);
    if (result < 0) {
        log_error("queue", "%s: %s", envelope->id, fault.text);
        return now + TROUBLE_SECONDS;
    }
    return waiting == 0 ? 0 : envelope->next;
}

/* A message whose files are damaged is kept, not tried. */
static time_t handle_unreadable(struct spool *spool, const char *id, struct fault *fault)
{
    log_error("queue", "%s: %s", id, fault->text);
    bool damaged = fault->class == FAULT_CORRUPT || fault->class == FAULT_NOT_FOUND;
    if (!damaged || spool_set_aside(spool, id, fault) < 0)
        return clock_wall().tv_sec + TROUBLE_SECONDS;
    log_error("queue", "%s: kept in queue/bad", id);
    return 0;
}

static void take_host_name(struct attempt *a)
{
    const char *name = a->snapshot->agent.host_name;
    if (name != NULL && name[0] != '\0')
        snprintf(a->host, sizeof(a->host), "%s", name);
    else if (gethostname(a->host, sizeof(a->host) - 1) != 0 || a->host[0] == '\0')
        snprintf(a->host, sizeof(a->host), "localhost");
}

time_t attempt_run(struct spool *spool, const char *id, const struct snapshot *snapshot, const atomic_bool *stopping, bool *away_out)
{
    struct attempt a = { .spool = spool, .snapshot = snapshot, .stopping = stopping, .message = -1 };
    struct fault fault;
    if (spool_load(spool, id, &a.envelope, &fault) < 0)
        return handle_unreadable(spool, id, &fault);
    time_t next;
    if (spool_open_message(spool, id, &a.message, &fault) < 0) {
        next = handle_unreadable(spool, id, &fault);
    } else {
        take_host_name(&a);
        deliver_all(&a);
        next = conclude(&a);
        *away_out = attempt_is_away(&a.envelope, snapshot);
        close(a.message);
    }
    queue_envelope_fini(&a.envelope);
    return next;
}
