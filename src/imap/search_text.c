/* search_text: keys that look into a message: header fields, dates in them, bodies. Called by search.c in a step. Header fields that the
 * cached digest holds open no file. Bodies are decoded piece by piece and never held whole. */
#include <errno.h>
#include <unistd.h>

#include "postern/mime/decode.h"
#include "postern/mime/header.h"
#include "search_internal.h"

enum { CHUNK = 32 * 1024 };

void search_text_close(struct search *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
    s->opened = s->gone = s->header_read = s->digest_read = s->body_read = false;
    s->root_part = NULL;
    buf_clear(&s->header);
    buf_clear(&s->digest);
    arena_clear(&s->work);
}

/* 1 open, 0 gone, -1 fault. */
static int open_message(struct search *s, uint32_t uid, struct fault *fault)
{
    if (!s->opened) {
        s->opened = true;
        if (mailbox_open_message(s->mailbox, uid, &s->fd, &s->stored_size, fault) != 0) {
            s->fd = -1;
            s->gone = fault->class == FAULT_GONE || fault->class == FAULT_NOT_FOUND;
            s->opened = s->gone;
            return s->gone ? 0 : -1;
        }
    }
    return s->gone ? 0 : 1;
}

static int read_header(struct search *s, uint32_t uid, struct fault *fault)
{
    int open = open_message(s, uid, fault);
    if (open != 1 || s->header_read)
        return open;
    struct part_size size;
    if (fetch_header_read(s->fd, 0, s->stored_size, &s->header, &size, fault) != 0)
        return -1;
    s->header_read = true;
    if (!s->digest_read) {
        fetch_digest(buf_slice(&s->header), &s->digest);
        fetch_digest_put(s->mailbox, uid, buf_slice(&s->digest));
        s->digest_read = true;
    }
    return 1;
}

/* The header, or as much of it as holds the field. */
static int header_with(struct search *s, struct slice name, uint32_t uid, struct slice *header_out, struct fault *fault)
{
    if (fetch_field_is_usual(name)) {
        if (!s->digest_read)
            s->digest_read = mailbox_cache_get(s->mailbox, uid, CACHE_HEADER, &s->digest);
        if (s->digest_read) {
            *header_out = buf_slice(&s->digest);
            return 1;
        }
    }
    int read = read_header(s, uid, fault);
    *header_out = buf_slice(&s->header);
    return read;
}

/* --- fields ---------------------------------------------------------------------------------------------------------- */

static bool value_has(struct slice value, struct slice text)
{
    struct buf decoded = { 0 }, folded = { 0 };
    words_decode(value, &decoded);
    text_fold(buf_slice(&decoded), &folded);
    bool found = text.len == 0 || slice_find_text(buf_slice(&folded), text) >= 0;
    buf_fini(&decoded);
    buf_fini(&folded);
    return found;
}

/* name NULL: any field, its name included. */
static bool header_has(struct slice header, struct slice name, struct slice text)
{
    struct header_field field;
    while (header_next(&header, &field))
        if (name.data == NULL ? value_has(field.raw, text) : slice_is_equal_nocase(field.name, name) && value_has(field.value, text))
            return true;
    return false;
}

static bool sent_matches(struct slice header, const struct key *key)
{
    struct header_field field;
    int64_t day;
    if (!header_find(header, "Date", &field) || !header_date(field.value, &day))
        return false;
    return key->kind == KEY_SENT_BEFORE ? day < key->day : key->kind == KEY_SENT_ON ? day == key->day : day >= key->day;
}

/* --- bodies ---------------------------------------------------------------------------------------------------------- */

struct body_search {
    struct search *search;
    struct text_search text;
    struct transfer_decoder decoder;
    struct charset *charset;      /* NULL: unknown, bytes as they are */
    struct buf bytes, utf8, folded;
};

