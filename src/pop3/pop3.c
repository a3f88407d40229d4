/* One POP3 session: takes lines from the input, runs commands on the loop or, many at once, in a step, and goes on with what was left unfinished.
 * Called by the service through pop3_protocol. It must never touch anything of the session but state, in and out while a step works. */
#include "postern/pop3/pop3.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <string.h>

#include "conversation.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/config/user.h"

enum { OPENING_SLICE_MS = 250 };   /* a step of opening ends after that: a big maildrop is no stalled post office */

enum progress {
    PROGRESS_MADE,
    PROGRESS_WAITS,      /* for input, for room in the output, for an action, or for being closed */
    PROGRESS_ELSEWHERE,  /* what comes next runs in a step (asked on the loop) or on the loop (asked in a step) */
    PROGRESS_FAR,        /* waits for the POA: the client's end of input does not matter yet */
    PROGRESS_BUSY,       /* a lock is held: the step must be run again */
};

/* Wipes the line, which may have held a password, and drops it. */
static void drop_input(struct session *session, size_t len, bool secret)
{
    if (secret)
        secret_wipe(session->in.data, len);
    buf_consume(&session->in, len);
}

/* The newest configuration, for one command. */
static void refresh(struct session *session)
{
    session_refresh(session);
    session->idle_seconds = (unsigned)session->snapshot->agent.pop3_idle_minutes * 60;
}

/* --- lines -------------------------------------------------------------------------------------------------------------- */

static size_t line_limit(const struct conversation *c)
{
    return c->activity == ACTIVITY_SASL ? SASL_LINE_MAX + 2 : POP3_LINE_MAX;
}

/* The line without its end, CRLF or LF alone; *len_out with it. False if it is not there yet. */
static bool peek_line(struct session *session, struct slice *line_out, size_t *len_out)
{
    ptrdiff_t end = slice_find(buf_slice(&session->in), '\n');
    if (end < 0)
        return false;
    struct slice line = { session->in.data, (size_t)end };
    if (line.len != 0 && line.data[line.len - 1] == '\r')
        line.len--;
    *line_out = line;
    *len_out = (size_t)end + 1;
    return true;
}

/* A line over the limit: its bytes go as they come, and its end is answered once. */
static enum progress skip_line(struct session *session)
{
    struct conversation *c = session->state;
    struct slice line;
    size_t len;
    c->skipping = true;
    if (!peek_line(session, &line, &len)) {
        drop_input(session, session->in.len, true);
        return PROGRESS_WAITS;
    }
    drop_input(session, len, true);
    c->skipping = false;
    if (c->activity == ACTIVITY_SASL) {
        c->activity = ACTIVITY_NONE;
        if (c->exchange.let_in)
            conversation_end(c, CLOSE_PROTOCOL_ERRORS);
        auth_forget(c);
    }
    conversation_refuse(session, "-ERR The line is too long.\r\n");
    return PROGRESS_MADE;
}

static enum progress take_auth_line(struct session *session, struct slice line, size_t len)
{
    char copy[SASL_LINE_MAX + 2];
    size_t copied = line.len;
    if (copied != 0)
        memcpy(copy, line.data, copied);
    drop_input(session, len, true);
    auth_take_line(session, (struct slice){ copy, copied });
    secret_wipe(copy, copied);
    return PROGRESS_MADE;
}

/* --- commands ----------------------------------------------------------------------------------------------------------- */

/* What is wrong with giving this command now, or NULL. */
static const char *command_error(const struct conversation *c, const struct command *command, struct slice argument)
{
    if (command == NULL)
        return "-ERR Unknown command.\r\n";
    unsigned needed = c->state == POP3_AUTHORIZATION ? COMMAND_AUTHORIZATION : COMMAND_TRANSACTION;
    if (!(command->flags & needed))
        return c->state == POP3_AUTHORIZATION ? "-ERR Log in first.\r\n" : "-ERR You are logged in already.\r\n";
    if ((command->flags & COMMAND_BARE) && argument.len != 0)
        return "-ERR This command takes no argument.\r\n";
    return NULL;
}

static void run_command(struct session *session, const struct command *command, struct slice argument)
{
    struct conversation *c = session->state;
    const char *error = command_error(c, command, argument);
    if (error != NULL) {
        conversation_refuse(session, error);
        return;
    }
    unsigned errors = c->errors;
    command->handle(session, argument);
    if (c->errors == errors && c->state != POP3_OVER)
        c->errors = 0;
}

