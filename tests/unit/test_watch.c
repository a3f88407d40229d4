/* Unit tests of the watch, and of who gets which connection of a pool, against fake directories. */
#include <stdio.h>
#include <string.h>

#include "fake_directory.h"
#include "postern/base/log.h"
#include "postern/directory/pool.h"
#include "postern/directory/watch.h"
#include "run.h"
#include "src/directory/choice.h"

/* --- what the directories say ------------------------------------------------------------------------------------------------------- */

static void put_object(BerElement *out, int id, const char *dn, char number, enum sync_state state)
{
    fake_put_object(out, id, dn, number, state, "posternInternetAgent", "cn", "a");
}

static void tell_object(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    (void)d, (void)number;
    put_object(out, id, "cn=a,dc=x", 1, SYNC_ADD);
    fake_put_refreshed(out, id);
}

/* After the first reading a new object and the end of the search, and no other reading. */
static void change_and_end(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    if (number > 0)
        return;
    tell_object(d, out, id, number);
    put_object(out, id, "cn=later,dc=x", 2, SYNC_ADD);
    fake_put_result(out, id, LDAP_RES_SEARCH_RESULT, LDAP_BUSY);
}

/* After the first reading an object's new name. */
static void rename_object(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    if (number == 0)
        tell_object(d, out, id, number);
    put_object(out, id, "cn=b,dc=x", 1, number == 0 ? SYNC_MODIFY : SYNC_ADD);
    if (number > 0)
        fake_put_refreshed(out, id);
}

/* Content synchronisation is refused with that code; without it everything is told. */
static _Atomic int refusal;

static void refuse(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    (void)d;
    if (number > 0)
        fake_put_object(out, id, "cn=a,dc=x", 1, SYNC_ADD, "posternInternetAgent", "entryUUID", "00000000-0000-0000-0000-000000000001");
    fake_put_result(out, id, LDAP_RES_SEARCH_RESULT, number == 0 ? atomic_load(&refusal) : 0);
}

/* The same, but the UUID may not be read. */
static void hide_uuids(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    (void)d;
    if (number > 0)
        fake_put_object(out, id, "cn=a,dc=x", 1, SYNC_ADD, "posternInternetAgent", "cn", "a");
    fake_put_result(out, id, LDAP_RES_SEARCH_RESULT, number == 0 ? LDAP_UNAVAILABLE_CRITICAL_EXTENSION : 0);
}

/* --- who is told ------------------------------------------------------------------------------------------------------------------- */

struct receiver {
    char name[64];               /* of object 1 */
    bool renamed;                /* and nothing was read anew since */
    bool unpublished;
    atomic_uint commits;
    atomic_uint half_made;       /* commits with a new name but without what lies under it */
    atomic_uint losses;
    atomic_uint lost_changes;    /* losses of the directory with something known that was not published */
};

static void on_refresh_begin(void *context, const char *base, enum directory_vendor vendor)
{
    struct receiver *r = context;
    (void)base, (void)vendor;
    r->renamed = r->unpublished = false;   /* what comes now stands for all of it */
}

static bool on_entry(void *context, struct directory_entry *entry)
{
    struct receiver *r = context;
    bool renamed = false;
    r->unpublished = true;
    if (entry->uuid[DIRECTORY_UUID_SIZE - 2] == '1') {
        renamed = r->name[0] != '\0' && strcmp(r->name, entry->dn) != 0;
        snprintf(r->name, sizeof(r->name), "%s", entry->dn);
    }
    r->renamed = r->renamed || renamed;
    directory_entry_free(&entry);
    return renamed;
}

static void on_gone(void *context, const char *uuid)
{
    (void)context, (void)uuid;
}

static void on_refresh_end(void *context, unsigned server)
{
    (void)context, (void)server;
}

static void on_commit(void *context)
{
    struct receiver *r = context;
    r->unpublished = false;
    atomic_fetch_add(&r->half_made, r->renamed);
    atomic_fetch_add(&r->commits, 1);
}

