/* Unit tests of src/config: a Post Office Agent's object as the settings of the agent that serves as it, and whom such an agent believes. */
#include <stdio.h>
#include <string.h>

#include "postern/base/log.h"
#include "postern/config/gateways.h"
#include "run.h"
#include "src/config/build.h"

#define OFFICE "cn=one,ou=mail,dc=x"
#define AGENT "cn=poa," OFFICE

static const uint16_t ports[] = { 24, 25, 143, 993 };

/* An entry from lines "name: value"; values of one name stand together. */
static struct directory_entry *entry_of(const char *dn, unsigned number, const char *lines)
{
    char uuid[64];
    snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", number);
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), uuid);
    struct slice rest = slice_from_string(lines), line, name = SLICE_NONE, values[8];
    size_t used = 0, count = 0;
    directory_entry_reserve(entry, 32);
    while (slice_split(&rest, '\n', &line)) {
        ptrdiff_t colon = slice_find(line, ':');
        struct slice next = slice_part(line, 0, (size_t)colon);
        if (count > 0 && !slice_is_equal(next, name)) {
            directory_entry_set(entry, used++, name, values, count);
            count = 0;
        }
        name = next;
        values[count++] = slice_trim(slice_from(line, (size_t)colon + 1));
    }
    directory_entry_set(entry, used++, name, values, count);
    entry->count = used;
    return entry;
}

static void begin(struct objects *o, const char *lines)
{
    static const struct parse_bounds bounds = { .mail_root = "/srv/mail", .allowed_ports = ports, .allowed_port_count = 4, .agent_ndn = AGENT };
    char text[1024];
    objects_init(o, &bounds);
    snprintf(text, sizeof(text), "objectClass: posternPostOfficeAgent\nposternHost: poa%s%s", *lines != '\0' ? "\n" : "", lines);
    objects_put(o, entry_of(AGENT, 1, text));
    objects_put(o, entry_of(OFFICE, 2, "objectClass: posternPostOffice\nposternPath: /srv/mail/one\nposternDomain: one.example\nposternAccessMode: clientServer"));
    objects_put(o, entry_of("cn=two,ou=mail,dc=x", 3, "objectClass: posternPostOffice\nposternPath: /srv/mail/two\nposternDomain: two.example"));
    objects_put(o, entry_of("cn=gateway,dc=x", 4, "objectClass: posternInternetAgent"));
    objects_put(o, entry_of("cn=poa,cn=two,ou=mail,dc=x", 5, "objectClass: posternPostOfficeAgent\nposternHost: poa2\nposternPort: 25"));
}

static struct snapshot *build(struct objects *o)
{
    return build_snapshot(o, &(struct build_options){ "cn=POA," OFFICE, AGENT, "dc=x", false, NULL });
}

static bool is_blamed(const struct snapshot *s, const char *attribute)
{
    for (size_t i = 0; i < s->fault_count; i++)
        if (s->faults[i].attribute != NULL && strcmp(s->faults[i].attribute, attribute) == 0)
            return strcmp(s->faults[i].dn, AGENT) == 0;
    return false;
}

