/* Addresses of hosts by c-ares on a loop, one channel for each question, with what was answered kept for a while. Called by the connector; must never wait, nor
 * keep an answer for longer than it is good. */
#include "postern/net/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <pthread.h>
#include <string.h>

#include "loop.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"

enum { SOCKETS_MAX = ARES_GETSOCK_MAXNUM, KEEP_LEAST_S = 5, KEEP_MOST_S = 300, KEPT_MAX = 4096 };

struct answer {
    struct endpoint addresses[RESOLVER_ADDRESSES_MAX];
    size_t count;
    uint64_t until_ms;
};

struct lookup {
    struct loop *loop;
    char *host;
    uint16_t port;
    resolver_callback *callback;
    void *context;
    ares_channel channel;
    bool has_channel;
    bool answered;               /* `answer` or `fault` is to be told by `done` */
    ev_io sockets[SOCKETS_MAX];
    ev_timer resend;             /* c-ares' own */
    struct loop_timer done;      /* the end: at once, or when the time is over */
    struct answer answer;
    struct fault fault;
};

static pthread_mutex_t kept_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;
static struct map kept;          /* host to struct answer */

static void prepare_library(void)
{
    CHECK(ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS);
}

/* --- what is kept --------------------------------------------------------------------------------------------------------- */

static void forget_one(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    mem_release(value);
}

static void keep(const char *host, const struct answer *answer)
{
    struct answer *copy = MEM_NEW(struct answer);
    *copy = *answer;
    pthread_mutex_lock(&kept_lock);
    if (kept.count >= KEPT_MAX) {
        map_for_each(&kept, forget_one, NULL);
        map_fini(&kept);
        map_init(&kept);
    }
    mem_release(map_put(&kept, slice_from_string(host), copy));
    pthread_mutex_unlock(&kept_lock);
}

static bool find_kept(const char *host, struct answer *out)
{
    pthread_mutex_lock(&kept_lock);
    const struct answer *found = map_get(&kept, slice_from_string(host));
    bool good = found != NULL && clock_monotonic_ms() < found->until_ms;
    if (good)
        *out = *found;
    pthread_mutex_unlock(&kept_lock);
    return good;
}

/* --- c-ares on the loop --------------------------------------------------------------------------------------------------- */

static void end_channel(struct lookup *l)
{
    for (size_t i = 0; i < SOCKETS_MAX; i++)
        ev_io_stop(loop_ev(l->loop), &l->sockets[i]);
    ev_timer_stop(loop_ev(l->loop), &l->resend);
    if (l->has_channel)
        ares_destroy(l->channel);
    l->has_channel = false;
}

static void free_lookup(struct lookup *l)
{
    end_channel(l);
    loop_timer_cancel(&l->done);
    mem_free(&l->host);
    mem_free(&l);
}

/* In the loop's next round: c-ares is still at work, or the caller of resolver_ask is. */
static void end_soon(struct lookup *l)
{
    l->answered = true;
    loop_timer_set(&l->done, 0);
}

static void follow_channel(struct lookup *l);

static void socket_ready(struct ev_loop *ev, ev_io *io, int events)
{
    (void)ev;
    struct lookup *l = io->data;
    ares_process_fd(l->channel, events & EV_READ ? io->fd : ARES_SOCKET_BAD, events & EV_WRITE ? io->fd : ARES_SOCKET_BAD);
    follow_channel(l);
}

