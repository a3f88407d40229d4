/* The way to a mailbox: chosen after the login, by the post office's mode and by what is known of its POA; then the POA's side of a relayed
 * session. Called on the connection's loop; must never wait, nor keep more of what the POA says than the protocol asks for. */
#include "reach.h"

#include <string.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/net/endpoint.h"
#include "postern/poa/poa.h"

enum {
    SILENCE_MS = 10 * 1000,    /* a POA that owes an answer and says nothing for that long is looked at */
    LOOK_MS = 1000,
    OUT_FULL = 256 * 1024,
    OUT_LOW = 64 * 1024,
    END_MS = 10 * 1000,
    PASS_LEAST = 128 * 1024,   /* octets that are worth a pipe */
    PASS_AHEAD = 512 * 1024,
    ACTIVITY = 4096,    /* octets at once that are a download; less may be the sign of life of an IDLE */
};

struct reach {
    struct remote remote;
    struct conn *conn;
    struct poa_opening *opening;    /* NULL: none under way */
    struct stream stream;
    uint64_t end_ms;
    size_t agent;                   /* of the post office: the one that the session is open at */
    uint64_t heard_ms;              /* when it last said something, or was asked about */
    bool passing;                   /* what the POA says goes to the client by stream_pass */
    bool stopped;
};

static bool has_direct(const struct post_office *office)
{
    return office->path != NULL && office->mode != ACCESS_CLIENT_SERVER;
}

static bool has_both(const struct post_office *office)
{
    return has_direct(office) && poa_is_used(office);
}

/* --- the choice --------------------------------------------------------------------------------------------------------------- */

static void unavailable(struct conn *c, const char *cause)
{
    counter_add(c->session.counters, COUNTER_STORE_LOGIN_ERROR, 1);
    log_normal("login", "%s session %llu: the mailbox of %s is not reachable: %s", service_word(c->room->service),
               (unsigned long long)c->session.id, c->look_up->user->id, cause);
    c->look_up->result = ACTION_UNAVAILABLE;
}

static void poa_answered(void *context, enum poa_result result, const struct fault *fault);

static void open_poa(struct conn *c)
{
    const struct session *s = &c->session;
    struct reach *r = MEM_NEW(struct reach);
    struct endpoint local;
    endpoint_of_socket(c->stream.fd, &local);
    c->reach = r;
    r->conn = c;
    r->remote.in_limit = 16 * 1024;
    struct poa_open_request request = {
        .loop = c->home->loop, .post_office = c->look_up->user->post_office, .snapshot = c->look_up->user->snapshot,
        .user = c->look_up->user->id, .password = buf_slice(&c->look_up->password), .token = c->look_up->proof == PROOF_TOKEN, .client = s->peer, .client_port = s->peer_port,
        .local = s->local, .local_port = endpoint_port(&local), .session_id = s->id, .tls = s->tls, .mailbox_dir = c->look_up->user->mailbox_dir, .answered = poa_answered, .context = c,
    };
    c->under_way = true;
    r->opening = poa_open(&request);
}

bool reach_begin(struct conn *conn)
{
    struct conn *c = conn;
    const struct post_office *office = c->look_up->user->post_office;
    if (c->room->service == SERVICE_SMTP)
        return false;
    switch (poa_choose(office)) {
    case PATH_POA:
        if (c->room->protocol->uses_remote) {
            open_poa(c);
            return true;
        }
        if (!has_direct(office))
            unavailable(c, "it is served client/server only");
        return false;
    case PATH_DIRECT:
        c->session.fallback = poa_is_used(office);
        return false;
    default:
        unavailable(c, "neither way to the post office can be used");
        return false;
    }
}

/* --- the POA's answer --------------------------------------------------------------------------------------------------------- */

static void note_failure(struct conn *c, const struct fault *fault, const char *what)
{
    log_normal("login", "%s session %llu: %s at the post office agent: %s: %s", service_word(c->room->service),
               (unsigned long long)c->session.id, c->look_up->user->id, what, fault->text);
    counter_add(c->session.counters, COUNTER_STORE_LOGIN_ERROR, 1);
}

static void fail(struct conn *c, enum poa_result result, const struct fault *fault)
{
    bool refused = result == POA_REFUSED, direct = !refused && poa_fallback(c->look_up->user->post_office) == PATH_DIRECT;
    note_failure(c, fault, refused ? "refused" : direct ? "served directly" : "not served");
    c->session.fallback = direct;
    c->look_up->result = refused ? ACTION_REFUSED : direct ? ACTION_OK : ACTION_UNAVAILABLE;
    reach_free(c);
}

static stream_callback poa_news;
static stream_taker take_from_client, take_from_poa;

