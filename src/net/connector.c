/* A connection to a host, without waiting for it. Called on loops for peers that we speak to first; must never keep a descriptor that nobody asked for. */
#include "postern/net/connector.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop.h"
#include "postern/base/list.h"
#include "postern/base/memory.h"
#include "postern/net/resolver.h"

enum { NEXT_MS = 250 };   /* RFC 8305, section 5 */

struct try {
    ev_io io;
    int fd;               /* -1: not begun, or failed */
};

struct connector {
    struct loop *loop;
    connector_callback *callback;
    void *context;
    char *host;
    struct lookup *lookup;
    struct loop_timer limit;
    struct loop_timer next;       /* the next address */
    struct endpoint addresses[RESOLVER_ADDRESSES_MAX];
    struct try tries[RESOLVER_ADDRESSES_MAX];
    size_t count;
    size_t begun;
    size_t failed;
    struct fault fault;           /* of the last try */
};

static void end_try(struct connector *c, struct try *t)
{
    ev_io_stop(loop_ev(c->loop), &t->io);
    if (t->fd >= 0)
        close(t->fd);
    t->fd = -1;
}

static void free_connector(struct connector *c)
{
    resolver_cancel(&c->lookup);
    loop_timer_cancel(&c->limit);
    loop_timer_cancel(&c->next);
    for (size_t i = 0; i < c->begun; i++)
        end_try(c, &c->tries[i]);
    mem_free(&c->host);
    mem_free(&c);
}

static void finish(struct connector *c, int fd)
{
    connector_callback *callback = c->callback;
    void *context = c->context;
    struct fault fault = c->fault;
    free_connector(c);
    callback(context, fd, &fault);
}

static void begin_next(void *arg);

static void try_failed(struct connector *c, struct try *t, int error)
{
    char address[ENDPOINT_TEXT];
    size_t which = (size_t)(t - c->tries);
    endpoint_format(&c->addresses[which], address);
    fault_set(&c->fault, error == ETIMEDOUT ? FAULT_TIMEOUT : FAULT_UNREACHABLE, error, "%s (%s) port %u: %s", c->host, address,
              endpoint_port(&c->addresses[which]), strerror(error));
    end_try(c, t);
    c->failed++;
    if (c->failed == c->count)
        finish(c, -1);
    else if (c->failed == c->begun)
        loop_timer_set(&c->next, 0);
}

static void try_ready(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev, (void)events;
    struct connector *c = io->data;
    struct try *t = LIST_ITEM(io, struct try, io);
    int error = 0, fd = t->fd;
    socklen_t len = sizeof(error);
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &len) < 0)
        error = errno;
    if (error != 0) {
        try_failed(c, t, error);
        return;
    }
    ev_io_stop(loop_ev(c->loop), &t->io);
    t->fd = -1;
    finish(c, fd);
}

static void begin_next(void *arg)
{
    struct connector *c = arg;
    if (c->begun == c->count)
        return;
    struct try *t = &c->tries[c->begun];
    const struct endpoint *to = &c->addresses[c->begun++];
    ev_init(&t->io, try_ready);
    t->io.data = c;
    t->fd = socket(to->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (t->fd < 0 || (connect(t->fd, &to->any, to->len) < 0 && errno != EINPROGRESS)) {
        try_failed(c, t, errno);
        return;
    }
    ev_io_set(&t->io, t->fd, EV_WRITE);
    ev_io_start(loop_ev(c->loop), &t->io);
    if (c->begun < c->count)
        loop_timer_set(&c->next, NEXT_MS);
}

static void resolved(void *context, const struct endpoint *addresses, size_t count, const struct fault *fault)
{
    struct connector *c = context;
    c->lookup = NULL;
    if (count == 0) {
        c->fault = *fault;
        finish(c, -1);
        return;
    }
    memcpy(c->addresses, addresses, count * sizeof(*addresses));
    c->count = count;
    begin_next(c);
}

static void too_late(void *arg)
{
    struct connector *c = arg;
    fault_set(&c->fault, FAULT_TIMEOUT, ETIMEDOUT, "%s: no connection in time", c->host);
    finish(c, -1);
}

struct connector *connector_start(struct loop *loop, const char *host, uint16_t port, unsigned timeout_ms, connector_callback *callback, void *context)
{
    struct connector *c = MEM_NEW(struct connector);
    c->loop = loop;
    c->host = mem_strdup(host);
    c->callback = callback;
    c->context = context;
    loop_timer_init(&c->limit, loop, too_late, c);
    loop_timer_init(&c->next, loop, begin_next, c);
    loop_timer_set(&c->limit, timeout_ms);
    c->lookup = resolver_ask(loop, host, port, timeout_ms, resolved, c);
    return c;
}

void connector_cancel(struct connector **connector)
{
    if (*connector != NULL)
        free_connector(*connector);
    *connector = NULL;
}
