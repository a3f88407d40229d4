/* CREATE, DELETE, RENAME, SUBSCRIBE, UNSUBSCRIBE, STATUS (RFC 3501 6.3; RFC 8438, RFC 7889): each is one call of the store. */
#include "handlers.h"

#include <string.h>

static enum step_result finish(struct imap *imap, struct command *command, int result, const struct fault *fault)
{
    return result == 0 ? STEP_DONE : imap_fail(imap, command, fault);
}

enum step_result create_work(struct imap *imap, struct command *command)
{
    const struct slice *name = command->data;
    struct fault fault;
    return finish(imap, command, account_create(imap->account, *name, &fault), &fault);
}

/* True if the selected mailbox has this name. */
static bool is_selected(struct imap *imap, struct slice name)
{
    struct mailbox *mailbox;
    struct fault fault;
    if (imap->view == NULL || account_mailbox(imap->account, name, &mailbox, &fault) < 0)
        return false;
    bool same = mailbox == view_mailbox(imap->view);
    mailbox_unref(&mailbox);
    return same;
}

enum { STAGE_BEGIN, STAGE_DELETE, STAGE_DELETE_SELECTED };

static enum step_result delete_work(struct imap *imap, struct command *command)
{
    const struct slice *name = command->data;
    struct fault fault;
    command->stage = is_selected(imap, *name) ? STAGE_DELETE_SELECTED : STAGE_DELETE;
    return finish(imap, command, account_delete(imap->account, *name, &fault), &fault);
}

/* Who deletes the selected mailbox leaves it: only others lose their session. */
bool delete_run(struct imap *imap, struct command *command)
{
    const struct slice *name = command->data;
    if (slice_is(*name, "INBOX")) {
        imap_reply(command, REPLY_NO, "[CANNOT] INBOX cannot be deleted.");
        return true;
    }
    if (command->stage == STAGE_BEGIN)
        return imap_step(imap, delete_work);
    if (command->stage == STAGE_DELETE_SELECTED)
        imap_deselect(imap);
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

enum step_result subscribe_work(struct imap *imap, struct command *command)
{
    const struct slice *name = command->data;
    struct fault fault;
    return finish(imap, command, account_subscribe(imap->account, *name, true, &fault), &fault);
}

enum step_result unsubscribe_work(struct imap *imap, struct command *command)
{
    const struct slice *name = command->data;
    struct fault fault;
    return finish(imap, command, account_subscribe(imap->account, *name, false, &fault), &fault);
}

bool rename_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct slice *names = ARENA_NEW_ARRAY(&command->arena, struct slice, 2);
    command->data = names;
    return parse_space(p) && parse_mailbox(p, &names[0]) && parse_space(p) && parse_mailbox(p, &names[1]) && parse_end(p);
}

enum step_result rename_work(struct imap *imap, struct command *command)
{
    const struct slice *names = command->data;
    struct fault fault;
    return finish(imap, command, account_rename(imap->account, names[0], names[1], &fault), &fault);
}

/* --- STATUS ------------------------------------------------------------------------------------------------------------- */

enum status_item { ITEM_MESSAGES, ITEM_RECENT, ITEM_UIDNEXT, ITEM_UIDVALIDITY, ITEM_UNSEEN, ITEM_SIZE, ITEM_APPENDLIMIT, ITEM_COUNT };

static const char *const item_names[ITEM_COUNT] = {
    [ITEM_MESSAGES] = "MESSAGES", [ITEM_RECENT] = "RECENT", [ITEM_UIDNEXT] = "UIDNEXT", [ITEM_UIDVALIDITY] = "UIDVALIDITY",
    [ITEM_UNSEEN] = "UNSEEN", [ITEM_SIZE] = "SIZE", [ITEM_APPENDLIMIT] = "APPENDLIMIT",
};

struct status {
    struct slice name;
    unsigned items;    /* bit per item */
};

static bool parse_item(struct imap_parser *p, unsigned *items)
{
    for (unsigned i = 0; i < ITEM_COUNT; i++) {
        if (parse_keyword(p, item_names[i])) {
            *items |= 1U << i;
            return true;
        }
    }
    return false;
}

bool status_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct status *status = ARENA_NEW(&command->arena, struct status);
    command->data = status;
    if (!parse_space(p) || !parse_mailbox(p, &status->name) || !parse_space(p) || !parse_byte(p, '('))
        return false;
    do {
        if (!parse_item(p, &status->items))
            return false;
    } while (parse_space(p));
    return parse_byte(p, ')') && parse_end(p);
}

static void write_status(struct imap *imap, const struct status *asked, const struct mailbox_status *status)
{
    struct buf *out = &imap->session->out;
    const uint64_t values[ITEM_COUNT] = {
        [ITEM_MESSAGES] = status->messages, [ITEM_RECENT] = status->recent, [ITEM_UIDNEXT] = status->uid_next,
        [ITEM_UIDVALIDITY] = status->uid_validity, [ITEM_UNSEEN] = status->unseen, [ITEM_SIZE] = status->size,
        [ITEM_APPENDLIMIT] = imap_append_limit(imap->session),
    };
    const char *blank = "";
    buf_append_text(out, "* STATUS ");
    imap_write_string(out, asked->name);
    buf_append_text(out, " (");
    for (unsigned i = 0; i < ITEM_COUNT; i++) {
        if (asked->items & (1U << i)) {
            buf_printf(out, "%s%s %llu", blank, item_names[i], (unsigned long long)values[i]);
            blank = " ";
        }
    }
    buf_append_text(out, ")\r\n");
}

static int look(struct mailbox *mailbox, unsigned items, struct mailbox_status *status_out, struct fault *fault)
{
    if (mailbox_sync(mailbox, fault) < 0)
        return -1;
    mailbox_get_status(mailbox, status_out);
    if ((items & (1U << ITEM_SIZE)) && status_out->messages > 0) {
        struct uidset all = { 0 };
        uidset_add_range(&all, 1, status_out->uid_next - 1);
        int result = mailbox_load(mailbox, &all, fault);
        uidset_fini(&all);
        if (result < 0)
            return -1;
    }
    mailbox_get_status(mailbox, status_out);
    return 0;
}

enum step_result status_work(struct imap *imap, struct command *command)
{
    const struct status *asked = command->data;
    struct mailbox *mailbox;
    struct mailbox_status status;
    struct fault fault;
    if (account_mailbox(imap->account, asked->name, &mailbox, &fault) < 0)
        return imap_fail(imap, command, &fault);
    int result = look(mailbox, asked->items, &status, &fault);
    mailbox_unref(&mailbox);
    if (result < 0)
        return imap_fail(imap, command, &fault);
    write_status(imap, asked, &status);
    return STEP_DONE;
}

bool status_run(struct imap *imap, struct command *command)
{
    const struct status *asked = command->data;
    struct mailbox *known = command->stage == 0 && !(asked->items & (1U << ITEM_SIZE)) ? account_mailbox_settled(imap->account, asked->name) : NULL;
    if (known == NULL)
        return imap_run_work(imap, command);
    struct mailbox_status status;
    mailbox_get_status(known, &status);
    mailbox_unref(&known);
    write_status(imap, asked, &status);
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}