static void poa_answered(void *context, enum poa_result result, const struct fault *fault)
{
    struct conn *c = context;
    struct reach *r = c->reach;
    struct poa_opening *opening = r->opening;
    r->opening = NULL;
    c->under_way = false;
    if (result == POA_OPEN) {
        r->agent = poa_agent(opening);
        r->heard_ms = clock_monotonic_ms();
        poa_take(opening, &r->stream, &r->remote.in, &r->remote.capability, poa_news, r);
        r->remote.direct_too = has_both(c->look_up->user->post_office);
        c->session.remote = &r->remote;
        c->stream.take = take_from_client;
        r->stream.take = take_from_poa;
    } else
        fail(c, result, fault);
    look_up_finish(c);
}

/* --- while it lasts ----------------------------------------------------------------------------------------------------------- */

static void poa_news(struct stream *stream, enum stream_event event, void *context)
{
    struct reach *r = context;
    struct conn *c = r->conn;
    struct remote *remote = &r->remote;
    if (c->state != CONN_OPEN || r->stopped) {
        buf_fini(&remote->in);
        return;
    }
    if (event == STREAM_INPUT) {
        r->heard_ms = clock_monotonic_ms();
        if (remote->in.len >= ACTIVITY || r->passing)
            c->input_ms = r->heard_ms;
    } else if (event == STREAM_EOF || event == STREAM_FAILED)
        remote->eof = true;
    else if (event == STREAM_WRITTEN) {
        if (!remote->out_full || stream_pending(stream) >= OUT_LOW)
            return;
        remote->out_full = false;
    }
    conn_run(c);
}

/* Nothing is kept on either side, nothing else is under way, and no time limit has come nearer than the one that the watchdog waits for. */
static bool is_plain(const struct conn *c, const struct reach *r, uint64_t now)
{
    const struct session *s = &c->session;
    const struct remote *remote = s->remote;
    if (c->state != CONN_OPEN || remote == NULL || r->stopped || r->passing || remote->end_wanted || remote->eof || remote->out_full)
        return false;
    if (s->busy || s->closing || s->eof || s->out_full || c->action != CONN_NO_ACTION || c->close_wanted || c->rerun || c->at_rest != CLOSE_CLIENT)
        return false;
    return s->in.len + s->out.len + remote->in.len + remote->out.len + stream_pending(&c->stream) + stream_pending(&r->stream) == 0 &&
           loop_timer_is_set(&c->watchdog) && c->watchdog_ms <= now + SILENCE_MS;
}

/* The short way of what comes while nothing else is going on: it is looked at where it was read, and goes on. False: conn_run takes it up from here. */
static bool pass_on(struct conn *c, bool from_client, struct buf *bytes, uint64_t now)
{
    struct reach *r = c->reach;
    bool (*pass)(struct session *, bool, struct buf *, struct buf *) = c->room->protocol->pass;
    if (pass == NULL || !is_plain(c, r, now))
        return false;
    struct stream *to = from_client ? &r->stream : &c->stream;
    struct buf onward = { .cap = 0 };
    const char *lent = bytes->data;
    bool done = pass(&c->session, from_client, bytes, &onward);
    if (onward.len > 0) {
        stream_send_slice(to, buf_slice(&onward));
        if (!from_client)
            c->last_byte = onward.data[onward.len - 1];
    }
    if (onward.data != lent)
        buf_fini(&onward);
    return done && stream_pending(to) == 0 && c->session.remote->bulk < PASS_LEAST;
}

static bool take_from_client(struct stream *stream, struct buf *bytes, void *context)
{
    (void)stream;
    struct conn *c = context;
    if (c->reach == NULL)
        return false;
    c->input_ms = clock_monotonic_ms();
    return pass_on(c, true, bytes, c->input_ms);
}

static bool take_from_poa(struct stream *stream, struct buf *bytes, void *context)
{
    (void)stream;
    struct reach *r = context;
    r->heard_ms = clock_monotonic_ms();
    if (bytes->len >= ACTIVITY)
        r->conn->input_ms = r->heard_ms;
    return pass_on(r->conn, false, bytes, r->heard_ms);
}

/* The middle of a large literal goes on inside the kernel. */
static void settle_bulk(struct reach *r)
{
    const struct session *s = &r->conn->session;
    struct remote *remote = &r->remote;
    if (r->passing && remote->bulk == 0)
        r->passing = stream_pass(&r->stream, NULL, NULL);
    else if (!r->passing && remote->bulk >= PASS_LEAST && s->out.len == 0 && remote->in.len == 0 && !remote->eof)
        r->passing = stream_pass(&r->stream, &r->conn->stream, &remote->bulk);
}