/* Only its own post office, and that directly, whatever its mode says to others. */
static void test_one_office(void)
{
    struct objects o;
    begin(&o, "");
    struct snapshot *s = build(&o);
    CU_ASSERT(s->is_post_office_agent);
    CU_ASSERT_EQUAL(s->fault_count, 0);
    CU_ASSERT_EQUAL_FATAL(s->post_office_count, 1);
    const struct post_office *po = s->post_offices[0];
    CU_ASSERT_STRING_EQUAL(po->dn, OFFICE);
    CU_ASSERT_EQUAL(po->mode, ACCESS_DIRECT);
    CU_ASSERT_EQUAL(po->agent_count, 0);
    CU_ASSERT_STRING_EQUAL(po->path, "/srv/mail/one");
    CU_ASSERT_PTR_NOT_NULL(snapshot_domain(s, SLICE_LITERAL("one.example")));
    CU_ASSERT_PTR_NULL(snapshot_domain(s, SLICE_LITERAL("two.example")));
    CU_ASSERT_PTR_NULL(snapshot_post_office(s, "cn=two,ou=mail,dc=x"));
    snapshot_unref(&s);
    /* Its own link maps the path. */
    objects_put(&o, entry_of("cn=link," AGENT, 6, "objectClass: posternPostOfficeLink\nposternPostOffice: " OFFICE "\nposternPath: /srv/mail/here\n"
                                                  "posternAccessMode: clientServer"));
    s = build(&o);
    CU_ASSERT_STRING_EQUAL(s->post_offices[0]->path, "/srv/mail/here");
    CU_ASSERT_EQUAL(s->post_offices[0]->mode, ACCESS_DIRECT);
    snapshot_unref(&s);
    /* A post office without a path, and then none. */
    objects_put(&o, entry_of(OFFICE, 2, "objectClass: posternPostOffice"));
    objects_remove(&o, "00000000-0000-0000-0000-000000000006");
    s = build(&o);
    CU_ASSERT(s->fault_count == 1 && strcmp(s->faults[0].attribute, "posternPath") == 0);
    snapshot_unref(&s);
    objects_remove(&o, "00000000-0000-0000-0000-000000000002");
    s = build(&o);
    CU_ASSERT(s->post_office_count == 0 && is_blamed(s, "posternPostOffice"));
    snapshot_unref(&s);
    objects_fini(&o);
}

/* Another process, an Internet Agent, reads the same objects as before. */
static void test_others(void)
{
    struct objects o;
    begin(&o, "posternLmtpPort: 99");
    o.bounds.agent_ndn = "cn=gateway,dc=x";
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternPostOfficeAgent\nposternHost: poa\nposternLmtpPort: 25\nposternPoaProxyHeader: TRUE"));
    objects_put(&o, entry_of("cn=gateway,dc=x", 4, "objectClass: posternInternetAgent\nposternPop3Enabled: FALSE\nposternSmtpEnabled: FALSE"));
    struct snapshot *s = build_snapshot(&o, &(struct build_options){ "cn=gateway,dc=x", "cn=gateway,dc=x", "dc=x", false, NULL });
    CU_ASSERT(!s->is_post_office_agent && s->post_office_count == 2);
    for (size_t i = 0; i < s->post_office_count; i++)
        CU_ASSERT_EQUAL(s->post_offices[i]->agent_count, 1);
    CU_ASSERT_EQUAL(s->agent.lmtp_port, 0);
    snapshot_unref(&s);
    objects_fini(&o);
}

