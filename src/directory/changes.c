/* The thread that follows changes, of users and distribution lists, on a connection of its own. Called by src/config. It must never take for granted
 * that nothing changed: whatever it does not understand ends the connection, and with it what others keep in memory. */
#include "postern/directory/changes.h"

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "postern/base/buf.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "server.h"
#include "sync.h"

#define OPEN_MS 5000
#define BACK_OFF_FIRST_MS 100
#define BACK_OFF_MAX_MS 5000
/* A directory that offers neither way may be given one: it is asked again, but seldom. */
#define NOT_OFFERED_MS 60000
/* The kernel answers for a stopped server: only a request shows that nobody is at home. */
#define HEARTBEAT_EVERY_MS 5000
#define HEARTBEAT_LIMIT_MS 3000
#define TICK_MS 1000
#define SOON_MS 50
/* A persistent search gives no sign when it has begun: it is believed to run when the server has answered another request and this time is over. */
#define BELL_SETTLES_MS 500

struct directory_changes {
    struct directory_changes_options options;
    struct directory_changes_events events;
    void *context;
    pthread_t thread;
    int wake;                  /* eventfd */
    atomic_bool stopping;
    /* The thread's own: */
    _Atomic unsigned preferred;
    struct connection connection;
    bool by_sync;
    bool ready;
    int search_id;
    int heartbeat_id;          /* 0: none is out */
    uint64_t heartbeat_ms;
    uint64_t heard_ms;
    uint64_t began_ms;
};

static void changes_sleep(struct directory_changes *w, int fd, uint64_t ms)
{
    struct pollfd fds[2] = { { .fd = w->wake, .events = POLLIN }, { .fd = fd, .events = POLLIN } };
    poll(fds, 2, (int)ms);
}

/* What syncprov takes for a consumer that has seen everything up to now. */
static void print_cookie(const struct directory_entry *csn, struct buf *out)
{
    const struct directory_attribute *values = directory_entry_find(csn, "contextCSN");
    buf_append_text(out, "rid=000,csn=");
    for (size_t i = 0; i < values->count; i++) {
        buf_append_text(out, i > 0 ? ";" : "");
        buf_append(out, values->values[i]);
    }
}

/* What changes between the reading of contextCSN and this search is told as well; others have learned nothing yet that it could matter for. */
static bool encode_control(struct directory_changes *w, const struct server *server, LDAPControl *control)
{
    struct directory_entry *csn = server->has_sync ? server_read_csn(&w->connection, server) : NULL;
    w->by_sync = csn != NULL;
    control->ldctl_oid = (char *)(uintptr_t)(w->by_sync ? SYNC_REQUEST_OID : BELL_REQUEST_OID);
    control->ldctl_iscritical = 1;
    if (csn == NULL)
        return server->has_bell && bell_encode_request_telling(&control->ldctl_value);
    struct buf cookie;
    buf_init(&cookie, 4096);
    print_cookie(csn, &cookie);
    bool good = !cookie.overflowed && sync_encode_request_after(&control->ldctl_value, buf_text(&cookie));
    buf_fini(&cookie);
    directory_entry_free(&csn);
    return good;
}

static int send_search(struct directory_changes *w, struct fault *fault)
{
    struct server server;
    LDAPControl control = { NULL, { 0, NULL }, 1 };
    LDAPControl *controls[] = { &control, NULL };
    if (server_read(&w->connection, w->options.inside, &server, fault) != 0)
        return -1;
    int rc = -1;
    if (!encode_control(w, &server, &control)) {
        fault_set(fault, FAULT_INVALID, 0, "the directory offers no way to hear of changes of users: neither contextCSN and content synchronisation "
                  "(RFC 4533) nor persistent search");
    } else {
        /* A persistent search is silent about an entry that does not match any more. */
        const char *filter = w->by_sync ? w->options.filter : "(objectClass=*)";
        rc = ldap_search_ext(w->connection.ld, server.base, LDAP_SCOPE_SUBTREE, filter, (char **)(uintptr_t)w->options.attributes, 0, controls, NULL,
                             NULL, LDAP_NO_LIMIT, &w->search_id);
        if (rc != LDAP_SUCCESS)
            connection_fault(&w->connection, rc, "search for changes", fault);
    }
    ber_memfree(control.ldctl_value.bv_val);
    server_fini(&server);
    w->heard_ms = w->began_ms = clock_monotonic_ms();
    return rc == LDAP_SUCCESS ? 0 : -1;
}

