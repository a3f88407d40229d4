/* The SMTP server's side of one connection: takes lines and data from `in` and hands them to the phase they belong to. Called by the
 * service's loops; nothing here may wait for a disk, a look-up or a peer: those are steps and actions of the session. */
#include "postern/smtp/smtp.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/queue/inbox.h"
#include "postern/queue/queue.h"
#include "state.h"

enum { IN_LIMIT = 64 * 1024 };

static char *spool_dir;

void smtp_configure(const char *state_dir)
{
    mem_free(&spool_dir);
    spool_dir = mem_strdup(state_dir);
}

/* Some file systems know no O_TMPFILE; a name that lives for a moment does as well. */
static int open_named(const char *dir)
{
    char name[4096];
    int len = snprintf(name, sizeof(name), "%s/smtp-XXXXXX", dir);
    if (len < 0 || (size_t)len >= sizeof(name))
        return -1;
    int fd = mkostemp(name, O_CLOEXEC);
    if (fd >= 0)
        unlink(name);
    return fd;
}

int smtp_spool_open(struct fault *fault)
{
    const char *dir = spool_dir != NULL ? spool_dir : getenv("TMPDIR");
    dir = dir != NULL ? dir : "/tmp";
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        fd = open_named(dir);
    return fd >= 0 ? fd : fault_set_errno(fault, errno, "spool file in %s", dir);
}

__attribute__((format(printf, 2, 0))) static void reply(struct session *session, const char *format, va_list args)
{
    buf_vprintf(&session->out, format, args);
    buf_append_text(&session->out, "\r\n");
}

void smtp_reply(struct session *session, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    reply(session, format, args);
    va_end(args);
}

void smtp_error(struct session *session, const char *format, ...)
{
    struct smtp *st = session->state;
    va_list args;
    va_start(args, format);
    reply(session, format, args);
    va_end(args);
    if (++st->errors >= SMTP_ERRORS_MAX)
        session_close(session, CLOSE_PROTOCOL_ERRORS);
}

bool smtp_is_submission(const struct session *session)
{
    return session->listener == LISTENER_SUBMISSION || session->listener == LISTENER_SUBMISSIONS;
}

struct mail_party smtp_sender(const struct session *session, const struct mail_path *sender)
{
    const struct smtp *st = session->state;
    return (struct mail_party){
        .ip = slice_from_string(session->peer),
        .host = st->helo[0] != '\0' ? slice_from_string(st->helo) : SLICE_NONE,
        .address = sender != NULL ? mail_path_text(sender) : SLICE_NONE,
    };
}

void smtp_step(struct session *session, enum step_result (*work)(struct session *), void (*after)(struct session *, enum action_result))
{
    struct smtp *st = session->state;
    st->after = after;
    session_step(session, work);
}

void transaction_reset(struct transaction *t)
{
    for (size_t i = 0; i < t->recipient_count; i++) {
        mem_free(&t->recipients[i].address);
        user_unref(&t->recipients[i].user);
    }
    mem_free(&t->recipients);
    inbox_writer_free(&t->inbox);
    queue_message_free(&t->outgoing);
    if (t->spool >= 0)
        close(t->spool);
    header_watch_fini(&t->header);
    buf_fini(&t->content);
    buf_fini(&t->return_path);
    buf_fini(&t->trace);
    memset(t, 0, sizeof(*t));
    t->spool = -1;
}

/* A line's place in `in`: its length without CRLF, or -1 while it is not whole. */
static ptrdiff_t find_line_end(struct slice in)
{
    return slice_find(in, '\n');
}

/* Drops the rest of a refused line; true when its CRLF was reached. Only CRLF counts (RFC 5321 2.3.8). */
static bool skip_line(struct session *session)
{
    struct smtp *st = session->state;
    struct slice in = buf_slice(&session->in);
    ptrdiff_t at = slice_find_text(in, SLICE_LITERAL("\r\n"));
    if (at >= 0) {
        buf_consume(&session->in, (size_t)at + 2);
        st->phase = SMTP_COMMAND;
        return true;
    }
    size_t keep = in.len != 0 && in.data[in.len - 1] == '\r';
    buf_consume(&session->in, in.len - keep);
    return false;
}

static size_t line_limit(const struct smtp *st, struct slice in)
{
    return st->phase == SMTP_AUTH || smtp_command_is_secret(in) ? SASL_LINE_MAX : SMTP_LINE_MAX;
}

/* An answer to a challenge that is no line ends the exchange. */
static void refuse_line(struct session *session, size_t used, bool ended, const char *reply_text)
{
    struct smtp *st = session->state;
    buf_consume(&session->in, used);
    if (st->exchange.let_in)
        session_close(session, CLOSE_PROTOCOL_ERRORS);
    exchange_end(&st->exchange);
    st->phase = ended ? SMTP_COMMAND : SMTP_SKIP;
    smtp_error(session, "%s", reply_text);
}

static void take_line(struct session *session, size_t len)
{
    struct smtp *st = session->state;
    struct slice line = slice_part(buf_slice(&session->in), 0, len);
    bool secret = st->phase == SMTP_AUTH || smtp_command_is_secret(line);
    buf_clear(&st->line);
    buf_append(&st->line, line);
    if (secret)
        secret_wipe(session->in.data, len);
    buf_consume(&session->in, len + 2);
    session_refresh(session);
    session->idle_seconds = (unsigned)session->snapshot->agent.smtp_command_minutes * 60;
    if (st->phase == SMTP_AUTH)
        smtp_auth_line(session, buf_slice(&st->line));
    else
        smtp_command_run(session, buf_slice(&st->line));
    if (secret)
        buf_wipe(&st->line);
    buf_shrink(&st->line);
}

