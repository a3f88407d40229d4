/* Reading new/ and cur/: finds what is new, renamed, doubled or missing (maildir.md, rules 2, 3 and 6). Called by sync under the uidlist
 * lock. A message counts as expunged only after two full scans, the second of directories that stood still. Never loses a file: a doubtful one stays. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "filename.h"
#include "plain_file.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "state.h"

enum { TABLE_LIVE, TABLE_ORPHANS, TABLE_FRESH, NAME_MAX_BYTES = 255, LINKS_OLD_SECONDS = 30, LOOKS_MOST = 5, STILL_NS = 20000000,
       ENTRIES_BYTES = 64 * 1024 };

struct scan {
    struct mailbox *mailbox;
    struct table fresh;         /* files without a line in the uidlist */
    struct name_index index;
};

static const char *directory_of(bool in_new)
{
    return in_new ? "new" : "cur";
}

static void path_of(struct buf *out, bool in_new, struct slice name)
{
    buf_append_text(out, directory_of(in_new));
    buf_append_byte(out, '/');
    buf_append(out, name);
}

void record_path_in(const struct table *table, const struct record *record, struct buf *out)
{
    path_of(out, record->marks & RECORD_IN_NEW, table_name(table, record));
}

/* A link in its place could lead to the mail of others. */
static int directory_state(struct mailbox *mailbox, const char *name, struct file_state *state, struct fault *fault)
{
    struct stat st;
    if (fstatat(mailbox->place.folder, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
        return fault_set_errno(fault, errno, "%s", name);
    if (!S_ISDIR(st.st_mode))
        return fault_set(fault, FAULT_CORRUPT, 0, "%s: not a directory", name);
    file_state_set(state, &st);
    return 0;
}

int directory_states(struct mailbox *mailbox, struct file_state *cur, struct file_state *new, struct fault *fault)
{
    return directory_state(mailbox, "new", new, fault) == 0 ? directory_state(mailbox, "cur", cur, fault) : -1;
}

static bool state_is_equal(const struct file_state *a, const struct file_state *b)
{
    return a->inode == b->inode && a->device == b->device && a->size == b->size && a->seconds == b->seconds &&
           a->nanoseconds == b->nanoseconds;
}

/* --- one entry --- */

static bool file_stat(struct mailbox *mailbox, bool in_new, struct slice name, struct stat *st)
{
    struct buf path = { 0 };
    path_of(&path, in_new, name);
    bool there = fstatat(mailbox->place.folder, buf_text(&path), st, AT_SYMLINK_NOFOLLOW) == 0;
    buf_fini(&path);
    return there;
}

/* The record's file has this name now: flags of others come in here. */
static void take_name(struct mailbox *mailbox, struct table *table, struct record *record, bool in_new, struct slice name)
{
    uint8_t flags;
    uint32_t keywords;
    filename_parse(name, &flags, &keywords);
    bool is_live = table == &mailbox->live;
    if (is_live)
        pthread_mutex_lock(&mailbox->mutex);
    if (is_live && (flags != record->flags || keywords != record->keywords))
        record->changed = mailbox->flags_changed = ++mailbox->change;
    table_rename(table, record, name);
    record->flags = flags;
    record->keywords = keywords;
    record->marks = (uint8_t)((record->marks & ~RECORD_IN_NEW) | (in_new ? RECORD_IN_NEW : 0));
    if (is_live)
        pthread_mutex_unlock(&mailbox->mutex);
    mailbox->unsaved++;
}

/* Two names of one file may be one name that somebody changes at this moment: only links that have not changed for a while are two. */
static bool are_old_links(const struct stat *first, const struct stat *second)
{
    return first->st_nlink > 1 && second->st_nlink == first->st_nlink && first->st_ctim.tv_sec == second->st_ctim.tv_sec &&
           first->st_ctim.tv_nsec == second->st_ctim.tv_nsec && first->st_ctim.tv_sec < clock_wall().tv_sec - LINKS_OLD_SECONDS;
}

/* A second file of the same base name that really is another file gets a base name, and so a UID, of its own. */
static void separate(struct scan *scan, bool in_new, struct slice name, const struct stat *first, const struct stat *second)
{
    struct buf from = { 0 }, to = { 0 };
    path_of(&from, in_new, name);
    int folder = scan->mailbox->place.folder;
    if (first->st_ino == second->st_ino && first->st_dev == second->st_dev) {
        if (are_old_links(first, second))
            unlinkat(folder, buf_text(&from), 0);
    } else {
        buf_append_text(&to, in_new ? "new/" : "cur/");
        filename_unique(&to);
        buf_append(&to, slice_from(name, filename_base(name).len));
        if (renameat(folder, buf_text(&from), folder, buf_text(&to)) == 0) {
            struct record *record = table_append(&scan->fresh, 0, slice_from(buf_slice(&to), 4));
            record->marks = (uint8_t)(RECORD_SEEN | (in_new ? RECORD_IN_NEW : 0));
            name_index_add(&scan->index, TABLE_FRESH, scan->fresh.count - 1);
            log_warning("store", "two messages had one file name; the second was renamed");
        }
    }
    buf_fini(&from);
    buf_fini(&to);
}

/* A known base name. Seen for the second time under another name it was renamed in between, or there are two files. */
static void see_known(struct scan *scan, struct table *table, struct record *record, bool in_new, struct slice name)
{
    struct mailbox *mailbox = scan->mailbox;
    struct slice known = table_name(table, record);
    bool known_in_new = record->marks & RECORD_IN_NEW;
    if (!(record->marks & RECORD_SEEN)) {
        record->marks |= RECORD_SEEN;
        if (known_in_new != in_new || !slice_is_equal(known, name))
            take_name(mailbox, table, record, in_new, name);
        return;
    }
    struct stat first, second;
    if ((known_in_new == in_new && slice_is_equal(known, name)) || !file_stat(mailbox, in_new, name, &second))
        return;
    if (file_stat(mailbox, known_in_new, known, &first))
        separate(scan, in_new, name, &first, &second);
    else
        take_name(mailbox, table, record, in_new, name);
}

static void see(struct scan *scan, bool in_new, struct slice name, struct slice base)
{
    struct name_hit hit = name_index_find(&scan->index, base);
    if (hit.table >= 0) {
        struct table *table = scan->index.tables[hit.table];
        see_known(scan, table, &table->records[hit.number], in_new, name);
        return;
    }
    struct record *record = table_append(&scan->fresh, 0, name);
    record->marks = (uint8_t)(RECORD_SEEN | (in_new ? RECORD_IN_NEW : 0));
    name_index_add(&scan->index, TABLE_FRESH, scan->fresh.count - 1);
}

struct names {
    size_t count;
    struct slice names[PREFETCH_MOST], bases[PREFETCH_MOST];
};

static void see_all(struct scan *scan, bool in_new, struct names *names)
{
    /* Only now: an empty new/ needs no look-up of anything. */
    if (scan->index.slots == NULL && names->count > 0)
        name_index_init(&scan->index, &scan->mailbox->live, &scan->mailbox->orphans, &scan->fresh);
    name_index_prefetch(&scan->index, names->bases, names->count);
    for (size_t i = 0; i < names->count; i++)
        see(scan, in_new, names->names[i], names->bases[i]);
    names->count = 0;
}

/* Links stay messages, as with Dovecot, though none is followed: their lines must not go. */
static bool may_be_message(unsigned char type)
{
    return type == DT_REG || type == DT_LNK || type == DT_UNKNOWN;
}

static void see_entries(struct scan *scan, bool in_new, const char *entries, size_t len)
{
    struct names names = { .count = 0 };
    for (size_t at = 0; at < len;) {
        const struct dirent64 *entry = (const struct dirent64 *)(entries + at);
        struct slice name = slice_from_string(entry->d_name), base = filename_base(name);
        at += entry->d_reclen;
        if (!filename_is_usable(name) || base.len == 0 || !may_be_message(entry->d_type))
            continue;
        names.names[names.count] = name;
        names.bases[names.count++] = base;
        if (names.count == PREFETCH_MOST)
            see_all(scan, in_new, &names);
    }
    see_all(scan, in_new, &names);
}

static int scan_directory(struct scan *scan, bool in_new, struct fault *fault)
{
    _Alignas(struct dirent64) char entries[ENTRIES_BYTES];
    int fd = openat(scan->mailbox->place.folder, directory_of(in_new), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", directory_of(in_new));
    ssize_t got;
    while ((got = getdents64(fd, entries, sizeof(entries))) > 0)
        see_entries(scan, in_new, entries, (size_t)got);
    int error = errno;
    close(fd);
    return got < 0 ? fault_set_errno(fault, error, "%s", directory_of(in_new)) : 0;
}

/* --- new files --- */

/* Moves a file of new/ to cur/. False: it has gone meanwhile. */
static bool move_to_cur(struct mailbox *mailbox, struct table *table, struct record *record)
{
    struct buf from = { 0 }, to = { 0 };
    struct slice name = table_name(table, record);
    path_of(&from, true, name);
    path_of(&to, false, name);
    if (filename_base(name).len == name.len && name.len + 3 <= NAME_MAX_BYTES)
        buf_append_text(&to, ":2,");
    int folder = mailbox->place.folder;
    int result = rename_keeping(folder, buf_text(&from), buf_text(&to));
    bool gone = result != 0 && errno == ENOENT;
    if (result == 0)
        take_name(mailbox, table, record, false, slice_from(buf_slice(&to), 4));
    buf_fini(&from);
    buf_fini(&to);
    return !gone;
}

static void move_new_files(struct mailbox *mailbox, struct table *table)
{
    for (uint32_t i = 0; i < table->count; i++) {
        struct record *record = &table->records[i];
        if ((record->marks & (RECORD_SEEN | RECORD_IN_NEW)) == (RECORD_SEEN | RECORD_IN_NEW) && !move_to_cur(mailbox, table, record))
            record->marks &= (uint8_t)~RECORD_SEEN;
    }
}

static int compare_arrival(const void *a, const void *b, void *table)
{
    return filename_compare(table_name(table, a), table_name(table, b));
}

/* Files whose line says a UID that sessions could not be told any more (one above it was) get a new one. */
static bool demote_orphans(struct scan *scan)
{
    struct table *orphans = &scan->mailbox->orphans;
    bool any = false;
    for (uint32_t i = 0; i < orphans->count; i++) {
        struct record *record = &orphans->records[i];
        if (!(record->marks & RECORD_SEEN) || record->uid > scan->mailbox->told)
            continue;
        struct record *again = table_append(&scan->fresh, 0, table_name(orphans, record));
        again->marks = (uint8_t)(record->marks & ~RECORD_DOOMED);
        record->marks |= RECORD_DOOMED;
        any = true;
    }
    return any;
}

/* Gives UIDs and writes their lines. The messages become visible only afterwards (rule 6). */
static int record_fresh(struct scan *scan, struct fault *fault)
{
    struct mailbox *mailbox = scan->mailbox;
    struct buf lines = { 0 };
    uint32_t next = mailbox->list.next_uid;
    if (scan->fresh.count > 1)
        qsort_r(scan->fresh.records, scan->fresh.count, sizeof(struct record), compare_arrival, &scan->fresh);
    for (uint32_t i = 0; i < scan->fresh.count; i++) {
        struct record *record = &scan->fresh.records[i];
        if (!(record->marks & RECORD_SEEN))
            continue;
        if (next == UINT32_MAX) {
            buf_fini(&lines);
            return fault_set(fault, FAULT_LIMIT, 0, "no UIDs left");
        }
        record->uid = next++;
        uidlist_line(&lines, record->uid, filename_base(table_name(&scan->fresh, record)));
    }
    int result = lines.len > 0 || mailbox->list.broken || mailbox->list.stale ? sync_record(mailbox, buf_slice(&lines), fault) : 0;
    buf_fini(&lines);
    return result;
}

static void adopt(struct mailbox *mailbox, struct table *from)
{
    for (uint32_t i = 0; i < from->count; i++) {
        struct record *record = &from->records[i];
        if (!(record->marks & RECORD_SEEN) || (record->marks & RECORD_DOOMED))
            continue;
        struct record *live = table_append(&mailbox->live, record->uid, table_name(from, record));
        live->marks = record->marks & RECORD_IN_NEW;
        if (live->size == 0)
            live->size = record->size;
        record->marks |= RECORD_DOOMED;
        mailbox->unsaved++;
        mailbox->loads++;
    }
}

/* The first scan: the lines become the messages as they stand, but for those without a file. */
static void adopt_all(struct mailbox *mailbox)
{
    struct table *lines = &mailbox->orphans, rest = { 0 };
    for (uint32_t i = 0; i < lines->count; i++) {
        struct record *record = &lines->records[i];
        if (record->marks & RECORD_DOOMED)
            continue;
        if (record->marks & RECORD_SEEN) {
            record->marks &= RECORD_IN_NEW;
            mailbox->unsaved++;
            continue;
        }
        struct record *kept = table_append(&rest, record->uid, table_name(lines, record));
        kept->size = record->size;
        kept->marks = record->marks;
        record->marks |= RECORD_DOOMED;
    }
    table_fini(&mailbox->live);
    mailbox->live = *lines;
    mailbox->loads++;
    *lines = rest;
    table_drop_doomed(&mailbox->live);
}

static void publish(struct scan *scan)
{
    struct mailbox *mailbox = scan->mailbox;
    pthread_mutex_lock(&mailbox->mutex);
    if (mailbox->live.count == 0)
        adopt_all(mailbox);
    else
        adopt(mailbox, &mailbox->orphans);
    adopt(mailbox, &scan->fresh);
    table_sort(&mailbox->live);
    pthread_mutex_unlock(&mailbox->mutex);
    table_drop_doomed(&mailbox->orphans);
    table_sort(&mailbox->orphans);
}

/* --- the scans --- */

static uint32_t count_unseen(const struct mailbox *mailbox, bool cur_too)
{
    uint32_t unseen = 0;
    for (uint32_t i = 0; i < mailbox->live.count; i++)
        unseen += !(mailbox->live.records[i].marks & RECORD_SEEN) && (cur_too || mailbox->live.records[i].marks & RECORD_IN_NEW);
    for (uint32_t i = 0; i < mailbox->orphans.count && cur_too; i++)
        unseen += !(mailbox->orphans.records[i].marks & (RECORD_SEEN | RECORD_ABSENT));
    return unseen;
}

static void clear_seen(struct table *table)
{
    for (uint32_t i = 0; i < table->count; i++)
        table->records[i].marks &= (uint8_t)~RECORD_SEEN;
}

static bool stood_still(const struct file_state *before, const struct file_state *after)
{
    struct timespec now = clock_wall();
    return state_is_equal(before, after) &&
           (now.tv_sec > after->seconds + 1 || (now.tv_sec == after->seconds + 1 && now.tv_nsec > after->nanoseconds));
}

static int scan_both(struct scan *scan, bool cur_too, struct fault *fault)
{
    if (scan_directory(scan, true, fault) != 0)
        return -1;
    return cur_too ? scan_directory(scan, false, fault) : 0;
}

static bool any_line_without_file(const struct mailbox *mailbox)
{
    for (uint32_t i = 0; i < mailbox->orphans.count; i++)
        if (!(mailbox->orphans.records[i].marks & (RECORD_SEEN | RECORD_ABSENT)))
            return true;
    return false;
}

/* Nothing was renamed while it was read, as far as the clock of the directory tells. */
static bool was_quiet(const struct file_state *before, const struct file_state *after)
{
    struct timespec now = clock_wall();
    return state_is_equal(before, after) &&
           (now.tv_sec > after->seconds + 1 || (now.tv_sec - after->seconds) * 1000000000 + now.tv_nsec - after->nanoseconds > STILL_NS);
}

/* After a scan that missed messages: the second one, and the verdict. A line of another program whose file is missed while files are being
 * renamed is looked for more often: as soon as a higher UID was told of, it could not be shown any more but under a new one. */
static int look_again(struct scan *scan, bool *doubt_out, struct fault *fault)
{
    struct mailbox *mailbox = scan->mailbox;
    struct file_state cur, new, cur_after, new_after;
    uint32_t missing;
    bool quiet = false;
    for (int look = 1; look == 1 || (look < LOOKS_MOST && !quiet && any_line_without_file(mailbox)); look++) {
        if (directory_states(mailbox, &cur, &new, fault) != 0 || scan_both(scan, true, fault) != 0 ||
            directory_states(mailbox, &cur_after, &new_after, fault) != 0 || mailbox_lock_touch(mailbox, fault) != 0)
            return -1;
        quiet = was_quiet(&cur, &cur_after) && was_quiet(&new, &new_after);
    }
    missing = count_unseen(mailbox, true);
    *doubt_out = missing > 0 && !(stood_still(&cur, &cur_after) && stood_still(&new, &new_after));
    if (missing == 0 || *doubt_out)
        return 0;
    for (uint32_t i = 0; i < mailbox->live.count; i++)
        if (!(mailbox->live.records[i].marks & RECORD_SEEN))
            sync_doom(mailbox, &mailbox->live.records[i]);
    for (uint32_t i = 0; i < mailbox->orphans.count; i++)
        if (!(mailbox->orphans.records[i].marks & RECORD_SEEN))
            mailbox->orphans.records[i].marks |= RECORD_ABSENT;
    sync_forget_doomed(mailbox, true);
    return 0;
}

/* When to look again although nothing seems to change. A scan that takes long is repeated more rarely. */
static void plan_rescan(struct mailbox *mailbox, const struct file_state *cur, const struct file_state *new, bool full, bool doubt)
{
    int64_t young = clock_wall().tv_sec - 2;
    uint64_t delay = doubt ? DOUBT_MS : RESCAN_MS;
    if (delay < mailbox->scan_us / 20)
        delay = mailbox->scan_us / 20;
    pthread_mutex_lock(&mailbox->mutex);
    if (full || mailbox->rescan_ms == 0)
        mailbox->rescan_ms = doubt || cur->seconds >= young || new->seconds >= young ? clock_monotonic_ms() + delay : 0;
    pthread_mutex_unlock(&mailbox->mutex);
    watch_rescan(mailbox);
}

static int scan_and_take(struct scan *scan, bool cur_too, bool *doubt_out, struct fault *fault)
{
    struct mailbox *mailbox = scan->mailbox;
    if (scan_both(scan, cur_too, fault) != 0)
        return -1;
    if (count_unseen(mailbox, cur_too) > 0 && look_again(scan, doubt_out, fault) != 0)
        return -1;
    struct own_change own;
    if (own_change_begin(mailbox, &own, fault) != 0)
        return -1;
    move_new_files(mailbox, &mailbox->live);
    move_new_files(mailbox, &mailbox->orphans);
    move_new_files(mailbox, &scan->fresh);
    own_change_end(mailbox, &own);
    bool stale = demote_orphans(scan);
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->list.stale |= stale;
    pthread_mutex_unlock(&mailbox->mutex);
    if (record_fresh(scan, fault) != 0)
        return -1;
    publish(scan);
    return 0;
}

int scan_directories(struct mailbox *mailbox, bool cur_too, struct fault *fault)
{
    struct scan scan = { .mailbox = mailbox };
    struct file_state cur, new;
    bool doubt = false;
    uint64_t start = clock_monotonic_us();
    if (directory_states(mailbox, &cur, &new, fault) != 0)
        return -1;
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->new = new;
    if (cur_too)
        mailbox->cur = cur;
    pthread_mutex_unlock(&mailbox->mutex);
    clear_seen(&mailbox->live);
    clear_seen(&mailbox->orphans);
    int result = scan_and_take(&scan, cur_too, &doubt, fault);
    name_index_fini(&scan.index);
    table_fini(&scan.fresh);
    if (cur_too)
        mailbox->scan_us = clock_monotonic_us() - start;
    if (result == 0) {
        plan_rescan(mailbox, &mailbox->cur, &mailbox->new, cur_too, doubt);
    } else {
        pthread_mutex_lock(&mailbox->mutex);
        mailbox->cur = mailbox->new = (struct file_state){ 0 };
        pthread_mutex_unlock(&mailbox->mutex);
    }
    return result;
}

/* --- our own changes --- */

int own_change_begin(struct mailbox *mailbox, struct own_change *own, struct fault *fault)
{
    struct file_state cur, new;
    if (directory_states(mailbox, &cur, &new, fault) != 0)
        return -1;
    own->cur = state_is_equal(&cur, &mailbox->cur);
    return 0;
}

void own_change_end(struct mailbox *mailbox, const struct own_change *own)
{
    struct file_state cur, new;
    if (directory_states(mailbox, &cur, &new, NULL) != 0)
        return;
    bool changed = !state_is_equal(&cur, &mailbox->cur);
    pthread_mutex_lock(&mailbox->mutex);
    if (own->cur)
        mailbox->cur = cur;
    pthread_mutex_unlock(&mailbox->mutex);
    if (changed)
        plan_rescan(mailbox, &cur, &new, false, false);
}
