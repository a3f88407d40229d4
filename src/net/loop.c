/* One thread's event loop over libev, with messages from other threads. Used by everything that owns a descriptor; must
 * never call back while it holds its lock. */
#include "loop.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/list.h"
#include "postern/base/memory.h"

static_assert(sizeof(ev_timer) <= sizeof(((struct loop_timer *)0)->storage), "loop_timer holds an ev_timer");
static_assert(sizeof(ev_io) <= sizeof(((struct loop_watch *)0)->storage), "loop_watch holds an ev_io");

struct message {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};

struct loop {
    struct ev_loop *ev;
    ev_async async;
    pthread_mutex_t lock;     /* guards messages and stop */
    struct list messages;
    bool stop;
    char scratch[LOOP_SCRATCH];
};

struct ev_loop *loop_ev(struct loop *loop)
{
    return loop->ev;
}

char *loop_scratch(struct loop *loop)
{
    return loop->scratch;
}

static void take_messages(struct ev_loop *ev, ev_async *async, int events)
{
    (void)events;
    struct loop *loop = async->data;
    struct list taken;
    list_init(&taken);
    pthread_mutex_lock(&loop->lock);
    bool stop = loop->stop;
    while (!list_is_empty(&loop->messages)) {
        struct list *item = loop->messages.next;
        list_remove(item);
        list_append(&taken, item);
    }
    pthread_mutex_unlock(&loop->lock);
    while (!list_is_empty(&taken)) {
        struct message *m = LIST_ITEM(taken.next, struct message, link);
        list_remove(&m->link);
        m->fn(m->arg);
        mem_free(&m);
    }
    if (stop)
        ev_break(ev, EVBREAK_ALL);
}

struct loop *loop_new(void)
{
    struct loop *loop = MEM_NEW(struct loop);
    loop->ev = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
    CHECK(loop->ev != NULL);
    pthread_mutex_init(&loop->lock, NULL);
    list_init(&loop->messages);
    ev_async_init(&loop->async, take_messages);
    loop->async.data = loop;
    ev_async_start(loop->ev, &loop->async);
    return loop;
}

void loop_free(struct loop **loop)
{
    struct loop *l = *loop;
    if (l == NULL)
        return;
    while (!list_is_empty(&l->messages)) {
        struct message *m = LIST_ITEM(l->messages.next, struct message, link);
        list_remove(&m->link);
        mem_free(&m);
    }
    ev_async_stop(l->ev, &l->async);
    ev_loop_destroy(l->ev);
    pthread_mutex_destroy(&l->lock);
    mem_free(loop);
}

void loop_run(struct loop *loop)
{
    ev_run(loop->ev, 0);
}

void loop_stop(struct loop *loop)
{
    pthread_mutex_lock(&loop->lock);
    loop->stop = true;
    pthread_mutex_unlock(&loop->lock);
    ev_async_send(loop->ev, &loop->async);
}

void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
    struct message *m = MEM_NEW(struct message);
    m->fn = fn;
    m->arg = arg;
    pthread_mutex_lock(&loop->lock);
    bool first = list_is_empty(&loop->messages);
    list_append(&loop->messages, &m->link);
    pthread_mutex_unlock(&loop->lock);
    if (first)
        ev_async_send(loop->ev, &loop->async);
}

static void timer_fired(struct ev_loop *ev, ev_timer *inner, int events)
{
    (void)ev, (void)events;
    struct loop_timer *timer = inner->data;
    timer->fn(timer->arg);
}

void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*fn)(void *arg), void *arg)
{
    ev_timer *inner = (ev_timer *)(void *)timer->storage;
    memset(timer, 0, sizeof(*timer));
    ev_init(inner, timer_fired);
    inner->data = timer;
    timer->loop = loop;
    timer->fn = fn;
    timer->arg = arg;
}

void loop_timer_set(struct loop_timer *timer, uint64_t milliseconds)
{
    ev_timer *inner = (ev_timer *)(void *)timer->storage;
    ev_timer_stop(timer->loop->ev, inner);
    /* libev counts from the beginning of the round: what the round has taken until now is added. */
    double late = ev_time() - ev_now(timer->loop->ev);
    ev_timer_set(inner, (double)milliseconds / 1000 + (late > 0 && late < 1 ? late : 0), 0);
    ev_timer_start(timer->loop->ev, inner);
}

void loop_timer_cancel(struct loop_timer *timer)
{
    if (timer->loop != NULL)
        ev_timer_stop(timer->loop->ev, (ev_timer *)(void *)timer->storage);
}

bool loop_timer_is_set(const struct loop_timer *timer)
{
    return timer->loop != NULL && ev_is_active((const ev_timer *)(const void *)timer->storage);
}

static void watch_fired(struct ev_loop *ev, ev_io *inner, int events)
{
    (void)ev, (void)events;
    struct loop_watch *watch = inner->data;
    watch->fn(watch->arg);
}

void loop_watch_start(struct loop_watch *watch, struct loop *loop, int fd, void (*fn)(void *arg), void *arg)
{
    ev_io *inner = (ev_io *)(void *)watch->storage;
    memset(watch, 0, sizeof(*watch));
    watch->loop = loop;
    watch->fn = fn;
    watch->arg = arg;
    ev_io_init(inner, watch_fired, fd, EV_READ);
    inner->data = watch;
    ev_io_start(loop->ev, inner);
}

void loop_watch_stop(struct loop_watch *watch)
{
    if (watch->loop != NULL)
        ev_io_stop(watch->loop->ev, (ev_io *)(void *)watch->storage);
}
