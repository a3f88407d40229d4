/* Unit tests of classes of service: every setting on every level, ties, exceptions, the report, and what a login's rights cost with many classes. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "postern/base/log.h"
#include "run.h"
#include "src/config/exceptions.h"
#include "src/config/rights.h"

#define AGENT "cn=agent,dc=x"
#define OFFICE "cn=office,dc=x"

static const struct parse_bounds bounds = { .mail_root = "/srv/mail" };

/* Lines "name: value"; those of one name stand together. */
static void put(struct objects *o, const char *dn, unsigned number, const char *class, const char *lines)
{
    char uuid[64];
    snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", number);
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), uuid);
    struct slice names[32], values[32][32], rest = slice_from_string(lines), line;
    size_t counts[32] = { 1 }, used = 1;
    names[0] = SLICE_LITERAL("objectClass");
    values[0][0] = slice_from_string(class);
    while (slice_split(&rest, '\n', &line)) {
        ptrdiff_t colon = slice_find(line, ':');
        if (colon < 0)
            continue;
        struct slice name = slice_part(line, 0, (size_t)colon);
        if (!slice_is_equal(names[used - 1], name)) {
            counts[used] = 0;
            names[used++] = name;
        }
        values[used - 1][counts[used - 1]++] = slice_trim(slice_from(line, (size_t)colon + 1));
    }
    directory_entry_reserve(entry, used);
    for (size_t i = 0; i < used; i++)
        directory_entry_set(entry, i, names[i], values[i], counts[i]);
    objects_put(o, entry);
}

static void put_site(struct objects *o)
{
    objects_init(o, &bounds);
    put(o, AGENT, 1, "posternInternetAgent", "posternPop3Port: 1110\nposternPop3sPort: 0\nposternImap4Port: 0\nposternImap4sPort: 0\nposternSmtpPort: 0\n"
        "posternSubmissionPort: 0\nposternSubmissionsPort: 0\n");
    put(o, OFFICE, 2, "posternPostOffice", "posternPath: /srv/mail/po");
}

static void put_class(struct objects *o, unsigned number, const char *lines)
{
    char dn[64];
    snprintf(dn, sizeof(dn), "cn=class%u," AGENT, number);
    put(o, dn, 10 + number, "posternClassOfService", lines);
}

static struct snapshot *build(struct objects *o)
{
    return build_snapshot(o, &(struct build_options){ .agent_dn = AGENT, .agent_ndn = AGENT, .base = "dc=x" });
}

static char list_dn[] = "cn=list,dc=x", outer_dn[] = "cn=outer,dc=x", address_a[] = "joe@a.org", address_b[] = "joe@b.org";
static char *lists[] = { list_dn, outer_dn }, *addresses[] = { address_a, address_b };
static const struct text_list address_list = { addresses, 2 };
static const struct membership joe = { "uid=joe,dc=x", lists, 2, OFFICE, &address_list };
static char joe_id[] = "joe", joe_dn[] = "uid=joe,dc=x";

/* One row for each class given; the report of joe. */
static struct rights_report *explain(const char *const *classes, size_t count, struct user *user, struct snapshot **snapshot)
{
    struct objects o;
    put_site(&o);
    for (unsigned i = 0; i < count && classes[i] != NULL; i++)
        put_class(&o, i, classes[i]);
    *snapshot = build(&o);
    objects_fini(&o);
    *user = (struct user){ .id = joe_id, .dn = joe_dn };
    rights_apply(*snapshot, &joe, user);
    return rights_explain(*snapshot, &joe, user);
}

static const struct rights_row *row_of(const struct rights_report *report, const char *attribute)
{
    for (size_t i = 0; i < report->row_count; i++)
        if (strcmp(report->rows[i].attribute, attribute) == 0)
            return &report->rows[i];
    return NULL;
}

