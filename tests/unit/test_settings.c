/* Unit tests of src/config: switches over an agent object's values, where each value came from, and what the status entry says. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/report.h"
#include "run.h"
#include "src/config/build.h"
#include "src/config/status.h"

#define AGENT "cn=agent,dc=x"

static const uint16_t ports[] = { 25, 110, 143, 465, 587, 993, 995 };

/* "name=value" separated by '|', each name once. */
static struct directory_entry *agent_of(const char *values)
{
    struct directory_entry *entry = directory_entry_new(slice_from_string(AGENT), "00000000-0000-0000-0000-000000000001");
    struct slice rest = slice_from_string(values), part, class = slice_from_string("posternInternetAgent");
    directory_entry_reserve(entry, 32);
    directory_entry_set(entry, 0, slice_from_string("objectClass"), &class, 1);
    size_t used = 1;
    while (slice_split(&rest, '|', &part)) {
        ptrdiff_t equals = slice_find(part, '=');
        if (equals < 0)
            continue;
        struct slice value = slice_from(part, (size_t)equals + 1);
        directory_entry_set(entry, used++, slice_part(part, 0, (size_t)equals), &value, 1);
    }
    entry->count = used;
    return entry;
}

struct made {
    struct overlay *overlay;
    struct objects objects;
    struct snapshot *snapshot;
};

/* A snapshot of an agent that had `first` and then `second` (or NULL), under the switches. */
static void make(struct made *m, const struct config_switch *switches, size_t count, const char *first, const char *second)
{
    m->overlay = overlay_new(switches, count);
    objects_init(&m->objects, &(struct parse_bounds){ .mail_root = "/srv/mail", .allowed_ports = ports, .allowed_port_count = 7, .overlay = m->overlay });
    objects_put(&m->objects, agent_of(first));
    if (second != NULL)
        objects_put(&m->objects, agent_of(second));
    m->snapshot = build_snapshot(&m->objects, &(struct build_options){ AGENT, AGENT, "dc=x", false, m->overlay });
}

static void unmake(struct made *m)
{
    snapshot_unref(&m->snapshot);
    objects_fini(&m->objects);
    overlay_free(&m->overlay);
}

static const struct config_switch pt[] = { { "posternPop3Threads", "33", "--pt 33" } };

static void test_overlay(void)
{
    static const struct config_switch addresses[] = {
        { "posternBindAddress", "127.0.0.1", "--ip 127.0.0.1" }, { "posternPop3Threads", "33", "--pt 33" }, { "posternBindAddress", "::1", "--ip ::1" },
    };
    CU_ASSERT_PTR_NULL(overlay_new(NULL, 0));
    CU_ASSERT_PTR_NULL(overlay_find(NULL, "posternPop3Threads"));
    struct overlay *o = overlay_new(addresses, 3);
    CU_ASSERT_EQUAL(o->entry->count, 2);
    CU_ASSERT_EQUAL(overlay_find(o, "posternbindaddress")->count, 2);
    CU_ASSERT_STRING_EQUAL(overlay_given(o, "posternBindAddress"), "--ip 127.0.0.1 --ip ::1");
    CU_ASSERT_STRING_EQUAL(overlay_given(o, "posternPop3Threads"), "--pt 33");
    CU_ASSERT_PTR_NULL(overlay_given(o, "posternImap4Threads"));
    overlay_free(&o);
    CU_ASSERT_PTR_NULL(o);
}

static void test_switch_wins(void)
{
    static const struct { const char *first; const char *second; uint64_t pop3; uint64_t imap4; unsigned faults; } rows[] = {
        { "", NULL, 33, 10, 0 },
        { "posternPop3Threads=5|posternImap4Threads=6", NULL, 33, 6, 0 },
        { "posternPop3Threads=0|posternImap4Threads=6", NULL, 33, 6, 1 },                        /* told, but the object is valid */
        { "posternImap4Threads=6", "posternPop3Threads=x|posternImap4Threads=7", 33, 7, 1 },
        { "posternImap4Threads=6", "posternPop3Threads=5|posternImap4Threads=0", 33, 6, 1 },     /* its last valid version */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct made m;
        make(&m, pt, 1, rows[i].first, rows[i].second);
        CU_ASSERT_EQUAL(m.snapshot->agent.pop3_threads, rows[i].pop3);
        CU_ASSERT_EQUAL(m.snapshot->agent.imap4_threads, rows[i].imap4);
        CU_ASSERT_EQUAL(m.snapshot->fault_count, rows[i].faults);
        unmake(&m);
    }
    struct made m;
    make(&m, pt, 1, "posternPop3Threads=0", NULL);
    CU_ASSERT_PTR_NOT_NULL(strstr(m.snapshot->faults[0].reason, "not in force: the command line has --pt 33"));
    unmake(&m);
}

