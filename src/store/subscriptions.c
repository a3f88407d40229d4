/* subscriptions: the file `subscriptions` in the root of the control files, shared with Dovecot (maildir.md, rule 11): version 1
 * has one name a line, version 2 the header "V\t2\n\n" and TAB between levels. Lines of others are kept byte for byte. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "tree.h"

#define NAME_SUBSCRIPTIONS "subscriptions"
#define NAME_LOCK "subscriptions.lock"

enum { FILE_MAX = 1 << 20, LOCK_STALE_S = 30, READ_SIZE = 4096 };

static const struct slice version2 = SLICE_LITERAL("V\t2\n\n");

/* The whole file; *is_version2_out for a missing one too: that is what Dovecot begins with. */
static int read_file(struct account *account, struct buf *out, bool *is_version2_out, struct fault *fault)
{
    struct fault why;
    buf_init(out, FILE_MAX + 2 * READ_SIZE);
    *is_version2_out = true;
    int fd = tree_open(account->control, NAME_SUBSCRIPTIONS, O_RDONLY | O_NONBLOCK, &why);
    if (fd < 0)
        return why.error == ENOENT ? 0 : fault_set(fault, why.class, why.error, "%s", why.text);
    ssize_t got = 1;
    while (got > 0 && out->len <= FILE_MAX) {
        got = read(fd, buf_reserve(out, READ_SIZE), READ_SIZE);
        if (got > 0)
            buf_extend(out, (size_t)got);
    }
    int error = errno;
    close(fd);
    if (got < 0)
        return fault_set_errno(fault, error, "read " NAME_SUBSCRIPTIONS);
    if (out->len > FILE_MAX)
        return fault_set(fault, FAULT_LIMIT, 0, NAME_SUBSCRIPTIONS " is over %d bytes", FILE_MAX);
    *is_version2_out = slice_is_equal(slice_part(buf_slice(out), 0, version2.len), version2);
    return 0;
}

/* Dovecot's escapes of a level in version 2: \001 and a digit or letter. Names that a folder can have need none; undone only for reading. */
static void unescape(struct slice line, struct buf *out)
{
    static const char from[] = "01tnr";
    static const char to[] = "\0\001\t\n\r";
    for (size_t i = 0; i < line.len; i++) {
        char c = line.data[i];
        const char *escape = c == '\001' && i + 1 < line.len && line.data[i + 1] != '\0' ? strchr(from, line.data[i + 1]) : NULL;
        if (escape != NULL) {
            c = to[escape - from];
            i++;
        } else if (c == '\t') {
            c = '.';
        }
        buf_append_byte(out, c);
    }
}

int subscriptions_each(struct account *account, void (*visit)(struct slice disk, void *context), void *context, struct fault *fault)
{
    struct buf file, name;
    bool is_version2;
    int result = read_file(account, &file, &is_version2, fault);
    buf_init(&name, 0);
    struct slice rest = slice_from(buf_slice(&file), result == 0 && is_version2 && file.len > 0 ? version2.len : 0), line;
    while (result == 0 && slice_split(&rest, '\n', &line)) {
        buf_clear(&name);
        if (is_version2)
            unescape(line, &name);
        if (line.len > 0)
            visit(is_version2 ? buf_slice(&name) : line, context);
    }
    buf_fini(&name);
    buf_fini(&file);
    return result;
}

/* A lock untouched for 30 s belongs to nobody. Looked at twice, so that a fresh one is not taken for it. */
static bool is_stale(int dir)
{
    struct stat first, second;
    if (fstatat(dir, NAME_LOCK, &first, AT_SYMLINK_NOFOLLOW) != 0 || first.st_mtim.tv_sec + LOCK_STALE_S >= clock_wall().tv_sec)
        return false;
    return fstatat(dir, NAME_LOCK, &second, AT_SYMLINK_NOFOLLOW) == 0 && first.st_ino == second.st_ino &&
           first.st_mtim.tv_sec == second.st_mtim.tv_sec && first.st_mtim.tv_nsec == second.st_mtim.tv_nsec;
}

/* The lock is the new file, as with Dovecot: rename takes it away. */
static int open_lock(struct account *account, struct fault *fault)
{
    for (int attempt = 0; attempt < 2; attempt++) {
        int fd = openat(account->control, NAME_LOCK, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd >= 0 && fchmod(fd, (account->like.st_mode & 0666) | 0600) == 0)
            return fd;
        int error = errno;
        if (fd >= 0)
            close(fd);
        if (error != EEXIST)
            return fault_set_errno(fault, error, "make " NAME_LOCK);
        if (!is_stale(account->control))
            break;
        unlinkat(account->control, NAME_LOCK, 0);
    }
    return fault_set(fault, FAULT_BUSY, 0, NAME_LOCK " of %s is held by somebody else", account->path);
}