/* Every setting with what is built in, a value that is less generous and one that is more. */
static const struct { const char *attribute, *built_in, *less, *more; } all[] = {
    { "posternPop3Access", "allow", "prevent", "allow" }, { "posternPop3DeleteAfterDownload", "FALSE", "TRUE", "FALSE" },
    { "posternPop3PurgeAfterDownload", "FALSE", "TRUE", "FALSE" }, { "posternPop3ConvertToMime", "TRUE", "FALSE", "TRUE" },
    { "posternPop3HighPerformanceSize", "FALSE", "TRUE", "FALSE" }, { "posternPop3Days", "0", "5", "9" }, { "posternPop3MaxMessages", "0", "5", "0" },
    { "posternImap4Access", "allow", "prevent", "allow" }, { "posternImap4UserConnections", "0", "1", "2" },
    { "posternImap4UserAppendSize", "0", "1000", "2000" }, { "posternSmtpIncomingAccess", "allow", "prevent", "allow" },
    { "posternSmtpIncomingMaxSize", "0", "10", "0" }, { "posternSmtpOutgoingAccess", "allow", "prevent", "allow" },
    { "posternSmtpOutgoingMaxSize", "0", "10", "20" }, { "posternSmtpOutgoingForwards", "prevent", "prevent", "allow" },
    { "posternSmtpOutgoingReplies", "allow", "prevent", "allow" }, { "posternConsoleAccess", "prevent", "prevent", "allow" },
};
enum { ALL = sizeof(all) / sizeof(all[0]) };

static const char *const levels[] = {
    "posternMember: UID=Joe, dc=x", "posternMember: cn=outer,dc=x", ("posternMember: " OFFICE), "posternMember: B.Org", "posternDefaultClass: TRUE",
};

static void expect_row(const char *what, const struct rights_report *report, const char *attribute, const char *value, enum rights_level level,
                       const char *class_dn)
{
    const struct rights_row *row = row_of(report, attribute);
    CU_ASSERT_PTR_NOT_NULL_FATAL(row);
    bool good = strcmp(row->value, value) == 0 && row->level == level && (row->class_dn == NULL) == (class_dn == NULL) &&
                (class_dn == NULL || strcmp(row->class_dn, class_dn) == 0) && (row->member == NULL) == (level >= RIGHTS_DEFAULT);
    if (!good)
        fprintf(stderr, "%s: %s is %s by %s of %s (%s)\n", what, attribute, row->value, rights_level_word(row->level),
                row->class_dn != NULL ? row->class_dn : "-", row->member != NULL ? row->member : "-");
    CU_ASSERT(good);
}

static void try_two(const char *attribute, enum rights_level a, const char *value_a, enum rights_level b, const char *value_b, const char *value,
                    enum rights_level level, const char *class_dn)
{
    char first[200], second[200];
    const char *const classes[] = { first, second };
    struct user user;
    struct snapshot *snapshot;
    snprintf(first, sizeof(first), "%s: %s\n%s", attribute, value_a, levels[a]);
    snprintf(second, sizeof(second), "%s: %s\n%s", attribute, value_b, levels[b]);
    struct rights_report *report = explain(classes, 2, &user, &snapshot);
    expect_row(first, report, attribute, value, level, class_dn);
    rights_report_free(&report);
    rights_fini(&user);
    snapshot_unref(&snapshot);
}

/* Setting by setting: nothing said, a higher level against a lower one both ways, and both orders of a tie, on every level. */
static void test_levels(void)
{
    struct user user;
    struct snapshot *snapshot;
    struct rights_report *report = explain(NULL, 0, &user, &snapshot);
    CU_ASSERT_EQUAL(report->row_count, ALL + 2);
    for (size_t i = 0; i < ALL; i++)
        expect_row("nothing", report, all[i].attribute, all[i].built_in, RIGHTS_BUILT_IN, NULL);
    CU_ASSERT(user.pop3.allowed && !user.pop3.plain && user.smtp_outgoing_replies && !user.smtp_outgoing_forwards);
    rights_report_free(&report);
    rights_fini(&user);
    snapshot_unref(&snapshot);
    for (size_t i = 0; i < ALL; i++) {
        for (enum rights_level level = 0; level < RIGHTS_BUILT_IN; level++) {
            enum rights_level below = level + 1 < RIGHTS_BUILT_IN ? level + 1 : level;
            if (below != level) {
                try_two(all[i].attribute, level, all[i].less, below, all[i].more, all[i].less, level, "cn=class0," AGENT);
                try_two(all[i].attribute, below, all[i].less, level, all[i].more, all[i].more, level, "cn=class1," AGENT);
            }
            if (strcmp(all[i].less, all[i].more) == 0)
                continue;
            try_two(all[i].attribute, level, all[i].less, level, all[i].more, all[i].more, level, "cn=class1," AGENT);
            try_two(all[i].attribute, level, all[i].more, level, all[i].less, all[i].more, level, "cn=class0," AGENT);
        }
    }
    /* Setting by setting, not class by class: what a class leaves open is asked further down. */
    static const char *const mixed[] = { "posternPop3Days: 3\nposternPop3Access: inherit\nposternMember: uid=joe,dc=x",
                                         "posternPop3Access: prevent\nposternPop3Days: 9\nposternMember: a.org" };
    report = explain(mixed, 2, &user, &snapshot);
    CU_ASSERT(!user.pop3.allowed && user.pop3.days == 3 && user.imap4_allowed);
    rights_report_free(&report);
    rights_fini(&user);
    snapshot_unref(&snapshot);
}

