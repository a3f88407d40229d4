/* Delivery into one user's INBOX. Called in steps of SMTP and by the queue's threads; it decides nothing about who may receive. */
#include "postern/queue/inbox.h"

#include "postern/base/memory.h"
#include "postern/config/user.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"

struct inbox_writer {
    struct account *account;
    struct mailbox *mailbox;
    struct message_writer *writer;
};

static int open_all(struct inbox_writer *w, const struct user *user, struct fault *fault)
{
    const struct post_office *office = user->post_office;
    struct account_where where = {
        .path = slice_from_string(office->path), .uuid = slice_from_string(office->uuid),
        .mailbox_dir = slice_from_string(user->mailbox_dir), .control_dir = slice_from_string(office->control_dir),
        .prefix = slice_from_string(office->prefix), .separator = office->separator,
    };
    if (account_open(&where, true, &w->account, fault) < 0)
        return -1;
    if (account_mailbox(w->account, SLICE_LITERAL("INBOX"), &w->mailbox, fault) < 0)
        return -1;
    return message_writer_open(w->mailbox, &w->writer, fault);
}

int inbox_writer_open(const struct user *user, struct inbox_writer **out, struct fault *fault)
{
    *out = NULL;
    if (user->post_office == NULL || user->post_office->path == NULL)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "post office of %s has no path here", user->id);
    struct inbox_writer *w = MEM_NEW(struct inbox_writer);
    if (open_all(w, user, fault) < 0) {
        inbox_writer_free(&w);
        return -1;
    }
    *out = w;
    return 0;
}

int inbox_writer_write(struct inbox_writer *writer, struct slice bytes, struct fault *fault)
{
    return message_writer_write(writer->writer, bytes, fault);
}

int inbox_writer_deliver(struct inbox_writer *writer, struct fault *fault)
{
    return message_writer_deliver(writer->writer, fault);
}

void inbox_writer_free(struct inbox_writer **writer)
{
    struct inbox_writer *w = *writer;
    if (w == NULL)
        return;
    message_writer_free(&w->writer);
    if (w->mailbox != NULL)
        mailbox_unref(&w->mailbox);
    if (w->account != NULL)
        account_unref(&w->account);
    mem_free(writer);
}
