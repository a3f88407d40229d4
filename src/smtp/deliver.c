/* A whole message on its way to safety: into the INBOX of every recipient here and, for recipients elsewhere, into the queue. Called by receive.c;
 * it answers 250 only when every recipient's copy survives a power loss (RFC 5321 4.2.5, 6.1).
 *
 * Order: the queue's copy is written but not committed, then the mailboxes, then the commit. A mailbox that fails while others succeeded is
 * left to the queue, which delivers it later. If even that fails the answer is 451 and nothing was wrongly accepted: the client sends
 * again, and those who have their copy get it twice, which RFC 1047 prefers to a loss. If no copy is safe, the answer is 451 at once.
 * LMTP has an answer for each recipient: a mailbox that fails is left to the client. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/queue/inbox.h"
#include "postern/queue/queue.h"
#include "state.h"

typedef int copy_write(void *to, struct slice bytes, struct fault *fault);

static int write_inbox(void *to, struct slice bytes, struct fault *fault)
{
    return inbox_writer_write(to, bytes, fault);
}

static int write_queue(void *to, struct slice bytes, struct fault *fault)
{
    return queue_message_write(to, bytes, fault);
}

static int copy_file_piece(struct transaction *t, copy_write *write_bytes, void *to, struct fault *fault)
{
    char piece[32 * 1024];
    ssize_t got = pread(t->spool, piece, sizeof(piece), (off_t)t->copied);
    if (got <= 0)
        return fault_set_errno(fault, got < 0 ? errno : EIO, "spool file");
    t->copied += (uint64_t)got;
    return write_bytes(to, slice_make(piece, (size_t)got), fault);
}

/* 1: all is copied; 0: more to do in another step; -1: fault. */
static int copy_content(struct transaction *t, copy_write *write_bytes, void *to, struct fault *fault)
{
    if (t->spool < 0)
        return write_bytes(to, buf_slice(&t->content), fault) < 0 ? -1 : 1;
    for (uint64_t end = t->copied + SMTP_COPY_MAX; t->copied < t->spooled && t->copied < end;)
        if (copy_file_piece(t, write_bytes, to, fault) < 0)
            return -1;
    return t->copied >= t->spooled;
}

static int open_outgoing(const struct session *session, struct transaction *t, struct fault *fault)
{
    const struct smtp *st = session->state;
    struct queue_client client = {
        .address = session->peer, .port = session->peer_port, .local = session->local, .helo = st->helo, .protocol = trace_protocol(session),
        .login = session->user != NULL ? session->user->id : NULL,
    };
    t->copied = 0;
    if (queue_message_open(mail_path_text(&t->sender), NULL, 0, t->eight_bit, &t->outgoing, fault) < 0)
        return -1;
    queue_message_set_client(t->outgoing, &client);
    return queue_message_write(t->outgoing, buf_slice(&t->trace), fault);
}

/* [T] */
static enum step_result fill_outgoing(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    struct fault fault;
    int done = -1;
    if (t->outgoing != NULL || open_outgoing(session, t, &fault) == 0)
        done = copy_content(t, write_queue, t->outgoing, &fault);
    t->outgoing_whole = done > 0;
    t->step_failed = done < 0;
    if (t->step_failed) {
        log_error("smtp", "%s: queue: %s", t->id, fault.text);
        queue_message_free(&t->outgoing);
    }
    return STEP_DONE;
}

static int check_time(const struct session *session, struct fault *fault)
{
    return lmtp_is_too_late(session) ? fault_set(fault, FAULT_TIMEOUT, 0, "it took so long that the client may have given up") : 0;
}

/* [T] */
static enum step_result commit_outgoing(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    struct fault fault;
    t->step_failed = check_time(session, &fault) < 0 || queue_message_commit(t->outgoing, &fault) < 0;
    queue_message_free(&t->outgoing);
    if (t->step_failed)
        log_error("smtp", "%s: queue: %s", t->id, fault.text);
    return STEP_DONE;
}

static int open_inbox(struct transaction *t, const struct user *user, struct fault *fault)
{
    t->copied = 0;
    if (inbox_writer_open(user, &t->inbox, fault) < 0 ||
        inbox_writer_write(t->inbox, buf_slice(&t->return_path), fault) < 0)
        return -1;
    return inbox_writer_write(t->inbox, buf_slice(&t->trace), fault);
}

/* [T] A part of the copy for the local recipient under work, or all of it. */
static enum step_result fill_inbox(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    struct recipient *to = &t->recipients[t->at];
    struct fault fault;
    int done = -1;
    if (t->inbox != NULL || open_inbox(t, to->user, &fault) == 0)
        done = copy_content(t, write_inbox, t->inbox, &fault);
    if (done > 0 && (check_time(session, &fault) < 0 || inbox_writer_deliver(t->inbox, &fault) < 0))
        done = -1;
    if (done < 0)
        log_warning("smtp", "%s: to %s: %s", t->id, to->address, fault.text);
    if (done > 0)
        to->state = RECIPIENT_SAFE;
    t->step_failed = done < 0;
    if (done != 0)
        inbox_writer_free(&t->inbox);
    return STEP_DONE;
}

/* Its copy goes into a mailbox here in this session; all others are left to the queue: those elsewhere, and those that are reached by LMTP. */
static bool is_direct(const struct recipient *to)
{
    return to->user != NULL && to->user->post_office->agent_count == 0;
}

static bool has(const struct transaction *t, bool local, enum recipient_state state)
{
    for (size_t i = 0; i < t->recipient_count; i++)
        if (is_direct(&t->recipients[i]) == local && t->recipients[i].state == state)
            return true;
    return false;
}

