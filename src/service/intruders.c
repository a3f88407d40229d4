/* The table of failed logins. Called by look_up.c and by posternctl's questions. An agent that crashed may have left anything in it: each record is
 * checked before it is believed. Names are spread over sets by a random seed, so that nobody can choose whose record to push out; the record
 * of a name that is a user's is pushed out only by another such, when its whole set consists of them. */
#include "intruders.h"

#include <pthread.h>
#include <string.h>
#include <sys/mman.h>

#include "postern/base/check.h"
#include "postern/base/secret.h"

enum { SETS = 2048, WAYS = 8, NAME_OCTETS = 320 };

struct record {
    char name[NAME_OCTETS];     /* lower case */
    uint16_t len;               /* 0: free */
    uint8_t known;
    uint32_t failures;
    uint64_t last_ms;           /* of the last failure */
    uint64_t locked_ms;         /* 0: not locked */
};

struct intruders {
    uint64_t seed;
    struct record records[SETS][WAYS];
};

/* Not in the shared memory: only one agent lives at a time, and one that crashed must not leave it locked. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

struct intruders *intruders_new(void)
{
    struct intruders *intruders = mmap(NULL, sizeof(*intruders), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(intruders != MAP_FAILED);
    secret_random(&intruders->seed, sizeof(intruders->seed));
    return intruders;
}

void intruders_free(struct intruders **intruders)
{
    if (*intruders != NULL)
        munmap(*intruders, sizeof(**intruders));
    *intruders = NULL;
}

struct key {
    char name[NAME_OCTETS];
    size_t len;
    struct record *set;
};

static bool make_key(struct intruders *intruders, struct slice name, struct key *out)
{
    if (intruders == NULL || name.len == 0 || name.len > NAME_OCTETS)
        return false;
    uint64_t hash = 14695981039346656037ull ^ intruders->seed;
    for (size_t i = 0; i < name.len; i++) {
        out->name[i] = ascii_lower(name.data[i]);
        hash = (hash ^ (unsigned char)out->name[i]) * 1099511628211ull;
        hash ^= hash >> 29 ^ intruders->seed;
    }
    out->len = name.len;
    out->set = intruders->records[(hash ^ hash >> 32) % SETS];
    return true;
}

static struct record *find(const struct key *key)
{
    for (size_t i = 0; i < WAYS; i++) {
        struct record *r = &key->set[i];
        if (r->len == key->len && memcmp(r->name, key->name, key->len) == 0)
            return r;
    }
    return NULL;
}

static uint64_t lock_end(const struct record *r, const struct agent_settings *rules)
{
    if (rules->intruder_lockout_minutes == 0)
        return UINT64_MAX;
    return r->locked_ms + rules->intruder_lockout_minutes * 60000;
}

static bool is_locked(const struct record *r, const struct agent_settings *rules, uint64_t now_ms)
{
    return r->locked_ms != 0 && now_ms < lock_end(r, rules);
}

static bool is_over(const struct record *r, const struct agent_settings *rules, uint64_t now_ms)
{
    return !is_locked(r, rules, now_ms) && (r->locked_ms != 0 || now_ms >= r->last_ms + rules->intruder_reset_minutes * 60000);
}

/* How much it would be missed. */
static unsigned rank(const struct record *r, const struct agent_settings *rules, uint64_t now_ms)
{
    if (r->len == 0 || r->len > NAME_OCTETS || is_over(r, rules, now_ms))
        return 0;
    bool locked = is_locked(r, rules, now_ms);
    return (r->known ? 3u : 1u) + (locked ? 1u : 0u);
}

/* A place for a new record: the one missed least, of equal ones the oldest. NULL: all that is there counts for more. */
static struct record *make_room(const struct key *key, const struct agent_settings *rules, bool known, uint64_t now_ms)
{
    struct record *worst = &key->set[0];
    for (size_t i = 1; i < WAYS; i++) {
        struct record *r = &key->set[i];
        unsigned a = rank(r, rules, now_ms), b = rank(worst, rules, now_ms);
        if (a < b || (a == b && r->last_ms < worst->last_ms))
            worst = r;
    }
    unsigned most = known ? 4 : 1;
    if (rank(worst, rules, now_ms) > most)
        return NULL;
    memset(worst, 0, sizeof(*worst));
    memcpy(worst->name, key->name, key->len);
    worst->len = (uint16_t)key->len;
    return worst;
}

bool intruder_is_locked(struct intruders *intruders, const struct agent_settings *rules, struct slice name, uint64_t now_ms)
{
    struct key key;
    if (!rules->intruder_detection || !make_key(intruders, name, &key))
        return false;
    pthread_mutex_lock(&mutex);
    const struct record *r = find(&key);
    bool locked = r != NULL && is_locked(r, rules, now_ms);
    pthread_mutex_unlock(&mutex);
    return locked;
}

bool intruder_note_failure(struct intruders *intruders, const struct agent_settings *rules, struct slice name, bool known, uint64_t now_ms)
{
    struct key key;
    bool locks = false;
    if (!rules->intruder_detection || !make_key(intruders, name, &key))
        return false;
    pthread_mutex_lock(&mutex);
    struct record *r = find(&key);
    if (r == NULL)
        r = make_room(&key, rules, known, now_ms);
    if (r != NULL && is_over(r, rules, now_ms)) {
        r->failures = 0;
        r->locked_ms = 0;
    }
    if (r != NULL) {
        r->known = known;
        r->last_ms = now_ms;
        if (r->failures < UINT32_MAX)
            r->failures++;
        locks = r->locked_ms == 0 && r->failures >= rules->intruder_attempts;
        if (locks)
            r->locked_ms = now_ms > 0 ? now_ms : 1;
    }
    pthread_mutex_unlock(&mutex);
    return locks;
}

bool intruder_note_success(struct intruders *intruders, const struct agent_settings *rules, struct slice name, uint64_t now_ms)
{
    struct key key;
    if (!rules->intruder_detection || !make_key(intruders, name, &key))
        return true;
    pthread_mutex_lock(&mutex);
    struct record *r = find(&key);
    bool locked = r != NULL && is_locked(r, rules, now_ms);
    if (r != NULL && !locked)
        memset(r, 0, sizeof(*r));
    pthread_mutex_unlock(&mutex);
    return !locked;
}

bool intruder_unlock(struct intruders *intruders, struct slice name)
{
    struct key key;
    if (!make_key(intruders, name, &key))
        return false;
    pthread_mutex_lock(&mutex);
    struct record *r = find(&key);
    if (r != NULL)
        memset(r, 0, sizeof(*r));
    pthread_mutex_unlock(&mutex);
    return r != NULL;
}

void intruder_list(struct intruders *intruders, const struct agent_settings *rules, uint64_t now_ms,
                   void (*row)(void *context, const struct intruder_row *row), void *context)
{
    for (size_t i = 0; intruders != NULL && rules->intruder_detection && i < SETS * WAYS; i++) {
        pthread_mutex_lock(&mutex);
        struct record copy = intruders->records[i / WAYS][i % WAYS];
        pthread_mutex_unlock(&mutex);
        if (copy.len == 0 || copy.len > NAME_OCTETS || !is_locked(&copy, rules, now_ms))
            continue;
        row(context, &(struct intruder_row){ slice_make(copy.name, copy.len), copy.failures, copy.locked_ms, lock_end(&copy, rules), copy.known != 0 });
    }
}
