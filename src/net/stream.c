/* One non-blocking connection: reading into the owner's buffer, writing what the owner hands over, TLS as server. Called by
 * sessions and the control socket; must never block or call its owner back from within a call of the owner. */
#include "postern/net/stream.h"

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "pass.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "tls.h"

static_assert(sizeof(ev_io) <= sizeof(((struct stream *)0)->storage), "stream holds an ev_io");

static ev_io *watcher(struct stream *s)
{
    return (ev_io *)(void *)s->storage;
}

size_t stream_pending(const struct stream *stream)
{
    return stream->out.len - stream->out_at + (stream->passed != NULL ? stream->passed->held : 0);
}

static bool may_read(const struct stream *s)
{
    return s->input_wanted && !s->eof && s->in->len < s->in_limit;
}

/* The only place where interest in events changes. Interest in input that became unwanted is dropped only once input comes (exact):
 * a command answered at once costs no system call for it. */
static void update_interest(struct stream *s, bool exact)
{
    int events = 0, now = ev_is_active(watcher(s)) ? watcher(s)->events & (EV_READ | EV_WRITE) : 0;
    if (s->failure == STREAM_NO_FAILURE) {
        if (may_read(s) || (s->handshaking && !s->tls_wants_write))
            events |= EV_READ;
        if (!exact && !s->eof)
            events |= now & EV_READ;
        if (s->tls_wants_write || (!s->handshaking && stream_pending(s) > 0))
            events |= EV_WRITE;
    }
    if (events != now) {
        ev_io_stop(loop_ev(s->loop), watcher(s));
        ev_io_modify(watcher(s), events);   /* it is the same descriptor: libev need not add it again */
        if (events != 0)
            ev_io_start(loop_ev(s->loop), watcher(s));
    }
    /* What OpenSSL has read ahead makes no descriptor readable. */
    if (s->failure == STREAM_NO_FAILURE && s->ssl != NULL && !s->handshaking && s->input_left && may_read(s))
        ev_feed_event(loop_ev(s->loop), watcher(s), EV_READ);
}

/* The owner hears of it from the loop. */
static void fail(struct stream *s, enum stream_failure failure)
{
    if (s->failure != STREAM_NO_FAILURE)
        return;
    s->failure = failure;
    if (s->counters != NULL && failure != STREAM_TLS_FAILED)
        counter_add(s->counters, failure == STREAM_READ_FAILED ? COUNTER_TCP_READ_ERROR : COUNTER_TCP_WRITE_ERROR, 1);
    buf_fini(&s->out);
    s->out_at = 0;
    pass_free(&s->passed);
    update_interest(s, true);
    ev_feed_event(loop_ev(s->loop), watcher(s), EV_CUSTOM);
}

static void count(struct stream *s, enum counter which, size_t bytes)
{
    if (s->counters != NULL)
        counter_add(s->counters, which, bytes);
}

/* --- reading ------------------------------------------------------------------------------------------------------- */

/* Bytes read, 0 at the end, -1 with nothing there now, -2 after a failure. */
static ssize_t read_tls(struct stream *s, char *at, size_t most)
{
    ERR_clear_error();
    int n = SSL_read(s->ssl, at, (int)most);
    if (n > 0)
        return n;
    switch (SSL_get_error(s->ssl, n)) {
    case SSL_ERROR_WANT_READ:
        return -1;
    case SSL_ERROR_WANT_WRITE:
        s->tls_wants_write = true;
        return -1;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    default:
        return -2;
    }
}

static ssize_t read_once(struct stream *s, char *at, size_t most)
{
    if (s->ssl != NULL)
        return read_tls(s, at, most);
    ssize_t n = recv(s->fd, at, most, 0);
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? -1 : -2;
}

/* What is kept is copied; what goes on at once to somebody else need not be. */
static void give_input(struct stream *s, char *bytes, size_t len)
{
    struct buf lent = { .data = bytes, .len = len, .size = len };
    if (s->take != NULL && s->in->len == 0 && s->take(s, &lent, s->context))
        return;
    CHECK(buf_append(s->in, buf_slice(&lent)));
    s->callback(s, STREAM_INPUT, s->context);
}

