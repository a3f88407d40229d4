/* uidset: UIDs as sorted ranges that do not touch (RFC 3501 section 9, sequence-set in numbers). */
#ifndef POSTERN_STORE_UIDSET_H
#define POSTERN_STORE_UIDSET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "postern/base/slice.h"

struct buf;

struct uid_range {
    uint32_t first;
    uint32_t last;     /* >= first */
};

struct uidset {
    struct uid_range *ranges;   /* owned */
    size_t count;
    size_t size;
};

/* A zeroed struct is an empty set. */
void uidset_fini(struct uidset *set);
void uidset_clear(struct uidset *set);
/* In any order; merges. Appending in rising order is O(1). */
void uidset_add(struct uidset *set, uint32_t uid);
void uidset_add_range(struct uidset *set, uint32_t first, uint32_t last);
bool uidset_has(const struct uidset *set, uint32_t uid);
uint64_t uidset_size(const struct uidset *set);
/* "1:3,7", as IMAP writes it; an empty set writes nothing. */
void uidset_write(const struct uidset *set, struct buf *out);
/* Adds what uidset_write wrote, all of it above what the set has; false if it is something else: a part of it is in the set then. */
bool uidset_parse(struct slice text, struct uidset *set);

#endif
