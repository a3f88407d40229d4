/* Writing one new message: into tmp/, CRLF stored as LF, then delivered to new/ without a lock or appended to cur/ with flags and UID. Called
 * by SMTP delivery and APPEND in steps. Nothing counts before file and directory are flushed. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "filename.h"
#include "plain_file.h"
#include "postern/base/memory.h"
#include "state.h"

enum { WRITER_BUFFER = 32 * 1024, WRITER_ATTEMPTS = 3 };

struct message_writer {
    struct mailbox *mailbox;
    int fd;
    bool has_file;             /* in tmp/ */
    bool flushed;
    bool pending_cr;           /* a CR that may be the first half of CRLF */
    bool last_was_cr;          /* the last byte stored was a CR */
    uint64_t stored, sent;     /* bytes in the file; bytes with every line ending in CRLF */
    time_t date;               /* that the file has by our hand */
    struct buf name;           /* base name without sizes */
    size_t used;
    char buffer[WRITER_BUFFER];
};

int message_writer_open(struct mailbox *mailbox, struct message_writer **out, struct fault *fault)
{
    struct message_writer *writer = MEM_NEW(struct message_writer);
    struct buf path = { 0 };
    int error = EEXIST;
    writer->fd = -1;
    for (int attempt = 0; writer->fd < 0 && error == EEXIST && attempt < WRITER_ATTEMPTS; attempt++) {
        buf_clear(&writer->name);
        buf_clear(&path);
        filename_unique(&writer->name);
        buf_append_text(&path, "tmp/");
        buf_append(&path, buf_slice(&writer->name));
        writer->fd = openat(mailbox->place.folder, buf_text(&path), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
        error = errno;
    }
    buf_fini(&path);
    if (writer->fd < 0) {
        buf_fini(&writer->name);
        mem_free(&writer);
        return fault_set_errno(fault, error, "tmp");
    }
    file_share_like(writer->fd, mailbox->place.folder);
    writer->has_file = true;
    writer->mailbox = mailbox_ref(mailbox);
    *out = writer;
    return 0;
}

static int writer_flush(struct message_writer *writer, struct fault *fault)
{
    for (size_t at = 0; at < writer->used; ) {
        ssize_t done = write(writer->fd, writer->buffer + at, writer->used - at);
        if (done < 0 && errno == EINTR)
            continue;
        if (done < 0)
            return fault_set_errno(fault, errno, "tmp: write");
        at += (size_t)done;
    }
    writer->used = 0;
    return 0;
}

/* A run of bytes of which only the last may be a line's end. */
static int put_run(struct message_writer *writer, const char *bytes, size_t len, struct fault *fault)
{
    bool ends_line = len > 0 && bytes[len - 1] == '\n';
    bool after_cr = len > 1 ? bytes[len - 2] == '\r' : writer->last_was_cr;
    writer->stored += len;
    writer->sent += len + (ends_line && !after_cr);
    if (len > 0)
        writer->last_was_cr = bytes[len - 1] == '\r';
    while (len > 0) {
        if (writer->used == WRITER_BUFFER && writer_flush(writer, fault) != 0)
            return -1;
        size_t part = len < WRITER_BUFFER - writer->used ? len : WRITER_BUFFER - writer->used;
        memcpy(writer->buffer + writer->used, bytes, part);
        writer->used += part;
        bytes += part;
        len -= part;
    }
    return 0;
}

static int put(struct message_writer *writer, char byte, struct fault *fault)
{
    return put_run(writer, &byte, 1, fault);
}

/* A line, or what there is of it, without a CR before its LF: a CR at the very end is held back. */
static int put_line(struct message_writer *writer, struct slice line, bool has_lf, struct fault *fault)
{
    if (writer->pending_cr && !(line.len == 0 && has_lf) && put(writer, '\r', fault) != 0)
        return -1;
    writer->pending_cr = line.len > 0 && line.data[line.len - 1] == '\r';
    if (writer->pending_cr)
        line.len--;
    if (put_run(writer, line.data, line.len, fault) != 0)
        return -1;
    if (!has_lf)
        return 0;
    writer->pending_cr = false;
    return put(writer, '\n', fault);
}

int message_writer_write(struct message_writer *writer, struct slice bytes, struct fault *fault)
{
    while (bytes.len > 0) {
        const char *lf = memchr(bytes.data, '\n', bytes.len);
        size_t len = lf != NULL ? (size_t)(lf - bytes.data) : bytes.len;
        if (put_line(writer, slice_part(bytes, 0, len), lf != NULL, fault) != 0)
            return -1;
        bytes = slice_from(bytes, lf != NULL ? len + 1 : len);
    }
    return 0;
}

/* Everything on disk before any directory names it. */
static int writer_finish(struct message_writer *writer, time_t date, struct fault *fault)
{
    if (!writer->has_file)
        return fault_set(fault, FAULT_INVALID, 0, "message was delivered already");
    if (writer->flushed && writer->date == date)
        return 0;
    if (writer->pending_cr && put(writer, '\r', fault) != 0)
        return -1;
    writer->pending_cr = false;
    if (writer_flush(writer, fault) != 0)
        return -1;
    struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = date } };
    if ((date != 0 && futimens(writer->fd, times) != 0) || fsync(writer->fd) != 0)
        return fault_set_errno(fault, errno, "tmp: flush");
    writer->flushed = true;
    writer->date = date;
    return 0;
}