static void answer(struct session *session, bool safe)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    log_normal("smtp", "%s: from <%.*s> [%s], %llu octets, %zu recipients: %s", t->id, SLICE_ARG(mail_path_text(&t->sender)), session->peer,
               (unsigned long long)t->size, t->recipient_count, safe ? "accepted" : "not accepted now");
    if (safe)
        counter_add(session->counters, COUNTER_MESSAGES_IN, 1);
    if (smtp_is_lmtp(session))
        lmtp_answer_each(session);
    else if (safe)
        smtp_reply(session, "250 2.0.0 Accepted as %s", t->id);
    else
        smtp_reply(session, "451 4.3.0 Cannot deliver now, try again later");
    transaction_reset(t);
    st->phase = SMTP_COMMAND;
    session->fair_key = NULL;
    session->idle_seconds = (unsigned)session->snapshot->agent.smtp_command_minutes * 60;
}

static void advance(struct session *session);

static void settle_outgoing(struct transaction *t, enum recipient_state state)
{
    for (size_t i = 0; i < t->recipient_count; i++)
        if (!is_direct(&t->recipients[i]) && t->recipients[i].state == RECIPIENT_WAITING)
            t->recipients[i].state = state;
}

static void after_outgoing(struct session *session, enum action_result result)
{
    struct smtp *st = session->state;
    bool failed = result != ACTION_OK || st->transaction.step_failed;
    if (failed && !smtp_is_lmtp(session)) {
        answer(session, false);
        return;
    }
    if (failed)
        settle_outgoing(&st->transaction, RECIPIENT_FAILED);
    advance(session);
}

static void after_commit(struct session *session, enum action_result result)
{
    struct smtp *st = session->state;
    bool safe = result == ACTION_OK && !st->transaction.step_failed;
    settle_outgoing(&st->transaction, safe ? RECIPIENT_SAFE : RECIPIENT_FAILED);
    answer(session, safe || (smtp_is_lmtp(session) && has(&st->transaction, true, RECIPIENT_SAFE)));
}

static void after_inbox(struct session *session, enum action_result result)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    if (result != ACTION_OK || t->step_failed) {
        inbox_writer_free(&t->inbox);
        t->recipients[t->at].state = RECIPIENT_FAILED;
    }
    advance(session);
}

/* Two addresses of one user are one copy. */
static bool is_same_mailbox_before(const struct transaction *t, size_t at, enum recipient_state *state_out)
{
    const struct recipient *to = &t->recipients[at];
    for (size_t i = 0; i < at; i++) {
        const struct recipient *other = &t->recipients[i];
        if (!is_direct(other) || strcmp(other->user->dn, to->user->dn) != 0)
            continue;
        *state_out = other->state;
        return true;
    }
    return false;
}

/* The next recipient here that waits; false if there is none. */
static bool find_next(struct transaction *t)
{
    for (; t->at < t->recipient_count; t->at++) {
        struct recipient *to = &t->recipients[t->at];
        if (is_direct(to) && to->state == RECIPIENT_WAITING && !is_same_mailbox_before(t, t->at, &to->state))
            return true;
    }
    return false;
}

/* When the mailboxes have had their turn. */
static bool is_left_to_queue(const struct session *session, const struct recipient *to)
{
    return to->state == RECIPIENT_WAITING || (to->state == RECIPIENT_FAILED && !smtp_is_lmtp(session));
}

/* Another address of a user whose copy the queue already has. */
static bool is_added_before(const struct session *session, const struct transaction *t, size_t at)
{
    const struct user *user = t->recipients[at].user;
    for (size_t i = 0; user != NULL && i < at; i++)
        if (t->recipients[i].user != NULL && is_left_to_queue(session, &t->recipients[i]) && strcmp(t->recipients[i].user->dn, user->dn) == 0)
            return true;
    return false;
}

static void add_outgoing(const struct session *session, struct transaction *t)
{
    for (size_t i = 0; i < t->recipient_count; i++)
        if (is_left_to_queue(session, &t->recipients[i]) && !is_added_before(session, t, i))
            queue_message_add(t->outgoing, slice_from_string(t->recipients[i].address));
}

/* The post office as the session's own snapshot has it, so that the service knows it again; the recipient may be of an older one. */
static const void *fair_key_of_recipient(const struct session *session, const struct recipient *to)
{
    const struct post_office *office = snapshot_post_office(session->snapshot, to->user->post_office->dn);
    return office != NULL ? office : to->user->post_office;
}

static void advance(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    bool remote = has(t, false, RECIPIENT_WAITING);
    session->serial_key = session->fair_key = NULL;
    if (remote && !t->outgoing_whole) {
        smtp_step(session, fill_outgoing, after_outgoing);
    } else if (find_next(t)) {
        session->fair_key = fair_key_of_recipient(session, &t->recipients[t->at]);
        smtp_step(session, fill_inbox, after_inbox);
    } else if (!remote && (smtp_is_lmtp(session) || !has(t, true, RECIPIENT_FAILED) || !has(t, true, RECIPIENT_SAFE))) {
        answer(session, has(t, true, RECIPIENT_SAFE));
    } else if (!t->outgoing_whole) {
        smtp_step(session, fill_outgoing, after_outgoing);
    } else {
        add_outgoing(session, t);
        smtp_step(session, commit_outgoing, after_commit);
    }
}

void deliver_begin(struct session *session)
{
    struct smtp *st = session->state;
    st->phase = SMTP_DELIVER;
    st->transaction.whole_ms = clock_monotonic_ms();
    trace_write(session);
    advance(session);
}
