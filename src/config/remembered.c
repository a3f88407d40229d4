/* Verified passwords, each as a keyed hash under a key that lives and dies with the process. Called at logins, from threads and loops. A user is forgotten with
 * its time, with any change that the directory tells of, and with any change of the configuration. One name of a user at a time is remembered. */
#include "remembered.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/buf.h"
#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/config/config.h"
#include "user_names.h"
#include "users.h"

/* NOTICES: one that is older than a login took is of no interest to it. */
enum { REMEMBERED_MAX = 10000, LOOK_EACH_MS = 1000, NOTICES = 256 };

struct remembered {
    char *name;
    struct user *user;
    uint64_t until_ms;
    unsigned char hash[KEYED_HASH_SIZE];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct map by_name, by_uuid;
static unsigned char key[KEYED_HASH_SIZE];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static uint64_t look_again_ms;
static char recent[NOTICES][DIRECTORY_UUID_SIZE];
static uint64_t notices;

static void forget(struct remembered *r)
{
    map_remove(&by_name, slice_from_string(r->name));
    map_remove(&by_uuid, slice_from_string(r->user->uuid));
    user_unref(&r->user);
    secret_wipe(r->hash, sizeof(r->hash));
    mem_free(&r->name);
    mem_release(r);
}

static bool is_good(const struct remembered *r, uint64_t now_ms)
{
    return now_ms < r->until_ms && !users_is_known_changed(r->user);
}

struct gathering {
    struct remembered **found;
    size_t count;
    uint64_t now_ms;
    bool all;
};

static void gather(struct slice name, void *value, void *context)
{
    (void)name;
    struct gathering *g = context;
    if (g->all || !is_good(value, g->now_ms))
        g->found[g->count++] = value;
}

static void forget_many(uint64_t now_ms, bool all)
{
    struct gathering g = { MEM_NEW_ARRAY(struct remembered *, by_name.count + 1), 0, now_ms, all };
    map_for_each(&by_name, gather, &g);
    for (size_t i = 0; i < g.count; i++)
        forget(g.found[i]);
    mem_free(&g.found);
}

void remembered_clear(void)
{
    pthread_mutex_lock(&mutex);
    forget_many(0, true);
    map_fini(&by_name);
    map_fini(&by_uuid);
    notices += NOTICES + 1;   /* for those who are at it */
    pthread_mutex_unlock(&mutex);
}

void remembered_note(const char *uuid)
{
    pthread_mutex_lock(&mutex);
    snprintf(recent[notices++ % NOTICES], DIRECTORY_UUID_SIZE, "%s", uuid);
    struct remembered *r = by_uuid.count > 0 ? map_get(&by_uuid, slice_from_string(uuid)) : NULL;
    if (r != NULL)
        forget(r);
    pthread_mutex_unlock(&mutex);
}

static void make_key(void)
{
    secret_random(key, sizeof(key));
}

void remembered_hash(const char *dn, struct slice password, unsigned char out[KEYED_HASH_SIZE])
{
    struct buf text = { .cap = 0 };
    struct slice name = slice_from_string(dn);
    pthread_once(&key_once, make_key);
    buf_reserve(&text, name.len + 1 + password.len);
    buf_append(&text, name);
    buf_append_byte(&text, '\0');
    buf_append(&text, password);
    keyed_hash(key, buf_slice(&text), out);
    buf_wipe(&text);
}

uint64_t config_remember_begin(void)
{
    pthread_mutex_lock(&mutex);
    uint64_t now = notices;
    pthread_mutex_unlock(&mutex);
    return now;
}

/* Whether the directory has told of a change since: the password may be the one of before. Under the lock. */
static bool is_noted(const char *uuid, uint64_t since)
{
    bool noted = notices - since > NOTICES;
    for (; !noted && since < notices; since++)
        noted = strcmp(recent[since % NOTICES], uuid) == 0;
    return noted;
}

void config_remember(struct slice name, struct user *user, struct slice password, uint64_t begun)
{
    char lower[USER_NAME_MAX];
    struct slice folded;
    uint64_t now = clock_monotonic_ms(), seconds = user->snapshot->agent.remember_seconds;
    if (seconds == 0 || user->uuid[0] == '\0' || !user_name_fold(name, lower, &folded))
        return;
    pthread_mutex_lock(&mutex);
    struct remembered *r = map_get(&by_name, folded);
    if (r != NULL)
        forget(r);
    if ((r = map_get(&by_uuid, slice_from_string(user->uuid))) != NULL)
        forget(r);
    /* Each holds its snapshot: those that are of no use any more go, even if nobody asks for them. */
    if (now >= look_again_ms) {
        forget_many(now, false);
        look_again_ms = now + LOOK_EACH_MS;
    }
    if (by_name.count < REMEMBERED_MAX && !is_noted(user->uuid, begun)) {
        r = MEM_NEW(struct remembered);
        r->name = slice_to_string(folded);
        r->user = user_ref(user);
        r->until_ms = now + seconds * 1000;
        remembered_hash(user->dn, password, r->hash);
        map_put(&by_name, folded, r);
        map_put(&by_uuid, slice_from_string(user->uuid), r);
    }
    pthread_mutex_unlock(&mutex);
}

int config_recall(struct slice name, struct slice password, struct user **out)
{
    char lower[USER_NAME_MAX];
    unsigned char hash[KEYED_HASH_SIZE];
    struct slice folded;
    int result = 0;
    if (!user_name_fold(name, lower, &folded))
        return 0;
    pthread_mutex_lock(&mutex);
    struct remembered *r = map_get(&by_name, folded);
    if (r != NULL && !is_good(r, clock_monotonic_ms())) {
        forget(r);
        r = NULL;
    }
    if (r != NULL) {
        remembered_hash(r->user->dn, password, hash);
        result = secret_is_equal(hash, sizeof(hash), r->hash, sizeof(r->hash)) ? 1 : -1;
        *out = user_ref(r->user);
        secret_wipe(hash, sizeof(hash));
    }
    pthread_mutex_unlock(&mutex);
    return result;
}

void config_forget(struct slice name, struct slice password)
{
    struct user *user = NULL;
    char lower[USER_NAME_MAX];
    struct slice folded;
    int known = config_recall(name, password, &user);
    user_unref(&user);
    if (known != 1)
        return;
    pthread_mutex_lock(&mutex);
    struct remembered *r = user_name_fold(name, lower, &folded) ? map_get(&by_name, folded) : NULL;
    if (r != NULL)
        forget(r);
    pthread_mutex_unlock(&mutex);
}
