/* Unit tests of users kept in memory, over a directory of a few entries in this file: what changes while it is being asked, and users on many lists. */
#include <stdio.h>
#include <string.h>

#include "postern/base/log.h"
#include "postern/config/rights.h"
#include "postern/directory/changes.h"
#include "run.h"
#include "src/config/build.h"
#include "src/config/lookup.h"
#include "src/config/users.h"

#define AGENT "cn=agent,dc=x"
#define JOE "uid=joe,ou=a,dc=x"
#define MOVED "uid=joe,ou=b,dc=x"

static const struct parse_bounds bounds = { .mail_root = "/srv/mail", .agent_ndn = AGENT };

/* --- entries ----------------------------------------------------------------------------------------------------------------- */

/* Lines "name: value"; each name once. */
static struct directory_entry *entry_of(const char *dn, unsigned number, const char *lines)
{
    char uuid[DIRECTORY_UUID_SIZE];
    struct slice rest = slice_from_string(lines), line;
    size_t count = 0;
    snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", number);
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), uuid);
    directory_entry_reserve(entry, 16);
    while (slice_split(&rest, '\n', &line)) {
        ptrdiff_t colon = slice_find(line, ':');
        struct slice value = slice_trim(slice_from(line, (size_t)colon + 1));
        directory_entry_set(entry, count++, slice_part(line, 0, (size_t)colon), &value, 1);
    }
    entry->count = count;
    return entry;
}

static struct directory_entry *joe_at(const char *dn)
{
    return entry_of(dn, 7, "objectClass: posternMailUser\nuid: joe\nposternPostOffice: CN=Sales, dc=x");
}

/* --- the directory ------------------------------------------------------------------------------------------------------------ */

struct membership_of { const char *member; const char *list; unsigned number; };

enum { MANY = 3000 };

static const char *joe_dn;                        /* NULL: joe is gone */
static struct membership_of members[MANY];
static size_t member_count;
static const struct directory_changes_events *events;
static void (*meanwhile)(void);                   /* after the directory has made an answer about lists, before it is read */
static unsigned questions;

static void put_on(const char *member, const char *list, unsigned number)
{
    members[member_count++] = (struct membership_of){ member, list, number };
}

/* As the directory writes it: none of these has anything that is escaped. */
static bool is_asked_for(const char *filter, const char *member)
{
    char wanted[200];
    snprintf(wanted, sizeof(wanted), "(member=%s)", member);
    return strstr(filter, wanted) != NULL;
}

static int answer_lists(const struct directory_search *search, struct directory_entry **out, size_t *count_out, struct fault *fault)
{
    int rc = 0;
    questions++;
    for (size_t i = 0; i < member_count && rc == 0; i++) {
        if (!is_asked_for(search->filter, members[i].member))
            continue;
        if (*count_out == search->limit)
            rc = fault_set(fault, FAULT_LIMIT, 0, "Size limit exceeded");
        else
            out[(*count_out)++] = entry_of(members[i].list, members[i].number, "objectClass: groupOfNames");
    }
    void (*now)(void) = meanwhile;
    meanwhile = NULL;
    if (now != NULL)
        now();
    return rc;
}

int directory_pool_search(struct directory_pool *pool, const struct directory_search *search, struct directory_entry **out, size_t *count_out,
                          struct fault *fault)
{
    (void)pool;
    *count_out = 0;
    if (search->server != NULL)
        *search->server = 1;
    if (strstr(search->filter, "groupOfNames") != NULL)
        return answer_lists(search, out, count_out, fault);
    if (search->scope == DIRECTORY_SCOPE_BASE && (joe_dn == NULL || strcmp(search->base, joe_dn) != 0))
        return fault_set(fault, FAULT_NOT_FOUND, 0, "no such object");
    if (joe_dn != NULL)
        out[(*count_out)++] = joe_at(joe_dn);
    return 0;
}

struct directory_changes *directory_changes_start(const struct directory_changes_options *options, const struct directory_changes_events *e, void *context)
{
    (void)options, (void)context;
    events = e;
    return NULL;
}

void directory_changes_stop(struct directory_changes **changes)
{
    (void)changes;
}

/* --- the configuration --------------------------------------------------------------------------------------------------------- */

