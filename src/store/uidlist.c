/* The file dovecot-uidlist. Called by a mailbox's sync and changes under the uidlist lock; reading alone needs no lock. Never renumbers. */
#include "uidlist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "filename.h"
#include "internal.h"
#include "lock.h"
#include "plain_file.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/secret.h"

enum { LIST_SIZE_MAX = 1 << 28, MARK_BYTES = 96, TMP_MODE = 0600 };

void file_state_set(struct file_state *state, const struct stat *st)
{
    *state = (struct file_state){ st->st_dev, st->st_ino, (uint64_t)st->st_size, st->st_mtim.tv_sec, st->st_mtim.tv_nsec };
}

bool file_state_is(const struct file_state *state, const struct stat *st)
{
    return state->device == st->st_dev && state->inode == st->st_ino && state->size == (uint64_t)st->st_size &&
           state->seconds == st->st_mtim.tv_sec && state->nanoseconds == st->st_mtim.tv_nsec;
}

/* --- parsing --- */

struct line {
    uint32_t uid;
    struct slice base;
    uint64_t size;
};

static bool parse_uid(struct slice *rest, uint32_t *uid_out)
{
    struct slice text;
    uint64_t uid;
    if (!slice_split(rest, ' ', &text) || !slice_to_number(text, UINT32_MAX - 1, &uid) || uid == 0)
        return false;
    *uid_out = (uint32_t)uid;
    return true;
}

/* "UID [K...] :base", or "UID base" in version 1. */
static bool parse_line(struct slice text, int version, struct line *line)
{
    struct slice rest = text, field;
    line->size = 0;
    if (!parse_uid(&rest, &line->uid) || rest.data == NULL)
        return false;
    while (version == 3 && rest.len > 0 && rest.data[0] != ':') {
        if (!slice_split(&rest, ' ', &field) || field.len == 0 || !ascii_is_alpha(field.data[0]) || rest.data == NULL)
            return false;
        if (field.data[0] == 'W')
            slice_to_number(slice_from(field, 1), INT64_MAX, &line->size);
    }
    line->base = filename_base(version == 3 ? slice_from(rest, 1) : rest);
    return line->base.len <= 255 && filename_is_usable(line->base);
}

static bool parse_header(struct slice text, int *version_out, uint32_t *validity_out, uint32_t *next_out)
{
    struct slice rest = text, field;
    uint64_t validity = 0, next = 0;
    bool good = slice_split(&rest, ' ', &field) && (slice_is(field, "3") || slice_is(field, "1"));
    *version_out = good && slice_is(field, "1") ? 1 : 3;
    if (good && *version_out == 1) {
        good = slice_split(&rest, ' ', &field) && slice_to_number(field, UINT32_MAX, &validity) &&
               slice_split(&rest, ' ', &field) && slice_to_number(field, UINT32_MAX, &next);
    } else {
        while (good && slice_split(&rest, ' ', &field)) {
            if (slice_starts_with(field, "V"))
                good = slice_to_number(slice_from(field, 1), UINT32_MAX, &validity);
            else if (slice_starts_with(field, "N"))
                good = slice_to_number(slice_from(field, 1), UINT32_MAX, &next);
        }
    }
    *validity_out = (uint32_t)validity;
    *next_out = next > 0 ? (uint32_t)next : 1;
    return good && validity > 0;
}

/* A broken line may still say a number: no new UID may be below it, unless it is so high that none would be left. */
static void note_broken(struct uidlist *list, struct slice text)
{
    struct slice rest = text;
    uint32_t uid;
    list->broken = true;
    if (parse_uid(&rest, &uid) && uid >= list->next_uid && uid < UINT32_MAX / 2)
        list->next_uid = uid + 1;
}

static int version_of(struct slice text)
{
    return slice_starts_with(text, "1 ") ? 1 : 3;
}

