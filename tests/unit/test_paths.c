/* Unit tests of src/service/paths.c: which paths are looked at and when, and what is told of them. The store and the configuration are faked. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../src/service/paths.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/found.h"
#include "postern/store/account.h"
#include "run.h"

enum { DEADLINE_MS = 10000, PLACES = 3, STALL_SECONDS = 1 };

#define EVENTUALLY(condition) \
    do { \
        uint64_t until_ = clock_monotonic_ms() + DEADLINE_MS; \
        while (!(condition) && clock_monotonic_ms() < until_) \
            usleep(1000); \
        CU_ASSERT(condition); \
    } while (0)

/* --- fakes ------------------------------------------------------------------------------------------------------------------ */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct snapshot *newest;
static char told[2048];                 /* every fault, in lines */
static _Atomic unsigned tellings;

enum path_state { PATH_WELL, PATH_BROKEN, PATH_HANGS };
static _Atomic int states[PLACES];
static _Atomic unsigned looks[PLACES];

struct snapshot *snapshot_current(void)
{
    pthread_mutex_lock(&lock);
    struct snapshot *s = newest;
    if (s != NULL)
        atomic_fetch_add(&s->references, 1);
    pthread_mutex_unlock(&lock);
    return s;
}

void snapshot_unref(struct snapshot **snapshot)
{
    struct snapshot *s = *snapshot;
    *snapshot = NULL;
    if (s == NULL || atomic_fetch_sub(&s->references, 1) > 1)
        return;
    mem_free(&s->post_offices);
    mem_free(&s);
}

void config_set_found(enum found_by by, const struct config_fault *faults, size_t count)
{
    CU_ASSERT_EQUAL(by, FOUND_BY_PATHS);
    size_t len = 0;
    pthread_mutex_lock(&lock);
    told[0] = '\0';
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(told + len, sizeof(told) - len, "%s %s: %s\n", faults[i].dn, faults[i].attribute, faults[i].reason);
    pthread_mutex_unlock(&lock);
    atomic_fetch_add(&tellings, 1);
}

int postoffice_check(const char *path, struct slice uuid, bool own, struct fault *fault)
{
    size_t n = (size_t)(path[strlen(path) - 1] - '0');
    CU_ASSERT_FATAL(n < PLACES);
    CU_ASSERT(own && slice_ends_with(uuid, path + strlen(path) - 1));
    atomic_fetch_add(&looks[n], 1);
    while (atomic_load(&states[n]) == PATH_HANGS)
        usleep(1000);
    return atomic_load(&states[n]) == PATH_WELL ? 0 : fault_set(fault, FAULT_UNREACHABLE, 0, "%s is no marked post office", path);
}

static bool is_told(const char *text)
{
    pthread_mutex_lock(&lock);
    bool same = strcmp(told, text) == 0;
    pthread_mutex_unlock(&lock);
    return same;
}

static struct post_office offices[PLACES] = {
    { .dn = (char *)"cn=zero", .name = (char *)"zero", .uuid = "u0", .path = (char *)"/mail/0", .path_from = (char *)"cn=zero" },
    { .dn = (char *)"cn=one", .name = (char *)"one", .uuid = "u1", .path = (char *)"/mail/1", .path_from = (char *)"cn=link" },
    { .dn = (char *)"cn=two", .name = (char *)"two", .uuid = "u2", .path = (char *)"/mail/2", .path_from = (char *)"cn=two" },
};

static void publish(size_t count)
{
    static uint64_t serial;
    struct snapshot *s = MEM_NEW(struct snapshot);
    s->references = 1;
    s->serial = s->post_offices_serial = ++serial;
    s->agent.stall_seconds = STALL_SECONDS;
    s->post_offices = MEM_NEW_ARRAY(const struct post_office *, count + 1);
    for (; s->post_office_count < count; s->post_office_count++)
        s->post_offices[s->post_office_count] = &offices[s->post_office_count];
    pthread_mutex_lock(&lock);
    struct snapshot *old = newest;
    newest = s;
    pthread_mutex_unlock(&lock);
    snapshot_unref(&old);
}

static struct paths *start(size_t count)
{
    told[0] = '\0';
    atomic_store(&tellings, 0);
    for (size_t i = 0; i < PLACES; i++) {
        atomic_store(&states[i], PATH_WELL);
        atomic_store(&looks[i], 0);
    }
    publish(count);
    return paths_new();
}

static void stop(struct paths **paths)
{
    paths_free(paths);
    CU_ASSERT_PTR_NULL(*paths);
    snapshot_unref(&newest);
}

/* --- tests ------------------------------------------------------------------------------------------------------------------ */

static void test_comes_and_goes(void)
{
    struct paths *paths = start(2);
    EVENTUALLY(atomic_load(&looks[0]) == 1 && atomic_load(&looks[1]) == 1);
    CU_ASSERT_EQUAL(atomic_load(&tellings), 0);
    atomic_store(&states[2], PATH_BROKEN);
    publish(3);
    paths_changed(paths);
    EVENTUALLY(is_told("cn=two posternPath: /mail/2 is no marked post office\n"));
    uint64_t cured = clock_monotonic_ms();
    atomic_store(&states[2], PATH_WELL);
    EVENTUALLY(is_told(""));
    CU_ASSERT(clock_monotonic_ms() - cured < 5000);
    CU_ASSERT_EQUAL(atomic_load(&tellings), 2);
    /* Those that are well are left alone for seconds. */
    CU_ASSERT_EQUAL(atomic_load(&looks[0]), 1);
    stop(&paths);
}

/* The fault is that of the object that says the path, and goes with it. */
static void test_other_paths(void)
{
    struct paths *paths = start(0);
    atomic_store(&states[1], PATH_BROKEN);
    publish(2);
    paths_changed(paths);
    EVENTUALLY(is_told("cn=link posternPath: /mail/1 is no marked post office\n"));
    offices[1].path_from = (char *)"cn=one";
    publish(2);
    paths_changed(paths);
    EVENTUALLY(is_told("cn=one posternPath: /mail/1 is no marked post office\n"));
    offices[1].path = NULL;
    publish(2);
    paths_changed(paths);
    EVENTUALLY(is_told(""));
    offices[1].path = (char *)"/mail/1";
    offices[1].path_from = (char *)"cn=link";
    stop(&paths);
}

/* One that hangs is told when it has hung for too long, and holds up no other. */
static void test_hangs(void)
{
    struct paths *paths = start(1);
    EVENTUALLY(atomic_load(&looks[0]) == 1);
    atomic_store(&states[1], PATH_HANGS);
    atomic_store(&states[2], PATH_BROKEN);
    publish(3);
    paths_changed(paths);
    EVENTUALLY(is_told("cn=two posternPath: /mail/2 is no marked post office\n"));
    EVENTUALLY(is_told("cn=link posternPath: /mail/1 does not answer\ncn=two posternPath: /mail/2 is no marked post office\n"));
    /* Its post office goes while a thread still hangs in it. */
    publish(1);
    paths_changed(paths);
    EVENTUALLY(is_told(""));
    publish(2);
    paths_changed(paths);
    EVENTUALLY(is_told("cn=link posternPath: /mail/1 does not answer\n"));
    atomic_store(&states[1], PATH_WELL);
    EVENTUALLY(is_told(""));
    CU_ASSERT_EQUAL(atomic_load(&looks[1]), 2);
    stop(&paths);
}

static const struct unit_test tests[] = {
    { "comes and goes", test_comes_and_goes },
    { "other paths", test_other_paths },
    { "hangs", test_hangs },
};

UNIT_MAIN("paths", tests)