/* Reads at most one scratch buffer full: other connections wait, too. */
static void take_input(struct stream *s)
{
    char *scratch = loop_scratch(s->loop);
    size_t room = s->in_limit - s->in->len, got = 0;
    if (room > LOOP_SCRATCH)
        room = LOOP_SCRATCH;
    ssize_t n = 0;
    while (got < room) {
        n = read_once(s, scratch + got, room - got);
        if (n <= 0)
            break;
        got += (size_t)n;
        if (s->ssl == NULL || SSL_has_pending(s->ssl) == 0)
            break;   /* what the kernel still has makes the descriptor readable */
    }
    s->input_left = n > 0 && s->ssl != NULL && SSL_has_pending(s->ssl) != 0;
    if (got > 0) {
        count(s, COUNTER_BYTES_IN, got);
        give_input(s, scratch, got);
        if (s->ssl != NULL)
            OPENSSL_cleanse(scratch, got);
    }
    if (n == 0 && room > 0 && s->failure == STREAM_NO_FAILURE) {
        s->eof = true;
        s->callback(s, STREAM_EOF, s->context);
    } else if (n == -2)
        fail(s, STREAM_READ_FAILED);
}

/* What the other stream's descriptor takes of the pipe; 0 with nothing there. */
static size_t give_passed(struct stream *s)
{
    ssize_t n = s->passed != NULL && s->passed->held > 0 ? pass_give(s->passed, s->fd) : 0;
    if (n == -2)
        fail(s, STREAM_WRITE_FAILED);
    if (n > 0)
        count(s, COUNTER_BYTES_OUT, (size_t)n);
    if (s->passed != NULL && s->passed->held == 0 && !s->passing)
        pass_free(&s->passed);
    return n > 0 ? (size_t)n : 0;
}

static bool is_passing(const struct stream *s)
{
    return s->pass_to != NULL && *s->pass_left > 0 && s->pass_to->passed != NULL;
}

static void take_passed(struct stream *s)
{
    struct stream *to = s->pass_to;
    bool idle = to->passed->held == 0;
    ssize_t n = pass_take(to->passed, s->fd, *s->pass_left < SIZE_MAX ? (size_t)*s->pass_left : SIZE_MAX);
    if (n > 0) {
        *s->pass_left -= (uint64_t)n;
        count(s, COUNTER_BYTES_IN, (size_t)n);
        if (idle) {
            to->waiting_since = clock_monotonic_ms();
            give_passed(to);
        }
        update_interest(to, false);
        s->callback(s, STREAM_INPUT, s->context);
    } else if (n == 0) {
        s->eof = true;
        s->callback(s, STREAM_EOF, s->context);
    } else if (n == -2)
        fail(s, STREAM_READ_FAILED);
    else if (!idle)
        s->input_wanted = false;   /* the pipe may be full: the descriptor stays readable */
}

bool stream_pass(struct stream *from, struct stream *to, uint64_t *left)
{
    if (to == NULL) {
        if (from->pass_to != NULL) {
            /* What is left is written from the loop: the owner of `to` may wait to hear of its end. */
            from->pass_to->passing = false;
            if (stream_pending(from->pass_to) == 0)
                pass_free(&from->pass_to->passed);
        }
        from->pass_to = NULL;
        return false;
    }
    if (from->ssl != NULL || to->ssl != NULL || to->failure != STREAM_NO_FAILURE || stream_pending(to) > 0 || from->in->len > 0)
        return false;
    if (to->passed == NULL)
        to->passed = pass_new();
    if (to->passed == NULL)
        return false;
    to->passing = true;
    from->pass_to = to;
    from->pass_left = left;
    return true;
}

void stream_want_input(struct stream *stream, bool wanted)
{
    stream->input_wanted = wanted;
    if (stream->fd < 0 || stream->failure != STREAM_NO_FAILURE)
        return;
    update_interest(stream, false);
}

/* --- writing ------------------------------------------------------------------------------------------------------- */

static ssize_t write_tls(struct stream *s, const char *at, size_t len)
{
    ERR_clear_error();
    int n = SSL_write(s->ssl, at, (int)(len < (1u << 20) ? len : 1u << 20));
    if (n > 0)
        return n;
    int error = SSL_get_error(s->ssl, n);
    return error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ ? -1 : -2;
}

