/* claims: which objects name what, kept while objects come and go, so that a build finds whom a change concerns without looking at all. Internal to
 * src/config: build.c calls it under the lock of the objects. */
#ifndef CONFIG_CLAIMS_H
#define CONFIG_CLAIMS_H

#include "objects.h"

enum claim_kind {
    CLAIM_AGENT = 'I',        /* normal DN of an Internet Agent */
    CLAIM_OFFICE = 'O',       /* normal DN of a post office */
    CLAIM_LINK = 'L',         /* the same, by a link of ours that leads to it */
    CLAIM_UNDER = 'U',        /* the same, by a Post Office Agent that stands under it */
    CLAIM_DOMAIN = 'D',       /* by a post office that is served */
    CLAIM_CLASS = 'C',        /* "": by each class of service of ours */
};

/* In the order of their UUIDs, so that conflicts are settled the same way each time. */
struct claim {
    struct object **by;
    size_t count;
};

void claims_fini(struct map *claims);
void claims_add(struct map *claims, enum claim_kind kind, const char *key, struct object *object);
void claims_remove(struct map *claims, enum claim_kind kind, const char *key, struct object *object);
/* Until the next change; empty if nobody claims it. */
struct claim claims_of(const struct map *claims, enum claim_kind kind, const char *key);
/* NULL: nobody. */
struct object *claims_first(const struct map *claims, enum claim_kind kind, const char *key);

#endif