static void test_settings(void)
{
    static const struct {
        const char *lines;
        unsigned imap, imaps, lmtp, lmtps;
        int tls;
        const char *blamed;
    } rows[] = {
        { "", 143, 0, 24, 0, TLS_ENABLED, NULL },
        { "posternPort: 2143\nposternLmtpPort: 2024\nposternTls: required", 2143, 0, 2024, 0, TLS_REQUIRED, NULL },
        { "posternTls: disabled", 143, 0, 24, 0, TLS_DISABLED, NULL },
        { "posternTls: implicit\nposternPort: 993\nposternPoaCertificate: a.pem", 0, 993, 0, 24, TLS_ENABLED, NULL },
        { "posternTls: implicit\nposternPort: 993", 0, 0, 0, 0, TLS_ENABLED, "posternPoaCertificate" },
        { "posternPort: 144", 0, 0, 0, 0, TLS_ENABLED, "posternPort" },
        { "posternLmtpPort: 26", 0, 0, 0, 0, TLS_ENABLED, "posternLmtpPort" },
        { "posternLmtpPort: 25", 0, 0, 0, 0, TLS_ENABLED, "posternLmtpPort" },
        { "posternPort: 2000\nposternLmtpPort: 2000", 0, 0, 0, 0, TLS_ENABLED, "posternLmtpPort" },
        { "posternPoaProxyHeader: TRUE", 0, 0, 0, 0, TLS_ENABLED, "posternPoaProxyHeader" },
        { "posternPoaCertificate: ../x", 0, 0, 0, 0, TLS_ENABLED, "posternPoaCertificate" },
        { "posternImap4Threads: 0", 0, 0, 0, 0, TLS_ENABLED, "posternImap4Threads" },
        { "posternTrustedAddress: example.com", 0, 0, 0, 0, TLS_ENABLED, "posternTrustedAddress" },
        { "posternTrustedGateway: gateway", 0, 0, 0, 0, TLS_ENABLED, "posternTrustedGateway" },
        { "posternBindAddress: x", 0, 0, 0, 0, TLS_ENABLED, "posternBindAddress" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objects o;
        begin(&o, rows[i].lines);
        struct snapshot *s = build(&o);
        const struct agent_settings *a = &s->agent;
        CU_ASSERT_EQUAL(s->fault_count, rows[i].blamed != NULL);
        CU_ASSERT(rows[i].blamed == NULL || is_blamed(s, rows[i].blamed));
        CU_ASSERT(!a->pop3_enabled && a->imap4_enabled == (rows[i].blamed == NULL));
        if (rows[i].blamed == NULL) {
            CU_ASSERT(a->imap4_port == rows[i].imap && a->imap4s_port == rows[i].imaps && a->lmtp_port == rows[i].lmtp && a->lmtps_port == rows[i].lmtps);
            CU_ASSERT(a->imap4_tls == rows[i].tls && a->smtp_tls == rows[i].tls);
            CU_ASSERT(a->smtp_port == 0 && a->submission_port == 0 && a->submissions_port == 0);
        }
        snapshot_unref(&s);
        objects_fini(&o);
    }
}

/* What both kinds of agent have is taken over; TLS files are the server's own, not the client's. A bad edit keeps what was valid. */
static void test_taken_over(void)
{
    struct objects o;
    begin(&o, "posternImap4Threads: 7\nposternSmtpMaxMessageSize: 5000\nposternClearTextLogin: always\nposternPoaCertificate: mine.pem\n"
              "posternTlsCertificate: client.pem\nposternTrustedAddress: 10.1.1.*\nposternTrustedAddress: 2001:db8::/32");
    for (size_t round = 0; round < 2; round++) {
        struct snapshot *s = build(&o);
        CU_ASSERT_EQUAL(s->fault_count, round);
        CU_ASSERT(s->agent.imap4_threads == 7 && s->agent.smtp_max_message_size == 5000 && s->agent.clear_text_login == CLEAR_TEXT_ALWAYS);
        CU_ASSERT_STRING_EQUAL(s->agent.tls_certificate, "mine.pem");
        CU_ASSERT_EQUAL(s->agent.trusted_addresses.count, 2);
        CU_ASSERT(s->agent.imap4_enabled && s->post_office_count == 1);
        snapshot_unref(&s);
        objects_put(&o, entry_of(AGENT, 1, "objectClass: posternPostOfficeAgent\nposternHost: poa\nposternImap4Threads: 0"));
    }
    objects_fini(&o);
}

/* The agent's own object gets another name or becomes something else: there is no agent then, and the object is what it is now. */
static void test_renamed_away(void)
{
    static const struct { const char *dn, *lines; } rows[] = {
        { "cn=other," OFFICE, "objectClass: posternPostOfficeAgent\nposternHost: poa" },
        { "cn=other," OFFICE, "objectClass: posternPostOfficeAgent\nposternHost: poa\nposternImap4Threads: 0" },
        { "cn=poa,cn=two,ou=mail,dc=x", "objectClass: posternPostOfficeAgent\nposternHost: poa" },
        { AGENT, "objectClass: posternPostOfficeLink\nposternPostOffice: " OFFICE "\nposternPath: /srv/mail/here" },
        { AGENT, "objectClass: posternPostOffice\nposternPath: /srv/mail/here" },
        { AGENT, "objectClass: posternClassOfService\nposternMember: x.example" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objects o;
        begin(&o, "");
        struct snapshot *s = build(&o);
        CU_ASSERT(s->is_post_office_agent);
        snapshot_unref(&s);
        objects_put(&o, entry_of(rows[i].dn, 1, rows[i].lines));
        s = build(&o);
        CU_ASSERT(!s->is_post_office_agent && !s->agent.imap4_enabled && !s->agent.pop3_enabled && !s->agent.smtp_enabled);
        CU_ASSERT_EQUAL(s->agent.post_offices.count, 0);
        CU_ASSERT_PTR_NULL(snapshot_body(s)->agent);
        snapshot_unref(&s);
        /* And back. */
        objects_put(&o, entry_of(AGENT, 1, "objectClass: posternPostOfficeAgent\nposternHost: poa"));
        s = build(&o);
        CU_ASSERT(s->is_post_office_agent && s->agent.imap4_enabled && s->post_office_count == 1 && s->fault_count == 0);
        snapshot_unref(&s);
        objects_fini(&o);
    }
}

static void test_trusted_addresses(void)
{
    char texts[][16] = { "10.1.1.*", "10.1.2.10-15", "2001:db8::/32", "::1" };
    char *values[] = { texts[0], texts[1], texts[2], texts[3] };
    struct agent_settings agent = { .trusted_addresses = { values, 4 } };
    static const struct { const char *ip; bool trusted; } rows[] = {
        { "10.1.1.7", true }, { "10.1.2.12", true }, { "10.1.2.16", false }, { "10.1.3.1", false }, { "2001:db8:5::1", true }, { "2001:db9::1", false },
        { "::1", true }, { "127.0.0.1", false }, { "", false }, { "gateway", false }, { "::ffff:10.1.1.7", true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(agent_trusts_address(&agent, slice_from_string(rows[i].ip)), rows[i].trusted);
    CU_ASSERT_FALSE(agent_trusts_address(&(struct agent_settings){ 0 }, SLICE_LITERAL("127.0.0.1")));
}

static void test_trusted_gateways(void)
{
    char texts[][20] = { "cn=Gate,dc=x", "cn=two,ou=a,dc=x", "cn=two,ou=b,dc=x" };
    char *values[] = { texts[0], texts[1], texts[2] };
    struct agent_settings agent = { .trusted_gateways = { values, 3 } };
    static const struct { const char *name; const char *dn; } rows[] = {
        { "gate", "cn=Gate,dc=x" },          { "CN=gate, DC=x", "cn=Gate,dc=x" }, { "cn=two,ou=b,dc=x", "cn=two,ou=b,dc=x" }, { "two", NULL },
        { "cn=other,dc=x", NULL },           { "", NULL },                        { "gat", NULL },                            { "*", NULL },
        { "cn=Gate,dc=x,dc=y", NULL },       { "=", NULL },                       { "cn=Gate,,dc=x", NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const char *found = agent_find_gateway(&agent, slice_from_string(rows[i].name));
        CU_ASSERT(rows[i].dn == NULL ? found == NULL : found != NULL && strcmp(found, rows[i].dn) == 0);
    }
    CU_ASSERT_PTR_NULL(agent_find_gateway(&agent, slice_make("gate\0", 5)));
    CU_ASSERT_PTR_NULL(agent_find_gateway(&(struct agent_settings){ 0 }, SLICE_LITERAL("gate")));
}

static const struct unit_test tests[] = {
    { "one office", test_one_office }, { "others", test_others },
    { "settings", test_settings }, { "taken over", test_taken_over }, { "renamed away", test_renamed_away },
    { "trusted addresses", test_trusted_addresses }, { "trusted gateways", test_trusted_gateways },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("server", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
