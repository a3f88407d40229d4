/* lane: how many send threads are at work for each post office, and for all, so that those whose agents hang cannot use all of them; and messages that wait for their turn. Used
 * by attempt.c and queue.c; thread-safe, never waits. */
#ifndef POSTERN_QUEUE_LANE_H
#define POSTERN_QUEUE_LANE_H

#include <stdbool.h>
#include <stddef.h>

/* True: begin, and lane_leave afterwards. uuid: of the post office; most: threads at a time, and all: those of all post offices; each means at least one. */
bool lane_enter(const char *uuid, size_t most, size_t all);
void lane_leave(const char *uuid);
/* The message is to be tried again when a thread has left. False: one has in the meantime. */
bool lane_wait(const char *uuid, size_t most, size_t all, const char *id);
/* Makes one ready if there is room: one that was made ready may have had no need of its lane, and then nobody leaves it. */
void lane_wake(void);
/* A message whose turn it may be; id has SPOOL_ID_MAX bytes. */
bool lane_take_ready(char *id);
/* Messages that wait, or are ready. */
size_t lane_count(void);
/* Forgets all of it: no thread is at work. */
void lane_clear(void);

#endif
