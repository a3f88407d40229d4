/* The option v over a Post Office Agent: the record is an entry of INBOX's METADATA (RFC 5464) where the agent has such, for one mailbox and every
 * gateway, and a file of the state directory, for agents that have none or refuse ours, and for a time when the mailbox is opened directly. At the
 * login both are read. Called by remote.c and remote_update.c on the loop, its step by pop3.c. It must never write a record that it has not read
 * before. */
#include "conversation.h"
#include "postern/base/log.h"

#define ENTRY "/private/vendor/postern/pop3-view-"

enum { QUOTED_MAX = 4000 };    /* a longer record is no string in quotes */

void remote_view_ask(struct session *session)
{
    const struct conversation *c = session->state;
    remote_command(session, REMOTE_VIEW, 0, 0);
    buf_printf(&session->remote->out, "GETMETADATA INBOX " ENTRY "%u\r\n", c->drop.options.view);
}

static void take_quoted(struct slice text, struct buf *out)
{
    for (size_t i = 1; i < text.len && text.data[i] != '"'; i++) {
        if (text.data[i] == '\\' && i + 1 < text.len)
            i++;
        buf_append_byte(out, text.data[i]);
    }
}

/* 'INBOX (entry "value")'; without the list it is news of a change. */
void remote_view_take(struct session *session, struct slice text)
{
    const struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct buf entry = { 0 };
    buf_printf(&entry, "(" ENTRY "%u ", c->drop.options.view);
    ptrdiff_t at = c->drop.options.view != 0 ? slice_find_text_nocase(text, buf_slice(&entry)) : -1;
    text = at < 0 ? SLICE_NONE : slice_trim(slice_from(text, (size_t)at + entry.len));
    buf_fini(&entry);
    if (text.len == 0)
        return;
    buf_fini(&link->view_text);
    buf_init(&link->view_text, VIEW_TEXT_MAX);
    if (text.data[0] == '"')
        take_quoted(text, &link->view_text);
    else
        link->in_view = text.data[0] == '{' && link->reader.literal_follows;
}

void remote_view_read(struct session *session, struct view_record *record)
{
    const struct conversation *c = session->state;
    struct buf *text = &c->link->view_text;
    if (text->overflowed || (text->len != 0 && !view_record_parse(buf_slice(text), record)))
        log_warning("pop3", "session %llu: the record of view %u is broken: it begins anew", (unsigned long long)c->id, c->drop.options.view);
    buf_fini(text);
}

void remote_view_filter(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct view_record far = { 0 };
    uint32_t kept = 0;
    if (link->view.uid_validity != c->drop.uid_validity)
        view_record_fini(&link->view);
    link->view.uid_validity = c->drop.uid_validity;
    remote_view_read(session, &far);
    view_record_add(&link->view, &far);
    view_record_fini(&far);
    for (uint32_t i = 0; i < c->drop.count; i++)
        if (!uidset_has(&link->view.uids, c->drop.entries[i].uid))
            c->drop.entries[kept++] = c->drop.entries[i];
    c->drop.count = kept;
}

/* False: the POA cannot have it. */
static bool keep_far(struct session *session)
{
    const struct conversation *c = session->state;
    const struct remote_drop *link = c->link;
    struct buf text = { 0 }, *out = &session->remote->out;
    view_record_write(&link->view, &text);
    bool quoted = text.len <= QUOTED_MAX;
    bool possible = link->has_metadata && (quoted || link->has_literals);
    if (possible) {
        remote_command(session, REMOTE_UPDATE, 0, 0);
        buf_printf(out, "SETMETADATA INBOX (" ENTRY "%u ", c->drop.options.view);
        if (quoted)
            buf_append_byte(out, '"');
        else
            buf_printf(out, "{%zu+}\r\n", text.len);
        buf_append(out, buf_slice(&text));
        buf_append_text(out, quoted ? "\")\r\n" : ")\r\n");
    }
    buf_fini(&text);
    return possible;
}

void remote_view_keep(struct session *session)
{
    struct conversation *c = session->state;
    struct view_record retrieved = { .uid_validity = c->drop.uid_validity, .uids = c->link->uids };
    view_record_add(&c->link->view, &retrieved);
    if (!keep_far(session))
        c->activity = ACTIVITY_RECORD;
}

/* What it refuses, for being too big or not ours, is kept here only. */
void remote_view_kept(struct session *session, bool ok)
{
    struct conversation *c = session->state;
    c->link->kept_far = ok;
    c->activity = ACTIVITY_RECORD;
}

static void fail(struct session *session, const struct fault *fault, bool updating)
{
    struct conversation *c = session->state;
    log_error("pop3", "session %llu: %s", (unsigned long long)c->id, fault->text);
    buf_append_text(&session->out, updating ? "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n"
                                            : "-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
    conversation_end(c, updating ? CLOSE_LOGOUT : CLOSE_STALLED);
}

bool remote_view_step(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct fault fault;
    bool updating = c->state == POP3_TRANSACTION;
    int result = updating ? views_save(session->user, c->drop.options.view, &link->view, &fault)
                          : views_load(session->user, c->drop.options.view, &link->view, &fault);
    if (result < 0 && fault.class == FAULT_BUSY)
        return false;
    link->stepped = updating;
    c->activity = updating ? ACTIVITY_UPDATING : ACTIVITY_OPENING;
    if (result < 0 && link->kept_far)
        log_warning("pop3", "session %llu: view %u has no copy: %s", (unsigned long long)c->id, c->drop.options.view, fault.text);
    else if (result < 0)
        fail(session, &fault, updating);
    return true;
}
