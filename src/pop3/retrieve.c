/* RETR and TOP: reads the message file in pieces of 64 KiB and writes octets of POP3 as long as the output has room. Called by commands.c
 * and pop3.c in steps. It must never hold more of a message in memory than one piece and its output. */
#include "retrieve.h"

#include <errno.h>
#include <unistd.h>

#include "maildrop.h"
#include "plain.h"
#include "postern/session/session.h"

static int begin_plain(struct retrieval *retrieval, char *scratch, struct fault *fault)
{
    if (plain_new(retrieval->fd, scratch, RETRIEVE_SCRATCH_SIZE, &retrieval->plain, fault) < 0)
        return -1;
    retrieval->left = retrieval->plain->length;
    if (lseek(retrieval->fd, (off_t)retrieval->plain->offset, SEEK_SET) < 0)
        return fault_set_errno(fault, errno, "reading a message");
    return 0;
}

int retrieve_begin(struct retrieval *retrieval, struct maildrop *drop, struct entry *entry, char *scratch, struct fault *fault)
{
    int fd;
    uint64_t stored_size;
    if (mailbox_open_message(drop->mailbox, entry->uid, &fd, &stored_size, fault) < 0)
        return -1;
    *retrieval = (struct retrieval){ .entry = entry, .fd = fd, .left = stored_size };
    if (drop->options.plain && begin_plain(retrieval, scratch, fault) < 0) {
        retrieve_end(retrieval);
        return -1;
    }
    if (!drop->options.plain)
        retrieval->wire.fields = maildrop_fields(drop, entry);
    return 0;
}

void retrieve_only_top(struct retrieval *retrieval, uint64_t body_lines)
{
    retrieval->wire.is_top = true;
    retrieval->wire.body_lines = body_lines;
}

static int read_piece(struct retrieval *retrieval, char *scratch, size_t *len_out, struct fault *fault)
{
    size_t want = retrieval->left < RETRIEVE_SCRATCH_SIZE ? (size_t)retrieval->left : RETRIEVE_SCRATCH_SIZE;
    ssize_t got;
    do
        got = read(retrieval->fd, scratch, want);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return fault_set_errno(fault, errno, "reading message %u", retrieval->entry->uid);
    if (got == 0)
        return fault_set(fault, FAULT_CORRUPT, 0, "message %u became shorter while it was read", retrieval->entry->uid);
    retrieval->left -= (size_t)got;
    *len_out = (size_t)got;
    return 0;
}

void retrieve_write(struct retrieval *retrieval, struct slice piece, struct buf *out)
{
    struct plain *plain = retrieval->plain;
    if (plain == NULL) {
        wire_write(&retrieval->wire, piece, out);
        return;
    }
    wire_write(&retrieval->wire, buf_slice(&plain->header), out);
    buf_clear(&plain->header);
    buf_clear(&retrieval->text);
    if (piece.data != NULL)
        plain_decode(plain, piece, &retrieval->text);
    else
        plain_decode_end(plain, &retrieval->text);
    wire_write(&retrieval->wire, buf_slice(&retrieval->text), out);
}

enum retrieve_result retrieve_continue(struct retrieval *retrieval, char *scratch, struct buf *out, struct fault *fault)
{
    while (retrieval->left != 0 && !retrieval->wire.full) {
        size_t len = 0;
        if (out->len >= SESSION_OUT_CHUNK)
            return RETRIEVE_FULL;
        if (read_piece(retrieval, scratch, &len, fault) < 0)
            return RETRIEVE_BROKEN;
        retrieve_write(retrieval, (struct slice){ scratch, len }, out);
    }
    retrieve_write(retrieval, SLICE_NONE, out);
    wire_end(&retrieval->wire, out);
    return RETRIEVE_DONE;
}

void retrieve_end(struct retrieval *retrieval)
{
    if (retrieval->fd > 0)
        close(retrieval->fd);
    plain_free(&retrieval->plain);
    buf_fini(&retrieval->text);
    *retrieval = (struct retrieval){ 0 };
}

int retrieve_measure(struct maildrop *drop, struct entry *entry, char *scratch, uint64_t *size_out, struct fault *fault)
{
    struct retrieval retrieval = { 0 };
    struct buf out = { 0 };
    uint64_t size = 0;
    enum retrieve_result result;
    if (retrieve_begin(&retrieval, drop, entry, scratch, fault) < 0)
        return -1;
    retrieval.wire.is_measured = true;
    do {
        buf_clear(&out);
        result = retrieve_continue(&retrieval, scratch, &out, fault);
        size += out.len;
    } while (result == RETRIEVE_FULL);
    retrieve_end(&retrieval);
    buf_fini(&out);
    *size_out = size;
    return result == RETRIEVE_DONE ? 0 : -1;
}