/* One line; false if there is none yet. */
static bool run_line(struct session *session)
{
    struct smtp *st = session->state;
    struct slice in = buf_slice(&session->in);
    ptrdiff_t end = find_line_end(in);
    size_t limit = line_limit(st, in);
    if ((end < 0 && in.len > limit + 1) || end > (ptrdiff_t)limit + 1) {
        bool ended = end > 0 && in.data[end - 1] == '\r';
        size_t used = end >= 0 ? (size_t)end + 1 : in.len - (in.data[in.len - 1] == '\r');
        refuse_line(session, used, ended, "500 5.5.2 Line too long");
        return true;
    }
    if (end < 0)
        return false;
    if (end == 0 || in.data[end - 1] != '\r') {
        refuse_line(session, (size_t)end + 1, false, "500 5.5.2 Lines end in CRLF");
        return true;
    }
    if (slice_find(slice_part(in, 0, (size_t)end - 1), '\r') >= 0)
        refuse_line(session, (size_t)end + 1, true, "500 5.5.2 Lines end in CRLF");
    else
        take_line(session, (size_t)end - 1);
    return true;
}

static bool run_phase(struct session *session)
{
    struct smtp *st = session->state;
    switch (st->phase) {
    case SMTP_COMMAND:
    case SMTP_AUTH: return run_line(session);
    case SMTP_SKIP: return skip_line(session);
    case SMTP_DATA: return receive_run(session);
    case SMTP_DELIVER: return false;
    }
    return false;
}

static void smtp_run(struct session *session)
{
    struct smtp *st = session->state;
    void (*after)(struct session *, enum action_result) = st->after;
    if (after != NULL) {
        if (session->result == ACTION_NONE)
            return;
        st->after = NULL;
        after(session, session->result);
    }
    while (!session->busy && !session->closing && !session->out_full && session_out_has_room(session))
        if (!run_phase(session))
            break;
    if (!session->busy && !session->closing && session->eof && !session->out_full && session_out_has_room(session))
        session_close(session, CLOSE_CLIENT);
    if (session->in.len == 0)
        buf_shrink(&session->in);
}

void smtp_welcome(struct session *session)
{
    const struct smtp *st = session->state;
    smtp_reply(session, "220 %s %s%s", st->host, smtp_is_lmtp(session) ? "LMTP" : "ESMTP", session->snapshot->agent.smtp_hide_version ? "" : " Postern");
}

static void smtp_init(struct session *session)
{
    struct smtp *st = MEM_NEW(struct smtp);
    st->transaction.spool = -1;
    session->state = st;
    session->in_limit = IN_LIMIT;
    session_refresh(session);
    session->idle_seconds = (unsigned)session->snapshot->agent.smtp_command_minutes * 60;
    smtp_command_set_host(session);
    struct mail_party client = smtp_sender(session, NULL);
    st->unwelcome = smtp_is_lmtp(session) ? !lmtp_is_welcome(session)
                                          : !smtp_is_submission(session) && !snapshot_takes_mail_from(session->snapshot, &client);
    if (st->unwelcome) {
        counter_add(session->counters, COUNTER_ACCESS_DENIED, 1);
        log_verbose("smtp", "session %llu: no mail is taken from %s", (unsigned long long)session->id, session->peer);
        smtp_reply(session, "554 5.7.1 %s takes no mail from your address", st->host);
        return;
    }
    smtp_welcome(session);
}

static struct slice smtp_farewell(const struct session *session, enum close_reason reason)
{
    (void)session;
    switch (reason) {
    case CLOSE_IDLE: return SLICE_LITERAL("421 4.4.2 Idle too long, closing\r\n");
    case CLOSE_SHUTDOWN: return SLICE_LITERAL("421 4.3.2 Gateway shuts down, closing\r\n");
    case CLOSE_SERVICE_DISABLED: return SLICE_LITERAL("421 4.3.2 Service not available, closing\r\n");
    case CLOSE_ACCESS_REVOKED: return SLICE_LITERAL("421 4.7.0 Access revoked, closing\r\n");
    case CLOSE_PROTOCOL_ERRORS: return SLICE_LITERAL("421 4.7.0 Too many errors, closing\r\n");
    case CLOSE_TOO_MANY_LOGINS: return SLICE_LITERAL("421 4.7.0 Too many failed logins, closing\r\n");
    case CLOSE_TOO_MANY_CONNECTIONS: return SLICE_LITERAL("421 4.3.2 Too many connections, closing\r\n");
    case CLOSE_KICKED: return SLICE_LITERAL("421 4.3.2 Session ended by an administrator, closing\r\n");
    case CLOSE_MAILBOX_MOVED: return SLICE_LITERAL("421 4.3.2 Mailbox moved, closing\r\n");
    case CLOSE_STALLED: return SLICE_LITERAL("421 4.3.0 Mail system does not answer, closing\r\n");
    default: return SLICE_NONE;
    }
}

static void smtp_fini(struct session *session)
{
    struct smtp *st = session->state;
    if (st == NULL)
        return;
    transaction_reset(&st->transaction);
    exchange_end(&st->exchange);
    buf_wipe(&st->line);
    mem_release(st);
    session->state = NULL;
}

const struct protocol smtp_protocol = {
    .service = SERVICE_SMTP, .init = smtp_init, .run = smtp_run, .farewell = smtp_farewell, .fini = smtp_fini,
};