/* A switch that does not go with what the directory says: the object's fault names it. */
static void test_conflict(void)
{
    static const struct config_switch port[] = { { "posternPop3Port", "2143", "--popport 2143" } };
    struct made m;
    make(&m, port, 1, "posternImap4Port=1143", "posternImap4Port=2143");
    CU_ASSERT_EQUAL(m.snapshot->agent.imap4_port, 1143);
    CU_ASSERT_EQUAL(m.snapshot->agent.pop3_port, 2143);
    CU_ASSERT_EQUAL_FATAL(m.snapshot->fault_count, 1);
    CU_ASSERT_STRING_EQUAL(m.snapshot->faults[0].attribute, "posternImap4Port");
    CU_ASSERT_STRING_EQUAL(m.snapshot->faults[0].reason, "the same port as posternPop3Port; the command line has --popport 2143");
    unmake(&m);
}

static const struct setting_report *find(const struct settings_report *report, const char *attribute)
{
    for (size_t i = 0; i < report->count; i++)
        if (strcmp(report->settings[i].attribute, attribute) == 0)
            return &report->settings[i];
    return NULL;
}

static void check(const struct setting_value *value, const char *text, enum setting_source source, const char *from)
{
    CU_ASSERT_EQUAL(value->source, source);
    CU_ASSERT_EQUAL(value->values.count, text != NULL ? 1 : 0);
    if (text != NULL && value->values.count == 1)
        CU_ASSERT_STRING_EQUAL(value->values.values[0], text);
    CU_ASSERT((from == NULL) == (value->from == NULL));
    if (from != NULL && value->from != NULL)
        CU_ASSERT_STRING_EQUAL(value->from, from);
}

static void test_report(void)
{
    struct made m;
    make(&m, pt, 1, "posternPop3Threads=5|posternImap4Threads=6|posternPop3Tls=required|posternHostName=a.example|posternSmtpEnabled=FALSE", NULL);
    struct settings_report *report = settings_report_new(m.snapshot);
    unmake(&m);   /* the report holds nothing of it */
    const struct setting_report *s = find(report, "posternPop3Threads");
    check(&s->now, "33", SETTING_SWITCH, "--pt 33");
    check(&s->without, "5", SETTING_DIRECTORY, AGENT);
    s = find(report, "posternImap4Threads");
    check(&s->now, "6", SETTING_DIRECTORY, AGENT);
    check(&s->without, "10", SETTING_DEFAULT, NULL);
    s = find(report, "posternSmtpSendThreads");
    check(&s->now, "8", SETTING_DEFAULT, NULL);
    check(&s->without, "8", SETTING_DEFAULT, NULL);
    check(&find(report, "posternPop3Tls")->now, "required", SETTING_DIRECTORY, AGENT);
    check(&find(report, "posternPop3Tls")->without, "enabled", SETTING_DEFAULT, NULL);
    check(&find(report, "posternHostName")->now, "a.example", SETTING_DIRECTORY, AGENT);
    check(&find(report, "posternHostName")->without, NULL, SETTING_DEFAULT, NULL);
    check(&find(report, "posternSmtpEnabled")->now, "FALSE", SETTING_DIRECTORY, AGENT);
    check(&find(report, "posternRelayHost")->now, NULL, SETTING_DEFAULT, NULL);
    settings_report_free(&report);
    settings_report_free(&report);

    make(&m, NULL, 0, "posternPop3Threads=5", "posternPop3Threads=0");
    report = settings_report_new(m.snapshot);
    check(&find(report, "posternPop3Threads")->now, "5", SETTING_LAST_VALID, AGENT);
    settings_report_free(&report);
    unmake(&m);

    make(&m, pt, 1, "posternImap4Threads=0", NULL);   /* never was valid: nothing is served, whatever the switches say */
    report = settings_report_new(m.snapshot);
    check(&find(report, "posternPop3Enabled")->now, "FALSE", SETTING_DEFAULT, NULL);
    settings_report_free(&report);
    unmake(&m);
}

static const struct directory_attribute *describe(struct directory_entry **entry, const struct snapshot *snapshot, const char *links,
                                                  struct map *since, int64_t now, const char *attribute)
{
    static const struct status_identity identity = { (char *)(uintptr_t)"cn=host,cn=agent,dc=x", (char *)(uintptr_t)"host", 86400 };
    directory_entry_free(entry);
    struct slice lines = slice_from_string(links);
    *entry = status_entry_new(&identity, snapshot, 86461, &lines, since, now);
    return directory_entry_find(*entry, attribute);
}

