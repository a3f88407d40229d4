/* One dot-lock file, shared with Dovecot. Called by mailbox_lock and the writers of keywords and subscriptions; never waits. */
#include "lock.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/slice.h"
#include "filename.h"
#include "plain_file.h"

void file_share_like(int fd, int like_fd)
{
    struct stat st, like;
    if (fstat(fd, &st) != 0 || fstat(like_fd, &like) != 0)
        return;
    if (st.st_gid != like.st_gid && fchown(fd, (uid_t)-1, like.st_gid) != 0)
        return;
    if ((st.st_mode & 0777) != (like.st_mode & 0666))
        (void)!fchmod(fd, like.st_mode & 0666);
}

/* True if the lock names a process of this host that is dead. */
static bool owner_is_dead(struct slice text)
{
    struct slice pid_text;
    uint64_t pid;
    if (!slice_split(&text, ':', &pid_text) || text.data == NULL || !slice_to_number(pid_text, INT32_MAX, &pid) || pid == 0)
        return false;
    return slice_is(slice_trim(text), filename_host()) && kill((pid_t)pid, 0) != 0 && errno == ESRCH;
}

static bool is_older(const struct stat *st, int seconds)
{
    return st->st_mtime + seconds < clock_wall().tv_sec;
}

/* True if the same lock was seen already LOCK_WATCH_MS ago: a clock that jumped makes every lock look old. */
static bool was_watched(struct lock_file *lock, const struct stat *st)
{
    uint64_t now = clock_monotonic_ms();
    if (lock->suspect.since_ms == 0 || lock->suspect.inode != st->st_ino || lock->suspect.seconds != st->st_mtim.tv_sec ||
        lock->suspect.nanoseconds != st->st_mtim.tv_nsec) {
        lock->suspect.inode = st->st_ino;
        lock->suspect.seconds = st->st_mtim.tv_sec;
        lock->suspect.nanoseconds = st->st_mtim.tv_nsec;
        lock->suspect.since_ms = now;
    }
    return now - lock->suspect.since_ms >= LOCK_WATCH_MS;
}

static bool is_stale(struct lock_file *lock, int fd, const struct stat *st, const char *guarded, int stale_seconds)
{
    char text[256];
    struct stat guarded_st;
    ssize_t got = read(fd, text, sizeof(text));
    if (is_older(st, LOCK_DEAD_SECONDS) && got > 0 && owner_is_dead(slice_make(text, (size_t)got)))
        return true;
    return is_older(st, stale_seconds) &&
           (fstatat(lock->dir, guarded, &guarded_st, AT_SYMLINK_NOFOLLOW) != 0 || is_older(&guarded_st, stale_seconds)) &&
           was_watched(lock, st);
}

/* Unlinks a lock that nobody can hold any more: true if a new attempt makes sense. Two that find it stale at once agree by flock: the second
 * finds another file in its place, and leaves it. */
static bool override_stale(struct lock_file *lock, const char *guarded, int stale_seconds)
{
    struct stat st, now;
    int fd = openat(lock->dir, lock->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT;
    bool gone = fstat(fd, &st) == 0 && is_stale(lock, fd, &st, guarded, stale_seconds) &&
                (flock(fd, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK);
    if (gone && fstatat(lock->dir, lock->name, &now, AT_SYMLINK_NOFOLLOW) == 0)
        gone = now.st_ino == st.st_ino && now.st_dev == st.st_dev && now.st_mtim.tv_sec == st.st_mtim.tv_sec &&
               now.st_mtim.tv_nsec == st.st_mtim.tv_nsec && (unlinkat(lock->dir, lock->name, 0) == 0 || errno == ENOENT);
    close(fd);
    return gone;
}

/* A file of our own, anew: one of a process that had our number may stand there. */
static int make_temporary(int dir, const char *name)
{
    enum { FLAGS = O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW };
    int fd = openat(dir, name, FLAGS, 0600);
    if (fd >= 0 || errno != EEXIST)
        return fd;
    unlinkat(dir, name, 0);
    return openat(dir, name, FLAGS, 0600);
}

/* Renamed into place with its content: the lock of a process killed at any moment names that process. 1: somebody else has it. */
static int lock_create(struct lock_file *lock, int like_fd, struct fault *fault)
{
    char text[128], temporary[NAME_MAX + 1];
    int len = snprintf(text, sizeof(text), "%ld:%s", (long)getpid(), filename_host());
    snprintf(temporary, sizeof(temporary), "postern-lock.%ld.%.100s.%s", (long)getpid(), filename_host(), lock->name);
    lock->fd = make_temporary(lock->dir, temporary);
    if (lock->fd < 0)
        return fault_set_errno(fault, errno, "%s", temporary);
    file_share_like(lock->fd, like_fd);
    int error = 0;
    ssize_t written = write(lock->fd, text, (size_t)len);
    if (written != len)
        error = written < 0 ? errno : ENOSPC;
    else if (rename_keeping(lock->dir, temporary, lock->name) != 0)
        error = errno;
    lock->touched_ms = clock_monotonic_ms();
    if (error == 0)
        return 0;
    unlinkat(lock->dir, temporary, 0);
    close(lock->fd);
    lock->fd = -1;
    return error == EEXIST ? 1 : fault_set_errno(fault, error, "%s", lock->name);
}

int lock_take(struct lock_file *lock, int dir, const char *name, const char *guarded, int like_fd, int stale_seconds,
              struct fault *fault)
{
    lock->dir = dir;
    lock->fd = -1;
    lock->name = name;
    for (int attempt = 0; attempt < 2; attempt++) {
        struct stat st;
        int result = fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 ? 1 : lock_create(lock, like_fd, fault);
        if (result != 1)
            return result;
        if (!override_stale(lock, guarded, stale_seconds))
            break;
    }
    return fault_set(fault, FAULT_BUSY, EEXIST, "%s: held by somebody else", name);
}

static bool is_ours(const struct lock_file *lock)
{
    struct stat mine, there;
    return lock->fd >= 0 && fstat(lock->fd, &mine) == 0 && fstatat(lock->dir, lock->name, &there, AT_SYMLINK_NOFOLLOW) == 0 &&
           mine.st_ino == there.st_ino && mine.st_dev == there.st_dev;
}

int lock_check(const struct lock_file *lock, struct fault *fault)
{
    return is_ours(lock) ? 0 : fault_set(fault, FAULT_BUSY, 0, "%s: taken away by somebody else", lock->name);
}

int lock_touch(struct lock_file *lock, struct fault *fault)
{
    uint64_t now = clock_monotonic_ms();
    if (now - lock->touched_ms < LOCK_TOUCH_MS)
        return 0;
    if (lock_check(lock, fault) != 0)
        return -1;
    if (futimens(lock->fd, NULL) != 0)
        return fault_set_errno(fault, errno, "%s: touch", lock->name);
    lock->touched_ms = now;
    return 0;
}

void lock_drop(struct lock_file *lock)
{
    if (lock->fd < 0)
        return;
    if (is_ours(lock))
        unlinkat(lock->dir, lock->name, 0);
    close(lock->fd);
    lock->fd = -1;
}