static struct objects objects;

static void publish(void)
{
    struct snapshot *before = snapshot_current();
    struct snapshot *now = build_snapshot(&objects, &(struct build_options){ AGENT, AGENT, "dc=x", false, NULL });
    snapshot_publish(snapshot_ref(now));
    users_follow_snapshot(before, now);
    snapshot_unref(&before);
    snapshot_unref(&now);
}

/* A class that keeps the members of cn=staff from IMAP. */
static void begin(void)
{
    joe_dn = JOE;
    member_count = 0;
    meanwhile = NULL;
    objects_init(&objects, &bounds);
    objects_put(&objects, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
    objects_put(&objects, entry_of("cn=class," AGENT, 2, "objectClass: posternClassOfService\nposternImap4Access: prevent\nposternMember: cn=staff,dc=x"));
    users_start(NULL, AGENT, NULL, NULL, NULL);
    publish();
    events->ready(NULL, 1);
}

static void end(void)
{
    users_stop();
    snapshot_publish(NULL);
    objects_fini(&objects);
}

/* Whether joe may use IMAP, as the next login knows it. */
static int may_imap(void)
{
    struct user *user = NULL;
    struct fault fault;
    int may = lookup_user(NULL, SLICE_LITERAL("joe"), &user, &fault) == 0 ? user->imap4_allowed : -1;
    user_unref(&user);
    return may;
}

static bool is_kept(void)
{
    struct user *user = NULL;
    bool kept = lookup_kept_user(SLICE_LITERAL("joe"), &user);
    user_unref(&user);
    return kept;
}

/* --- tests --------------------------------------------------------------------------------------------------------------------- */

static void delete_staff(void)
{
    member_count = 0;
    events->changed(NULL, entry_of("cn=staff,dc=x", 20, "objectClass: groupOfNames"), true);
}

static void take_class_from_staff(void)
{
    member_count = 0;
    events->changed(NULL, entry_of("cn=staff,dc=x", 20, "objectClass: applicationProcess"), false);
}

/* Nobody who is kept was on the list: that it is gone matters all the same to who is asked for. */
static void test_list_ends_meanwhile(void)
{
    static void (*const edits[])(void) = { delete_staff, take_class_from_staff };
    for (size_t i = 0; i < 2; i++) {
        struct user *joe = NULL;
        begin();
        put_on(JOE, "cn=staff,dc=x", 20);
        meanwhile = edits[i];
        CU_ASSERT_EQUAL_FATAL(lookup_user(NULL, SLICE_LITERAL("joe"), &joe, NULL), 0);
        CU_ASSERT(joe->imap4_allowed || !users_is_current(joe));
        user_unref(&joe);
        CU_ASSERT_EQUAL(may_imap(), 1);
        end();
    }
}

static void test_list_ends(void)
{
    static void (*const edits[])(void) = { delete_staff, take_class_from_staff };
    for (size_t i = 0; i < 2; i++) {
        begin();
        put_on(JOE, "cn=staff,dc=x", 20);
        CU_ASSERT_EQUAL(may_imap(), 0);
        CU_ASSERT(is_kept());
        edits[i]();
        CU_ASSERT_EQUAL(may_imap(), 1);
        end();
    }
}

/* The lists of where he was come late: he has been asked for anew. */
static void move_joe(void)
{
    joe_dn = MOVED;
    events->changed(NULL, joe_at(MOVED), false);
    CU_ASSERT_EQUAL(may_imap(), 0);
}

static void test_user_moves_meanwhile(void)
{
    begin();
    put_on(MOVED, "cn=staff,dc=x", 20);
    CU_ASSERT_EQUAL(may_imap(), 1);
    events->changed(NULL, entry_of("cn=staff,dc=x", 20, "objectClass: groupOfNames"), false);
    meanwhile = move_joe;
    CU_ASSERT_EQUAL(may_imap(), 0);
    objects_put(&objects, entry_of("cn=other," AGENT, 3, "objectClass: posternClassOfService\nposternPop3Access: prevent\nposternMember: a.org"));
    publish();
    CU_ASSERT_EQUAL(may_imap(), 0);
    end();
}

/* Of a persistent search everything is heard, also what does not matter. */
static void test_others(void)
{
    begin();
    CU_ASSERT_EQUAL(may_imap(), 1);
    CU_ASSERT(is_kept());
    events->changed(NULL, entry_of("cn=host," AGENT, 30, "objectClass: posternAgentStatus"), false);
    CU_ASSERT(is_kept());
    events->changed(NULL, entry_of("ou=a,dc=x", 31, "objectClass: organizationalUnit"), false);
    CU_ASSERT(!is_kept());
    CU_ASSERT_EQUAL(may_imap(), 1);
    CU_ASSERT(is_kept());
    events->changed(NULL, entry_of("cn=secret,dc=x", 32, "cn: secret"), false);
    CU_ASSERT(!is_kept());
    CU_ASSERT_EQUAL(may_imap(), 1);
    joe_dn = NULL;
    events->changed(NULL, entry_of(JOE, 7, "objectClass: inetOrgPerson\nuid: joe"), false);
    CU_ASSERT_EQUAL(may_imap(), -1);
    end();
}

/* No list is left out silently: it may be the one that prevents. */
static void test_many_lists(void)
{
    static char names[MANY][40];
    static const struct { size_t lists, above; int may; } rows[] = { { 250, 0, 0 }, { 300, 0, -1 }, { 200, 500, 0 }, { 200, 1500, -1 } };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin();
        for (unsigned n = 0; n < rows[i].lists + rows[i].above; n++)
            snprintf(names[n], sizeof(names[n]), "cn=l%u,dc=x", n);
        for (unsigned n = 0; n < rows[i].lists; n++)
            put_on(JOE, names[n], 100 + n);
        /* each of the first lists is on some of the others */
        for (unsigned n = 0; n < rows[i].above; n++)
            put_on(names[n % 8], names[rows[i].lists + n], 1000 + n);
        put_on(names[rows[i].lists + rows[i].above - 1], "cn=staff,dc=x", 20);
        CU_ASSERT_EQUAL(may_imap(), rows[i].may);
        end();
    }
}

