/* Changing flags and expunging, under the uidlist lock. Called in steps of sessions. A file that others renamed meanwhile is looked for once
 * more; no file is ever renamed over another. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "filename.h"
#include "plain_file.h"
#include "postern/base/clock.h"
#include "state.h"

enum { ATTEMPTS = 3, FILE_NAME_MAX = 255, BATCH_US = 50000 };

int flush_directory(struct mailbox *mailbox, const char *name, struct fault *fault)
{
    int fd = openat(mailbox->place.folder, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", name);
    int result = fsync(fd) == 0 ? 0 : fault_set_errno(fault, errno, "%s: flush", name);
    close(fd);
    return result;
}

void publish_message(struct mailbox *mailbox, uint32_t uid, struct slice name, time_t date)
{
    pthread_mutex_lock(&mailbox->mutex);
    table_append(&mailbox->live, uid, name)->date = date;
    pthread_mutex_unlock(&mailbox->mutex);
    mailbox->unsaved++;
}

/* A part of a long change: the lock is held for one part, so that others come to work in between (maildir.md, rule 1). */
struct batch {
    uint32_t after;      /* everything up to this UID is done */
    uint32_t reached;    /* in this part */
    uint64_t end_us;
    bool more;           /* there may be something behind `reached` */
};

/* Calls back for each live message of the set (NULL: all). The callback returns 1 for a file that is not where it should be, -1 for a fault. */
typedef int message_fn(struct mailbox *mailbox, struct record *record, void *context, struct fault *fault);

static int for_range(struct mailbox *mailbox, struct uid_range range, struct batch *batch, message_fn *visit, void *context,
                     struct fault *fault)
{
    int missing = 0;
    uint32_t first = range.first > batch->after ? range.first : batch->after + 1;
    for (uint32_t at = table_below(&mailbox->live, first); at < mailbox->live.count && !batch->more; at++) {
        struct record *record = &mailbox->live.records[at];
        if (record->uid > range.last)
            break;
        int result = visit(mailbox, record, context, fault);
        if (result < 0 || mailbox_lock_touch(mailbox, fault) != 0)
            return -1;
        missing |= result;
        batch->reached = record->uid;
        batch->more = clock_monotonic_us() >= batch->end_us;
    }
    return missing;
}

static int for_each(struct mailbox *mailbox, const struct uidset *uids, struct batch *batch, message_fn *visit, void *context,
                    struct fault *fault)
{
    int missing = 0;
    batch->more = false;
    batch->reached = batch->after;
    batch->end_us = clock_monotonic_us() + BATCH_US;
    if (uids == NULL)
        return for_range(mailbox, (struct uid_range){ 1, UINT32_MAX }, batch, visit, context, fault);
    for (size_t i = 0; i < uids->count && missing >= 0 && !batch->more; i++) {
        if (uids->ranges[i].last <= batch->after)
            continue;
        int result = for_range(mailbox, uids->ranges[i], batch, visit, context, fault);
        missing = result < 0 ? -1 : missing | result;
    }
    return missing;
}

/* --- flags --- */

struct flags_wanted {
    enum flag_change change;
    uint8_t flags;
    uint32_t keywords;
};

static uint32_t changed_bits(enum flag_change change, uint32_t old, uint32_t bits)
{
    return change == FLAGS_ADD ? old | bits : change == FLAGS_REMOVE ? old & ~bits : bits;
}

static int rename_record(struct mailbox *mailbox, struct record *record, uint8_t flags, uint32_t keywords, struct fault *fault)
{
    struct buf from = { 0 }, to = { 0 };
    record_path_in(&mailbox->live, record, &from);
    buf_append_text(&to, "cur/");
    filename_make(table_name(&mailbox->live, record), flags, keywords, &to);
    const char *target = buf_text(&to);
    struct slice name = slice_from(buf_slice(&to), 4);
    int result = 0;
    if (name.len > FILE_NAME_MAX) {
        result = fault_set(fault, FAULT_LIMIT, 0, "file name too long for its flags");
    } else if (!slice_is_equal(buf_slice(&from), buf_slice(&to)) &&
               rename_keeping(mailbox->place.folder, buf_text(&from), target) != 0) {
        result = errno == ENOENT || errno == EEXIST ? 1 : fault_set_errno(fault, errno, "rename");
    } else {
        pthread_mutex_lock(&mailbox->mutex);
        table_rename(&mailbox->live, record, name);
        record->flags = flags;
        record->keywords = keywords;
        record->marks &= (uint8_t)~RECORD_IN_NEW;
        record->changed = mailbox->flags_changed = ++mailbox->change;
        pthread_mutex_unlock(&mailbox->mutex);
        mailbox->unsaved++;
    }
    buf_fini(&from);
    buf_fini(&to);
    return result;
}

