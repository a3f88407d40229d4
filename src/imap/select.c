/* SELECT, EXAMINE, CLOSE, UNSELECT (RFC 3501 6.3.1, 6.4.2; RFC 3691): the beginning and the end of the selected state. */
#include "handlers.h"

#include "postern/base/log.h"

/* Any thread. */
static void wake(void *context)
{
    session_wake(context);
}

void imap_deselect(struct imap *imap)
{
    if (imap->view == NULL)
        return;
    view_close(&imap->view);
    imap->session->serial_key = NULL;
    imap->state = STATE_AUTHENTICATED;
    imap->read_only = false;
}

enum step_result imap_sync_work(struct imap *imap, struct command *command)
{
    struct fault fault;
    /* Who did not ask for news does not wait for a lock to hear it. */
    bool asked = command->row->flags & (POLL | OWN_RESULT);
    if (mailbox_sync(view_mailbox(imap->view), &fault) == 0)
        return STEP_DONE;
    if (fault.class == FAULT_BUSY)
        return asked ? STEP_AGAIN : STEP_DONE;
    imap->gone = fault.class == FAULT_GONE;
    log_verbose("imap", "session %llu: looking for news: %s", (unsigned long long)imap->session->id, fault.text);
    return STEP_DONE;
}

static void write_opened(struct imap *imap)
{
    struct buf *out = &imap->session->out;
    struct mailbox_status status;
    uint32_t unseen = view_first_unseen(imap->view);
    mailbox_get_status(view_mailbox(imap->view), &status);
    imap_write_mailbox_flags(imap);
    buf_printf(out, "* %u EXISTS\r\n* %u RECENT\r\n", (unsigned)view_count(imap->view), (unsigned)view_recent(imap->view));
    if (unseen != 0)
        buf_printf(out, "* OK [UNSEEN %u] First unseen.\r\n", (unsigned)unseen);
    buf_printf(out, "* OK [UIDVALIDITY %u] UIDs valid.\r\n* OK [UIDNEXT %u] Next UID.\r\n", (unsigned)status.uid_validity,
               (unsigned)status.uid_next);
}

/* Takes over the reference. */
static void open_view(struct imap *imap, struct mailbox *mailbox, bool read_only)
{
    imap->view = view_open(mailbox, read_only, wake, imap->session);
    view_limit(imap->view, (uint32_t)imap->session->snapshot->agent.imap4_read_limit);
    mailbox_unref(&mailbox);
    imap->read_only = read_only;
    write_opened(imap);
}

static enum step_result open_mailbox(struct imap *imap, struct command *command, bool read_only)
{
    const struct slice *name = command->data;
    struct mailbox *mailbox;
    struct fault fault;
    if (account_mailbox(imap->account, *name, &mailbox, &fault) < 0)
        return imap_fail(imap, command, &fault);
    if (mailbox_sync(mailbox, &fault) < 0) {
        mailbox_unref(&mailbox);
        return imap_fail(imap, command, &fault);
    }
    open_view(imap, mailbox, read_only);
    return STEP_DONE;
}

static enum step_result select_work(struct imap *imap, struct command *command)
{
    return open_mailbox(imap, command, false);
}

static enum step_result examine_work(struct imap *imap, struct command *command)
{
    return open_mailbox(imap, command, true);
}

/* The mailbox selected before is left even if the new one cannot be opened (RFC 3501 6.3.1). One that is in memory as it is on disk needs no
 * thread. */
static bool run_open(struct imap *imap, struct command *command, bool read_only)
{
    if (command->stage == 0) {
        const struct slice *name = command->data;
        command->stage = 1;
        imap_deselect(imap);
        struct mailbox *known = account_mailbox_settled(imap->account, *name);
        if (known == NULL)
            return imap_step(imap, read_only ? examine_work : select_work);
        open_view(imap, known, read_only);
    }
    imap->state = STATE_SELECTED;
    imap->session->serial_key = view_mailbox(imap->view);
    imap_reply(command, REPLY_OK, imap->read_only ? "[READ-ONLY] Opened." : "[READ-WRITE] Opened.");
    return true;
}

bool select_run(struct imap *imap, struct command *command)
{
    return run_open(imap, command, false);
}

bool examine_run(struct imap *imap, struct command *command)
{
    return run_open(imap, command, true);
}

static enum step_result close_work(struct imap *imap, struct command *command)
{
    struct fault fault;
    if (mailbox_expunge(view_mailbox(imap->view), NULL, false, NULL, &fault) < 0)
        return imap_fail_selected(imap, command, &fault);
    return STEP_DONE;
}

bool close_run(struct imap *imap, struct command *command)
{
    if (command->stage == 0 && !imap->read_only) {
        command->stage = 1;
        return imap_step(imap, close_work);
    }
    return unselect_run(imap, command);
}

bool unselect_run(struct imap *imap, struct command *command)
{
    imap_deselect(imap);
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}
