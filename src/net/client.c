/* A blocking connection with time limits over a non-blocking socket. Called by threads that may wait; must never be
 * used on a loop. */
#include "postern/net/client.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "tls.h"

enum { LINE_MAX_OCTETS = 4096, READ_CHUNK = 4096 };

struct client {
    int fd;
    SSL *ssl;
    struct buf in;      /* read and not yet taken */
};

/* Waits until the descriptor is ready for `events`; -1 after the deadline. */
static int wait_ready(int fd, short events, uint64_t deadline, struct fault *fault)
{
    for (;;) {
        uint64_t now = clock_monotonic_ms(), left = now < deadline ? deadline - now : 0;
        struct pollfd p = { .fd = fd, .events = events };
        int n = poll(&p, 1, left > 60000 ? 60000 : (int)left);
        if (n > 0)
            return 0;
        /* Not before a look: a process that was stopped for longer than that may have an answer waiting. */
        if (now >= deadline)
            return fault_set(fault, FAULT_TIMEOUT, ETIMEDOUT, "no answer in time");
        if (n < 0 && errno != EINTR)
            return fault_set_errno(fault, errno, "poll");
    }
}

static int connect_one(const struct addrinfo *at, uint64_t deadline, struct fault *fault)
{
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fault_set_errno(fault, errno, "socket");
    int on = 1, error = 0;
    socklen_t len = sizeof(error);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(fd, at->ai_addr, at->ai_addrlen) == 0)
        return fd;
    if (errno != EINPROGRESS)
        error = errno;
    else if (wait_ready(fd, POLLOUT, deadline, fault) < 0) {
        close(fd);
        return -1;
    } else if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error == 0)
        return fd;
    close(fd);
    return fault_set(fault, FAULT_UNREACHABLE, error, "connect: %s", strerror(error));
}

int client_connect(const char *host, uint16_t port, unsigned timeout_ms, struct client **out, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + timeout_ms;
    char service[8];
    snprintf(service, sizeof(service), "%u", (unsigned)port);
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG }, *found = NULL;
    int error = getaddrinfo(host, service, &hints, &found);
    if (error == EAI_ADDRFAMILY || error == EAI_NONAME || error == EAI_NODATA) {
        hints.ai_flags = AI_NUMERICHOST;   /* AI_ADDRCONFIG hides ::1 and 127.0.0.1 on a host without other addresses */
        struct addrinfo *numeric = NULL;
        if (getaddrinfo(host, service, &hints, &numeric) == 0) {
            found = numeric;
            error = 0;
        }
    }
    if (error != 0)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "%s: %s", host, gai_strerror(error));
    size_t left = 0;
    for (struct addrinfo *at = found; at != NULL; at = at->ai_next)
        left++;
    int fd = -1;
    for (struct addrinfo *at = found; at != NULL && fd < 0; at = at->ai_next, left--) {
        uint64_t now = clock_monotonic_ms();
        if (now >= deadline)
            break;
        /* One dead address must not use up the time of those after it. */
        fd = connect_one(at, now + (deadline - now) / left, fault);
    }
    freeaddrinfo(found);
    if (fd < 0)
        return clock_monotonic_ms() >= deadline ? fault_set(fault, FAULT_TIMEOUT, ETIMEDOUT, "%s: no answer in time", host)
                                                : -1;
    struct client *client = MEM_NEW(struct client);
    client->fd = fd;
    buf_init(&client->in, LINE_MAX_OCTETS + READ_CHUNK);
    *out = client;
    return 0;
}

void client_free(struct client **client)
{
    struct client *c = *client;
    if (c == NULL)
        return;
    if (c->ssl != NULL) {
        SSL_shutdown(c->ssl);
        SSL_free(c->ssl);
    }
    close(c->fd);
    buf_fini(&c->in);
    mem_free(client);
}

/* What to wait for after an SSL call that returned `result`; 0: nothing helps, the fault is set. */
static short tls_wants(struct client *c, int result, const char *what, struct fault *fault)
{
    int error = SSL_get_error(c->ssl, result);
    if (error == SSL_ERROR_WANT_READ)
        return POLLIN;
    if (error == SSL_ERROR_WANT_WRITE)
        return POLLOUT;
    if (error == SSL_ERROR_ZERO_RETURN)
        fault_set(fault, FAULT_UNREACHABLE, 0, "%s: the peer closed the connection", what);
    else
        tls_fault(fault, FAULT_UNREACHABLE, what);
    return 0;
}

