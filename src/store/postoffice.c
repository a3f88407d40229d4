/* postoffice: a direct post office's directory and its marker `postern-postoffice`, verified before anything is opened or made in it
 * (an unmounted or wrong directory is not reachable). account.c and `posternctl postoffice init` call it. It must never make anything
 * in a directory that is not marked. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "tree.h"

enum { UUID_MAX = 64 };

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list registry = { &registry, &registry };

static bool is_uuid(struct slice uuid)
{
    for (size_t i = 0; i < uuid.len; i++)
        if (!ascii_is_digit(uuid.data[i]) && !ascii_is_alpha(uuid.data[i]) && uuid.data[i] != '-')
            return false;
    return uuid.len > 0 && uuid.len <= UUID_MAX;
}

/* The uuid in the marker, with NUL, and the marker's identity. */
static int read_marker(int dir, const char *path, char uuid_out[UUID_MAX + 1], struct stat *st_out, struct fault *fault)
{
    struct fault why;
    int fd = tree_open(dir, TREE_MARKER, O_RDONLY | O_NONBLOCK, &why);
    if (fd < 0)
        return fault_set(fault, FAULT_UNREACHABLE, why.error, "%s is no marked post office: %s", path, why.text);
    char text[UUID_MAX + 3];
    ssize_t len = fstat(fd, st_out) == 0 && S_ISREG(st_out->st_mode) ? read(fd, text, sizeof(text)) : -1;
    close(fd);
    struct slice uuid = slice_trim(slice_make(text, len > 0 ? (size_t)len : 0));
    if (!is_uuid(uuid))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "%s/" TREE_MARKER " holds no uuid", path);
    memcpy(uuid_out, uuid.data, uuid.len);
    uuid_out[uuid.len] = '\0';
    return 0;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static struct postoffice *find(struct slice path, struct slice uuid, const struct stat *directory, const struct stat *marker)
{
    LIST_FOR_EACH (&registry, at) {
        struct postoffice *known = LIST_ITEM(at, struct postoffice, link);
        if (slice_is(path, known->path) && slice_is_nocase(uuid, known->uuid) && is_same_file(&known->directory, directory) &&
            is_same_file(&known->marker, marker))
            return known;
    }
    return NULL;
}

static struct postoffice *enter(struct slice path, struct slice uuid, int fd, const struct stat *directory, const struct stat *marker)
{
    pthread_mutex_lock(&registry_mutex);
    struct postoffice *postoffice = find(path, uuid, directory, marker);
    if (postoffice != NULL) {
        close(fd);
    } else {
        postoffice = MEM_NEW(struct postoffice);
        postoffice->path = slice_to_string(path);
        postoffice->uuid = slice_to_string(uuid);
        postoffice->fd = fd;
        postoffice->directory = *directory;
        postoffice->marker = *marker;
        list_append(&registry, &postoffice->link);
    }
    postoffice->refs++;
    pthread_mutex_unlock(&registry_mutex);
    return postoffice;
}

/* The directory that the path leads to now, which need not be the one of an earlier call (mounts come and go). */
static int open_directory(const char *path, struct stat *st_out, struct fault *fault)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        fault_set_errno(fault, errno, "%s cannot be opened", path);
    else if (fstat(fd, st_out) != 0) {
        fault_set_errno(fault, errno, "%s cannot be read", path);
        close(fd);
        fd = -1;
    }
    if (fd < 0)
        fault->class = FAULT_UNREACHABLE;
    return fd;
}

static int is_marked(int fd, const char *path, struct slice uuid, struct stat *marker_out, struct fault *fault)
{
    char found[UUID_MAX + 1];
    if (read_marker(fd, path, found, marker_out, fault) != 0)
        return -1;
    if (!slice_is_nocase(uuid, found))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "%s is marked as post office %s, not %.*s", path, found, SLICE_ARG(uuid));
    return 0;
}

