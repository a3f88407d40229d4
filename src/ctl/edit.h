/* edit: entries of a directory with the changes of an LDIF file applied to them, in memory only. */
#ifndef CTL_EDIT_H
#define CTL_EDIT_H

#include "ldif.h"
#include "postern/base/map.h"
#include "postern/directory/entry.h"

/* One entry that is known. */
struct edited {
    struct directory_entry *before;   /* NULL: there was none */
    struct directory_entry *after;    /* NULL: there will be none; may be the same as before */
};

struct edit {
    struct map by_before;             /* normal DN to struct edited */
    struct map by_after;
    struct edited **all;
    size_t count;
    size_t room;
    unsigned made;                    /* entries that the directory has given no UUID to */
    struct directory_entry *(*read)(void *context, const char *dn);   /* an entry that is not known; NULL: there is none */
    void *context;
    struct ldif_record **renames;     /* in their order */
    size_t rename_count;
};

void edit_init(struct edit *edit, struct directory_entry *(*read)(void *context, const char *dn), void *context);
void edit_fini(struct edit *edit);
/* Takes an entry as it is now. */
void edit_add(struct edit *edit, struct directory_entry *entry);
/* -1: the directory would refuse the change; the fault says which and why. */
int edit_apply(struct edit *edit, const struct ldif_record *record, struct fault *fault);
/* Is it the UUID of an entry that the directory has given none yet? */
bool edit_is_made(const char *uuid);
/* Where an entry that is not known by itself will be after the renames of what holds it: a new text, or NULL if it stays. */
char *edit_renamed(const struct edit *edit, const char *dn);

#endif
