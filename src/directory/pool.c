/* Pools of connections for look-ups and for user binds. One operation in flight on each connection: a second bind would make the first go
 * unanswered, and a handle belongs to one thread at a time. User binds have a pool of their own because a failed bind makes a
 * connection anonymous. Called by src/config from many threads, and for binds that do not wait from loops. */
#include "postern/directory/pool.h"

#include <pthread.h>
#include <time.h>

#include "choice.h"
#include "compare.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"

#define CALL_MS 5000
/* A connection not used for this long may have been cut by a firewall in silence: a new one is cheap. */
#define IDLE_MS 60000

struct directory_bind {
    struct directory_pool *pool;
    struct member *member;
    int id;
    uint64_t deadline;
};

struct member {
    struct connection connection;
    struct directory_bind bind;
    uint64_t used_ms;
    pthread_t used_by;
    bool busy;
};

struct directory_pool {
    const struct directory_options *options;
    enum directory_pool_use use;
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    _Atomic unsigned preferred;
    unsigned size;
    struct member *members;
};

struct directory_pool *directory_pool_new(const struct directory_options *options, enum directory_pool_use use, unsigned size)
{
    struct directory_pool *pool = MEM_NEW(struct directory_pool);
    directory_init();
    pool->options = options;
    pool->use = use;
    pool->size = size;
    pool->members = MEM_NEW_ARRAY(struct member, size);
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&pool->freed, &attributes);
    pthread_condattr_destroy(&attributes);
    return pool;
}

void directory_pool_free(struct directory_pool **pool)
{
    struct directory_pool *p = *pool;
    if (p == NULL)
        return;
    for (unsigned i = 0; i < p->size; i++)
        connection_close(&p->members[i].connection);
    pthread_cond_destroy(&p->freed);
    pthread_mutex_destroy(&p->mutex);
    mem_free(&p->members);
    mem_free(pool);
}

/* A loop that takes up again what it used last has its descriptor still in its own set of events, and no other loop is woken by it. */
static bool is_better(const struct member *m, const struct member *than, uint64_t now)
{
    if (m->connection.ld == NULL || than->connection.ld == NULL)
        return m->connection.ld != NULL;
    bool ours = now - m->used_ms < IDLE_MS && pthread_equal(m->used_by, pthread_self());
    bool theirs = now - than->used_ms < IDLE_MS && pthread_equal(than->used_by, pthread_self());
    return ours != theirs ? ours : m->used_ms > than->used_ms;
}

/* The free member with an open connection used last, by this thread if there is one, so that idle ones age; else any free one. Under the mutex. */
static struct member *pick(struct directory_pool *pool)
{
    struct member *best = NULL;
    uint64_t now = clock_monotonic_ms();
    for (unsigned i = 0; i < pool->size; i++) {
        struct member *m = &pool->members[i];
        if (m->busy)
            continue;
        if (best == NULL || is_better(m, best, now))
            best = m;
    }
    return best;
}

static struct member *take(struct directory_pool *pool, uint64_t deadline, struct fault *fault)
{
    struct timespec until = { (time_t)(deadline / 1000), (long)(deadline % 1000 * 1000000) };
    pthread_mutex_lock(&pool->mutex);
    struct member *m;
    int rc = 0;
    while ((m = pick(pool)) == NULL && rc == 0)
        rc = pthread_cond_timedwait(&pool->freed, &pool->mutex, &until);
    if (m != NULL)
        m->busy = true;
    pthread_mutex_unlock(&pool->mutex);
    if (m == NULL)
        fault_set(fault, FAULT_TIMEOUT, 0, "all %u connections to the directory are busy", pool->size);
    return m;
}

static void give_back(struct directory_pool *pool, struct member *m)
{
    m->used_ms = clock_monotonic_ms();
    m->used_by = pthread_self();
    pthread_mutex_lock(&pool->mutex);
    m->busy = false;
    pthread_cond_signal(&pool->freed);
    pthread_mutex_unlock(&pool->mutex);
}

struct request {
    const struct directory_search *search;   /* or a bind or a compare: */
    bool compare;
    const char *dn;
    struct slice password;
    struct directory_entry **entries;
    size_t *count;
};

