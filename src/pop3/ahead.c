/* Reading ahead of a client that retrieves all its messages. Called by commands.c and pop3.c. It must never read a message that might not be
 * asked for next, nor hold more than a little. */
#include "ahead.h"

#include "retrieve.h"

void ahead_note(struct ahead *ahead, uint32_t index)
{
    ahead->wanted = index == ahead->next;
    ahead->next = index + 1;
}

/* Whole and small, or not at all. */
static bool read_one(struct ahead *ahead, struct maildrop *drop, struct entry *entry, char *scratch)
{
    struct retrieval retrieval = { 0 };
    struct fault fault;
    size_t before = ahead->text.len;
    if (retrieve_begin(&retrieval, drop, entry, scratch, &fault) < 0)
        return false;
    bool fits = retrieval.left <= AHEAD_BYTES - before;
    bool good = fits && retrieve_continue(&retrieval, scratch, &ahead->text, &fault) == RETRIEVE_DONE;
    retrieve_end(&retrieval);
    if (!good)
        buf_truncate(&ahead->text, before);
    return good;
}

void ahead_fill(struct ahead *ahead, struct maildrop *drop, char *scratch)
{
    if (!ahead->wanted || ahead_has(ahead, ahead->next))
        return;
    buf_clear(&ahead->text);
    ahead->wanted = false;
    ahead->count = 0;
    ahead->first = ahead->next;
    for (uint32_t i = ahead->next; i < drop->count && ahead->count < AHEAD_MESSAGES && ahead->text.len < AHEAD_BYTES; i++) {
        ahead->from[ahead->count] = ahead->text.len;
        if ((drop->entries[i].flags & ENTRY_DELETED) || !read_one(ahead, drop, &drop->entries[i], scratch))
            break;
        ahead->from[++ahead->count] = ahead->text.len;
    }
    if (ahead->count == 0)
        buf_fini(&ahead->text);
}

bool ahead_has(const struct ahead *ahead, uint32_t index)
{
    return index >= ahead->first && index - ahead->first < ahead->count;
}

void ahead_take(struct ahead *ahead, uint32_t index, struct buf *out)
{
    uint32_t at = index - ahead->first;
    buf_append(out, slice_part(buf_slice(&ahead->text), ahead->from[at], ahead->from[at + 1] - ahead->from[at]));
    if (at + 1 == ahead->count)
        ahead_fini(ahead);
}

void ahead_fini(struct ahead *ahead)
{
    buf_fini(&ahead->text);
    ahead->count = 0;
}