static void parse_records(struct uidlist *list, struct slice text, int version, uidlist_record_fn *record, void *context)
{
    const char *end;
    while (text.len > 0 && (end = memchr(text.data, '\n', text.len)) != NULL) {
        struct slice whole = slice_make(text.data, (size_t)(end - text.data));
        struct line line;
        text = slice_from(text, whole.len + 1);
        list->lines++;
        if (!parse_line(whole, version, &line) || line.uid <= list->last_uid) {
            note_broken(list, whole);
            continue;
        }
        list->last_uid = line.uid;
        if (line.uid >= list->next_uid)
            list->next_uid = line.uid == UINT32_MAX ? UINT32_MAX : line.uid + 1;
        record(context, line.uid, line.base, line.size);
    }
}

/* --- reading --- */

static int read_bytes(int fd, uint64_t from, uint64_t to, struct buf *out, struct fault *fault)
{
    if (to > LIST_SIZE_MAX)
        return fault_set(fault, FAULT_LIMIT, 0, NAME_UIDLIST ": larger than %d bytes", LIST_SIZE_MAX);
    while (from < to) {
        char *room = buf_reserve(out, to - from);
        ssize_t got = pread(fd, room, to - from, (off_t)from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fault_set_errno(fault, errno, NAME_UIDLIST ": read");
        if (got == 0)
            break;
        buf_extend(out, (size_t)got);
        from += (uint64_t)got;
    }
    return 0;
}

static uint64_t mark_at(int fd, uint64_t read_to)
{
    unsigned char bytes[2 * MARK_BYTES] = { 0 };
    size_t len = read_to < MARK_BYTES ? (size_t)read_to : MARK_BYTES;
    uint64_t hash = 14695981039346656037u ^ read_to;
    if (pread(fd, bytes, len, 0) != (ssize_t)len || pread(fd, bytes + len, len, (off_t)(read_to - len)) != (ssize_t)len)
        return 0;
    for (size_t i = 0; i < 2 * len; i++)
        hash = (hash ^ bytes[i]) * 1099511628211u;
    return hash | 1;
}

static void parse_whole(struct uidlist *list, struct slice text, uidlist_record_fn *record, void *context)
{
    const char *end = text.len > 0 ? memchr(text.data, '\n', text.len) : NULL;
    int version = 3;
    if (end == NULL) {
        list->broken = true;
        return;
    }
    struct slice header = slice_make(text.data, (size_t)(end - text.data));
    list->broken = !parse_header(header, &version, &list->uid_validity, &list->next_uid);
    list->stale = version == 1;
    parse_records(list, slice_from(text, header.len + 1), version, record, context);
}

static uint64_t whole_lines(struct slice text)
{
    ptrdiff_t last = slice_find_last(text, '\n');
    return last < 0 ? 0 : (uint64_t)last + 1;
}

static int read_open_file(struct uidlist *list, int fd, const struct stat *st, bool *replaced_out, uidlist_record_fn *record,
                          void *context, struct fault *fault)
{
    struct buf bytes = { 0 };
    *replaced_out = list->read_to == 0 || list->state.device != st->st_dev || list->state.inode != st->st_ino ||
                    list->read_to > (uint64_t)st->st_size || mark_at(fd, list->read_to) != list->mark;
    if (*replaced_out)
        *list = (struct uidlist){ .next_uid = 1 };
    int result = read_bytes(fd, list->read_to, (uint64_t)st->st_size, &bytes, fault);
    if (result == 0) {
        if (*replaced_out)
            parse_whole(list, buf_slice(&bytes), record, context);
        else
            parse_records(list, buf_slice(&bytes), 3, record, context);
        list->read_to += whole_lines(buf_slice(&bytes));
        list->mark = mark_at(fd, list->read_to);
        file_state_set(&list->state, st);
    }
    buf_fini(&bytes);
    return result;
}

int uidlist_read(struct uidlist *list, int control, bool *replaced_out, uidlist_record_fn *record, void *context, struct fault *fault)
{
    struct stat st;
    *replaced_out = false;
    struct fault why;
    int fd = plain_file_open(control, NAME_UIDLIST, &st, &why);
    if (fd < 0 && why.error == ENOENT) {
        *replaced_out = list->state.inode != 0;
        *list = (struct uidlist){ .next_uid = 1 };
        return 0;
    }
    if (fd < 0)
        return fault_set(fault, why.class, why.error, "%s", why.text);
    int result = read_open_file(list, fd, &st, replaced_out, record, context, fault);
    close(fd);
    return result;
}

/* --- writing --- */

static int write_all(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t done = write(fd, bytes.data, bytes.len);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return -1;
        bytes = slice_from(bytes, (size_t)done);
    }
    return 0;
}