int client_start_tls(struct client *client, struct tls_client *tls, const char *host, unsigned timeout_ms, struct fault *fault)
{
    CHECK(client->ssl == NULL);
    uint64_t deadline = clock_monotonic_ms() + timeout_ms;
    /* RFC 3207 section 4.2: nothing learned or read before TLS is kept. */
    buf_clear(&client->in);
    client->ssl = tls_client_connect(tls, host);
    SSL_set_fd(client->ssl, client->fd);
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(client->ssl);
        if (result == 1)
            return 0;
        tls_sessions_failed(client->ssl);
        short events = tls_wants(client, result, "TLS", fault);
        long verified = events == 0 ? SSL_get_verify_result(client->ssl) : X509_V_OK;
        if (verified != X509_V_OK)
            fault_set(fault, FAULT_UNREACHABLE, 0, "TLS: %s", X509_verify_cert_error_string(verified));
        if (events == 0 || wait_ready(client->fd, events, deadline, fault) < 0)
            return -1;
    }
}

bool client_is_quiet(const struct client *client)
{
    struct pollfd p = { .fd = client->fd, .events = POLLIN };
    return client->in.len == 0 && (client->ssl == NULL || SSL_pending(client->ssl) == 0) && poll(&p, 1, 0) == 0;
}

/* Reads once into `in`; the caller has made sure that there is room. */
static int read_some(struct client *c, uint64_t deadline, struct fault *fault)
{
    char *room = buf_reserve(&c->in, READ_CHUNK);
    CHECK(room != NULL);
    for (;;) {
        short events = POLLIN;
        ERR_clear_error();
        ssize_t n = c->ssl ? SSL_read(c->ssl, room, READ_CHUNK) : recv(c->fd, room, READ_CHUNK, 0);
        if (n > 0) {
            buf_extend(&c->in, (size_t)n);
            return 0;
        }
        if (c->ssl != NULL)
            events = tls_wants(c, (int)n, "reading", fault);
        else if (n == 0)
            return fault_set(fault, FAULT_UNREACHABLE, 0, "the peer closed the connection");
        else if (errno != EAGAIN && errno != EINTR)
            return fault_set(fault, FAULT_UNREACHABLE, errno, "reading: %s", strerror(errno));
        if (events == 0 || wait_ready(c->fd, events, deadline, fault) < 0)
            return -1;
    }
}

int client_read_line(struct client *client, struct buf *line_out, unsigned timeout_ms, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + timeout_ms;
    buf_clear(line_out);
    for (;;) {
        ptrdiff_t end = slice_find(buf_slice(&client->in), '\n');
        if (end > LINE_MAX_OCTETS || (end < 0 && client->in.len > LINE_MAX_OCTETS))
            return fault_set(fault, FAULT_PROTOCOL, 0, "the peer's line is too long");
        if (end >= 0) {
            struct slice line = slice_part(buf_slice(&client->in), 0, (size_t)end);
            if (line.len > 0 && line.data[line.len - 1] == '\r')
                line.len--;
            bool fits = buf_append(line_out, line);
            buf_consume(&client->in, (size_t)end + 1);
            return fits ? 0 : fault_set(fault, FAULT_PROTOCOL, 0, "the peer's line is too long");
        }
        if (read_some(client, deadline, fault) < 0)
            return -1;
    }
}

int client_write(struct client *client, struct slice bytes, unsigned timeout_ms, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + timeout_ms;
    while (bytes.len > 0) {
        short events = POLLOUT;
        ERR_clear_error();
        size_t most = bytes.len < (1u << 20) ? bytes.len : (1u << 20);
        ssize_t n = client->ssl ? SSL_write(client->ssl, bytes.data, (int)most)
                                : send(client->fd, bytes.data, most, MSG_NOSIGNAL);
        if (n > 0) {
            bytes = slice_from(bytes, (size_t)n);
            continue;
        }
        if (client->ssl != NULL)
            events = tls_wants(client, (int)n, "writing", fault);
        else if (errno != EAGAIN && errno != EINTR)
            return fault_set(fault, FAULT_UNREACHABLE, errno, "writing: %s", strerror(errno));
        if (events == 0 || wait_ready(client->fd, events, deadline, fault) < 0)
            return -1;
    }
    return 0;
}
