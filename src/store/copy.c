/* COPY and MOVE between folders: link into the target's tmp/, then under the target's lock into cur/, flush, record; then, for MOVE, unlink the
 * sources under their own lock. Never two uidlist locks at once. All or none: until the record is on disk everything can be taken back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "filename.h"
#include "plain_file.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "state.h"

enum { COPY_BYTES = 64 * 1024 };

struct copied {
    uint32_t uid;            /* in the source */
    uint32_t keywords;       /* the source's numbers */
    uint8_t flags;
    bool placed;             /* in cur/ of the target, else in tmp/ */
    time_t date;
    struct buf name;         /* in the target: base name; once placed with flags */
};

struct copy {
    struct mailbox *from, *to;
    struct copied *items;
    size_t count;
};

static void item_path(const struct copied *item, struct buf *out)
{
    buf_append_text(out, item->placed ? "cur/" : "tmp/");
    buf_append(out, buf_slice(&item->name));
}

static void copy_fini(struct copy *copy, bool take_back)
{
    for (size_t i = 0; i < copy->count; i++) {
        struct buf path = { 0 };
        item_path(&copy->items[i], &path);
        if (take_back && copy->items[i].name.len > 0)
            unlinkat(copy->to->place.folder, buf_text(&path), 0);
        buf_fini(&path);
        buf_fini(&copy->items[i].name);
    }
    mem_free(&copy->items);
    copy->count = 0;
}

/* The messages of the set that exist now. */
static void choose(struct copy *copy, const struct uidset *uids)
{
    struct mailbox *mailbox = copy->from;
    pthread_mutex_lock(&mailbox->mutex);
    copy->items = MEM_NEW_ARRAY(struct copied, mailbox->live.count + 1);
    for (size_t i = 0; i < uids->count; i++)
        for (uint32_t at = table_below(&mailbox->live, uids->ranges[i].first);
             at < mailbox->live.count && mailbox->live.records[at].uid <= uids->ranges[i].last; at++)
            copy->items[copy->count++].uid = mailbox->live.records[at].uid;
    pthread_mutex_unlock(&mailbox->mutex);
}

/* --- into tmp/ of the target --- */

static int copy_bytes(int from, int to, struct fault *fault)
{
    char *bytes = mem_alloc(COPY_BYTES);
    struct stat st;
    ssize_t got;
    int result = 0;
    while (result == 0 && (got = read(from, bytes, COPY_BYTES)) > 0)
        if (write(to, bytes, (size_t)got) != got)
            result = fault_set_errno(fault, errno != 0 ? errno : ENOSPC, "copy");
    if (result == 0 && (got < 0 || fstat(from, &st) != 0))
        result = fault_set_errno(fault, errno, "copy");
    if (result == 0) {
        struct timespec times[2] = { st.st_atim, st.st_mtim };
        if (futimens(to, times) != 0 || fsync(to) != 0)
            result = fault_set_errno(fault, errno, "copy: flush");
    }
    mem_release(bytes);
    return result;
}

