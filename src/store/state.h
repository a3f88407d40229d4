/* state: the inside of a mailbox object, for the files of src/store that work on it: sync, scan, views, changes, index, cache.
 * Two locks: `work` (with the uidlist lock, mailbox_lock) makes its holder the only one that changes messages; `mutex` guards everything that
 * sessions look at and is never held across a system call. The holder of `work` may read without `mutex` and writes with it. */
#ifndef STORE_STATE_H
#define STORE_STATE_H

#include <pthread.h>
#include <stdatomic.h>

#include "internal.h"
#include "lock.h"
#include "postern/base/list.h"
#include "table.h"
#include "uidlist.h"

struct cache;

struct keywords {
    char *names[KEYWORDS_MAX];   /* NULL: no line in dovecot-keywords */
    struct file_state state;
    uint64_t version;
};

/* What all live messages have together, and when that was counted. */
struct summary {
    uint64_t change, loads;
    uint32_t count, last;
    uint32_t keywords, unseen, first_unseen;   /* letters in use; messages without \Seen, and the UID of the first */
    uint64_t size;
};

/* A message that was expunged, kept until every view has taken it over. */
struct ghost {
    struct message message;
};

struct mailbox {
    bool is_registered;             /* under the registry's mutex: it can be found */
    unsigned refs;                  /* likewise; 0: it is only kept */
    struct list idle_link;          /* likewise: while it is only kept */
    uint64_t idle_ms;               /* since when */
    struct mailbox_place place;
    uint64_t device, inode;

    pthread_mutex_t work;
    struct lock_file lock, keywords_lock;
    struct table orphans;           /* lines of the uidlist without a file; only under `work` */
    uint64_t scan_us;               /* how long the last full scan took */
    _Atomic uint32_t unsaved;               /* changes since the index file was written */
    uint64_t saved_ms;
    bool saved_settled;             /* the index file needs no scan */

    pthread_mutex_t mutex;
    bool loaded;
    bool gone;
    bool unlinks_held;              /* a reference is held until `unlinks` is worked off */
    struct uidlist list;
    struct file_state cur, new;     /* as they were when last scanned, or after our own change */
    uint64_t rescan_ms;             /* clock_monotonic_ms at which to scan again although nothing seems changed; 0: never */
    struct table live;
    struct keywords keywords;
    struct summary summary;
    uint64_t loads;                 /* rises when sizes become known */
    uint64_t change;                /* rises with every change of flags */
    uint64_t flags_changed;         /* `change` of the last change of flags */
    uint32_t told;                  /* highest UID that any view was ever told of */
    uint32_t recent_from;           /* messages from this UID on are \Recent for the first session that is told of them */
    struct list views;
    struct uidset unlinks;          /* moved messages whose file is still to be unlinked */
    struct ghost *ghosts;           /* expunged messages that some view has not taken over yet; the first has number ghosts_gone */
    size_t ghost_count, ghost_size;
    uint64_t ghosts_gone;
    struct watched *watched;        /* under watch.c's mutex */

    pthread_mutex_t notify;         /* held while views are called back; never together with the others */
    _Atomic bool dirty;

    pthread_mutex_t cache_mutex;
    struct cache *cache;
};

enum {
    RESCAN_MS = 2100,               /* a directory changed within a second may change again without a new time */
    DOUBT_MS = 1100,                /* a missing message is looked for again */
    ORPHANS_MIN = 64                /* fewer lines without a file never cause a rewrite */
};

/* mailbox.c */
void mailbox_set_gone(struct mailbox *mailbox);
bool mailbox_is_gone(struct mailbox *mailbox);
/* Whether mailboxes that nobody has open are kept for a while. */
bool mailbox_is_kept(void);
/* Under mutex. */
const struct summary *mailbox_summary(struct mailbox *mailbox);
/* Gives back the reference held for `unlinks`. The caller has one of its own. */
void mailbox_release_unlinks(struct mailbox *mailbox);

/* --- sync.c: all under mailbox_lock --- */
/* True if anything on disk differs from what is known, or a rescan is due. Only stats; needs no lock. */
int sync_is_needed(struct mailbox *mailbox, bool *needed_out, struct fault *fault);
/* Takes in what is on disk. force: scan although nothing seems changed. */
int sync_locked(struct mailbox *mailbox, bool force, struct fault *fault);
/* Lock, then sync if needed: how every change begins. On failure nothing is held. */
int sync_begin(struct mailbox *mailbox, struct fault *fault);
/* The end of it: index, lock, and news to the views. */
void sync_end(struct mailbox *mailbox);
/* Records lines for new messages on disk: appended, or as part of a rewrite where the list needs one. */
int sync_record(struct mailbox *mailbox, struct slice lines, struct fault *fault);
/* Makes a live message a ghost for the views: only marks it, sync_forget removes all marked ones. */
void sync_doom(struct mailbox *mailbox, struct record *record);
void sync_forget_doomed(struct mailbox *mailbox, bool keep_lines);

/* --- scan.c --- */
int scan_directories(struct mailbox *mailbox, bool cur_too, struct fault *fault);
/* Around our own changes of cur/: before, remember whether it is as we know it; after, take its new state as known. new/ is never taken
 * as known: others deliver there without the lock at the same moment. */
struct own_change { bool cur; };
int own_change_begin(struct mailbox *mailbox, struct own_change *own, struct fault *fault);
void own_change_end(struct mailbox *mailbox, const struct own_change *own);
int directory_states(struct mailbox *mailbox, struct file_state *cur, struct file_state *new, struct fault *fault);
/* "cur/name" or "new/name" of a record. */
void record_path_in(const struct table *table, const struct record *record, struct buf *out);

/* --- change.c --- */
/* Flushes cur or new of the folder. */
int flush_directory(struct mailbox *mailbox, const char *name, struct fault *fault);
/* A message of ours whose line is on disk becomes visible. */
void publish_message(struct mailbox *mailbox, uint32_t uid, struct slice name, time_t date);

/* --- keywords.c: under mailbox_lock --- */
int keywords_read(struct mailbox *mailbox, struct fault *fault);
/* Bits of these names; those unknown are made if make, else left out. */
int keywords_bits(struct mailbox *mailbox, const struct slice *names, size_t count, bool make, uint32_t *bits_out, struct fault *fault);
void keywords_fini(struct keywords *keywords);
bool keywords_changed_on_disk(struct mailbox *mailbox);

/* --- views --- */
void views_notify(struct mailbox *mailbox);
/* Under mutex: drops ghosts that every view has taken over. */
void ghosts_trim(struct mailbox *mailbox);

/* --- index.c, cache.c, watch.c --- */
bool index_load(struct mailbox *mailbox);
void index_save_if_due(struct mailbox *mailbox);
void index_save(struct mailbox *mailbox);
void cache_flush(struct mailbox *mailbox);
void cache_free(struct mailbox *mailbox);
void watch_begin(struct mailbox *mailbox);
/* When a view was closed; the watch ends with the last one unless the mailbox is kept. At the latest before it is freed, with is_kept false. */
void watch_end(struct mailbox *mailbox, bool is_kept);
/* Asks for a wake-up of the mailbox's views at rescan_ms. */
void watch_rescan(struct mailbox *mailbox);
/* Whether every change on disk makes an event. A sync that began after this was true and ended well calls watch_prove. */
bool watch_is_whole(struct mailbox *mailbox);
void watch_prove(struct mailbox *mailbox);
/* [L] Whether a sync would find nothing; by_name: and the folder is still what the name that it was opened by leads to. Reads the events that
 * are there, which may call views back. */
bool watch_is_settled(struct mailbox *mailbox, bool by_name);

#endif