static void time_to_resend(struct ev_loop *ev, ev_timer *timer, int events)
{
    (void)ev, (void)events;
    struct lookup *l = timer->data;
    ares_process_fd(l->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    follow_channel(l);
}

/* Sockets come and go as c-ares tries servers. */
static void follow_channel(struct lookup *l)
{
    ares_socket_t sockets[SOCKETS_MAX];
    /* The macros of ares.h shift into the sign. */
    unsigned bits = l->answered ? 0 : (unsigned)ares_getsock(l->channel, sockets, SOCKETS_MAX);
    for (unsigned i = 0; i < SOCKETS_MAX; i++) {
        int events = (bits >> i & 1 ? EV_READ : 0) | (bits >> (i + SOCKETS_MAX) & 1 ? EV_WRITE : 0);
        ev_io_stop(loop_ev(l->loop), &l->sockets[i]);
        if (events == 0)
            continue;
        ev_io_set(&l->sockets[i], sockets[i], events);
        ev_io_start(loop_ev(l->loop), &l->sockets[i]);
    }
    ev_timer_stop(loop_ev(l->loop), &l->resend);
    struct timeval most = { .tv_sec = 1 }, wait;
    if (l->answered)
        return;
    struct timeval *next = ares_timeout(l->channel, &most, &wait);
    ev_timer_set(&l->resend, (double)next->tv_sec + (double)next->tv_usec / 1e6 + 0.001, 0);
    ev_timer_start(loop_ev(l->loop), &l->resend);
}

static void take_addresses(struct answer *answer, const struct ares_addrinfo *found)
{
    int ttl = KEEP_MOST_S;
    for (const struct ares_addrinfo_node *at = found->nodes; at != NULL && answer->count < RESOLVER_ADDRESSES_MAX; at = at->ai_next) {
        struct endpoint *to = &answer->addresses[answer->count];
        if (at->ai_addrlen > sizeof(to->v6))
            continue;
        memcpy(&to->any, at->ai_addr, at->ai_addrlen);
        to->len = (socklen_t)at->ai_addrlen;
        answer->count++;
        if (at->ai_ttl < ttl)
            ttl = at->ai_ttl;
    }
    answer->until_ms = clock_monotonic_ms() + 1000 * (uint64_t)(ttl < KEEP_LEAST_S ? KEEP_LEAST_S : ttl);
}

static void resolved(void *context, int status, int timeouts, struct ares_addrinfo *found)
{
    (void)timeouts;
    struct lookup *l = context;
    if (status == ARES_EDESTRUCTION)
        return;
    if (status == ARES_SUCCESS)
        take_addresses(&l->answer, found);
    if (found != NULL)
        ares_freeaddrinfo(found);
    if (l->answer.count > 0)
        keep(l->host, &l->answer);
    else
        fault_set(&l->fault, FAULT_UNREACHABLE, 0, "%s: %s", l->host, status == ARES_SUCCESS ? "no address" : ares_strerror(status));
    end_soon(l);
}

static void ask(struct lookup *l, unsigned timeout_ms)
{
    pthread_once(&library_once, prepare_library);
    /* More than one try within the time that there is. */
    struct ares_options options = { .timeout = (int)(timeout_ms / 4 + 1), .tries = 3 };
    int status = ares_init_options(&l->channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES);
    if (status != ARES_SUCCESS) {
        fault_set(&l->fault, FAULT_UNREACHABLE, 0, "%s: %s", l->host, ares_strerror(status));
        end_soon(l);
        return;
    }
    l->has_channel = true;
    loop_timer_set(&l->done, timeout_ms);
    struct ares_addrinfo_hints hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM };
    ares_getaddrinfo(l->channel, l->host, NULL, &hints, resolved, l);
    follow_channel(l);
}

static void finish(void *arg)
{
    struct lookup *l = arg;
    if (!l->answered)
        fault_set(&l->fault, FAULT_TIMEOUT, 0, "%s: the name servers do not answer in time", l->host);
    for (size_t i = 0; i < l->answer.count; i++) {
        struct endpoint *at = &l->answer.addresses[i];
        if (at->any.sa_family == AF_INET6)
            at->v6.sin6_port = htons(l->port);
        else
            at->v4.sin_port = htons(l->port);
    }
    struct answer answer = l->answer;
    struct fault fault = l->fault;
    resolver_callback *callback = l->callback;
    void *context = l->context;
    free_lookup(l);
    callback(context, answer.addresses, answer.count, &fault);
}

struct lookup *resolver_ask(struct loop *loop, const char *host, uint16_t port, unsigned timeout_ms, resolver_callback *callback, void *context)
{
    struct lookup *l = MEM_NEW(struct lookup);
    l->loop = loop;
    l->host = mem_strdup(host);
    l->port = port;
    l->callback = callback;
    l->context = context;
    for (size_t i = 0; i < SOCKETS_MAX; i++) {
        ev_init(&l->sockets[i], socket_ready);
        l->sockets[i].data = l;
    }
    ev_init(&l->resend, time_to_resend);
    l->resend.data = l;
    loop_timer_init(&l->done, loop, finish, l);
    struct slice name = slice_from_string(host);
    if (name.len > 0 && !slice_is(name, "*") && endpoint_parse(name, port, &l->answer.addresses[0])) {
        l->answer.count = 1;
        end_soon(l);
    } else if (find_kept(host, &l->answer))
        end_soon(l);
    else
        ask(l, timeout_ms);
    return l;
}

void resolver_cancel(struct lookup **lookup)
{
    if (*lookup != NULL)
        free_lookup(*lookup);
    *lookup = NULL;
}
