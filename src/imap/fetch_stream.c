/* fetch_stream: stored bytes as they are sent: every line ends in CRLF, NUL is 0x80 (RFC 3501 section 9 has no NUL in a literal).
 * Called by fetch.c and fetch_message.c in a step. A literal's length is promised before: exactly so many octets are written. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "fetch_internal.h"
#include "postern/mime/header.h"
#include "postern/session/session.h"

enum { CHUNK = 32 * 1024 };

static ssize_t read_at(int fd, char *to, size_t len, uint64_t offset)
{
    ssize_t got;
    do
        got = pread(fd, to, len, (off_t)offset);
    while (got < 0 && errno == EINTR);
    return got;
}

/* As many of the bytes as belong to the literal; returns how many were taken. */
static size_t emit(struct stream *s, const char *bytes, size_t len, struct buf *out)
{
    if (len > s->end - s->at.sent)
        len = (size_t)(s->end - s->at.sent);
    size_t skip = s->at.sent >= s->start ? 0 : s->start - s->at.sent < len ? (size_t)(s->start - s->at.sent) : len;
    s->at.sent += len;
    char *to = skip < len ? buf_reserve(out, len - skip) : NULL;
    if (to != NULL) {
        memcpy(to, bytes + skip, len - skip);
        buf_extend(out, len - skip);
        for (char *nul = to; (nul = memchr(nul, '\0', (size_t)(out->data + out->len - nul))) != NULL;)
            *nul++ = (char)0x80;
    }
    return len;
}

/* Converts the whole chunk at once; false, with nothing done, unless all of it is wanted and it has no NUL. */
static bool convert_whole(struct stream *s, const char *chunk, size_t len, struct buf *out)
{
    char *start = s->at.sent < s->start || s->at.owes_lf || memchr(chunk, '\0', len) != NULL ? NULL : buf_reserve(out, 2 * len);
    if (start == NULL)
        return false;
    char *to = start;
    bool after_cr = s->at.after_cr;
    for (const char *at = chunk, *end = chunk + len; at < end;) {
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        size_t run = (size_t)((lf != NULL ? lf : end) - at);
        memcpy(to, at, run);
        to += run;
        if (run > 0)
            after_cr = at[run - 1] == '\r';
        at += run;
        if (lf == NULL)
            break;
        if (!after_cr)
            *to++ = '\r';
        *to++ = '\n';
        after_cr = false;
        at++;
    }
    if ((uint64_t)(to - start) > s->end - s->at.sent)
        return false;
    buf_extend(out, (size_t)(to - start));
    s->at.sent += (uint64_t)(to - start);
    s->at.stored += len;
    s->at.after_cr = after_cr;
    return true;
}

/* Converts from the chunk until it or the literal ends. */
static void convert(struct stream *s, const char *chunk, size_t len, struct buf *out)
{
    size_t at = 0;
    while (at < len && s->at.sent < s->end) {
        const char *lf = memchr(chunk + at, '\n', len - at);
        size_t run = lf == NULL ? len - at : (size_t)(lf - chunk) - at;
        if (run > 0) {
            size_t done = emit(s, chunk + at, run, out);
            at += done;
            if (done > 0)
                s->at.after_cr = chunk[at - 1] == '\r';
            continue;
        }
        if (!s->at.after_cr && !s->at.owes_lf) {
            emit(s, "\r", 1, out);
            s->at.owes_lf = true;
            continue;
        }
        emit(s, "\n", 1, out);
        s->at.owes_lf = s->at.after_cr = false;
        at++;
    }
    s->at.stored += at;
}

static void pad(struct stream *s, struct buf *out)
{
    char spaces[4096];
    s->padded = true;
    memset(spaces, ' ', sizeof(spaces));
    emit(s, spaces, sizeof(spaces), out);
}

bool fetch_stream_write(struct stream *s, int fd, struct buf *out)
{
    char chunk[CHUNK];
    while (s->at.sent < s->end) {
        if (out->len >= SESSION_OUT_CHUNK)
            return false;
        uint64_t left = s->extent.to > s->at.stored ? s->extent.to - s->at.stored : 0;
        ssize_t got = left == 0 ? 0 : read_at(fd, chunk, left < CHUNK ? (size_t)left : CHUNK, s->at.stored);
        if (got <= 0)
            pad(s, out);
        else if (!convert_whole(s, chunk, (size_t)got, out))
            convert(s, chunk, (size_t)got, out);
    }
    return true;
}

struct header_scan {
    struct buf *text;
    struct part_size *size;
    bool after_cr, ended;
    size_t line_len;
};

/* One line or a piece of one. */
static void scan_piece(struct header_scan *scan, const char *bytes, size_t len)
{
    bool lf = bytes[len - 1] == '\n';
    bool cr = len > 1 ? bytes[len - 2] == '\r' : scan->after_cr;
    scan->after_cr = bytes[len - 1] == '\r';
    scan->line_len += len;
    scan->size->stored += len;
    scan->size->sent += len;
    size_t from = scan->text->len;
    size_t room = from < HEADER_BYTES_MAX ? HEADER_BYTES_MAX - from : 0;
    buf_append(scan->text, slice_make(bytes, len < room ? len : room));
    for (size_t i = from; i < scan->text->len; i++)
        if (scan->text->data[i] == '\0')
            scan->text->data[i] = (char)0x80;
    if (!lf)
        return;
    scan->size->sent += !cr;
    scan->size->lines++;
    scan->ended = scan->line_len == 1 || (scan->line_len == 2 && cr);
    scan->line_len = 0;
}

int fetch_header_read(int fd, uint64_t from, uint64_t to, struct buf *text_out, struct part_size *size_out, struct fault *fault)
{
    char chunk[CHUNK];
    struct header_scan scan = { .text = text_out, .size = size_out };
    *size_out = (struct part_size){ 0 };
    while (from < to && !scan.ended) {
        /* Most headers are short. */
        size_t want = size_out->stored == 0 ? 8192 : CHUNK;
        ssize_t got = read_at(fd, chunk, to - from < want ? (size_t)(to - from) : want, from);
        if (got < 0)
            return fault_set_errno(fault, errno, "reading a message");
        if (got == 0)
            break;
        from += (uint64_t)got;
        for (size_t at = 0; at < (size_t)got && !scan.ended;) {
            const char *lf = memchr(chunk + at, '\n', (size_t)got - at);
            size_t len = lf == NULL ? (size_t)got - at : (size_t)(lf - chunk) - at + 1;
            scan_piece(&scan, chunk + at, len);
            at += len;
        }
    }
    return 0;
}