/* Lists that hold each other are asked for once. */
static void test_loop(void)
{
    begin();
    put_on(JOE, "cn=a,dc=x", 40);
    put_on("cn=a,dc=x", "CN=B, DC=x", 41);
    put_on("CN=B, DC=x", "cn=a,dc=x", 40);
    put_on("CN=B, DC=x", "cn=b,dc=x", 41);
    put_on("CN=B, DC=x", "cn=staff,dc=x", 20);
    questions = 0;
    CU_ASSERT_EQUAL(may_imap(), 0);
    CU_ASSERT_EQUAL(questions, 4);
    end();
}

/* What is told of a user's rights is what is in force, also where the post office is unknown. */
static void test_explained(void)
{
    struct rights_report *report = NULL;
    struct user *joe = NULL;
    begin();
    objects_put(&objects, entry_of("cn=office," AGENT, 3, "objectClass: posternClassOfService\nposternPop3Access: prevent\nposternMember: cn=sales,dc=x"));
    publish();
    CU_ASSERT_EQUAL_FATAL(lookup_user(NULL, SLICE_LITERAL("joe"), &joe, NULL), 0);
    CU_ASSERT_PTR_NULL(joe->post_office);
    CU_ASSERT(!joe->pop3.allowed);
    CU_ASSERT_EQUAL_FATAL(lookup_explain(NULL, SLICE_LITERAL("joe"), &report, NULL), 0);
    for (size_t i = 0; i < report->row_count; i++) {
        const struct rights_row *row = &report->rows[i];
        if (strcmp(row->attribute, "posternPop3Access") == 0) {
            CU_ASSERT_STRING_EQUAL(row->value, "prevent");
            CU_ASSERT_EQUAL(row->level, RIGHTS_POST_OFFICE);
        }
    }
    rights_report_free(&report);
    user_unref(&joe);
    end();
}

static const struct unit_test tests[] = {
    { "a list ends", test_list_ends }, { "a list ends meanwhile", test_list_ends_meanwhile }, { "a user moves meanwhile", test_user_moves_meanwhile },
    { "others", test_others }, { "many lists", test_many_lists }, { "lists in a loop", test_loop },
    { "explained", test_explained },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("users", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
