/* frozen_fs REAL MOUNTPOINT: passes a directory through FUSE, and on SIGUSR1 answers no call until SIGUSR2: a file system that hangs.
 * Used by test_bad_input.py. */
#define FUSE_USE_VERSION 31
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fuse.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int root = -1;
static volatile sig_atomic_t frozen;

static void on_freeze(int number)
{
    frozen = number == SIGUSR1;
}

/* The path below root; waits here while frozen. */
static const char *enter(const char *path)
{
    while (frozen)
        usleep(10000);
    return path[1] ? path + 1 : ".";
}

static int outcome(int result)
{
    return result < 0 ? -errno : 0;
}

static int fs_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
    (void)fi;
    return outcome(fstatat(root, enter(path), st, AT_SYMLINK_NOFOLLOW));
}

static int fs_readdir(const char *path, void *buffer, fuse_fill_dir_t fill, off_t offset, struct fuse_file_info *fi,
                      enum fuse_readdir_flags flags)
{
    (void)offset, (void)fi, (void)flags;
    int fd = openat(root, enter(path), O_RDONLY | O_DIRECTORY);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (dir == NULL)
        return -errno;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        fill(buffer, entry->d_name, NULL, 0, 0);
    closedir(dir);
    return 0;
}

static int fs_open(const char *path, struct fuse_file_info *fi)
{
    int fd = openat(root, enter(path), fi->flags & ~O_EXCL);
    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    return 0;
}

static int fs_create(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    int fd = openat(root, enter(path), fi->flags | O_CREAT, mode);
    if (fd < 0)
        return -errno;
    fi->fh = (uint64_t)fd;
    return 0;
}

static int fs_read(const char *path, char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
    enter(path);
    ssize_t got = pread((int)fi->fh, data, size, offset);
    return got < 0 ? -errno : (int)got;
}

static int fs_write(const char *path, const char *data, size_t size, off_t offset, struct fuse_file_info *fi)
{
    enter(path);
    ssize_t put = pwrite((int)fi->fh, data, size, offset);
    return put < 0 ? -errno : (int)put;
}

static int fs_release(const char *path, struct fuse_file_info *fi)
{
    (void)path;
    close((int)fi->fh);
    return 0;
}

static int fs_fsync(const char *path, int data_only, struct fuse_file_info *fi)
{
    (void)data_only;
    enter(path);
    return outcome(fsync((int)fi->fh));
}

static int fs_mkdir(const char *path, mode_t mode)
{
    return outcome(mkdirat(root, enter(path), mode));
}

static int fs_unlink(const char *path)
{
    return outcome(unlinkat(root, enter(path), 0));
}

static int fs_rmdir(const char *path)
{
    return outcome(unlinkat(root, enter(path), AT_REMOVEDIR));
}

static int fs_rename(const char *from, const char *to, unsigned flags)
{
    return outcome(renameat2(root, enter(from), root, enter(to), flags));
}

static int fs_link(const char *from, const char *to)
{
    return outcome(linkat(root, enter(from), root, enter(to), 0));
}

static int fs_chmod(const char *path, mode_t mode, struct fuse_file_info *fi)
{
    (void)fi;
    return outcome(fchmodat(root, enter(path), mode, 0));
}

static int fs_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
    if (fi != NULL)
        return outcome(ftruncate((int)fi->fh, size));
    int fd = openat(root, enter(path), O_WRONLY);
    int result = fd < 0 ? -errno : outcome(ftruncate(fd, size));
    if (fd >= 0)
        close(fd);
    return result;
}

static int fs_utimens(const char *path, const struct timespec times[2], struct fuse_file_info *fi)
{
    (void)fi;
    return outcome(utimensat(root, enter(path), times, AT_SYMLINK_NOFOLLOW));
}

static const struct fuse_operations operations = {
    .getattr = fs_getattr, .readdir = fs_readdir, .open = fs_open, .create = fs_create, .read = fs_read, .write = fs_write,
    .release = fs_release, .fsync = fs_fsync, .mkdir = fs_mkdir, .unlink = fs_unlink, .rmdir = fs_rmdir, .rename = fs_rename,
    .link = fs_link, .chmod = fs_chmod, .truncate = fs_truncate, .utimens = fs_utimens,
};

int main(int argc, char **argv)
{
    if (argc != 3 || (root = open(argv[1], O_RDONLY | O_DIRECTORY)) < 0) {
        fprintf(stderr, "usage: frozen_fs REAL MOUNTPOINT\n");
        return 2;
    }
    struct sigaction action = { .sa_handler = on_freeze };
    sigaction(SIGUSR1, &action, NULL);
    sigaction(SIGUSR2, &action, NULL);
    static char foreground[] = "-f", option[] = "-o", options[] = "default_permissions,attr_timeout=0,entry_timeout=0";
    char *arguments[] = { argv[0], argv[2], foreground, option, options, NULL };
    return fuse_main(5, arguments, &operations, NULL);
}