static int verify(int fd, const char *path, struct slice uuid, struct stat *marker_out, struct fault *fault)
{
    return is_marked(fd, path, uuid, marker_out, fault) == 0 ? tree_check_owner(fd, path, fault) : -1;
}

struct postoffice *postoffice_get(struct slice path, struct slice uuid, struct fault *fault)
{
    if (!slice_starts_with(path, "/") || slice_has_nul(path) || path.len >= PATH_MAX) {
        fault_set(fault, FAULT_INVALID, 0, "post office path %.*s is not absolute", SLICE_ARG(path));
        return NULL;
    }
    char *text = slice_to_string(path);
    struct stat directory, marker;
    struct postoffice *postoffice = NULL;
    int fd = open_directory(text, &directory, fault);
    if (fd >= 0) {
        if (verify(fd, text, uuid, &marker, fault) == 0)
            postoffice = enter(path, uuid, fd, &directory, &marker);
        else
            close(fd);
    }
    mem_free(&text);
    return postoffice;
}

void postoffice_unref(struct postoffice **postoffice)
{
    struct postoffice *old = *postoffice;
    *postoffice = NULL;
    if (old == NULL)
        return;
    pthread_mutex_lock(&registry_mutex);
    bool last = --old->refs == 0;
    if (last)
        list_remove(&old->link);
    pthread_mutex_unlock(&registry_mutex);
    if (!last)
        return;
    close(old->fd);
    mem_free(&old->path);
    mem_free(&old->uuid);
    mem_free(&old);
}

int postoffice_check(const char *path, struct slice uuid, bool own, struct fault *fault)
{
    struct stat directory, marker;
    int fd = open_directory(path, &directory, fault);
    if (fd < 0)
        return -1;
    int result = own ? verify(fd, path, uuid, &marker, fault) : is_marked(fd, path, uuid, &marker, fault);
    close(fd);
    return result;
}

static int check_marked(int dir, const char *path, struct slice uuid, struct fault *fault)
{
    char found[UUID_MAX + 1];
    struct stat marker;
    if (read_marker(dir, path, found, &marker, fault) != 0)
        return -1;
    if (slice_is_nocase(uuid, found))
        return 0;
    return fault_set(fault, FAULT_EXISTS, 0, "%s is already marked as post office %s", path, found);
}

/* The marker belongs to the owner of the directory, whoever runs the command. */
static int write_marker(int dir, const struct stat *directory, const char *temporary, struct slice uuid, struct fault *fault)
{
    int fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (fd < 0)
        return fault_set_errno(fault, errno, "make %s", temporary);
    bool good = write(fd, uuid.data, uuid.len) == (ssize_t)uuid.len && write(fd, "\n", 1) == 1 &&
                (geteuid() != 0 || fchown(fd, directory->st_uid, directory->st_gid) == 0) && fsync(fd) == 0;
    int error = errno;
    close(fd);
    return good ? 0 : fault_set_errno(fault, error, "write %s", temporary);
}

static int init_in(int dir, const struct stat *directory, const char *path, struct slice uuid, struct fault *fault)
{
    char temporary[64];
    snprintf(temporary, sizeof(temporary), TREE_MARKER ".%u", (unsigned)getpid());
    int result = write_marker(dir, directory, temporary, uuid, fault);
    if (result == 0 && linkat(dir, temporary, dir, TREE_MARKER, 0) != 0)
        result = errno == EEXIST ? check_marked(dir, path, uuid, fault) : fault_set_errno(fault, errno, "make " TREE_MARKER);
    unlinkat(dir, temporary, 0);
    return result == 0 ? tree_sync(dir, path, fault) : -1;
}

int postoffice_init(const char *path, struct slice uuid, struct fault *fault)
{
    if (!is_uuid(uuid))
        return fault_set(fault, FAULT_INVALID, 0, "%.*s is no uuid", SLICE_ARG(uuid));
    struct stat directory;
    int dir = open_directory(path, &directory, fault);
    if (dir < 0)
        return -1;
    int result = init_in(dir, &directory, path, uuid, fault);
    close(dir);
    return result;
}
