/* The life of one client's connection on its loop. Called by the listeners, the stream and messages; must never wait, nor touch
 * what belongs to a step while one is under way. */
#include "conn.h"

#include <sys/socket.h>
#include <unistd.h>

#include "claims.h"
#include "mechanisms.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/net/endpoint.h"
#include "reach.h"
#include "revoke.h"
#include "user_counts.h"

enum {
    IN_LIMIT = 16 * 1024,
    OUT_FULL = 256 * 1024,
    OUT_LOW = 64 * 1024,
    HANDSHAKE_MS = 30 * 1000,
    WRITE_MS = 5 * 60 * 1000,
    CLOSING_MS = 30 * 1000,
    LINGER_MS = 2 * 1000,
    STRANGERS_AT_ONCE = 16,
};

static void begin_close(struct conn *c, enum close_reason reason);

/* --- messages and the end ----------------------------------------------------------------------------------------------- */

void conn_post(struct conn *conn, void (*fn)(void *conn))
{
    atomic_fetch_add(&conn->holds, 1);
    loop_post(conn->home->loop, fn, conn);
}

static void free_if_unused(struct conn *c)
{
    if (atomic_load(&c->holds) > 0 || (c->under_way && c->action != CONN_START_TLS))
        return;
    if (!c->finished) {
        c->finished = true;
        c->room->protocol->fini(&c->session);
    }
    /* Until fini has closed the view, another session's step may have woken this one: that message still names it. */
    if (atomic_load(&c->holds) > 0)
        return;
    buf_wipe(&c->session.in);
    buf_fini(&c->session.out);
    user_unref(&c->session.user);
    user_unref(&c->session.recipient);
    snapshot_unref(&c->session.snapshot);
    look_up_free(&c->look_up);
    mechanisms_free(c);
    claims_forget(c);
    if (c->home->look_at == &c->link)
        c->home->look_at = c->link.next;
    list_remove(&c->link);
    atomic_fetch_sub(&c->gateway->sessions, 1);
    mem_free(&c);
}

bool conn_take(struct conn *conn)
{
    atomic_fetch_sub(&conn->holds, 1);
    if (conn->state != CONN_DEAD)
        return true;
    free_if_unused(conn);
    return false;
}

static void enter(struct conn *c, enum conn_state state)
{
    static const char *const names[] = {
        [CONN_HANDSHAKE] = "handshake", [CONN_OPEN] = "open", [CONN_CLOSING] = "closing",
        [CONN_LINGER] = "linger", [CONN_DEAD] = "dead",
    };
    log_debug("service", "%s session %llu: %s", service_word(c->room->service), (unsigned long long)c->session.id,
              names[state]);
    c->state = state;
    c->state_ms = clock_monotonic_ms();
}

static void bury(void *arg)
{
    struct conn *c = arg;
    stream_fini(&c->stream);
    reach_free(c);
    conn_take(c);
}

/* The stream is closed by a message: it may be its callback that we are in. */
static void die(struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    enter(c, CONN_DEAD);
    c->session.closing = true;
    loop_timer_cancel(&c->watchdog);
    loop_timer_cancel(&c->later);
    stream_want_input(&c->stream, false);
    list_remove(&c->stranger_link);
    reach_stop(c);
    revoke_forget(c);
    user_counts_leave(c);
    if (c->counted)
        atomic_fetch_sub(&c->room->sessions, 1);
    conn_post(c, bury);
}

static void note_close(struct conn *c, enum close_reason reason)
{
    c->reason = reason;
    c->session.closing = true;
    atomic_fetch_add(&c->room->closed[reason], 1);
    log_verbose("service", "%s session %llu from %s ended: %s", service_word(c->room->service),
                (unsigned long long)c->session.id, c->session.peer, close_reason_word(reason));
}

/* Without another word: the connection is of no use any more. */
static void drop(struct conn *c, enum close_reason reason)
{
    if (c->state == CONN_HANDSHAKE || c->state == CONN_OPEN)
        note_close(c, reason);
    die(c);
}

/* --- strangers ------------------------------------------------------------------------------------------------------------ */

/* Connections that nobody logs in on, or that never finish a handshake, must not keep others out: when only an eighth of the descriptors is left, the oldest
 * make way for a new one, which has this descriptor. Several at once: the numbers that they free go to those who come next, and say nothing then of how many
 * are taken. A login under way is not interrupted. Not from within the callback of a stranger's stream. True: some have gone. */