static ssize_t write_once(struct stream *s, const char *at, size_t len)
{
    if (s->ssl != NULL)
        return write_tls(s, at, len);
    ssize_t n = send(s->fd, at, len, MSG_NOSIGNAL | (s->end_follows ? MSG_MORE : 0));
    if (n >= 0)
        return n;
    return errno == EAGAIN || errno == EINTR ? -1 : -2;
}

/* How much of the bytes the kernel took. */
static size_t write_some(struct stream *s, struct slice bytes)
{
    size_t done = 0;
    while (done < bytes.len) {
        ssize_t n = write_once(s, bytes.data + done, bytes.len - done);
        if (n == -2)
            fail(s, STREAM_WRITE_FAILED);
        if (n < 0)
            break;
        done += (size_t)n;
        if (s->ssl == NULL && done < bytes.len)
            break;   /* the socket's buffer is full: a second call would only say so */
    }
    count(s, COUNTER_BYTES_OUT, done);
    return done;
}

void stream_send(struct stream *stream, struct buf *bytes)
{
    struct stream *s = stream;
    if (s->failure != STREAM_NO_FAILURE || bytes->len == 0) {
        buf_clear(bytes);
        return;
    }
    size_t done = 0;
    if (stream_pending(s) == 0 && !s->handshaking)
        done = write_some(s, buf_slice(bytes));
    if (done == bytes->len || s->failure != STREAM_NO_FAILURE) {
        buf_clear(bytes);
        return;
    }
    if (stream_pending(s) == 0) {
        size_t cap = bytes->cap;
        buf_fini(&s->out);
        buf_swap(&s->out, bytes);
        s->out_at = done;
        s->out.cap = 0;
        bytes->cap = cap;
        s->waiting_since = clock_monotonic_ms();
    } else {
        buf_append(&s->out, buf_slice(bytes));
        buf_clear(bytes);
    }
    update_interest(s, false);
}

void stream_send_slice(struct stream *stream, struct slice bytes)
{
    struct stream *s = stream;
    size_t done = stream_pending(s) == 0 && !s->handshaking && s->failure == STREAM_NO_FAILURE ? write_some(s, bytes) : 0;
    if (s->failure != STREAM_NO_FAILURE || done == bytes.len)
        return;
    if (stream_pending(s) == 0)
        s->waiting_since = clock_monotonic_ms();
    buf_append(&s->out, slice_from(bytes, done));
    update_interest(s, false);
}

void stream_send_last(struct stream *stream, struct buf *bytes)
{
    stream->end_follows = true;
    stream_send(stream, bytes);
    stream->end_follows = false;
}

static void write_pending(struct stream *s)
{
    size_t passed = give_passed(s), done = 0;
    if (s->failure == STREAM_NO_FAILURE && stream_pending(s) == s->out.len - s->out_at)
        done = write_some(s, slice_from(buf_slice(&s->out), s->out_at));
    if (passed + done == 0 || s->failure != STREAM_NO_FAILURE)
        return;
    s->waiting_since = clock_monotonic_ms();
    s->out_at += done;
    if (s->out_at == s->out.len) {
        buf_fini(&s->out);
        s->out_at = 0;
    }
    s->callback(s, STREAM_WRITTEN, s->context);
}

void stream_end_output(struct stream *stream)
{
    if (stream->fd < 0 || stream->failure != STREAM_NO_FAILURE)
        return;
    if (stream->ssl != NULL && !stream->handshaking) {
        ERR_clear_error();
        SSL_shutdown(stream->ssl);
    }
    shutdown(stream->fd, SHUT_WR);
}

/* --- TLS and events -------------------------------------------------------------------------------------------------- */

static void do_handshake(struct stream *s)
{
    s->tls_wants_write = false;
    ERR_clear_error();
    int result = SSL_do_handshake(s->ssl);
    if (result == 1) {
        s->handshaking = false;
        s->input_left = true;
        s->callback(s, STREAM_TLS_UP, s->context);
        return;
    }
    tls_sessions_failed(s->ssl);
    int error = SSL_get_error(s->ssl, result);
    if (error == SSL_ERROR_WANT_WRITE)
        s->tls_wants_write = true;
    else if (error != SSL_ERROR_WANT_READ)
        fail(s, STREAM_TLS_FAILED);
}