static int copy_file(struct mailbox *to, int fd, const char *path, struct fault *fault)
{
    int out = openat(to->place.folder, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (out < 0)
        return fault_set_errno(fault, errno, "tmp");
    file_share_like(out, to->place.folder);
    int result = copy_bytes(fd, out, fault);
    close(out);
    return result;
}

/* A hard link of what was just opened: by name, checked to be the same file, else the bytes. */
static int link_file(struct copy *copy, const char *source, int fd, const char *path, struct fault *fault)
{
    struct stat opened, linked;
    int target = copy->to->place.folder;
    if (linkat(copy->from->place.folder, source, target, path, 0) == 0) {
        if (fstat(fd, &opened) == 0 && fstatat(target, path, &linked, AT_SYMLINK_NOFOLLOW) == 0 && opened.st_ino == linked.st_ino)
            return 0;
        unlinkat(target, path, 0);
    }
    return copy_file(copy->to, fd, path, fault);
}

static void take_record(struct copy *copy, struct copied *item, struct buf *source)
{
    struct mailbox *from = copy->from;
    pthread_mutex_lock(&from->mutex);
    const struct record *record = table_find(&from->live, item->uid);
    if (record != NULL) {
        struct slice base = filename_base(table_name(&from->live, record));
        ptrdiff_t comma = slice_find(base, ',');
        record_path_in(&from->live, record, source);
        item->flags = record->flags;
        item->keywords = record->keywords;
        filename_unique(&item->name);
        if (comma >= 0)
            buf_append(&item->name, slice_from(base, (size_t)comma));
    }
    pthread_mutex_unlock(&from->mutex);
}

/* 1: the message has gone. */
static int stage(struct copy *copy, struct copied *item, struct fault *fault)
{
    int fd;
    uint64_t size;
    struct stat st;
    struct fault why;
    if (mailbox_open_message(copy->from, item->uid, &fd, &size, &why) != 0) {
        if (fault != NULL)
            *fault = why;
        return why.class == FAULT_GONE && !mailbox_is_gone(copy->from) ? 1 : -1;
    }
    struct buf source = { 0 }, path = { 0 };
    take_record(copy, item, &source);
    int result = source.len == 0 ? 1 : 0;
    if (result == 0) {
        item_path(item, &path);
        item->date = fstat(fd, &st) == 0 ? st.st_mtime : 0;
        result = link_file(copy, buf_text(&source), fd, buf_text(&path), fault);
    }
    close(fd);
    buf_fini(&source);
    buf_fini(&path);
    return result;
}

static int stage_all(struct copy *copy, struct fault *fault)
{
    size_t kept = 0, i;
    int result = 0;
    for (i = 0; i < copy->count && result >= 0; i++) {
        result = stage(copy, &copy->items[i], fault);
        if (result == 1) {
            buf_fini(&copy->items[i].name);
            continue;
        }
        copy->items[kept++] = copy->items[i];
    }
    copy->count = kept;
    return result < 0 ? -1 : 0;
}

/* --- into cur/, under the target's lock --- */

/* The target's bits for keywords of the source. */
static int translate(struct copy *copy, uint32_t keywords, uint32_t *bits_out, struct fault *fault)
{
    char names[KEYWORDS_MAX][KEYWORD_LENGTH_MAX + 1];
    struct slice slices[KEYWORDS_MAX];
    size_t count = 0;
    if (copy->from == copy->to) {
        *bits_out = keywords;
        return 0;
    }
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        if (keywords >> i & 1 && mailbox_keyword_name(copy->from, i, names[count])) {
            slices[count] = slice_from_string(names[count]);
            count++;
        }
    return keywords_bits(copy->to, slices, count, true, bits_out, fault);
}

static int place(struct copy *copy, struct copied *item, struct fault *fault)
{
    struct buf name = { 0 }, from = { 0 }, to = { 0 };
    uint32_t bits;
    int result = translate(copy, item->keywords, &bits, fault);
    if (result == 0) {
        item_path(item, &from);
        filename_make(buf_slice(&item->name), item->flags, bits, &name);
        buf_append_text(&to, "cur/");
        buf_append(&to, buf_slice(&name));
        result = rename_keeping(copy->to->place.folder, buf_text(&from), buf_text(&to));
        if (result != 0)
            fault_set_errno(fault, errno, "cur");
        else {
            buf_swap(&item->name, &name);
            item->placed = true;
        }
    }
    buf_fini(&name);
    buf_fini(&from);
    buf_fini(&to);
    return result;
}

static int place_all(struct copy *copy, struct buf *lines, struct fault *fault)
{
    uint32_t uid = copy->to->list.next_uid;
    if (copy->count >= UINT32_MAX - uid)
        return fault_set(fault, FAULT_LIMIT, 0, "no UIDs left");
    for (size_t i = 0; i < copy->count; i++) {
        if (place(copy, &copy->items[i], fault) != 0 || mailbox_lock_touch(copy->to, fault) != 0)
            return -1;
        uidlist_line(lines, uid + (uint32_t)i, filename_base(buf_slice(&copy->items[i].name)));
    }
    return flush_directory(copy->to, "cur", fault);
}

static int commit(struct copy *copy, struct uidset *sources_out, struct uidset *targets_out, struct fault *fault)
{
    struct buf lines = { 0 };
    struct own_change own;
    uint32_t uid = copy->to->list.next_uid;
    if (own_change_begin(copy->to, &own, fault) != 0)
        return -1;
    int result = place_all(copy, &lines, fault);
    if (result == 0)
        result = sync_record(copy->to, buf_slice(&lines), fault);
    for (size_t i = 0; i < copy->count && result == 0; i++) {
        publish_message(copy->to, uid + (uint32_t)i, buf_slice(&copy->items[i].name), copy->items[i].date);
        uidset_add(targets_out, uid + (uint32_t)i);
        uidset_add(sources_out, copy->items[i].uid);
    }
    buf_fini(&lines);
    if (result != 0)
        copy_fini(copy, true);
    own_change_end(copy->to, &own);
    return result;
}

/* --- MOVE: the sources, once the targets are safe --- */

/* Whoever syncs next unlinks them, should the caller not come back: the object lives on for it. */
static void leave_to_sync(struct mailbox *from, const struct uidset *sources)
{
    pthread_mutex_lock(&from->mutex);
    bool held = from->unlinks_held;
    from->unlinks_held = true;
    for (size_t i = 0; i < sources->count; i++)
        uidset_add_range(&from->unlinks, sources->ranges[i].first, sources->ranges[i].last);
    from->rescan_ms = clock_monotonic_ms() + 1;
    pthread_mutex_unlock(&from->mutex);
    if (!held)
        mailbox_ref(from);
    watch_rescan(from);
}

/* The i-th target is of the i-th source, both rising: the targets whose source is still there. */
static void targets_of_remaining(struct mailbox *from, const struct uidset *sources, const struct uidset *targets, struct uidset *out)
{
    size_t range = 0;
    uint32_t target = targets->ranges[0].first;
    pthread_mutex_lock(&from->mutex);
    for (size_t i = 0; i < sources->count; i++)
        for (uint64_t uid = sources->ranges[i].first; uid <= sources->ranges[i].last && range < targets->count; uid++) {
            if (table_find(&from->live, (uint32_t)uid) != NULL)
                uidset_add(out, target);
            if (target++ == targets->ranges[range].last && ++range < targets->count)
                target = targets->ranges[range].first;
        }
    pthread_mutex_unlock(&from->mutex);
}

/* RFC 6851 section 3.3: what cannot leave the source must not stay in the target. */
static void undo_move(struct mailbox *from, struct mailbox *to, const struct uidset *sources, const struct uidset *targets)
{
    struct uidset undone = { 0 };
    pthread_mutex_lock(&from->mutex);
    uidset_fini(&from->unlinks);
    pthread_mutex_unlock(&from->mutex);
    targets_of_remaining(from, sources, targets, &undone);
    if (undone.count > 0)
        (void)mailbox_expunge(to, &undone, true, NULL, NULL);
    uidset_fini(&undone);
}

static int remove_sources(struct mailbox *from, struct mailbox *to, const struct uidset *sources, const struct uidset *targets,
                          struct fault *fault)
{
    struct fault why;
    if (mailbox_expunge(from, sources, true, NULL, &why) == 0 || why.class == FAULT_GONE)
        return 0;
    if (why.class == FAULT_BUSY)
        leave_to_sync(from, sources);
    else
        undo_move(from, to, sources, targets);
    return fault_set(fault, why.class, why.error, "%s", why.text);
}

/* Sources of an earlier MOVE that wait for the lock are no messages any more. */
static int finish_earlier_moves(struct mailbox *from, struct fault *fault)
{
    pthread_mutex_lock(&from->mutex);
    bool any = from->unlinks.count > 0;
    pthread_mutex_unlock(&from->mutex);
    if (!any)
        return 0;
    if (sync_begin(from, fault) != 0)
        return -1;
    sync_end(from);
    return 0;
}

int mailbox_copy(struct mailbox *from, const struct uidset *uids, struct mailbox *to, bool move,
                 struct uidset *sources_out, struct uidset *targets_out, struct fault *fault)
{
    struct copy copy = { .from = from, .to = to };
    if (move && targets_out->count > 0)
        return remove_sources(from, to, sources_out, targets_out, fault);
    if (finish_earlier_moves(from, fault) != 0)
        return -1;
    choose(&copy, uids);
    int result = copy.count == 0 ? 0 : stage_all(&copy, fault);
    if (result == 0 && copy.count > 0)
        result = sync_begin(to, fault);
    if (result != 0 || copy.count == 0) {
        copy_fini(&copy, true);
        return result;
    }
    result = commit(&copy, sources_out, targets_out, fault);
    sync_end(to);
    copy_fini(&copy, false);
    return result == 0 && move ? remove_sources(from, to, sources_out, targets_out, fault) : result;
}
