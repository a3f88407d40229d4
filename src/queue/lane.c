/* Counts of threads by post office, and the messages that wait for one. Called by the queue's threads; it knows nothing of delivery. */
#include "lane.h"

#include <pthread.h>
#include <string.h>

#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "schedule.h"

struct lane {
    size_t busy;
    struct schedule waiting;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map lanes;           /* uuid to struct lane; gone when nobody is in it */
static struct schedule ready;
static size_t waiting;

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

bool lane_enter(const char *uuid, size_t most)
{
    pthread_mutex_lock(&lock);
    struct lane *lane = lane_of(uuid);
    bool room = lane->busy < most || lane->busy == 0;
    lane->busy += room;
    pthread_mutex_unlock(&lock);
    return room;
}

void lane_leave(const char *uuid)
{
    pthread_mutex_lock(&lock);
    struct lane *lane = lane_of(uuid);
    lane->busy--;
    if (lane->waiting.count != 0)
        make_ready(lane);
    let_go(uuid, lane);
    pthread_mutex_unlock(&lock);
}

bool lane_wait(const char *uuid, size_t most, const char *id)
{
    static time_t turn;   /* first come, first served */
    pthread_mutex_lock(&lock);
    struct lane *lane = lane_of(uuid);
    bool waits = lane->busy != 0 && lane->busy >= most;
    if (waits) {
        schedule_put(&lane->waiting, id, 0, turn++);
        waiting++;
    }
    let_go(uuid, lane);
    pthread_mutex_unlock(&lock);
    return waits;
}

/* One that was made ready may have had no need of its lane: then nobody leaves it, and the next one is still there. */
static void look_for_idle(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    struct lane *lane = value;
    if (lane->busy == 0 && lane->waiting.count != 0 && ready.count == 0)
        make_ready(lane);
}

bool lane_take_ready(char *id)
{
    pthread_mutex_lock(&lock);
    if (ready.count == 0 && waiting != 0)
        map_for_each(&lanes, look_for_idle, NULL);
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
    waiting = 0;
    pthread_mutex_unlock(&lock);
}
