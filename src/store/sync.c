/* Bringing a mailbox up to date with its folder: is anything new, then under the uidlist lock uidlist, keywords and directories. Called by
 * sessions through mailbox_sync and at the start of every change. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "filename.h"
#include "plain_file.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "state.h"

/* --- is there anything to do --- */

static bool list_changed(struct mailbox *mailbox, const struct uidlist *list)
{
    struct stat st;
    bool there = fstatat(mailbox->place.control, NAME_UIDLIST, &st, AT_SYMLINK_NOFOLLOW) == 0;
    return there ? !file_state_is(&list->state, &st) : true;
}

static bool same_state(const struct file_state *a, const struct file_state *b)
{
    return a->inode == b->inode && a->size == b->size && a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

static bool folder_is_gone(struct mailbox *mailbox)
{
    struct stat st;
    if (fstatat(mailbox->place.folder, "cur", &st, AT_SYMLINK_NOFOLLOW) == 0 || (errno != ENOENT && errno != ESTALE))
        return false;
    mailbox_set_gone(mailbox);
    return true;
}

/* After a fault that may come from the folder's removal. */
static int folder_fault(struct mailbox *mailbox, struct fault *fault)
{
    return folder_is_gone(mailbox) ? fault_set(fault, FAULT_GONE, 0, "folder was removed") : -1;
}

int sync_is_needed(struct mailbox *mailbox, bool *needed_out, struct fault *fault)
{
    struct file_state cur, new, known_cur, known_new;
    if (directory_states(mailbox, &cur, &new, fault) != 0)
        return folder_fault(mailbox, fault);
    pthread_mutex_lock(&mailbox->mutex);
    known_cur = mailbox->cur;
    known_new = mailbox->new;
    struct uidlist list = mailbox->list;
    bool needed = !mailbox->loaded || mailbox->unlinks.count > 0 || (mailbox->rescan_ms != 0 && clock_monotonic_ms() >= mailbox->rescan_ms);
    struct file_state keywords = mailbox->keywords.state;
    pthread_mutex_unlock(&mailbox->mutex);
    struct stat st;
    bool keywords_there = fstatat(mailbox->place.control, NAME_KEYWORDS, &st, AT_SYMLINK_NOFOLLOW) == 0;
    needed |= keywords_there ? !file_state_is(&keywords, &st) : keywords.inode != 0;
    *needed_out = needed || !same_state(&cur, &known_cur) || !same_state(&new, &known_new) || list_changed(mailbox, &list);
    return 0;
}

/* --- messages that go --- */

static bool any_view(struct mailbox *mailbox)
{
    return !list_is_empty(&mailbox->views);
}

void sync_doom(struct mailbox *mailbox, struct record *record)
{
    pthread_mutex_lock(&mailbox->mutex);
    record->marks |= RECORD_DOOMED;
    mailbox->loads++;
    if (any_view(mailbox)) {
        if (mailbox->ghost_count == mailbox->ghost_size) {
            mailbox->ghost_size = mailbox->ghost_size * 2 + 16;
            mailbox->ghosts = mem_resize(mailbox->ghosts, mailbox->ghost_size * sizeof(*mailbox->ghosts));
        }
        mailbox->ghosts[mailbox->ghost_count++].message = (struct message){
            .uid = record->uid, .flags = record->flags, .keywords = record->keywords, .size = record->size,
            .internal_date = (time_t)record->date };
    }
    pthread_mutex_unlock(&mailbox->mutex);
    mailbox->unsaved++;
}

void sync_forget_doomed(struct mailbox *mailbox, bool keep_lines)
{
    for (uint32_t i = 0; keep_lines && i < mailbox->live.count; i++) {
        struct record *record = &mailbox->live.records[i];
        if (record->marks & RECORD_DOOMED)
            table_append(&mailbox->orphans, record->uid, filename_base(table_name(&mailbox->live, record)))->marks = RECORD_ABSENT;
    }
    table_sort(&mailbox->orphans);
    pthread_mutex_lock(&mailbox->mutex);
    table_drop_doomed(&mailbox->live);
    table_sort(&mailbox->live);
    pthread_mutex_unlock(&mailbox->mutex);
}

/* --- the uidlist --- */

static void parsed_line(void *context, uint32_t uid, struct slice base, uint64_t size)
{
    struct record *record = table_append(context, uid, base);
    if (record->size == 0)
        record->size = size;
}

/* The list is another file: messages that stand in it as we know them stay, all others are no longer what we knew. */
static void reconcile(struct mailbox *mailbox, struct table *parsed)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < mailbox->live.count; i++) {
        struct record *record = &mailbox->live.records[i];
        while (at < parsed->count && parsed->records[at].uid < record->uid)
            at++;
        struct slice base = filename_base(table_name(&mailbox->live, record));
        if (at < parsed->count && parsed->records[at].uid == record->uid &&
            slice_is_equal(base, table_name(parsed, &parsed->records[at])))
            parsed->records[at].marks |= RECORD_DOOMED;
        else
            sync_doom(mailbox, record);
    }
    sync_forget_doomed(mailbox, false);
    table_drop_doomed(parsed);
    table_fini(&mailbox->orphans);
    mailbox->orphans = *parsed;
    *parsed = (struct table){ 0 };
}