static bool make_room(struct home *home, int fd)
{
    int most = home->gateway->fd_most, left = STRANGERS_AT_ONCE;
    if (fd < most - most / 8)
        return false;
    LIST_FOR_EACH (&home->strangers, at) {
        struct conn *c = LIST_ITEM(at, struct conn, stranger_link);
        if (left == 0 || (c->under_way && c->action != CONN_START_TLS))
            continue;
        drop(c, CLOSE_TOO_MANY_CONNECTIONS);
        stream_fini(&c->stream);   /* now: more may be accepted before a message is read */
        left--;
    }
    return left < STRANGERS_AT_ONCE;
}

static void note_stranger(struct conn *c)
{
    list_remove(&c->stranger_link);
    list_append(&c->home->strangers, &c->stranger_link);
}

/* --- time limits ----------------------------------------------------------------------------------------------------------- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* The nearest limit that is in force now, and what it would mean. */
static uint64_t next_limit(const struct conn *c, enum close_reason *reason_out)
{
    *reason_out = CLOSE_TLS_FAILED;
    if (c->state == CONN_LINGER)
        return c->state_ms + LINGER_MS;
    if (c->state == CONN_CLOSING)
        return c->state_ms + CLOSING_MS;
    if (c->state == CONN_HANDSHAKE || (c->action == CONN_START_TLS && c->under_way))
        return c->arrived_ms + HANDSHAKE_MS;
    if (reach_end_ms(c) != UINT64_MAX) {
        *reason_out = c->session.remote->end_reason;
        return reach_end_ms(c);
    }
    if (stream_pending(&c->stream) > 0) {
        *reason_out = CLOSE_WRITE_TIMEOUT;
        return c->stream.waiting_since + WRITE_MS;
    }
    if (c->session.busy)
        return UINT64_MAX;
    uint64_t limit = UINT64_MAX, login = UINT64_MAX;
    if (c->session.idle_seconds > 0)
        limit = c->input_ms + (uint64_t)c->session.idle_seconds * 1000;
    if (c->session.user == NULL && c->room->service != SERVICE_SMTP)
        login = c->began_ms + c->session.snapshot->agent.login_seconds * 1000;
    *reason_out = login < limit ? CLOSE_LOGIN_TIMEOUT : CLOSE_IDLE;
    return earlier(earlier(limit, login), reach_silence_ms(c));
}

/* The timer is only ever moved forward; one that fires too early is set again: input costs no timer. */
static void set_watchdog(struct conn *c)
{
    enum close_reason reason;
    uint64_t limit = next_limit(c, &reason), now;
    if (c->state == CONN_DEAD || limit == UINT64_MAX || (loop_timer_is_set(&c->watchdog) && c->watchdog_ms <= limit))
        return;
    now = clock_monotonic_ms();
    c->watchdog_ms = limit;
    loop_timer_set(&c->watchdog, limit > now ? limit - now : 0);
}

static void watchdog_fired(void *arg)
{
    struct conn *c = arg;
    enum close_reason reason;
    uint64_t limit = next_limit(c, &reason);
    if (limit > clock_monotonic_ms() || (c->state == CONN_OPEN && reach_look(c)))
        set_watchdog(c);
    else if (c->state == CONN_OPEN && reason != CLOSE_WRITE_TIMEOUT && reason != CLOSE_TLS_FAILED)
        begin_close(c, reason);
    else
        drop(c, reason);
}

/* --- closing ------------------------------------------------------------------------------------------------------------- */

/* While a step is under way, `in` is the step's. */
static bool owns_buffers(const struct conn *c)
{
    return !(c->under_way && c->action == CONN_STEP);
}

static void finish_output(struct conn *c)
{
    stream_end_output(&c->stream);
    if (c->session.eof)
        die(c);
    else
        enter(c, CONN_LINGER);
}

