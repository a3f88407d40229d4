/* A relayed session: what the client and its POA say passes through relay_scan.h. Ends the session politely, and goes on directly when the POA is
 * lost and nothing of it is missed. Everything on the loop; it must never keep more than two buffers of each side. */
#include "relay.h"

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "relay_scan.h"

enum { END_MS = 3000 };    /* an unfinished command has this long until the session is ended all the same */

struct relay {
    struct relay_scan scan;
    size_t old_in_limit;
    uint64_t end_by;
    uint64_t bulk;         /* what remote->bulk was set to */
    bool reopening;
};

static struct relay_rules rules_of(const struct session *session)
{
    return (struct relay_rules){ .hide_modseq = session->remote->direct_too, .append_max = imap_append_limit(session) };
}

void relay_begin(struct imap *imap, struct buf *text)
{
    struct session *session = imap->session;
    struct relay *relay = MEM_NEW(struct relay);
    imap->relay = relay;
    relay_scan_init(&relay->scan, rules_of(session));
    relay->old_in_limit = session->in_limit;
    session->in_limit = session->remote->in_limit = RELAY_IN_LIMIT;
    if (session->remote->capability.len > 0) {
        buf_append_text(text, "[CAPABILITY");
        relay_scan_capability(&relay->scan.rules, buf_slice(&session->remote->capability), text);
        buf_append_text(text, "] ");
    }
    buf_append_text(text, "Logged in.");
    buf_fini(&session->remote->capability);
}

bool relay_is_between_responses(const struct relay *relay)
{
    return relay->reopening || relay_scan_is_between_responses(&relay->scan);
}

void relay_free(struct relay **relay)
{
    if (*relay == NULL)
        return;
    relay_scan_fini(&(*relay)->scan);
    mem_free(relay);
}

/* --- on without the POA ------------------------------------------------------------------------------------------------------- */

/* The client is told what it may use now (RFC 3501 section 7.2.1); it has no mailbox selected, and nothing else has changed. */
static bool end_reopening(struct imap *imap)
{
    if (imap->account == NULL) {
        session_close(imap->session, CLOSE_POA_LOST);
        return false;
    }
    relay_free(&imap->relay);
    buf_append_text(&imap->session->out, "* ");
    imap_write_capability(imap, &imap->session->out);
    buf_append_text(&imap->session->out, "\r\n");
    return true;
}

static bool go_direct(struct imap *imap)
{
    struct session *session = imap->session;
    log_verbose("imap", "session %llu: the post office agent is lost: going on directly", (unsigned long long)session->id);
    session_drop_remote(session);
    session->in_limit = imap->relay->old_in_limit;
    imap->relay->reopening = true;
    imap->account = imap_find_account(session->user);
    return imap->account != NULL ? end_reopening(imap) : imap_step(imap, imap_open_account_work);
}

static bool can_go_direct(const struct session *session, const struct relay_scan *scan)
{
    return session_may_go_directly(session) && !session->remote->end_wanted && !scan->selected && !scan->sticky &&
           relay_scan_is_quiet(scan) && relay_scan_is_between_responses(scan) && !session->eof;
}

static bool lose(struct imap *imap)
{
    struct session *session = imap->session;
    const struct relay_scan *scan = &imap->relay->scan;
    if (scan->logging_out)
        session_close(session, CLOSE_LOGOUT);
    else if (can_go_direct(session, scan))
        return go_direct(imap);
    else {
        counter_add(session->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
        session_close(session, CLOSE_POA_LOST);
    }
    return false;
}

/* --- the end ------------------------------------------------------------------------------------------------------------------ */

static bool is_time_to_end(struct imap *imap)
{
    struct relay *relay = imap->relay;
    uint64_t now = clock_monotonic_ms();
    if (relay->end_by == 0) {
        relay->end_by = now + END_MS;
        session_wake_after(imap->session, END_MS);
    }
    return relay_scan_is_between_responses(&relay->scan) &&
           (relay_scan_is_quiet(&relay->scan) || relay_scan_is_idling(&relay->scan) || now >= relay->end_by);
}

/* The client sends no more: what it has asked for is answered, if all of it came. */
static bool is_deserted(const struct session *session, const struct relay_scan *scan)
{
    return session->eof && !session->remote->out_full &&
           (scan->up == UP_LITERAL || scan->up == UP_MORE || relay_scan_is_idling(scan) || scan->pending_count == 0);
}

/* --- while it lasts ----------------------------------------------------------------------------------------------------------- */

/* For what the client says. */
static void set_rules(struct imap *imap)
{
    imap->relay->scan.rules.append_max = imap_append_limit(imap->session);
    imap->relay->scan.stop = imap->session->remote->end_wanted;
}

static void take_from_poa(struct imap *imap, struct buf *in, struct buf *out)
{
    if (relay_scan_poa(&imap->relay->scan, in, out) == 0)
        return;
    log_warning("imap", "session %llu: what the post office agent says is no IMAP", (unsigned long long)imap->session->id);
    buf_clear(in);
    imap->session->remote->eof = true;
}

static void end_move(struct imap *imap, size_t kept)
{
    struct remote *remote = imap->session->remote;
    struct relay_scan *scan = &imap->relay->scan;
    remote->bulk = imap->relay->bulk = kept == 0 && !remote->eof ? relay_scan_bulk(scan) : 0;
    remote->waiting = relay_scan_is_owed(scan);
}

static void move(struct imap *imap)
{
    struct session *session = imap->session;
    struct remote *remote = session->remote;
    struct relay_scan *scan = &imap->relay->scan;
    relay_scan_passed(scan, imap->relay->bulk - remote->bulk);
    set_rules(imap);
    take_from_poa(imap, &remote->in, &session->out);
    if (!remote->out_full && !remote->eof && !scan->logged_out)
        relay_scan_client(scan, &session->in, &remote->out);
    buf_shrink(&remote->in);
    end_move(imap, remote->in.len);
}

bool relay_pass(struct imap *imap, bool from_client, struct buf *bytes, struct buf *onward)
{
    struct relay *relay = imap->relay;
    if (relay->reopening || relay->scan.logged_out)
        return false;
    relay_scan_passed(&relay->scan, relay->bulk - imap->session->remote->bulk);
    if (from_client) {
        session_refresh(imap->session);
        set_rules(imap);
        relay_scan_client(&relay->scan, bytes, onward);
    } else
        take_from_poa(imap, bytes, onward);
    end_move(imap, from_client ? 0 : bytes->len);
    return bytes->len == 0 && !relay->scan.logged_out && !imap->session->remote->eof;
}

bool relay_run(struct imap *imap)
{
    struct session *session = imap->session;
    struct remote *remote = session->remote;
    if (imap->relay->reopening)
        return end_reopening(imap);
    if (!session_out_has_room(session))
        return false;
    session_refresh(session);
    move(imap);
    if (imap->relay->scan.logged_out)
        session_close(session, CLOSE_LOGOUT);
    else if (remote->eof)
        return lose(imap);
    else if (remote->end_wanted && is_time_to_end(imap))
        session_close(session, remote->end_reason);
    else if (is_deserted(session, &imap->relay->scan))
        session_close(session, CLOSE_CLIENT);
    return false;
}
