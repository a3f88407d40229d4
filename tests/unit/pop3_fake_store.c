/* The fake store of the POP3 tests: messages in memory, every fault on request. It stands in for libstore, of which only the UID sets are linked. */
#include "pop3_fake.h"

#include <sys/mman.h>
#include <unistd.h>

#include "postern/base/check.h"
#include "postern/store/account.h"

static int inbox, trash, account;     /* addresses only */
#define INBOX ((struct mailbox *)(void *)&inbox)
#define TRASH ((struct mailbox *)(void *)&trash)

static bool is_busy(struct fault *fault)
{
    if (fake.busy == 0)
        return false;
    fake.busy--;
    fault_set(fault, FAULT_BUSY, 0, "lock held");
    return true;
}

static bool is_there(const struct fake_message *m)
{
    return !m->expunged && !m->trashed;
}

int account_open(const struct account_where *where, bool create, struct account **out, struct fault *fault)
{
    CHECK(create && slice_is(where->path, "/mail") && slice_is(where->mailbox_dir, "joe/Maildir"));
    if (fake.account_fails)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "not there");
    *out = (struct account *)(void *)&account;
    return 0;
}

void account_unref(struct account **a)
{
    *a = NULL;
}

struct slice account_prefix(const struct account *a)
{
    (void)a;
    return SLICE_LITERAL("INBOX.");
}

int account_create(struct account *a, struct slice name, struct fault *fault)
{
    (void)a;
    (void)fault;
    CHECK(slice_is(name, "INBOX.Trash") && !fake.trash_exists);
    fake.trash_exists = true;
    return 0;
}

int account_mailbox(struct account *a, struct slice name, struct mailbox **out, struct fault *fault)
{
    (void)a;
    if (slice_is(name, "INBOX.Trash") && !fake.trash_exists)
        return fault_set(fault, FAULT_NOT_FOUND, 0, "no folder");
    *out = slice_is(name, "INBOX") ? INBOX : TRASH;
    return 0;
}

void mailbox_unref(struct mailbox **mailbox)
{
    *mailbox = NULL;
}

int mailbox_sync(struct mailbox *mailbox, struct fault *fault)
{
    (void)mailbox;
    return is_busy(fault) ? -1 : 0;
}

int mailbox_load(struct mailbox *mailbox, const struct uidset *uids, struct fault *fault)
{
    CHECK(mailbox == INBOX && uids->count != 0);
    return is_busy(fault) ? -1 : 0;
}

void mailbox_get_status(struct mailbox *mailbox, struct mailbox_status *status_out)
{
    (void)mailbox;
    *status_out = (struct mailbox_status){ .uid_validity = 0x6b03e470 };
}

struct view *view_open(struct mailbox *mailbox, bool read_only, void (*notify)(void *context), void *context)
{
    (void)context;
    CHECK(mailbox == INBOX && read_only && notify != NULL);
    return (struct view *)(void *)&inbox;
}

void view_close(struct view **view)
{
    *view = NULL;
}

uint32_t view_count(struct view *view)
{
    uint32_t count = 0;
    (void)view;
    for (size_t i = 0; i < fake.count; i++)
        count += is_there(&fake.messages[i]);
    return count;
}

static uint64_t sent_size(const struct fake_message *m)
{
    uint64_t size = m->len;
    for (size_t i = 0; i < m->len; i++)
        size += m->text[i] == '\n' && (i == 0 || m->text[i - 1] != '\r');
    return size;
}

size_t view_read(struct view *view, uint32_t first, struct message *out, size_t most)
{
    uint32_t sequence = 0;
    size_t count = 0;
    (void)view;
    for (size_t i = 0; i < fake.count && count < most; i++) {
        const struct fake_message *m = &fake.messages[i];
        if (is_there(m) && ++sequence >= first)
            out[count++] = (struct message){ .uid = m->uid, .flags = m->flags, .size = sent_size(m), .internal_date = m->date };
    }
    return count;
}

uint32_t view_sequence_of(struct view *view, uint32_t uid)
{
    uint32_t sequence = 0;
    (void)view;
    for (size_t i = 0; i < fake.count; i++) {
        sequence += is_there(&fake.messages[i]);
        if (fake.messages[i].uid == uid)
            return is_there(&fake.messages[i]) ? sequence : 0;
    }
    return 0;
}