static void extend_orphans(struct mailbox *mailbox, const struct table *parsed)
{
    for (uint32_t i = 0; i < parsed->count; i++) {
        struct record *orphan = table_append(&mailbox->orphans, parsed->records[i].uid, table_name(parsed, &parsed->records[i]));
        orphan->size = parsed->records[i].size;
    }
}

static bool keep_known(void *context, uint32_t uid, struct slice base)
{
    const struct mailbox *mailbox = context;
    const struct table *tables[] = { &mailbox->live, &mailbox->orphans };
    for (size_t i = 0; i < 2; i++) {
        const struct record *record = table_find(tables[i], uid);
        if (record == NULL || (record->marks & RECORD_DOOMED))
            continue;
        /* Lines of files that certainly are not there any more go. */
        if (slice_is_equal(filename_base(table_name(tables[i], record)), base))
            return (record->marks & (RECORD_ABSENT | RECORD_SEEN)) != RECORD_ABSENT;
    }
    return false;
}

static int list_rewrite(struct mailbox *mailbox, struct slice more, struct fault *fault)
{
    struct uidlist list = mailbox->list;
    if (lock_check(&mailbox->lock, fault) != 0 ||
        uidlist_rewrite(&list, mailbox->place.control, mailbox->place.folder, keep_known, mailbox, more, fault) != 0)
        return -1;
    for (uint32_t i = 0; i < mailbox->orphans.count; i++)
        if ((mailbox->orphans.records[i].marks & (RECORD_ABSENT | RECORD_SEEN)) == RECORD_ABSENT)
            mailbox->orphans.records[i].marks |= RECORD_DOOMED;
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->list = list;
    pthread_mutex_unlock(&mailbox->mutex);
    return 0;
}

int sync_record(struct mailbox *mailbox, struct slice lines, struct fault *fault)
{
    struct uidlist list = mailbox->list;
    if (list.broken || list.stale || list.state.size != list.read_to)
        return list_rewrite(mailbox, lines, fault);
    if (lock_check(&mailbox->lock, fault) != 0 || uidlist_append(&list, mailbox->place.control, lines, fault) != 0)
        return -1;
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->list = list;
    pthread_mutex_unlock(&mailbox->mutex);
    return 0;
}

/* What Dovecot's index says of a folder that has no uidlist: UIDs above anything in it, and the same UIDVALIDITY. The log may be ahead of the
 * index: no UID takes fewer than eight bytes of it. */
