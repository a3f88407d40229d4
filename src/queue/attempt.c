/* One go at one message: recipients here into their INBOX, directly or through the agents of their post office, those elsewhere to the relay host; then notices for what
 * failed for good, and the envelope is rewritten. Called by queue.c's threads. Order matters: a notice is safe before the failed recipient is forgotten; a message that an
 * agent may have is looked for before it is given again. */
#include "attempt.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "agents.h"
#include "lane.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/poa/poa.h"
#include "postern/queue/inbox.h"
#include "relay.h"
#include "result.h"
#include "seek.h"

enum {
    TROUBLE_SECONDS = 300,   /* until the next go when our own disk makes trouble */
    SETTLE_SECONDS = 20,     /* an agent that was given a message may still be at work on it: until then only "it is there" says something */
    AGAIN_SECONDS = 3,       /* between looks until then */
    SILENT_SECONDS = 600,    /* one that said nothing for as long as anybody waited may be at work on it for as long as RFC 5321 4.5.3.2.6 allows. One that is frozen for
                                longer, and then goes on, stores what has been given again meanwhile: it heard the end of the data, nobody can take that back, and
                                nothing tells it from one that died (RFC 1047) */
    SILENT_AGAIN_SECONDS = 20,
    LOOK_SECONDS = 600,      /* a look that does not work is tried for so long, then it is given again all the same (RFC 1047 prefers two copies to none) */
};