/* What is in the stream is written, then the farewell; the client gets a moment to read it. */
static void begin_close(struct conn *c, enum close_reason reason)
{
    struct slice farewell = SLICE_NONE;
    if (reason != CLOSE_LOGOUT && reason != CLOSE_CLIENT && (c->last_byte == 0 || c->last_byte == '\n'))
        farewell = c->room->protocol->farewell(&c->session, reason);
    note_close(c, reason);
    enter(c, CONN_CLOSING);
    loop_timer_cancel(&c->later);
    reach_stop(c);
    if (farewell.len > 0) {
        struct buf words = { .cap = 0 };
        buf_append(&words, farewell);
        stream_send_last(&c->stream, &words);
        buf_fini(&words);
    }
    if (stream_pending(&c->stream) == 0)
        finish_output(c);
    if (c->state != CONN_DEAD) {
        if (owns_buffers(c))
            buf_clear(&c->session.in);
        stream_want_input(&c->stream, owns_buffers(c));
        set_watchdog(c);
    }
}

void conn_close(struct conn *conn, enum close_reason reason)
{
    struct conn *c = conn;
    if (c->state == CONN_HANDSHAKE || (c->state == CONN_OPEN && c->action == CONN_START_TLS && c->under_way))
        drop(c, reason);
    else if (c->state != CONN_OPEN)
        return;
    else if (c->under_way && reason != CLOSE_STALLED) {
        /* A step that has begun is answered: it may have stored mail. By SMTP all recipients have theirs first: ended between them, the client would
         * send it to the others twice. */
        if (c->room->service == SERVICE_SMTP && c->action == CONN_STEP) {
            c->at_rest = reason;
            return;
        }
        c->close_wanted = true;
        c->reason = reason;
    } else if (!reach_end(c, reason))
        begin_close(c, reason);
}

void conn_turn_away(struct conn *conn, enum close_reason reason)
{
    conn->action = CONN_NO_ACTION;
    conn->under_way = conn->session.busy = false;
    begin_close(conn, reason);
}

/* --- running the protocol -------------------------------------------------------------------------------------------------- */

static void flush(struct conn *c)
{
    struct session *s = &c->session;
    if (s->out.len > 0) {
        c->last_byte = s->out.data[s->out.len - 1];
        c->rerun = c->rerun || s->out.len >= SESSION_OUT_CHUNK;
        if (s->closing && c->reason == CLOSE_LOGOUT)
            stream_send_last(&c->stream, &s->out);
        else
            stream_send(&c->stream, &s->out);
    }
    buf_shrink(&s->out);
    /* What the kernel took at once makes no event: only here is there room again. */
    size_t pending = stream_pending(&c->stream);
    s->out_full = pending > OUT_FULL || (s->out_full && pending >= OUT_LOW);
}

/* RFC 3207 section 4.2, RFC 2595 section 4: what came before the handshake counts for nothing. */
static void start_tls(struct conn *c)
{
    if (stream_pending(&c->stream) > 0)
        return;   /* the answer in clear text goes first */
    buf_clear(&c->session.in);
    c->arrived_ms = clock_monotonic_ms();
    c->under_way = true;
    if (c->room->service == SERVICE_SMTP)
        note_stranger(c);
    if (stream_start_tls(&c->stream, c->gateway->tls) < 0)
        drop(c, CLOSE_TLS_FAILED);
}

static void start_action(struct conn *c)
{
    if (c->action == CONN_STEP)
        step_start(c);
    else if (c->action == CONN_START_TLS)
        start_tls(c);
    else {
        c->under_way = true;
        look_up_start(c);
    }
}

static void run_again(void *arg)
{
    struct conn *c = arg;
    if (conn_take(c))
        conn_run(c);
}

/* After every call of the protocol: sends, closes, starts what was asked for, decides what is waited for. */
static void settle(struct conn *c)
{
    struct session *s = &c->session;
    flush(c);
    if (c->at_rest != CLOSE_CLIENT && c->action != CONN_STEP && !s->closing) {
        c->close_wanted = true;
        c->reason = c->at_rest;
    }
    if (s->closing || c->close_wanted) {
        c->action = CONN_NO_ACTION;
        s->busy = false;
        begin_close(c, c->reason);
        return;
    }
    if (c->action != CONN_NO_ACTION && !c->under_way)
        start_action(c);
    if (c->state == CONN_DEAD)
        return;
    if (s->user != NULL)
        list_remove(&c->stranger_link);
    size_t pending = stream_pending(&c->stream);
    if (!s->busy) {
        buf_shrink(&s->in);
        if (c->rerun && pending == 0) {
            c->rerun = false;
            conn_post(c, run_again);
        } else if (s->eof && s->remote == NULL && pending == 0 && !s->out_full && !loop_timer_is_set(&c->later)) {
            begin_close(c, CLOSE_CLIENT);
            return;
        }
    }
    reach_settle(c);
    c->stream.in_limit = s->in_limit;
    stream_want_input(&c->stream, !s->busy);
    set_watchdog(c);
}

