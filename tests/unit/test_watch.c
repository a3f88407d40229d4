/* Unit tests of the watch against directories of a few lines: what each says is decided by the test, so that notices, ends and answers that are
 * missing come as they seldom do from a real one. */
#include <lber.h>
#include <ldap.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/directory/watch.h"
#include "run.h"
#include "src/directory/sync.h"

enum { CONNECTIONS = 16, DEADLINE_MS = 15000 };
/* What follows the first full refresh: nothing; a new object and the end of the search; an object's new name. */
enum then { THEN_NOTHING, THEN_CHANGE_AND_END, THEN_RENAME };

struct server {
    char uri[64];
    int listener;
    enum then then;
    const char *_Atomic csn;         /* NULL: it has none */
    atomic_uint csns_asked;
    atomic_uint refreshes;           /* asked for */
    pthread_t thread;
    struct pollfd fds[CONNECTIONS + 1];
    Sockbuf *sockets[CONNECTIONS + 1];
    nfds_t count;
};

/* --- what a directory says -------------------------------------------------------------------------------------------------------- */

static void put_result(BerElement *out, int id, ber_tag_t tag, int code)
{
    ber_printf(out, "{it{ess}}", id, tag, code, "", "");
}

static void put_object(BerElement *out, int id, const char *dn, char number, enum sync_state state)
{
    char uuid[16] = { 0 };
    struct berval value = { 0, NULL };
    BerElement *ber = ber_alloc_t(LBER_USE_DER);
    uuid[15] = number;
    ber_printf(ber, "{eo}", (int)state, uuid, (ber_len_t)sizeof(uuid));
    ber_flatten2(ber, &value, 0);
    ber_printf(out, "{it{s{{s[s]}}}t{{sO}}}", id, LDAP_RES_SEARCH_ENTRY, dn, "objectClass", "posternInternetAgent", LDAP_TAG_CONTROLS, SYNC_STATE_OID, &value);
    ber_free(ber, 1);
}

static void put_refreshed(BerElement *out, int id)
{
    ber_printf(out, "{it{tsto}}", id, LDAP_RES_INTERMEDIATE, LDAP_TAG_IM_RES_OID, SYNC_INFO_OID, LDAP_TAG_IM_RES_VALUE, "\xa1\x00", (ber_len_t)2);
}

static void answer_refresh(struct server *s, BerElement *out, int id)
{
    bool first = atomic_fetch_add(&s->refreshes, 1) == 0;
    if (!first && s->then == THEN_CHANGE_AND_END)
        return;
    put_object(out, id, !first && s->then == THEN_RENAME ? "cn=b,dc=x" : "cn=a,dc=x", 1, SYNC_ADD);
    put_refreshed(out, id);
    if (first && s->then == THEN_CHANGE_AND_END) {
        put_object(out, id, "cn=later,dc=x", 2, SYNC_ADD);
        put_result(out, id, LDAP_RES_SEARCH_RESULT, LDAP_BUSY);
    } else if (first && s->then == THEN_RENAME) {
        put_object(out, id, "cn=b,dc=x", 1, SYNC_MODIFY);
    }
}

static void answer_search(struct server *s, BerElement *in, BerElement *out, int id)
{
    struct berval base = { 0, NULL };
    ber_int_t scope = 0;
    ber_scanf(in, "{me", &base, &scope);
    if (scope == LDAP_SCOPE_SUBTREE) {
        answer_refresh(s, out, id);
        return;
    }
    const char *csn = atomic_load(&s->csn);
    if (base.bv_len == 0)
        ber_printf(out, "{it{s{{s[s]}{s[s]}{s[s]}}}}", id, LDAP_RES_SEARCH_ENTRY, "", "objectClass", "OpenLDAProotDSE", "namingContexts", "dc=x",
                   "supportedControl", SYNC_REQUEST_OID);
    else if (csn != NULL)
        ber_printf(out, "{it{s{{s[s]}}}}", id, LDAP_RES_SEARCH_ENTRY, "dc=x", "contextCSN", csn);
    else
        ber_printf(out, "{it{s{}}}", id, LDAP_RES_SEARCH_ENTRY, "dc=x");
    put_result(out, id, LDAP_RES_SEARCH_RESULT, 0);
    if (base.bv_len > 0)
        atomic_fetch_add(&s->csns_asked, 1);
}

/* One request and its answer, in one piece. False: the connection is over. */
static bool answer(struct server *s, Sockbuf *socket)
{
    BerElement *in = ber_alloc_t(LBER_USE_DER), *out = ber_alloc_t(LBER_USE_DER);
    ber_len_t len = 0, said = 0;
    ber_int_t id = 0;
    ber_tag_t tag = 0;
    bool good = ber_get_next(socket, &len, in) == LDAP_TAG_MESSAGE && ber_scanf(in, "it", &id, &tag) != LBER_ERROR;
    if (good && tag == LDAP_REQ_SEARCH)
        answer_search(s, in, out, id);
    else if (good && tag == LDAP_REQ_BIND)
        put_result(out, id, LDAP_RES_BIND, 0);
    ber_get_option(out, LBER_OPT_BER_BYTES_TO_WRITE, &said);
    if (good && said > 0)
        good = ber_flush2(socket, out, LBER_FLUSH_FREE_NEVER) == 0;
    ber_free(in, 1);
    ber_free(out, 1);
    return good;
}