static bool is_value(const struct directory_attribute *attribute, size_t at, const char *text)
{
    return at < attribute->count && slice_is(attribute->values[at], text);
}

static void test_status_entry(void)
{
    static const struct { const char *reason; const char *value; } rows[] = {
        { "plain", "cn=a: posternPath: plain" },
        { "two  blanks \t folded ", "cn=a: posternPath: two blanks folded" },
        { "line\nbreak", "cn=a: posternPath: line?break" },
        { "J\xc3\xbcrgen", "cn=a: posternPath: J\xc3\xbcrgen" },
        { "cut \xc3", "cn=a: posternPath: cut ?" },
        { "bad \xff\xc0\x80", "cn=a: posternPath: bad ???" },
        { "surrogate \xed\xa0\x80", "cn=a: posternPath: surrogate ???" },
    };
    struct directory_entry *entry = NULL;
    struct map since = { 0 };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct config_fault fault = { (char *)(uintptr_t)"cn=a", (char *)(uintptr_t)"posternPath", (char *)(uintptr_t)rows[i].reason };
        struct snapshot snapshot = { .faults = &fault, .fault_count = 1 };
        CU_ASSERT(is_value(describe(&entry, &snapshot, "", &since, 0, "posternFault"), 0, rows[i].value));
    }
    struct snapshot none = { 0 };
    CU_ASSERT_EQUAL(describe(&entry, &none, "", &since, 0, "posternFault")->count, 0);
    CU_ASSERT(is_value(directory_entry_find(entry, "posternStartTime"), 0, "19700102000000Z"));
    CU_ASSERT(is_value(directory_entry_find(entry, "posternChangeTime"), 0, "19700102000101Z"));
    CU_ASSERT(is_value(directory_entry_find(entry, "cn"), 0, "host"));
    directory_entry_free(&entry);
    map_fini(&since);
}

static void test_status_bounds(void)
{
    static char text[5000][24], longest[3000];
    static struct config_fault faults[5000];
    struct directory_entry *entry = NULL;
    struct map since = { 0 };
    for (size_t i = 0; i < 5000; i++) {
        snprintf(text[i], sizeof(text[i]), "reason %zu", i / 2);   /* each one twice */
        faults[i] = (struct config_fault){ (char *)(uintptr_t)"cn=a", NULL, text[i] };
    }
    struct snapshot snapshot = { .faults = faults, .fault_count = 5000 };
    const struct directory_attribute *attribute = describe(&entry, &snapshot, "", &since, 0, "posternFault");
    CU_ASSERT_EQUAL(attribute->count, STATUS_VALUES_MAX + 1);
    CU_ASSERT(is_value(attribute, 0, "cn=a: reason 0"));
    CU_ASSERT(is_value(attribute, STATUS_VALUES_MAX, "... and 4601 more"));   /* the second of the last one listed, too */
    memset(longest, 'x', sizeof(longest) - 1);
    faults[0].reason = longest;
    snapshot.fault_count = 1;
    attribute = describe(&entry, &snapshot, "", &since, 0, "posternFault");
    CU_ASSERT_EQUAL(attribute->values[0].len, STATUS_VALUE_MAX);
    directory_entry_free(&entry);
    map_fini(&since);
}

/* Each line keeps the time at which it was seen first, until it is gone. */
static void test_status_links(void)
{
    struct directory_entry *entry = NULL;
    struct map since = { 0 };
    struct snapshot none = { 0 };
    const struct directory_attribute *a = describe(&entry, &none, "cn=s: direct /a\ncn=t: not reachable\n", &since, 60, "posternLinkState");
    CU_ASSERT_EQUAL(a->count, 2);
    CU_ASSERT(is_value(a, 0, "cn=s: direct /a, since 19700101000100Z"));
    a = describe(&entry, &none, "cn=s: direct /a\ncn=t: direct /t\n", &since, 120, "posternLinkState");
    CU_ASSERT(is_value(a, 0, "cn=s: direct /a, since 19700101000100Z"));
    CU_ASSERT(is_value(a, 1, "cn=t: direct /t, since 19700101000200Z"));
    CU_ASSERT_EQUAL(since.count, 2);
    a = describe(&entry, &none, "cn=t: not reachable", &since, 180, "posternLinkState");
    CU_ASSERT(is_value(a, 0, "cn=t: not reachable, since 19700101000300Z"));
    directory_entry_free(&entry);
    map_fini(&since);
}

static const struct unit_test tests[] = {
    { "overlay", test_overlay }, { "switch wins", test_switch_wins }, { "conflict", test_conflict }, { "report", test_report }, { "status entry", test_status_entry },
    { "status bounds", test_status_bounds }, { "status links", test_status_links },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("settings", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
