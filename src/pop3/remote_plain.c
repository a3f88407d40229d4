/* Reads a message from a Post Office Agent as plain.c reads a file: its structure and its header are learned as it passes, and its beginning is kept:
 * mostly the part that is sent lies there. Called by remote_body.c on the loop. It must never keep more than that: a big message has no place here. */
#include "remote_plain.h"

#include <assert.h>

#include "plain.h"
#include "postern/base/memory.h"
#include "postern/mime/header.h"
#include "postern/mime/structure.h"

enum { LINE_MAX_OCTETS = 4096 };    /* more than the line of any boundary that is one */

static_assert((int)REMOTE_PLAIN_BEGINNING >= (int)HEADER_BYTES_MAX, "a header that counts is kept whole");

struct remote_plain {
    struct arena arena;
    struct structure *structure;
    struct buf beginning;
};

struct remote_plain *remote_plain_new(void)
{
    struct remote_plain *reading = MEM_NEW(struct remote_plain);
    arena_init(&reading->arena);
    reading->structure = structure_new(&reading->arena);
    return reading;
}

void remote_plain_free(struct remote_plain **reading)
{
    if (*reading == NULL)
        return;
    structure_free(&(*reading)->structure);
    arena_clear(&(*reading)->arena);
    buf_fini(&(*reading)->beginning);
    mem_free(reading);
}

void remote_plain_feed(struct remote_plain *reading, struct slice piece)
{
    size_t room = REMOTE_PLAIN_BEGINNING - reading->beginning.len;
    structure_feed(reading->structure, piece);
    buf_append(&reading->beginning, slice_part(piece, 0, piece.len < room ? piece.len : room));
}

struct plain *remote_plain_finish(struct remote_plain *reading)
{
    return plain_of(structure_finish(reading->structure), buf_slice(&reading->beginning));
}

/* The first part of plain text is what is sent, and where a boundary has ended it, it ends. */
bool remote_plain_is_sure(const struct remote_plain *reading, const struct plain *plain)
{
    return !plain->is_html && plain->offset + plain->length + LINE_MAX_OCTETS <= reading->beginning.len;
}

bool remote_plain_has(const struct remote_plain *reading, const struct plain *plain, struct slice *part_out)
{
    size_t kept = reading->beginning.len;
    bool has = plain->offset <= kept && plain->length <= kept - plain->offset;
    *part_out = has ? slice_part(buf_slice(&reading->beginning), (size_t)plain->offset, (size_t)plain->length) : SLICE_NONE;
    return has;
}
