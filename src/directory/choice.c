/* Several servers: the one in use, and the race to the first that answers. A server can be mute (stopped, or a black hole) as well as gone, and
 * libldap blocks on it, so each attempt has a thread of its own and the slow ones are left to end by themselves. Called by connection.c
 * and the watch. */
#include "choice.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"

/* How long a server may take before the next one is tried beside it. */
#define HEAD_START_MS 300
/* And how long before one that is behind is tried: who is not there yet would be taken for unknown. */
#define PATIENCE_MS 1500

struct directory_choice {
    unsigned count;
    _Atomic unsigned current;
    _Atomic uint64_t *failed_since;
    atomic_bool *behind;
    pthread_mutex_t mutex;
    pthread_cond_t ended;
    unsigned attempts;          /* threads that still run */
};

static void init_condition(pthread_cond_t *condition)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}

struct directory_choice *directory_choice_new(size_t uri_count)
{
    struct directory_choice *choice = MEM_NEW(struct directory_choice);
    choice->count = (unsigned)uri_count;
    choice->failed_since = MEM_NEW_ARRAY(_Atomic uint64_t, uri_count + 1);
    choice->behind = MEM_NEW_ARRAY(atomic_bool, uri_count + 1);
    pthread_mutex_init(&choice->mutex, NULL);
    init_condition(&choice->ended);
    return choice;
}

void directory_choice_free(struct directory_choice **choice)
{
    struct directory_choice *c = *choice;
    if (c == NULL)
        return;
    pthread_mutex_lock(&c->mutex);
    while (c->attempts > 0)
        pthread_cond_wait(&c->ended, &c->mutex);
    pthread_mutex_unlock(&c->mutex);
    pthread_cond_destroy(&c->ended);
    pthread_mutex_destroy(&c->mutex);
    mem_free(&c->failed_since);
    mem_free(&c->behind);
    mem_free(choice);
}

unsigned choice_current(const struct directory_choice *choice)
{
    return atomic_load(&choice->current);
}

uint64_t choice_failed_since(const struct directory_choice *choice, unsigned at)
{
    return atomic_load(&choice->failed_since[at]);
}

bool choice_is_behind(const struct directory_choice *choice, unsigned at)
{
    return atomic_load(&choice->behind[at]);
}

void choice_set_behind(struct directory_choice *choice, unsigned at, bool behind)
{
    atomic_store(&choice->behind[at], behind);
}

/* The first after it that has not failed, and is not behind if there is such a one; else itself. */
static unsigned next_after(const struct directory_choice *choice, unsigned at)
{
    for (unsigned i = 1; i < 2 * choice->count; i++) {
        unsigned next = (at + i) % choice->count;
        if (next != at && choice_failed_since(choice, next) == 0 && (i > choice->count || !choice_is_behind(choice, next)))
            return next;
    }
    return at;
}

void choice_set_failed(struct directory_choice *choice, unsigned at)
{
    uint64_t never = 0;
    unsigned expected = at;
    atomic_compare_exchange_strong(&choice->failed_since[at], &never, clock_monotonic_ms());
    atomic_compare_exchange_strong(&choice->current, &expected, next_after(choice, at));
}

void choice_set_current(struct directory_choice *choice, unsigned at)
{
    atomic_store(&choice->failed_since[at], 0);
    atomic_store(&choice->behind[at], false);
    atomic_store(&choice->current, at);
}

/* One connecting to all. The threads hold it as well as the one who waits; the last one frees it. */
struct race {
    const struct directory_options *options;
    bool bind;
    uint64_t deadline;
    pthread_mutex_t mutex;
    pthread_cond_t news;
    unsigned references;
    unsigned running;
    bool over;                  /* nobody waits any more */
    bool won;
    struct connection winner;
    struct fault fault;         /* of the first server that failed */
};

struct attempt {
    struct race *race;
    unsigned at;
};

static void race_unref(struct race *race)
{
    pthread_mutex_lock(&race->mutex);
    bool last = --race->references == 0;
    pthread_mutex_unlock(&race->mutex);
    if (!last)
        return;
    pthread_cond_destroy(&race->news);
    pthread_mutex_destroy(&race->mutex);
    mem_release(race);
}

static void take_outcome(struct race *race, struct connection *c, bool good, const struct fault *fault)
{
    pthread_mutex_lock(&race->mutex);
    race->running--;
    if (good && !race->won && !race->over) {
        race->won = true;
        race->winner = *c;
        c->ld = NULL;
    } else if (!good && race->fault.class == FAULT_NONE) {
        race->fault = *fault;
    }
    pthread_cond_signal(&race->news);
    pthread_mutex_unlock(&race->mutex);
    connection_close(c);
}

