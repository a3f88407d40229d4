/* What the server says: tagged replies, the mailbox's news, last words. Fault texts go to the log, never to the client. */
#include "fetch.h"
#include "handlers.h"

#include <stdarg.h>

#include "postern/base/log.h"
#include "relay.h"

void imap_reply(struct command *command, enum reply reply, const char *text)
{
    command->reply = reply;
    command->text = text;
}

void imap_replyf(struct command *command, enum reply reply, const char *format, ...)
{
    struct buf text;
    va_list args;
    buf_init(&text, 0);
    va_start(args, format);
    buf_vprintf(&text, format, args);
    va_end(args);
    imap_reply(command, reply, arena_copy(&command->arena, buf_slice(&text)).data);
    buf_fini(&text);
}

/* One reply for each class of fault: response codes of RFC 5530 and RFC 3501. */
static const char *const fault_replies[FAULT_COUNT] = {
    [FAULT_NONE] = "[SERVERBUG] Failed.",
    [FAULT_INVALID] = "[CANNOT] This name or value cannot be used.",
    [FAULT_NOT_FOUND] = "[NONEXISTENT] No such mailbox.",
    [FAULT_EXISTS] = "[ALREADYEXISTS] The mailbox is there already.",
    [FAULT_DENIED] = "[NOPERM] Not allowed.",
    [FAULT_LIMIT] = "[LIMIT] A limit is reached.",
    [FAULT_BUSY] = "[INUSE] The mailbox is in use: try again.",
    [FAULT_UNREACHABLE] = "[UNAVAILABLE] The mailbox is not reachable at the moment.",
    [FAULT_TIMEOUT] = "[UNAVAILABLE] The mailbox does not answer at the moment.",
    [FAULT_NO_SPACE] = "[OVERQUOTA] No space is left.",
    [FAULT_IO] = "[UNAVAILABLE] The mailbox cannot be read or written at the moment.",
    [FAULT_CORRUPT] = "[CORRUPTION] The mailbox is damaged.",
    [FAULT_GONE] = "[NONEXISTENT] The mailbox is gone.",
    [FAULT_AUTHENTICATION] = "[AUTHENTICATIONFAILED] Authentication failed.",
    [FAULT_PROTOCOL] = "[UNAVAILABLE] The mailbox is not reachable at the moment.",
};

void imap_reply_fault(struct imap *imap, struct command *command, const struct fault *fault)
{
    log_verbose("imap", "session %llu: %s: %s: %s", (unsigned long long)imap->session->id,
                command->row != NULL ? command->row->name : "", fault_class_word(fault->class), fault->text);
    imap_reply(command, REPLY_NO, fault_replies[fault->class]);
}

enum step_result imap_fail(struct imap *imap, struct command *command, const struct fault *fault)
{
    if (fault->class == FAULT_BUSY)
        return STEP_AGAIN;
    imap_reply_fault(imap, command, fault);
    return STEP_DONE;
}

enum step_result imap_fail_selected(struct imap *imap, struct command *command, const struct fault *fault)
{
    imap->gone = fault->class == FAULT_GONE;
    return imap_fail(imap, command, fault);
}

void imap_write_reply(struct imap *imap, const struct command *command)
{
    static const char *const words[] = {
        [REPLY_NONE] = " BAD ", [REPLY_OK] = " OK ", [REPLY_NO] = " NO ", [REPLY_BAD] = " BAD ",
    };
    struct buf *out = &imap->session->out;
    buf_append(out, command->tag);
    buf_append_text(out, words[command->reply]);
    buf_append_text(out, command->text);
    buf_append_text(out, "\r\n");
}

static bool is_quotable(struct slice text)
{
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 || c >= 0x7f)
            return false;
    }
    return text.len <= 1024;
}

void imap_write_string(struct buf *out, struct slice text)
{
    if (!is_quotable(text)) {
        buf_printf(out, "{%zu}\r\n", text.len);
        buf_append(out, text);
        return;
    }
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, text.data[i]);
    }
    buf_append_byte(out, '"');
}

/* "\Answered ... Work", separated by blanks. */
static void write_flag_names(struct imap *imap, struct buf *out)
{
    char name[KEYWORD_LENGTH_MAX + 1];
    for (unsigned bit = 0; bit < 5; bit++)
        buf_printf(out, "%s%s", bit ? " " : "", imap_flag_name(bit));
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        if (mailbox_keyword_name(view_mailbox(imap->view), i, name))
            buf_printf(out, " %s", name);
}