/* Decoded bytes on to the needle. A character that is split waits for its rest. */
static bool search_bytes(struct body_search *b)
{
    if (b->charset != NULL)
        charset_decode(b->charset, buf_slice(&b->bytes), &b->utf8);
    else
        buf_append(&b->utf8, buf_slice(&b->bytes));
    buf_clear(&b->bytes);
    struct slice whole = buf_slice(&b->utf8);
    if (whole.len > 0 && (unsigned char)whole.data[whole.len - 1] >= 0xC0)
        whole.len--;
    buf_clear(&b->folded);
    text_fold(whole, &b->folded);
    bool found = text_search_feed(&b->text, buf_slice(&b->folded));
    buf_consume(&b->utf8, whole.len);
    return found;
}

static int search_leaf(struct body_search *b, const struct part *part, struct fault *fault)
{
    uint64_t at = part->offset + part->header.stored, end = at + part->body.stored;
    bool found = false;
    while (at < end && !found) {
        char chunk[CHUNK];
        ssize_t got = pread(b->search->fd, chunk, end - at < CHUNK ? (size_t)(end - at) : CHUNK, (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fault_set_errno(fault, errno, "reading a message");
        if (got == 0)
            break;
        at += (uint64_t)got;
        transfer_decode(&b->decoder, slice_make(chunk, (size_t)got), &b->bytes);
        found = search_bytes(b);
    }
    if (!found) {
        transfer_decode_end(&b->decoder, &b->bytes);
        found = search_bytes(b);
    }
    return found;
}

static bool is_text(const struct part *part)
{
    return !part->overflow && (part->content.type.data == NULL || slice_is_nocase(part->content.type, "text") ||
                               slice_is_nocase(part->content.type, "message"));
}

static int search_part(struct search *s, const struct key *key, const struct part *part, struct fault *fault)
{
    struct body_search b = { .search = s };
    int found = 0;
    if (part->parent != NULL) {
        struct buf header = { 0 };
        struct part_size size;
        found = fetch_header_read(s->fd, part->offset, part->offset + part->header.stored, &header, &size, fault);
        if (found == 0)
            found = header_has(buf_slice(&header), SLICE_NONE, key->text);
        buf_fini(&header);
    }
    if (found == 0 && !part->multipart && !part->message && is_text(part)) {
        text_search_init(&b.text, key->text);
        b.decoder.encoding = transfer_encoding_of(part->content.encoding);
        b.charset = charset_new(content_parameter(&part->content, "charset"));
        found = search_leaf(&b, part, fault);
        text_search_fini(&b.text);
        charset_free(&b.charset);
        buf_fini(&b.bytes);
        buf_fini(&b.utf8);
        buf_fini(&b.folded);
    }
    for (const struct part *child = part->children; child != NULL && found == 0; child = child->next)
        found = search_part(s, key, child, fault);
    return found;
}

static int read_structure(struct search *s, uint32_t uid, struct fault *fault)
{
    int open = open_message(s, uid, fault);
    if (open != 1 || s->root_part != NULL)
        return open;
    struct structure *structure = structure_new(&s->work);
    ssize_t got = 0;
    for (uint64_t at = 0; at < s->stored_size; at += (uint64_t)got) {
        char chunk[CHUNK];
        got = pread(s->fd, chunk, CHUNK, (off_t)at);
        if (got < 0 && errno == EINTR)
            got = 0;
        else if (got <= 0)
            break;
        structure_feed(structure, slice_make(chunk, (size_t)got));
    }
    int error = errno;
    s->root_part = structure_finish(structure);
    structure_free(&structure);
    return got < 0 ? fault_set_errno(fault, error, "reading a message") : 1;
}

int search_text_match(struct search *s, const struct key *key, uint32_t uid, struct fault *fault)
{
    struct slice header;
    int result;
    if (key->kind != KEY_BODY && key->kind != KEY_TEXT) {
        result = header_with(s, key->name, uid, &header, fault);
        if (result == 1)
            result = key->kind == KEY_HEADER ? header_has(header, key->name, key->text) : sent_matches(header, key);
        return result;
    }
    if (key->kind == KEY_TEXT) {
        result = read_header(s, uid, fault);
        if (result == 1 && header_has(buf_slice(&s->header), SLICE_NONE, key->text))
            return 1;
        if (result != 1)
            return result;
    }
    result = read_structure(s, uid, fault);
    return result == 1 ? search_part(s, key, s->root_part, fault) : result;
}
