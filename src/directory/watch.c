/* The watching thread: one connection, one search, one heartbeat; for a moment a second connection, while everything is read anew from an earlier
 * server that is back. Called by src/config. It keeps no picture of the directory: the receiver does. It never resumes with a cookie,
 * because a server that was killed may have lost what the cookie says. */
#include "postern/directory/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "choice.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "probe.h"
#include "sync.h"

#define OPEN_MS 5000
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS 5000
/* Notices between two publications: bounds the work per wake-up after a long stop. */
#define BATCH_MAX 256
/* Between two refreshes: a server that ends every search at once must not be asked without a pause. */
#define REFRESH_PAUSE_MS 50
/* A full refresh as a net, for what no notice tells. */
#define FULL_EVERY_MS 600000
/* A cookie without an entry means a change outside the filter: it may be a renamed parent, whose children are not told. */
#define DOUBT_MS 5000
/* Where nothing tells even that: everything is read this often. */
#define NET_MS 10000
#define POLL_MS 1000
/* Of the time of one core of the directory, a net takes at most one part in so many. */
#define NET_SHARE 50
/* A server that does not say how far its data have come is used again when it has been good for this long. */
#define SETTLED_MS 3000
/* After an attempt to return that failed. */
#define RETURN_PAUSE_MS 30000
/* How long the pools' opinion that a server has failed stands against the watch's, which it answers. */
#define OPINION_MS 5000

/* The kernel answers for a stopped server: only a request shows that nobody is at home. Where there is another server to go to, it is asked
 * more often. */
static const struct { uint64_t every_ms, limit_ms; } heartbeats[2] = { { 10000, 5000 }, { 400, 500 } };

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
    unsigned batch;            /* notices since the last commit */
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

enum step { STEP_NOTHING, STEP_DONE, STEP_BROKEN };

static void watch_wake(void *context)
{
    struct directory_watch *w = context;
    uint64_t one = 1;
    ssize_t written = write(w->wake, &one, sizeof(one));
    (void)written;   /* when it is full, it is readable all the same */
}

