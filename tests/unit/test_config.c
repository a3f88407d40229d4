/* Unit tests of src/config without a directory: what validates, what a snapshot is made of, rights, hostile users, the state on disk. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "run.h"
#include "src/config/build.h"
#include "src/config/cache.h"
#include "src/config/lookup.h"
#include "src/config/path.h"

#define AGENT "cn=agent,dc=x"
#define OFFICE "cn=office,dc=x"

static const uint16_t ports[] = { 25, 110, 143, 465, 587, 993, 995 };
static const char *const token_urls[] = { "https://id.example.org", "http://127.0.0.1/realm/b/" };
static const struct parse_bounds bounds = { .mail_root = "/srv/mail", .allowed_ports = ports, .allowed_port_count = 7, .token_urls = token_urls, .token_url_count = 2 };

/* An entry from lines "name: value" separated by LF; values of one name stand together. */
static struct directory_entry *entry_of(const char *dn, unsigned number, const char *lines)
{
    char uuid[64];
    snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", number);
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), uuid);
    struct slice names[32], values[32][8], rest = slice_from_string(lines), line;
    size_t counts[32] = { 0 }, used = 0;
    while (slice_split(&rest, '\n', &line)) {
        ptrdiff_t colon = slice_find(line, ':');
        if (colon < 0)
            continue;
        struct slice name = slice_part(line, 0, (size_t)colon);
        if (used == 0 || !slice_is_equal(names[used - 1], name))
            names[used++] = name;
        values[used - 1][counts[used - 1]++] = slice_trim(slice_from(line, (size_t)colon + 1));
    }
    directory_entry_reserve(entry, used);
    for (size_t i = 0; i < used; i++)
        directory_entry_set(entry, i, names[i], values[i], counts[i]);
    return entry;
}

static struct snapshot *build(struct objects *objects)
{
    return build_snapshot(objects, &(struct build_options){ "CN=Agent,dc=x", AGENT, "dc=x", false, NULL });
}

static const struct config_fault *find_fault(const struct snapshot *s, const char *attribute)
{
    for (size_t i = 0; i < s->fault_count; i++)
        if (s->faults[i].attribute != NULL && strcmp(s->faults[i].attribute, attribute) == 0)
            return &s->faults[i];
    return NULL;
}