/* True if the name after the dot is what the line says. */
static bool is_line_of(struct slice line, struct slice disk, bool is_version2)
{
    if (line.len != disk.len)
        return false;
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != (is_version2 && disk.data[i] == '.' ? '\t' : disk.data[i]))
            return false;
    return true;
}

static void append_line(struct buf *out, struct slice disk, bool is_version2)
{
    for (size_t i = 0; i < disk.len; i++)
        buf_append_byte(out, is_version2 && disk.data[i] == '.' ? '\t' : disk.data[i]);
    buf_append_byte(out, '\n');
}

/* The new content; false if nothing changes. */
static bool rewrite(struct slice old, bool is_version2, struct slice disk, bool on, struct buf *out)
{
    bool found = false;
    if (is_version2) {
        buf_append(out, version2);
        old = slice_from(old, version2.len);
    }
    struct slice line;
    while (old.len > 0 && slice_split(&old, '\n', &line)) {
        if (is_line_of(line, disk, is_version2)) {
            found = true;
            if (!on)
                continue;
        }
        buf_append(out, line);
        buf_append_byte(out, '\n');
    }
    if (on && !found)
        append_line(out, disk, is_version2);
    return found != on;
}

static int write_all(int fd, struct slice bytes, struct fault *fault)
{
    while (bytes.len > 0) {
        ssize_t put = write(fd, bytes.data, bytes.len);
        if (put < 0 && errno != EINTR)
            return fault_set_errno(fault, errno, "write " NAME_LOCK);
        bytes = slice_from(bytes, put > 0 ? (size_t)put : 0);
    }
    return fsync(fd) == 0 ? 0 : fault_set_errno(fault, errno, "flush " NAME_LOCK);
}

/* Our lock may have been taken for stale: then what is there now is not ours to rename. */
static int replace(struct account *account, int fd, struct fault *fault)
{
    struct stat ours, there;
    if (fstat(fd, &ours) != 0 || fstatat(account->control, NAME_LOCK, &there, AT_SYMLINK_NOFOLLOW) != 0 || ours.st_ino != there.st_ino)
        return fault_set(fault, FAULT_BUSY, 0, NAME_LOCK " of %s was taken away", account->path);
    if (renameat(account->control, NAME_LOCK, account->control, NAME_SUBSCRIPTIONS) != 0)
        return fault_set_errno(fault, errno, "replace " NAME_SUBSCRIPTIONS);
    return tree_sync(account->control, NAME_SUBSCRIPTIONS, fault);
}

static void drop_lock(struct account *account, int fd)
{
    struct stat ours, there;
    if (fstat(fd, &ours) == 0 && fstatat(account->control, NAME_LOCK, &there, AT_SYMLINK_NOFOLLOW) == 0 && ours.st_ino == there.st_ino &&
        ours.st_dev == there.st_dev)
        unlinkat(account->control, NAME_LOCK, 0);
}

static int change_locked(struct account *account, int fd, struct slice disk, bool on, struct fault *fault)
{
    struct buf old, new;
    bool is_version2;
    int result = read_file(account, &old, &is_version2, fault);
    buf_init(&new, FILE_MAX);
    bool changed = result == 0 && rewrite(buf_slice(&old), is_version2, disk, on, &new);
    if (changed && new.overflowed)
        result = fault_set(fault, FAULT_LIMIT, 0, "too many subscriptions of %s", account->path);
    if (result == 0 && changed)
        result = write_all(fd, buf_slice(&new), fault);
    if (result == 0 && changed)
        result = replace(account, fd, fault);
    if (result != 0 || !changed)
        drop_lock(account, fd);
    buf_fini(&old);
    buf_fini(&new);
    return result;
}

int account_subscribe(struct account *account, struct slice name, bool on, struct fault *fault)
{
    char disk[TREE_NAME_SIZE];
    if (folder_name_to_disk(account_namespace(account), name, disk, fault) != 0)
        return -1;
    pthread_mutex_lock(&account->mutex);
    int result = -1;
    int fd = open_lock(account, fault);
    if (fd >= 0) {
        result = change_locked(account, fd, disk[0] == '\0' ? SLICE_LITERAL("INBOX") : slice_from_string(disk + 1), on, fault);
        close(fd);
    }
    pthread_mutex_unlock(&account->mutex);
    return result;
}
