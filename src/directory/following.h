/* following: the state of one watch, shared by its thread's two files: watch.c decides what to do when, notices.c asks the server and takes
 * what it says. Internal to src/directory. */
#ifndef DIRECTORY_FOLLOWING_H
#define DIRECTORY_FOLLOWING_H

#include <pthread.h>
#include <stdatomic.h>

#include "postern/directory/watch.h"
#include "probe.h"

struct directory_watch {
    struct directory_watch_options options;
    struct directory_watch_events events;
    void *context;
    pthread_t thread;
    int wake;                  /* eventfd */
    atomic_bool stopping;
    atomic_bool wanted;        /* somebody asks for a full refresh */
    _Atomic unsigned preferred;
    struct probe *probe;       /* NULL: there is one server */
    pthread_mutex_t mutex;     /* state */
    struct directory_watch_state state;
    /* The thread's own: */
    struct connection connection;
    struct server server;
    enum directory_watch_mode mode;
    struct connection former;  /* open while a return is being tried */
    struct server former_server;
    uint64_t return_ms;        /* not before */
    bool behind;               /* said that the earlier server has not caught up */
    int search_id;
    int bell_id;               /* 0: none is out */
    bool refreshing;
    bool established;          /* one refresh has ended since connecting */
    bool again;                /* a full refresh is due */
    bool renamed;              /* and before it nothing is published: the objects below what was renamed stand under the old name */
    unsigned batch;            /* notices since the last commit */
    unsigned named, nameless;  /* objects of this reading, with and without UUID */
    unsigned nameless_before;  /* of the one before */
    uint64_t searched_ms;      /* when the search was sent */
    uint64_t refreshed_ms;     /* when the last refresh ended */
    uint64_t cost_ms;          /* what it took */
    uint64_t polled_ms;
    struct directory_entry *csn;
    bool csn_moves;            /* it has been seen to */
    uint64_t heard_ms;
    int heartbeat_id;          /* 0: none is out */
    uint64_t heartbeat_ms;
    uint64_t doubt_ms;         /* when the first doubt arose; 0: none */
};

/* Asks for everything, and with WATCH_SYNC for what changes afterwards; with WATCH_BELL the bell is hung up first. */
int following_send(struct directory_watch *w, struct fault *fault);
/* The same, after giving up the present search. */
int following_restart(struct directory_watch *w, struct fault *fault);
/* Takes everything that is there, in batches, and publishes it. -1: the connection is of no more use. */
int following_drain(struct directory_watch *w, struct fault *fault);
void following_commit(struct directory_watch *w);
void following_set_state(struct directory_watch *w, enum directory_watch_mode mode, const struct fault *why);
/* Closes the connection that was in use before the return to an earlier server. */
void following_drop_former(struct directory_watch *w);

static inline bool following_has_others(const struct directory_watch *w)
{
    return w->probe != NULL;
}

#endif
