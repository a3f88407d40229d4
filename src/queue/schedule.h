/* schedule: which message is due next: a heap of IDs by time. Used by queue.c under its lock. */
#ifndef POSTERN_QUEUE_SCHEDULE_H
#define POSTERN_QUEUE_SCHEDULE_H

#include <time.h>

#include "spool.h"

struct schedule_item {
    time_t due;
    uint32_t mark;
    char id[SPOOL_ID_MAX];
};

/* A zeroed struct is an empty schedule. */
struct schedule {
    struct schedule_item *items;
    size_t count, size;
};

void schedule_fini(struct schedule *schedule);
/* mark: what it waits for, for schedule_hurry_marked; 0: nothing of the kind. */
void schedule_put(struct schedule *schedule, const char *id, uint32_t mark, time_t due);
/* The earliest; NULL if empty; valid until the next change. */
const struct schedule_item *schedule_first(const struct schedule *schedule);
void schedule_remove_first(struct schedule *schedule);
/* Everything is due at `now` at the latest. */
void schedule_hurry(struct schedule *schedule, time_t now);
/* Likewise what has this mark (0: any), which it loses. */
void schedule_hurry_marked(struct schedule *schedule, uint32_t mark, time_t now);

#endif