/* The user's own members of a struct are those that the rows tell. */
static void test_applied(void)
{
    static const char *const classes[] = {
        "posternPop3Access: prevent\nposternPop3DeleteAfterDownload: TRUE\nposternPop3PurgeAfterDownload: TRUE\nposternPop3ConvertToMime: FALSE\n"
        "posternPop3HighPerformanceSize: TRUE\nposternPop3Days: 1\nposternPop3MaxMessages: 2\nposternImap4Access: prevent\n"
        "posternImap4UserConnections: 3\nposternImap4UserAppendSize: 4\nposternSmtpIncomingAccess: prevent\nposternSmtpIncomingMaxSize: 5\n"
        "posternSmtpOutgoingAccess: prevent\nposternSmtpOutgoingMaxSize: 6\nposternSmtpOutgoingForwards: allow\nposternSmtpOutgoingReplies: prevent\n"
        "posternConsoleAccess: allow\nposternMember: a.org"
    };
    struct user u;
    struct snapshot *snapshot;
    struct rights_report *report = explain(classes, 1, &u, &snapshot);
    CU_ASSERT(!u.pop3.allowed && u.pop3.delete_after_download && u.pop3.purge_after_download && u.pop3.plain && u.pop3.high_performance_size);
    CU_ASSERT(u.pop3.days == 1 && u.pop3.max_messages == 2 && !u.imap4_allowed && u.imap4_connections == 3 && u.imap4_append_size == 4);
    CU_ASSERT(!u.smtp_incoming_allowed && u.smtp_incoming_max_size == 5 && !u.smtp_outgoing_allowed && u.smtp_outgoing_max_size == 6);
    CU_ASSERT(u.smtp_outgoing_forwards && !u.smtp_outgoing_replies && u.console_allowed);
    CU_ASSERT_STRING_EQUAL(row_of(report, "posternPop3Days")->member, "a.org");
    rights_report_free(&report);
    rights_fini(&u);
    snapshot_unref(&snapshot);
}

