/* Opening message files and learning their size and date. Called in steps. Takes the uidlist lock only when a file is not where it was. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "state.h"
#include "tree.h"

enum { OPEN_ATTEMPTS = 3, READ_BYTES = 64 * 1024, LOAD_BATCH = 256 };

/* The path as last known; false: there is no such message. */
static bool path_of_uid(struct mailbox *mailbox, uint32_t uid, struct buf *out)
{
    buf_clear(out);
    pthread_mutex_lock(&mailbox->mutex);
    const struct record *record = table_find(&mailbox->live, uid);
    if (record != NULL)
        record_path_in(&mailbox->live, record, out);
    pthread_mutex_unlock(&mailbox->mutex);
    return record != NULL;
}

static int rescan(struct mailbox *mailbox, struct fault *fault)
{
    if (sync_begin(mailbox, fault) != 0)
        return -1;
    int result = sync_locked(mailbox, true, fault);
    sync_end(mailbox);
    return result;
}

static int open_known(struct mailbox *mailbox, uint32_t uid, struct fault *fault)
{
    struct buf path = { 0 };
    int fd = -1;
    for (int attempt = 0; fd < 0 && attempt < OPEN_ATTEMPTS; attempt++) {
        if (attempt > 0 && rescan(mailbox, fault) != 0)
            break;
        if (!path_of_uid(mailbox, uid, &path)) {
            fault_set(fault, FAULT_GONE, 0, "message %u was expunged", uid);
            break;
        }
        /* No link, not even in the place of cur/, leads out of the folder. */
        struct fault why;
        fd = tree_open(mailbox->place.folder, buf_text(&path), O_RDONLY | O_NONBLOCK, &why);
        if (fd < 0 && why.error != ENOENT) {
            fault_set(fault, why.class, why.error, "message %u: %s", uid, why.text);
            break;
        }
        if (fd < 0)
            fault_set(fault, FAULT_GONE, ENOENT, "file of message %u is not there", uid);
    }
    buf_fini(&path);
    return fd;
}

int mailbox_open_message(struct mailbox *mailbox, uint32_t uid, int *fd_out, uint64_t *stored_size_out, struct fault *fault)
{
    struct stat st;
    int fd = open_known(mailbox, uid, fault);
    if (fd < 0)
        return -1;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return fault_set(fault, FAULT_CORRUPT, 0, "message %u is not a regular file", uid);
    }
    *fd_out = fd;
    *stored_size_out = (uint64_t)st.st_size;
    return 0;
}

/* --- sizes and dates --- */

/* Not a file, or not ours: one octet and the oldest date, so that the rest of the folder can be read. */
static bool is_no_message(const struct fault *fault)
{
    return fault->class == FAULT_CORRUPT || (fault->class == FAULT_DENIED && fault->error == ELOOP);
}

/* Octets with every line ending in CRLF. */
static int count_octets(int fd, uint64_t *octets_out, struct fault *fault)
{
    char *bytes = mem_alloc(READ_BYTES);
    uint64_t octets = 0;
    bool last_was_cr = false;
    ssize_t got;
    while ((got = read(fd, bytes, READ_BYTES)) > 0 || (got < 0 && errno == EINTR))
        for (ssize_t i = 0; i < got; i++) {
            octets += bytes[i] == '\n' && !last_was_cr ? 2 : 1;
            last_was_cr = bytes[i] == '\r';
        }
    int error = errno;
    mem_release(bytes);
    *octets_out = octets;
    return got < 0 ? fault_set_errno(fault, error, "message: read") : 0;
}

static void take_size(struct mailbox *mailbox, uint32_t uid, uint64_t octets, time_t date)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct record *record = table_find(&mailbox->live, uid);
    if (record != NULL) {
        record->size = octets;
        mailbox->loads++;
        record->date = date;
        mailbox->unsaved++;
    }
    pthread_mutex_unlock(&mailbox->mutex);
}

static int load_message(struct mailbox *mailbox, const struct message *message, struct fault *fault)
{
    int fd;
    struct stat st = { 0 };
    uint64_t stored, octets = message->size;
    struct fault own;
    fault = fault != NULL ? fault : &own;
    if (mailbox_open_message(mailbox, message->uid, &fd, &stored, fault) != 0) {
        if (is_no_message(fault))
            take_size(mailbox, message->uid, octets != 0 ? octets : 1, 1);
        return is_no_message(fault) || (fault->class == FAULT_GONE && !mailbox_is_gone(mailbox)) ? 0 : -1;
    }
    int result = octets == 0 ? count_octets(fd, &octets, fault) : 0;
    if (result == 0 && fstat(fd, &st) != 0)
        result = fault_set_errno(fault, errno, "message");
    close(fd);
    if (result == 0)
        take_size(mailbox, message->uid, octets, st.st_mtime != 0 ? st.st_mtime : 1);
    return result;
}

/* The next messages of the set after `uid` that something is not known of. */
static size_t next_unknown(struct mailbox *mailbox, struct uid_range range, struct message *out)
{
    size_t count = 0;
    pthread_mutex_lock(&mailbox->mutex);
    for (uint32_t at = table_below(&mailbox->live, range.first); at < mailbox->live.count && count < LOAD_BATCH; at++) {
        const struct record *record = &mailbox->live.records[at];
        if (record->uid > range.last)
            break;
        if (record->size == 0 || record->date == 0)
            out[count++] = (struct message){ .uid = record->uid, .size = record->size };
    }
    pthread_mutex_unlock(&mailbox->mutex);
    return count;
}

static int load_range(struct mailbox *mailbox, struct uid_range range, struct message *batch, struct fault *fault)
{
    size_t count;
    while ((count = next_unknown(mailbox, range, batch)) > 0) {
        for (size_t i = 0; i < count; i++)
            if (load_message(mailbox, &batch[i], fault) != 0)
                return -1;
        if (batch[count - 1].uid == range.last)
            break;
        range.first = batch[count - 1].uid + 1;
    }
    return 0;
}

int mailbox_load(struct mailbox *mailbox, const struct uidset *uids, struct fault *fault)
{
    struct message *batch = MEM_NEW_ARRAY(struct message, LOAD_BATCH);
    int result = 0;
    for (size_t i = 0; i < uids->count && result == 0; i++)
        result = load_range(mailbox, uids->ranges[i], batch, fault);
    mem_free(&batch);
    return result;
}
