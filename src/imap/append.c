/* APPEND (RFC 3501 6.3.11) with APPENDUID (RFC 4315) and a limit (RFC 7889). A message that fits into the input is stored in one step when all of
 * it is there; of a larger one the bytes go from the input to a file of the store in steps, and it never stands in memory. Once its bytes
 * are on their way they are read to the end, whatever has gone wrong. */
#include "handlers.h"

#include <string.h>

#include "postern/base/log.h"

enum { INPUT_WHILE_APPENDING = 64 * 1024, LINE_MAX_AFTER = 256, AT_ONCE_MAX = 60 * 1024 };
enum { STAGE_BEGIN, STAGE_OPEN, STAGE_MESSAGE, STAGE_WRITE, STAGE_LINE, STAGE_END };

struct append {
    struct slice name;
    struct flag_list flags;
    int64_t date;                       /* 0: now */
    struct mailbox *mailbox;
    struct message_writer *writer;
    bool at_once;                       /* waits for all of the message */
    uint64_t left;                      /* bytes of the message still to come */
    size_t taken;                       /* of the input, by the step under way */
    bool piece_written;                 /* what was taken is in the file: the step is run again for the end alone */
    bool stored;                        /* the last piece and the end went in one step */
    size_t in_limit;                    /* of the session, before */
    uint32_t uid;
    uint32_t uid_validity;
    enum reply reply;                   /* what has gone wrong so far: said when the bytes are through */
    const char *text;
};

static void release(struct command *command)
{
    struct append *append = command->data;
    message_writer_free(&append->writer);
    mailbox_unref(&append->mailbox);
}

/* SP mailbox [SP flag-list] [SP date-time] SP; the literal is not in the text. */
bool append_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct append *append = ARENA_NEW(&command->arena, struct append);
    command->data = append;
    if (!command->has_literal || !parse_space(p) || !parse_mailbox(p, &append->name) || !parse_space(p))
        return false;
    if (parse_flag_list(p, false, &append->flags) && !parse_space(p))
        return false;
    if (parse_date_time(p, &append->date) && !parse_space(p))
        return false;
    return parse_end(p);
}

/* The first failure is the one that is said. */
static void fail(struct append *append, enum reply reply, const char *text)
{
    if (append->reply == REPLY_NONE) {
        append->reply = reply;
        append->text = text;
    }
}

/* A fault in a step: said later. */
static enum step_result fail_step(struct imap *imap, struct command *command, const struct fault *fault)
{
    struct append *append = command->data;
    if (imap_fail(imap, command, fault) == STEP_AGAIN)
        return STEP_AGAIN;
    fail(append, command->reply, command->text);
    command->reply = REPLY_NONE;
    return STEP_DONE;
}

static enum step_result open_work(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    struct fault fault;
    if (append->writer != NULL)
        return STEP_DONE;
    if (append->mailbox == NULL && account_mailbox(imap->account, append->name, &append->mailbox, &fault) < 0) {
        if (fault.class == FAULT_NOT_FOUND) {
            fail(append, REPLY_NO, "[TRYCREATE] No such mailbox.");
            return STEP_DONE;
        }
        return fail_step(imap, command, &fault);
    }
    if (message_writer_open(append->mailbox, &append->writer, &fault) < 0)
        return fail_step(imap, command, &fault);
    return STEP_DONE;
}

static enum step_result end_work(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    struct fault fault;
    enum step_result opened = open_work(imap, command);
    if (append->writer == NULL)
        return opened;
    if (message_writer_append(append->writer, append->flags.flags, append->flags.keywords, append->flags.keyword_count,
                              (time_t)append->date, &append->uid, &append->uid_validity, &fault) < 0)
        return fail_step(imap, command, &fault);
    return STEP_DONE;
}

/* The message's last bytes are here, and the line's end behind them. */
static bool is_whole(const struct append *append, struct slice in)
{
    return append->taken == append->left && slice_starts_with(slice_from(in, append->taken), "\r\n");
}

static enum step_result write_work(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    struct slice in = buf_slice(&imap->session->in);
    struct fault fault;
    enum step_result opened = open_work(imap, command);
    if (append->writer == NULL)
        return opened;
    if (!append->piece_written && message_writer_write(append->writer, slice_part(in, 0, append->taken), &fault) < 0)
        return fail_step(imap, command, &fault);
    append->piece_written = true;
    append->stored = is_whole(append, in);
    return append->stored ? end_work(imap, command) : STEP_DONE;
}

