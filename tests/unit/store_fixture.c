/* A Maildir in a temporary directory for the tests of src/store. */
#include "store_fixture.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"

void maildir_make(struct maildir *maildir)
{
    const char *base = getenv("TMPDIR");
    snprintf(maildir->path, sizeof(maildir->path), "%s/postern-store-XXXXXX", base != NULL && strlen(base) < 80 ? base : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(maildir->path));
    maildir->fd = open(maildir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CU_ASSERT_FATAL(maildir->fd >= 0);
    static const char *const names[] = { "new", "cur", "tmp" };
    for (size_t i = 0; i < 3; i++)
        CU_ASSERT_EQUAL(mkdirat(maildir->fd, names[i], 0700), 0);
    maildir->mailbox = NULL;
    maildir_open(maildir);
}

void maildir_open(struct maildir *maildir)
{
    struct fault fault;
    int fd = open(maildir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct mailbox_place place = { .folder = fd, .control = fd, .validity = maildir->fd };
    CU_ASSERT_EQUAL_FATAL(mailbox_new_at(&place, &maildir->mailbox, &fault), 0);
}

void maildir_close(struct maildir *maildir)
{
    mailbox_unref(&maildir->mailbox);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *walk)
{
    (void)st, (void)type, (void)walk;
    return remove(path);
}

void maildir_end(struct maildir *maildir)
{
    maildir_close(maildir);
    close(maildir->fd);
    nftw(maildir->path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

void maildir_write(struct maildir *maildir, const char *name, const char *text)
{
    int fd = openat(maildir->fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

char *maildir_read(struct maildir *maildir, const char *name, size_t *len_out)
{
    char *text = mem_alloc(1 << 20);
    int fd = openat(maildir->fd, name, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, text, (1 << 20) - 1);
    if (fd >= 0)
        close(fd);
    if (len_out != NULL)
        *len_out = got > 0 ? (size_t)got : 0;
    return text;
}

bool maildir_has(struct maildir *maildir, const char *name)
{
    return faccessat(maildir->fd, name, F_OK, 0) == 0;
}

unsigned maildir_count(struct maildir *maildir, const char *directory)
{
    unsigned count = 0;
    DIR *entries = fdopendir(openat(maildir->fd, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    CU_ASSERT_PTR_NOT_NULL_FATAL(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL; )
        count += entry->d_name[0] != '.';
    closedir(entries);
    return count;
}

void maildir_age(struct maildir *maildir, const char *name, int seconds)
{
    time_t then = clock_wall().tv_sec - seconds;
    struct timespec times[2] = { { .tv_sec = then }, { .tv_sec = then } };
    CU_ASSERT_EQUAL(utimensat(maildir->fd, name, times, 0), 0);
}

void maildir_deliver(struct maildir *maildir, const char *text)
{
    struct message_writer *writer;
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(message_writer_open(maildir->mailbox, &writer, &fault), 0);
    CU_ASSERT_EQUAL(message_writer_write(writer, slice_from_string(text), &fault), 0);
    CU_ASSERT_EQUAL(message_writer_deliver(writer, &fault), 0);
    message_writer_free(&writer);
}

uint32_t maildir_append(struct maildir *maildir, const char *text, uint8_t flags, const char *keyword)
{
    struct message_writer *writer;
    struct fault fault;
    uint32_t uid = 0, validity = 0;
    struct slice name = slice_from_string(keyword);
    CU_ASSERT_EQUAL_FATAL(message_writer_open(maildir->mailbox, &writer, &fault), 0);
    CU_ASSERT_EQUAL(message_writer_write(writer, slice_from_string(text), &fault), 0);
    CU_ASSERT_EQUAL(message_writer_append(writer, flags, &name, keyword != NULL, 1000000000, &uid, &validity, &fault), 0);
    CU_ASSERT(validity != 0);
    message_writer_free(&writer);
    return uid;
}

int maildir_sync(struct maildir *maildir)
{
    struct fault fault = { 0 };
    int result = mailbox_sync(maildir->mailbox, &fault);
    if (result != 0)
        fprintf(stderr, "sync: %s\n", fault.text);
    return result;
}

void maildir_describe(struct maildir *maildir, char *out, size_t size)
{
    struct buf text = { 0 };
    struct message messages[64];
    struct view *view = view_open(maildir->mailbox, true, NULL, NULL);
    size_t count = view_read(view, 1, messages, 64);
    for (size_t i = 0; i < count; i++) {
        static const char letters[] = "SRFTD";
        buf_printf(&text, "%s%u:", i > 0 ? " " : "", messages[i].uid);
        for (unsigned bit = 0; bit < 5; bit++)
            if (messages[i].flags >> bit & 1)
                buf_append_byte(&text, letters[bit]);
        for (unsigned bit = 0; bit < KEYWORDS_MAX; bit++)
            if (messages[i].keywords >> bit & 1)
                buf_append_byte(&text, (char)('a' + bit));
    }
    view_close(&view);
    snprintf(out, size, "%s", buf_text(&text));
    buf_fini(&text);
}
