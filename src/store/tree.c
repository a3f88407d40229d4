/* tree: opens, makes, moves and removes directories below a descriptor. The account's files call it. It must never follow a
 * symbolic link, and never let half a folder be seen under its final name. */
#include "tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"

enum { DEPTH_MAX = 8, SWEEP_AGE_S = 3600 };

int tree_open(int dir, const char *path, int flags, struct fault *fault)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    int fd;
    do
        fd = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
    while (fd < 0 && (errno == EINTR || errno == EAGAIN));
    if (fd >= 0)
        return fd;
    if (errno == ELOOP || errno == EXDEV)
        return fault_set(fault, FAULT_DENIED, errno, "%s: is or leads through a symbolic link", path);
    return fault_set_errno(fault, errno, "open %s", path);
}

static bool is_own_group(gid_t gid)
{
    if (gid == getegid())
        return true;
    gid_t groups[NGROUPS_MAX > 1024 ? 1024 : NGROUPS_MAX];
    int count = getgroups((int)(sizeof(groups) / sizeof(groups[0])), groups);
    for (int i = 0; i < count; i++)
        if (groups[i] == gid)
            return true;
    return false;
}

int tree_check_owner(int fd, const char *path, struct fault *fault)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fault_set_errno(fault, errno, "stat %s", path);
    if (st.st_uid == geteuid() && is_own_group(st.st_gid))
        return 0;
    return fault_set(fault, FAULT_DENIED, 0, "%s: belongs to uid %u gid %u, the agent is uid %u gid %u", path,
                     (unsigned)st.st_uid, (unsigned)st.st_gid, (unsigned)geteuid(), (unsigned)getegid());
}

int tree_sync(int fd, const char *path, struct fault *fault)
{
    if (fsync(fd) != 0)
        return fault_set_errno(fault, errno, "flush %s", path);
    return 0;
}

/* The umask must not narrow what the Maildir's own mode gives; the group follows the Maildir where it may. */
static int take_likeness(int fd, const char *name, mode_t mode, const struct stat *like, struct fault *fault)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return fault_set_errno(fault, errno, "stat %s", name);
    if (st.st_gid != like->st_gid && fchown(fd, (uid_t)-1, like->st_gid) != 0 && errno != EPERM)
        return fault_set_errno(fault, errno, "set group of %s", name);
    if (fchmod(fd, mode) != 0)
        return fault_set_errno(fault, errno, "set mode of %s", name);
    return 0;
}

int tree_make_directory(int parent, const char *name, const struct stat *like, struct fault *fault)
{
    if (mkdirat(parent, name, 0700) != 0)
        return fault_set_errno(fault, errno, "make directory %s", name);
    int fd = tree_open(parent, name, O_RDONLY | O_DIRECTORY, fault);
    if (fd < 0)
        return -1;
    if (take_likeness(fd, name, (like->st_mode & 02777) | 0700, like, fault) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

static int make_maildirfolder(int dir, const struct stat *like, struct fault *fault)
{
    int fd = openat(dir, "maildirfolder", O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);
    if (fd < 0)
        return fault_set_errno(fault, errno, "make maildirfolder");
    int result = take_likeness(fd, "maildirfolder", (like->st_mode & 0666) | 0600, like, fault);
    close(fd);
    return result;
}

/* 1: made, 0: it is there. */
static int complete_one(int dir, const char *name, const struct stat *like, struct fault *fault)
{
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0) {
        if (S_ISDIR(st.st_mode))
            return 0;
        return fault_set(fault, FAULT_DENIED, 0, "%s: is no directory", name);
    }
    struct fault made;
    int fd = tree_make_directory(dir, name, like, &made);
    if (fd < 0) {
        if (made.error == EEXIST)
            return 0;
        if (fault != NULL)
            *fault = made;
        return -1;
    }
    close(fd);
    return 1;
}

int tree_complete_maildir(int dir, const struct stat *like, bool is_folder, struct fault *fault)
{
    static const char *const names[] = { "tmp", "new", "cur" };
    bool changed = false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        int made = complete_one(dir, names[i], like, fault);
        if (made < 0)
            return -1;
        changed = changed || made == 1;
    }
    if (is_folder && changed && make_maildirfolder(dir, like, fault) != 0)
        return -1;
    return changed ? tree_sync(dir, "Maildir", fault) : 0;
}

static void name_aside(char *out)
{
    static _Atomic unsigned number;
    struct timespec now = clock_wall();
    snprintf(out, TREE_NAME_SIZE, TREE_ASIDE "%llx.%lx.%x.%x", (unsigned long long)now.tv_sec, (unsigned long)now.tv_nsec,
             (unsigned)getpid(), atomic_fetch_add(&number, 1));
}

int tree_rename(int dir, const char *from, const char *to, struct fault *fault)
{
    if (renameat2(dir, from, dir, to, RENAME_NOREPLACE) == 0)
        return 0;
    /* NFS knows no flags; a plain rename still refuses to replace a directory that holds anything. */
    if ((errno == EINVAL || errno == ENOSYS) && renameat(dir, from, dir, to) == 0)
        return 0;
    return fault_set_errno(fault, errno, "rename %s to %s", from, to);
}

int tree_make_maildir(int parent, const char *name, const struct stat *like, bool is_folder, struct fault *fault)
{
    char aside[TREE_NAME_SIZE];
    name_aside(aside);
    int fd = tree_make_directory(parent, aside, like, fault);
    if (fd < 0)
        return -1;
    int result = tree_complete_maildir(fd, like, is_folder, fault);
    close(fd);
    if (result == 0)
        result = tree_rename(parent, aside, name, fault);
    if (result != 0) {
        tree_remove(parent, aside);
        return -1;
    }
    return tree_sync(parent, name, fault);
}

int tree_put_aside(int dir, const char *name, char *aside_out, struct fault *fault)
{
    name_aside(aside_out);
    if (tree_rename(dir, name, aside_out, fault) != 0)
        return -1;
    return tree_sync(dir, name, fault);
}

int tree_reopen(int dir, struct fault *fault)
{
    return tree_open(dir, ".", O_RDONLY | O_DIRECTORY, fault);
}

static void remove_entries(int dir, unsigned depth);

static void remove_entry(int dir, const char *name, unsigned depth)
{
    if (unlinkat(dir, name, 0) == 0)
        return;
    int fd = errno == EISDIR || errno == EPERM ? tree_open(dir, name, O_RDONLY | O_DIRECTORY, NULL) : -1;
    if (fd < 0)
        return;
    if (depth < DEPTH_MAX)
        remove_entries(fd, depth + 1);
    close(fd);
    unlinkat(dir, name, AT_REMOVEDIR);
}

static void remove_entries(int dir, unsigned depth)
{
    int fd = tree_reopen(dir, NULL);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            remove_entry(dir, entry->d_name, depth);
    closedir(entries);
}

void tree_remove(int parent, const char *name)
{
    remove_entry(parent, name, 0);
    struct stat st;
    if (fstatat(parent, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
        log_warning("store", "%s could not be removed whole", name);
}

void tree_sweep(int dir)
{
    int fd = tree_reopen(dir, NULL);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return;
    }
    time_t now = clock_wall().tv_sec;
    struct stat st;
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;)
        if (strncmp(entry->d_name, TREE_ASIDE, sizeof(TREE_ASIDE) - 1) == 0 &&
            fstatat(dir, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ctim.tv_sec < now - SWEEP_AGE_S)
            tree_remove(dir, entry->d_name);
    closedir(entries);
}