/* One line put beside an otherwise good object: does it still validate, and if not, which attribute is blamed? */
static void test_validation(void)
{
    static const struct { const char *class; const char *lines; const char *blamed; } rows[] = {
        { "posternInternetAgent", "", NULL },
        { "posternInternetAgent", "posternPop3Threads: 0", "posternPop3Threads" },
        { "posternInternetAgent", "posternPop3Threads: 1001", "posternPop3Threads" },
        { "posternInternetAgent", "posternPop3Threads: -1", "posternPop3Threads" },
        { "posternInternetAgent", "posternPop3Threads: 99999999999999999999999999", "posternPop3Threads" },
        { "posternInternetAgent", "posternPop3Threads: 5x", "posternPop3Threads" },
        { "posternInternetAgent", "posternPop3Threads: 5\nposternPop3Threads: 6", "posternPop3Threads" },
        { "posternInternetAgent", "posternPop3Threads: 1000", NULL },
        { "posternInternetAgent", "posternPop3Enabled: yes", "posternPop3Enabled" },
        { "posternInternetAgent", "posternPop3Enabled: FALSE", NULL },
        { "posternInternetAgent", "posternPop3Tls: maybe", "posternPop3Tls" },
        { "posternInternetAgent", "posternPop3Tls: REQUIRED", NULL },
        { "posternInternetAgent", "posternPop3Port: 111", "posternPop3Port" },
        { "posternInternetAgent", "posternPop3Port: 65536", "posternPop3Port" },
        { "posternInternetAgent", "posternPop3Port: 995\nposternPop3sPort: 0", NULL },
        { "posternInternetAgent", "posternPop3Port: 1024", NULL },
        { "posternInternetAgent", "posternPop3Port: 0", NULL },
        { "posternInternetAgent", "posternUserBase: nowhere", "posternUserBase" },
        { "posternInternetAgent", "posternHostName: a\tb", "posternHostName" },
        { "posternInternetAgent", "posternPop3Port: 2000\nposternImap4Port: 2000", "posternImap4Port" },
        { "posternInternetAgent", "posternPop3Port: 2000\nposternPop3sPort: 2000", "posternPop3sPort" },
        { "posternInternetAgent", "posternPop3Port: 2000\nposternImap4Port: 2000\nposternPop3Enabled: FALSE", NULL },
        { "posternInternetAgent", "posternPop3Port: 0\nposternImap4Port: 0", NULL },
        { "posternInternetAgent", "posternBindAddress: nonsense", "posternBindAddress" },
        { "posternInternetAgent", "posternBindAddress: 127.0.0.1\nposternBindAddress: 1.2.3", "posternBindAddress" },
        { "posternInternetAgent", "posternBindAddress: [::1]\nposternBindAddress: 127.0.0.1\nposternBindAddress: *", NULL },
        { "posternInternetAgent", "posternDeferMinutes: 20 20 240", NULL },
        { "posternInternetAgent", "posternDeferMinutes: 20 x", "posternDeferMinutes" },
        { "posternInternetAgent", "posternDeferMinutes: 20 0", "posternDeferMinutes" },
        { "posternInternetAgent", "posternDeferMinutes: 20\nposternDeferMinutes: 30", "posternDeferMinutes" },
        { "posternInternetAgent", "posternTlsKey: ../../etc/shadow", "posternTlsKey" },
        { "posternInternetAgent", "posternTlsKey: /etc/shadow", "posternTlsKey" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.org", NULL },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.org/x", NULL },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.org?x", NULL },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.org.evil/", "posternTokenIntrospectionUrl" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.org:444/", "posternTokenIntrospectionUrl" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.org@evil/", "posternTokenIntrospectionUrl" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: https://id.example.com/", "posternTokenIntrospectionUrl" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: http://id.example.org/", "posternTokenIntrospectionUrl" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: http://127.0.0.1/realm/a", "posternTokenIntrospectionUrl" },
        { "posternInternetAgent", "posternTokenAudience: mail\nposternTokenIntrospectionUrl: http://127.0.0.1/realm/b/c", NULL },
        { "posternInternetAgent", "posternTokenIntrospectionUrl: https://id.example.org", "posternTokenAudience" },
        { "posternInternetAgent", "posternTokenIntrospectionCa: ../x", "posternTokenIntrospectionCa" },
        { "posternInternetAgent", "posternTokenIntrospectionCredentials: a/b", "posternTokenIntrospectionCredentials" },
        { "posternInternetAgent", "posternTokenIntrospectionCredentials: ..", "posternTokenIntrospectionCredentials" },
        { "posternInternetAgent", "posternTokenKey: ../x", "posternTokenKey" },
        { "posternInternetAgent", "posternTokenCacheSeconds: 301", "posternTokenCacheSeconds" },
        { "posternInternetAgent", "posternLogLevel: debug", NULL },
        { "posternPostOffice", "posternPath: /srv/mail/a", NULL },
        { "posternPostOffice", "posternPath: /srv/mail", NULL },
        { "posternPostOffice", "posternPath: srv/mail", "posternPath" },
        { "posternPostOffice", "posternPath: /srv/mailbox", "posternPath" },
        { "posternPostOffice", "posternPath: /srv/mail/../x", "posternPath" },
        { "posternPostOffice", "posternPath: /srv/mail/..", "posternPath" },
        { "posternPostOffice", "posternPath: /srv/mail/./a", "posternPath" },
        { "posternPostOffice", "posternPath: /etc", "posternPath" },
        { "posternPostOffice", "posternControlDirectory: /etc", "posternControlDirectory" },
        { "posternPostOffice", "posternMailboxTemplate: %u", NULL },
        { "posternPostOffice", "posternMailboxTemplate: /%u", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %x", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %0u", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: ../%u", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %u/.hidden", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: a//%u", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: everyone/Maildir", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %d/%9u/Maildir", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %%u/Maildir", "posternMailboxTemplate" },
        { "posternPostOffice", "posternMailboxTemplate: %d/%1u/x%u", NULL },
        { "posternPostOffice", "posternSeparator: /", NULL },
        { "posternPostOffice", "posternSeparator: :", "posternSeparator" },
        { "posternPostOffice", "posternSeparator: ..", "posternSeparator" },
        { "posternPostOffice", "posternDomain: example.org\nposternDomain: example.net", NULL },
        { "posternPostOffice", "posternDomain: example.org\nposternDomain: EXAMPLE.org", "posternDomain" },
        { "posternPostOffice", "posternDomain: joe@example.org", "posternDomain" },
        { "posternPostOffice", "posternDomain: .example.org", "posternDomain" },
        { "posternPostOffice", "posternDomain: a..b", "posternDomain" },
        { "posternPostOffice", "posternAccessMode: sideways", "posternAccessMode" },
        { "posternPostOfficeLink", "", "posternPostOffice" },
        { "posternPostOfficeLink", "posternPostOffice: nowhere", "posternPostOffice" },
        { "posternPostOfficeLink", "posternPostOffice: " OFFICE, NULL },
        { "posternPostOfficeLink", "posternPostOffice: " OFFICE "\nposternPath: /tmp", "posternPath" },
        { "posternPostOfficeLink", "posternPostOffice: " OFFICE "\nposternPort: 0", "posternPort" },
        { "posternPostOfficeAgent", "posternHost: poa", NULL },
        { "posternPostOfficeAgent", "", "posternHost" },
        { "posternPostOfficeAgent", "posternHost: *", "posternHost" },
        { "posternPostOfficeAgent", "posternHost: a b", "posternHost" },
        { "posternPostOfficeAgent", "posternHost: poa\nposternPoaLogin: authorization", "posternPoaCredentials" },
        { "posternPostOfficeAgent", "posternHost: poa\nposternPoaCredentials: ../x", "posternPoaCredentials" },
        { "posternPostOfficeAgent", "posternHost: poa\nposternPoaLogin: external\nposternTlsCertificate: c.pem", "posternPoaLogin" },
        { "posternPostOfficeAgent", "posternHost: poa\nposternPoaLogin: external\nposternTlsCertificate: c.pem\nposternTls: required", NULL },
        { "posternPostOfficeAgent", "posternHost: poa\nposternTlsCaFile: /etc/passwd", "posternTlsCaFile" },
        { "posternClassOfService", "posternMember: example.org\nposternMember: uid=joe,dc=x", NULL },
        { "posternClassOfService", "posternMember: uid=joe,,dc=x", "posternMember" },
        { "posternClassOfService", "posternMember: joe smith", "posternMember" },
        { "posternClassOfService", "posternPop3Access: perhaps", "posternPop3Access" },
        { "posternClassOfService", "posternPop3Days: 36501", "posternPop3Days" },
        { "posternClassOfService", "posternPop3DeleteAfterDownload: 1", "posternPop3DeleteAfterDownload" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char lines[512];
        snprintf(lines, sizeof(lines), "objectClass: %s\n%s", rows[i].class, rows[i].lines);
        struct version *v = version_new(entry_of("cn=it,dc=x", 1, lines), &bounds);
        CU_ASSERT_PTR_NOT_NULL_FATAL(v);
        bool good = rows[i].blamed == NULL ? v->complaints == NULL
                                           : v->complaints != NULL && strcmp(v->complaints->attribute, rows[i].blamed) == 0;
        if (!good)
            fprintf(stderr, "row %zu: %s\n", i, v->complaints != NULL ? v->complaints->reason : "valid");
        CU_ASSERT(good);
        version_unref(&v);
    }
    CU_ASSERT_PTR_NULL(version_new(entry_of("cn=it,dc=x", 1, "objectClass: person"), &bounds));
}

/* However many values are wrong, the faults can be read. */
static void test_many_complaints(void)
{
    enum { MEMBERS = 5000 };
    struct slice class = SLICE_LITERAL("posternClassOfService"), values[MEMBERS];
    static char names[MEMBERS][24];
    struct directory_entry *entry = directory_entry_new(slice_from_string("cn=it,dc=x"), "00000000-0000-0000-0000-000000000001");
    for (size_t i = 0; i < MEMBERS; i++) {
        snprintf(names[i], sizeof(names[i]), "u%zu@a.org", i);
        values[i] = slice_from_string(names[i]);
    }
    directory_entry_reserve(entry, 2);
    directory_entry_set(entry, 0, slice_from_string("objectClass"), &class, 1);
    directory_entry_set(entry, 1, slice_from_string("posternMember"), values, MEMBERS);
    struct version *v = version_new(entry, &bounds);
    size_t count = 0;
    for (const struct complaint *complaint = v->complaints; complaint != NULL; complaint = complaint->next)
        count++;
    CU_ASSERT_EQUAL(count, COMPLAINTS_MAX);
    version_unref(&v);
}

/* Every number of every table, just outside and at both ends of its range. */
static void test_ranges(void)
{
    size_t tried = 0;
    for (size_t c = 0; c < CLASS_COUNT; c++) {
        for (size_t i = 0; i < object_classes[c].rule_count; i++) {
            const struct attribute_rule *rule = &object_classes[c].rules[i];
            if (rule->kind != KIND_NUMBER && rule->kind != KIND_AMOUNT)
                continue;
            const uint64_t values[] = { rule->min, rule->max, rule->max + 1, rule->min - 1 };
            for (size_t j = 0; j < 4; j++) {
                if (j == 3 && rule->min == 0)
                    continue;
                char line[128];
                snprintf(line, sizeof(line), "%s: %llu", rule->name, (unsigned long long)values[j]);
                struct directory_entry *entry = entry_of("cn=it", 1, line);
                struct arena arena;
                arena_init(&arena);
                struct complaint *complaint = parse_settings(&object_classes[c], entry, &arena, arena_alloc(&arena, object_classes[c].size));
                CU_ASSERT_EQUAL(complaint == NULL, j < 2);
                arena_clear(&arena);
                directory_entry_free(&entry);
                tried++;
            }
            CU_ASSERT(rule->kind != KIND_NUMBER || (rule->fallback >= rule->min && rule->fallback <= rule->max));
        }
    }
    CU_ASSERT(tried > 100);
}

static void test_time(void)
{
    static const struct { const char *text; bool good; int64_t seconds; } rows[] = {
        { "19700101000000Z", true, 0 }, { "20010909014640Z", true, 1000000000 }, { "20010909014640.5Z", true, 1000000000 },
        { "20010909034640+0200", true, 1000000000 }, { "20010908214640-04", true, 1000000000 }, { "2001090901Z", true, 999997200 },
        { "200109090146Z", true, 999999960 }, { "20010909014640", false, 0 }, { "20011309014640Z", false, 0 },
        { "20010909244640Z", false, 0 }, { "tomorrow", false, 0 }, { "", false, 0 }, { "20010909014640.Z", false, 0 },
        { "20010909014640+02000", false, 0 }, { "20010909014640Zx", false, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t seconds = -1;
        CU_ASSERT_EQUAL(parse_time(slice_from_string(rows[i].text), &seconds), rows[i].good);
        if (rows[i].good)
            CU_ASSERT_EQUAL(seconds, rows[i].seconds);
    }
}

static void test_template(void)
{
    static const struct { const char *template; struct slice user; const char *domain; const char *path; } rows[] = {
        { "%u/Maildir", { "joe", 3 }, NULL, "joe/Maildir" }, { "%1u/%2u/%u", { "joe", 3 }, NULL, "j/jo/joe" },
        { "%d/%u", { "joe", 3 }, "x.org", "x.org/joe" }, { "%d/%u", { "joe", 3 }, NULL, NULL }, { "%9u", { "joe", 3 }, NULL, "joe" },
        { "%1u", { "\xc3\xa4xel", 5 }, NULL, "\xc3\xa4" }, { "100%%/%u", { "joe", 3 }, NULL, "100%/joe" }, { "%1d", { "joe", 3 }, "x.org", "x" },
        { "%u", { "", 0 }, NULL, NULL }, { "%u", { "..", 2 }, NULL, NULL }, { "%u", { ".joe", 4 }, NULL, NULL },
        { "%u", { "a/b", 3 }, NULL, NULL }, { "%u", { "../joe", 6 }, NULL, NULL }, { "%u", { "a\0b", 3 }, NULL, NULL },
        { "%u", { "a\nb", 3 }, NULL, NULL }, { "%d/%u", { "joe", 3 }, "../x", NULL }, { "x%u", { "/joe", 4 }, NULL, NULL },
        { "%u", { "%d", 2 }, NULL, "%d" }, { "%1u/x", { "/", 1 }, NULL, NULL }, { "", { "joe", 3 }, NULL, NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out;
        buf_init(&out, 4000);
        const char *reason = path_expand_template(slice_from_string(rows[i].template), rows[i].user, slice_from_string(rows[i].domain), &out);
        CU_ASSERT_EQUAL(reason == NULL, rows[i].path != NULL);
        if (reason == NULL && rows[i].path != NULL)
            CU_ASSERT(slice_is(buf_slice(&out), rows[i].path));
        buf_fini(&out);
    }
    char part[300];
    memset(part, 'a', sizeof(part));
    CU_ASSERT_PTR_NULL(path_check_part(slice_make(part, 255)));
    CU_ASSERT_PTR_NOT_NULL(path_check_part(slice_make(part, 256)));
}

static void put_site(struct objects *o)
{
    objects_init(o, &bounds);
    objects_put(o, entry_of("cn=Agent,dc=x", 1, "objectClass: posternInternetAgent\nposternPop3Threads: 7"));
    objects_put(o, entry_of(OFFICE, 2, "objectClass: posternPostOffice\nposternPath: /srv/mail/a\nposternDomain: b.org\nposternDomain: A.org"));
}

static void test_snapshot(void)
{
    struct objects o;
    put_site(&o);
    struct snapshot *s = build(&o);
    CU_ASSERT_EQUAL(s->agent.pop3_threads, 7);
    CU_ASSERT_EQUAL(s->agent.imap4_threads, 10);
    CU_ASSERT_EQUAL(s->fault_count, 0);
    CU_ASSERT_EQUAL_FATAL(s->post_office_count, 1);
    const struct post_office *po = s->post_offices[0];
    CU_ASSERT_STRING_EQUAL(po->domains.values[0], "a.org");
    CU_ASSERT_STRING_EQUAL(po->name, "office");
    CU_ASSERT_STRING_EQUAL(po->uuid, "00000000-0000-0000-0000-000000000002");
    CU_ASSERT_EQUAL(po->separator, '.');
    CU_ASSERT_STRING_EQUAL(po->prefix, "");
    CU_ASSERT_PTR_EQUAL(snapshot_post_office(s, "CN=Office, DC=X"), po);
    CU_ASSERT_PTR_NULL(snapshot_post_office(s, "cn=other,dc=x"));
    CU_ASSERT_PTR_NULL(snapshot_post_office(s, "garbage"));
    CU_ASSERT_PTR_EQUAL(snapshot_domain(s, SLICE_LITERAL("B.ORG")), po);
    CU_ASSERT_PTR_NULL(snapshot_domain(s, SLICE_LITERAL("c.org")));
    /* The snapshot lives on without the objects. */
    objects_fini(&o);
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->path, "/srv/mail/a");
    snapshot_unref(&s);
}

static void test_refusal(void)
{
    struct objects o;
    put_site(&o);
    objects_put(&o, entry_of("cn=Agent,dc=x", 1, "objectClass: posternInternetAgent\nposternPop3Threads: 0\nposternImap4Threads: 3"));
    objects_put(&o, entry_of(OFFICE, 2, "objectClass: posternPostOffice\nposternPath: /srv/mail/b"));
    struct snapshot *s = build(&o);
    CU_ASSERT_EQUAL(s->agent.pop3_threads, 7);
    CU_ASSERT_EQUAL(s->agent.imap4_threads, 10);
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->path, "/srv/mail/b");
    CU_ASSERT_EQUAL(s->fault_count, 1);
    CU_ASSERT_PTR_NOT_NULL(find_fault(s, "posternPop3Threads"));
    snapshot_unref(&s);
    /* Renamed while it is not valid: the last valid settings under the new name. */
    CU_ASSERT(objects_put(&o, entry_of("cn=moved,dc=x", 2, "objectClass: posternPostOffice\nposternPath: /etc")));
    s = build(&o);
    CU_ASSERT_EQUAL_FATAL(s->post_office_count, 1);
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->dn, "cn=moved,dc=x");
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->path, "/srv/mail/b");
    snapshot_unref(&s);
    /* Deletion is always valid; without an agent nothing is enabled. */
    objects_remove(&o, "00000000-0000-0000-0000-000000000001");
    objects_remove(&o, "00000000-0000-0000-0000-000000000002");
    s = build(&o);
    CU_ASSERT_EQUAL(s->post_office_count, 0);
    CU_ASSERT_FALSE(s->agent.pop3_enabled || s->agent.imap4_enabled || s->agent.smtp_enabled);
    CU_ASSERT_STRING_EQUAL(s->agent.dn, "CN=Agent,dc=x");
    CU_ASSERT_EQUAL(s->fault_count, 1);
    snapshot_unref(&s);
    objects_fini(&o);
}