void uidlist_line(struct buf *out, uint32_t uid, struct slice base)
{
    buf_append_number(out, uid);
    buf_append(out, SLICE_LITERAL(" :"));
    buf_append(out, base);
    buf_append_byte(out, '\n');
}

/* Takes the numbers of lines just written into the list. */
static void account_lines(struct uidlist *list, struct slice lines)
{
    struct slice text, number;
    uint64_t uid;
    while (lines.len > 0 && slice_split(&lines, '\n', &text) && text.len > 0) {
        if (slice_split(&text, ' ', &number) && slice_to_number(number, UINT32_MAX, &uid) && uid > list->last_uid)
            list->last_uid = (uint32_t)uid;
        list->lines++;
    }
    if (list->last_uid >= list->next_uid)
        list->next_uid = list->last_uid == UINT32_MAX ? UINT32_MAX : list->last_uid + 1;
}

/* After an append that failed: whole lines stay, since Dovecot, which reads without the lock, may have seen them: their UIDs are spent. */
static void drop_half_line(int fd, uint64_t start, struct slice lines)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || (uint64_t)st.st_size <= start)
        return;
    uint64_t written = (uint64_t)st.st_size - start;
    if (written <= lines.len)
        (void)!ftruncate(fd, (off_t)(start + whole_lines(slice_part(lines, 0, (size_t)written))));
}

static int append_open_file(struct uidlist *list, int fd, struct slice lines, struct fault *fault)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fault_set_errno(fault, errno, NAME_UIDLIST);
    if (st.st_ino != list->state.inode || st.st_dev != list->state.device || (uint64_t)st.st_size != list->read_to)
        return fault_set(fault, FAULT_BUSY, 0, NAME_UIDLIST ": changed by somebody without the lock");
    if (write_all(fd, lines) != 0 || fdatasync(fd) != 0 || fstat(fd, &st) != 0) {
        int error = errno;
        drop_half_line(fd, list->read_to, lines);
        return fault_set_errno(fault, error, NAME_UIDLIST ": append");
    }
    list->read_to += lines.len;
    list->mark = mark_at(fd, list->read_to);
    file_state_set(&list->state, &st);
    account_lines(list, lines);
    return 0;
}

