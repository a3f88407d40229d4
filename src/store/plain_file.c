/* Opening and renaming regular files in directories that are not only ours. Called by everything in src/store that reads or makes files. */
#include "plain_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
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

int rename_keeping(int folder, const char *from, const char *to)
{
    int result = renameat2(folder, from, folder, to, RENAME_NOREPLACE);
    if (result != 0 && (errno == EINVAL || errno == ENOSYS)) {
        result = linkat(folder, from, folder, to, 0);
        if (result == 0)
            result = unlinkat(folder, from, 0);
    }
    return result;
}