static void test_patterns(void)
{
    static const struct { const char *pattern, *ip, *host, *address; int match; } rows[] = {
        { "joe@example.com", NULL, NULL, "JOE@example.COM", EXCEPTION_YES }, { "joe@example.com", NULL, NULL, "xjoe@example.com", EXCEPTION_NO },
        { "*@example.com", NULL, NULL, "a@example.com", EXCEPTION_YES }, { "*@example.com", NULL, NULL, "a@b.example.com", EXCEPTION_NO },
        { "*@*.example.com", NULL, NULL, "a@b.example.com", EXCEPTION_YES }, { "*@example.com", NULL, NULL, NULL, EXCEPTION_UNKNOWN },
        { "*@example.com", NULL, NULL, "", EXCEPTION_NO }, { "j*e*@a.b", NULL, NULL, "jxeyez@a.b", EXCEPTION_YES },
        { "example.com", NULL, "", "a@example.com", EXCEPTION_YES }, { "example.com", NULL, "", "a@b.example.com", EXCEPTION_NO },
        { "*.example.com", NULL, "", "a@b.c.example.com", EXCEPTION_YES }, { "*.example.com", NULL, "", "a@example.com", EXCEPTION_NO },
        { "*.example.com", NULL, "mx.example.com", "a@b.org", EXCEPTION_YES }, { "example.com", NULL, NULL, "a@b.org", EXCEPTION_UNKNOWN },
        { "example.com", NULL, NULL, "a@example.com", EXCEPTION_YES }, { "example.com", NULL, "", "a@notexample.com", EXCEPTION_NO },
        { "10.1.1.*", "10.1.1.77", NULL, NULL, EXCEPTION_YES }, { "10.1.1.*", "10.1.2.77", NULL, NULL, EXCEPTION_NO },
        { "10.1.*", "10.1.2.77", NULL, NULL, EXCEPTION_YES }, { "10.1.1.10-15", "10.1.1.10", NULL, NULL, EXCEPTION_YES },
        { "10.1.1.10-15", "10.1.1.15", NULL, NULL, EXCEPTION_YES }, { "10.1.1.10-15", "10.1.1.16", NULL, NULL, EXCEPTION_NO },
        { "10.1.1.10-15", "10.1.1.9", NULL, NULL, EXCEPTION_NO }, { "10.1.1.1", "10.1.1.1", NULL, NULL, EXCEPTION_YES },
        { "10.1.1.1", "::ffff:10.1.1.1", NULL, NULL, EXCEPTION_YES }, { "10.1.1.1", NULL, NULL, NULL, EXCEPTION_UNKNOWN },
        { "10.1.1.1", "", NULL, "a@b.c", EXCEPTION_NO }, { "10.1.1.1", "2001:db8::1", NULL, NULL, EXCEPTION_NO },
        { "2001:DB8::1", "2001:db8:0::1", NULL, NULL, EXCEPTION_YES }, { "2001:db8::/33", "2001:db8:7fff::1", NULL, NULL, EXCEPTION_YES },
        { "2001:db8::/33", "2001:db8:8000::1", NULL, NULL, EXCEPTION_NO }, { "::/0", "2001:db8:8000::1", NULL, NULL, EXCEPTION_YES },
        { "2001:db8::1", "10.1.1.1", NULL, NULL, EXCEPTION_NO },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mail_party party = { slice_from_string(rows[i].ip), slice_from_string(rows[i].host), slice_from_string(rows[i].address) };
        CU_ASSERT(exception_is_valid(slice_from_string(rows[i].pattern)));
        int match = (int)exception_match(slice_from_string(rows[i].pattern), &party);
        if (match != rows[i].match)
            fprintf(stderr, "row %zu: %s\n", i, rows[i].pattern);
        CU_ASSERT_EQUAL(match, rows[i].match);
    }
    static const char *const bad[] = { "", "@", "a@", "a b@c.d", "10.1.1", "10.1.1.256", "10.1.1.15-10", "10.1.1.1.1", "10.1.1.1-", "10..1.*",
                                       "10.1.1.300-301", "ex ample.com", "example.com/", "2001:db8::/129", "2001:db8::x", "::1/", "a@b c", "\xff..@/" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_FALSE(exception_is_valid(slice_from_string(bad[i])));
        if (exception_is_valid(slice_from_string(bad[i])))
            fprintf(stderr, "valid: %s\n", bad[i]);
    }
}

struct exception_row {
    const char *classes[3];
    const char *ip, *address;
    bool user, anybody;
};

