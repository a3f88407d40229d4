/* COPY, MOVE (RFC 6851) and EXPUNGE, with what UIDPLUS (RFC 4315) says about them. */
#include "handlers.h"

struct copy {
    struct sequence_set set;
    struct slice name;
    struct uidset uids;
    struct uidset sources;
    struct uidset targets;
};

static void release(struct command *command)
{
    struct copy *copy = command->data;
    uidset_fini(&copy->uids);
    uidset_fini(&copy->sources);
    uidset_fini(&copy->targets);
}

static struct copy *new_copy(struct command *command)
{
    struct copy *copy = ARENA_NEW(&command->arena, struct copy);
    command->data = copy;
    command->release = release;
    return copy;
}

bool copy_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct copy *copy = new_copy(command);
    return parse_space(p) && parse_sequence_set(p, &copy->set) && parse_space(p) && parse_mailbox(p, &copy->name) && parse_end(p);
}

bool expunge_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct copy *copy = new_copy(command);
    return parse_space(p) && parse_sequence_set(p, &copy->set) && parse_end(p);
}

static bool resolve(struct imap *imap, struct command *command, struct copy *copy)
{
    uidset_clear(&copy->uids);
    if (imap_resolve_set(imap->view, &copy->set, command->row->flags & UID_KEYWORD, &copy->uids))
        return true;
    imap_reply(command, REPLY_BAD, "No such message number.");
    return false;
}

/* [COPYUID ...]; MOVE says it before its EXPUNGE responses (RFC 6851 section 4.3). */
static void reply_copied(struct imap *imap, struct command *command, const struct copy *copy, uint32_t uid_validity, bool move)
{
    struct buf code;
    if (copy->targets.count == 0) {
        imap_reply(command, copy->uids.count == 0 ? REPLY_OK : REPLY_NO,
                   copy->uids.count == 0 ? "Nothing to do." : "[EXPUNGEISSUED] The messages have been expunged.");
        return;
    }
    buf_init(&code, 0);
    buf_printf(&code, "[COPYUID %u ", (unsigned)uid_validity);
    uidset_write(&copy->sources, &code);
    buf_append_byte(&code, ' ');
    uidset_write(&copy->targets, &code);
    buf_append_text(&code, "]");
    if (move) {
        buf_append_text(&imap->session->out, "* OK ");
        buf_append(&imap->session->out, buf_slice(&code));
        buf_append_text(&imap->session->out, " Moved.\r\n");
        imap_reply(command, REPLY_OK, "Completed.");
    } else {
        imap_replyf(command, REPLY_OK, "%s Completed.", buf_text(&code));
    }
    buf_fini(&code);
}

/* FAULT_GONE may speak of either mailbox: a look at the selected one tells. */
static enum step_result fail(struct imap *imap, struct command *command, const struct fault *fault)
{
    struct fault other;
    if (fault->class != FAULT_GONE)
        return imap_fail(imap, command, fault);
    if (mailbox_sync(view_mailbox(imap->view), &other) < 0 && other.class == FAULT_GONE)
        return imap_fail_selected(imap, command, fault);
    imap_reply(command, REPLY_NO, "[TRYCREATE] No such mailbox.");
    return STEP_DONE;
}

static enum step_result copy_to(struct imap *imap, struct command *command, struct mailbox *target, bool move)
{
    struct copy *copy = command->data;
    struct mailbox *source = view_mailbox(imap->view);
    struct mailbox_status status;
    struct fault fault;
    if (move && source == target) {
        imap_reply(command, REPLY_NO, "[CANNOT] The messages are there already.");
        return STEP_DONE;
    }
    /* So that its UIDVALIDITY is known. */
    if (mailbox_sync(target, &fault) < 0)
        return fail(imap, command, &fault);
    /* The sets stay from call to call: a MOVE that found its source busy goes on with them. */
    if (copy->uids.count > 0 && mailbox_copy(source, &copy->uids, target, move, &copy->sources, &copy->targets, &fault) < 0)
        return fail(imap, command, &fault);
    mailbox_get_status(target, &status);
    reply_copied(imap, command, copy, status.uid_validity, move);
    return STEP_DONE;
}

static enum step_result work(struct imap *imap, struct command *command, bool move)
{
    struct copy *copy = command->data;
    struct mailbox *target;
    struct fault fault;
    if (!resolve(imap, command, copy))
        return STEP_DONE;
    if (account_mailbox(imap->account, copy->name, &target, &fault) < 0) {
        if (fault.class != FAULT_NOT_FOUND)
            return imap_fail(imap, command, &fault);
        imap_reply(command, REPLY_NO, "[TRYCREATE] No such mailbox.");
        return STEP_DONE;
    }
    enum step_result result = copy_to(imap, command, target, move);
    mailbox_unref(&target);
    return result;
}

enum step_result copy_work(struct imap *imap, struct command *command)
{
    return work(imap, command, false);
}

enum step_result move_work(struct imap *imap, struct command *command)
{
    return work(imap, command, true);
}

/* EXPUNGE responses are news of the view. */
enum step_result expunge_work(struct imap *imap, struct command *command)
{
    struct copy *copy = command->data;
    struct fault fault;
    if (copy != NULL && !resolve(imap, command, copy))
        return STEP_DONE;
    if (mailbox_expunge(view_mailbox(imap->view), copy != NULL ? &copy->uids : NULL, false, NULL, &fault) < 0)
        return imap_fail_selected(imap, command, &fault);
    return STEP_DONE;
}