static int writer_rename(struct message_writer *writer, const char *directory, struct slice name, struct fault *fault)
{
    struct buf from = { 0 }, to = { 0 };
    buf_append_text(&from, "tmp/");
    buf_append(&from, buf_slice(&writer->name));
    buf_printf(&to, "%s/", directory);
    buf_append(&to, name);
    int result = rename_keeping(writer->mailbox->place.folder, buf_text(&from), buf_text(&to));
    if (result != 0)
        fault_set_errno(fault, errno, "%s", directory);
    else
        writer->has_file = false;
    buf_fini(&from);
    buf_fini(&to);
    return result;
}

static void final_name(const struct message_writer *writer, struct buf *out)
{
    buf_append(out, buf_slice(&writer->name));
    filename_add_sizes(out, writer->stored, writer->sent);
}

/* What will not be acknowledged goes back to tmp/, from where it is removed, or who sends it again would double it. */
static void take_back(struct message_writer *writer, const char *directory, struct slice name)
{
    struct buf from = { 0 }, to = { 0 };
    int folder = writer->mailbox->place.folder;
    buf_printf(&from, "%s/", directory);
    buf_append(&from, name);
    buf_append_text(&to, "tmp/");
    buf_append(&to, buf_slice(&writer->name));
    writer->has_file = rename_keeping(folder, buf_text(&from), buf_text(&to)) == 0;
    if (!writer->has_file)
        unlinkat(folder, buf_text(&from), 0);
    buf_fini(&from);
    buf_fini(&to);
}

int message_writer_deliver(struct message_writer *writer, struct fault *fault)
{
    struct buf name = { 0 };
    int result = writer_finish(writer, 0, fault);
    if (result == 0) {
        final_name(writer, &name);
        result = writer_rename(writer, "new", buf_slice(&name), fault);
        if (result == 0 && flush_directory(writer->mailbox, "new", fault) != 0) {
            take_back(writer, "new", buf_slice(&name));
            result = -1;
        }
    }
    buf_fini(&name);
    return result;
}

/* The file stands in cur/: make it last, record its UID, show it. On failure it goes back to
 * tmp/: nobody was told of it, and after FAULT_BUSY the append is tried again. */
static int record_appended(struct message_writer *writer, struct slice name, uint32_t uid, struct fault *fault)
{
    struct mailbox *mailbox = writer->mailbox;
    struct buf line = { 0 };
    struct stat st;
    uidlist_line(&line, uid, filename_base(name));
    /* In this order most file systems have one flush to do and not two. A line without a file does no harm. */
    int result = sync_record(mailbox, buf_slice(&line), fault);
    if (result == 0)
        result = flush_directory(mailbox, "cur", fault);
    if (result == 0)
        publish_message(mailbox, uid, name, fstat(writer->fd, &st) == 0 ? st.st_mtime : 0);
    else
        take_back(writer, "cur", name);
    buf_fini(&line);
    return result;
}

static int append_locked(struct message_writer *writer, uint8_t flags, uint32_t bits, uint32_t *uid_out, struct fault *fault)
{
    struct mailbox *mailbox = writer->mailbox;
    struct buf base = { 0 }, name = { 0 };
    struct own_change own;
    uint32_t uid = mailbox->list.next_uid;
    final_name(writer, &base);
    filename_make(buf_slice(&base), flags & MESSAGE_STORED_FLAGS, bits, &name);
    int result = uid == UINT32_MAX ? fault_set(fault, FAULT_LIMIT, 0, "no UIDs left") : own_change_begin(mailbox, &own, fault);
    if (result == 0) {
        result = writer_rename(writer, "cur", buf_slice(&name), fault);
        if (result == 0)
            result = record_appended(writer, buf_slice(&name), uid, fault);
        own_change_end(mailbox, &own);
    }
    *uid_out = uid;
    buf_fini(&base);
    buf_fini(&name);
    return result;
}

int message_writer_append(struct message_writer *writer, uint8_t flags, const struct slice *keywords, size_t keyword_count,
                          time_t internal_date, uint32_t *uid_out, uint32_t *uid_validity_out, struct fault *fault)
{
    uint32_t bits;
    if (writer_finish(writer, internal_date, fault) != 0 || sync_begin(writer->mailbox, fault) != 0)
        return -1;
    int result = keywords_bits(writer->mailbox, keywords, keyword_count, true, &bits, fault);
    if (result == 0)
        result = append_locked(writer, flags, bits, uid_out, fault);
    *uid_validity_out = writer->mailbox->list.uid_validity;
    sync_end(writer->mailbox);
    return result;
}

void message_writer_free(struct message_writer **writer)
{
    struct message_writer *w = *writer;
    *writer = NULL;
    if (w == NULL)
        return;
    if (w->has_file) {
        struct buf path = { 0 };
        buf_append_text(&path, "tmp/");
        buf_append(&path, buf_slice(&w->name));
        unlinkat(w->mailbox->place.folder, buf_text(&path), 0);
        buf_fini(&path);
    }
    close(w->fd);
    buf_fini(&w->name);
    mailbox_unref(&w->mailbox);
    mem_release(w);
}