/* Waits for the time, the connection or a call from outside, whichever is first. fd may be -1. */
static void watch_sleep(struct directory_watch *w, int fd, uint64_t ms)
{
    struct pollfd fds[2] = { { .fd = w->wake, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
    uint64_t calls;
    if (poll(fds, 2, ms > INT32_MAX ? INT32_MAX : (int)ms) > 0 && fds[0].revents != 0) {
        ssize_t got = read(w->wake, &calls, sizeof(calls));
        (void)got;
    }
}

static bool has_others(const struct directory_watch *w)
{
    return w->probe != NULL;
}

const char *directory_watch_mode_word(enum directory_watch_mode mode)
{
    static const char *const words[] = { "away", "content synchronisation", "persistent search", "polling" };
    return words[mode];
}

static void set_state(struct directory_watch *w, enum directory_watch_mode mode, const struct fault *why)
{
    pthread_mutex_lock(&w->mutex);
    const char *uri = mode != WATCH_AWAY ? w->options.directory->uris[w->connection.at] : w->state.uri;
    bool news = w->state.mode != mode || w->state.uri != uri;
    if (news)
        w->state.since_ms = clock_monotonic_ms();
    w->state.mode = mode;
    w->state.uri = uri;
    if (why != NULL)
        w->state.why = *why;
    pthread_mutex_unlock(&w->mutex);
    if (news && mode != WATCH_AWAY)
        log_normal("directory", "%s is followed by %s", uri, directory_watch_mode_word(mode));
}

static void note_heard(struct directory_watch *w)
{
    w->heard_ms = clock_monotonic_ms();
    pthread_mutex_lock(&w->mutex);
    w->state.heard_ms = w->heard_ms;
    w->state.refresh_ms = w->cost_ms;
    pthread_mutex_unlock(&w->mutex);
}

static enum directory_watch_mode mode_of(const struct server *server)
{
    return server->has_sync ? WATCH_SYNC : server->has_bell ? WATCH_BELL : WATCH_POLL;
}

/* The bell is hung up before everything is read, so that nothing falls between. It tells that something changed, not what. */
static int send_bell(struct directory_watch *w, struct fault *fault)
{
    static const char *const attributes[] = { LDAP_NO_ATTRS, NULL };
    LDAPControl control = { (char *)(uintptr_t)BELL_REQUEST_OID, { 0, NULL }, 1 };
    LDAPControl *controls[] = { &control, NULL };
    if (!bell_encode_request(&control.ldctl_value))
        return fault_set(fault, FAULT_LIMIT, 0, "no memory");
    int rc = ldap_search_ext(w->connection.ld, w->server.base, LDAP_SCOPE_SUBTREE, w->options.filter, (char **)(uintptr_t)attributes, 0,
                             controls, NULL, NULL, LDAP_NO_LIMIT, &w->bell_id);
    ber_memfree(control.ldctl_value.bv_val);
    return rc == LDAP_SUCCESS ? 0 : connection_fault(&w->connection, rc, "persistent search", fault);
}

static int send_search(struct directory_watch *w, struct fault *fault)
{
    struct connection *c = &w->connection;
    LDAPControl control = { (char *)(uintptr_t)SYNC_REQUEST_OID, { 0, NULL }, 1 };
    LDAPControl *controls[] = { &control, NULL };
    bool sync = w->mode == WATCH_SYNC;
    if (w->mode == WATCH_BELL && w->bell_id == 0 && send_bell(w, fault) != 0)
        return -1;
    if (sync && !sync_encode_request(&control.ldctl_value))
        return fault_set(fault, FAULT_LIMIT, 0, "no memory");
    int rc = ldap_search_ext(c->ld, w->server.base, LDAP_SCOPE_SUBTREE, w->options.filter, (char **)(uintptr_t)w->options.attributes, 0,
                             sync ? controls : NULL, NULL, NULL, LDAP_NO_LIMIT, &w->search_id);
    ber_memfree(control.ldctl_value.bv_val);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "search", fault);
    w->refreshing = true;
    w->again = false;
    w->doubt_ms = 0;
    w->batch = 0;
    w->heard_ms = w->searched_ms = clock_monotonic_ms();
    w->events.refresh_begin(w->context, w->server.base);
    return 0;
}

static int restart_search(struct directory_watch *w, struct fault *fault)
{
    if (w->mode == WATCH_SYNC)
        ldap_abandon_ext(w->connection.ld, w->search_id, NULL, NULL);
    return send_search(w, fault);
}

static void take_entry(struct directory_watch *w, LDAPMessage *message)
{
    struct connection *c = &w->connection;
    struct directory_entry *entry = connection_entry(c, message);
    if (entry == NULL)
        return;
    enum sync_state state = SYNC_ADD;
    if (w->mode == WATCH_SYNC) {
        LDAPControl **controls = NULL;
        unsigned char uuid[16];
        ldap_get_entry_controls(c->ld, message, &controls);
        LDAPControl *control = ldap_control_find(SYNC_STATE_OID, controls, NULL);
        if (control != NULL && sync_decode_state(&control->ldctl_value, &state, uuid))
            directory_uuid_print(uuid, entry->uuid);
        else
            entry->uuid[0] = '\0';
        ldap_controls_free(controls);
    }
    w->batch++;
    if (entry->uuid[0] == '\0') {
        log_warning("directory", "%s: no UUID: it is left out", entry->dn);
        directory_entry_free(&entry);
    } else if (state == SYNC_DELETE) {
        w->events.gone(w->context, entry->uuid);
        directory_entry_free(&entry);
    } else if (state == SYNC_PRESENT) {
        /* Only an answer to a cookie has these: what it means without one is not known. */
        w->again = true;
        directory_entry_free(&entry);
    } else if (w->events.entry(w->context, entry) && !w->refreshing) {
        w->again = true;
    }
}

static void drop_former(struct directory_watch *w)
{
    connection_close(&w->former);
    server_fini(&w->former_server);
}

static void refresh_done(struct directory_watch *w)
{
    if (!w->refreshing)
        return;
    w->refreshing = false;
    w->established = true;
    w->refreshed_ms = clock_monotonic_ms();
    w->cost_ms = w->refreshed_ms - w->searched_ms;
    w->events.refresh_end(w->context);
    w->batch++;
    drop_former(w);
    if (has_others(w)) {
        choice_set_current(w->options.directory->choice, w->connection.at);
        probe_look(w->probe, w->connection.at);
    }
    set_state(w, w->mode, NULL);
}

static enum step take_intermediate(struct directory_watch *w, LDAPMessage *message, struct fault *fault)
{
    char *oid = NULL;
    struct berval *value = NULL;
    enum sync_info info = SYNC_INFO_COOKIE;
    bool good = ldap_parse_intermediate(w->connection.ld, message, &oid, &value, NULL, 0) == LDAP_SUCCESS && oid != NULL &&
                strcmp(oid, SYNC_INFO_OID) == 0 && value != NULL && sync_decode_info(value, &info);
    ldap_memfree(oid);
    ber_bvfree(value);
    if (!good) {
        fault_set(fault, FAULT_PROTOCOL, 0, "malformed notice from the directory");
        return STEP_BROKEN;
    }
    if (info == SYNC_INFO_REFRESHED)
        refresh_done(w);
    else if (info == SYNC_INFO_ID_SET && !w->refreshing)
        w->again = true;
    else if (info == SYNC_INFO_COOKIE && !w->refreshing && w->doubt_ms == 0)
        w->doubt_ms = clock_monotonic_ms();
    return STEP_DONE;
}

static int result_code(struct directory_watch *w, LDAPMessage *message)
{
    int code = LDAP_OTHER;
    int rc = ldap_parse_result(w->connection.ld, message, &code, NULL, NULL, NULL, NULL, 0);
    return rc == LDAP_SUCCESS ? code : rc;
}

/* The server offers it, but not for this part of the directory or not to us. */
static enum step do_without(struct directory_watch *w, int code, struct fault *fault)
{
    log_warning("directory", "%s: %s is refused: %s", w->options.directory->uris[w->connection.at], directory_watch_mode_word(w->mode),
                ldap_err2string(code));
    w->mode = w->mode == WATCH_SYNC && w->server.has_bell ? WATCH_BELL : WATCH_POLL;
    w->bell_id = 0;
    return send_search(w, fault) == 0 ? STEP_DONE : STEP_BROKEN;
}

/* The search has ended: for a persisting one in any case a reason to begin anew, for a plain one its success. */
static enum step take_result(struct directory_watch *w, LDAPMessage *message, struct fault *fault)
{
    int code = result_code(w, message);
    bool sync = w->mode == WATCH_SYNC;
    if (!sync && code == LDAP_SUCCESS) {
        refresh_done(w);
        return STEP_DONE;
    }
    if (sync && !w->refreshing && (code == LDAP_SUCCESS || code == LDAP_SYNC_REFRESH_REQUIRED)) {
        w->again = true;
        return STEP_DONE;
    }
    if (sync && w->refreshing && (code == LDAP_UNAVAILABLE_CRITICAL_EXTENSION || code == LDAP_INSUFFICIENT_ACCESS))
        return do_without(w, code, fault);
    /* Among others a size limit: what came until then is not the whole, and nothing is taken for gone. */
    connection_fault(&(struct connection){ .ld = NULL }, code,
                     code == LDAP_SIZELIMIT_EXCEEDED ? "watching (the gateway must be free of size limits)" : "watching", fault);
    return STEP_BROKEN;
}

static enum step take_ring(struct directory_watch *w, LDAPMessage *message, int type, struct fault *fault)
{
    w->again = true;
    if (type != LDAP_RES_SEARCH_RESULT)
        return STEP_DONE;
    w->bell_id = 0;
    int code = result_code(w, message);
    return code == LDAP_SUCCESS ? STEP_DONE : do_without(w, code, fault);
}

static enum step take_message(struct directory_watch *w, LDAPMessage *message, struct fault *fault)
{
    int id = ldap_msgid(message), type = ldap_msgtype(message);
    if (id == 0) {
        /* Unsolicited: notice of disconnection (RFC 4511, section 4.4.1). */
        fault_set(fault, FAULT_UNREACHABLE, 0, "the directory ends the connection");
        return STEP_BROKEN;
    }
    if (id == w->heartbeat_id) {
        if (type == LDAP_RES_SEARCH_RESULT)
            w->heartbeat_id = 0;
        return STEP_DONE;
    }
    if (id == w->bell_id)
        return take_ring(w, message, type, fault);
    if (id != w->search_id)
        return STEP_DONE;
    switch (type) {
    case LDAP_RES_SEARCH_ENTRY: take_entry(w, message); return STEP_DONE;
    case LDAP_RES_INTERMEDIATE: return take_intermediate(w, message, fault);
    case LDAP_RES_SEARCH_RESULT: return take_result(w, message, fault);
    default: return STEP_DONE;   /* a referral says nothing of our own objects */
    }
}

/* One message, if one is there. */
static enum step watch_step(struct directory_watch *w, struct fault *fault)
{
    struct timeval now = { 0, 0 };
    LDAPMessage *message = NULL;
    int type = ldap_result(w->connection.ld, LDAP_RES_ANY, LDAP_MSG_ONE, &now, &message);
    if (type == 0)
        return STEP_NOTHING;
    if (type < 0) {
        int code = LDAP_SERVER_DOWN;
        ldap_get_option(w->connection.ld, LDAP_OPT_RESULT_CODE, &code);
        connection_fault(&w->connection, code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code, "watching", fault);
        return STEP_BROKEN;
    }
    enum step step = take_message(w, message, fault);
    ldap_msgfree(message);
    return step;
}

static int heartbeat(struct directory_watch *w, struct fault *fault)
{
    static const char *const attributes[] = { LDAP_NO_ATTRS, NULL };
    uint64_t now = clock_monotonic_ms(), every = heartbeats[has_others(w)].every_ms, limit = heartbeats[has_others(w)].limit_ms;
    uint64_t last = w->heard_ms > w->heartbeat_ms ? w->heard_ms : w->heartbeat_ms;
    if (w->heartbeat_id != 0)
        return now - last < limit ? 0 : fault_set(fault, FAULT_TIMEOUT, 0, "the directory does not answer");
    if (now - w->heard_ms < every)
        return 0;
    w->heartbeat_ms = now;
    int rc = ldap_search_ext(w->connection.ld, "", LDAP_SCOPE_BASE, "(objectClass=*)", (char **)(uintptr_t)attributes, 0, NULL, NULL, NULL, 0,
                             &w->heartbeat_id);
    return rc == LDAP_SUCCESS ? 0 : connection_fault(&w->connection, rc, "heartbeat", fault);
}

static void watch_commit(struct directory_watch *w)
{
    if (w->batch == 0 || w->refreshing)
        return;
    w->batch = 0;
    w->events.commit(w->context);
}

/* Takes everything that is there, in batches. ldap_result may return nothing once although more is buffered: two in a row are believed. */
static enum step watch_drain(struct directory_watch *w, struct fault *fault)
{
    bool heard = false;
    for (unsigned nothing = 0; nothing < 2 && !atomic_load(&w->stopping);) {
        enum step step = watch_step(w, fault);
        if (step == STEP_BROKEN)
            return step;
        nothing = step == STEP_NOTHING ? nothing + 1 : 0;
        heard = heard || step == STEP_DONE;
        if (w->again && !w->refreshing && w->mode == WATCH_SYNC)
            break;
        if (w->batch >= BATCH_MAX)
            watch_commit(w);
    }
    if (heard)
        note_heard(w);
    watch_commit(w);
    return STEP_NOTHING;
}

static uint64_t at_least(uint64_t ms, uint64_t share)
{
    return ms > share ? ms : share;
}

/* Whether something was written since contextCSN was read last. What cannot be read, or fails, counts as moved; and so does one that has never
 * been seen to move: a server without content synchronisation may have kept it from a time when it had it. */
static bool csn_has_moved(struct directory_watch *w)
{
    struct directory_entry *csn = server_read_csn(&w->connection, &w->server);
    bool known = csn != NULL && w->csn != NULL;
    bool moved = !known || !csn_has_reached(w->csn, csn);
    w->csn_moves = known && (w->csn_moves || moved);
    directory_entry_free(&w->csn);
    w->csn = csn;
    return moved || !w->csn_moves;
}

static bool refresh_is_due(struct directory_watch *w)
{
    uint64_t now = clock_monotonic_ms(), net = w->cost_ms * NET_SHARE;
    if (w->refreshing || now - w->refreshed_ms < REFRESH_PAUSE_MS)
        return false;
    if (atomic_exchange(&w->wanted, false) || w->again || now - w->searched_ms > FULL_EVERY_MS)
        return true;
    switch (w->mode) {
    case WATCH_SYNC:
        if (w->server.is_open_ldap)
            return w->doubt_ms != 0 && now - w->doubt_ms > at_least(DOUBT_MS, net);
        /* fall through */
    case WATCH_BELL: return now - w->refreshed_ms > at_least(NET_MS, net);
    default: break;
    }
    if (now - w->polled_ms < at_least(POLL_MS, net / 5))
        return false;
    w->polled_ms = now;
    return csn_has_moved(w);
}

/* Whether an earlier server has everything that the one in use has. */
static bool has_caught_up(struct directory_watch *w, struct offer *offer)
{
    struct directory_entry *used = server_read_csn(&w->connection, &w->server);
    struct directory_entry *offered = server_read_csn(&offer->connection, &offer->server);
    bool reached = used == NULL || offered == NULL ? offer->good_ms >= SETTLED_MS : csn_has_reached(offered, used);
    directory_entry_free(&used);
    directory_entry_free(&offered);
    return reached;
}

static void use_server(struct directory_watch *w, const struct connection *connection, const struct server *server)
{
    w->connection = *connection;
    w->server = *server;
    w->mode = mode_of(server);
    w->bell_id = w->heartbeat_id = w->search_id = 0;
    directory_entry_free(&w->csn);
    w->csn_moves = false;
}

/* Everything is read from the earlier server while the connection to the one in use stays; only when that is done is it dropped. */
static int consider_return(struct directory_watch *w, struct fault *fault)
{
    struct offer offer;
    if (!has_others(w) || w->refreshing || clock_monotonic_ms() < w->return_ms || !probe_take(w->probe, &offer))
        return 0;
    const char *uri = w->options.directory->uris[offer.connection.at];
    if (!has_caught_up(w, &offer)) {
        if (!w->behind)
            log_normal("directory", "%s is back; it is not used before it has caught up", uri);
        w->behind = true;
        offer_fini(&offer);
        return 0;
    }
    w->behind = false;
    watch_commit(w);
    if (w->mode == WATCH_SYNC)
        ldap_abandon_ext(w->connection.ld, w->search_id, NULL, NULL);
    if (w->bell_id != 0)
        ldap_abandon_ext(w->connection.ld, w->bell_id, NULL, NULL);
    w->former = w->connection;
    w->former_server = w->server;
    use_server(w, &offer.connection, &offer.server);
    return send_search(w, fault);
}

/* The return failed: the server in use until then takes over again, with everything read anew. */
static bool go_back(struct directory_watch *w, struct fault *fault)
{
    if (w->former.ld == NULL)
        return false;
    log_warning("directory", "%s is not good yet: %s", w->options.directory->uris[w->connection.at], fault->text);
    connection_close(&w->connection);
    server_fini(&w->server);
    w->return_ms = clock_monotonic_ms() + RETURN_PAUSE_MS;
    use_server(w, &w->former, &w->former_server);
    w->former.ld = NULL;
    w->former_server.base = NULL;
    return send_search(w, fault) == 0;
}

/* The pools may have left a server that still answers here, after one slow connection. */
static void correct_opinion(struct directory_watch *w)
{
    struct directory_choice *choice = w->options.directory->choice;
    if (!has_others(w) || w->former.ld != NULL || w->refreshing)
        return;
    uint64_t since = choice_failed_since(choice, w->connection.at);
    bool left = since != 0 || choice_current(choice) != w->connection.at;
    if (left && w->heard_ms > since + OPINION_MS)
        choice_set_current(choice, w->connection.at);
}

static uint64_t wait_ms(const struct directory_watch *w)
{
    if (w->again && !w->refreshing)
        return REFRESH_PAUSE_MS;
    return has_others(w) ? heartbeats[1].every_ms / 4 : 1000;
}

static int watch_follow(struct directory_watch *w, struct fault *fault)
{
    while (!atomic_load(&w->stopping)) {
        bool good = watch_drain(w, fault) != STEP_BROKEN && heartbeat(w, fault) == 0 && consider_return(w, fault) == 0;
        if (good && refresh_is_due(w)) {
            /* What is already known is published first: a refresh takes a while. */
            watch_commit(w);
            good = restart_search(w, fault) == 0;
        }
        if (!good && !go_back(w, fault))
            return -1;
        correct_opinion(w);
        /* Answers that came while something else was waited for are in the handle, and the socket does not tell of them. */
        if (watch_drain(w, fault) == STEP_BROKEN && !go_back(w, fault))
            return -1;
        watch_sleep(w, w->connection.fd, wait_ms(w));
    }
    return 0;
}

/* One connection's life, or of several servers that followed each other without a gap. */
static void watch_once(struct directory_watch *w, struct fault *fault)
{
    struct connection connection;
    struct server server;
    w->refreshing = true;
    w->established = false;
    if (connection_open_any(&connection, w->options.directory, &w->preferred, true, OPEN_MS, fault) != 0)
        return;
    int rc = server_read(&connection, w->options.inside, &server, fault);
    use_server(w, &connection, &server);
    if (rc == 0 && send_search(w, fault) == 0)
        watch_follow(w, fault);
    if (has_others(w) && !atomic_load(&w->stopping)) {
        probe_look(w->probe, 0);
        choice_set_failed(w->options.directory->choice, w->connection.at);
    }
    drop_former(w);
    connection_close(&w->connection);
    server_fini(&w->server);
    directory_entry_free(&w->csn);
}

static void *watch_run(void *argument)
{
    struct directory_watch *w = argument;
    uint64_t back_off = BACK_OFF_FIRST_MS;
    while (!atomic_load(&w->stopping)) {
        struct fault fault;
        fault_clear(&fault);
        watch_once(w, &fault);
        if (atomic_load(&w->stopping))
            break;
        set_state(w, WATCH_AWAY, &fault);
        w->events.lost(w->context, &fault);
        if (w->established)
            back_off = has_others(w) ? 0 : BACK_OFF_FIRST_MS;
        if (back_off > 0)
            watch_sleep(w, -1, back_off);
        back_off = back_off == 0 ? BACK_OFF_FIRST_MS : back_off * 2 < BACK_OFF_MAX_MS ? back_off * 2 : BACK_OFF_MAX_MS;
    }
    return NULL;
}

struct directory_watch *directory_watch_start(const struct directory_watch_options *options,
                                              const struct directory_watch_events *events, void *context)
{
    struct directory_watch *w = MEM_NEW(struct directory_watch);
    directory_init();
    w->options = *options;
    w->events = *events;
    w->context = context;
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(w->wake >= 0);
    pthread_mutex_init(&w->mutex, NULL);
    if (options->directory->choice != NULL && options->directory->uri_count > 1)
        w->probe = probe_new(options->directory, options->inside, watch_wake, w);
    CHECK(pthread_create(&w->thread, NULL, watch_run, w) == 0);
    return w;
}

void directory_watch_stop(struct directory_watch **watch)
{
    struct directory_watch *w = *watch;
    if (w == NULL)
        return;
    atomic_store(&w->stopping, true);
    watch_wake(w);
    pthread_join(w->thread, NULL);
    probe_free(&w->probe);
    close(w->wake);
    pthread_mutex_destroy(&w->mutex);
    mem_free(watch);
}

void directory_watch_state(struct directory_watch *w, struct directory_watch_state *out)
{
    pthread_mutex_lock(&w->mutex);
    *out = w->state;
    pthread_mutex_unlock(&w->mutex);
}

void directory_watch_refresh(struct directory_watch *w)
{
    atomic_store(&w->wanted, true);
    watch_wake(w);
}