static void split_line(struct slice line, const struct command **command_out, struct slice *argument_out)
{
    ptrdiff_t blank = slice_find(line, ' ');
    size_t word_len = blank < 0 ? line.len : (size_t)blank;
    *command_out = command_find(slice_part(line, 0, word_len));
    *argument_out = blank < 0 ? SLICE_NONE : slice_from(line, word_len + 1);
    /* A password may begin or end with blanks (RFC 1939 section 7, PASS). */
    if (*command_out == NULL || !((*command_out)->flags & COMMAND_SECRET))
        *argument_out = slice_trim(*argument_out);
}

/* The line is copied and dropped first: a command may hand the input to somebody else (STLS). */
static enum progress take_command(struct session *session, struct slice line, size_t len, bool in_step)
{
    const struct command *command;
    struct slice argument;
    split_line(line, &command, &argument);
    const struct conversation *c = session->state;
    bool anywhere = c->link != NULL && command != NULL && (command->flags & COMMAND_IN_STEP);
    if (command != NULL && !anywhere && (command->flags & (in_step ? COMMAND_ON_LOOP : COMMAND_IN_STEP)) &&
        !(!in_step && command_is_ready(session->state, command, argument)) && command_error(session->state, command, argument) == NULL)
        return PROGRESS_ELSEWHERE;
    char copy[POP3_LINE_MAX];
    size_t copied = line.len;
    if (copied != 0)
        memcpy(copy, line.data, copied);
    if (!in_step)
        refresh(session);
    split_line((struct slice){ copy, copied }, &command, &argument);
    drop_input(session, len, true);
    run_command(session, command, argument);
    secret_wipe(copy, copied);
    return PROGRESS_MADE;
}

static enum progress take_line(struct session *session, bool in_step)
{
    struct conversation *c = session->state;
    struct slice line;
    size_t len;
    bool whole = peek_line(session, &line, &len);
    if (c->skipping || (whole ? len : session->in.len) > line_limit(c))
        return skip_line(session);
    if (!whole)
        return PROGRESS_WAITS;
    if (c->activity == ACTIVITY_SASL)
        return take_auth_line(session, line, len);
    return take_command(session, line, len, in_step);
}

/* --- what goes on over several steps -------------------------------------------------------------------------------------- */

