/* changes: tells, from a thread of its own, which entries of the directory change from now on; nothing that is there already is transferred. By RFC
 * 4533 from the present contextCSN, or by persistent search for changes only. It keeps no picture: after an outage, or at any doubt, it
 * begins anew, and what was learned before counts for nothing. */
#ifndef POSTERN_DIRECTORY_CHANGES_H
#define POSTERN_DIRECTORY_CHANGES_H

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

/* All called from the thread of its own only. */
struct directory_changes_events {
    /* Every change after this moment will be told, in the order in which the server made them. server: which of the URIs it is. */
    void (*ready)(void *context, unsigned server);
    /* The entry is the receiver's: with the attributes asked for, or, gone, with DN and UUID at least. One entry may be told without a change. By persistent
     * search entries are told that do not match the filter: it may be one that matched before. */
    void (*changed)(void *context, struct directory_entry *entry, bool gone);
    /* Changes may be missed until the next ready; called at each failed attempt. FAULT_INVALID: the directory does not offer it. */
    void (*lost)(void *context, const struct fault *fault);
    /* Everything that has come was told. True: to be called again within a tenth of a second, whether or not something comes. May be NULL. */
    bool (*rest)(void *context);
};

struct directory_changes_options {
    const struct directory_options *directory;   /* outlives it */
    const char *inside;                          /* a DN: the naming context that holds it is followed */
    const char *filter;
    const char *const *attributes;               /* ends with NULL */
};

struct directory_changes;
struct directory_changes *directory_changes_start(const struct directory_changes_options *options,
                                                  const struct directory_changes_events *events, void *context);
/* Ends the thread; no event comes after it returns. At most about 5 s, when the directory is mute. */
void directory_changes_stop(struct directory_changes **changes);

#endif
