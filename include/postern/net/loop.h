/* loop: the event loop of one thread. Everything is called on the loop's own thread (or before it runs), except loop_post and
 * loop_stop. Callbacks may remove the timer or watch that they are called for, and free what holds it. */
#ifndef POSTERN_NET_LOOP_H
#define POSTERN_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct loop;

struct loop *loop_new(void);
/* After loop_run has returned. Messages not yet taken are dropped. */
void loop_free(struct loop **loop);
/* Returns after loop_stop. */
void loop_run(struct loop *loop);
void loop_stop(struct loop *loop);
/* fn(arg) will be called on the loop, in the order of posting. Any thread. */
void loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);

/* A timer embedded in its owner; the content is private. A zeroed one may be cancelled. */
struct loop_timer {
    uint64_t storage[6];
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};
void loop_timer_init(struct loop_timer *timer, struct loop *loop, void (*fn)(void *arg), void *arg);
/* Once, after that time; a timer that was set is set anew. */
void loop_timer_set(struct loop_timer *timer, uint64_t milliseconds);
void loop_timer_cancel(struct loop_timer *timer);
bool loop_timer_is_set(const struct loop_timer *timer);

/* Calls back while a descriptor is readable. The descriptor stays the caller's. */
struct loop_watch {
    uint64_t storage[7];
    struct loop *loop;
    void (*fn)(void *arg);
    void *arg;
};
void loop_watch_start(struct loop_watch *watch, struct loop *loop, int fd, void (*fn)(void *arg), void *arg);
/* A zeroed one is accepted. */
void loop_watch_stop(struct loop_watch *watch);

#endif
