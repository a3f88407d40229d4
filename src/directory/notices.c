/* What is asked of a server that is followed, and what it says: entries, notices, rings, results. Called by watch.c, in the watch's thread. */
#include <string.h>

#include "choice.h"
#include "following.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "sync.h"

/* Notices between two publications: bounds the work per wake-up after a long stop. */
#define BATCH_MAX 256

enum step { STEP_NOTHING, STEP_DONE, STEP_BROKEN };

void following_set_state(struct directory_watch *w, enum directory_watch_mode mode, const struct fault *why)
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

int following_send(struct directory_watch *w, struct fault *fault)
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
    w->again = w->renamed = false;
    w->doubt_ms = 0;
    w->batch = w->named = w->nameless = 0;
    w->heard_ms = w->searched_ms = clock_monotonic_ms();
    w->events.refresh_begin(w->context, w->server.base, w->server.vendor);
    return 0;
}

int following_restart(struct directory_watch *w, struct fault *fault)
{
    if (w->mode == WATCH_SYNC)
        ldap_abandon_ext(w->connection.ld, w->search_id, NULL, NULL);
    return following_send(w, fault);
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
    w->nameless += entry->uuid[0] == '\0';
    w->named += entry->uuid[0] != '\0';
    if (entry->uuid[0] == '\0') {
        log_write(w->refreshing ? LOG_VERBOSE : LOG_WARNING, "directory", "%s: no UUID: it is left out", entry->dn);
        directory_entry_free(&entry);
    } else if (state == SYNC_DELETE) {
        w->events.gone(w->context, entry->uuid);
        directory_entry_free(&entry);
    } else if (state == SYNC_PRESENT) {
        /* Only an answer to a cookie has these: what it means without one is not known. */
        w->again = true;
        directory_entry_free(&entry);
    } else if (w->events.entry(w->context, entry) && !w->refreshing) {
        w->again = w->renamed = true;
    }
}

void following_drop_former(struct directory_watch *w)
{
    connection_close(&w->former);
    server_fini(&w->former_server);
}

/* Where only the UUIDs may not be read, the objects are not gone. */
static enum step refresh_done(struct directory_watch *w, struct fault *fault)
{
    if (!w->refreshing)
        return STEP_DONE;
    if (w->nameless > 0 && w->named == 0) {
        fault_set(fault, FAULT_DENIED, 0, "watching: no object has a UUID (the gateway must be allowed to read entryUUID)");
        return STEP_BROKEN;
    }
    if (w->nameless != w->nameless_before)
        log_warning("directory", "%u objects without UUID are left out", w->nameless);
    w->nameless_before = w->nameless;
    w->refreshing = false;
    w->established = true;
    w->refreshed_ms = clock_monotonic_ms();
    w->cost_ms = w->refreshed_ms - w->searched_ms;
    if (following_has_others(w)) {
        choice_set_current(w->options.directory->choice, w->connection.at);
        probe_look(w->probe, w->connection.at);
    }
    w->events.refresh_end(w->context, w->connection.at);
    following_drop_former(w);
    pthread_mutex_lock(&w->mutex);
    w->state.refresh_ms = w->cost_ms;
    w->state.refreshes++;
    pthread_mutex_unlock(&w->mutex);
    following_set_state(w, w->mode, NULL);
    /* At once: the notices that have waited for it may begin with another rename. */
    w->batch++;
    following_commit(w);
    return STEP_DONE;
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
        return refresh_done(w, fault);
    if (info == SYNC_INFO_ID_SET && !w->refreshing)
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

/* The server offers it, but not for this part of the directory, not to us, or not to so many (389-DS has ten to give). */
static enum step do_without(struct directory_watch *w, int code, struct fault *fault)
{
    log_warning("directory", "%s: %s is refused: %s", w->options.directory->uris[w->connection.at], directory_watch_mode_word(w->mode),
                ldap_err2string(code));
    w->mode = w->mode == WATCH_SYNC && w->server.has_bell ? WATCH_BELL : WATCH_POLL;
    w->bell_id = 0;
    return following_send(w, fault) == 0 ? STEP_DONE : STEP_BROKEN;
}

/* The search has ended: for a persisting one in any case a reason to begin anew, for a plain one its success. */
static enum step take_result(struct directory_watch *w, LDAPMessage *message, struct fault *fault)
{
    int code = result_code(w, message);
    bool sync = w->mode == WATCH_SYNC;
    if (!sync && code == LDAP_SUCCESS)
        return refresh_done(w, fault);
    if (sync && !w->refreshing && (code == LDAP_SUCCESS || code == LDAP_SYNC_REFRESH_REQUIRED)) {
        w->again = true;
        return STEP_DONE;
    }
    if (sync && w->refreshing &&
        (code == LDAP_UNAVAILABLE_CRITICAL_EXTENSION || code == LDAP_INSUFFICIENT_ACCESS || code == LDAP_UNWILLING_TO_PERFORM))
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

static void note_heard(struct directory_watch *w)
{
    w->heard_ms = clock_monotonic_ms();
    pthread_mutex_lock(&w->mutex);
    w->state.heard_ms = w->heard_ms;
    pthread_mutex_unlock(&w->mutex);
}

void following_commit(struct directory_watch *w)
{
    if (w->batch == 0 || w->refreshing || w->renamed)
        return;
    w->batch = 0;
    w->events.commit(w->context);
}

/* Takes everything that is there, in batches. ldap_result may return nothing once although more is buffered: two in a row are believed. */
int following_drain(struct directory_watch *w, struct fault *fault)
{
    bool heard = false;
    for (unsigned nothing = 0; nothing < 2 && !atomic_load(&w->stopping);) {
        enum step step = watch_step(w, fault);
        if (step == STEP_BROKEN) {
            /* It may be a while until the next reading. */
            following_commit(w);
            return -1;
        }
        nothing = step == STEP_NOTHING ? nothing + 1 : 0;
        heard = heard || step == STEP_DONE;
        if (w->again && !w->refreshing && w->mode == WATCH_SYNC)
            break;
        if (w->batch >= BATCH_MAX)
            following_commit(w);
    }
    if (heard)
        note_heard(w);
    following_commit(w);
    return 0;
}
