/* crash_preload: a preloaded library that makes the n-th system call of a program fail, or kills the program there. crash_points.py builds
 * and uses it. Only calls with a file of the mailbox count: standard input and output never do.
 *
 *   CRASH_CALLS   change: calls that change the disk; open: every open; all: these and every call that only looks
 *   CRASH_AT      number of the call, from 1      CRASH_HOW     errno, or 0: SIGKILL before the call
 *   CRASH_STICKY  1: all later ones fail too      CRASH_REPORT  file that receives the number of calls at a clean end */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { LOOK = 1, OPEN = 2, CHANGE = 4 };

static int wanted, how;
static bool sticky;
static long at;
static _Atomic long calls;

__attribute__((constructor)) static void begin(void)
{
    const char *kinds = getenv("CRASH_CALLS"), *number = getenv("CRASH_AT"), *error = getenv("CRASH_HOW"), *stay = getenv("CRASH_STICKY");
    if (kinds == NULL)
        return;
    wanted = strcmp(kinds, "change") == 0 ? CHANGE : strcmp(kinds, "open") == 0 ? OPEN : LOOK | OPEN | CHANGE;
    at = number != NULL ? strtol(number, NULL, 10) : 0;
    how = error != NULL ? (int)strtol(error, NULL, 10) : 0;
    sticky = stay != NULL && stay[0] == '1';
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("CRASH_REPORT");
    FILE *file = path != NULL ? fopen(path, "w") : NULL;
    if (file == NULL)
        return;
    fprintf(file, "%ld\n", (long)calls);
    fclose(file);
}

/* True: the call must fail with errno as set. */
static bool strikes(int kind)
{
    if ((kind & wanted) == 0)
        return false;
    long number = atomic_fetch_add(&calls, 1) + 1;
    if (at == 0 || number < at || (number > at && !sticky))
        return false;
    if (how == 0)
        syscall(SYS_kill, getpid(), SIGKILL);
    errno = how;
    return true;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int openat(int dir, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? (mode_t)va_arg(more, unsigned) : 0;
    va_end(more);
    bool changes = flags & O_CREAT;
    if (strikes(changes ? OPEN | CHANGE : OPEN))
        return -1;
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

/* openat2 has no function of its own. */
long syscall(long number, ...)
{
    va_list more;
    long a[6];
    va_start(more, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(more, long);
    va_end(more);
    if (number == SYS_openat2 && strikes(OPEN))
        return -1;
    return NEXT(syscall)(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t write(int fd, const void *bytes, size_t len)
{
    return fd > 2 && strikes(CHANGE) ? -1 : NEXT(write)(fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t offset)
{
    return strikes(CHANGE) ? -1 : NEXT(pwrite)(fd, bytes, len, offset);
}

ssize_t read(int fd, void *bytes, size_t len)
{
    return fd > 2 && strikes(LOOK) ? -1 : NEXT(read)(fd, bytes, len);
}

ssize_t pread(int fd, void *bytes, size_t len, off_t offset)
{
    return strikes(LOOK) ? -1 : NEXT(pread)(fd, bytes, len, offset);
}

int fsync(int fd)
{
    return strikes(CHANGE) ? -1 : NEXT(fsync)(fd);
}

int fdatasync(int fd)
{
    return strikes(CHANGE) ? -1 : NEXT(fdatasync)(fd);
}

int ftruncate(int fd, off_t size)
{
    return strikes(CHANGE) ? -1 : NEXT(ftruncate)(fd, size);
}

int futimens(int fd, const struct timespec times[2])
{
    return strikes(CHANGE) ? -1 : NEXT(futimens)(fd, times);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    return strikes(CHANGE) ? -1 : NEXT(renameat)(from_dir, from, to_dir, to);
}

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags)
{
    return strikes(CHANGE) ? -1 : NEXT(renameat2)(from_dir, from, to_dir, to, flags);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    return strikes(CHANGE) ? -1 : NEXT(linkat)(from_dir, from, to_dir, to, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
    return strikes(CHANGE) ? -1 : NEXT(unlinkat)(dir, path, flags);
}

int mkdirat(int dir, const char *path, mode_t mode)
{
    return strikes(CHANGE) ? -1 : NEXT(mkdirat)(dir, path, mode);
}

int fstat(int fd, struct stat *st)
{
    return fd > 2 && strikes(LOOK) ? -1 : NEXT(fstat)(fd, st);
}

int fstatat(int dir, const char *path, struct stat *st, int flags)
{
    return strikes(LOOK) ? -1 : NEXT(fstatat)(dir, path, st, flags);
}

struct dirent *readdir(DIR *entries)
{
    return strikes(LOOK) ? NULL : NEXT(readdir)(entries);
}
