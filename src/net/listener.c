/* Accepts connections in bounded bursts. Called on the accepting loop; must never spin when descriptors have run out. */
#include "postern/net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "loop.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"

enum { BURST = 64, BACKLOG = 1024, PAUSE_MS = 200 };

struct listener {
    struct loop *loop;
    int fd;
    int reserve;             /* given up for a moment to be able to close a connection when descriptors have run out */
    struct loop_watch watch;
    struct loop_timer pause;
    void (*accepted)(void *context, int fd);
    void *context;
    bool *freed;             /* set while a burst is under way */
    bool told;               /* that descriptors have run out */
};

int listener_bind(const struct endpoint *address, struct fault *fault)
{
    char text[ENDPOINT_TEXT];
    endpoint_format(address, text);
    struct endpoint every_v4;
    int fd = socket(address->any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 && errno == EAFNOSUPPORT && address->any.sa_family == AF_INET6 && IN6_IS_ADDR_UNSPECIFIED(&address->v6.sin6_addr) &&
        endpoint_parse(SLICE_LITERAL("0.0.0.0"), endpoint_port(address), &every_v4)) {
        address = &every_v4;   /* a kernel without IPv6 */
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    }
    if (fd < 0)
        return fault_set_errno(fault, errno, "socket for %s port %u", text, endpoint_port(address));
    int on = 1, off = 0;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (address->any.sa_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
    if (bind(fd, &address->any, address->len) < 0 || listen(fd, BACKLOG) < 0) {
        int error = errno;
        close(fd);
        return fault_set_errno(fault, error, "binding %s port %u", text, endpoint_port(address));
    }
    return fd;
}

static int open_reserve(void)
{
    return open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static void take_connections(void *arg);

static void resume(void *arg)
{
    struct listener *l = arg;
    if (l->reserve < 0)
        l->reserve = open_reserve();
    loop_watch_start(&l->watch, l->loop, l->fd, take_connections, l);
}

/* No descriptor is left: one client is turned away rather than left hanging, then others get time to end. */
static void turn_away(struct listener *l)
{
    if (!l->told)
        log_warning("net", "no descriptors left: connections are turned away");
    l->told = true;
    if (l->reserve >= 0) {
        close(l->reserve);
        l->reserve = -1;
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            close(fd);
        l->reserve = open_reserve();
    }
    loop_watch_stop(&l->watch);
    loop_timer_set(&l->pause, PAUSE_MS);
}

static void take_connections(void *arg)
{
    struct listener *l = arg;
    bool freed = false;
    l->freed = &freed;
    for (int i = 0; i < BURST; i++) {
        int fd = accept4(l->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            l->told = false;
            l->accepted(l->context, fd);
            if (freed)
                return;
            continue;
        }
        int error = errno;
        if (error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM)
            turn_away(l);
        if (error != ECONNABORTED && error != EINTR)
            break;
    }
    l->freed = NULL;
}

struct listener *listener_new(struct loop *loop, int fd, void (*accepted)(void *context, int fd), void *context)
{
    struct listener *l = MEM_NEW(struct listener);
    l->loop = loop;
    l->fd = fd;
    l->accepted = accepted;
    l->context = context;
    l->reserve = open_reserve();
    loop_timer_init(&l->pause, loop, resume, l);
    resume(l);
    return l;
}

void listener_free(struct listener **listener)
{
    struct listener *l = *listener;
    if (l == NULL)
        return;
    if (l->freed != NULL)
        *l->freed = true;
    loop_watch_stop(&l->watch);
    loop_timer_cancel(&l->pause);
    close(l->fd);
    if (l->reserve >= 0)
        close(l->reserve);
    mem_free(listener);
}