/* With allow the exceptions are refused, with prevent they are allowed; of two classes at a level the more generous counts, sender by sender. */
static void test_exceptions(void)
{
    static const struct exception_row rows[] = {
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: *@bad.org\nposternMember: a.org" }, "1.2.3.4", "x@bad.org", false, true },
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: *@bad.org\nposternMember: a.org" }, "1.2.3.4", "x@good.org", true, true },
        { { "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: *@good.org\nposternMember: a.org" }, "1.2.3.4", "x@bad.org", false, true },
        { { "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: *@good.org\nposternMember: a.org" }, "1.2.3.4", "x@good.org", true, true },
        { { "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: 1.2.3.*\nposternMember: a.org" }, "1.2.3.4", "x@good.org", true, true },
        /* Exceptions count beside the access of their own class, and only there. */
        { { "posternSmtpIncomingException: *@bad.org\nposternMember: a.org" }, "1.2.3.4", "x@bad.org", true, true },
        { { "posternSmtpIncomingException: *@bad.org\nposternMember: uid=joe,dc=x", "posternSmtpIncomingAccess: allow\nposternMember: a.org" },
          "1.2.3.4", "x@bad.org", true, true },
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: *@bad.org\nposternMember: a.org",
            "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: x@bad.org\nposternMember: a.org" }, "1.2.3.4", "x@bad.org", true, true },
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: *@bad.org\nposternMember: a.org",
            "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: x@bad.org\nposternMember: a.org" }, "1.2.3.4", "y@bad.org", false, true },
        /* The default class refuses a client as such, if no other class takes its mail. */
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: 1.2.3.4\nposternDefaultClass: TRUE" }, "1.2.3.4", NULL, false, false },
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: 1.2.3.4\nposternDefaultClass: TRUE" }, "1.2.3.5", NULL, true, true },
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: 1.2.3.4\nposternDefaultClass: TRUE",
            "posternSmtpIncomingAccess: allow\nposternMember: uid=other,dc=x" }, "1.2.3.4", NULL, false, true },
        { { "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: 1.2.3.4\nposternDefaultClass: TRUE",
            "posternPop3Access: allow\nposternMember: uid=other,dc=x" }, "1.2.3.4", NULL, false, false },
        { { "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: *@good.org\nposternDefaultClass: TRUE" }, "1.2.3.4", NULL, true, true },
        { { "posternSmtpIncomingAccess: prevent\nposternSmtpIncomingException: *@good.org\nposternDefaultClass: TRUE" }, "1.2.3.4", "a@b.c", false, false },
        { { "posternSmtpIncomingAccess: prevent\nposternDefaultClass: TRUE" }, "1.2.3.4", NULL, false, false },
        /* A class that never was valid prevents, whatever another of its level says. */
        { { "posternSmtpIncomingException: 300.1.1.1\nposternMember: a.org", "posternSmtpIncomingAccess: allow\nposternMember: a.org" }, "1.2.3.4",
          "x@good.org", false, true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct user user;
        struct snapshot *snapshot;
        struct rights_report *report = explain(rows[i].classes, 3, &user, &snapshot);
        struct mail_party sender = { slice_from_string(rows[i].ip), SLICE_NONE, slice_from_string(rows[i].address) };
        bool good = user_may_receive_from(&user, &sender) == rows[i].user && snapshot_takes_mail_from(snapshot, &sender) == rows[i].anybody;
        if (!good)
            fprintf(stderr, "exceptions row %zu\n", i);
        CU_ASSERT(good);
        rights_report_free(&report);
        rights_fini(&user);
        snapshot_unref(&snapshot);
    }
}

