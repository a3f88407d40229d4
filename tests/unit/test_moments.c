/* Unit tests of when a snapshot may be published: each is what the directory held at one moment, whoever asks for it. The directory is a fake one that stops
 * in the middle of a reading. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fake_directory.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/config/config.h"
#include "postern/config/found.h"
#include "postern/directory/directory.h"
#include "postern/directory/watch.h"
#include "run.h"

#define AGENT "cn=agent,dc=x"

static _Atomic uint64_t said_ms;

static void put_agent(BerElement *out, int id, const char *dn, const char *threads)
{
    fake_put_object(out, id, dn, 1, SYNC_ADD, "posternInternetAgent", "posternPop3Threads", threads);
}

/* What was heard before was heard in an earlier millisecond. */
static void note_time(void)
{
    poll(NULL, 0, 3);
    atomic_store(&said_ms, clock_monotonic_ms());
}

/* Of the second reading only the beginning: the agent has changed already. */
static void stop_half_way(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    (void)d;
    put_agent(out, id, AGENT, number == 0 ? "7" : "9");
    if (number == 0)
        fake_put_refreshed(out, id);
    note_time();
}

/* The agent gets another name, and the reading that this asks for has no answer. */
static void rename_agent(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    (void)d;
    if (number > 0)
        return;
    put_agent(out, id, AGENT, "7");
    fake_put_refreshed(out, id);
    put_agent(out, id, "cn=renamed,dc=x", "7");
}

static bool has_fault(const struct snapshot *s, const char *reason)
{
    for (size_t i = 0; s != NULL && i < s->fault_count; i++)
        if (strcmp(s->faults[i].reason, reason) == 0)
            return true;
    return false;
}

static void find(const char *reason)
{
    char dn[] = AGENT;
    config_set_found(FOUND_BY_PATHS, &(struct config_fault){ .dn = dn, .reason = (char *)(uintptr_t)reason }, 1);
}

/* Whether the current one has so many threads, and the fault; waits for it. */
static bool comes_to(unsigned threads, const char *reason)
{
    bool good = false;
    for (uint64_t end = clock_monotonic_ms() + 15000; !good && clock_monotonic_ms() < end; poll(NULL, 0, 1)) {
        struct snapshot *s = snapshot_current();
        good = s != NULL && s->agent.pop3_threads == threads && (reason == NULL || has_fault(s, reason));
        snapshot_unref(&s);
    }
    return good;
}

static bool is_heard(void)
{
    struct directory_watch_state state = { .heard_ms = 0 };
    for (uint64_t end = clock_monotonic_ms() + 15000; state.heard_ms < atomic_load(&said_ms) && clock_monotonic_ms() < end; poll(NULL, 0, 1))
        config_directory_state(&state);
    return state.heard_ms >= atomic_load(&said_ms);
}

struct site {
    struct fake_directory fake;
    char *earlier;             /* another URI before it, or NULL */
    char *uris[2];
    struct directory_options directory;
    char state_dir[64];
};

static void begin(struct site *site)
{
    struct fault fault;
    snprintf(site->state_dir, sizeof(site->state_dir), "/tmp/postern-moments-XXXXXX");
    CU_ASSERT_FATAL(mkdtemp(site->state_dir) != NULL);
    fake_directory_init(&site->fake);
    fake_directory_start(&site->fake);
    size_t count = 0;
    if (site->earlier != NULL)
        site->uris[count++] = site->earlier;
    site->uris[count++] = site->fake.uri;
    site->directory = (struct directory_options){ .uris = site->uris, .uri_count = count };
    struct config_options options = { .directory = &site->directory, .agent_dn = AGENT, .state_dir = site->state_dir,
                                      .allowed_ports = { 25, 110, 143, 465, 587, 993, 995 }, .allowed_port_count = 7 };
    CU_ASSERT_FATAL(config_start(&options, NULL, NULL, &fault) == 0);
}

static void end(struct site *site)
{
    char path[100];
    config_stop();
    fake_directory_stop(&site->fake);
    snprintf(path, sizeof(path), "rm -rf '%s'", site->state_dir);
    CU_ASSERT(system(path) == 0);
}

static void say_refreshed(struct site *site)
{
    BerElement *out = ber_alloc_t(LBER_USE_DER);
    fake_put_refreshed(out, site->fake.read_id);
    fake_directory_say(&site->fake, out);
}

static void test_within_a_reading(void)
{
    struct site site = { .fake = { .read = stop_half_way, .write_result = LDAP_INSUFFICIENT_ACCESS } };
    begin(&site);
    CU_ASSERT(comes_to(7, NULL));
    find("before");
    CU_ASSERT(comes_to(7, "before"));
    config_refresh();
    CU_ASSERT(fake_reaches(&site.fake.reads, 2) && is_heard());
    find("within");
    struct snapshot *s = snapshot_current();
    CU_ASSERT(s->agent.pop3_threads == 7 && has_fault(s, "before"));
    snapshot_unref(&s);
    say_refreshed(&site);
    CU_ASSERT(comes_to(9, "within"));
    end(&site);
}

/* What lies under the agent has no new name yet. */
static void test_after_a_rename(void)
{
    struct site site = { .fake = { .read = rename_agent, .write_result = LDAP_INSUFFICIENT_ACCESS } };
    begin(&site);
    CU_ASSERT(comes_to(7, NULL));
    CU_ASSERT(fake_reaches(&site.fake.reads, 2));
    find("within");
    struct snapshot *s = snapshot_current();
    CU_ASSERT(s->agent.pop3_threads == 7 && s->agent.pop3_enabled && s->fault_count == 0);
    snapshot_unref(&s);
    say_refreshed(&site);
    CU_ASSERT(comes_to(10, "within"));   /* as without an agent: the reading has told of none */
    end(&site);
}

static void tell_agent(struct fake_directory *d, BerElement *out, int id, unsigned number)
{
    (void)d, (void)number;
    put_agent(out, id, AGENT, "7");
    fake_put_refreshed(out, id);
}

/* A replica that refuses the status entry was used for a while: what it refused is written as soon as the first server is used again. */
static void test_status_after_a_return(void)
{
    static const char csn[] = "20260101000000.000000Z#000000#001#000000";
    struct site site = { .fake = { .read = tell_agent, .csn = csn, .write_result = LDAP_REFERRAL } };
    struct fake_directory first = { .read = tell_agent, .csn = csn };
    fake_directory_init(&first);
    site.earlier = first.uri;
    begin(&site);
    CU_ASSERT(fake_reaches(&site.fake.writes, 1));
    fake_directory_start(&first);
    CU_ASSERT(fake_reaches(&first.writes, 1));
    end(&site);
    fake_directory_stop(&first);
}

static const struct unit_test tests[] = {
    { "found within a reading", test_within_a_reading }, { "found after a rename", test_after_a_rename },
    { "the status after a return", test_status_after_a_return },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("moments", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
