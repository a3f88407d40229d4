/* Passwords of users. A refusal is told only after the DN was asked for again, which is one search for each refused login; the refused bind is done a second time
 * only under another DN, since the directory's password policy counts. A bind on a loop cannot ask: it is handed over to a thread, and its
 * refusal waits here for it, without the password: a keyed hash is enough to know it again. Called by config.c. */
#include "verify.h"

#include <pthread.h>
#include <string.h>

#include "lookup.h"
#include "postern/base/clock.h"
#include "postern/base/list.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "remembered.h"

/* More refusals than these at a time are told without another question. */
#define REFUSED_MAX 256
/* Whoever handed it over has gone. */
#define REFUSED_MS 20000

struct asked {
    struct list link;
    const struct directory_bind *bind;   /* under way; NULL: refused */
    char *dn;
    unsigned char hash[KEYED_HASH_SIZE];   /* of the password */
    struct fault fault;
    uint64_t refused_ms;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list under_way = { &under_way, &under_way }, refused = { &refused, &refused };
static size_t refused_count;

static void free_asked(struct asked **asked)
{
    struct asked *a = *asked;
    if (a == NULL)
        return;
    secret_wipe(a->hash, sizeof(a->hash));
    mem_free(&a->dn);
    mem_free(asked);
}

static struct asked *remove_bind(const struct directory_bind *bind)
{
    struct asked *found = NULL;
    pthread_mutex_lock(&mutex);
    LIST_FOR_EACH (&under_way, at)
        if (LIST_ITEM(at, struct asked, link)->bind == bind)
            found = LIST_ITEM(at, struct asked, link);
    if (found != NULL)
        list_remove(&found->link);
    pthread_mutex_unlock(&mutex);
    return found;
}

/* Under the lock: those that nobody came back for. */
static void drop_old(uint64_t now)
{
    LIST_FOR_EACH (&refused, at) {
        struct asked *a = LIST_ITEM(at, struct asked, link);
        if (now - a->refused_ms <= REFUSED_MS)
            return;
        list_remove(&a->link);
        refused_count--;
        free_asked(&a);
    }
}

static void put_back(struct asked *a)
{
    pthread_mutex_lock(&mutex);
    drop_old(clock_monotonic_ms());
    list_append(&under_way, &a->link);
    pthread_mutex_unlock(&mutex);
}

/* Takes it. False: there is no room, the refusal stands. */
static bool hand_over(struct asked *a, const struct fault *fault)
{
    a->bind = NULL;
    a->fault = *fault;
    a->refused_ms = clock_monotonic_ms();
    pthread_mutex_lock(&mutex);
    drop_old(a->refused_ms);
    bool room = refused_count < REFUSED_MAX;
    if (room) {
        list_append(&refused, &a->link);
        refused_count++;
    }
    pthread_mutex_unlock(&mutex);
    if (!room)
        free_asked(&a);
    return room;
}

/* Whether just that was refused to this or another login of the moment, which then binds for itself. */
static bool was_refused(const struct user *user, struct slice password, struct fault *fault)
{
    struct asked *found = NULL;
    unsigned char hash[KEYED_HASH_SIZE];
    remembered_hash(user->dn, password, hash);
    pthread_mutex_lock(&mutex);
    drop_old(clock_monotonic_ms());
    LIST_FOR_EACH (&refused, at) {
        struct asked *a = LIST_ITEM(at, struct asked, link);
        if (found == NULL && strcmp(a->dn, user->dn) == 0 && secret_is_equal(a->hash, sizeof(a->hash), hash, sizeof(hash)))
            found = a;
    }
    if (found != NULL) {
        list_remove(&found->link);
        refused_count--;
    }
    pthread_mutex_unlock(&mutex);
    if (found != NULL)
        *fault = found->fault;
    bool was = found != NULL;
    free_asked(&found);
    return was;
}

static int ask(struct directory_pool *binds, struct directory_pool *look_ups, const struct user *user, const char *dn, struct slice password, struct fault *fault)
{
    return user->snapshot->agent.login_method == LOGIN_COMPARE ? directory_pool_compare(look_ups, dn, password, fault)
                                                               : directory_pool_bind(binds, dn, password, fault);
}

int verify_user(struct directory_pool *binds, struct directory_pool *look_ups, const struct user *user, struct slice password, struct fault *fault)
{
    struct fault own;
    fault = fault != NULL ? fault : &own;
    int rc = was_refused(user, password, fault) ? -1 : ask(binds, look_ups, user, user->dn, password, fault);
    if (rc == 0 || fault->class != FAULT_AUTHENTICATION || user->record == NULL || password.len == 0)
        return rc;
    char *dn = lookup_moved(look_ups, user);
    if (dn != NULL)
        rc = ask(binds, look_ups, user, dn, password, fault);
    mem_free(&dn);
    return rc;
}

struct directory_bind *verify_begin(struct directory_pool *binds, const struct user *user, struct slice password)
{
    bool binding = user->snapshot->agent.login_method == LOGIN_BIND;
    struct directory_bind *bind = binding ? directory_bind_begin(binds, user->dn, password) : NULL;
    if (bind == NULL || user->record == NULL)
        return bind;
    struct asked *a = MEM_NEW(struct asked);
    a->bind = bind;
    a->dn = mem_strdup(user->dn);
    remembered_hash(user->dn, password, a->hash);
    put_back(a);
    return bind;
}

int verify_take(struct directory_bind **bind, struct fault *fault)
{
    struct fault own;
    fault = fault != NULL ? fault : &own;
    /* Before the connection is free, and the same address another's. */
    struct asked *a = remove_bind(*bind);
    int rc = directory_bind_take(bind, fault);
    if (a == NULL)
        return rc;
    if (rc > 0) {
        put_back(a);
        return rc;
    }
    if (rc == 0 || fault->class != FAULT_AUTHENTICATION)
        free_asked(&a);
    else if (hand_over(a, fault))
        fault_set(fault, FAULT_UNREACHABLE, 0, "refused: the DN is to be asked for again");
    return rc;
}

void verify_drop(struct directory_bind **bind)
{
    struct asked *a = *bind != NULL ? remove_bind(*bind) : NULL;
    directory_bind_drop(bind);
    free_asked(&a);
}

void verify_clear(void)
{
    LIST_FOR_EACH (&refused, at) {
        struct asked *a = LIST_ITEM(at, struct asked, link);
        list_remove(&a->link);
        free_asked(&a);
    }
    refused_count = 0;
}
