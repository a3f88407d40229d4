/* COPY and MOVE between folders: link into the target's tmp/, then under the target's lock into cur/, flush, record; then, for MOVE, unlink the
 * sources under their own lock. Never two uidlist locks at once. All or none: until the record is on disk everything can be taken back. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "filename.h"
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

/* How long a MOVE whose targets are safe waits for the lock of its source. */
enum { SOURCE_BUSY_MS = 1000, SOURCE_PAUSE_NS = 2000000 };

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

/* The targets are safe. A source whose lock stays busy is unlinked by the next sync instead, for which the object lives on: the worst
 * that a crash can leave is a message in both folders. */
static void remove_sources(struct copy *copy, const struct uidset *sources)
{
    struct mailbox *from = copy->from;
    struct fault why;
    uint64_t end = clock_monotonic_ms() + SOURCE_BUSY_MS;
    int result;
    while ((result = mailbox_expunge(from, sources, true, NULL, &why)) != 0 && why.class == FAULT_BUSY && clock_monotonic_ms() < end)
        nanosleep(&(struct timespec){ .tv_nsec = SOURCE_PAUSE_NS }, NULL);
    if (result == 0 || why.class == FAULT_GONE)
        return;
    pthread_mutex_lock(&from->mutex);
    bool held = from->unlinks_held;
    from->unlinks_held = true;
    for (size_t i = 0; i < copy->count; i++)
        table_append(&from->unlinks, copy->items[i].uid, buf_slice(&copy->items[i].name));
    from->rescan_ms = clock_monotonic_ms() + 1;
    pthread_mutex_unlock(&from->mutex);
    if (!held)
        mailbox_ref(from);
    watch_rescan(from);
}

int mailbox_copy(struct mailbox *from, const struct uidset *uids, struct mailbox *to, bool move,
                 struct uidset *sources_out, struct uidset *targets_out, struct fault *fault)
{
    struct copy copy = { .from = from, .to = to };
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
    if (result == 0 && move)
        remove_sources(&copy, sources_out);
    copy_fini(&copy, false);
    return result;
}
