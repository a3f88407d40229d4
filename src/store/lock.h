/* lock: one dot-lock file as Dovecot makes it (maildir.md, rule 1). Never waits. */
#ifndef STORE_LOCK_H
#define STORE_LOCK_H

#include <stdint.h>
#include <sys/stat.h>

#include "postern/base/fault.h"

struct lock_file {
    int dir;                /* borrowed while held */
    int fd;                 /* -1: not held */
    const char *name;       /* a literal */
    uint64_t touched_ms;
    struct {                /* a lock of somebody else that looks stale, and since when we see it */
        uint64_t inode;
        int64_t seconds, nanoseconds;
        uint64_t since_ms;
    } suspect;
};

enum { LOCK_STALE_SECONDS = 120, LOCK_DEAD_SECONDS = 2, LOCK_TOUCH_MS = 10000, LOCK_WATCH_MS = 2000 };

/* `guarded`: the file that the lock guards; a stale lock must be older than stale_seconds and that file unchanged for as long, and, since
 * clocks jump and differ from host to host, it must stand unchanged for LOCK_WATCH_MS of the calls with this struct. A zeroed struct
 * before the first call. Mode and group are those of like_fd. FAULT_BUSY if somebody holds it. */
int lock_take(struct lock_file *lock, int dir, const char *name, const char *guarded, int like_fd, int stale_seconds,
              struct fault *fault);
/* Sets the lock's time every ten seconds; FAULT_BUSY if it is no longer ours. */
int lock_touch(struct lock_file *lock, struct fault *fault);
/* FAULT_BUSY if it is no longer ours: to be asked before what cannot be taken back. */
int lock_check(const struct lock_file *lock, struct fault *fault);
/* Unlinks it only while it is still ours. */
void lock_drop(struct lock_file *lock);

/* Mode and group of a file of ours in a folder shared by a group: those of the folder. Failure is no fault: the owner can still work. */
void file_share_like(int fd, int like_fd);

#endif