static int update_record(struct mailbox *mailbox, struct record *record, void *context, struct fault *fault)
{
    const struct flags_wanted *wanted = context;
    uint8_t flags = (uint8_t)changed_bits(wanted->change, record->flags, wanted->flags);
    uint32_t keywords = changed_bits(wanted->change, record->keywords, wanted->keywords);
    if (flags == record->flags && keywords == record->keywords)
        return 0;
    return rename_record(mailbox, record, flags, keywords, fault);
}

/* Runs one part of the changes; a rescan and another pass while files were not where they should be. */
static int run_passes(struct mailbox *mailbox, const struct uidset *uids, struct batch *batch, message_fn *visit, void *context,
                      struct fault *fault)
{
    int result = 1;
    for (int attempt = 0; result == 1 && attempt < ATTEMPTS; attempt++) {
        struct own_change own;
        if ((attempt > 0 && sync_locked(mailbox, true, fault) != 0) || own_change_begin(mailbox, &own, fault) != 0)
            return -1;
        result = for_each(mailbox, uids, batch, visit, context, fault);
        own_change_end(mailbox, &own);
    }
    batch->after = batch->reached;
    return result < 0 ? -1 : 0;
}

static int update_batch(struct mailbox *mailbox, const struct uidset *uids, const struct flag_update *update, struct batch *batch,
                        struct fault *fault)
{
    struct flags_wanted wanted = { .change = update->change, .flags = update->flags & MESSAGE_STORED_FLAGS };
    if (sync_begin(mailbox, fault) != 0)
        return -1;
    int result = keywords_bits(mailbox, update->keywords, update->keyword_count, update->change != FLAGS_REMOVE, &wanted.keywords, fault);
    if (result == 0)
        result = run_passes(mailbox, uids, batch, update_record, &wanted, fault);
    pthread_mutex_lock(&mailbox->mutex);
    table_sort(&mailbox->live);
    pthread_mutex_unlock(&mailbox->mutex);
    sync_end(mailbox);
    return result;
}

int mailbox_update_flags(struct mailbox *mailbox, const struct uidset *uids, const struct flag_update *update, struct fault *fault)
{
    struct batch batch = { .more = true };
    int result = 0;
    while (result == 0 && batch.more)
        result = update_batch(mailbox, uids, update, &batch, fault);
    return result;
}

/* --- expunge --- */

struct expunge {
    bool forced;
    bool any, any_in_new;
    struct uidset *expunged;
};

static int expunge_record(struct mailbox *mailbox, struct record *record, void *context, struct fault *fault)
{
    struct expunge *expunge = context;
    struct buf path = { 0 };
    if ((record->marks & RECORD_DOOMED) || (!expunge->forced && !(record->flags & MESSAGE_DELETED)))
        return 0;
    record_path_in(&mailbox->live, record, &path);
    int result = unlinkat(mailbox->place.folder, buf_text(&path), 0);
    int error = errno;
    buf_fini(&path);
    if (result != 0)
        return error == ENOENT ? 1 : fault_set_errno(fault, error, "unlink");
    expunge->any = true;
    expunge->any_in_new |= (record->marks & RECORD_IN_NEW) != 0;
    if (expunge->expunged != NULL)
        uidset_add(expunge->expunged, record->uid);
    sync_doom(mailbox, record);
    return 0;
}

/* After the pass: what was unlinked goes, whatever became of the rest. */
static int expunge_pass(struct mailbox *mailbox, const struct uidset *uids, struct batch *batch, struct expunge *expunge,
                        struct fault *fault)
{
    expunge->any = expunge->any_in_new = false;
    int result = run_passes(mailbox, uids, batch, expunge_record, expunge, fault);
    sync_forget_doomed(mailbox, true);
    if (expunge->any && flush_directory(mailbox, "cur", result == 0 ? fault : NULL) != 0)
        result = -1;
    if (expunge->any_in_new && flush_directory(mailbox, "new", result == 0 ? fault : NULL) != 0)
        result = -1;
    return result;
}

int mailbox_expunge(struct mailbox *mailbox, const struct uidset *uids, bool forced, struct uidset *expunged_out, struct fault *fault)
{
    struct expunge expunge = { .forced = forced, .expunged = expunged_out };
    struct batch batch = { .more = true };
    int result = 0;
    while (result == 0 && batch.more) {
        if (sync_begin(mailbox, fault) != 0)
            return -1;
        result = expunge_pass(mailbox, uids, &batch, &expunge, fault);
        sync_end(mailbox);
    }
    return result;
}