/* What verifies passwords depends on the directory. */
static void test_login_method(void)
{
    static const struct { enum directory_vendor vendor; const char *value; bool good; } rows[] = {
        { DIRECTORY_OTHER, "compare", true }, { DIRECTORY_OPEN_LDAP, "compare", false }, { DIRECTORY_389, "compare", false },
        { DIRECTORY_OPEN_LDAP, "bind", true }, { DIRECTORY_389, "bind", true }, { DIRECTORY_OTHER, "guess", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objects o;
        char lines[200];
        put_site(&o);
        o.bounds.vendor = rows[i].vendor;
        snprintf(lines, sizeof(lines), "objectClass: posternInternetAgent\nposternPop3Threads: 9\nposternLoginMethod: %s", rows[i].value);
        objects_put(&o, entry_of("cn=Agent,dc=x", 1, lines));
        struct snapshot *s = build(&o);
        CU_ASSERT_EQUAL(s->agent.pop3_threads == 9, rows[i].good);   /* else the last good version goes on */
        CU_ASSERT_EQUAL(s->agent.login_method == LOGIN_COMPARE, rows[i].good && strcmp(rows[i].value, "compare") == 0);
        bool blamed = false;
        for (size_t j = 0; j < s->fault_count; j++)
            blamed = blamed || (s->faults[j].attribute != NULL && strcmp(s->faults[j].attribute, "posternLoginMethod") == 0);
        CU_ASSERT_EQUAL(blamed, !rows[i].good);
        snapshot_unref(&s);
        objects_fini(&o);
    }
}

static void test_sweep(void)
{
    struct objects o;
    put_site(&o);
    objects_refresh_begin(&o);
    o.changed = false;
    CU_ASSERT_FALSE(objects_put(&o, entry_of("cn=Agent,dc=x", 1, "objectClass: posternInternetAgent\nposternPop3Threads: 7")));
    CU_ASSERT_FALSE(o.changed);
    objects_refresh_end(&o);
    CU_ASSERT(o.changed);
    CU_ASSERT_EQUAL(o.by_uuid.count, 1);
    objects_put(&o, entry_of("cn=Agent,dc=x", 1, "objectClass: person"));
    CU_ASSERT_EQUAL(o.by_uuid.count, 0);
    objects_fini(&o);
}

static void test_links(void)
{
    static const struct { const char *office; const char *link; int mode; const char *path; const char *blamed; } rows[] = {
        { "posternPath: /srv/mail/a", NULL, ACCESS_CLIENT_SERVER_AND_DIRECT, "/srv/mail/a", NULL },
        { "posternAccessMode: direct\nposternPath: /srv/mail/a", NULL, ACCESS_DIRECT, "/srv/mail/a", NULL },
        { "posternAccessMode: direct", NULL, ACCESS_DIRECT, NULL, "posternPath" },
        { "posternAccessMode: clientServer\nposternPath: /srv/mail/a", NULL, ACCESS_CLIENT_SERVER, NULL, "posternHost" },
        { "posternAccessMode: clientServer\nposternPath: /srv/mail/a", "posternAccessMode: direct", ACCESS_DIRECT, "/srv/mail/a", NULL },
        { "posternAccessMode: direct\nposternPath: /srv/mail/a", "posternPath: /srv/mail/mapped", ACCESS_DIRECT, "/srv/mail/mapped", NULL },
        { "posternAccessMode: direct\nposternPath: /srv/mail/a", "posternAccessMode: current", ACCESS_DIRECT, "/srv/mail/a", NULL },
        { "posternAccessMode: direct\nposternPath: /srv/mail/a", "posternAccessMode: clientServer", ACCESS_CLIENT_SERVER, NULL, "posternHost" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objects o;
        char lines[512];
        objects_init(&o, &bounds);
        objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
        snprintf(lines, sizeof(lines), "objectClass: posternPostOffice\n%s", rows[i].office);
        objects_put(&o, entry_of(OFFICE, 2, lines));
        snprintf(lines, sizeof(lines), "objectClass: posternPostOfficeLink\nposternPostOffice: CN=office,dc=x\n%s", rows[i].link != NULL ? rows[i].link : "");
        if (rows[i].link != NULL)
            objects_put(&o, entry_of("cn=link," AGENT, 3, lines));
        /* Another gateway's link has no say. */
        objects_put(&o, entry_of("cn=link,cn=other,dc=x", 4, "objectClass: posternPostOfficeLink\nposternPostOffice: " OFFICE "\nposternPath: /srv/mail/other"));
        struct snapshot *s = build(&o);
        CU_ASSERT_EQUAL_FATAL(s->post_office_count, 1);
        CU_ASSERT_EQUAL((int)s->post_offices[0]->mode, rows[i].mode);
        const char *path = s->post_offices[0]->path;
        CU_ASSERT(rows[i].path == NULL ? path == NULL : path != NULL && strcmp(path, rows[i].path) == 0);
        CU_ASSERT_EQUAL(s->fault_count, rows[i].blamed != NULL ? 1 : 0);
        CU_ASSERT(rows[i].blamed == NULL || find_fault(s, rows[i].blamed) != NULL);
        snapshot_unref(&s);
        objects_fini(&o);
    }
}

/* Every mode of post office and link, with and without path and Post Office Agent: what is in force, by behaviour.md. */
static void test_access_modes(void)
{
    static const char *const words[] = { NULL, "clientServerAndDirect", "clientServer", "direct", "current" };
    for (int bits = 0; bits < 4 * 25; bits++) {
        bool path = bits & 1, agent = bits & 2;
        const char *own = words[bits / 4 % 5], *over = words[bits / 4 / 5];
        const char *effective = over != NULL && strcmp(over, "current") != 0 ? over : own;
        bool said = effective != NULL && strcmp(effective, "current") != 0;
        bool direct = !said || strcmp(effective, "clientServer") != 0, client = !said || strcmp(effective, "direct") != 0;
        char lines[512];
        struct objects o;
        objects_init(&o, &bounds);
        objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
        snprintf(lines, sizeof(lines), "objectClass: posternPostOffice%s%s%s", path ? "\nposternPath: /srv/mail/a" : "", own != NULL ? "\nposternAccessMode: " : "",
                 own != NULL ? own : "");
        objects_put(&o, entry_of(OFFICE, 2, lines));
        snprintf(lines, sizeof(lines), "objectClass: posternPostOfficeLink\nposternPostOffice: " OFFICE "%s%s", over != NULL ? "\nposternAccessMode: " : "",
                 over != NULL ? over : "");
        objects_put(&o, entry_of("cn=link," AGENT, 3, lines));
        if (agent)
            objects_put(&o, entry_of("cn=poa," OFFICE, 4, "objectClass: posternPostOfficeAgent\nposternHost: poa"));
        struct snapshot *s = build(&o);
        const struct post_office *po = s->post_offices[0];
        CU_ASSERT_EQUAL(po->path != NULL, path && direct);
        CU_ASSERT_EQUAL(po->agent_count, agent && client ? 1 : 0);
        CU_ASSERT_EQUAL((int)po->mode, direct && client ? ACCESS_CLIENT_SERVER_AND_DIRECT : direct ? ACCESS_DIRECT : ACCESS_CLIENT_SERVER);
        CU_ASSERT_EQUAL(po->mode_from != NULL, said);
        CU_ASSERT(!said || strcmp(po->mode_from, effective == over ? "cn=link," AGENT : OFFICE) == 0);
        CU_ASSERT_EQUAL(po->path_from != NULL, path);
        /* What was asked for and is not there; without a mode one way is enough. */
        bool complete = said ? (!direct || path) && (!client || agent) : path || agent;
        CU_ASSERT_EQUAL(s->fault_count, complete ? 0 : 1);
        snapshot_unref(&s);
        objects_fini(&o);
    }
}

static void put_two_agents(struct objects *o)
{
    objects_init(o, &bounds);
    objects_put(o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
    objects_put(o, entry_of(OFFICE, 2, "objectClass: posternPostOffice\nposternPath: /srv/mail/a"));
    objects_put(o, entry_of("cn=b," OFFICE, 3, "objectClass: posternPostOfficeAgent\nposternHost: one\nposternPort: 2143\nposternTls: implicit"));
    objects_put(o, entry_of("cn=a," OFFICE, 4, "objectClass: posternPostOfficeAgent\nposternHost: three\nposternHost: 2001:db8::2\nposternPoaLogin: masterUser\n"
                                               "posternPoaCredentials: gateway\nposternPoaTimeoutMilliseconds: 300"));
    objects_put(o, entry_of("cn=other,cn=elsewhere,dc=x", 5, "objectClass: posternPostOfficeAgent\nposternHost: wrong"));
}

static void test_agents_of_an_office(void)
{
    struct objects o;
    put_two_agents(&o);
    struct snapshot *s = build(&o);
    const struct post_office *po = s->post_offices[0];
    CU_ASSERT_EQUAL(s->fault_count, 0);
    CU_ASSERT_EQUAL_FATAL(po->agent_count, 3);
    CU_ASSERT_STRING_EQUAL(po->agents[0].host, "2001:db8::2");
    CU_ASSERT_STRING_EQUAL(po->agents[1].host, "three");
    CU_ASSERT_STRING_EQUAL(po->agents[2].host, "one");
    CU_ASSERT_STRING_EQUAL(po->agents[2].dn, "cn=b," OFFICE);
    CU_ASSERT(po->agents[2].port == 2143 && po->agents[2].lmtp_port == 24 && po->agents[2].tls == POA_TLS_IMPLICIT && po->agents[2].timeout_ms == 2000);
    CU_ASSERT(po->agents[0].login == POA_LOGIN_MASTER_USER && po->agents[0].timeout_ms == 300 && po->agents[0].port == 143);
    CU_ASSERT_STRING_EQUAL(po->agents[0].credentials, "gateway");
    snapshot_unref(&s);
    /* A bad edit keeps what was valid; the link's hosts and ports go before all others. */
    objects_put(&o, entry_of("cn=a," OFFICE, 4, "objectClass: posternPostOfficeAgent\nposternHost: bad host"));
    objects_put(&o, entry_of("cn=link," AGENT, 6, "objectClass: posternPostOfficeLink\nposternPostOffice: " OFFICE "\nposternHost: z\nposternHost: y\nposternPort: 3143\n"
                                                  "posternLmtpPort: 3024\nposternMoveSessions: TRUE"));
    s = build(&o);
    po = s->post_offices[0];
    CU_ASSERT_EQUAL(s->fault_count, 1);
    CU_ASSERT_PTR_NOT_NULL(find_fault(s, "posternHost"));
    CU_ASSERT_EQUAL_FATAL(po->agent_count, 2);
    CU_ASSERT_STRING_EQUAL(po->agents[0].host, "y");
    CU_ASSERT(po->agents[1].port == 3143 && po->agents[1].lmtp_port == 3024 && po->agents[1].login == POA_LOGIN_MASTER_USER);
    CU_ASSERT_STRING_EQUAL(po->agents[1].dn, "cn=link," AGENT);
    CU_ASSERT(po->move_sessions);
    snapshot_unref(&s);
    /* Without any Post Office Agent the link's host is reached by the defaults. */
    objects_remove(&o, "00000000-0000-0000-0000-000000000003");
    objects_remove(&o, "00000000-0000-0000-0000-000000000004");
    s = build(&o);
    CU_ASSERT_EQUAL_FATAL(s->post_offices[0]->agent_count, 2);
    CU_ASSERT(s->post_offices[0]->agents[0].tls == POA_TLS_ENABLED && s->post_offices[0]->agents[0].timeout_ms == 2000);
    snapshot_unref(&s);
    objects_fini(&o);
}

static void test_pointers(void)
{
    struct objects o;
    put_site(&o);
    objects_put(&o, entry_of("cn=Agent,dc=x", 1, "objectClass: posternInternetAgent\nposternPostOffice: cn=gone,dc=x\nposternPostOffice: cn=office2,dc=x"));
    objects_put(&o, entry_of("cn=office2,dc=x", 3, "objectClass: posternPostOffice\nposternPath: /srv/mail/c\nposternDomain: a.org"));
    objects_put(&o, entry_of("cn=l1," AGENT, 4, "objectClass: posternPostOfficeLink\nposternPostOffice: cn=nowhere,dc=x"));
    struct snapshot *s = build(&o);
    CU_ASSERT_EQUAL(s->post_office_count, 1);
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->name, "office2");
    CU_ASSERT_EQUAL(s->fault_count, 2);
    CU_ASSERT_PTR_NOT_NULL(find_fault(s, "posternPostOffice"));
    snapshot_unref(&s);
    objects_put(&o, entry_of("cn=Agent,dc=x", 1, "objectClass: posternInternetAgent"));
    objects_remove(&o, "00000000-0000-0000-0000-000000000004");
    s = build(&o);
    CU_ASSERT_EQUAL(s->post_office_count, 2);
    CU_ASSERT_EQUAL(s->fault_count, 1);
    CU_ASSERT_PTR_NOT_NULL(find_fault(s, "posternDomain"));
    CU_ASSERT_STRING_EQUAL(snapshot_domain(s, SLICE_LITERAL("a.org"))->name, "office");
    snapshot_unref(&s);
    objects_fini(&o);
}

static struct user *make_user(struct objects *o, const char *lines, char *const *lists, size_t list_count)
{
    struct snapshot *s = build(o);
    struct directory_entry *entry = entry_of("uid=joe,dc=x", 9, lines);
    struct fault fault;
    struct user *user = user_from_entry(s, entry, lists, list_count, 1000000000, &fault);
    directory_entry_free(&entry);
    snapshot_unref(&s);
    return user;
}

#define JOE "uid: joe\nmail: Joe@A.org\nposternMailAlias: j@b.org\nposternPostOffice: cn=Office,dc=x\n"

static void test_users(void)
{
    static const struct { const char *lines; bool served; const char *mailbox; bool disabled; } rows[] = {
        { JOE, true, "joe/Maildir", false },
        { JOE "posternDisabled: TRUE", true, "joe/Maildir", true },
        { JOE "posternDisabled: maybe", true, "joe/Maildir", true },
        { JOE "posternExpirationTime: 20010909014640Z", true, "joe/Maildir", true },
        { JOE "posternExpirationTime: 20010909014641Z", true, "joe/Maildir", false },
        { JOE "posternExpirationTime: never", true, "joe/Maildir", true },
        { JOE "posternMailboxDirectory: special/joe", true, "special/joe", false },
        { JOE "posternMailboxDirectory: ../joe", false, "", false },
        { JOE "posternMailboxDirectory: /etc", false, "", false },
        { JOE "posternMailboxDirectory: a\nposternMailboxDirectory: b", false, "", false },
        { "uid: joe\nposternPostOffice: cn=gone,dc=x", false, "", false },
        { "uid: joe\nposternPostOffice: garbage", false, "", false },
        { "uid: joe", false, "", false },
        { "uid: zoe\nuid: joe\nposternPostOffice: " OFFICE, true, "joe/Maildir", false },
    };
    struct objects o;
    put_site(&o);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct user *user = make_user(&o, rows[i].lines, NULL, 0);
        CU_ASSERT_PTR_NOT_NULL_FATAL(user);
        CU_ASSERT_EQUAL(user->post_office != NULL, rows[i].served);
        CU_ASSERT_STRING_EQUAL(user->mailbox_dir, rows[i].mailbox);
        CU_ASSERT_EQUAL(user->disabled, rows[i].disabled);
        user_unref(&user);
    }
    static const char *const hostile[] = { "", "uid: .", "uid: ..", "uid: ../root", "uid: a/b", "uid: .hidden", "uid: a\tb" };
    for (size_t i = 0; i < sizeof(hostile) / sizeof(hostile[0]); i++)
        CU_ASSERT_PTR_NULL(make_user(&o, hostile[i], NULL, 0));
    struct user *user = make_user(&o, JOE, NULL, 0);
    CU_ASSERT_EQUAL(user->addresses.count, 2);
    CU_ASSERT_STRING_EQUAL(user->addresses.values[0], "joe@a.org");
    CU_ASSERT(user->pop3.allowed && user->imap4_allowed && user->smtp_incoming_allowed && user->smtp_outgoing_allowed);
    user_unref(&user);
    objects_fini(&o);
}

/* Up to three classes; then what joe may. */
static void test_rights(void)
{
    static const struct { const char *classes[3]; bool pop3; uint32_t days; bool deletes; uint64_t size; } rows[] = {
        { { "posternPop3Access: prevent\nposternMember: UID=joe,dc=x" }, false, 0, false, 0 },
        { { "posternPop3Access: prevent\nposternMember: uid=other,dc=x" }, true, 0, false, 0 },
        { { "posternPop3Access: prevent" }, true, 0, false, 0 },
        { { "posternPop3Access: prevent\nposternMember: cn=list,dc=x" }, false, 0, false, 0 },
        { { "posternPop3Access: prevent\nposternMember: " OFFICE }, false, 0, false, 0 },
        { { "posternPop3Access: prevent\nposternMember: B.org" }, false, 0, false, 0 },
        { { "posternPop3Access: prevent\nposternDefaultClass: TRUE" }, false, 0, false, 0 },
        { { "posternPop3Access: prevent\nposternMember: uid=joe,dc=x", "posternPop3Access: allow\nposternMember: cn=list,dc=x" }, false, 0, false, 0 },
        { { "posternPop3Access: allow\nposternMember: uid=joe,dc=x", "posternPop3Access: prevent\nposternMember: cn=list,dc=x" }, true, 0, false, 0 },
        { { "posternPop3Access: allow\nposternMember: cn=list,dc=x", "posternPop3Access: prevent\nposternMember: " OFFICE }, true, 0, false, 0 },
        { { "posternPop3Access: allow\nposternMember: " OFFICE, "posternPop3Access: prevent\nposternMember: a.org" }, true, 0, false, 0 },
        { { "posternPop3Access: allow\nposternMember: a.org", "posternPop3Access: prevent\nposternDefaultClass: TRUE" }, true, 0, false, 0 },
        { { "posternPop3Access: inherit\nposternMember: uid=joe,dc=x", "posternPop3Access: prevent\nposternMember: a.org" }, false, 0, false, 0 },
        { { "posternPop3Access: allow\nposternMember: a.org", "posternPop3Access: prevent\nposternMember: a.org" }, true, 0, false, 0 },
        { { "posternPop3Days: 5\nposternMember: a.org", "posternPop3Days: 9\nposternMember: a.org" }, true, 9, false, 0 },
        { { "posternPop3Days: 5\nposternMember: a.org", "posternPop3Days: 0\nposternMember: a.org" }, true, 0, false, 0 },
        { { "posternPop3Days: 5\nposternMember: uid=joe,dc=x", "posternPop3Days: 9\nposternMember: a.org" }, true, 5, false, 0 },
        { { "posternPop3DeleteAfterDownload: TRUE\nposternMember: a.org" }, true, 0, true, 0 },
        { { "posternPop3DeleteAfterDownload: TRUE\nposternMember: a.org", "posternPop3DeleteAfterDownload: FALSE\nposternMember: a.org" }, true, 0, false, 0 },
        { { "posternSmtpOutgoingMaxSize: 100\nposternMember: a.org", "posternSmtpOutgoingMaxSize: 200\nposternMember: b.org" }, true, 0, false, 200 },
        { { "posternPop3Days: x\nposternMember: uid=joe,dc=x" }, false, 0, false, 0 },
        { { "posternPop3Days: x\nposternMember: uid=joe,dc=x", "posternPop3Access: allow\nposternMember: uid=joe,dc=x" }, false, 0, false, 0 },
        { { "posternPop3Days: x\nposternMember: uid=other,dc=x" }, true, 0, false, 0 },
    };
    static char list[] = "cn=list,dc=x";
    char *lists[] = { list };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objects o;
        put_site(&o);
        for (unsigned j = 0; j < 3 && rows[i].classes[j] != NULL; j++) {
            char lines[512], dn[64];
            snprintf(lines, sizeof(lines), "objectClass: posternClassOfService\n%s", rows[i].classes[j]);
            snprintf(dn, sizeof(dn), "cn=class%u," AGENT, j);
            objects_put(&o, entry_of(dn, 10 + j, lines));
        }
        struct user *user = make_user(&o, JOE, lists, 1);
        CU_ASSERT_PTR_NOT_NULL_FATAL(user);
        bool good = user->pop3.allowed == rows[i].pop3 && user->pop3.days == rows[i].days &&
                    user->pop3.delete_after_download == rows[i].deletes && user->smtp_outgoing_max_size == rows[i].size;
        if (!good)
            fprintf(stderr, "rights row %zu\n", i);
        CU_ASSERT(good);
        user_unref(&user);
        objects_fini(&o);
    }
}

