/* The bytes after DATA: through the automaton into memory, and from there piece by piece into a file when they are many. At the end
 * the message is refused or goes to deliver.c. Called by smtp.c. */
#include <errno.h>
#include <unistd.h>

#include "postern/base/log.h"
#include "state.h"

void receive_begin(struct session *session)
{
    struct smtp *st = session->state;
    st->phase = SMTP_DATA;
    session->idle_seconds = (unsigned)session->snapshot->agent.smtp_data_minutes * 60;
}

/* What is refused anyway is read to its end and kept nowhere. */
static bool is_refused(const struct transaction *t)
{
    return t->reader.bare || t->too_big || t->spool_failed;
}

static int write_all(int fd, struct slice bytes, struct fault *fault)
{
    while (bytes.len != 0) {
        ssize_t done = write(fd, bytes.data, bytes.len);
        if (done < 0 && errno != EINTR)
            return fault_set_errno(fault, errno, "spool file");
        bytes = slice_from(bytes, done < 0 ? 0 : (size_t)done);
    }
    return 0;
}

/* [T] Moves what is in memory to the file. */
static enum step_result spill(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    struct fault fault;
    if (t->spool < 0)
        t->spool = smtp_spool_open(&fault);
    if (t->spool < 0 || write_all(t->spool, buf_slice(&t->content), &fault) < 0) {
        log_error("smtp", "%s: %s", t->id, fault.text);
        t->spool_failed = true;
    } else {
        t->spooled += t->content.len;
    }
    buf_clear(&t->content);
    return STEP_DONE;
}

/* [T] Giving back a big file may wait for the disk. */
static enum step_result drop(struct session *session)
{
    struct smtp *st = session->state;
    close(st->transaction.spool);
    st->transaction.spool = -1;
    return STEP_DONE;
}

static void finish(struct session *session);

static void after_step(struct session *session, enum action_result result)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    if (result != ACTION_OK)
        t->spool_failed = true;
    if (t->reader.state == DATA_DONE)
        finish(session);
}

static void refuse(struct session *session, const char *text)
{
    struct smtp *st = session->state;
    log_normal("smtp", "%s: from <%.*s> [%s] refused: %s", st->transaction.id, SLICE_ARG(mail_path_text(&st->transaction.sender)),
               session->peer, text);
    smtp_answer_data(session, text);
    transaction_reset(&st->transaction);
    st->phase = SMTP_COMMAND;
    session->idle_seconds = (unsigned)session->snapshot->agent.smtp_command_minutes * 60;
}

static bool is_users_own(const struct mail_path *mailbox, void *context)
{
    const struct user *user = context;
    for (size_t i = 0; i < user->addresses.count; i++)
        if (slice_is_nocase(mail_path_text(mailbox), user->addresses.values[i]))
            return true;
    return false;
}

/* Users send only as themselves: exactly one From, and every mailbox in it is the user's. */
static bool is_author_allowed(const struct session *session, const struct header_watch *header)
{
    if (session->user == NULL || header->from_count == 0)
        return true;
    return header->from_count == 1 && !header->from.overflowed &&
           address_list_for_each(buf_slice(&header->from), is_users_own, session->user);
}

static bool goes_elsewhere(const struct transaction *t)
{
    for (size_t i = 0; i < t->recipient_count; i++)
        if (t->recipients[i].user == NULL)
            return true;
    return false;
}

/* What a user's rules send to elsewhere: forwards and replies have each their own right. The null path is that of replies (RFC 3834 section 3.3). */
static const char *find_rule_problem(const struct session *session, const struct transaction *t)
{
    if (session->user == NULL || !goes_elsewhere(t))
        return NULL;
    enum header_rule rule = header_watch_rule(&t->header);
    if (rule == HEADER_NO_RULE && t->sender.len == 0)
        rule = HEADER_REPLY;
    if (rule == HEADER_FORWARD && !session->user->smtp_outgoing_forwards)
        return "550 5.7.1 Messages forwarded by a rule may not be sent to elsewhere";
    if (rule == HEADER_REPLY && !session->user->smtp_outgoing_replies)
        return "550 5.7.1 Replies written by a rule may not be sent to elsewhere";
    return NULL;
}

static const char *find_problem(const struct session *session)
{
    const struct smtp *st = session->state;
    const struct transaction *t = &st->transaction;
    if (t->reader.bare)
        return "550 5.6.0 Message has a CR or LF that is not part of CRLF (RFC 5321 2.3.8)";
    if (t->too_big)
        return "552 5.3.4 Message too big";
    if (t->spool_failed)
        return "452 4.3.1 Cannot keep the message now, try again later";
    if (t->header.received > SMTP_RECEIVED_MAX)
        return "554 5.4.6 Too many hops, this is a loop";
    if (!is_author_allowed(session, &t->header))
        return "550 5.7.1 From is not one of your addresses";
    return find_rule_problem(session, t);
}

static void finish(struct session *session)
{
    const char *problem = find_problem(session);
    if (problem != NULL)
        refuse(session, problem);
    else
        deliver_begin(session);
}

static void take(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    struct slice in = buf_slice(&session->in);
    size_t before = t->content.len, given = in.len;
    data_read(&t->reader, &in, &t->content);
    struct slice fresh = slice_from(buf_slice(&t->content), before);
    t->size += fresh.len;
    header_watch_read(&t->header, fresh);
    t->too_big = t->too_big || t->size > t->max_size;
    if (is_refused(t))
        buf_clear(&t->content);
    buf_consume(&session->in, given - in.len);
}

bool receive_run(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    if (session->in.len == 0)
        return false;
    take(session);
    bool whole = t->reader.state == DATA_DONE;
    bool spilling = t->content.len > SMTP_MEMORY_MAX || (whole && t->spool >= 0 && t->content.len != 0);
    session->fair_key = session->serial_key = NULL;
    if (is_refused(t) && t->spool >= 0)
        smtp_step(session, drop, after_step);
    else if (spilling)
        smtp_step(session, spill, after_step);
    else if (whole)
        finish(session);
    return true;
}