static enum progress continue_opening(struct session *session)
{
    struct conversation *c = session->state;
    struct fault fault;
    if (maildrop_open(&c->drop, session->user, &fault) < 0) {
        if (fault.class == FAULT_BUSY)
            return PROGRESS_BUSY;
        log_warning("pop3", "session %llu: %s: %s", (unsigned long long)c->id, session->user->id, fault.text);
        counter_add(c->counters, COUNTER_STORE_LOGIN_ERROR, 1);
        buf_append_text(&session->out, "-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
        conversation_end(c, CLOSE_STALLED);
        return PROGRESS_MADE;
    }
    if (c->drop.stage == MAILDROP_OPEN) {
        c->activity = ACTIVITY_NONE;
        c->state = POP3_TRANSACTION;
        buf_append_text(&session->out, "+OK Logged in.\r\n");
    }
    return PROGRESS_MADE;
}

char *conversation_scratch(struct conversation *c)
{
    if (c->scratch == NULL)
        c->scratch = mem_alloc(RETRIEVE_SCRATCH_SIZE);
    return c->scratch;
}

void conversation_finish_retrieval(struct conversation *c)
{
    if (!c->retrieval.wire.is_top) {
        c->retrieval.entry->flags |= ENTRY_RETRIEVED;
        counter_add(c->counters, COUNTER_MESSAGES_OUT, 1);
    }
    retrieve_end(&c->retrieval);
    c->activity = ACTIVITY_NONE;
}

static enum progress continue_retrieval(struct session *session)
{
    struct conversation *c = session->state;
    struct fault fault;
    switch (retrieve_continue(&c->retrieval, conversation_scratch(c), &session->out, &fault)) {
    case RETRIEVE_FULL:
        return PROGRESS_WAITS;
    case RETRIEVE_DONE:
        conversation_finish_retrieval(c);
        return PROGRESS_MADE;
    case RETRIEVE_BROKEN:
        break;
    }
    log_error("pop3", "session %llu: %s", (unsigned long long)c->id, fault.text);
    counter_add(c->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
    conversation_end(c, CLOSE_READ_ERROR);
    return PROGRESS_MADE;
}

static enum progress continue_update(struct session *session)
{
    struct conversation *c = session->state;
    struct fault fault;
    if (maildrop_update(&c->drop, session->user, &fault) == 0) {
        buf_append_text(&session->out, "+OK Bye.\r\n");
    } else if (fault.class == FAULT_BUSY) {
        return PROGRESS_BUSY;
    } else {
        log_error("pop3", "session %llu: QUIT: %s", (unsigned long long)c->id, fault.text);
        buf_append_text(&session->out, "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
    }
    conversation_end(c, CLOSE_LOGOUT);
    return PROGRESS_MADE;
}

static enum progress continue_activity(struct session *session, bool in_step)
{
    struct conversation *c = session->state;
    if (c->activity == ACTIVITY_LISTING) {
        command_continue_listing(session);
        return PROGRESS_MADE;
    }
    if (!in_step)
        return PROGRESS_ELSEWHERE;
    if (c->activity == ACTIVITY_OPENING)
        return continue_opening(session);
    if (c->activity == ACTIVITY_FINDING)
        return command_begin_retrieval(session) ? PROGRESS_MADE : PROGRESS_BUSY;
    return c->activity == ACTIVITY_RETRIEVING ? continue_retrieval(session) : continue_update(session);
}

static enum progress advance(struct session *session, bool in_step)
{
    struct conversation *c = session->state;
    if (c->state == POP3_OVER || c->activity == ACTIVITY_LOGIN)
        return PROGRESS_WAITS;
    if (!session_out_has_room(session))
        return PROGRESS_WAITS;
    if (c->link != NULL && in_step)
        return c->activity != ACTIVITY_RECORD ? PROGRESS_ELSEWHERE : remote_view_step(session) ? PROGRESS_MADE : PROGRESS_BUSY;
    if (c->link != NULL && c->activity != ACTIVITY_RECORD && (remote_run(session) || session->closing))
        return PROGRESS_FAR;
    if (c->state == POP3_OVER)
        return PROGRESS_WAITS;
    if (c->activity == ACTIVITY_NONE || c->activity == ACTIVITY_SASL)
        return take_line(session, in_step);
    return continue_activity(session, in_step);
}

/* --- the session's contract ---------------------------------------------------------------------------------------------- */

/* As many commands as are there and as the output has room for, in one step. */
static enum step_result work(struct session *session)
{
    struct conversation *c = session->state;
    uint64_t end = clock_monotonic_ms() + OPENING_SLICE_MS;
    enum progress progress;
    do
        progress = advance(session, true);
    while (progress == PROGRESS_MADE && (c->activity != ACTIVITY_OPENING || clock_monotonic_ms() < end));
    if (c->state == POP3_TRANSACTION && c->activity == ACTIVITY_NONE && c->link == NULL)
        ahead_fill(&c->ahead, &c->drop, conversation_scratch(c));
    mem_free(&c->scratch);
    return progress == PROGRESS_BUSY ? STEP_AGAIN : STEP_DONE;
}

static void begin_step(struct session *session)
{
    struct conversation *c = session->state;
    c->stepping = true;
    if (c->drop.mailbox != NULL)
        session->serial_key = c->drop.mailbox;
    session_step(session, work);
}

/* The service did not run the step, or a lock was never free in time. */
static void give_up_step(struct session *session)
{
    struct conversation *c = session->state;
    struct slice line;
    size_t len;
    enum pop3_activity activity = c->activity;
    if (activity == ACTIVITY_RECORD)
        activity = c->state == POP3_TRANSACTION ? ACTIVITY_UPDATING : ACTIVITY_OPENING;
    switch (activity) {
    case ACTIVITY_OPENING:
        counter_add(c->counters, COUNTER_STORE_LOGIN_ERROR, 1);
        buf_append_text(&session->out, "-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
        conversation_end(c, CLOSE_STALLED);
        break;
    case ACTIVITY_UPDATING:
        buf_append_text(&session->out, "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
        conversation_end(c, CLOSE_LOGOUT);
        break;
    case ACTIVITY_RETRIEVING:
        conversation_end(c, CLOSE_STALLED);
        break;
    case ACTIVITY_FINDING:
        c->activity = ACTIVITY_NONE;
        buf_append_text(&session->out, "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n");
        break;
    default:
        if (peek_line(session, &line, &len))
            drop_input(session, len, true);
        buf_append_text(&session->out, "-ERR [SYS/TEMP] The post office does not answer.\r\n");
        break;
    }
}

static void take_result(struct session *session)
{
    struct conversation *c = session->state;
    enum action_result result = session->result;
    if (result == ACTION_NONE)
        return;
    if (c->activity == ACTIVITY_LOGIN)
        auth_take_result(session, result);
    else if (c->stepping && result != ACTION_OK)
        give_up_step(session);
    c->stepping = false;
}

static void run(struct session *session)
{
    struct conversation *c = session->state;
    enum progress progress = PROGRESS_MADE;
    take_result(session);
    while (progress == PROGRESS_MADE && !session->busy && !session->out_full && !session->closing)
        progress = advance(session, false);
    if (session->busy || session->closing)
        return;
    if (c->state == POP3_OVER)
        session_close(session, c->ending);
    else if (session->out_full)
        return;
    else if (progress == PROGRESS_ELSEWHERE)
        begin_step(session);
    else if (progress != PROGRESS_FAR && session->eof && session_out_has_room(session))
        session_close(session, CLOSE_CLIENT);
}

/* No "<...>": that would offer APOP (RFC 1939 section 7). */
static void greet(struct session *session)
{
    const struct agent_settings *agent = &session->snapshot->agent;
    buf_append_text(&session->out, "+OK ");
    if (agent->host_name != NULL)
        buf_printf(&session->out, "%s ", agent->host_name);
#ifdef PACKAGE_VERSION
    if (!agent->pop3_hide_version)
        buf_append_text(&session->out, "Postern " PACKAGE_VERSION " ");
#endif
    buf_append_text(&session->out, "POP3 ready.\r\n");
}

static void init(struct session *session)
{
    struct conversation *c = MEM_NEW(struct conversation);
    c->counters = session->counters;
    c->id = session->id;
    session->state = c;
    session->idle_seconds = (unsigned)session->snapshot->agent.pop3_idle_minutes * 60;
    greet(session);
}

/* RFC 1939 section 3: the autologout timer sends nothing. Within a message, or after an answer that ends the session, there is nothing to say. */
static struct slice farewell(const struct session *session, enum close_reason reason)
{
    const struct conversation *c = session->busy ? NULL : session->state;
    if (c != NULL && (c->state == POP3_OVER || c->activity == ACTIVITY_LISTING || c->activity == ACTIVITY_RETRIEVING))
        return SLICE_NONE;
    switch (reason) {
    case CLOSE_SHUTDOWN: return SLICE_LITERAL("-ERR [SYS/TEMP] The gateway is shutting down.\r\n");
    case CLOSE_SERVICE_DISABLED: return SLICE_LITERAL("-ERR [SYS/TEMP] POP3 is not available.\r\n");
    case CLOSE_ACCESS_REVOKED: return SLICE_LITERAL("-ERR [SYS/PERM] Access was revoked.\r\n");
    case CLOSE_TOO_MANY_CONNECTIONS: return SLICE_LITERAL("-ERR [SYS/TEMP] Too many connections.\r\n");
    case CLOSE_STALLED: return SLICE_LITERAL("-ERR [SYS/TEMP] The post office does not answer.\r\n");
    case CLOSE_KICKED: return SLICE_LITERAL("-ERR [SYS/TEMP] The session was ended by an administrator.\r\n");
    case CLOSE_MAILBOX_MOVED: return SLICE_LITERAL("-ERR [SYS/TEMP] The mailbox was moved: log in again later.\r\n");
    case CLOSE_POA_LOST: return SLICE_LITERAL("-ERR [SYS/TEMP] The mailbox is not reachable at the moment.\r\n");
    case CLOSE_LINK_CHANGED: return SLICE_LITERAL("-ERR [SYS/TEMP] The way to the mailbox has changed: log in again.\r\n");
    case CLOSE_MAILBOX_GONE: return SLICE_LITERAL("-ERR [SYS/TEMP] The mailbox was removed.\r\n");
    default: return SLICE_NONE;
    }
}

static void fini(struct session *session)
{
    struct conversation *c = session->state;
    if (c == NULL)
        return;
    auth_forget(c);
    retrieve_end(&c->retrieval);
    remote_free(&c->link);
    ahead_fini(&c->ahead);
    maildrop_close(&c->drop);
    mem_free(&c->scratch);
    mem_free(&session->state);
}

void pop3_configure(const char *state_dir)
{
    views_configure(state_dir);
}

const struct protocol pop3_protocol = {
    .service = SERVICE_POP3,
    .init = init,
    .run = run,
    .farewell = farewell,
    .uses_remote = true,
    .fini = fini,
};