void reach_settle(struct conn *conn)
{
    struct reach *r = conn->reach;
    struct session *s = &conn->session;
    if (r == NULL || s->remote == NULL || r->stopped)
        return;
    struct remote *remote = &r->remote;
    stream_send(&r->stream, &remote->out);
    buf_shrink(&remote->out);
    size_t pending = stream_pending(&r->stream);
    remote->out_full = pending > OUT_FULL || (remote->out_full && pending >= OUT_LOW);
    r->stream.in_limit = remote->in_limit;
    settle_bulk(r);
    stream_want_input(&r->stream, !s->out_full && !remote->eof && !(r->passing && stream_pending(&conn->stream) > PASS_AHEAD));
}

/* --- the end ------------------------------------------------------------------------------------------------------------------ */

bool reach_end(struct conn *conn, enum close_reason reason)
{
    if (conn->session.remote == NULL || conn->reach->stopped)
        return false;
    struct reach *r = conn->reach;
    if (!r->remote.end_wanted) {
        r->remote.end_wanted = true;
        r->remote.end_reason = reason;
        r->end_ms = clock_monotonic_ms() + END_MS;
        conn_run(conn);
    }
    return true;
}

uint64_t reach_end_ms(const struct conn *conn)
{
    return conn->session.remote != NULL && conn->session.remote->end_wanted ? conn->reach->end_ms : UINT64_MAX;
}

/* A client that waits for nothing begins to wait at the command that it sends: the silence before that counts for nothing. */
uint64_t reach_silence_ms(const struct conn *conn)
{
    const struct reach *r = conn->reach;
    if (conn->session.remote == NULL || r->stopped || r->remote.eof || (!r->remote.waiting && stream_pending(&r->stream) == 0))
        return UINT64_MAX;
    return (r->heard_ms > conn->input_ms ? r->heard_ms : conn->input_ms) + SILENCE_MS;
}

bool reach_look(struct conn *conn)
{
    struct reach *r = conn->reach;
    uint64_t now = clock_monotonic_ms();
    if (reach_silence_ms(conn) > now)
        return false;
    r->heard_ms = now - SILENCE_MS + LOOK_MS;
    if (!poa_is_away(conn->session.user->post_office, r->agent, now - SILENCE_MS))
        return true;
    log_normal("service", "session %llu: the post office agent owes an answer and is away", (unsigned long long)conn->session.id);
    r->remote.eof = true;
    conn_run(conn);
    return true;
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same_way(const struct post_office *a, const struct post_office *b)
{
    if (a->mode != b->mode || !is_same_text(a->path, b->path) || a->agent_count != b->agent_count)
        return false;
    for (size_t i = 0; i < a->agent_count; i++)
        if (strcmp(a->agents[i].host, b->agents[i].host) != 0 || a->agents[i].port != b->agents[i].port)
            return false;
    return true;
}

bool reach_is_outdated(const struct conn *conn, const struct user *fresh)
{
    const struct remote *remote = conn->session.remote;
    const struct post_office *old = conn->session.user->post_office;
    if (conn->room->service != SERVICE_SMTP && old != NULL && fresh->post_office != NULL && fresh->post_office->move_sessions &&
        !is_same_way(old, fresh->post_office))
        return true;
    return remote != NULL && fresh->post_office != NULL &&
           (!poa_is_used(fresh->post_office) || has_both(fresh->post_office) != remote->direct_too);
}

void reach_stop(struct conn *conn)
{
    struct reach *r = conn->reach;
    if (r == NULL || r->stopped)
        return;
    r->stopped = true;
    if (r->opening != NULL) {
        poa_open_cancel(&r->opening);
        conn->under_way = false;
    }
    if (r->stream.loop != NULL)
        stream_want_input(&r->stream, false);
}

void reach_free(struct conn *conn)
{
    struct reach *r = conn->reach;
    if (r == NULL)
        return;
    reach_stop(conn);
    stream_fini(&r->stream);
    buf_fini(&r->remote.in);
    buf_fini(&r->remote.out);
    buf_fini(&r->remote.capability);
    conn->session.remote = NULL;
    mem_free(&conn->reach);
}

bool reach_may_go_directly(const struct session *session)
{
    return poa_fallback(session->user->post_office) == PATH_DIRECT;
}

static void free_later(void *arg)
{
    struct conn *c = arg;
    reach_free(c);
    conn_take(c);
}

void reach_drop(struct session *session)
{
    struct conn *c = LIST_ITEM(session, struct conn, session);
    session->remote = NULL;
    session->fallback = true;
    reach_stop(c);
    conn_post(c, free_later);
}