static void become_ready(struct directory_changes *w)
{
    if (!w->ready)
        w->events.ready(w->context, w->connection.at);
    w->ready = true;
}

static bool read_sync_state(LDAPControl **controls, struct directory_entry *entry, bool *gone_out)
{
    unsigned char uuid[16];
    enum sync_state state;
    LDAPControl *control = ldap_control_find(SYNC_STATE_OID, controls, NULL);
    if (control == NULL || !sync_decode_state(&control->ldctl_value, &state, uuid))
        return false;
    directory_uuid_print(uuid, entry->uuid);
    *gone_out = state == SYNC_DELETE;
    return true;
}

static int take_entry(struct directory_changes *w, LDAPMessage *message, struct fault *fault)
{
    struct connection *c = &w->connection;
    struct directory_entry *entry = connection_entry(c, message);
    LDAPControl **controls = NULL;
    bool gone = false;
    ldap_get_entry_controls(c->ld, message, &controls);
    LDAPControl *notice = ldap_control_find(BELL_NOTICE_OID, controls, NULL);
    bool good = entry != NULL && (w->by_sync ? read_sync_state(controls, entry, &gone)
                                             : notice != NULL && bell_decode_notice(&notice->ldctl_value, &gone));
    ldap_controls_free(controls);
    if (!good || !w->ready) {
        directory_entry_free(&entry);
        return good ? 0 : fault_set(fault, FAULT_PROTOCOL, 0, "malformed notice from the directory");
    }
    w->events.changed(w->context, entry, gone);
    return 0;
}

static int take_intermediate(struct directory_changes *w, LDAPMessage *message, struct fault *fault)
{
    char *oid = NULL;
    struct berval *value = NULL;
    enum sync_info info = SYNC_INFO_COOKIE;
    bool good = ldap_parse_intermediate(w->connection.ld, message, &oid, &value, NULL, 0) == LDAP_SUCCESS && oid != NULL &&
                strcmp(oid, SYNC_INFO_OID) == 0 && value != NULL && sync_decode_info(value, &info);
    ldap_memfree(oid);
    ber_bvfree(value);
    if (good && info == SYNC_INFO_REFRESHED)
        become_ready(w);
    /* Once everything is told one by one, a set of identifiers means that something else has happened. */
    if (!good || (info == SYNC_INFO_ID_SET && w->ready))
        return fault_set(fault, FAULT_PROTOCOL, 0, "a notice from the directory that is not understood");
    return 0;
}

static int take_message(struct directory_changes *w, LDAPMessage *message, struct fault *fault)
{
    int id = ldap_msgid(message), type = ldap_msgtype(message), code = LDAP_OTHER;
    w->heard_ms = clock_monotonic_ms();
    if (id == w->heartbeat_id && type == LDAP_RES_SEARCH_RESULT)
        w->heartbeat_id = 0;
    if (id == 0)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "the directory ends the connection");   /* RFC 4511, section 4.4.1 */
    if (id != w->search_id)
        return 0;
    if (type == LDAP_RES_SEARCH_ENTRY)
        return take_entry(w, message, fault);
    if (type == LDAP_RES_INTERMEDIATE)
        return take_intermediate(w, message, fault);
    if (type != LDAP_RES_SEARCH_RESULT)
        return 0;
    ldap_parse_result(w->connection.ld, message, &code, NULL, NULL, NULL, NULL, 0);
    return connection_fault(&(struct connection){ .ld = NULL }, code, "the search for changes has ended", fault);
}

