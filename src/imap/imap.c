/* The life of an IMAP session: reads commands, runs them one after the other, writes news and replies. Called by the service through
 * imap_protocol. It must never hold the loop: what may wait is a step. */
#include "postern/imap/imap.h"

#include "handlers.h"
#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "relay.h"

enum {
    TEXT_BEFORE_LOGIN = 8 * 1024, TEXT_AFTER_LOGIN = 64 * 1024,
    BAD_BEFORE_LOGIN = 10, BAD_AFTER_LOGIN = 50,    /* this many in a row end the session */
};

static size_t text_limit(const struct imap *imap)
{
    return imap->state == STATE_NOT_AUTHENTICATED ? TEXT_BEFORE_LOGIN : TEXT_AFTER_LOGIN;
}

/* --- actions ----------------------------------------------------------------------------------------------------------- */

static enum step_result work_in_thread(struct session *session)
{
    struct imap *imap = session->state;
    return imap->work(imap, imap->command);
}

bool imap_step(struct imap *imap, imap_work *work)
{
    imap->work = work;
    imap->await = AWAIT_STEP;
    session_step(imap->session, work_in_thread);
    return false;
}

bool imap_run_work(struct imap *imap, struct command *command)
{
    if (command->stage == 0) {
        command->stage = 1;
        return imap_step(imap, command->row->work);
    }
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

bool imap_wait_input(struct imap *imap)
{
    if (imap->session->eof)
        session_close(imap->session, CLOSE_CLIENT);
    return false;
}

void imap_close_after(struct imap *imap, enum close_reason reason)
{
    imap->close_after = true;
    imap->close_reason = reason;
}

/* --- the end of a command ---------------------------------------------------------------------------------------------- */

static void free_command(struct imap *imap)
{
    struct command *command = imap->command;
    if (command == NULL)
        return;
    bool secret = command->row == NULL ? imap->state == STATE_NOT_AUTHENTICATED : (command->row->flags & SECRET) != 0;
    if (command->release != NULL)
        command->release(command);
    arena_wipe(&command->arena);
    mem_free(&imap->command);
    reader_reset(&imap->reader, secret);
    if (secret && imap->session->in.data != NULL) {
        struct buf *in = &imap->session->in;
        secret_wipe(in->data + in->len, in->size - in->len);
    }
}

/* Too many commands that are none: this is no IMAP client. */
static void count_bad(struct imap *imap)
{
    unsigned most = imap->state == STATE_NOT_AUTHENTICATED ? BAD_BEFORE_LOGIN : BAD_AFTER_LOGIN;
    if (imap->command->reply != REPLY_BAD) {
        /* Before login only a login makes up for them. */
        if (imap->state != STATE_NOT_AUTHENTICATED)
            imap->bad_commands = 0;
    } else if (++imap->bad_commands >= most && !imap->close_after) {
        imap_close_after(imap, CLOSE_PROTOCOL_ERRORS);
    }
}

static bool end_command(struct imap *imap)
{
    count_bad(imap);
    imap_write_reply(imap, imap->command);
    free_command(imap);
    imap->phase = PHASE_READ;
    if (imap->start_tls) {
        /* What stands in `in` came before TLS and is dropped; nothing else was learned (RFC 3501 6.2.1). */
        imap->start_tls = false;
        imap->await = AWAIT_TLS;
        session_start_tls(imap->session);
        return false;
    }
    if (imap->close_after)
        session_close(imap->session, imap->close_reason);
    return true;
}

static bool wants_sync(const struct imap *imap)
{
    const struct command_row *row = imap->command->row;
    if (imap->state != STATE_SELECTED || imap->close_after || row == NULL || (row->flags & PLAIN_END))
        return false;
    struct mailbox *mailbox = view_mailbox(imap->view);
    return row->flags & POLL ? !mailbox_is_settled(mailbox) : mailbox_is_dirty(mailbox);
}

static bool advance_sync(struct imap *imap)
{
    imap->phase = PHASE_NEWS;
    return wants_sync(imap) ? imap_step(imap, imap_sync_work) : true;
}

static bool advance_news(struct imap *imap)
{
    const struct command_row *row = imap->command->row;
    if (row != NULL && !(row->flags & PLAIN_END) && imap->view != NULL &&
        !imap_write_news(imap, !(row->flags & NO_EXPUNGE), row->flags & UID_KEYWORD))
        return false;
    return end_command(imap);
}

/* --- the beginning of a command ---------------------------------------------------------------------------------------- */

static struct command *new_command(struct imap *imap)
{
    CHECK(imap->command == NULL);
    session_refresh(imap->session);
    imap->result = ACTION_NONE;
    imap->command = MEM_NEW(struct command);
    imap->command->tag = SLICE_LITERAL("*");
    imap->phase = PHASE_COMMAND;
    return imap->command;
}

static bool begin_command(struct imap *imap)
{
    struct command *command = new_command(imap);
    command_begin(imap, command, buf_slice(&imap->reader.text));
    return true;
}

/* The text is not a whole command: only its tag is looked at. */
static void refuse(struct imap *imap, const char *text)
{
    struct command *command = new_command(imap);
    command_take_tag(command, buf_slice(&imap->reader.text));
    imap_reply(command, REPLY_BAD, text);
}

/* A literal: APPEND's message goes its own way, others become part of the text. Too large a one that comes unasked cannot be told from the
 * commands after it without reading it all: the session ends (RFC 7888 section 4). */
static bool begin_literal(struct imap *imap, struct literal literal)
{
    struct command *command = new_command(imap);
    command->has_literal = true;
    command->literal = literal;
    if (command_begin(imap, command, buf_slice(&imap->reader.text)) && command->row->run == append_run)
        return true;
    /* Not an APPEND whose message begins here. */
    struct reader reader = imap->reader;
    imap->reader = (struct reader){ 0 };
    free_command(imap);
    imap->reader = reader;
    imap->phase = PHASE_READ;
    if (reader_collect_literal(&imap->reader, literal, text_limit(imap))) {
        if (!literal.unasked)
            buf_append_text(&imap->session->out, "+ OK\r\n");
        return true;
    }
    refuse(imap, "[TOOBIG] Literal too large.");
    if (literal.unasked)
        imap_close_after(imap, CLOSE_PROTOCOL_ERRORS);
    return true;
}

static bool advance_read(struct imap *imap)
{
    struct literal literal;
    if (!session_out_has_room(imap->session))
        return false;
    switch (reader_read(&imap->reader, &imap->session->in, text_limit(imap), &literal)) {
    case READ_COMMAND:
        return begin_command(imap);
    case READ_LITERAL:
        return begin_literal(imap, literal);
    case READ_TOO_LONG:
        refuse(imap, "[TOOBIG] Command too long.");
        return true;
    case READ_MORE:
    default:
        return imap_wait_input(imap);
    }
}

static bool advance_command(struct imap *imap)
{
    struct command *command = imap->command;
    if (command->reply == REPLY_NONE && !command->row->run(imap, command))
        return false;
    if (command->reply != REPLY_NONE)
        imap->phase = PHASE_SYNC;
    return true;
}

/* --- the protocol ------------------------------------------------------------------------------------------------------ */

/* Takes in how an action ended. False: it has not. */
static bool take_result(struct imap *imap)
{
    struct session *session = imap->session;
    enum imap_await await = imap->await;
    if (await == AWAIT_NONE)
        return true;
    if (await == AWAIT_TLS ? !session->tls : session->result == ACTION_NONE)
        return false;
    imap->await = AWAIT_NONE;
    imap->result = session->result;
    if (await == AWAIT_STEP && session->result == ACTION_UNAVAILABLE && imap->phase == PHASE_COMMAND &&
        !(imap->command->row->flags & OWN_RESULT))
        imap_reply(imap->command, REPLY_NO, "[UNAVAILABLE] The mailbox is not reachable at the moment.");
    return true;
}

static bool advance(struct imap *imap)
{
    static bool (*const phases[])(struct imap *) = {
        [PHASE_READ] = advance_read, [PHASE_COMMAND] = advance_command, [PHASE_SYNC] = advance_sync, [PHASE_NEWS] = advance_news,
    };
    if (imap->gone) {
        session_close(imap->session, CLOSE_MAILBOX_GONE);
        return false;
    }
    return phases[imap->phase](imap);
}

static void run(struct session *session)
{
    struct imap *imap = session->state;
    if (session->busy || !take_result(imap))
        return;
    while (imap->await == AWAIT_NONE && !session->closing && !session->out_full &&
           (imap->relay != NULL && imap->phase == PHASE_READ ? relay_run(imap) : advance(imap)))
        ;
    if (imap->await == AWAIT_NONE) {
        buf_shrink(&session->in);
        buf_shrink(&session->out);
    }
}

static bool pass(struct session *session, bool from_client, struct buf *bytes, struct buf *onward)
{
    struct imap *imap = session->state;
    return imap->relay != NULL && imap->phase == PHASE_READ && imap->await == AWAIT_NONE && relay_pass(imap, from_client, bytes, onward);
}

static void init(struct session *session)
{
    struct imap *imap = MEM_NEW(struct imap);
    session->state = imap;
    imap->session = session;
    imap->state = STATE_NOT_AUTHENTICATED;
    session->idle_seconds = (unsigned)session->snapshot->agent.login_seconds;
    imap_write_greeting(imap);
}

static void fini(struct session *session)
{
    struct imap *imap = session->state;
    if (imap == NULL)
        return;
    free_command(imap);
    imap_deselect(imap);
    account_unref(&imap->account);
    relay_free(&imap->relay);
    reader_reset(&imap->reader, true);
    mem_release(imap);
    session->state = NULL;
}

const struct protocol imap_protocol = {
    .service = SERVICE_IMAP4, .init = init, .run = run, .farewell = imap_farewell, .fini = fini, .uses_remote = true, .pass = pass,
};