static void test_outgoing_exceptions(void)
{
    static const char *const classes[] = {
        "posternSmtpOutgoingAccess: prevent\nposternSmtpOutgoingException: *.Good.org\nposternSmtpOutgoingException: 10.1.1.*\n"
        "posternSmtpIncomingAccess: allow\nposternSmtpIncomingException: spam.org\nposternMember: a.org",
        "posternSmtpOutgoingAccess: prevent\nposternSmtpOutgoingException: joe@x.org\nposternMember: b.org",
    };
    struct user user;
    struct snapshot *snapshot;
    struct rights_report *report = explain(classes, 2, &user, &snapshot);
    static const struct { const char *ip, *address; bool allowed; } rows[] = {
        { "", "a@mx.good.org", true }, { "", "a@good.org", false }, { "", "joe@x.org", true }, { "", "jim@x.org", false },
        { "10.1.1.2", "a@[10.1.1.2]", true }, { "10.1.2.2", "a@[10.1.2.2]", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct mail_party to = { slice_from_string(rows[i].ip), SLICE_LITERAL(""), slice_from_string(rows[i].address) };
        CU_ASSERT_EQUAL(user_may_send_to(&user, &to), rows[i].allowed);
    }
    CU_ASSERT(user.smtp_outgoing_allowed);   /* somewhere */
    expect_row("access", report, "posternSmtpOutgoingAccess", "prevent", RIGHTS_DOMAIN, "cn=class0," AGENT);
    expect_row("exceptions", report, "posternSmtpOutgoingException", "*.Good.org, 10.1.1.*", RIGHTS_DOMAIN, "cn=class0," AGENT);
    expect_row("exceptions", report, "posternSmtpIncomingException", "spam.org", RIGHTS_DOMAIN, "cn=class0," AGENT);
    CU_ASSERT_EQUAL(report->row_count, ALL + 3);
    rights_report_free(&report);
    rights_fini(&user);
    snapshot_unref(&snapshot);
}

/* Lists are asked for only where a class names something that may be one. */
static void test_lists_needed(void)
{
    static const struct { const char *class; bool needed; } rows[] = {
        { "posternMember: uid=joe,dc=x", false }, { "posternMember: " OFFICE, false }, { "posternMember: a.org", false },
        { "posternDefaultClass: TRUE", false }, { "posternMember: cn=list,dc=x", true }, { "posternMember: uid=ann,dc=x", true },
        { "posternMember: UID=JOE,dc=x\nposternMember: uid=ann,dc=x", true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct objects o;
        put_site(&o);
        put_class(&o, 1, rows[i].class);
        put_class(&o, 2, rows[i].class);
        struct snapshot *snapshot = build(&o);
        CU_ASSERT_EQUAL(rights_need_lists(snapshot, "uid=joe,dc=x"), rows[i].needed);
        snapshot_unref(&snapshot);
        objects_fini(&o);
    }
}

/* Of this thread: others may keep the machine busy. */
static uint64_t cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000;
}

/* 1,000 classes with 20 members each, a user in 200 lists of which 100 are named by ten classes each. */
static void test_cost(void)
{
    enum { CLASSES = 1000, LISTS = 200, ROUNDS = 200 };
    static char names[LISTS][32], *many[LISTS];
    char lines[2000];
    struct objects o;
    put_site(&o);
    for (unsigned i = 0; i < CLASSES; i++) {
        size_t used = (size_t)snprintf(lines, sizeof(lines), "posternPop3Days: %u\n", 1 + i);
        for (unsigned j = 0; j < 20; j++)
            used += (size_t)snprintf(lines + used, sizeof(lines) - used, "posternMember: cn=list%u,dc=x\n", j == 0 ? i % 100 : 1000 + i * 20 + j);
        put_class(&o, i, lines);
    }
    for (unsigned i = 0; i < LISTS; i++) {
        snprintf(names[i], sizeof(names[i]), "cn=list%u,dc=x", i);
        many[i] = names[i];
    }
    uint64_t begin = cpu_us();
    struct snapshot *snapshot = build(&o);
    uint64_t built = cpu_us();
    struct membership m = { "uid=joe,dc=x", many, LISTS, OFFICE, &address_list };
    struct user user = { .id = joe_id, .dn = joe_dn };
    for (unsigned i = 0; i < ROUNDS; i++) {
        rights_apply(snapshot, &m, &user);
        rights_fini(&user);
    }
    uint64_t ended = cpu_us();
    CU_ASSERT_EQUAL(user.pop3.days, CLASSES);
    double each = (double)(ended - built) / ROUNDS;
    printf("\n    %d classes of 20 members, a user of all of them by %d lists: snapshot %llu ms, rights %.0f microseconds of CPU time\n", CLASSES, LISTS,
           (unsigned long long)(built - begin) / 1000, each);
    CU_ASSERT(each < 1000.0 * 4);   /* the aim is 1 ms; sanitizers have some room */
    snapshot_unref(&snapshot);
    objects_fini(&o);
}

static const struct unit_test tests[] = {
    { "levels", test_levels }, { "applied", test_applied }, { "patterns", test_patterns }, { "exceptions", test_exceptions },
    { "outgoing exceptions", test_outgoing_exceptions }, { "lists needed", test_lists_needed }, { "cost", test_cost },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("rights", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
