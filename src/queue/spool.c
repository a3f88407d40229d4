/* The queue's files. Every change is a flushed file renamed into place and a flushed directory, so that a crash at any moment leaves
 * the state before or after it. Used by queue.c and attempt.c; it knows nothing of delivery. */
#include "spool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/secret.h"

enum { NAME_SIZE = SPOOL_ID_MAX + 48 };

static void name_of(char *out, const char *id, const char *kind)
{
    snprintf(out, NAME_SIZE, "%.*s.%s", SPOOL_ID_MAX, id, kind);
}

void spool_make_id(char *id)
{
    uint64_t random;
    secret_random(&random, sizeof(random));
    snprintf(id, SPOOL_ID_MAX, "%08llx%016llx", (unsigned long long)clock_wall().tv_sec, (unsigned long long)random);
}

static int open_directory(int at, const char *name, struct fault *fault)
{
    if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
        return fault_set_errno(fault, errno, "queue directory %s", name);
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return fd >= 0 ? fd : fault_set_errno(fault, errno, "queue directory %s", name);
}

int spool_init(struct spool *spool, const char *state_dir, struct fault *fault)
{
    *spool = (struct spool){ -1, -1, -1 };
    int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (state < 0)
        return fault_set_errno(fault, errno, "%s", state_dir);
    spool->dir = open_directory(state, "queue", fault);
    close(state);
    if (spool->dir >= 0 && (spool->tmp = open_directory(spool->dir, "tmp", fault)) >= 0)
        spool->bad = open_directory(spool->dir, "bad", fault);
    if (spool->bad >= 0)
        return 0;
    spool_fini(spool);
    return -1;
}

