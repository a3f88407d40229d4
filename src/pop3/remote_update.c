/* QUIT over a Post Office Agent: what was retrieved is marked and moved, what was deleted is removed, a batch of UIDs a command. Called by
 * remote.c. It must never remove a message that the client neither deleted nor fully retrieved, nor say +OK before the POA did. */
#include "remote.h"

#include "conversation.h"
#include "postern/base/log.h"
#include "postern/config/user.h"

enum { BATCH_OCTETS = 4000 };

static void write_trash(const struct session *session, struct buf *out)
{
    const struct post_office *office = session->user->post_office;
    struct slice prefix = slice_from_string(office != NULL ? office->prefix : NULL);
    buf_append_byte(out, '"');
    for (size_t i = 0; i < prefix.len; i++) {
        if (prefix.data[i] == '"' || prefix.data[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, prefix.data[i]);
    }
    buf_append_text(out, "Trash\"");
}

static void fail(struct session *session, struct slice text)
{
    struct conversation *c = session->state;
    log_error("pop3", "session %llu: QUIT: the post office agent says: %.*s", (unsigned long long)c->id, SLICE_ARG(slice_part(text, 0, 160)));
    buf_append_text(&session->out, "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
    conversation_end(c, CLOSE_LOGOUT);
}

/* --- the stages ----------------------------------------------------------------------------------------------------------------- */

/* What is to be removed: with the option d and a POA without MOVE also what was copied to Trash. */
static void choose_removed(struct conversation *c)
{
    struct remote_drop *link = c->link;
    enum pop3_removal removal = c->drop.options.removal;
    link->uids = maildrop_with(&c->drop, ENTRY_DELETED, ENTRY_DELETED);
    if (removal == POP3_KEEP || (removal == POP3_DELETE && link->has_move))
        return;
    struct uidset retrieved = maildrop_retrieved(&c->drop);
    for (size_t i = 0; i < retrieved.count; i++)
        uidset_add_range(&link->uids, retrieved.ranges[i].first, retrieved.ranges[i].last);
    uidset_fini(&retrieved);
}

static void begin_stage(struct conversation *c)
{
    struct remote_drop *link = c->link;
    enum pop3_removal removal = c->drop.options.removal;
    link->range = 0;
    if (link->stage > STAGE_MARK)
        return;    /* of the same messages */
    uidset_fini(&link->uids);
    if (link->stage == STAGE_SEEN && removal != POP3_PURGE)
        link->uids = maildrop_with(&c->drop, ENTRY_DELETED | ENTRY_RETRIEVED | ENTRY_SEEN, ENTRY_RETRIEVED);
    else if ((link->stage == STAGE_VIEW && c->drop.options.view != 0) || (link->stage == STAGE_TRASH && removal == POP3_DELETE))
        link->uids = maildrop_retrieved(&c->drop);
    else if (link->stage == STAGE_MARK)
        choose_removed(c);
}

/* The next ranges, at most BATCH_OCTETS. */
static void write_batch(struct remote_drop *link, struct buf *out)
{
    size_t before = out->len;
    link->batch = link->range;
    for (; link->range < link->uids.count && out->len - before < BATCH_OCTETS; link->range++) {
        const struct uid_range *range = &link->uids.ranges[link->range];
        buf_printf(out, "%s%u", link->range == link->batch ? "" : ",", range->first);
        if (range->last != range->first)
            buf_printf(out, ":%u", range->last);
    }
}

static void command_over_batch(struct session *session, const char *before, const char *after)
{
    struct buf *out = &session->remote->out;
    struct remote_drop *link = ((struct conversation *)session->state)->link;
    remote_command(session, REMOTE_UPDATE, 0, 0);
    buf_append_text(out, before);
    write_batch(link, out);
    buf_append_text(out, after);
    if (link->stage == STAGE_TRASH)
        write_trash(session, out);
    buf_append_text(out, "\r\n");
}

/* EXPUNGE alone removes all that is marked (RFC 9051 section 6.4.3): without UID EXPUNGE (RFC 4315) others' marks are looked for first. */
static void command_alone(struct session *session, const char *text)
{
    struct remote_drop *link = ((struct conversation *)session->state)->link;
    link->range = link->uids.count;
    remote_command(session, REMOTE_UPDATE, 0, 0);
    buf_append_text(&session->remote->out, text);
}

/* False: the stage has nothing more to do. */
static bool ask(struct session *session)
{
    struct remote_drop *link = ((struct conversation *)session->state)->link;
    if (link->range >= link->uids.count)
        return false;
    switch (link->stage) {
    case STAGE_SEEN:
        command_over_batch(session, "UID STORE ", " +FLAGS.SILENT (\\Seen)");
        return true;
    case STAGE_VIEW:
        link->range = link->uids.count;
        remote_view_keep(session);
        return true;
    case STAGE_TRASH:
        command_over_batch(session, link->has_move ? "UID MOVE " : "UID COPY ", " ");
        return true;
    case STAGE_MARK:
        command_over_batch(session, "UID STORE ", " +FLAGS.SILENT (\\Deleted)");
        return true;
    case STAGE_SEARCH:
        if (!link->has_uidplus)
            command_alone(session, "UID SEARCH DELETED\r\n");
        return !link->has_uidplus;
    case STAGE_EXPUNGE:
        if (link->has_uidplus)
            command_over_batch(session, "UID EXPUNGE ", "");
        else
            command_alone(session, "EXPUNGE\r\n");
        return true;
    default:
        return false;
    }
}

void remote_update_next(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    while (link->stage != STAGE_DONE) {
        if (ask(session))
            return;
        link->stage++;
        begin_stage(c);
    }
    buf_append_text(&session->out, "+OK Bye.\r\n");
    conversation_end(c, CLOSE_LOGOUT);
}

/* --- the answers ---------------------------------------------------------------------------------------------------------------- */

void remote_update_found(struct remote_drop *link, struct slice numbers)
{
    struct slice word;
    uint64_t uid;
    if (link->stage != STAGE_SEARCH)
        return;
    link->searched = true;
    while (slice_split(&numbers, ' ', &word))
        if (word.len != 0 && (!slice_to_number(word, UINT32_MAX, &uid) || !uidset_has(&link->uids, (uint32_t)uid)))
            link->others = true;
}

static void create_trash(struct session *session)
{
    struct remote_drop *link = ((struct conversation *)session->state)->link;
    link->creating = link->created = true;
    remote_command(session, REMOTE_UPDATE, 0, 0);
    buf_append_text(&session->remote->out, "CREATE ");
    write_trash(session, &session->remote->out);
    buf_append_text(&session->remote->out, "\r\n");
}

void remote_update_take(struct session *session, bool ok, struct slice text)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (link->creating) {    /* if it could not be made, the second try says so */
        link->creating = false;
        link->range = link->batch;
    } else if (!ok && link->stage == STAGE_TRASH && !link->created && slice_find_text_nocase(text, SLICE_LITERAL("[TRYCREATE]")) >= 0) {
        create_trash(session);
        return;
    } else if (!ok && link->stage == STAGE_SEEN) {    /* nobody was promised that */
        log_warning("pop3", "session %llu: messages retrieved were not marked as seen", (unsigned long long)c->id);
    } else if (link->stage == STAGE_VIEW) {
        remote_view_kept(session, ok);
        return;
    } else if (!ok || (link->stage == STAGE_SEARCH && (link->others || !link->searched))) {
        fail(session, ok ? SLICE_LITERAL("messages of others are marked as deleted, and it has no UIDPLUS") : text);
        return;
    }
    remote_update_next(session);
}
