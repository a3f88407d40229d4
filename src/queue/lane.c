/* Counts of threads by post office, and the messages that wait for one. Called by the queue's threads; it knows nothing of delivery. */
#include "lane.h"

#include <pthread.h>
#include <string.h>

#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "schedule.h"

struct lane {
    size_t busy, most;
    struct schedule waiting;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map lanes;           /* uuid to struct lane; gone when nobody is in it */
static struct schedule ready;
static size_t waiting;
static size_t busy, most_of_all;   /* of all lanes */

static struct lane *lane_of(const char *uuid)
{
    struct lane *lane = map_get(&lanes, slice_from_string(uuid));
    if (lane == NULL) {
        lane = MEM_NEW(struct lane);
        map_put(&lanes, slice_from_string(uuid), lane);
    }
    return lane;
}

static void let_go(const char *uuid, struct lane *lane)
{
    if (lane->busy != 0 || lane->waiting.count != 0)
        return;
    map_remove(&lanes, slice_from_string(uuid));
    schedule_fini(&lane->waiting);
    mem_release(lane);
}

static void make_ready(struct lane *lane)
{
    schedule_put(&ready, schedule_first(&lane->waiting)->id, 0, 0);
    schedule_remove_first(&lane->waiting);
}

static struct lane *widen(const char *uuid, size_t most, size_t all)
{
    struct lane *lane = lane_of(uuid);
    lane->most = most;
    most_of_all = all;
    return lane;
}

static bool has_room(const struct lane *lane)
{
    return (lane->busy < lane->most || lane->busy == 0) && (busy < most_of_all || busy == 0);
}

/* The message that has waited for longest and can begin. */
static void look_for_next(struct slice key, void *value, void *context)
{
    (void)key;
    struct lane *lane = value, **next = context;
    if (lane->waiting.count != 0 && has_room(lane) && (*next == NULL || schedule_first(&lane->waiting)->due < schedule_first(&(*next)->waiting)->due))
        *next = lane;
}

static void make_next_ready(void)
{
    struct lane *next = NULL;
    if (waiting > ready.count)
        map_for_each(&lanes, look_for_next, &next);
    if (next != NULL)
        make_ready(next);
}

bool lane_enter(const char *uuid, size_t most, size_t all)
{
    pthread_mutex_lock(&lock);
    struct lane *lane = widen(uuid, most, all);
    bool room = has_room(lane);
    lane->busy += room;
    busy += room;
    let_go(uuid, lane);
    pthread_mutex_unlock(&lock);
    return room;
}

void lane_leave(const char *uuid)
{
    pthread_mutex_lock(&lock);
    struct lane *lane = lane_of(uuid);
    lane->busy--;
    busy--;
    make_next_ready();
    let_go(uuid, lane);
    pthread_mutex_unlock(&lock);
}

bool lane_wait(const char *uuid, size_t most, size_t all, const char *id)
{
    static time_t turn;   /* first come, first served */
    pthread_mutex_lock(&lock);
    struct lane *lane = widen(uuid, most, all);
    bool waits = !has_room(lane);
    if (waits) {
        schedule_put(&lane->waiting, id, 0, turn++);
        waiting++;
    }
    let_go(uuid, lane);
    pthread_mutex_unlock(&lock);
    return waits;
}

void lane_wake(void)
{
    pthread_mutex_lock(&lock);
    if (ready.count == 0)
        make_next_ready();
    pthread_mutex_unlock(&lock);
}

bool lane_take_ready(char *id)
{
    pthread_mutex_lock(&lock);
    bool any = ready.count != 0;
    if (any) {
        memcpy(id, schedule_first(&ready)->id, SPOOL_ID_MAX);
        schedule_remove_first(&ready);
        waiting--;
    }
    pthread_mutex_unlock(&lock);
    return any;
}

size_t lane_count(void)
{
    pthread_mutex_lock(&lock);
    size_t count = waiting;
    pthread_mutex_unlock(&lock);
    return count;
}

static void free_lane(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    struct lane *lane = value;
    schedule_fini(&lane->waiting);
    mem_release(lane);
}

void lane_clear(void)
{
    pthread_mutex_lock(&lock);
    map_for_each(&lanes, free_lane, NULL);
    map_fini(&lanes);
    map_init(&lanes);
    schedule_fini(&ready);
    waiting = busy = 0;
    pthread_mutex_unlock(&lock);
}