struct attempt {
    struct spool *spool;
    const struct snapshot *snapshot;
    const atomic_bool *stopping;
    struct envelope envelope;
    struct user **users;      /* by recipient: of a post office that is reached by LMTP, and not served yet */
    int message;
    char host[256];
    bool soon;
    bool tried;               /* something was done about some recipient */
    time_t settled;           /* when a look that was too early is made again; 0: none was */
    bool removed;             /* everybody has it: nothing is left to be written down */
    bool poa_waits;           /* a Post Office Agent was not there or did not take it: it may be back soon */
    struct attempt_result *result;
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

static size_t count_outcome(const struct envelope *envelope, enum outcome outcome)
{
    size_t count = 0;
    for (size_t i = 0; i < envelope->count; i++)
        count += envelope->recipients[i].outcome == outcome;
    return count;
}

/* A peer has answered, and is not waited for again before this is done: who has the message gets no second one if the process is killed. The time between the reply and
 * this is all that remains of the window that RFC 1047 speaks of. */
static void record(void *context)
{
    struct attempt *a = context;
    struct fault fault;
    bool all = count_outcome(&a->envelope, OUTCOME_SENT) == a->envelope.count;
    int done = all ? spool_remove(a->spool, a->envelope.id, &fault) : spool_store_under_way(a->spool, &a->envelope, &fault);
    a->removed = all && done == 0;
    if (done < 0)
        log_error("queue", "%s: %s", a->envelope.id, fault.text);   /* it is tried again after the attempt */
}

/* Those who are marked unknown may have the message from now on. */
static bool begin_end(void *context)
{
    struct attempt *a = context;
    struct fault fault;
    if (spool_store_under_way(a->spool, &a->envelope, &fault) == 0)
        return true;
    log_error("queue", "%s: %s", a->envelope.id, fault.text);
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
static int write_copy(struct attempt *a, struct inbox_writer *writer, struct envelope_recipient *to, struct fault *fault)
{
    struct buf line = { 0 };
    buf_printf(&line, "Return-Path: <%s>\r\n", a->envelope.sender);
    int result = inbox_writer_write(writer, buf_slice(&line), fault);
    buf_fini(&line);
    if (result == 0)
        result = copy_message(a->message, writer, fault);
    if (result < 0)
        return -1;
    /* For whom ends between the delivery and what is written down of it. */
    to->unknown = true;
    to->silent = false;
    to->given = clock_wall().tv_sec;
    begin_end(a);
    return inbox_writer_deliver(writer, fault);
}

/* Into the Maildir itself. */
static void deliver_directly(struct attempt *a, const struct user *user, struct envelope_recipient *to)
{
    struct fault fault;
    struct inbox_writer *writer = NULL;
    if (inbox_writer_open(user, &writer, &fault) < 0 || write_copy(a, writer, to, &fault) < 0) {
        log_warning("queue", "%s: to %s: %s", a->envelope.id, to->address, fault.text);
        set_result(to, OUTCOME_WAITING, "4.3.0", "mailbox not reachable");
    } else {
        set_result(to, OUTCOME_SENT, "2.0.0", "delivered");
    }
    inbox_writer_free(&writer);
}

/* --- recipients here, through an agent ------------------------------------------------------------------------------------ */

/* A message that may be with an agent, or in the mailbox, is looked for. True: it is to be given. */
static bool may_be_given(struct attempt *a, const struct user *user, struct envelope_recipient *to)
{
    if (!to->unknown)
        return true;
    enum seek_result result = seek_message(user, &a->envelope, a->message);
    time_t now = clock_wall().tv_sec, given = to->given = to->given < now ? to->given : now;   /* the clock may have been set back */
    time_t settled = given + (to->silent ? SILENT_SECONDS : SETTLE_SECONDS), again = now + (to->silent ? SILENT_AGAIN_SECONDS : AGAIN_SECONDS);
    if (result == SEEK_FOUND) {
        set_result(to, OUTCOME_SENT, "2.0.0", "found in the mailbox");
    } else if (settled > now) {
        set_result(to, OUTCOME_WAITING, "4.4.2", "the agent may have it and has not answered");
        a->settled = settled < again ? settled : again;
    } else if (result == SEEK_LATER && given + LOOK_SECONDS > now) {
        set_result(to, OUTCOME_WAITING, "4.4.2", "the agent may have it, and the mailbox cannot be looked into");
    } else {
        to->unknown = result != SEEK_ABSENT;
        return true;
    }
    return false;
}

/* After the agents have been asked. */
static void follow_up(struct attempt *a, const struct user *user, struct envelope_recipient *to)
{
    if (to->outcome == OUTCOME_WAITING && to->unknown && !to->other_way && seek_message(user, &a->envelope, a->message) == SEEK_FOUND)
        set_result(to, OUTCOME_SENT, "2.0.0", "found in the mailbox");
    /* What a server may have is not given elsewhere: it would be there twice. */
    if (to->outcome == OUTCOME_WAITING && to->other_way && !to->unknown && poa_fallback(user->post_office) == PATH_DIRECT)
        deliver_directly(a, user, to);
}

static void note_waiting(struct attempt *a, const struct post_office *office, const struct envelope_recipient *to)
{
    if (to->outcome != OUTCOME_WAITING)
        return;
    a->poa_waits = true;
    /* A turn that it waits for elsewhere decides when it is tried again: without one it would be at once, again and again. */
    if (a->result->waits_for_lane)
        return;
    snprintf(a->result->office, sizeof(a->result->office), "%s", office->uuid);
}

/* Recipients of one post office: `at` holds their places. */
static void give_to_office(struct attempt *a, const struct post_office *office, const size_t *at, size_t count)
{
    struct envelope_recipient **to = MEM_NEW_ARRAY(struct envelope_recipient *, count);
    bool *asked = MEM_NEW_ARRAY(bool, count);
    struct agents_job job = {
        .envelope = &a->envelope, .message = a->message, .helo = a->host, .stopping = a->stopping, .office = office, .recipients = to,
        .before_end = begin_end, .answered = record, .context = a,
    };
    for (size_t i = 0; i < count; i++) {
        asked[i] = may_be_given(a, a->users[at[i]], &a->envelope.recipients[at[i]]);
        if (asked[i])
            to[job.count++] = &a->envelope.recipients[at[i]];
    }
    if (job.count != 0)
        agents_give(&job);
    for (size_t i = 0; i < count && !atomic_load(a->stopping); i++) {
        if (asked[i])
            follow_up(a, a->users[at[i]], &a->envelope.recipients[at[i]]);
        note_waiting(a, office, &a->envelope.recipients[at[i]]);
    }
    if (job.came_back)
        snprintf(a->result->back, sizeof(a->result->back), "%s", office->uuid);
    mem_release(asked);
    mem_release(to);
}

/* Half of the threads at most are at work for one post office. */
static size_t lane_width(const struct attempt *a)
{
    size_t threads = a->snapshot->agent.smtp_send_threads;
    return threads > 1 ? threads / 2 : 1;
}

/* And one of four, one at least if there are two, never is: mail for elsewhere waits for no agent that hangs. */
static size_t all_lanes(const struct attempt *a)
{
    size_t threads = a->snapshot->agent.smtp_send_threads;
    return threads > 1 ? threads - (threads + 3) / 4 : 1;
}

/* The first recipient's post office, with all of its others. */
static void serve_office(struct attempt *a, size_t first)
{
    const struct post_office *office = a->users[first]->post_office;
    size_t *at = MEM_NEW_ARRAY(size_t, a->envelope.count), count = 0;
    bool room = lane_enter(office->uuid, lane_width(a), all_lanes(a));
    for (size_t i = first; i < a->envelope.count; i++)
        if (a->users[i] != NULL && strcmp(a->users[i]->post_office->uuid, office->uuid) == 0)
            at[count++] = i;
    if (room) {
        a->tried = true;
        give_to_office(a, office, at, count);
        lane_leave(office->uuid);
    } else {
        for (size_t i = 0; i < count; i++)
            set_result(&a->envelope.recipients[at[i]], OUTCOME_WAITING, "4.3.2", "other mail for the post office comes first");
        snprintf(a->result->office, sizeof(a->result->office), "%s", office->uuid);
        a->result->lane_width = lane_width(a);
        a->result->all_lanes = all_lanes(a);
        a->result->waits_for_lane = true;
    }
    struct user *kept = a->users[first];   /* office is its */
    for (size_t i = 1; i < count; i++)
        user_unref(&a->users[at[i]]);
    a->users[first] = NULL;
    user_unref(&kept);
    mem_release(at);
}

/* --- recipients here ------------------------------------------------------------------------------------------------------ */

static void deliver_to(struct attempt *a, size_t at, struct user **user)
{
    struct envelope_recipient *to = &a->envelope.recipients[at];
    const struct post_office *office = (*user)->post_office;
    if ((*user)->disabled) {
        set_result(to, OUTCOME_FAILED, "5.2.1", "mailbox disabled");
    } else if (!(*user)->smtp_incoming_allowed) {
        set_result(to, OUTCOME_FAILED, "5.7.1", "recipient may not receive mail");
    } else if (office != NULL && office->agent_count > 0) {
        a->users[at] = *user;
        to->user_id = a->users[at]->id;
        *user = NULL;
        return;
    } else if (may_be_given(a, *user, to)) {
        deliver_directly(a, *user, to);
    }
    a->tried = true;
}

static void deliver_local(struct attempt *a, size_t at)
{
    struct envelope_recipient *to = &a->envelope.recipients[at];
    struct user *user = NULL;
    struct fault fault;
    if (config_find_user(slice_from_string(to->address), &user, &fault) == 0) {
        deliver_to(a, at, &user);
        user_unref(&user);
        return;
    }
    a->tried = true;
    if (fault.class == FAULT_NOT_FOUND)
        set_result(to, OUTCOME_FAILED, "5.1.1", "no such user here");
    else
        set_result(to, OUTCOME_WAITING, "4.3.0", "directory not reachable");
}

static void send_remote(struct attempt *a, struct envelope_recipient **to, size_t count)
{
    struct give_job job = { .envelope = &a->envelope, .message = a->message, .recipients = to, .count = count, .answered = record, .context = a };
    a->tried = true;
    relay_send(&a->snapshot->agent, a->host, &job, a->stopping);
    a->soon = job.try_again_soon;
}

static void deliver_all(struct attempt *a)
{
    struct envelope_recipient **remote = MEM_NEW_ARRAY(struct envelope_recipient *, a->envelope.count);
    size_t count = 0;
    a->users = MEM_NEW_ARRAY(struct user *, a->envelope.count);
    for (size_t i = 0; i < a->envelope.count && !atomic_load(a->stopping); i++) {
        struct envelope_recipient *to = &a->envelope.recipients[i];
        if (is_local(a->snapshot, to->address))
            deliver_local(a, i);
        else
            remote[count++] = to;
    }
    /* Before other peers, who may hang, have their turn: of a mailbox that was looked into, or written to, it is known only here. */
    size_t sent = count_outcome(&a->envelope, OUTCOME_SENT);
    if (sent != 0 && sent < a->envelope.count)
        record(a);
    for (size_t i = 0; i < a->envelope.count; i++)
        if (a->users[i] != NULL && !atomic_load(a->stopping))
            serve_office(a, i);
    for (size_t i = 0; i < a->envelope.count; i++)
        user_unref(&a->users[i]);
    if (count != 0 && !atomic_load(a->stopping))
        send_remote(a, remote, count);
    mem_free(&a->users);
    mem_release(remote);
}

/* --- what follows ------------------------------------------------------------------------------------------------------- */

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
static int report_failed(struct attempt *a, struct envelope *notice_out, struct fault *fault)
{
    if (a->envelope.sender[0] != '\0')
        return notice_write(a->spool, &a->envelope, a->message, a->snapshot, a->host, notice_out, fault);
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
    time_t now = clock_wall().tv_sec;
    if (a->settled > now)
        return a->settled - now;
    time_t quick = a->poa_waits && a->envelope.attempts < 10 ? (time_t)10 << a->envelope.attempts : delay;
    return quick < delay ? quick : delay;
}

static void keep_waiting(struct envelope *envelope)
{
    for (size_t i = 0; i < envelope->count; i++)
        if (envelope->recipients[i].outcome == OUTCOME_FAILED)
            envelope->recipients[i].outcome = OUTCOME_WAITING;
}

/* Writes down what the attempt brought, and says when the message is due again. */
static void conclude(struct attempt *a)
{
    struct envelope *envelope = &a->envelope, notice = { .sender = NULL };
    struct fault fault;
    time_t now = clock_wall().tv_sec;
    bool stopped = atomic_load(a->stopping);
    if (!stopped) {
        give_up(a, now);
        envelope->attempts += a->settled <= now;
    }
    log_outcomes(envelope);
    if (a->removed) {
        a->result->next = 0;
        a->result->away = false;
        return;
    }
    if (count_outcome(envelope, OUTCOME_FAILED) != 0 && report_failed(a, &notice, &fault) < 0) {
        log_error("queue", "%s: notice: %s", envelope->id, fault.text);
        keep_waiting(envelope);
    }
    size_t waiting = count_outcome(envelope, OUTCOME_WAITING);
    /* An attempt that a stop cut short does not count. */
    bool soon = stopped || (a->soon && waiting < envelope->count);
    envelope->next = now + (soon ? 0 : delay_seconds(a));
    result_write(a->spool, envelope, notice.sender != NULL ? &notice : NULL, a->snapshot, a->result);
    queue_envelope_fini(&notice);
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

void attempt_run(struct spool *spool, const char *id, const struct snapshot *snapshot, const atomic_bool *stopping, struct attempt_result *result)
{
    struct attempt a = { .spool = spool, .snapshot = snapshot, .stopping = stopping, .message = -1, .result = result };
    struct fault fault;
    if (result_retry(spool, id, snapshot, result))
        return;
    if (spool_load(spool, id, &a.envelope, &fault) < 0) {
        result->next = handle_unreadable(spool, id, &fault);
        return;
    }
    if (spool_open_message(spool, id, &a.message, &fault) < 0) {
        result->next = handle_unreadable(spool, id, &fault);
    } else {
        take_host_name(&a);
        deliver_all(&a);
        /* One that has only come to wait for its turn is as it was. */
        if (a.tried || !result->waits_for_lane) {
            conclude(&a);
        } else {
            result->next = clock_wall().tv_sec;
            result->away = attempt_is_away(&a.envelope, snapshot);
        }
        close(a.message);
    }
    queue_envelope_fini(&a.envelope);
}
