/* The watching thread: one connection, one persisting search, one heartbeat. Called by src/config. It keeps no picture of the
 * directory: the receiver does. It never resumes with a cookie, because a server that was killed may have lost what the cookie says. */
#include "postern/directory/watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "connection.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "sync.h"

#define OPEN_MS 5000
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS 5000
/* Notices between two publications: bounds the work per wake-up after a long stop. */
#define BATCH_MAX 256
/* The kernel answers for a stopped server: only a request shows that nobody is at home. */
#define HEARTBEAT_EVERY_MS 10000
#define HEARTBEAT_LIMIT_MS 5000
/* The first refresh of a big directory may take long; silence in it may not. */
#define REFRESH_SILENCE_MS 15000
/* A cookie without an entry means a change outside the filter: it may be a renamed parent, whose children are not told. */
#define DOUBT_MS 5000
#define POLL_MS 1000
/* Between two refreshes: a server that ends every search at once must not be asked without a pause. */
#define REFRESH_EVERY_MS 200

struct directory_watch {
    struct directory_watch_options options;
    struct directory_watch_events events;
    void *context;
    pthread_t thread;
    int wake;                  /* eventfd */
    atomic_bool stopping;
    _Atomic unsigned preferred;
    /* The thread's own: */
    struct connection connection;
    char *base;
    bool has_sync;
    int search_id;
    bool refreshing;
    bool again;                /* a full refresh is due */
    unsigned batch;            /* notices since the last commit */
    uint64_t searched_ms;      /* when the search was sent */
    uint64_t heard_ms;
    int heartbeat_id;          /* 0: none is out */
    uint64_t heartbeat_ms;
    uint64_t doubt_ms;         /* when the first doubt arose; 0: none */
};

enum step { STEP_NOTHING, STEP_DONE, STEP_BROKEN };

/* Waits for the time, the connection or the end of the watch, whichever is first. fd may be -1. */
static void watch_sleep(struct directory_watch *w, int fd, uint64_t ms)
{
    struct pollfd fds[2] = { { .fd = w->wake, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
    poll(fds, 2, ms > INT32_MAX ? INT32_MAX : (int)ms);
}

/* Root DSE (RFC 4512, section 5.1): the naming context that holds the agent, and whether RFC 4533 is offered. */
static int read_root_dse(struct directory_watch *w, struct fault *fault)
{
    static const char *const attributes[] = { "namingContexts", "supportedControl", NULL };
    struct connection *c = &w->connection;
    LDAPMessage *messages;
    int id;
    int rc = ldap_search_ext(c->ld, "", LDAP_SCOPE_BASE, "(objectClass=*)", (char **)(uintptr_t)attributes, 0, NULL, NULL, NULL, 0, &id);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "root DSE", fault);
    if (connection_wait(c, id, true, OPEN_MS, &messages, fault) != 0)
        return -1;
    LDAPMessage *first = ldap_first_entry(c->ld, messages);
    struct directory_entry *entry = first != NULL ? connection_entry(c, first) : NULL;
    ldap_msgfree(messages);
    if (entry == NULL)
        return fault_set(fault, FAULT_DENIED, 0, "the root DSE cannot be read");
    w->has_sync = directory_entry_has(entry, "supportedControl", SYNC_REQUEST_OID);
    const struct directory_attribute *contexts = directory_entry_find(entry, "namingContexts");
    char *inside = dn_normalise(slice_from_string(w->options.inside));
    size_t best = 0;
    bool found = false;
    for (size_t i = 0; contexts != NULL && inside != NULL && i < contexts->count; i++) {
        char *context = dn_normalise(contexts->values[i]);
        if (context != NULL && dn_is_within(inside, context) && (!found || strlen(context) > best)) {
            mem_free(&w->base);
            w->base = slice_to_string(contexts->values[i]);
            best = strlen(context);
            found = true;
        }
        mem_free(&context);
    }
    mem_free(&inside);
    directory_entry_free(&entry);
    return found ? 0 : fault_set(fault, FAULT_NOT_FOUND, 0, "no naming context of the directory holds %s", w->options.inside);
}

static int send_search(struct directory_watch *w, struct fault *fault)
{
    struct connection *c = &w->connection;
    LDAPControl control = { (char *)(uintptr_t)SYNC_REQUEST_OID, { 0, NULL }, 1 };
    LDAPControl *controls[] = { &control, NULL };
    if (w->has_sync && !sync_encode_request(&control.ldctl_value))
        return fault_set(fault, FAULT_LIMIT, 0, "no memory");
    int rc = ldap_search_ext(c->ld, w->base, LDAP_SCOPE_SUBTREE, w->options.filter, (char **)(uintptr_t)w->options.attributes, 0,
                             w->has_sync ? controls : NULL, NULL, NULL, LDAP_NO_LIMIT, &w->search_id);
    ber_memfree(control.ldctl_value.bv_val);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "search", fault);
    w->refreshing = true;
    w->again = false;
    w->doubt_ms = 0;
    w->batch = 0;
    w->heard_ms = w->searched_ms = clock_monotonic_ms();
    w->events.refresh_begin(w->context, w->base);
    return 0;
}

