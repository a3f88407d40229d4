/* Opening regular files in directories that are not only ours. Called by the readers and writers of lists, caches and control files. */
#include "plain_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int plain_file_open(int dir, const char *name, struct stat *st_out, struct fault *fault)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", name);
    if (fstat(fd, st_out) != 0)
        fault_set_errno(fault, errno, "%s", name);
    else if (S_ISREG(st_out->st_mode))
        return fd;
    else
        fault_set(fault, FAULT_CORRUPT, 0, "%s: not a regular file", name);
    close(fd);
    return -1;
}

int plain_file_make(int dir, const char *name, struct fault *fault)
{
    unlinkat(dir, name, 0);
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return fd >= 0 ? fd : fault_set_errno(fault, errno, "%s", name);
}
