/* Unit tests of the connector and the resolver, and of streams that change hands. */
#include <linux/tcp.h>      /* its tcp_info counts packets, that of netinet/ does not */
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/net/client.h"
#include "postern/net/connector.h"
#include "postern/net/listener.h"
#include "postern/net/resolver.h"
#include "postern/net/stream.h"
#include "run.h"

enum { DEADLINE_MS = 10000 };

struct seen {
    struct loop *loop;
    struct loop_timer deadline;
    int calls;
    int fd;
    size_t addresses;
    struct fault fault;
};

static void too_late(void *arg)
{
    CU_FAIL("nothing came in time");
    loop_stop(((struct seen *)arg)->loop);
}

static void begin(struct seen *s)
{
    memset(s, 0, sizeof(*s));
    s->loop = loop_new();
    s->fd = -1;
    loop_timer_init(&s->deadline, s->loop, too_late, s);
    loop_timer_set(&s->deadline, DEADLINE_MS);
}

static void end(struct seen *s)
{
    loop_timer_cancel(&s->deadline);
    if (s->fd >= 0)
        close(s->fd);
    loop_free(&s->loop);
}

static void connected(void *context, int fd, const struct fault *fault)
{
    struct seen *s = context;
    s->calls++;
    s->fd = fd;
    s->fault = *fault;
    loop_stop(s->loop);
}

/* A listening socket that nobody accepts from, and its port. */
static int listening(uint16_t *port)
{
    struct endpoint at;
    struct fault fault;
    CU_ASSERT(endpoint_parse(SLICE_LITERAL("127.0.0.1"), 0, &at));
    int fd = listener_bind(&at, &fault);
    CU_ASSERT(fd >= 0);
    endpoint_of_socket(fd, &at);
    *port = endpoint_port(&at);
    return fd;
}

static void test_connects(void)
{
    static const char *const hosts[] = { "127.0.0.1", "localhost", "localhost" };   /* the last one from what is kept */
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct seen s;
        uint16_t port;
        int fd = listening(&port);
        begin(&s);
        struct connector *c = connector_start(s.loop, hosts[i], port, DEADLINE_MS, connected, &s);
        CU_ASSERT(c != NULL && s.calls == 0);
        loop_run(s.loop);
        CU_ASSERT_EQUAL(s.calls, 1);
        struct endpoint peer;
        CU_ASSERT_FATAL(s.fd >= 0);
        endpoint_of_peer(s.fd, &peer);
        CU_ASSERT(endpoint_port(&peer) == port && endpoint_is_loopback(&peer));
        end(&s);
        close(fd);
    }
}

static void test_refused(void)
{
    struct seen s;
    uint16_t port;
    close(listening(&port));
    begin(&s);
    connector_start(s.loop, "127.0.0.1", port, DEADLINE_MS, connected, &s);
    loop_run(s.loop);
    CU_ASSERT(s.calls == 1 && s.fd == -1 && s.fault.class == FAULT_UNREACHABLE);
    CU_ASSERT_PTR_NOT_NULL(strstr(s.fault.text, "127.0.0.1"));
    end(&s);
}