static void *run_attempt(void *context)
{
    struct attempt *attempt = context;
    struct race *race = attempt->race;
    struct directory_choice *choice = race->options->choice;
    struct connection c = { .ld = NULL };
    struct fault fault;
    fault_clear(&fault);
    bool good = connection_open_one(&c, race->options, attempt->at, race->bind, race->deadline, &fault) == 0;
    if (good)
        atomic_store(&choice->failed_since[attempt->at], 0);
    else
        choice_set_failed(choice, attempt->at);
    take_outcome(race, &c, good, &fault);
    race_unref(race);
    mem_release(attempt);
    pthread_mutex_lock(&choice->mutex);
    choice->attempts--;
    pthread_cond_signal(&choice->ended);
    pthread_mutex_unlock(&choice->mutex);
    return NULL;
}

static void start_attempt(struct race *race, unsigned at)
{
    struct directory_choice *choice = race->options->choice;
    struct attempt *attempt = MEM_NEW(struct attempt);
    pthread_t thread;
    attempt->race = race;
    attempt->at = at;
    pthread_mutex_lock(&choice->mutex);
    choice->attempts++;
    pthread_mutex_unlock(&choice->mutex);
    race->references++;
    race->running++;
    if (pthread_create(&thread, NULL, run_attempt, attempt) == 0) {
        pthread_detach(thread);
        return;
    }
    race->references--;
    race->running--;
    mem_release(attempt);
    pthread_mutex_lock(&choice->mutex);
    choice->attempts--;
    pthread_mutex_unlock(&choice->mutex);
    log_warning("directory", "no thread for an attempt to connect");
}

/* Until somebody has won, all have failed, or the time is over. Under the mutex. */
static void wait_for_winner(struct race *race, uint64_t until)
{
    struct timespec at = { (time_t)(until / 1000), (long)(until % 1000 * 1000000) };
    int rc = 0;
    while (!race->won && race->running > 0 && rc == 0)
        rc = pthread_cond_timedwait(&race->news, &race->mutex, &at);
}

/* Those that are behind come last. Under the mutex. */
static void run_race(struct race *race, unsigned first)
{
    const struct directory_choice *choice = race->options->choice;
    bool *behind = MEM_NEW_ARRAY(bool, choice->count);
    unsigned left[2] = { 0, 0 };
    for (unsigned i = 0; i < choice->count; i++) {
        behind[i] = i > 0 && choice_is_behind(choice, (first + i) % choice->count);
        left[behind[i]]++;
    }
    for (unsigned late = 0; late < 2; late++) {
        for (unsigned i = 0; i < choice->count && !race->won; i++) {
            if (behind[i] != (late == 1))
                continue;
            bool last = --left[late] == 0;
            uint64_t until = clock_monotonic_ms() + (last && late == 0 ? PATIENCE_MS : HEAD_START_MS);
            start_attempt(race, (first + i) % choice->count);
            wait_for_winner(race, (last && left[1] == 0) || until > race->deadline ? race->deadline : until);
        }
    }
    mem_free(&behind);
}

int choice_connect(struct connection *c, const struct directory_options *options, bool bind, uint64_t ms, struct fault *fault)
{
    struct directory_choice *choice = options->choice;
    struct race *race = MEM_NEW(struct race);
    unsigned first = choice_current(choice);
    race->options = options;
    race->bind = bind;
    race->deadline = clock_monotonic_ms() + ms;
    race->references = 1;
    pthread_mutex_init(&race->mutex, NULL);
    init_condition(&race->news);
    pthread_mutex_lock(&race->mutex);
    run_race(race, first);
    race->over = true;
    bool won = race->won;
    if (won)
        *c = race->winner;
    else if (fault != NULL)
        *fault = race->fault;
    pthread_mutex_unlock(&race->mutex);
    race_unref(race);
    if (!won)
        return fault != NULL && fault->class != FAULT_NONE ? -1 : fault_set(fault, FAULT_TIMEOUT, 0, "no directory server answers");
    if (c->at != first && choice_failed_since(choice, first) == 0)
        choice_set_failed(choice, first);   /* mute */
    if (choice_failed_since(choice, choice_current(choice)) != 0)
        choice_set_current(choice, c->at);
    return 0;
}