static void on_lost(void *context, const struct fault *fault)
{
    struct receiver *r = context;
    (void)fault;
    atomic_fetch_add(&r->lost_changes, r->unpublished);
    atomic_fetch_add(&r->losses, 1);
}

static struct directory_watch *start(const struct directory_options *directory, struct receiver *r)
{
    static const char *const attributes[] = { "objectClass", NULL };
    static const struct directory_watch_events events = { .refresh_begin = on_refresh_begin, .entry = on_entry, .gone = on_gone,
                                                          .refresh_end = on_refresh_end, .commit = on_commit, .lost = on_lost };
    return directory_watch_start(&(struct directory_watch_options){ directory, "cn=a,dc=x", "(objectClass=*)", attributes }, &events, r);
}

/* --- tests ------------------------------------------------------------------------------------------------------------------------- */

/* A change that comes in one piece with the end of the search is in force all the same, however long the directory is away then. */
static void test_change_before_the_end(void)
{
    struct fake_directory s = { .read = change_and_end };
    struct receiver r = { .renamed = false };
    fake_directory_init(&s);
    fake_directory_start(&s);
    char *uris[] = { s.uri };
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct directory_watch *watch = start(&options, &r);
    CU_ASSERT(fake_reaches(&r.losses, 1));
    CU_ASSERT_EQUAL(r.lost_changes, 0);
    CU_ASSERT(r.commits >= 1);
    directory_watch_stop(&watch);
    fake_directory_stop(&s);
}

/* An object's new name comes without those of what lies under it: a gateway with the links and classes of service of nobody would be published. */
static void test_rename(void)
{
    struct fake_directory s = { .read = rename_object };
    struct receiver r = { .renamed = false };
    fake_directory_init(&s);
    fake_directory_start(&s);
    char *uris[] = { s.uri };
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct directory_watch *watch = start(&options, &r);
    /* One for each reading, also for the first, at whose end the new name had come already: who renames all the time would stop all edits. */
    CU_ASSERT(fake_reaches(&r.commits, 2));
    directory_watch_stop(&watch);
    fake_directory_stop(&s);
    CU_ASSERT_EQUAL(r.half_made, 0);
    CU_ASSERT_EQUAL(r.commits, s.reads);
    CU_ASSERT_STRING_EQUAL(r.name, "cn=b,dc=x");
}

/* Who refuses content synchronisation is asked without it. 389-DS has ten of them to give, and 53 for the eleventh. */
static void test_refusal(void)
{
    static const int codes[] = { LDAP_UNAVAILABLE_CRITICAL_EXTENSION, LDAP_INSUFFICIENT_ACCESS, LDAP_UNWILLING_TO_PERFORM };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        struct fake_directory s = { .read = refuse };
        struct receiver r = { .renamed = false };
        struct directory_watch_state state;
        atomic_store(&refusal, codes[i]);
        fake_directory_init(&s);
        fake_directory_start(&s);
        char *uris[] = { s.uri };
        struct directory_options options = { .uris = uris, .uri_count = 1 };
        struct directory_watch *watch = start(&options, &r);
        CU_ASSERT(fake_reaches(&r.commits, 1));
        directory_watch_state(watch, &state);
        CU_ASSERT_EQUAL(state.mode, WATCH_POLL);
        directory_watch_stop(&watch);
        CU_ASSERT_EQUAL(r.losses, 0);
        fake_directory_stop(&s);
    }
}

/* Objects whose UUIDs may not be read are not gone. */
static void test_hidden_uuids(void)
{
    struct fake_directory s = { .read = hide_uuids };
    struct receiver r = { .renamed = false };
    fake_directory_init(&s);
    fake_directory_start(&s);
    char *uris[] = { s.uri };
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct directory_watch *watch = start(&options, &r);
    CU_ASSERT(fake_reaches(&r.losses, 1));
    directory_watch_stop(&watch);
    CU_ASSERT_EQUAL(r.commits, 0);
    fake_directory_stop(&s);
}

