/* Finds and decodes the first text part of a message for the login option n. Called by retrieve.c in steps, and by remote_plain.c. It must never hold a body in
 * memory: headers are capped by mime, bodies pass in pieces. */
#include "plain.h"

#include <errno.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "postern/mime/header.h"
#include "postern/mime/structure.h"

static const char no_text[] = "(This message has no text part.)\r\n";

static bool is_text(const struct part *part, const char *subtype)
{
    if (part->multipart || part->message || part->overflow)
        return false;
    /* A part that does not say what it is, is plain text (RFC 2045 section 5.2). */
    return part->content.type.data == NULL || content_is_type(&part->content, "text", subtype);
}

/* Next part in the order of the file. */
static const struct part *next_part(const struct part *part)
{
    if (part->children != NULL)
        return part->children;
    while (part != NULL && part->next == NULL)
        part = part->parent;
    return part != NULL ? part->next : NULL;
}

static const struct part *find_text(const struct part *message)
{
    static const char *const wanted[] = { "plain", "html", NULL };
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
        for (const struct part *part = message; part != NULL; part = next_part(part))
            if (is_text(part, wanted[i]))
                return part;
    return NULL;
}

static int read_structure(int fd, char *scratch, size_t scratch_size, struct structure *structure, struct fault *fault)
{
    off_t at = 0;
    for (;;) {
        ssize_t got = pread(fd, scratch, scratch_size, at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fault_set_errno(fault, errno, "reading a message");
        if (got == 0)
            return 0;
        structure_feed(structure, (struct slice){ scratch, (size_t)got });
        at += got;
    }
}

static void copy_header(struct plain *plain, struct slice header)
{
    struct header_field field;
    while (header_next(&header, &field)) {
        if (!slice_is_nocase(field.name, "MIME-Version") && !slice_starts_with_nocase(field.name, "Content-"))
            buf_append(&plain->header, field.raw);
    }
    if (plain->header.len != 0 && plain->header.data[plain->header.len - 1] != '\n')
        buf_append_byte(&plain->header, '\n');
    buf_append_byte(&plain->header, '\n');
}

struct plain *plain_of(const struct part *message, struct slice beginning)
{
    struct plain *plain = MEM_NEW(struct plain);
    const struct part *part = find_text(message);
    uint64_t size = message->header.stored;
    plain->is_html = part == NULL || !is_text(part, "plain");
    copy_header(plain, slice_part(beginning, 0, size < beginning.len ? (size_t)size : beginning.len));
    plain->charset = charset_new(part != NULL ? content_parameter(&part->content, "charset") : SLICE_NONE);
    if (plain->charset == NULL)
        plain->charset = charset_new(SLICE_LITERAL("UTF-8"));
    if (part == NULL) {
        buf_append_text(&plain->header, no_text);
        return plain;
    }
    plain->offset = part->offset + part->header.stored;
    plain->length = part->body.stored;
    plain->decoder.encoding = transfer_encoding_of(part->content.encoding);
    return plain;
}

static int read_beginning(int fd, uint64_t size, struct buf *beginning, struct fault *fault)
{
    size_t want = size < HEADER_BYTES_MAX ? (size_t)size : HEADER_BYTES_MAX;
    ssize_t got;
    do
        got = pread(fd, buf_reserve(beginning, want + 1), want, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return fault_set_errno(fault, errno, "reading a message");
    buf_extend(beginning, (size_t)got);
    return 0;
}

int plain_new(int fd, char *scratch, size_t scratch_size, struct plain **out, struct fault *fault)
{
    struct arena arena;
    struct buf beginning = { 0 };
    arena_init(&arena);
    struct structure *structure = structure_new(&arena);
    int result = read_structure(fd, scratch, scratch_size, structure, fault);
    const struct part *message = structure_finish(structure);
    if (result == 0)
        result = read_beginning(fd, message->header.stored, &beginning, fault);
    *out = result == 0 ? plain_of(message, buf_slice(&beginning)) : NULL;
    buf_fini(&beginning);
    structure_free(&structure);
    arena_clear(&arena);
    return result;
}

void plain_free(struct plain **plain)
{
    if (*plain == NULL)
        return;
    charset_free(&(*plain)->charset);
    buf_fini(&(*plain)->header);
    buf_fini(&(*plain)->decoded);
    mem_free(plain);
}

static void decode_charset(struct plain *plain, struct buf *text)
{
    charset_decode(plain->charset, buf_slice(&plain->decoded), text);
    buf_clear(&plain->decoded);
}

void plain_decode(struct plain *plain, struct slice stored, struct buf *text)
{
    transfer_decode(&plain->decoder, stored, &plain->decoded);
    decode_charset(plain, text);
}

void plain_decode_end(struct plain *plain, struct buf *text)
{
    transfer_decode_end(&plain->decoder, &plain->decoded);
    decode_charset(plain, text);
}