static uint64_t left_ms(uint64_t deadline)
{
    uint64_t now = clock_monotonic_ms();
    return now < deadline ? deadline - now : 1;
}

static void collect(struct connection *c, LDAPMessage *messages, const struct request *request)
{
    *request->count = 0;
    for (LDAPMessage *m = ldap_first_entry(c->ld, messages); m != NULL; m = ldap_next_entry(c->ld, m)) {
        struct directory_entry *entry = connection_entry(c, m);
        if (entry != NULL && *request->count < request->search->limit)
            request->entries[(*request->count)++] = entry;
        else
            directory_entry_free(&entry);
    }
}

static int run_search(struct connection *c, const struct request *request, uint64_t deadline, struct fault *fault)
{
    const struct directory_search *s = request->search;
    struct timeval limit = { 5, 0 };
    int id;
    int rc = ldap_search_ext(c->ld, s->base, s->scope == DIRECTORY_SCOPE_BASE ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE, s->filter,
                             (char **)(uintptr_t)s->attributes, 0, NULL, NULL, &limit, (int)s->limit, &id);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "search", fault);
    LDAPMessage *messages;
    if (connection_wait(c, id, true, left_ms(deadline), &messages, fault) != 0)
        return -1;
    int code = LDAP_OTHER;
    char *text = NULL;
    rc = ldap_parse_result(c->ld, messages, &code, NULL, &text, NULL, NULL, 0);
    if (rc == LDAP_SUCCESS)
        rc = code;
    if (rc == LDAP_SUCCESS || rc == LDAP_SIZELIMIT_EXCEEDED)
        collect(c, messages, request);
    ldap_msgfree(messages);
    ldap_memfree(text);
    return rc == LDAP_SUCCESS ? 0 : connection_fault(c, rc, "search", fault);
}

static int attempt(struct directory_pool *pool, struct member *m, const struct request *request, uint64_t deadline, struct fault *fault)
{
    if (m->connection.ld == NULL &&
        connection_open_any(&m->connection, pool->options, &pool->preferred, pool->use == DIRECTORY_POOL_LOOK_UPS, left_ms(deadline), fault) != 0) {
        /* The gateway's own credentials being refused says nothing about the user. */
        if (fault->class != FAULT_TIMEOUT)
            fault->class = FAULT_UNREACHABLE;
        return -1;
    }
    if (request->search != NULL && request->search->server != NULL)
        *request->search->server = m->connection.at;
    if (request->search != NULL)
        return run_search(&m->connection, request, deadline, fault);
    if (request->compare)
        return connection_compare(&m->connection, request->dn, request->password, deadline, fault);
    return connection_bind(&m->connection, request->dn, request->password, true, left_ms(deadline), fault);
}

/* A connection that the directory has closed meanwhile is found out by using it: then once more, with a new one. */
static int run(struct directory_pool *pool, const struct request *request, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + CALL_MS;
    struct fault own;
    fault = fault != NULL ? fault : &own;
    struct member *m = take(pool, deadline, fault);
    if (m == NULL)
        return -1;
    if (clock_monotonic_ms() - m->used_ms > IDLE_MS || connection_is_left(&m->connection))
        connection_close(&m->connection);
    bool was_open = m->connection.ld != NULL;
    int rc = attempt(pool, m, request, deadline, fault);
    bool broken = rc != 0 && (fault->class == FAULT_UNREACHABLE || fault->class == FAULT_TIMEOUT);
    if (broken)
        connection_close(&m->connection);
    if (broken && was_open && fault->class == FAULT_UNREACHABLE && clock_monotonic_ms() < deadline) {
        rc = attempt(pool, m, request, deadline, fault);
        if (rc != 0 && (fault->class == FAULT_UNREACHABLE || fault->class == FAULT_TIMEOUT))
            connection_close(&m->connection);
    }
    give_back(pool, m);
    return rc;
}