int uidlist_append(struct uidlist *list, int control, struct slice lines, struct fault *fault)
{
    int fd = openat(control, NAME_UIDLIST, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fault_set_errno(fault, errno, NAME_UIDLIST);
    int result = append_open_file(list, fd, lines, fault);
    close(fd);
    return result;
}

static int read_file(int control, struct buf *out, struct stat *st, struct fault *fault)
{
    struct fault why;
    *st = (struct stat){ 0 };
    int fd = plain_file_open(control, NAME_UIDLIST, st, &why);
    if (fd < 0)
        return why.error == ENOENT ? 0 : fault_set(fault, why.class, why.error, "%s", why.text);
    int result = read_bytes(fd, 0, (uint64_t)st->st_size, out, fault);
    close(fd);
    return result;
}

static int copy_aside(int control, struct slice bytes, int folder, struct fault *fault)
{
    char name[64];
    struct timespec now = clock_wall();
    snprintf(name, sizeof(name), "postern-uidlist-broken-%lld.%06ld", (long long)now.tv_sec, now.tv_nsec / 1000);
    int fd = openat(control, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, TMP_MODE);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", name);
    file_share_like(fd, folder);
    int result = write_all(fd, bytes) == 0 && fsync(fd) == 0 ? 0 : fault_set_errno(fault, errno, "%s", name);
    close(fd);
    log_warning("store", NAME_UIDLIST " has lines that cannot be read; the old file is kept as %s", name);
    return result;
}

/* Version, V and N are ours to say; every other key of an old header stays. */
static void write_header(const struct uidlist *list, struct slice old, struct buf *out)
{
    struct slice field;
    bool has_guid = false;
    buf_printf(out, "3 V%u N%u", list->uid_validity, list->next_uid);
    bool keep = slice_starts_with(old, "3 ");
    slice_split(&old, ' ', &field);
    while (keep && slice_split(&old, ' ', &field)) {
        if (field.len == 0 || !ascii_is_alpha(field.data[0]) || field.data[0] == 'V' || field.data[0] == 'N')
            continue;
        has_guid |= field.data[0] == 'G';
        buf_append_byte(out, ' ');
        buf_append(out, field);
    }
    unsigned char guid[16];
    secret_random(guid, sizeof(guid));
    if (!has_guid)
        buf_append_text(out, " G");
    for (size_t i = 0; i < sizeof(guid) && !has_guid; i++)
        buf_printf(out, "%02x", guid[i]);
    buf_append_byte(out, '\n');
}

static void write_kept_lines(struct slice old, int version, bool (*keep)(void *context, uint32_t uid, struct slice base), void *context,
                             struct buf *out)
{
    const char *end;
    uint32_t last = 0;
    while (old.len > 0 && (end = memchr(old.data, '\n', old.len)) != NULL) {
        struct slice text = slice_make(old.data, (size_t)(end - old.data));
        struct line line;
        old = slice_from(old, text.len + 1);
        if (!parse_line(text, version, &line) || line.uid <= last)
            continue;
        last = line.uid;
        if (keep != NULL && !keep(context, line.uid, line.base))
            continue;
        if (version == 1)
            uidlist_line(out, line.uid, line.base);
        else {
            buf_append(out, text);
            buf_append_byte(out, '\n');
        }
    }
}

static int replace_file(struct uidlist *list, int control, int folder, struct slice bytes, const struct stat *old, struct fault *fault)
{
    int fd = plain_file_make(control, NAME_UIDLIST_TMP, fault);
    if (fd < 0)
        return -1;
    file_share_like(fd, folder);
    struct stat st;
    bool good = write_all(fd, bytes) == 0 && fstat(fd, &st) == 0;
    if (good && st.st_mtim.tv_sec <= old->st_mtim.tv_sec) {
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = old->st_mtim.tv_sec + 1 } };
        good = futimens(fd, times) == 0;
    }
    good = good && fsync(fd) == 0 && renameat(control, NAME_UIDLIST_TMP, control, NAME_UIDLIST) == 0 && fsync(control) == 0 &&
           fstat(fd, &st) == 0;
    int error = errno;
    if (good) {
        list->read_to = bytes.len;
        list->mark = mark_at(fd, bytes.len);
        file_state_set(&list->state, &st);
    }
    close(fd);
    return good ? 0 : fault_set_errno(fault, error, NAME_UIDLIST_TMP);
}

static uint32_t count_lines(struct slice bytes)
{
    uint32_t lines = 0;
    for (const char *end; bytes.len > 0 && (end = memchr(bytes.data, '\n', bytes.len)) != NULL; lines++)
        bytes = slice_from(bytes, (size_t)(end - bytes.data) + 1);
    return lines > 0 ? lines - 1 : 0;
}

int uidlist_rewrite(struct uidlist *list, int control, int folder, bool (*keep)(void *context, uint32_t uid, struct slice base),
                    void *context, struct slice more, struct fault *fault)
{
    struct buf old = { 0 }, out = { 0 };
    struct stat st;
    struct slice header = SLICE_NONE, rest;
    struct uidlist now = *list;
    int result = read_file(control, &old, &st, fault);
    if (result == 0 && list->broken && old.len > 0)
        result = copy_aside(control, buf_slice(&old), folder, fault);
    if (result == 0) {
        rest = buf_slice(&old);
        slice_split(&rest, '\n', &header);
        account_lines(&now, more);
        write_header(&now, header, &out);
        write_kept_lines(rest, version_of(buf_slice(&old)), keep, context, &out);
        buf_append(&out, more);
        result = replace_file(&now, control, folder, buf_slice(&out), &st, fault);
    }
    if (result == 0) {
        now.broken = now.stale = false;
        now.lines = count_lines(buf_slice(&out));
        *list = now;
    }
    buf_fini(&old);
    buf_fini(&out);
    return result;
}