static void ask_dovecot_index(struct mailbox *mailbox, struct uidlist *list)
{
    struct { uint8_t major, minor; uint16_t base_size; uint32_t sizes[2]; uint8_t compat[4]; uint32_t id, flags, validity, next; } header;
    struct stat st;
    int fd = plain_file_open(mailbox->place.folder, "dovecot.index", &st, NULL);
    if (fd < 0)
        return;
    bool good = pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) && header.major == 7;
    close(fd);
    if (!good || header.validity == 0 || header.next == 0 || header.next > UINT32_MAX / 2)
        return;
    if (list->uid_validity == 0)
        list->uid_validity = header.validity;
    uint64_t next = header.next;
    static const char *const logs[] = { "dovecot.index.log", "dovecot.index.log.2" };
    for (size_t i = 0; i < 2; i++)
        if (fstatat(mailbox->place.folder, logs[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
            next += (uint64_t)st.st_size / 8;
    if (next > list->next_uid && next < UINT32_MAX / 2)
        list->next_uid = (uint32_t)next;
}

static int list_create(struct mailbox *mailbox, struct fault *fault)
{
    struct uidlist list = mailbox->list;
    ask_dovecot_index(mailbox, &list);
    if (list.uid_validity == 0 && uidvalidity_next(mailbox->place.validity, &list.uid_validity, fault) != 0)
        return -1;
    if (list.state.inode != 0)
        log_warning("store", NAME_UIDLIST " has no UIDVALIDITY that can be read; the folder gets %u", list.uid_validity);
    if (uidlist_rewrite(&list, mailbox->place.control, mailbox->place.folder, NULL, NULL, SLICE_NONE, fault) != 0)
        return -1;
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->list = list;
    pthread_mutex_unlock(&mailbox->mutex);
    return 0;
}

/* The list was removed while we know what it said: it is written again from memory. */
static int list_restore(struct mailbox *mailbox, const struct uidlist *known, struct fault *fault)
{
    struct buf lines = { 0 };
    struct uidlist list = { .uid_validity = known->uid_validity, .next_uid = known->next_uid };
    ask_dovecot_index(mailbox, &list);
    for (uint32_t i = 0; i < mailbox->live.count; i++)
        uidlist_line(&lines, mailbox->live.records[i].uid, filename_base(table_name(&mailbox->live, &mailbox->live.records[i])));
    log_warning("store", NAME_UIDLIST " was removed; it is written again with %u messages", mailbox->live.count);
    int result = uidlist_rewrite(&list, mailbox->place.control, mailbox->place.folder, NULL, NULL, buf_slice(&lines), fault);
    buf_fini(&lines);
    if (result != 0)
        return -1;
    table_fini(&mailbox->orphans);
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->list = list;
    pthread_mutex_unlock(&mailbox->mutex);
    return 0;
}

static int list_take(struct mailbox *mailbox, bool *changed_out, struct fault *fault)
{
    struct table parsed = { 0 };
    struct uidlist list = mailbox->list, known = mailbox->list;
    bool replaced;
    if (uidlist_read(&list, mailbox->place.control, &replaced, parsed_line, &parsed, fault) != 0) {
        table_fini(&parsed);
        return -1;
    }
    if (known.uid_validity != 0 && list.state.inode == 0)
        return folder_is_gone(mailbox) ? fault_set(fault, FAULT_GONE, 0, "folder was removed") : list_restore(mailbox, &known, fault);
    if (!mailbox->loaded && list.uid_validity != known.uid_validity)
        known = (struct uidlist){ 0 };
    if (known.uid_validity != 0 && list.uid_validity != 0 && list.uid_validity != known.uid_validity) {
        table_fini(&parsed);
        mailbox_set_gone(mailbox);
        return fault_set(fault, FAULT_GONE, 0, "UIDVALIDITY was %u and is %u", known.uid_validity, list.uid_validity);
    }
    if (list.uid_validity == 0)
        list.uid_validity = known.uid_validity;
    if (list.next_uid < known.next_uid)
        list.next_uid = known.next_uid;
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->list = list;
    pthread_mutex_unlock(&mailbox->mutex);
    *changed_out = replaced || parsed.count > 0 || list.broken || list.stale;
    if (replaced)
        reconcile(mailbox, &parsed);
    else
        extend_orphans(mailbox, &parsed);
    table_fini(&parsed);
    return list.uid_validity == 0 ? list_create(mailbox, fault) : 0;
}

/* --- the whole --- */

/* Sources of a MOVE whose lock was busy when the target was safe. After the scan: others may have renamed them meanwhile. */
static void unlink_moved(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    struct uidset moved = mailbox->unlinks;
    mailbox->unlinks = (struct uidset){ 0 };
    pthread_mutex_unlock(&mailbox->mutex);
    for (uint32_t i = 0; moved.count > 0 && i < mailbox->live.count; i++) {
        struct record *record = &mailbox->live.records[i];
        struct buf path = { 0 };
        if (!uidset_has(&moved, record->uid))
            continue;
        record_path_in(&mailbox->live, record, &path);
        if (unlinkat(mailbox->place.folder, buf_text(&path), 0) == 0)
            sync_doom(mailbox, record);
        buf_fini(&path);
    }
    if (moved.count > 0) {
        sync_forget_doomed(mailbox, true);
        (void)flush_directory(mailbox, "cur", NULL);
    }
    uidset_fini(&moved);
    mailbox_release_unlinks(mailbox);
}

/* Too many lines without a file make reading slow. */
static int compress(struct mailbox *mailbox, struct fault *fault)
{
    if (mailbox->orphans.count < ORPHANS_MIN || mailbox->orphans.count < mailbox->live.count / 3)
        return 0;
    if (list_rewrite(mailbox, SLICE_NONE, fault) != 0)
        return -1;
    table_drop_doomed(&mailbox->orphans);
    return 0;
}

static int sync_parts(struct mailbox *mailbox, bool force, struct fault *fault)
{
    struct file_state cur, new;
    bool list_is_new = false;
    bool first = !mailbox->loaded;
    if (first)
        index_load(mailbox);
    if (list_take(mailbox, &list_is_new, fault) != 0 || keywords_read(mailbox, fault) != 0)
        return -1;
    if (first && mailbox->recent_from == 0)
        mailbox->recent_from = mailbox->list.next_uid;
    if (directory_states(mailbox, &cur, &new, fault) != 0)
        return folder_fault(mailbox, fault);
    bool due = mailbox->unlinks.count > 0 || (mailbox->rescan_ms != 0 && clock_monotonic_ms() >= mailbox->rescan_ms);
    bool cur_too = force || due || list_is_new || !same_state(&cur, &mailbox->cur);
    if (cur_too || !same_state(&new, &mailbox->new))
        if (scan_directories(mailbox, cur_too, fault) != 0)
            return -1;
    unlink_moved(mailbox);
    if (cur_too && compress(mailbox, fault) != 0)
        return -1;
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->loaded = true;
    pthread_mutex_unlock(&mailbox->mutex);
    return 0;
}

int sync_locked(struct mailbox *mailbox, bool force, struct fault *fault)
{
    struct fault own;
    int result = sync_parts(mailbox, force, fault != NULL ? fault : &own);
    pthread_mutex_lock(&mailbox->mutex);
    if (result != 0)
        mailbox->list.read_to = 0;
    pthread_mutex_unlock(&mailbox->mutex);
    return result;
}

int sync_begin(struct mailbox *mailbox, struct fault *fault)
{
    bool needed = true;
    if (mailbox_lock(mailbox, fault) != 0)
        return -1;
    if (sync_is_needed(mailbox, &needed, fault) == 0 && (!needed || sync_locked(mailbox, false, fault) == 0))
        return 0;
    mailbox_unlock(mailbox);
    if (mailbox_is_gone(mailbox))
        views_notify(mailbox);
    return -1;
}

void sync_end(struct mailbox *mailbox)
{
    index_save_if_due(mailbox);
    mailbox_unlock(mailbox);
    views_notify(mailbox);
}

static uint64_t news_of(struct mailbox *mailbox)
{
    return mailbox->change + mailbox->live.count + mailbox->ghosts_gone + mailbox->ghost_count + mailbox->keywords.version;
}

int mailbox_sync(struct mailbox *mailbox, struct fault *fault)
{
    bool needed = true;
    struct fault own;
    fault = fault != NULL ? fault : &own;
    atomic_store(&mailbox->dirty, false);
    if (mailbox_is_gone(mailbox))
        return fault_set(fault, FAULT_GONE, 0, "folder was removed or renumbered");
    bool watched = watch_is_whole(mailbox);
    if (sync_is_needed(mailbox, &needed, fault) != 0)
        return -1;
    if (!needed) {
        if (watched)
            watch_prove(mailbox);
        return 0;
    }
    if (mailbox_lock(mailbox, fault) != 0) {
        atomic_store(&mailbox->dirty, true);
        return -1;
    }
    pthread_mutex_lock(&mailbox->mutex);
    uint64_t before = news_of(mailbox);
    pthread_mutex_unlock(&mailbox->mutex);
    int result = sync_locked(mailbox, false, fault);
    pthread_mutex_lock(&mailbox->mutex);
    bool news = news_of(mailbox) != before || mailbox->gone;
    pthread_mutex_unlock(&mailbox->mutex);
    if (result == 0)
        index_save_if_due(mailbox);
    mailbox_unlock(mailbox);
    if (result == 0 && watched)
        watch_prove(mailbox);
    if (news)
        views_notify(mailbox);
    return result;
}