static int decode(struct slice bytes, const char *agent, struct objects *o, char **base)
{
    struct fault fault;
    objects_init(o, &bounds);
    return cache_decode(bytes, agent, o, base, &fault);
}

static void test_cache(void)
{
    struct objects o, copy;
    struct buf bytes;
    char *base;
    put_site(&o);
    objects_put(&o, entry_of(OFFICE, 2, "objectClass: posternPostOffice\nposternPath: /etc"));
    buf_init(&bytes, 0);
    struct cache_content content;
    cache_collect(&o, &content);
    cache_encode(&content, AGENT, "dc=x", &bytes);
    CU_ASSERT_EQUAL(decode(buf_slice(&bytes), AGENT, &copy, &base), 0);
    CU_ASSERT_STRING_EQUAL(base, "dc=x");
    struct snapshot *s = build(&copy);
    CU_ASSERT_EQUAL(s->agent.pop3_threads, 7);
    CU_ASSERT_EQUAL_FATAL(s->post_office_count, 1);
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->path, "/srv/mail/a");
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->uuid, "00000000-0000-0000-0000-000000000002");
    snapshot_unref(&s);
    objects_fini(&copy);
    mem_free(&base);
    CU_ASSERT_EQUAL(decode(buf_slice(&bytes), "cn=other,dc=x", &copy, &base), -1);
    objects_fini(&copy);
    for (size_t i = 0; i < bytes.len; i++) {
        CU_ASSERT_EQUAL(decode(slice_part(buf_slice(&bytes), 0, i), AGENT, &copy, &base), -1);
        CU_ASSERT_EQUAL(copy.by_uuid.count, 0);
        objects_fini(&copy);
        bytes.data[i] ^= (char)(1 << i % 8);
        CU_ASSERT_EQUAL(decode(buf_slice(&bytes), AGENT, &copy, &base), -1);
        CU_ASSERT_EQUAL(copy.by_uuid.count, 0);
        objects_fini(&copy);
        bytes.data[i] ^= (char)(1 << i % 8);
    }
    buf_fini(&bytes);
    objects_fini(&o);
}

