/* The next UIDVALIDITY of an account: dovecot-uidvalidity, and dovecot-uidvalidity.%08x whose rename to the next value is what makes the
 * number unique among gateways and Dovecot (maildir.md, rule 7). Called when a folder gets its first uidlist. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "lock.h"
#include "postern/base/clock.h"

#define NAME_VALIDITY "dovecot-uidvalidity"
enum { RENAME_ATTEMPTS = 10, VALIDITY_DIGITS = 8, RESCANS = 3 };

static bool parse_hex(struct slice text, uint32_t *value_out)
{
    if (text.len != VALIDITY_DIGITS)
        return false;
    uint32_t value = 0;
    for (size_t i = 0; i < text.len; i++) {
        char c = ascii_lower(text.data[i]);
        if (!ascii_is_digit(c) && !(c >= 'a' && c <= 'f'))
            return false;
        value = value << 4 | (uint32_t)(ascii_is_digit(c) ? c - '0' : c - 'a' + 10);
    }
    *value_out = value;
    return value != 0;
}

/* The hint; the file name decides. */
static bool read_hint(int dir, uint32_t *value_out)
{
    char text[VALIDITY_DIGITS];
    int fd = openat(dir, NAME_VALIDITY, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    ssize_t got = pread(fd, text, sizeof(text), 0);
    close(fd);
    return got == (ssize_t)sizeof(text) && parse_hex(slice_make(text, sizeof(text)), value_out);
}

static void write_hint(int dir, uint32_t value)
{
    char text[VALIDITY_DIGITS + 1];
    snprintf(text, sizeof(text), "%08x", value);
    int fd = openat(dir, NAME_VALIDITY, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return;
    file_share_like(fd, dir);
    (void)!pwrite(fd, text, VALIDITY_DIGITS, 0);
    close(fd);
}

/* Renames the file of `value` to the next number: 1 done, 0 there is no such file any more, -1 errno. */
static int rename_to_next(int dir, uint32_t *value)
{
    char from[64], to[64];
    for (int attempt = 0; attempt < RENAME_ATTEMPTS; attempt++) {
        snprintf(from, sizeof(from), NAME_VALIDITY ".%08x", *value);
        *value = *value == UINT32_MAX ? 1 : *value + 1;
        snprintf(to, sizeof(to), NAME_VALIDITY ".%08x", *value);
        if (renameat(dir, from, dir, to) == 0)
            return 1;
        if (errno != ENOENT)
            return -1;
    }
    return 0;
}

/* The highest number that a file name holds, lower ones are removed; 0 if there is none. */
static int highest_file(int dir, uint32_t *highest_out, struct fault *fault)
{
    *highest_out = 0;
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL) {
        int error = errno;
        if (fd >= 0)
            close(fd);
        return fault_set_errno(fault, error, "control directory");
    }
    for (struct dirent *entry; (entry = readdir(entries)) != NULL; ) {
        struct slice name = slice_from_string(entry->d_name);
        uint32_t value;
        if (!slice_starts_with(name, NAME_VALIDITY ".") || !parse_hex(slice_from(name, sizeof(NAME_VALIDITY)), &value))
            continue;
        uint32_t lower = value < *highest_out ? value : *highest_out;
        if (value > *highest_out)
            *highest_out = value;
        char doomed[64];
        snprintf(doomed, sizeof(doomed), NAME_VALIDITY ".%08x", lower);
        if (lower != 0)
            unlinkat(dir, doomed, 0);
    }
    closedir(entries);
    return 0;
}

/* The account's first number is the clock: above anything that a folder could have had before. */
static int create_first(int dir, uint32_t *value_out, struct fault *fault)
{
    char name[64];
    uint32_t value = (uint32_t)clock_wall().tv_sec;
    snprintf(name, sizeof(name), NAME_VALIDITY ".%08x", value);
    int fd = openat(dir, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    if (fd < 0)
        return errno == EEXIST ? 0 : fault_set_errno(fault, errno, "%s", name);
    close(fd);
    *value_out = value;
    return 1;
}

int uidvalidity_next(int control_root_fd, uint32_t *uid_validity_out, struct fault *fault)
{
    uint32_t value;
    int done = read_hint(control_root_fd, &value) ? rename_to_next(control_root_fd, &value) : 0;
    for (int scan = 0; done == 0 && scan < RESCANS; scan++) {
        if (highest_file(control_root_fd, &value, fault) != 0)
            return -1;
        if (value == 0) {
            done = create_first(control_root_fd, &value, fault);
            if (done < 0)
                return -1;
        } else {
            done = rename_to_next(control_root_fd, &value);
        }
    }
    if (done < 0)
        return fault_set_errno(fault, errno, NAME_VALIDITY);
    if (done == 0)
        return fault_set(fault, FAULT_BUSY, 0, NAME_VALIDITY ": others take numbers at this moment");
    /* Or a power loss gives the number of a folder that was deleted to the next of its name. */
    if (fsync(control_root_fd) != 0)
        return fault_set_errno(fault, errno, NAME_VALIDITY ": flush");
    write_hint(control_root_fd, value);
    *uid_validity_out = value;
    return 0;
}