void conn_run(struct conn *conn)
{
    struct conn *c = conn;
    struct session *s = &c->session;
    if (s->busy || c->state != CONN_OPEN)
        return;
    c->in_run = true;
    c->room->protocol->run(s);
    c->in_run = false;
    s->result = ACTION_NONE;
    settle(c);
}

void conn_action_ended(struct conn *conn, enum action_result result)
{
    struct conn *c = conn;
    c->action = CONN_NO_ACTION;
    c->under_way = c->failing = false;
    c->session.busy = false;
    c->session.result = result;
    c->input_ms = clock_monotonic_ms();
    if (c->state != CONN_OPEN) {
        buf_clear(&c->session.out);
        return;
    }
    revoke_settle(c);
    size_t pending = stream_pending(&c->stream);
    c->session.out_full = pending + c->session.out.len > OUT_FULL || (c->session.out_full && pending >= OUT_LOW);
    conn_run(c);
}

/* --- events ---------------------------------------------------------------------------------------------------------------- */

static void greet(struct conn *c)
{
    enter(c, CONN_OPEN);
    conn_ops.refresh(&c->session);
    c->in_run = true;
    c->room->protocol->init(&c->session);
    c->in_run = false;
    settle(c);
}

static void tls_is_up(struct conn *c)
{
    if (c->room->service == SERVICE_SMTP)
        list_remove(&c->stranger_link);
    mechanisms_tls_up(c);
    claims_forget(c);
    c->session.tls = true;
    c->session.busy = false;
    c->under_way = false;
    c->action = CONN_NO_ACTION;
    c->input_ms = clock_monotonic_ms();
    if (c->state == CONN_HANDSHAKE)
        greet(c);
    else {
        conn_ops.refresh(&c->session);
        conn_run(c);
    }
}

static void output_moved(struct conn *c)
{
    size_t pending = stream_pending(&c->stream);
    if (c->state == CONN_CLOSING && pending == 0) {
        finish_output(c);
        set_watchdog(c);
    }
    if (c->state != CONN_OPEN)
        return;
    if (pending == 0)
        c->input_ms = clock_monotonic_ms();
    if (c->action == CONN_START_TLS && !c->under_way && pending == 0) {
        settle(c);
        return;
    }
    bool had_enough = c->session.out_full && pending < OUT_LOW;
    if (had_enough && !c->session.busy)
        c->session.out_full = false;
    if (had_enough || (pending == 0 && c->rerun)) {
        c->rerun = false;
        conn_run(c);
    } else if (pending == 0 && !c->session.busy)
        settle(c);
}

static void failed(struct conn *c)
{
    static const enum close_reason reasons[] = {
        [STREAM_READ_FAILED] = CLOSE_READ_ERROR,
        [STREAM_WRITE_FAILED] = CLOSE_WRITE_ERROR,
        [STREAM_TLS_FAILED] = CLOSE_TLS_FAILED,
    };
    drop(c, reasons[c->stream.failure]);
}

static void stream_news(struct stream *stream, enum stream_event event, void *context)
{
    (void)stream;
    struct conn *c = context;
    if (c->state == CONN_DEAD)
        return;
    if (event == STREAM_INPUT && c->state == CONN_OPEN) {
        c->input_ms = clock_monotonic_ms();
        conn_run(c);
    } else if (event == STREAM_INPUT) {
        buf_clear(&c->session.in);
        buf_shrink(&c->session.in);
    } else if (event == STREAM_EOF) {
        c->session.eof = true;
        if (c->state == CONN_LINGER)
            die(c);
        else
            conn_run(c);
    } else if (event == STREAM_WRITTEN)
        output_moved(c);
    else if (event == STREAM_TLS_UP)
        tls_is_up(c);
    else if (event == STREAM_FAILED)
        failed(c);
}

/* wake_after's time is over, or a refused login is answered now. */
static void later_fired(void *arg)
{
    struct conn *c = arg;
    if (c->failing)
        conn_action_ended(c, c->look_up->result);
    else
        conn_run(c);
}

/* --- the beginning --------------------------------------------------------------------------------------------------------- */