int directory_pool_search(struct directory_pool *pool, const struct directory_search *search, struct directory_entry **entries_out,
                          size_t *count_out, struct fault *fault)
{
    *count_out = 0;
    return run(pool, &(struct request){ .search = search, .entries = entries_out, .count = count_out }, fault);
}

/* RFC 4513, section 5.1.2: a bind without a password succeeds for anybody, as nobody. A server that ends texts at NUL sees none where one begins with it. */
static bool is_askable(const char *dn, struct slice password)
{
    return dn != NULL && *dn != '\0' && password.len > 0 && !slice_has_nul(password);
}

int directory_pool_bind(struct directory_pool *pool, const char *dn, struct slice password, struct fault *fault)
{
    if (!is_askable(dn, password))
        return fault_set(fault, FAULT_AUTHENTICATION, 0, "empty password, or one with NUL");
    return run(pool, &(struct request){ .dn = dn, .password = password }, fault);
}

int directory_pool_compare(struct directory_pool *pool, const char *dn, struct slice password, struct fault *fault)
{
    if (!is_askable(dn, password))
        return fault_set(fault, FAULT_AUTHENTICATION, 0, "empty password, or one with NUL");
    return run(pool, &(struct request){ .compare = true, .dn = dn, .password = password }, fault);
}

/* Only where nothing has to be opened first. */
static struct member *take_open(struct directory_pool *pool)
{
    pthread_mutex_lock(&pool->mutex);
    struct member *m = pick(pool);
    if (m != NULL && (m->connection.ld == NULL || clock_monotonic_ms() - m->used_ms > IDLE_MS || connection_is_left(&m->connection)))
        m = NULL;
    if (m != NULL)
        m->busy = true;
    pthread_mutex_unlock(&pool->mutex);
    return m;
}

struct directory_bind *directory_bind_begin(struct directory_pool *pool, const char *dn, struct slice password)
{
    if (!is_askable(dn, password))
        return NULL;
    struct member *m = take_open(pool);
    if (m == NULL)
        return NULL;
    m->bind = (struct directory_bind){ pool, m, 0, clock_monotonic_ms() + CALL_MS };
    if (connection_bind_begin(&m->connection, dn, password, &m->bind.id, NULL) == 0)
        return &m->bind;
    connection_close(&m->connection);
    give_back(pool, m);
    return NULL;
}

int directory_bind_fd(const struct directory_bind *bind)
{
    return bind->member->connection.fd;
}

static int end_bind(struct directory_bind **bind, bool broken)
{
    struct member *m = (*bind)->member;
    if (broken)
        connection_close(&m->connection);
    give_back((*bind)->pool, m);
    *bind = NULL;
    return -1;
}

int directory_bind_take(struct directory_bind **bind, struct fault *fault)
{
    struct directory_bind *b = *bind;
    struct connection *c = &b->member->connection;
    struct timeval now = { 0, 0 };
    LDAPMessage *message = NULL;
    int type = ldap_result(c->ld, b->id, LDAP_MSG_ALL, &now, &message);
    /* It may give nothing once although the answer is there. */
    if (type == 0)
        type = ldap_result(c->ld, b->id, LDAP_MSG_ALL, &now, &message);
    if (type < 0) {
        fault_set(fault, FAULT_UNREACHABLE, 0, "the directory has ended the connection");
        return end_bind(bind, true);
    }
    if (type == 0 && c->choice != NULL && choice_failed_since(c->choice, c->at) != 0) {
        fault_set(fault, FAULT_UNREACHABLE, 0, "the directory server has failed");
        return end_bind(bind, true);
    }
    if (type == 0 && clock_monotonic_ms() >= b->deadline) {
        fault_set(fault, FAULT_TIMEOUT, 0, "the directory does not answer");
        return end_bind(bind, true);
    }
    if (type == 0)
        return 1;
    int rc = connection_bind_result(c, message, fault);
    ldap_msgfree(message);
    end_bind(bind, rc != 0 && (fault->class == FAULT_UNREACHABLE || fault->class == FAULT_TIMEOUT));
    return rc;
}

void directory_bind_drop(struct directory_bind **bind)
{
    if (*bind != NULL)
        end_bind(bind, true);
}