static int restart_search(struct directory_watch *w, struct fault *fault)
{
    uint64_t since = clock_monotonic_ms() - w->searched_ms;
    if (since < REFRESH_EVERY_MS)
        watch_sleep(w, -1, REFRESH_EVERY_MS - since);
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
    if (w->has_sync) {
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

static void refresh_done(struct directory_watch *w)
{
    if (!w->refreshing)
        return;
    w->refreshing = false;
    w->events.refresh_end(w->context);
    w->batch++;
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

/* The search has ended: for a persisting one in any case a reason to begin anew, for a plain one its success. */
static enum step take_result(struct directory_watch *w, LDAPMessage *message, struct fault *fault)
{
    int code = LDAP_OTHER;
    char *text = NULL;
    int rc = ldap_parse_result(w->connection.ld, message, &code, NULL, &text, NULL, NULL, 0);
    ldap_memfree(text);
    if (rc != LDAP_SUCCESS)
        code = rc;
    if (!w->has_sync && code == LDAP_SUCCESS) {
        refresh_done(w);
        return STEP_DONE;
    }
    if (w->has_sync && !w->refreshing && (code == LDAP_SUCCESS || code == LDAP_SYNC_REFRESH_REQUIRED)) {
        w->again = true;
        return STEP_DONE;
    }
    connection_fault(&(struct connection){ 0 }, code,
                     code == LDAP_SIZELIMIT_EXCEEDED ? "watching (the gateway must be free of size limits)" : "watching", fault);
    return STEP_BROKEN;
}

static enum step take_message(struct directory_watch *w, LDAPMessage *message, struct fault *fault)
{
    int id = ldap_msgid(message), type = ldap_msgtype(message);
    w->heard_ms = clock_monotonic_ms();
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
    uint64_t now = clock_monotonic_ms();
    if (w->refreshing)
        return now - w->heard_ms < REFRESH_SILENCE_MS ? 0 : fault_set(fault, FAULT_TIMEOUT, 0, "the directory fell silent in a refresh");
    if (w->heartbeat_id != 0)
        return now - w->heartbeat_ms < HEARTBEAT_LIMIT_MS ? 0 : fault_set(fault, FAULT_TIMEOUT, 0, "the directory does not answer");
    if (now - w->heard_ms < HEARTBEAT_EVERY_MS)
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
    for (unsigned nothing = 0; nothing < 2 && !atomic_load(&w->stopping);) {
        enum step step = watch_step(w, fault);
        if (step == STEP_BROKEN)
            return step;
        nothing = step == STEP_NOTHING ? nothing + 1 : 0;
        if (w->again && !w->refreshing)
            return STEP_DONE;
        if (w->batch >= BATCH_MAX)
            watch_commit(w);
    }
    watch_commit(w);
    return STEP_NOTHING;
}

static int watch_follow(struct directory_watch *w, struct fault *fault)
{
    while (!atomic_load(&w->stopping)) {
        if (watch_drain(w, fault) == STEP_BROKEN || heartbeat(w, fault) != 0)
            return -1;
        if (w->doubt_ms != 0 && clock_monotonic_ms() - w->doubt_ms > DOUBT_MS)
            w->again = true;
        if (w->again && !w->refreshing) {
            /* What is already known is published first: a refresh takes a while. */
            watch_commit(w);
            if (restart_search(w, fault) != 0)
                return -1;
            continue;
        }
        watch_sleep(w, w->connection.fd, 1000);
    }
    return 0;
}

static int watch_poll(struct directory_watch *w, struct fault *fault)
{
    while (!atomic_load(&w->stopping)) {
        if (watch_drain(w, fault) == STEP_BROKEN)
            return -1;
        if (w->refreshing) {
            if (heartbeat(w, fault) != 0)
                return -1;
            watch_sleep(w, w->connection.fd, 1000);
            continue;
        }
        watch_sleep(w, -1, POLL_MS);
        if (!atomic_load(&w->stopping) && send_search(w, fault) != 0)
            return -1;
    }
    return 0;
}

/* One connection's life. True if it came as far as a whole refresh. */
static bool watch_once(struct directory_watch *w, struct fault *fault)
{
    w->refreshing = true;
    w->heartbeat_id = 0;
    if (connection_open_any(&w->connection, w->options.directory, &w->preferred, true, OPEN_MS, fault) != 0)
        return false;
    if (read_root_dse(w, fault) == 0 && send_search(w, fault) == 0) {
        if (!w->has_sync)
            log_normal("directory", "the directory offers no content synchronisation (RFC 4533): it is read anew every second");
        if (w->has_sync)
            watch_follow(w, fault);
        else
            watch_poll(w, fault);
    }
    connection_close(&w->connection);
    return !w->refreshing;
}

static void *watch_run(void *argument)
{
    struct directory_watch *w = argument;
    uint64_t back_off = BACK_OFF_FIRST_MS;
    while (!atomic_load(&w->stopping)) {
        struct fault fault;
        fault_clear(&fault);
        if (watch_once(w, &fault))
            back_off = BACK_OFF_FIRST_MS;
        if (atomic_load(&w->stopping))
            break;
        w->events.lost(w->context, &fault);
        watch_sleep(w, -1, back_off);
        back_off = back_off * 2 < BACK_OFF_MAX_MS ? back_off * 2 : BACK_OFF_MAX_MS;
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
    CHECK(pthread_create(&w->thread, NULL, watch_run, w) == 0);
    return w;
}

void directory_watch_stop(struct directory_watch **watch)
{
    struct directory_watch *w = *watch;
    if (w == NULL)
        return;
    uint64_t one = 1;
    atomic_store(&w->stopping, true);
    ssize_t written = write(w->wake, &one, sizeof(one));
    (void)written;   /* an eventfd takes any first write */
    pthread_join(w->thread, NULL);
    close(w->wake);
    mem_free(&w->base);
    mem_free(watch);
}
