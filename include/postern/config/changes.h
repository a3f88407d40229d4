/* changes: what is different between two snapshots, for those who watch and for who tries an edit before it is made. Objects in force are
 * compared setting by setting, defaults in the place of what is absent; any thread. */
#ifndef POSTERN_CONFIG_CHANGES_H
#define POSTERN_CONFIG_CHANGES_H

#include "postern/base/arena.h"
#include "postern/config/snapshot.h"

enum object_change_kind { OBJECT_ADDED, OBJECT_CHANGED, OBJECT_REMOVED };

struct setting_change {
    const char *attribute;        /* "dn" when the object was renamed */
    struct text_list before;      /* none: no value */
    struct text_list after;
};

struct object_change {
    enum object_change_kind kind;
    const char *dn;               /* the new one */
    const char *class;
    struct setting_change *settings;
    size_t count;
};

struct snapshot_changes {
    struct arena arena;
    struct object_change *objects;
    size_t object_count;
    const struct config_fault **faults;   /* in `after` and not in `before`; they point into the snapshots */
    size_t fault_count;
    const struct config_fault **cured;    /* the other way round */
    size_t cured_count;
};

/* before may be NULL: everything is new. Both snapshots outlive the result. */
struct snapshot_changes *snapshot_compare(const struct snapshot *before, const struct snapshot *after);
/* NULL inside is accepted. */
void snapshot_changes_free(struct snapshot_changes **changes);
/* "added", "changed" or "removed". */
const char *object_change_word(enum object_change_kind kind);

#endif
