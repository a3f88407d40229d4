/* objects: every watched object of the directory with its last valid version and its present complaints. Used by the watch's thread, and by
 * the keeper of the state on disk, under config.c's mutex. */
#ifndef CONFIG_OBJECTS_H
#define CONFIG_OBJECTS_H

#include "parse.h"

struct object {
    char uuid[DIRECTORY_UUID_SIZE];
    uint64_t seen;                    /* the refresh that told of it last */
    struct version *present;          /* as the directory has it now, valid or not */
    struct version *valid;            /* the last valid one, often the same; NULL if there was none */
};

struct objects {
    struct parse_bounds bounds;
    struct map by_uuid;
    uint64_t refresh;
    bool changed;                     /* since the last build */
    struct object **order;            /* by UUID; NULL: to be sorted anew */
};

void objects_init(struct objects *o, const struct parse_bounds *bounds);
void objects_fini(struct objects *o);
/* Takes the entry. True: the object was known under another DN. */
bool objects_put(struct objects *o, struct directory_entry *entry);
void objects_remove(struct objects *o, const char *uuid);
/* Between these every object must be put again, or it goes. */
void objects_refresh_begin(struct objects *o);
void objects_refresh_end(struct objects *o);
/* All, in the order of their UUIDs, so that conflicts are settled the same way each time. mem_free when done. */
struct object **objects_sorted(struct objects *o, size_t *count_out);

/* config.c: what of the directory becomes objects. The list ends with NULL and is the caller's. */
const char **objects_watched_attributes(void);
extern const char objects_watched_filter[];

#endif