/* Damage with a checksum that fits: no length or count in it may lead astray. */
static void test_cache_hostile(void)
{
    struct objects o, copy;
    struct buf bytes;
    char *base;
    put_site(&o);
    buf_init(&bytes, 0);
    struct cache_content content;
    cache_collect(&o, &content);
    cache_encode(&content, AGENT, "dc=x", &bytes);
    size_t refused = 0;
    for (size_t i = 16; i < bytes.len - 8; i++) {
        char saved = bytes.data[i];
        bytes.data[i] = (char)0xff;
        uint64_t sum = 14695981039346656037u;
        for (size_t j = 0; j < bytes.len - 8; j++)
            sum = (sum ^ (unsigned char)bytes.data[j]) * 1099511628211u;
        for (size_t j = 0; j < 8; j++)
            bytes.data[bytes.len - 8 + j] = (char)(sum >> (8 * j) & 255);
        refused += decode(buf_slice(&bytes), AGENT, &copy, &base) != 0;
        mem_free(&base);
        objects_fini(&copy);
        bytes.data[i] = saved;
    }
    CU_ASSERT(refused > 40);
    buf_fini(&bytes);
    objects_fini(&o);
}

static void test_cache_file(void)
{
    char dir[] = "/tmp/postern-config-XXXXXX";
    char path[64];
    struct fault fault;
    struct buf bytes;
    struct stat st;
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(dir));
    snprintf(path, sizeof(path), "%s/configuration", dir);
    buf_init(&bytes, 0);
    CU_ASSERT_EQUAL(cache_read(dir, &bytes, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_NOT_FOUND);
    CU_ASSERT_EQUAL(cache_write(dir, SLICE_LITERAL("one"), &fault), 0);
    CU_ASSERT_EQUAL(cache_write(dir, SLICE_LITERAL("two"), &fault), 0);
    CU_ASSERT_EQUAL(cache_read(dir, &bytes, &fault), 0);
    CU_ASSERT(slice_is(buf_slice(&bytes), "two"));
    CU_ASSERT(stat(path, &st) == 0 && (st.st_mode & 0777) == 0600);
    unlink(path);
    CU_ASSERT_EQUAL(rmdir(dir), 0);
    CU_ASSERT_EQUAL(cache_write(dir, SLICE_LITERAL("x"), &fault), -1);
    buf_fini(&bytes);
}