int mailbox_update_flags(struct mailbox *mailbox, const struct uidset *uids, const struct flag_update *update, struct fault *fault)
{
    CHECK(mailbox == INBOX && update->change == FLAGS_ADD);
    if (is_busy(fault))
        return -1;
    for (size_t i = 0; i < fake.count; i++)
        if (uidset_has(uids, fake.messages[i].uid))
            fake.messages[i].flags |= update->flags;
    return 0;
}

int mailbox_expunge(struct mailbox *mailbox, const struct uidset *uids, bool forced, struct uidset *expunged_out, struct fault *fault)
{
    CHECK(mailbox == INBOX && forced && expunged_out == NULL && uids->count != 0);
    if (is_busy(fault))
        return -1;
    if (fake.expunge_fails)
        return fault_set(fault, FAULT_IO, 0, "disk");
    for (size_t i = 0; i < fake.count; i++)
        if (uidset_has(uids, fake.messages[i].uid))
            fake.messages[i].expunged = true;
    return 0;
}

int mailbox_copy(struct mailbox *from, const struct uidset *uids, struct mailbox *to, bool move, struct uidset *sources_out,
                 struct uidset *targets_out, struct fault *fault)
{
    CHECK(from == INBOX && to == TRASH && move);
    if (is_busy(fault))
        return -1;
    for (size_t i = 0; i < fake.count; i++)
        if (uidset_has(uids, fake.messages[i].uid)) {
            fake.messages[i].trashed = true;
            uidset_add(sources_out, fake.messages[i].uid);
            uidset_add(targets_out, fake.messages[i].uid);
        }
    return 0;
}

int mailbox_open_message(struct mailbox *mailbox, uint32_t uid, int *fd_out, uint64_t *stored_size_out, struct fault *fault)
{
    CHECK(mailbox == INBOX);
    if (fake.busy_reads > 0) {
        fake.busy_reads--;
        return fault_set(fault, FAULT_BUSY, 0, "lock held");
    }
    for (size_t i = 0; i < fake.count; i++) {
        const struct fake_message *m = &fake.messages[i];
        if (m->uid != uid || !is_there(m))
            continue;
        if (m->gone)
            break;
        if (m->unreadable)
            return fault_set(fault, FAULT_IO, 0, "disk");
        *fd_out = memfd_create("message", MFD_CLOEXEC);
        CHECK(*fd_out > 0);
        CHECK(write(*fd_out, m->text, m->len - m->shrunk) == (ssize_t)(m->len - m->shrunk));
        CHECK(lseek(*fd_out, 0, SEEK_SET) == 0);
        *stored_size_out = m->len;
        return 0;
    }
    return fault_set(fault, FAULT_GONE, 0, "expunged");
}

bool mailbox_cache_get(struct mailbox *mailbox, uint32_t uid, enum cache_kind kind, struct buf *out)
{
    (void)mailbox;
    (void)uid;
    (void)kind;
    (void)out;
    return false;
}

void mailbox_cache_put(struct mailbox *mailbox, uint32_t uid, enum cache_kind kind, struct slice value)
{
    (void)mailbox;
    (void)uid;
    (void)kind;
    CHECK(value.len == 1);
}

int pop3view_load(struct mailbox *mailbox, unsigned view, struct uidset *uids_out, struct fault *fault)
{
    CHECK(mailbox == INBOX && view >= 1 && view <= 31);
    if (is_busy(fault))
        return -1;
    for (size_t i = 0; i < fake.views[view].count; i++)
        uidset_add_range(uids_out, fake.views[view].ranges[i].first, fake.views[view].ranges[i].last);
    return 0;
}

int pop3view_add(struct mailbox *mailbox, unsigned view, const struct uidset *uids, struct fault *fault)
{
    CHECK(mailbox == INBOX && view >= 1 && view <= 31);
    if (is_busy(fault))
        return -1;
    for (size_t i = 0; i < uids->count; i++)
        uidset_add_range(&fake.views[view], uids->ranges[i].first, uids->ranges[i].last);
    return 0;
}
