/* gateway: what the files of this folder share: the loops, the rooms of the services, and what is listened on. */
#ifndef SERVICE_GATEWAY_H
#define SERVICE_GATEWAY_H

#include <pthread.h>
#include <stdatomic.h>

#include "pool.h"
#include "postern/config/user.h"
#include "postern/net/loop.h"
#include "postern/net/tls_context.h"
#include "postern/service/service.h"

enum { LOOPS_MAX = 16, LOOK_UP_THREADS = 16 };

struct control;
struct listeners;
struct login_gate;
struct paths;
struct revoker;
struct user_counts;

/* One thread with its loop and the connections on it. */
struct home {
    struct gateway *gateway;
    struct loop *loop;
    pthread_t thread;
    bool threaded;
    struct list conns;            /* touched on the loop only */
    struct list strangers;        /* likewise: in the order in which they came, those that make way when descriptors run short */
    struct list *look_at;         /* in conns: where revoke.c's look goes on; NULL: none is under way */
    _Atomic bool look_wanted;
};

/* One service: its protocol, threads and counters. */
struct room {
    enum service service;
    const struct protocol *protocol;      /* NULL: not served by this process */
    struct pool *pool;
    struct counters counters;
    _Atomic unsigned sessions;
    _Atomic uint64_t closed[CLOSE_COUNT];
    bool enabled;                         /* on the first loop only */
};

struct gateway {
    const struct service_options *options;
    struct home homes[LOOPS_MAX];         /* the first one accepts, follows the configuration, and serves the control socket */
    unsigned home_count;
    unsigned next_home;
    int fd_most;                          /* descriptors from here on are for mail files and the directory, not for clients */
    struct room rooms[SERVICE_COUNT];
    struct pool *look_ups;                /* directory look-ups and passwords */
    struct tls_context *tls;
    _Atomic bool tls_ready;
    _Atomic uint64_t next_id;
    _Atomic unsigned sessions;            /* connections of all services, and those being ended */
    struct listeners *listeners;
    struct control *control;
    struct revoker *revoker;
    struct paths *paths;
    struct user_counts *user_counts;
    struct login_gate *login_gate;
    struct login_gate *token_gate;
    struct loop_watch store_watch;
    struct loop_timer tick;
    unsigned ticks;
    struct pool_task tls_task;
    _Atomic bool tls_busy;
    _Atomic bool tls_again;               /* read the files even if they look the same */
    struct fault tls_fault;               /* what the last load found, and in which of the files; one load at a time */
    const char *tls_attribute;
    bool tls_misplaced;                   /* a file that is not below the TLS directory */
    uint64_t applied;                     /* serial of the snapshot that is in force */
    _Atomic bool stopping;
    uint64_t stop_deadline;
    int64_t started;                      /* seconds since the epoch */
};

/* What the snapshot says of one service. */
struct service_settings {
    bool enabled;
    unsigned threads;
    uint64_t max_connections;
    enum tls_mode tls;
};
void service_settings_of(const struct snapshot *snapshot, enum service service, struct service_settings *out);

/* Stable keys of post offices: one for each entryUUID, whatever the snapshot. Any thread; never freed while the process lives. */
const char *fair_key_of(const struct post_office *office);
/* For a key that a protocol has set: a post office of this snapshot gives its stable key and name; others stay as they are. */
const void *fair_key_stable(const struct snapshot *snapshot, const void *key, const char **label_out);

/* The file that a setting names, if it lies below the TLS directory (architecture, decision 11), to be freed; NULL if not or if there is none. Any thread. */
char *gateway_tls_path(const struct gateway *g, const char *name);

#endif