void spool_fini(struct spool *spool)
{
    int fds[] = { spool->dir, spool->tmp, spool->bad };
    for (size_t i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    *spool = (struct spool){ -1, -1, -1 };
}

/* The ID in front of ".kind"; false if the name is not of that kind. */
static bool id_of(const char *name, const char *kind, char *id)
{
    struct slice s = slice_from_string(name);
    ptrdiff_t dot = slice_find_last(s, '.');
    if (dot <= 0 || dot >= SPOOL_ID_MAX || !slice_is(slice_from(s, (size_t)dot + 1), kind))
        return false;
    memcpy(id, name, (size_t)dot);
    id[dot] = '\0';
    return true;
}

/* What cannot be looked at is taken to exist. */
static bool file_exists(int dir, const char *id, const char *kind)
{
    char name[NAME_SIZE];
    struct stat st;
    name_of(name, id, kind);
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT;
}

static DIR *list_directory(int dir, struct fault *fault)
{
    int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *list = fd >= 0 ? fdopendir(fd) : NULL;
    if (list == NULL)
        fault_set_errno(fault, errno, "reading the queue");
    if (list == NULL && fd >= 0)
        close(fd);
    return list;
}

static int clear_tmp(struct spool *spool, struct fault *fault)
{
    DIR *list = list_directory(spool->tmp, fault);
    if (list == NULL)
        return -1;
    for (struct dirent *at = readdir(list); at != NULL; at = readdir(list))
        if (at->d_name[0] != '.')
            unlinkat(spool->tmp, at->d_name, 0);
    closedir(list);
    return 0;
}

int spool_recover(struct spool *spool, void (*visit)(const char *id, void *context), void *context, struct fault *fault)
{
    char id[SPOOL_ID_MAX];
    DIR *list = clear_tmp(spool, fault) == 0 ? list_directory(spool->dir, fault) : NULL;
    if (list == NULL)
        return -1;
    for (struct dirent *at = readdir(list); at != NULL; at = readdir(list)) {
        if (id_of(at->d_name, "envelope", id))
            visit(id, context);
        else if (id_of(at->d_name, "message", id) && !file_exists(spool->dir, id, "envelope"))
            unlinkat(spool->dir, at->d_name, 0);   /* it was never committed, or all of it is done */
    }
    closedir(list);
    return 0;
}

static int read_all(int fd, struct buf *out, struct fault *fault)
{
    for (;;) {
        char *room = buf_reserve(out, 16 * 1024);
        if (room == NULL)
            return fault_set(fault, FAULT_CORRUPT, 0, "envelope is too big");
        ssize_t got = read(fd, room, 16 * 1024);
        if (got < 0 && errno != EINTR)
            return fault_set_errno(fault, errno, "reading an envelope");
        if (got == 0)
            return 0;
        buf_extend(out, got > 0 ? (size_t)got : 0);
    }
}

int spool_load(struct spool *spool, const char *id, struct envelope *out, struct fault *fault)
{
    char name[NAME_SIZE];
    struct buf text;
    memset(out, 0, sizeof(*out));
    name_of(name, id, "envelope");
    int fd = openat(spool->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", name);
    buf_init(&text, ENVELOPE_MAX);
    int result = read_all(fd, &text, fault);
    if (result == 0)
        result = queue_envelope_parse(buf_slice(&text), out, fault);
    snprintf(out->id, sizeof(out->id), "%s", id);
    buf_fini(&text);
    close(fd);
    return result;
}

int spool_write_message(int fd, struct slice bytes, struct fault *fault)
{
    while (bytes.len != 0) {
        ssize_t done = write(fd, bytes.data, bytes.len);
        if (done < 0 && errno != EINTR)
            return fault_set_errno(fault, errno, "writing to the queue");
        bytes = slice_from(bytes, done < 0 ? 0 : (size_t)done);
    }
    return 0;
}

static int write_flushed(int fd, struct slice bytes, struct fault *fault)
{
    if (spool_write_message(fd, bytes, fault) < 0)
        return -1;
    return fsync(fd) == 0 ? 0 : fault_set_errno(fault, errno, "flushing an envelope");
}

static int flush_directory(int dir, struct fault *fault)
{
    return fsync(dir) == 0 ? 0 : fault_set_errno(fault, errno, "flushing the queue's directory");
}

/* The envelope's text as `name` in directory `to`, by way of tmp/. */
static int put_envelope(struct spool *spool, struct slice text, int to, const char *name, struct fault *fault)
{
    int fd = openat(spool->tmp, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", name);
    int result = write_flushed(fd, text, fault);
    close(fd);
    if (result == 0 && renameat(spool->tmp, name, to, name) < 0)
        result = fault_set_errno(fault, errno, "%s", name);
    if (result < 0)
        unlinkat(spool->tmp, name, 0);
    return result == 0 ? flush_directory(to, fault) : -1;
}

int spool_store(struct spool *spool, const struct envelope *envelope, struct fault *fault)
{
    char name[NAME_SIZE];
    struct buf text = { 0 };
    name_of(name, envelope->id, "envelope");
    queue_envelope_write(envelope, &text);
    int result = put_envelope(spool, buf_slice(&text), spool->dir, name, fault);
    buf_fini(&text);
    return result;
}

int spool_store_under_way(struct spool *spool, struct envelope *envelope, struct fault *fault)
{
    envelope->under_way = true;
    int result = spool_store(spool, envelope, fault);
    envelope->under_way = false;
    return result;
}

int spool_remove(struct spool *spool, const char *id, struct fault *fault)
{
    char name[NAME_SIZE];
    name_of(name, id, "envelope");
    if (unlinkat(spool->dir, name, 0) < 0 && errno != ENOENT)
        return fault_set_errno(fault, errno, "%s", name);
    if (flush_directory(spool->dir, fault) < 0)
        return -1;
    name_of(name, id, "message");
    unlinkat(spool->dir, name, 0);   /* left behind it is found by spool_recover */
    return 0;
}

int spool_open_message(struct spool *spool, const char *id, int *fd_out, struct fault *fault)
{
    char name[NAME_SIZE];
    name_of(name, id, "message");
    *fd_out = openat(spool->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    return *fd_out >= 0 ? 0 : fault_set_errno(fault, errno, "%s", name);
}

int spool_set_aside(struct spool *spool, const char *id, struct fault *fault)
{
    static const char *const kinds[] = { "message", "envelope" };
    char name[NAME_SIZE];
    for (size_t i = 0; i < 2; i++) {
        name_of(name, id, kinds[i]);
        if (renameat(spool->dir, name, spool->bad, name) < 0 && errno != ENOENT)
            return fault_set_errno(fault, errno, "setting %s aside", name);
    }
    if (flush_directory(spool->bad, fault) < 0)
        return -1;
    return flush_directory(spool->dir, fault);
}

static void write_failed(const struct envelope *envelope, struct buf *out)
{
    struct envelope failed = *envelope;
    failed.recipients = NULL;
    failed.count = failed.size = 0;
    failed.told = NULL;
    failed.client = (struct queue_client){ .address = NULL };
    failed.told_count = 0;
    failed.of[0] = '\0';
    for (size_t i = 0; i < envelope->count; i++)
        if (envelope->recipients[i].outcome == OUTCOME_FAILED)
            queue_envelope_add(&failed, slice_from_string(envelope->recipients[i].address));
    queue_envelope_write(&failed, out);
    failed.sender = NULL;
    queue_envelope_fini(&failed);
}

/* A message that is kept under this ID: is it by the same attempt, which a crash has cut short? It may have no envelope yet. */
static bool is_same_failure(struct spool *spool, const char *id, struct slice text)
{
    char name[NAME_SIZE];
    struct buf kept;
    struct fault fault;
    name_of(name, id, "envelope");
    int fd = openat(spool->bad, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return errno == ENOENT;
    buf_init(&kept, ENVELOPE_MAX);
    bool same = read_all(fd, &kept, &fault) == 0 && slice_is_equal(buf_slice(&kept), text);
    buf_fini(&kept);
    close(fd);
    return same;
}

int spool_keep_failed(struct spool *spool, const struct envelope *envelope, struct fault *fault)
{
    char from[NAME_SIZE], kept[NAME_SIZE], id[NAME_SIZE - 16];
    struct buf text = { 0 };
    unsigned long long number = envelope->attempts % 100000;
    name_of(from, envelope->id, "message");
    write_failed(envelope, &text);
    bool there;
    do {
        snprintf(id, sizeof(id), "%.24s-%llu", envelope->id, number++);
        name_of(kept, id, "message");
        there = linkat(spool->dir, from, spool->bad, kept, 0) == 0;
        if (!there && errno == EEXIST)
            there = is_same_failure(spool, id, buf_slice(&text));
        else if (!there)
            break;
    } while (!there);
    name_of(kept, id, "envelope");
    int result = there ? put_envelope(spool, buf_slice(&text), spool->bad, kept, fault) : fault_set_errno(fault, errno, "keeping %s", from);
    buf_fini(&text);
    return result;
}

int spool_create_message(struct spool *spool, const char *id, int *fd_out, struct fault *fault)
{
    char name[NAME_SIZE];
    name_of(name, id, "message");
    *fd_out = openat(spool->tmp, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    return *fd_out >= 0 ? 0 : fault_set_errno(fault, errno, "%s", name);
}

int spool_commit_message(struct spool *spool, const struct envelope *envelope, int fd, struct fault *fault)
{
    char name[NAME_SIZE];
    name_of(name, envelope->id, "message");
    if (fsync(fd) < 0)
        return fault_set_errno(fault, errno, "flushing %s", name);
    if (renameat(spool->tmp, name, spool->dir, name) < 0)
        return fault_set_errno(fault, errno, "%s", name);
    if (spool_store(spool, envelope, fault) == 0)
        return 0;
    /* Not accepted: it must not be sent either. */
    spool_remove(spool, envelope->id, NULL);
    return -1;
}

void spool_discard_message(struct spool *spool, const char *id)
{
    char name[NAME_SIZE];
    name_of(name, id, "message");
    unlinkat(spool->tmp, name, 0);
}