static void test_publication(void)
{
    struct objects o;
    put_site(&o);
    CU_ASSERT_PTR_NULL(snapshot_current());
    CU_ASSERT_EQUAL(snapshot_current_serial(), 0);
    snapshot_publish(build(&o));
    struct snapshot *first = snapshot_current();
    CU_ASSERT_EQUAL(first->serial, 1);
    snapshot_publish(build(&o));
    CU_ASSERT_EQUAL(snapshot_current_serial(), 2);
    CU_ASSERT_EQUAL(first->agent.pop3_threads, 7);
    snapshot_unref(&first);
    snapshot_publish(NULL);
    CU_ASSERT_EQUAL(snapshot_current_serial(), 0);
    objects_fini(&o);
}

/* Every attribute and class has a number, and the words of every set are there. */
static void test_tables(void)
{
    for (size_t c = 0; c < CLASS_COUNT; c++) {
        CU_ASSERT_NOT_EQUAL(schema_class_number(object_classes[c].name), 0);
        for (size_t i = 0; i < object_classes[c].rule_count; i++) {
            const struct attribute_rule *rule = &object_classes[c].rules[i];
            int value;
            CU_ASSERT_NOT_EQUAL(schema_attribute_number(rule->name), 0);
            CU_ASSERT(rule->kind != KIND_WORD || word_at(rule->words, 0, &value) != NULL);
        }
    }
    CU_ASSERT_EQUAL(schema_attribute_number("posternPop3Enabled"), 1);
    CU_ASSERT_EQUAL(schema_attribute_number("posternNothing"), 0);
}

static const struct unit_test tests[] = {
    { "validation", test_validation }, { "many complaints", test_many_complaints }, { "ranges", test_ranges }, { "time", test_time }, { "template", test_template },
    { "snapshot", test_snapshot }, { "refusal", test_refusal }, { "sweep", test_sweep }, { "login method", test_login_method }, { "links", test_links }, { "access modes", test_access_modes }, { "agents of an office", test_agents_of_an_office },
    { "pointers", test_pointers }, { "users", test_users }, { "rights", test_rights }, { "cache", test_cache },
    { "cache hostile", test_cache_hostile }, { "cache file", test_cache_file }, { "publication", test_publication }, { "tables", test_tables },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("config", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