static void describe(struct conn *c, int fd)
{
    struct endpoint address;
    endpoint_of_peer(fd, &address);
    endpoint_format(&address, c->session.peer);
    endpoint_format(&address, c->address);
    c->session.peer_port = c->port = endpoint_port(&address);
    c->session.loopback = endpoint_is_loopback(&address);
    endpoint_of_socket(fd, &address);
    endpoint_format(&address, c->session.local);
}

static bool is_too_many(struct conn *c)
{
    struct service_settings settings;
    service_settings_of(c->session.snapshot, c->room->service, &settings);
    return settings.max_connections > 0 && atomic_load(&c->room->sessions) > settings.max_connections;
}

static void begin(void *arg)
{
    struct conn *c = arg;
    struct session *s = &c->session;
    list_append(&c->home->conns, &c->link);
    loop_timer_init(&c->watchdog, c->home->loop, watchdog_fired, c);
    loop_timer_init(&c->later, c->home->loop, later_fired, c);
    stream_init(&c->stream, c->home->loop, c->stream.fd, &s->in, s->in_limit, stream_news, c);
    c->stream.counters = s->counters;
    c->began_ms = c->input_ms = c->arrived_ms = clock_monotonic_ms();
    enter(c, CONN_HANDSHAKE);
    log_verbose("service", "%s session %llu from %s port %u", service_word(c->room->service), (unsigned long long)s->id,
                s->peer, s->peer_port);
    if (!conn_take(c))
        return;
    bool tls = listener_begins_with_tls(s->listener);
    if (c->home != &c->gateway->homes[0])
        make_room(c->home, c->stream.fd);
    if (tls || c->room->service != SERVICE_SMTP)
        note_stranger(c);
    bool refused = is_too_many(c);
    if (tls && (refused || atomic_load(&c->gateway->stopping)))
        drop(c, refused ? CLOSE_TOO_MANY_CONNECTIONS : CLOSE_SHUTDOWN);
    else if (refused || atomic_load(&c->gateway->stopping)) {
        enter(c, CONN_OPEN);
        begin_close(c, refused ? CLOSE_TOO_MANY_CONNECTIONS : CLOSE_SHUTDOWN);
    } else if (!tls)
        greet(c);
    else if (stream_start_tls(&c->stream, c->gateway->tls) < 0)
        drop(c, CLOSE_TLS_FAILED);
    else {
        s->busy = true;
        set_watchdog(c);
    }
}

/* With descriptors this few there is no time for a session: the words are sent if the kernel takes them. */
static void turn_down(struct room *room, enum listener_kind kind, int fd)
{
    struct session s = { .busy = true };
    struct slice words = room->protocol->farewell(&s, CLOSE_TOO_MANY_CONNECTIONS);
    if (!listener_begins_with_tls(kind) && words.len > 0)
        (void)!send(fd, words.data, words.len, MSG_NOSIGNAL | MSG_DONTWAIT);
    close(fd);
    counter_add(&room->counters, COUNTER_SESSIONS, 1);
    atomic_fetch_add(&room->closed[CLOSE_TOO_MANY_CONNECTIONS], 1);
}

void conn_open(struct gateway *gateway, struct room *room, enum listener_kind kind, int fd)
{
    if (!make_room(&gateway->homes[0], fd) && fd >= gateway->fd_most) {
        turn_down(room, kind, fd);
        return;
    }
    struct conn *c = MEM_NEW(struct conn);
    c->gateway = gateway;
    c->room = room;
    c->home = &gateway->homes[gateway->next_home++ % gateway->home_count];
    c->counted = true;
    list_init(&c->link);
    list_init(&c->wait_link);
    list_init(&c->stranger_link);
    c->stream.fd = fd;
    c->session.ops = &conn_ops;
    c->session.protocol = room->protocol;
    c->session.listener = kind;
    c->session.in_limit = IN_LIMIT;
    c->session.id = atomic_fetch_add(&gateway->next_id, 1) + 1;
    c->session.counters = &room->counters;
    c->session.snapshot = snapshot_current();
    CHECK(c->session.snapshot != NULL);   /* listeners exist only by a snapshot */
    describe(c, fd);
    atomic_fetch_add(&gateway->sessions, 1);
    atomic_fetch_add(&room->sessions, 1);
    counter_add(&room->counters, COUNTER_SESSIONS, 1);
    if (c->home != &gateway->homes[0])
        conn_post(c, begin);
    else {
        atomic_fetch_add(&c->holds, 1);
        begin(c);
    }
}