/* A provider that is being filled anew has no contextCSN until it has everything: it is not returned to, however long that takes. Where the other one was
 * lost meanwhile, on a machine that stood still for a second, nothing is said of that. */
static void test_return(void)
{
    static const char csn[] = "20260101000000.000000Z#000000#001#000000";
    struct fake_directory first = { .read = tell_object, .csn = NULL }, second = { .read = tell_object, .csn = csn };
    struct receiver r = { .renamed = false };
    fake_directory_init(&first);
    fake_directory_init(&second);
    fake_directory_start(&second);
    char *uris[] = { first.uri, second.uri };
    struct directory_options options = { .uris = uris, .uri_count = 2, .choice = directory_choice_new(2) };
    struct directory_watch *watch = start(&options, &r);
    CU_ASSERT(fake_reaches(&r.commits, 1));
    fake_directory_start(&first);
    CU_ASSERT(fake_reaches(&first.csns_asked, 5));
    CU_ASSERT(first.reads == 0 || r.losses > 0);
    CU_ASSERT(choice_is_behind(options.choice, 0) || r.losses > 0);
    /* Nor because the one in use has not answered in time. */
    atomic_store(&second.csn, NULL);
    CU_ASSERT(fake_reaches(&first.csns_asked, first.csns_asked + 2));
    CU_ASSERT(first.reads == 0 || r.losses > 0);
    atomic_store(&second.csn, csn);
    atomic_store(&first.csn, csn);
    CU_ASSERT(fake_reaches(&first.reads, 1));
    directory_watch_stop(&watch);
    directory_choice_free(&options.choice);
    fake_directory_stop(&first);
    fake_directory_stop(&second);
}

/* --- connections of a pool --------------------------------------------------------------------------------------------------------------- */

struct turn {
    struct directory_pool *pool;
    int fd;                          /* of the connection that it was given */
};

static void end_turn(struct directory_bind *bind)
{
    struct fault fault;
    CU_ASSERT_PTR_NOT_NULL_FATAL(bind);
    while (directory_bind_take(&bind, &fault) > 0)
        poll(NULL, 0, 1);
}

static void *take_turn(void *argument)
{
    struct turn *turn = argument;
    struct directory_bind *bind = directory_bind_begin(turn->pool, "cn=a", SLICE_LITERAL("b"));
    turn->fd = bind != NULL ? directory_bind_fd(bind) : -1;
    end_turn(bind);
    return NULL;
}

/* Of two open connections a thread gets the one that it used itself, though the other one was used since. */
static void test_own_connection(void)
{
    struct fake_directory d = { .read = tell_object };
    char *uris[] = { d.uri };
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct turn mine = { .pool = directory_pool_new(&options, DIRECTORY_POOL_BINDS, 2) }, theirs = mine;
    struct fault fault;
    pthread_t other;
    fake_directory_init(&d);
    fake_directory_start(&d);
    directory_pool_bind(mine.pool, "cn=a", SLICE_LITERAL("b"), &fault);
    struct directory_bind *first = directory_bind_begin(mine.pool, "cn=a", SLICE_LITERAL("b"));
    directory_pool_bind(mine.pool, "cn=a", SLICE_LITERAL("b"), &fault);
    end_turn(first);
    CU_ASSERT_FATAL(pthread_create(&other, NULL, take_turn, &theirs) == 0);
    pthread_join(other, NULL);
    poll(NULL, 0, 2);
    take_turn(&mine);
    CU_ASSERT(theirs.fd >= 0 && mine.fd >= 0 && mine.fd != theirs.fd);
    directory_pool_free(&mine.pool);
    fake_directory_stop(&d);
}

static const struct unit_test tests[] = {
    { "a change before the end", test_change_before_the_end }, { "a new name", test_rename },
    { "refusal", test_refusal }, { "hidden UUIDs", test_hidden_uuids }, { "return to an earlier server", test_return },
    { "own connection", test_own_connection },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("watch", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
