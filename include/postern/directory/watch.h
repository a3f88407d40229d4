/* watch: follows a part of the directory in a thread of its own. By what the root DSE offers: RFC 4533 refreshAndPersist; else persistent search
 * as a bell, with a full reading after each ring and every 10 s; else a full reading each second, or only when contextCSN has moved.
 * Every connection begins with a full refresh without a cookie: a resumed one can lose deletions for ever. What no mode tells (an object that
 * an access rule hides, the children of a renamed container) is found by a full refresh: with OpenLDAP within 5 s of the next change anywhere
 * in the naming context and each 10 minutes, with others each 10 s. */
#ifndef POSTERN_DIRECTORY_WATCH_H
#define POSTERN_DIRECTORY_WATCH_H

#include <stdint.h>

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

/* All called from the watch's thread only. */
struct directory_watch_events {
    /* A full refresh begins: base is the naming context that holds the agent. */
    void (*refresh_begin)(void *context, const char *base, enum directory_vendor vendor);
    /* An object is new or may have changed. The entry is the receiver's. True: it was known under another DN, and since the objects
     * below it get no notice of their own, everything is to be read again. */
    bool (*entry)(void *context, struct directory_entry *entry);
    void (*gone)(void *context, const char *uuid);
    /* Every object has been told since refresh_begin: the others are gone. server: which of the URIs it is, by now the one that is used. */
    void (*refresh_end)(void *context, unsigned server);
    /* Nothing more is waiting, or enough has come: publish. Not called between refresh_begin and refresh_end, nor before that when `entry` has said
     * true. */
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

enum directory_watch_mode { WATCH_AWAY, WATCH_SYNC, WATCH_BELL, WATCH_POLL };

struct directory_watch_state {
    enum directory_watch_mode mode;   /* WATCH_AWAY: no server is followed at this moment */
    const char *uri;                  /* the server, or the last one; NULL before the first */
    uint64_t since_ms;                /* clock_monotonic_ms: when the mode or the server changed last */
    uint64_t heard_ms;                /* when the server said something last, an answer to the heartbeat included; 0: never */
    uint64_t refresh_ms;              /* how long the last full refresh took */
    unsigned refreshes;               /* how many there were */
    struct fault why;                 /* with WATCH_AWAY */
};

struct directory_watch;
struct directory_watch *directory_watch_start(const struct directory_watch_options *options,
                                              const struct directory_watch_events *events, void *context);
/* Ends the thread; no event comes after it returns. At most about 5 s, when the directory is mute. */
void directory_watch_stop(struct directory_watch **watch);
/* Any thread. uri points into the options. */
void directory_watch_state(struct directory_watch *watch, struct directory_watch_state *out);
const char *directory_watch_mode_word(enum directory_watch_mode mode);
/* Asks for a full refresh now. Any thread. */
void directory_watch_refresh(struct directory_watch *watch);

#endif