int stream_start_tls(struct stream *stream, struct tls_context *context)
{
    CHECK(stream->ssl == NULL && stream_pending(stream) == 0);
    SSL *ssl = tls_context_accept(context);
    if (ssl == NULL)
        return -1;
    stream->ssl = ssl;
    SSL_set_fd(ssl, stream->fd);
    SSL_set_read_ahead(ssl, 1);
    SSL_set_accept_state(ssl);
    stream->handshaking = true;
    /* The client speaks first (RFC 8446, section 2): until it does, OpenSSL allocates no buffers for it. */
    if (stream->failure == STREAM_NO_FAILURE)
        update_interest(stream, false);
    return 0;
}

void stream_start_tls_client(struct stream *stream, struct tls_client *client, const char *host)
{
    CHECK(stream->ssl == NULL && stream_pending(stream) == 0);
    SSL *ssl = tls_client_connect(client, host);
    stream->ssl = ssl;
    SSL_set_fd(ssl, stream->fd);
    SSL_set_read_ahead(ssl, 1);
    SSL_set_connect_state(ssl);
    stream->handshaking = true;
    if (stream->failure != STREAM_NO_FAILURE)
        return;
    /* The client speaks first, from the loop: a failure at once is told there. */
    stream->tls_wants_write = true;
    update_interest(stream, false);
}

int stream_tls_fault(const struct stream *stream, struct fault *fault)
{
    long result = stream->ssl != NULL ? SSL_get_verify_result(stream->ssl) : X509_V_OK;
    if (result != X509_V_OK)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "TLS: the certificate is not accepted: %s", X509_verify_cert_error_string(result));
    return fault_set(fault, FAULT_UNREACHABLE, 0, "TLS: the handshake failed");
}

static void happened(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    struct stream *s = io->data;
    if (s->failure != STREAM_NO_FAILURE) {
        if (events & EV_CUSTOM)
            s->callback(s, STREAM_FAILED, s->context);
        return;
    }
    bool ignored = events & EV_READ && !s->handshaking && !may_read(s);
    if (s->handshaking)
        do_handshake(s);
    else {
        /* A read that had to write first (a key update) goes on when it can: what OpenSSL has read ahead makes nothing readable. */
        bool read = (events & EV_READ) != 0 || s->tls_wants_write;
        s->tls_wants_write = false;
        if (events & EV_WRITE && stream_pending(s) > 0)
            write_pending(s);
        if (read && s->failure == STREAM_NO_FAILURE && may_read(s)) {
            if (is_passing(s))
                take_passed(s);
            else
                take_input(s);
        }
    }
    update_interest(s, ignored);
}

void stream_init(struct stream *stream, struct loop *loop, int fd, struct buf *in, size_t in_limit,
                 stream_callback *callback, void *context)
{
    int on = 1;
    memset(stream, 0, sizeof(*stream));
    stream->loop = loop;
    stream->fd = fd;
    stream->in = in;
    stream->in_limit = in_limit;
    stream->callback = callback;
    stream->context = context;
    ev_io_init(watcher(stream), happened, fd, 0);
    watcher(stream)->data = stream;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

void stream_move(struct stream *to, struct stream *from, struct buf *in, size_t in_limit, stream_callback *callback, void *context)
{
    CHECK(from->failure == STREAM_NO_FAILURE && !from->handshaking && stream_pending(from) == 0);
    ev_clear_pending(loop_ev(from->loop), watcher(from));
    ev_io_stop(loop_ev(from->loop), watcher(from));
    *to = *from;
    to->in = in;
    to->in_limit = in_limit;
    to->callback = callback;
    to->take = NULL;
    to->context = context;
    to->input_wanted = false;
    ev_io_modify(watcher(to), 0);   /* a copy of one that is not active: libev need not add the descriptor again */
    watcher(to)->data = to;
    memset(from, 0, sizeof(*from));
    from->fd = -1;
}

void stream_fini(struct stream *stream)
{
    if (stream->loop == NULL)
        return;
    ev_clear_pending(loop_ev(stream->loop), watcher(stream));
    ev_io_stop(loop_ev(stream->loop), watcher(stream));
    if (stream->ssl != NULL)
        SSL_set_shutdown(stream->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);   /* else its session could not be resumed */
    SSL_free(stream->ssl);
    close(stream->fd);
    buf_fini(&stream->out);
    pass_free(&stream->passed);
    memset(stream, 0, sizeof(*stream));
    stream->fd = -1;
}