static void *serve(void *argument)
{
    struct server *s = argument;
    s->fds[0] = (struct pollfd){ .fd = s->listener, .events = POLLIN };
    s->count = 1;
    while (poll(s->fds, s->count, -1) > 0) {
        for (nfds_t i = s->count - 1; i > 0; i--) {
            if (s->fds[i].revents == 0 || answer(s, s->sockets[i]))
                continue;
            ber_sockbuf_free(s->sockets[i]);
            s->count--;
            s->fds[i] = s->fds[s->count];
            s->sockets[i] = s->sockets[s->count];
        }
        if (s->fds[0].revents == 0 || s->count > CONNECTIONS)
            continue;
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            break;
        s->fds[s->count] = (struct pollfd){ .fd = fd, .events = POLLIN };
        s->sockets[s->count] = ber_sockbuf_alloc();
        ber_sockbuf_add_io(s->sockets[s->count], &ber_sockbuf_io_tcp, LBER_SBIOD_LEVEL_PROVIDER, &fd);
        s->count++;
    }
    while (s->count > 1)
        ber_sockbuf_free(s->sockets[--s->count]);
    return NULL;
}

/* A port of its own, at which nobody answers yet. */
static void server_init(struct server *s)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    CU_ASSERT_FATAL(s->listener >= 0 && bind(s->listener, (struct sockaddr *)&address, len) == 0);
    CU_ASSERT_FATAL(getsockname(s->listener, (struct sockaddr *)&address, &len) == 0);
    snprintf(s->uri, sizeof(s->uri), "%s%u", "ldap://127.0.0.1:", ntohs(address.sin_port));
}

static void server_start(struct server *s)
{
    CU_ASSERT_FATAL(listen(s->listener, CONNECTIONS) == 0 && pthread_create(&s->thread, NULL, serve, s) == 0);
}

static void server_stop(struct server *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
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

static void on_refresh_end(void *context)
{
    (void)context;
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

/* Waits for the number to reach what it should. */
static bool reaches(atomic_uint *number, unsigned least)
{
    uint64_t end = clock_monotonic_ms() + DEADLINE_MS;
    while (atomic_load(number) < least && clock_monotonic_ms() < end)
        poll(NULL, 0, 1);
    return atomic_load(number) >= least;
}

/* --- tests ------------------------------------------------------------------------------------------------------------------------- */

/* A change that comes in one piece with the end of the search is in force all the same, however long the directory is away then. */
static void test_change_before_the_end(void)
{
    struct server s = { .then = THEN_CHANGE_AND_END };
    struct receiver r = { .renamed = false };
    server_init(&s);
    server_start(&s);
    char *uris[] = { s.uri };
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct directory_watch *watch = start(&options, &r);
    CU_ASSERT(reaches(&r.losses, 1));
    CU_ASSERT_EQUAL(r.lost_changes, 0);
    CU_ASSERT(r.commits >= 1);
    directory_watch_stop(&watch);
    server_stop(&s);
}

/* An object's new name comes without those of what lies under it: a gateway with the links and classes of service of nobody would be published. */
static void test_rename(void)
{
    struct server s = { .then = THEN_RENAME };
    struct receiver r = { .renamed = false };
    server_init(&s);
    server_start(&s);
    char *uris[] = { s.uri };
    struct directory_options options = { .uris = uris, .uri_count = 1 };
    struct directory_watch *watch = start(&options, &r);
    /* One for each reading, also for the first, at whose end the new name had come already: who renames all the time would stop all edits. */
    CU_ASSERT(reaches(&r.commits, 2));
    directory_watch_stop(&watch);
    CU_ASSERT_EQUAL(r.half_made, 0);
    CU_ASSERT_EQUAL(r.commits, s.refreshes);
    CU_ASSERT_STRING_EQUAL(r.name, "cn=b,dc=x");
    server_stop(&s);
}

/* A provider that is being filled anew has no contextCSN until it has everything: it is not returned to, however long that takes. */
static void test_return(void)
{
    static const char csn[] = "20260101000000.000000Z#000000#001#000000";
    struct server first = { .csn = NULL }, second = { .csn = csn };
    struct receiver r = { .renamed = false };
    server_init(&first);
    server_init(&second);
    server_start(&second);
    char *uris[] = { first.uri, second.uri };
    struct directory_options options = { .uris = uris, .uri_count = 2, .choice = directory_choice_new(2) };
    struct directory_watch *watch = start(&options, &r);
    CU_ASSERT(reaches(&r.commits, 1));
    server_start(&first);
    CU_ASSERT(reaches(&first.csns_asked, 5));
    CU_ASSERT_EQUAL(first.refreshes, 0);
    atomic_store(&first.csn, csn);
    CU_ASSERT(reaches(&first.refreshes, 1));
    directory_watch_stop(&watch);
    directory_choice_free(&options.choice);
    server_stop(&first);
    server_stop(&second);
}

static const struct unit_test tests[] = {
    { "a change before the end", test_change_before_the_end }, { "a new name", test_rename }, { "return to an earlier server", test_return },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("watch", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
