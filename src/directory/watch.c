/* The watching thread: one connection, one search, one heartbeat; for a moment a second connection, while everything is read anew from an earlier
 * server that is back. Called by src/config. It keeps no picture of the directory: the receiver does. It never resumes with a cookie,
 * because a server that was killed may have lost what the cookie says. */
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "choice.h"
#include "following.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"

#define OPEN_MS 5000
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS 5000
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
#define NET_SHARE 20
/* Where the server in use does not say how far its data have come, an earlier one is used again when it has been good for this long. */
#define SETTLED_MS 3000
/* After an attempt to return that failed. */
#define RETURN_PAUSE_MS 30000
/* How long the pools' opinion that a server has failed stands against the watch's, which it answers. */
#define OPINION_MS 5000

/* The kernel answers for a stopped server: only a request shows that nobody is at home. Where there is another server to go to, it is asked
 * more often. */
static const struct { uint64_t every_ms, limit_ms; } heartbeats[2] = { { 10000, 5000 }, { 400, 500 } };

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

const char *directory_watch_mode_word(enum directory_watch_mode mode)
{
    static const char *const words[] = { "away", "content synchronisation", "persistent search", "polling" };
    return words[mode];
}

static enum directory_watch_mode mode_of(const struct server *server)
{
    return server->has_sync ? WATCH_SYNC : server->has_bell ? WATCH_BELL : WATCH_POLL;
}

static int heartbeat(struct directory_watch *w, struct fault *fault)
{
    static const char *const attributes[] = { LDAP_NO_ATTRS, NULL };
    uint64_t now = clock_monotonic_ms(), every = heartbeats[following_has_others(w)].every_ms, limit = heartbeats[following_has_others(w)].limit_ms;
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
    if (now - w->polled_ms < at_least(POLL_MS, net / 2))
        return false;
    w->polled_ms = now;
    return csn_has_moved(w);
}

/* Whether an earlier server has everything that the one in use has. One that is being filled from another has no contextCSN before the end: only
 * where the one in use does not say how far it has come is time a measure, and not when it has just no time to say it. */
static bool has_caught_up(struct directory_watch *w, struct offer *offer)
{
    struct directory_entry *used = server_read_csn(&w->connection, &w->server);
    struct directory_entry *offered = server_read_csn(&offer->connection, &offer->server);
    bool settled = offer->good_ms >= SETTLED_MS && !choice_is_behind(w->options.directory->choice, offer->connection.at);
    bool reached = used == NULL ? settled : offered != NULL && csn_has_reached(offered, used);
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
    if (!following_has_others(w) || w->refreshing || clock_monotonic_ms() < w->return_ms || !probe_take(w->probe, &offer))
        return 0;
    const char *uri = w->options.directory->uris[offer.connection.at];
    if (!has_caught_up(w, &offer)) {
        if (!w->behind)
            log_normal("directory", "%s is back; it is not used before it has caught up", uri);
        w->behind = true;
        choice_set_behind(w->options.directory->choice, offer.connection.at, true);
        offer_fini(&offer);
        return 0;
    }
    w->behind = false;
    following_commit(w);
    if (w->mode == WATCH_SYNC)
        ldap_abandon_ext(w->connection.ld, w->search_id, NULL, NULL);
    if (w->bell_id != 0)
        ldap_abandon_ext(w->connection.ld, w->bell_id, NULL, NULL);
    w->former = w->connection;
    w->former_server = w->server;
    use_server(w, &offer.connection, &offer.server);
    return following_send(w, fault);
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
    return following_send(w, fault) == 0;
}

/* The pools may have left a server that still answers here, after one slow connection. */
static void correct_opinion(struct directory_watch *w)
{
    struct directory_choice *choice = w->options.directory->choice;
    if (!following_has_others(w) || w->former.ld != NULL || w->refreshing)
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
    return following_has_others(w) ? heartbeats[1].every_ms / 4 : 1000;
}

static int watch_follow(struct directory_watch *w, struct fault *fault)
{
    while (!atomic_load(&w->stopping)) {
        bool good = following_drain(w, fault) == 0 && heartbeat(w, fault) == 0 && consider_return(w, fault) == 0;
        if (good && refresh_is_due(w)) {
            /* What is already known is published first: a refresh takes a while. */
            following_commit(w);
            good = following_restart(w, fault) == 0;
        }
        if (!good && !go_back(w, fault))
            return -1;
        correct_opinion(w);
        /* Answers that came while something else was waited for are in the handle, and the socket does not tell of them. */
        if (following_drain(w, fault) != 0 && !go_back(w, fault))
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
    if (rc == 0 && following_send(w, fault) == 0)
        watch_follow(w, fault);
    if (following_has_others(w) && !atomic_load(&w->stopping)) {
        probe_look(w->probe, 0);
        choice_set_failed(w->options.directory->choice, w->connection.at);
    }
    following_drop_former(w);
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
        following_set_state(w, WATCH_AWAY, &fault);
        w->events.lost(w->context, &fault);
        if (w->established)
            back_off = following_has_others(w) ? 0 : BACK_OFF_FIRST_MS;
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