uint64_t imap_append_limit(const struct session *session)
{
    uint64_t limit = session->snapshot->agent.imap4_max_append_size;
    uint64_t own = session->user != NULL ? session->user->imap4_append_size : 0;
    return own != 0 && own < limit ? own : limit;
}

/* The client is told to go on. */
static bool await_message(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    if (!command->literal.unasked)
        buf_append_text(&imap->session->out, "+ OK\r\n");
    append->in_limit = imap->session->in_limit;
    imap->session->in_limit = INPUT_WHILE_APPENDING;
    command->stage = STAGE_MESSAGE;
    return true;
}

/* Whether there is a file to write to is looked at before the client is told to go on, unless the mailbox was there a moment ago. */
static bool begin(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    command->release = release;
    command->stage = STAGE_OPEN;
    append->left = command->literal.size;
    append->at_once = append->left <= AT_ONCE_MAX;
    if (append->left > imap_append_limit(imap->session)) {
        fail(append, REPLY_NO, "[TOOBIG] The message is too large.");
        return true;
    }
    if (append->at_once && (command->literal.unasked || account_has_mailbox(imap->account, append->name)))
        return await_message(imap, command);
    return imap_step(imap, open_work);
}

static bool opened(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    if (append->reply != REPLY_NONE && !command->literal.unasked) {
        imap_reply(command, append->reply, append->text);
        return true;
    }
    return await_message(imap, command);
}

/* The message and the line's end behind it. */
static bool is_all_here(const struct append *append, struct slice in)
{
    return slice_find(slice_from(in, (size_t)append->left), '\n') >= 0 || in.len >= append->left + LINE_MAX_AFTER;
}

static bool take_message(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    struct buf *in = &imap->session->in;
    if (append->left == 0) {
        command->stage = STAGE_LINE;
        return true;
    }
    if (in->len == 0 || (append->at_once && !is_all_here(append, buf_slice(in))))
        return imap_wait_input(imap);
    append->taken = append->left < in->len ? (size_t)append->left : in->len;
    command->stage = STAGE_WRITE;
    /* A message holds no NUL (RFC 3501 section 9, CHAR8): it could never be sent to a client again. */
    if (slice_has_nul(slice_part(buf_slice(in), 0, append->taken)))
        fail(append, REPLY_BAD, "A message must not hold NUL bytes.");
    return append->reply == REPLY_NONE ? imap_step(imap, write_work) : true;
}

static bool written(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    buf_consume(&imap->session->in, append->taken);
    append->left -= append->taken;
    append->piece_written = false;
    command->stage = STAGE_MESSAGE;
    return true;
}

/* After the message nothing but the line's end may follow. */
static bool take_line(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    struct slice line;
    size_t total;
    switch (reader_line(&imap->session->in, LINE_MAX_AFTER, &line, &total)) {
    case LINE_MORE:
        return imap_wait_input(imap);
    case LINE_TOO_LONG:
        imap_reply(command, REPLY_BAD, "Only one message, and nothing after it.");
        imap_close_after(imap, CLOSE_PROTOCOL_ERRORS);
        return true;
    default:
        break;
    }
    if (line.len > 0)
        fail(append, REPLY_BAD, "Only one message, and nothing after it.");
    /* What comes now is a second message, unasked: none of it may be taken for commands. */
    if (slice_ends_with(line, "+}"))
        imap_close_after(imap, CLOSE_PROTOCOL_ERRORS);
    buf_consume(&imap->session->in, total);
    imap->session->in_limit = append->in_limit;
    command->stage = STAGE_END;
    return append->reply == REPLY_NONE && !append->stored ? imap_step(imap, end_work) : true;
}

static bool ended(struct imap *imap, struct command *command)
{
    struct append *append = command->data;
    if (append->reply != REPLY_NONE) {
        imap_reply(command, append->reply, append->text);
        return true;
    }
    counter_add(imap->session->counters, COUNTER_MESSAGES_IN, 1);
    imap_replyf(command, REPLY_OK, "[APPENDUID %u %u] Completed.", (unsigned)append->uid_validity, (unsigned)append->uid);
    return true;
}

bool append_run(struct imap *imap, struct command *command)
{
    static bool (*const stages[])(struct imap *, struct command *) = {
        [STAGE_BEGIN] = begin, [STAGE_OPEN] = opened, [STAGE_MESSAGE] = take_message, [STAGE_WRITE] = written,
        [STAGE_LINE] = take_line, [STAGE_END] = ended,
    };
    if (imap->result == ACTION_UNAVAILABLE)
        fail(command->data, REPLY_NO, "[UNAVAILABLE] The mailbox is not reachable at the moment.");
    imap->result = ACTION_NONE;
    return stages[command->stage](imap, command);
}