/* Everything that is there. ldap_result may return nothing once although more is buffered: two in a row are believed. */
static int drain(struct directory_changes *w, struct fault *fault)
{
    for (unsigned nothing = 0; nothing < 2 && !atomic_load(&w->stopping);) {
        struct timeval now = { 0, 0 };
        LDAPMessage *message = NULL;
        int type = ldap_result(w->connection.ld, LDAP_RES_ANY, LDAP_MSG_ONE, &now, &message);
        if (type < 0)
            return connection_fault(&w->connection, LDAP_SERVER_DOWN, "following changes", fault);
        nothing = type == 0 ? nothing + 1 : 0;
        int rc = type > 0 ? take_message(w, message, fault) : 0;
        ldap_msgfree(message);
        if (rc != 0)
            return -1;
    }
    return 0;
}

static int heartbeat(struct directory_changes *w, struct fault *fault)
{
    static const char *const attributes[] = { LDAP_NO_ATTRS, NULL };
    uint64_t now = clock_monotonic_ms();
    if (w->heartbeat_id != 0)
        return now - w->heartbeat_ms < HEARTBEAT_LIMIT_MS ? 0 : fault_set(fault, FAULT_TIMEOUT, 0, "the directory does not answer");
    if (!w->by_sync && !w->ready && now - w->began_ms >= BELL_SETTLES_MS && w->heartbeat_ms >= w->began_ms)
        become_ready(w);
    if (w->ready && now - w->heard_ms < HEARTBEAT_EVERY_MS)
        return 0;
    w->heartbeat_ms = now;
    int rc = ldap_search_ext(w->connection.ld, "", LDAP_SCOPE_BASE, "(objectClass=*)", (char **)(uintptr_t)attributes, 0, NULL, NULL, NULL, 0,
                             &w->heartbeat_id);
    return rc == LDAP_SUCCESS ? 0 : connection_fault(&w->connection, rc, "heartbeat", fault);
}

static void follow(struct directory_changes *w, struct fault *fault)
{
    w->ready = false;
    w->heartbeat_id = 0;
    w->heartbeat_ms = 0;
    if (connection_open_any(&w->connection, w->options.directory, &w->preferred, true, OPEN_MS, fault) != 0)
        return;
    if (send_search(w, fault) == 0) {
        while (!atomic_load(&w->stopping) && drain(w, fault) == 0 && heartbeat(w, fault) == 0) {
            if (connection_is_left(&w->connection)) {
                fault_set(fault, FAULT_UNREACHABLE, 0, "another server is in use now");
                break;
            }
            bool soon = w->events.rest != NULL && w->events.rest(w->context);
            changes_sleep(w, w->connection.fd, soon ? SOON_MS : w->ready ? TICK_MS : BELL_SETTLES_MS / 2);
        }
    }
    connection_close(&w->connection);
}

static void *changes_run(void *argument)
{
    struct directory_changes *w = argument;
    uint64_t back_off = BACK_OFF_FIRST_MS;
    while (!atomic_load(&w->stopping)) {
        struct fault fault;
        fault_clear(&fault);
        follow(w, &fault);
        if (atomic_load(&w->stopping))
            break;
        w->events.lost(w->context, &fault);
        if (w->ready)
            back_off = BACK_OFF_FIRST_MS;
        changes_sleep(w, -1, fault.class == FAULT_INVALID ? NOT_OFFERED_MS : back_off);
        back_off = back_off * 2 < BACK_OFF_MAX_MS ? back_off * 2 : BACK_OFF_MAX_MS;
    }
    return NULL;
}

struct directory_changes *directory_changes_start(const struct directory_changes_options *options,
                                                  const struct directory_changes_events *events, void *context)
{
    struct directory_changes *w = MEM_NEW(struct directory_changes);
    directory_init();
    w->options = *options;
    w->events = *events;
    w->context = context;
    w->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    CHECK(w->wake >= 0);
    CHECK(pthread_create(&w->thread, NULL, changes_run, w) == 0);
    return w;
}

void directory_changes_stop(struct directory_changes **changes)
{
    struct directory_changes *w = *changes;
    if (w == NULL)
        return;
    uint64_t one = 1;
    atomic_store(&w->stopping, true);
    ssize_t written = write(w->wake, &one, sizeof(one));
    (void)written;   /* an eventfd takes any first write */
    pthread_join(w->thread, NULL);
    close(w->wake);
    mem_free(changes);
}
