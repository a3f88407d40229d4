/* ahead: the next messages of a client that retrieves one after the other, read in the step of the one before: they are answered from
 * memory. A few small ones, at most AHEAD_BYTES. */
#ifndef POP3_AHEAD_H
#define POP3_AHEAD_H

#include "maildrop.h"
#include "postern/base/buf.h"

enum { AHEAD_MESSAGES = 16, AHEAD_BYTES = 64 * 1024 };

/* Zeroed: nothing is there. */
struct ahead {
    struct buf text;                /* what RETR sends after its first line, one message after the other */
    size_t from[AHEAD_MESSAGES + 1];
    uint32_t first;                 /* entry of the first message */
    uint32_t count;
    uint32_t next;                  /* the entry after the one retrieved last */
    bool wanted;                    /* the client goes through the messages in turn */
};

/* Entry `index` is being retrieved. */
void ahead_note(struct ahead *ahead, uint32_t index);
/* [T] If wanted: reads the messages behind the last one. scratch: RETRIEVE_SCRATCH_SIZE bytes. */
void ahead_fill(struct ahead *ahead, struct maildrop *drop, char *scratch);
bool ahead_has(const struct ahead *ahead, uint32_t index);
/* Only if ahead_has: appends it to out; what lies before it is of no more use. */
void ahead_take(struct ahead *ahead, uint32_t index, struct buf *out);
void ahead_fini(struct ahead *ahead);

#endif
