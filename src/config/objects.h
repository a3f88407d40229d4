/* objects: every watched object of the directory with its last valid version and its present complaints. Used by the watch's thread, and by
 * the keeper of the state on disk, under config.c's mutex. */
#ifndef CONFIG_OBJECTS_H
#define CONFIG_OBJECTS_H

#include "parse.h"
#include "postern/base/list.h"

struct object {
    char uuid[DIRECTORY_UUID_SIZE];
    struct list link;                 /* among all */
    uint64_t seen;                    /* the refresh that told of it last */
    struct version *present;          /* as the directory has it now, valid or not */
    struct version *valid;            /* the last valid one, often the same; NULL if there was none */
    /* build.c's: */
    struct version *claimed_present;  /* by which it claims what it claims; NULL: nothing yet */
    struct version *claimed;
    bool claimed_domains;
    bool marked;                      /* to be looked at by the next build */
    bool changed;                     /* its claims too */
    bool gone;
    struct part *part;                /* what it came to; NULL: nothing */
};

struct objects {
    struct parse_bounds bounds;
    struct map by_uuid;
    uint64_t refresh;
    struct list all;
    bool changed;                     /* since the last publication */
    struct object **marked;
    size_t marked_count;
    size_t marked_room;
    struct assembly *assembly;        /* build.c's, kept from build to build; NULL: nothing was built yet */
};

void objects_init(struct objects *o, const struct parse_bounds *bounds);
void objects_fini(struct objects *o);
/* Takes the entry. True: the object was known under another DN. */
bool objects_put(struct objects *o, struct directory_entry *entry);
void objects_remove(struct objects *o, const char *uuid);
/* Between these every object must be put again, or it goes. */
void objects_refresh_begin(struct objects *o);
void objects_refresh_end(struct objects *o);
/* build.c: the object is to be looked at by the next build; changed: and what it claims. */
void objects_mark(struct objects *o, struct object *object, bool changed);
void objects_mark_all(struct objects *o);
/* None is marked any more; those that are gone are freed. */
void objects_forget_marked(struct objects *o);

/* config.c: what of the directory becomes objects. The list ends with NULL and is the caller's. */
const char **objects_watched_attributes(void);
extern const char objects_watched_filter[];

#endif
