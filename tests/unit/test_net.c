/* Unit tests of src/net: addresses, messages and timers, streams in clear text and TLS, certificates exchanged, the blocking client. */
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/net/endpoint.h"
#include "postern/net/client.h"
#include "postern/net/listener.h"
#include "postern/net/loop.h"
#include "postern/net/stream.h"
#include "run.h"

enum { DEADLINE_MS = 10000 };

#define EVENTUALLY(condition) \
    do { \
        uint64_t until_ = clock_monotonic_ms() + DEADLINE_MS; \
        while (!(condition) && clock_monotonic_ms() < until_) \
            usleep(1000); \
        CU_ASSERT(condition); \
    } while (0)

static void test_addresses(void)
{
    static const struct { const char *text, *formatted; bool good, loopback; } rows[] = {
        { "127.0.0.1", "127.0.0.1", true, true },   { "::1", "::1", true, true },
        { "[::1]", "::1", true, true },             { "::ffff:127.0.0.9", "127.0.0.9", true, true },
        { "::ffff:10.0.0.1", "10.0.0.1", true, false }, { "2001:db8::5", "2001:db8::5", true, false },
        { "", "::", true, false },                  { "*", "::", true, false },
        { "localhost", "", false, false },          { "1.2.3", "", false, false },
        { "1.2.3.4.5", "", false, false },          { "0000:0000:0000:0000:0000:0000:0000:0000:0000:0000:0000", "", false, false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct endpoint a;
        bool good = endpoint_parse(slice_from_string(rows[i].text), 143, &a);
        CU_ASSERT_EQUAL(good, rows[i].good);
        if (!good)
            continue;
        char text[ENDPOINT_TEXT];
        endpoint_format(&a, text);
        CU_ASSERT_STRING_EQUAL(text, rows[i].formatted);
        CU_ASSERT_EQUAL(endpoint_port(&a), 143);
        CU_ASSERT_EQUAL(endpoint_is_loopback(&a), rows[i].loopback);
    }
}

/* --- a loop in a thread ------------------------------------------------------------------------------------------------------- */

static void *run_loop(void *arg)
{
    loop_run(arg);
    return NULL;
}

static pthread_t start_loop(struct loop *loop)
{
    pthread_t thread;
    pthread_create(&thread, NULL, run_loop, loop);
    return thread;
}

static void end_loop(struct loop **loop, pthread_t thread)
{
    loop_stop(*loop);
    pthread_join(thread, NULL);
    loop_free(loop);
}

struct messages {
    _Atomic int count;
    _Atomic int out_of_order;
    int last[4];
    struct loop_timer timer;
    _Atomic int fired;
};

struct note {
    struct messages *to;
    int sender;
    int number;
};

static void take_note(void *arg)
{
    struct note *note = arg;
    if (note->number != note->to->last[note->sender] + 1)
        atomic_fetch_add(&note->to->out_of_order, 1);
    note->to->last[note->sender] = note->number;
    atomic_fetch_add(&note->to->count, 1);
    mem_free(&note);
}

static struct { struct loop *loop; struct messages *to; int sender; } senders[4];

static void *send_notes(void *arg)
{
    size_t i = (size_t)(uintptr_t)arg;
    for (int n = 1; n <= 1000; n++) {
        struct note *note = MEM_NEW(struct note);
        *note = (struct note){ senders[i].to, senders[i].sender, n };
        loop_post(senders[i].loop, take_note, note);
    }
    return NULL;
}

static void timer_fired(void *arg)
{
    atomic_fetch_add(&((struct messages *)arg)->fired, 1);
}

static void set_timers(void *arg)
{
    struct messages *m = arg;
    loop_timer_set(&m->timer, 100000);
    loop_timer_set(&m->timer, 5);   /* set anew */
}

static void test_messages(void)
{
    struct loop *loop = loop_new();
    struct messages m;
    memset(&m, 0, sizeof(m));
    loop_timer_init(&m.timer, loop, timer_fired, &m);
    loop_timer_cancel(&m.timer);
    pthread_t thread = start_loop(loop), threads[4];
    for (int i = 0; i < 4; i++) {
        senders[i].loop = loop;
        senders[i].to = &m;
        senders[i].sender = i;
        pthread_create(&threads[i], NULL, send_notes, (void *)(uintptr_t)i);
    }
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    EVENTUALLY(atomic_load(&m.count) == 4000);
    CU_ASSERT_EQUAL(atomic_load(&m.out_of_order), 0);
    loop_post(loop, set_timers, &m);
    EVENTUALLY(atomic_load(&m.fired) == 1);
    end_loop(&loop, thread);
}

/* --- a server that echoes ------------------------------------------------------------------------------------------------------- */

struct server {
    struct loop *loop;
    pthread_t thread;
    struct listener *listener;
    uint16_t port;
    struct tls_context *tls;
    bool tls_first;
    /* of the one connection at a time */
    struct stream stream;
    struct buf in;
    struct counters counters;
    size_t limit;
    _Atomic bool paused;
    _Atomic int eofs, failures, tls_ups, resumed, drained, failure;
    _Atomic size_t pending, kept;
};

static void echo(struct server *s)
{
    struct buf out = { .cap = 0 };
    if (atomic_load(&s->paused))
        return;
    if (slice_is(buf_slice(&s->in), "starttls\n")) {
        buf_clear(&s->in);
        /* As in every protocol the answer goes first: what comes before it is not TLS's. */
        buf_append_text(&out, "ready\n");
        stream_send(&s->stream, &out);
        buf_fini(&out);
        CU_ASSERT_EQUAL(stream_start_tls(&s->stream, s->tls), 0);
        return;
    }
    buf_append(&out, buf_slice(&s->in));
    buf_clear(&s->in);
    buf_shrink(&s->in);
    stream_send(&s->stream, &out);
    CU_ASSERT_EQUAL(out.len, 0);
    buf_fini(&out);
    atomic_store(&s->pending, stream_pending(&s->stream));
}

static void close_later(void *arg)
{
    struct server *s = arg;
    stream_fini(&s->stream);
    buf_fini(&s->in);
}

static void news(struct stream *stream, enum stream_event event, void *context)
{
    struct server *s = context;
    if (event == STREAM_INPUT)
        echo(s);
    else if (event == STREAM_TLS_UP) {
        atomic_fetch_add(&s->tls_ups, 1);
        atomic_fetch_add(&s->resumed, SSL_session_reused(stream->ssl));
    } else if (event == STREAM_WRITTEN) {
        atomic_store(&s->pending, stream_pending(stream));
        atomic_fetch_add(&s->drained, 1);
    } else if (event == STREAM_EOF) {
        stream_end_output(stream);
        atomic_fetch_add(&s->eofs, 1);
        loop_post(s->loop, close_later, s);
    } else {
        atomic_store(&s->failure, (int)stream->failure);
        atomic_fetch_add(&s->failures, 1);
        loop_post(s->loop, close_later, s);
    }
    atomic_store(&s->kept, s->in.len);
    if (stream->fd >= 0)
        stream_want_input(stream, event != STREAM_EOF && event != STREAM_FAILED);
}

static void accepted(void *context, int fd)
{
    struct server *s = context;
    stream_init(&s->stream, s->loop, fd, &s->in, s->limit, news, s);
    s->stream.counters = &s->counters;
    if (s->tls_first)
        CU_ASSERT_EQUAL(stream_start_tls(&s->stream, s->tls), 0);
    stream_want_input(&s->stream, true);
}

static void server_start(struct server *s)
{
    struct endpoint a;
    struct fault fault;
    memset(s, 0, sizeof(*s));
    s->limit = 16384;
    s->loop = loop_new();
    endpoint_parse(SLICE_LITERAL("127.0.0.1"), 0, &a);
    int fd = listener_bind(&a, &fault);
    CU_ASSERT_FATAL(fd >= 0);
    endpoint_of_socket(fd, &a);
    s->port = endpoint_port(&a);
    s->listener = listener_new(s->loop, fd, accepted, s);
    s->tls = tls_context_new();
    s->thread = start_loop(s->loop);
}

static void server_stop(struct server *s)
{
    loop_stop(s->loop);
    pthread_join(s->thread, NULL);
    stream_fini(&s->stream);
    buf_fini(&s->in);
    listener_free(&s->listener);
    loop_free(&s->loop);
    tls_context_free(&s->tls);
}

static struct client *dial(struct server *s)
{
    struct client *c = NULL;
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(client_connect("127.0.0.1", s->port, DEADLINE_MS, &c, &fault), 0);
    return c;
}

static void exchange_line(struct client *c, const char *line)
{
    struct buf got;
    struct fault fault;
    buf_init(&got, 8192);
    CU_ASSERT_EQUAL(client_write(c, slice_from_string(line), DEADLINE_MS, &fault), 0);
    CU_ASSERT_EQUAL(client_read_line(c, &got, DEADLINE_MS, &fault), 0);
    CU_ASSERT(slice_is_equal(buf_slice(&got), slice_trim(slice_from_string(line))));
    buf_fini(&got);
}

static void test_clear_text(void)
{
    struct server s;
    server_start(&s);
    struct client *c = dial(&s);
    struct buf line;
    struct fault fault;
    buf_init(&line, 8192);
    exchange_line(c, "one\r\n");
    exchange_line(c, "two\n");
    CU_ASSERT_EQUAL(client_write(c, SLICE_LITERAL("no end"), DEADLINE_MS, &fault), 0);
    CU_ASSERT_EQUAL(client_read_line(c, &line, 50, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_TIMEOUT);
    char big[6000];
    memset(big, 'x', sizeof(big));
    CU_ASSERT_EQUAL(client_write(c, slice_make(big, sizeof(big)), DEADLINE_MS, &fault), 0);
    CU_ASSERT_EQUAL(client_read_line(c, &line, DEADLINE_MS, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_PROTOCOL);
    client_free(&c);
    CU_ASSERT_PTR_NULL(c);
    EVENTUALLY(atomic_load(&s.eofs) + atomic_load(&s.failures) == 1);
    CU_ASSERT_EQUAL(counter_get(&s.counters, COUNTER_BYTES_IN), 6015);
    buf_fini(&line);
    server_stop(&s);
}

static void test_client_faults(void)
{
    struct server s;
    struct client *c = NULL;
    struct fault fault;
    struct buf line;
    buf_init(&line, 8192);
    server_start(&s);
    uint16_t port = s.port;
    c = dial(&s);
    exchange_line(c, "here\n");
    server_stop(&s);
    CU_ASSERT_EQUAL(client_read_line(c, &line, DEADLINE_MS, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_UNREACHABLE);
    client_free(&c);
    CU_ASSERT_EQUAL(client_connect("127.0.0.1", port, 2000, &c, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_UNREACHABLE);
    CU_ASSERT_PTR_NULL(c);
    buf_fini(&line);
}

static void test_backpressure(void)
{
    struct server s;
    server_start(&s);
    struct client *c = dial(&s);
    struct fault fault;
    static char bytes[65536];
    memset(bytes, 'y', sizeof(bytes));
    bytes[sizeof(bytes) - 1] = '\n';
    /* Nobody reads: the kernel's buffers fill, then the stream keeps the rest, and at last our own writing waits or all is taken. */
    size_t sent = 0;
    while (atomic_load(&s.pending) == 0 && sent < (64u << 20)) {
        if (client_write(c, slice_make(bytes, sizeof(bytes)), 300, &fault) < 0)
            break;
        sent += sizeof(bytes);
    }
    EVENTUALLY(atomic_load(&s.pending) > 0);
    struct buf line;
    buf_init(&line, 0);
    size_t refused = 0;
    while (refused < 1000 && client_read_line(c, &line, 1, &fault) == 0)
        refused++;
    client_free(&c);
    EVENTUALLY(atomic_load(&s.eofs) + atomic_load(&s.failures) >= 1);
    buf_fini(&line);
    server_stop(&s);
}

static void resume(void *arg)
{
    struct server *s = arg;
    atomic_store(&s->paused, false);
    echo(s);
    stream_want_input(&s->stream, true);
}

static void test_input_limit(void)
{
    struct server s;
    server_start(&s);
    s.limit = 100;
    atomic_store(&s.paused, true);
    struct client *c = dial(&s);
    struct fault fault;
    char line[251];
    memset(line, 'z', sizeof(line));
    line[250] = '\n';
    CU_ASSERT_EQUAL(client_write(c, slice_make(line, sizeof(line)), DEADLINE_MS, &fault), 0);
    EVENTUALLY(atomic_load(&s.kept) == 100);
    usleep(20000);
    CU_ASSERT_EQUAL(atomic_load(&s.kept), 100);
    loop_post(s.loop, resume, &s);
    struct buf got;
    buf_init(&got, 8192);
    CU_ASSERT_EQUAL(client_read_line(c, &got, DEADLINE_MS, &fault), 0);
    CU_ASSERT_EQUAL(got.len, 250);
    client_free(&c);
    EVENTUALLY(atomic_load(&s.eofs) == 1);
    buf_fini(&got);
    server_stop(&s);
}

/* --- TLS -------------------------------------------------------------------------------------------------------------------------- */

struct pair {
    char dir[64];
    char certificate[96];
    char key[96];
};

/* A self-signed certificate for 127.0.0.1 with its key, written over what was there. */
static void write_pair(struct pair *p, bool certificate_too)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *x = X509_new();
    X509_set_version(x, 2);
    ASN1_INTEGER_set(X509_get_serialNumber(x), 1);
    X509_gmtime_adj(X509_getm_notBefore(x), -60);
    X509_gmtime_adj(X509_getm_notAfter(x), 3600);
    X509_set_pubkey(x, key);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(x), "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    X509_set_issuer_name(x, X509_get_subject_name(x));
    X509_EXTENSION *names = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, "IP:127.0.0.1");
    X509_add_ext(x, names, -1);
    X509_sign(x, key, EVP_sha256());
    FILE *file = fopen(p->key, "w");
    PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL);
    fclose(file);
    if (certificate_too) {
        file = fopen(p->certificate, "w");
        PEM_write_X509(file, x);
        fclose(file);
    }
    X509_EXTENSION_free(names);
    X509_free(x);
    EVP_PKEY_free(key);
}

static void pair_init(struct pair *p)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(p->dir, sizeof(p->dir), "%s/postern-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(p->dir));
    snprintf(p->certificate, sizeof(p->certificate), "%s/cert.pem", p->dir);
    snprintf(p->key, sizeof(p->key), "%s/key.pem", p->dir);
    write_pair(p, true);
}

static void pair_fini(struct pair *p)
{
    unlink(p->certificate);
    unlink(p->key);
    CU_ASSERT_EQUAL(rmdir(p->dir), 0);
}

/* Verified against the certificate itself, or, without, not at all. */
static int start_tls(struct client *c, const char *host, const char *ca_file, struct fault *fault)
{
    struct tls_client *tls = NULL;
    CU_ASSERT_EQUAL_FATAL(tls_client_new(ca_file, ca_file != NULL, NULL, NULL, &tls, fault), 0);
    int result = client_start_tls(c, tls, host, DEADLINE_MS, fault);
    tls_client_unref(&tls);
    return result;
}

static void test_tls(void)
{
    struct server s;
    struct pair p;
    struct fault fault;
    pair_init(&p);
    server_start(&s);
    CU_ASSERT_EQUAL(tls_context_load(s.tls, p.certificate, p.key, false, &fault), 1);
    CU_ASSERT(tls_context_is_ready(s.tls));
    /* By a command, with verification; the limit is far below a TLS record, so that input waits inside OpenSSL. */
    s.limit = 100;
    struct client *c = dial(&s);
    exchange_line(c, "clear\n");
    struct buf answer = { .cap = 0 };
    CU_ASSERT_EQUAL(client_write(c, SLICE_LITERAL("starttls\n"), DEADLINE_MS, &fault), 0);
    CU_ASSERT_EQUAL(client_read_line(c, &answer, DEADLINE_MS, &fault), 0);
    CU_ASSERT(slice_is(buf_slice(&answer), "ready"));
    buf_fini(&answer);
    CU_ASSERT_EQUAL(start_tls(c, "127.0.0.1", p.certificate, &fault), 0);
    exchange_line(c, "hidden\n");
    CU_ASSERT(client_is_quiet(c));
    char line[3002];
    memset(line, 'q', sizeof(line));
    line[3000] = '\n';
    line[3001] = '\0';
    exchange_line(c, line);
    client_free(&c);
    EVENTUALLY(atomic_load(&s.eofs) == 1);
    CU_ASSERT_EQUAL(atomic_load(&s.tls_ups), 1);
    /* From the first byte; a name that does not fit is refused, without verification it is not asked for. */
    s.tls_first = true;
    c = dial(&s);
    CU_ASSERT_EQUAL(start_tls(c, "other.example", p.certificate, &fault), -1);
    CU_ASSERT(strstr(fault.text, "mismatch") != NULL);
    client_free(&c);
    EVENTUALLY(atomic_load(&s.failures) + atomic_load(&s.eofs) == 2);
    c = dial(&s);
    CU_ASSERT_EQUAL(start_tls(c, "other.example", NULL, &fault), 0);
    exchange_line(c, "again\n");
    client_free(&c);
    EVENTUALLY(atomic_load(&s.failures) + atomic_load(&s.eofs) == 3);
    /* Clear text where a handshake is due. */
    c = dial(&s);
    CU_ASSERT_EQUAL(client_write(c, SLICE_LITERAL("USER joe\r\nPASS x\r\n"), DEADLINE_MS, &fault), 0);
    EVENTUALLY(atomic_load(&s.failure) == STREAM_TLS_FAILED);
    client_free(&c);
    server_stop(&s);
    pair_fini(&p);
}

static void test_tls_resumed(void)
{
    static const struct { const char *host; int result, resumed; } rows[] = {
        { "127.0.0.1", 0, 0 },
        { "127.0.0.1", 0, 1 },
        { "other.example", -1, 1 },   /* what is kept for a host counts for no other */
        { "127.0.0.1", 0, 2 },
        { "127.0.0.1", 0, 3 },
    };
    struct server s;
    struct pair p;
    struct fault fault;
    struct tls_client *tls = NULL;
    pair_init(&p);
    server_start(&s);
    s.tls_first = true;
    CU_ASSERT_EQUAL(tls_context_load(s.tls, p.certificate, p.key, false, &fault), 1);
    CU_ASSERT_EQUAL_FATAL(tls_client_new(p.certificate, true, NULL, NULL, &tls, &fault), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client *c = dial(&s);
        CU_ASSERT_EQUAL(client_start_tls(c, tls, rows[i].host, DEADLINE_MS, &fault), rows[i].result);
        if (rows[i].result == 0)
            exchange_line(c, "hidden\n");
        client_free(&c);
        EVENTUALLY(atomic_load(&s.failures) + atomic_load(&s.eofs) == (int)i + 1);
        CU_ASSERT_EQUAL(atomic_load(&s.resumed), rows[i].resumed);
    }
    /* A server with another key knows none of them: the handshake is a whole one, and the certificate is looked at. */
    unlink(p.key);
    unlink(p.certificate);
    write_pair(&p, true);
    CU_ASSERT_EQUAL(tls_context_load(s.tls, p.certificate, p.key, true, &fault), 1);
    struct client *c = dial(&s);
    CU_ASSERT_EQUAL(client_start_tls(c, tls, "127.0.0.1", DEADLINE_MS, &fault), -1);
    client_free(&c);
    tls_client_unref(&tls);
    server_stop(&s);
    pair_fini(&p);
}

static void test_tls_files(void)
{
    struct pair p;
    struct fault fault;
    struct tls_context *t = tls_context_new();
    pair_init(&p);
    CU_ASSERT_FALSE(tls_context_is_ready(t));
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, false, &fault), 1);
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, false, &fault), 0);
    unlink(p.key);
    write_pair(&p, false);   /* a key that does not fit */
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, false, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_INVALID);
    CU_ASSERT(tls_context_is_ready(t));
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, false, &fault), 0);   /* told once */
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, true, &fault), -1);
    unlink(p.key);
    unlink(p.certificate);
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, false, &fault), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, strerror(ENOENT)));
    fclose(fopen(p.certificate, "w"));
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, true, &fault), -1);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "no start line"));
    unlink(p.certificate);
    CU_ASSERT(tls_context_is_ready(t));
    write_pair(&p, true);
    CU_ASSERT_EQUAL(tls_context_load(t, p.certificate, p.key, false, &fault), 1);
    CU_ASSERT_EQUAL(tls_context_load(t, NULL, NULL, false, &fault), 1);
    CU_ASSERT_FALSE(tls_context_is_ready(t));
    tls_context_free(&t);
    pair_fini(&p);
}

static const struct unit_test tests[] = {
    { "addresses", test_addresses },
    { "messages", test_messages },
    { "clear text", test_clear_text },
    { "client faults", test_client_faults },
    { "backpressure", test_backpressure },
    { "input limit", test_input_limit },
    { "tls", test_tls },
    { "tls resumed", test_tls_resumed },
    { "tls files", test_tls_files },
};

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    return unit_run("net", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