/* A queue of connections that is full answers nobody. */
static void test_mute(void)
{
    enum { MOST = 64 };
    int held[MOST], count = 0;
    struct seen s;
    struct endpoint at;
    endpoint_parse(SLICE_LITERAL("127.0.0.1"), 0, &at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT(bind(fd, &at.any, at.len) == 0 && listen(fd, 0) == 0);
    endpoint_of_socket(fd, &at);
    for (; count < MOST; count++) {
        held[count] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        connect(held[count], &at.any, at.len);
    }
    begin(&s);
    uint64_t began = clock_monotonic_ms();
    connector_start(s.loop, "127.0.0.1", endpoint_port(&at), 200, connected, &s);
    loop_run(s.loop);
    CU_ASSERT(s.calls == 1 && s.fd == -1 && s.fault.class == FAULT_TIMEOUT);
    CU_ASSERT(clock_monotonic_ms() - began >= 190 && clock_monotonic_ms() - began < 20000);
    end(&s);
    while (count > 0)
        close(held[--count]);
    close(fd);
}

static void never(void *context, int fd, const struct fault *fault)
{
    (void)context, (void)fd, (void)fault;
    CU_FAIL("called after it was cancelled");
}

static void stop(void *arg)
{
    loop_stop(arg);
}

static void test_cancelled(void)
{
    struct seen s;
    uint16_t port;
    int fd = listening(&port);
    begin(&s);
    struct connector *c = connector_start(s.loop, "localhost", port, DEADLINE_MS, never, NULL), *d = connector_start(s.loop, "127.0.0.1", port, DEADLINE_MS, never, NULL);
    connector_cancel(&c);
    connector_cancel(&d);
    connector_cancel(&d);
    CU_ASSERT_PTR_NULL(c);
    struct loop_timer timer;
    loop_timer_init(&timer, s.loop, stop, s.loop);
    loop_timer_set(&timer, 50);
    loop_run(s.loop);
    end(&s);
    close(fd);
}

static void resolved(void *context, const struct endpoint *addresses, size_t count, const struct fault *fault)
{
    struct seen *s = context;
    s->calls++;
    s->addresses = count;
    s->fault = *fault;
    if (count > 0)
        CU_ASSERT_EQUAL(endpoint_port(&addresses[count - 1]), 143);
    loop_stop(s->loop);
}

static void test_names(void)
{
    static const struct { const char *name; bool found; } rows[] = {
        { "127.0.0.1", true }, { "[::1]", true }, { "2001:db8::1", true }, { "localhost", true }, { "", false }, { "no such host", false },
        { "a..b", false }, { "nobody.invalid", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct seen s;
        begin(&s);
        resolver_ask(s.loop, rows[i].name, 143, 1500, resolved, &s);
        loop_run(s.loop);
        CU_ASSERT_EQUAL(s.calls, 1);
        CU_ASSERT_EQUAL(s.addresses > 0, rows[i].found);
        CU_ASSERT(rows[i].found || s.fault.class == FAULT_UNREACHABLE || s.fault.class == FAULT_TIMEOUT);
        end(&s);
    }
}

/* --- a stream that changes hands ------------------------------------------------------------------------------------------------------ */

struct moved {
    struct loop *loop;
    struct stream from, to;
    struct buf first, second;
    int events_of_first, events_of_second;
};

static void second_news(struct stream *stream, enum stream_event event, void *context)
{
    struct moved *m = context;
    CU_ASSERT(stream == &m->to);
    m->events_of_second++;
    if (event == STREAM_EOF)
        loop_stop(m->loop);
}

static void move_it(void *arg)
{
    struct moved *m = arg;
    stream_move(&m->to, &m->from, &m->second, 4096, second_news, m);
    stream_want_input(&m->to, true);
}

static void first_news(struct stream *stream, enum stream_event event, void *context)
{
    struct moved *m = context;
    m->events_of_first++;
    CU_ASSERT_EQUAL(event, STREAM_INPUT);
    stream_want_input(stream, false);
    loop_post(m->loop, move_it, m);
}

static void test_moved(void)
{
    int pair[2];
    struct moved m;
    memset(&m, 0, sizeof(m));
    m.loop = loop_new();
    CU_ASSERT_EQUAL_FATAL(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
    stream_init(&m.from, m.loop, pair[0], &m.first, 5, first_news, &m);
    stream_want_input(&m.from, true);
    CU_ASSERT_EQUAL(write(pair[1], "firstsecond", 11), 11);
    close(pair[1]);
    loop_run(m.loop);
    CU_ASSERT(slice_is(buf_slice(&m.first), "first") && m.events_of_first == 1);
    CU_ASSERT(slice_is(buf_slice(&m.second), "second") && m.events_of_second == 2);
    CU_ASSERT(m.from.loop == NULL && m.from.fd == -1);
    stream_fini(&m.from);
    stream_fini(&m.to);
    buf_fini(&m.first);
    buf_fini(&m.second);
    loop_free(&m.loop);
}

/* The last words and the end of a connection: one packet. */
static void test_last_words(void)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
    struct tcp_info info;
    socklen_t at_size = sizeof(at), info_size = sizeof(info);
    struct loop *loop = loop_new();
    struct stream stream;
    struct buf in = { .cap = 0 }, words = { .cap = 0 };
    char got[32];
    int door = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(bind(door, (struct sockaddr *)&at, sizeof(at)) == 0 && listen(door, 1) == 0);
    CU_ASSERT_EQUAL_FATAL(getsockname(door, (struct sockaddr *)&at, &at_size), 0);
    CU_ASSERT_EQUAL_FATAL(connect(client, (struct sockaddr *)&at, sizeof(at)), 0);
    stream_init(&stream, loop, accept(door, NULL, NULL), &in, 5, first_news, NULL);
    buf_append_text(&words, "good bye\r\n");
    stream_send_last(&stream, &words);
    CU_ASSERT(words.len == 0 && stream_pending(&stream) == 0);
    stream_end_output(&stream);
    CU_ASSERT_EQUAL(recv(client, got, sizeof(got), MSG_WAITALL), 10);
    CU_ASSERT_EQUAL_FATAL(getsockopt(client, IPPROTO_TCP, TCP_INFO, &info, &info_size), 0);
    CU_ASSERT_EQUAL(info.tcpi_segs_in, 2);   /* the first is that of the handshake */
    stream_fini(&stream);
    buf_fini(&words);
    close(client);
    close(door);
    loop_free(&loop);
}

/* --- a peer that offers sessions and takes none ---------------------------------------------------------------------------------- */

enum { DIALS = 6 };

static SSL_CTX *forgetful_context(void)
{
    SSL_CTX *c = SSL_CTX_new(TLS_server_method());
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *certificate = X509_new();
    X509_gmtime_adj(X509_getm_notBefore(certificate), -60);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 3600);
    X509_set_pubkey(certificate, key);
    CU_ASSERT_FATAL(X509_sign(certificate, key, EVP_sha256()) > 0);
    CU_ASSERT_EQUAL(SSL_CTX_use_certificate(c, certificate), 1);
    CU_ASSERT_EQUAL(SSL_CTX_use_PrivateKey(c, key), 1);
    SSL_CTX_set_verify(c, SSL_VERIFY_PEER, NULL);   /* and no session id context */
    X509_free(certificate);
    EVP_PKEY_free(key);
    return c;
}

static void *serve_forgetful(void *arg)
{
    SSL_CTX *c = forgetful_context();
    for (int i = 0; i < DIALS; i++) {
        struct pollfd wait = { .fd = *(int *)arg, .events = POLLIN };
        poll(&wait, 1, DEADLINE_MS);
        int fd = accept(wait.fd, NULL, NULL);
        char byte;
        SSL *ssl = SSL_new(c);
        SSL_set_fd(ssl, fd);
        if (SSL_accept(ssl) == 1 && SSL_write(ssl, "hello\n", 6) == 6)
            (void)SSL_read(ssl, &byte, 1);
        SSL_free(ssl);
        close(fd);
    }
    SSL_CTX_free(c);
    return NULL;
}

/* One connection fails at most; then the peer is reminded of nothing any more. */
static void test_forgetful_peer(void)
{
    uint16_t port;
    int fd = listening(&port), failures = 0;
    struct tls_client *tls = NULL;
    struct fault fault;
    pthread_t thread;
    CU_ASSERT_EQUAL_FATAL(tls_client_new(NULL, false, NULL, NULL, &tls, &fault), 0);
    pthread_create(&thread, NULL, serve_forgetful, &fd);
    for (int i = 0; i < DIALS; i++) {
        struct client *c = NULL;
        struct buf line = { .cap = 128 };
        CU_ASSERT_EQUAL_FATAL(client_connect("127.0.0.1", port, DEADLINE_MS, &c, &fault), 0);
        failures += client_start_tls(c, tls, "127.0.0.1", DEADLINE_MS, &fault) != 0 || client_read_line(c, &line, DEADLINE_MS, &fault) != 0;
        buf_fini(&line);
        client_free(&c);
    }
    pthread_join(thread, NULL);
    CU_ASSERT_EQUAL(failures, 1);
    tls_client_unref(&tls);
    close(fd);
}

static const struct unit_test tests[] = {
    { "connects", test_connects }, { "refused", test_refused }, { "mute", test_mute }, { "cancelled", test_cancelled }, { "names", test_names },
    { "moved", test_moved }, { "last words", test_last_words },
    { "forgetful peer", test_forgetful_peer },
};
UNIT_MAIN("connector", tests)