void imap_write_mailbox_flags(struct imap *imap)
{
    struct buf *out = &imap->session->out;
    struct mailbox *mailbox = view_mailbox(imap->view);
    imap->keywords_version = mailbox_keywords_version(mailbox);
    buf_append_text(out, "* FLAGS (");
    write_flag_names(imap, out);
    buf_append_text(out, ")\r\n* OK [PERMANENTFLAGS (");
    if (!imap->read_only) {
        write_flag_names(imap, out);
        if (mailbox_has_keyword_room(mailbox))
            buf_append_text(out, " \\*");
    }
    buf_append_text(out, ")] Flags permitted.\r\n");
}

static void write_flag_change(struct imap *imap, const struct view_change *change, bool with_uid)
{
    struct buf *out = &imap->session->out;
    buf_printf(out, "* %u FETCH (", (unsigned)change->number);
    if (with_uid)
        buf_printf(out, "UID %u ", (unsigned)change->message.uid);
    fetch_write_flags(out, view_mailbox(imap->view), &change->message);
    buf_append_text(out, ")\r\n");
}

void imap_tell_keywords(struct imap *imap)
{
    if (mailbox_keywords_version(view_mailbox(imap->view)) != imap->keywords_version)
        imap_write_mailbox_flags(imap);
}

bool imap_write_news(struct imap *imap, bool expunges_allowed, bool with_uid)
{
    struct buf *out = &imap->session->out;
    struct view_change change;
    imap_tell_keywords(imap);
    while (session_out_has_room(imap->session)) {
        if (!view_next_change(imap->view, expunges_allowed, &change))
            return true;
        switch (change.kind) {
        case VIEW_EXPUNGED:
            buf_printf(out, "* %u EXPUNGE\r\n", (unsigned)change.number);
            break;
        case VIEW_EXISTS:
            buf_printf(out, "* %u EXISTS\r\n", (unsigned)change.number);
            break;
        case VIEW_RECENT:
            buf_printf(out, "* %u RECENT\r\n", (unsigned)change.number);
            break;
        case VIEW_FLAGS:
            imap_tell_keywords(imap);
            write_flag_change(imap, &change, with_uid);
            break;
        }
    }
    return false;
}

struct slice imap_farewell(const struct session *session, enum close_reason reason)
{
    static const struct slice words[CLOSE_COUNT] = {
        [CLOSE_IDLE] = SLICE_LITERAL("* BYE Idle for too long.\r\n"),
        [CLOSE_LOGIN_TIMEOUT] = SLICE_LITERAL("* BYE No login in time.\r\n"),
        [CLOSE_SHUTDOWN] = SLICE_LITERAL("* BYE [UNAVAILABLE] The server is shutting down.\r\n"),
        [CLOSE_SERVICE_DISABLED] = SLICE_LITERAL("* BYE [UNAVAILABLE] IMAP is switched off.\r\n"),
        [CLOSE_ACCESS_REVOKED] = SLICE_LITERAL("* BYE Access was revoked.\r\n"),
        [CLOSE_PROTOCOL_ERRORS] = SLICE_LITERAL("* BYE Too many invalid commands, or one too large.\r\n"),
        [CLOSE_TOO_MANY_LOGINS] = SLICE_LITERAL("* BYE Too many failed logins.\r\n"),
        [CLOSE_TOO_MANY_CONNECTIONS] = SLICE_LITERAL("* BYE [UNAVAILABLE] Too many connections.\r\n"),
        [CLOSE_STALLED] = SLICE_LITERAL("* BYE [UNAVAILABLE] The mailbox does not answer.\r\n"),
        [CLOSE_KICKED] = SLICE_LITERAL("* BYE The session was ended by an administrator.\r\n"),
        [CLOSE_MAILBOX_MOVED] = SLICE_LITERAL("* BYE [UNAVAILABLE] The mailbox was moved: log in again later.\r\n"),
        [CLOSE_POA_LOST] = SLICE_LITERAL("* BYE [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n"),
        [CLOSE_LINK_CHANGED] = SLICE_LITERAL("* BYE [UNAVAILABLE] The way to the mailbox has changed: log in again.\r\n"),
        [CLOSE_MAILBOX_GONE] = SLICE_LITERAL("* BYE The selected mailbox was removed or renumbered.\r\n"),
    };
    const struct imap *imap = session->busy ? NULL : session->state;
    if (imap != NULL && imap->relay != NULL && !relay_is_between_responses(imap->relay))
        return SLICE_NONE;
    if (imap != NULL && imap->relay == NULL && fetch_is_midway(imap))
        return SLICE_NONE;   /* a literal would swallow it */
    return reason < CLOSE_COUNT ? words[reason] : SLICE_NONE;
}
