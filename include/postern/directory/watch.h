/* watch: follows a part of the directory in a thread of its own: RFC 4533 refreshAndPersist where the directory has it, else a full
 * reading each second. Every reconnect begins with a full refresh without a cookie: a resumed one can lose deletions for ever. */
#ifndef POSTERN_DIRECTORY_WATCH_H
#define POSTERN_DIRECTORY_WATCH_H

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

/* All called from the watch's thread only. */
struct directory_watch_events {
    /* A full refresh begins: base is the naming context that holds the agent. */
    void (*refresh_begin)(void *context, const char *base);
    /* An object is new or may have changed. The entry is the receiver's. True: it was known under another DN, and since the objects
     * below it get no notice of their own, everything is to be read again. */
    bool (*entry)(void *context, struct directory_entry *entry);
    void (*gone)(void *context, const char *uuid);
    /* Every object has been told since refresh_begin: the others are gone. */
    void (*refresh_end)(void *context);
    /* Nothing more is waiting, or enough has come: publish. Not called between refresh_begin and refresh_end. */
    void (*commit)(void *context);
    /* The directory cannot be reached or read; called at each failed attempt. */
    void (*lost)(void *context, const struct fault *fault);
};

struct directory_watch_options {
    const struct directory_options *directory;   /* copied by nobody: outlives the watch */
    const char *inside;                          /* a DN: the naming context that holds it is watched */
    const char *filter;
    const char *const *attributes;               /* ends with NULL */
};

struct directory_watch;
struct directory_watch *directory_watch_start(const struct directory_watch_options *options,
                                              const struct directory_watch_events *events, void *context);
/* Ends the thread; no event comes after it returns. At most about 5 s, when the directory is mute. */
void directory_watch_stop(struct directory_watch **watch);

#endif
