/* One user's INBOX, to be delivered into or looked through. Called in steps of SMTP and by the queue's threads; it decides nothing about who may receive. */
#include "postern/queue/inbox.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/user.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"

enum { LOCK_MS = 5000, LOCK_AGAIN_MS = 10, NEWEST = 100, LOOKED_AT_MAX = 10000, HEAD = 32 * 1024 };

struct inbox_writer {
    struct account *account;
    struct mailbox *mailbox;
    struct message_writer *writer;
};

static int open_account(const struct user *user, struct account **account, struct mailbox **mailbox, struct fault *fault)
{
    const struct post_office *office = user->post_office;
    struct account_where where = {
        .path = slice_from_string(office->path), .uuid = slice_from_string(office->uuid),
        .mailbox_dir = slice_from_string(user->mailbox_dir), .control_dir = slice_from_string(office->control_dir),
        .prefix = slice_from_string(office->prefix), .separator = office->separator,
    };
    /* In the place of an agent nothing is made: how, is the agent's to know. */
    if (account_open(&where, office->agent_count == 0, account, fault) < 0)
        return -1;
    return account_mailbox(*account, SLICE_LITERAL("INBOX"), mailbox, fault);
}

int inbox_writer_open(const struct user *user, struct inbox_writer **out, struct fault *fault)
{
    *out = NULL;
    if (user->post_office == NULL || user->post_office->path == NULL)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "post office of %s has no path here", user->id);
    struct inbox_writer *w = MEM_NEW(struct inbox_writer);
    if (open_account(user, &w->account, &w->mailbox, fault) < 0 || message_writer_open(w->mailbox, &w->writer, fault) < 0) {
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

/* --- looking --------------------------------------------------------------------------------------------------------------- */

static int sync_patiently(struct mailbox *mailbox, struct fault *fault)
{
    uint64_t until = clock_monotonic_ms() + LOCK_MS;
    for (;;) {
        if (mailbox_sync(mailbox, fault) == 0)
            return 0;
        if (fault->class != FAULT_BUSY || clock_monotonic_ms() >= until)
            return -1;
        poll(NULL, 0, LOCK_AGAIN_MS);
    }
}

/* One message: 1 if it is the one, -1 after a fault; *young_out: whether it came in after `since`. */
static int look_at(struct mailbox *mailbox, uint32_t uid, const struct inbox_search *search, bool *young_out, struct fault *fault)
{
    char head[HEAD];
    uint64_t size;
    struct stat st;
    int fd;
    *young_out = true;
    if (mailbox_open_message(mailbox, uid, &fd, &size, fault) < 0)
        return fault->class == FAULT_GONE ? 0 : -1;
    ssize_t got = read(fd, head, sizeof(head));
    if (fstat(fd, &st) == 0)
        *young_out = st.st_mtim.tv_sec >= search->since;
    close(fd);
    return got > 0 && search->is_it(slice_make(head, (size_t)got), search->wanted);
}

static int look_through(struct mailbox *mailbox, const struct inbox_search *search, struct fault *fault)
{
    struct view *view = view_open(mailbox, true, NULL, NULL);
    uint32_t count = view_count(view);
    int found = 0;
    bool young = true;
    for (uint32_t i = 0; i < count && i < LOOKED_AT_MAX && found == 0 && (young || i < NEWEST); i++) {
        struct message message;
        if (view_read(view, count - i, &message, 1) == 1)
            found = look_at(mailbox, message.uid, search, &young, fault);
    }
    view_close(&view);
    return found;
}

int inbox_search(const struct user *user, const struct inbox_search *search, struct fault *fault)
{
    struct account *account = NULL;
    struct mailbox *mailbox = NULL;
    int found = open_account(user, &account, &mailbox, fault);
    bool none = found < 0 && fault->class == FAULT_NOT_FOUND;
    if (found == 0)
        found = sync_patiently(mailbox, fault);
    if (found == 0)
        found = look_through(mailbox, search, fault);
    if (mailbox != NULL)
        mailbox_unref(&mailbox);
    if (account != NULL)
        account_unref(&account);
    return none ? 0 : found;
}
