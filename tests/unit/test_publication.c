/* Unit tests of publication: what an edit leaves alone is shared with the snapshot before, old snapshots stay as they are, and whatever the order of the
 * edits, the outcome is that of one build of everything. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/buf.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/config/found.h"
#include "run.h"
#include "src/config/build.h"
#include "src/config/lookup.h"
#include "src/config/rights.h"
#include "src/config/users.h"

#define AGENT "cn=agent,dc=x"

static uint64_t passed_ms;   /* in place of src/base/clock.c */

uint64_t clock_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return ((uint64_t)now.tv_sec * 1000 + passed_ms) * 1000 + (uint64_t)now.tv_nsec / 1000;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

struct timespec clock_wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now;
}

static const uint16_t ports[] = { 25, 110, 143, 465, 587, 993, 995 };
static const struct parse_bounds bounds = { .mail_root = "/srv/mail", .allowed_ports = ports, .allowed_port_count = 7, .agent_ndn = AGENT };

/* Lines "name: value"; each name once, several values separated by "|". */
static struct directory_entry *entry_of(const char *dn, unsigned number, const char *lines)
{
    char uuid[DIRECTORY_UUID_SIZE];
    struct slice rest = slice_from_string(lines), line;
    size_t count = 0;
    snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", number);
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), uuid);
    directory_entry_reserve(entry, 16);
    while (slice_split(&rest, '\n', &line)) {
        struct slice values[8];
        size_t used = 0;
        ptrdiff_t colon = slice_find(line, ':');
        if (colon < 0)
            continue;
        struct slice all = slice_trim(slice_from(line, (size_t)colon + 1));
        while (used < 8 && slice_split(&all, '|', &values[used]))
            used++;
        directory_entry_set(entry, count++, slice_part(line, 0, (size_t)colon), values, used);
    }
    entry->count = count;
    return entry;
}

static struct snapshot *build(struct objects *o)
{
    return build_snapshot(o, &(struct build_options){ AGENT, AGENT, "dc=x", false, NULL });
}

/* --- everything that a snapshot says, as text ------------------------------------------------------------------------------------- */

static void say_office(struct buf *out, const struct snapshot *s, const struct post_office *po)
{
    buf_printf(out, "office %s %s %s mode %d %d %d path %s template %s link %s from %s %s\n", po->dn, po->name, po->uuid, (int)po->mode, (int)po->own_mode,
               (int)po->link_mode, po->path ? po->path : "-", po->mailbox_template, po->link_dn ? po->link_dn : "-", po->mode_from ? po->mode_from : "-",
               po->path_from ? po->path_from : "-");
    for (size_t i = 0; i < po->domains.count; i++)
        buf_printf(out, "  domain %s %d\n", po->domains.values[i], snapshot_domain(s, slice_from_string(po->domains.values[i])) == po);
    for (size_t i = 0; i < po->agent_count; i++)
        buf_printf(out, "  server %s %s %u\n", po->agents[i].dn, po->agents[i].host, po->agents[i].port);
    buf_printf(out, "  found %d\n", snapshot_post_office(s, po->dn) == po);
}

static void say_version(struct version *version, void *context)
{
    buf_printf(context, "version %s %s\n", version->entry->uuid, version->ndn);
}

static void say(struct buf *out, const struct snapshot *s)
{
    buf_init(out, 0);
    buf_printf(out, "agent %s threads %" PRIu64 " imap %d poa %d lists %d\n", s->agent.dn, s->agent.pop3_threads, s->agent.imap4_enabled,
               s->is_post_office_agent, rights_need_lists(s, "cn=o1,dc=x"));
    for (size_t i = 0; i < s->post_office_count; i++)
        say_office(out, s, s->post_offices[i]);
    for (size_t i = 0; i < s->class_count; i++)
        buf_printf(out, "class %s %d\n", s->classes[i].version->ndn, s->classes[i].broken);
    for (size_t i = 0; i < s->fault_count; i++)
        buf_printf(out, "fault %s %s %s\n", s->faults[i].dn, s->faults[i].attribute ? s->faults[i].attribute : "-", s->faults[i].reason);
    for (unsigned i = 0; i < 4; i++) {
        char domain[8];
        snprintf(domain, sizeof(domain), "d%u", i);
        const struct post_office *po = snapshot_domain(s, slice_from_string(domain));
        buf_printf(out, "%s served by %s\n", domain, po != NULL ? po->uuid : "-");
    }
    snapshot_for_each_version(s, say_version, out);
}

static bool is_same_text(const struct snapshot *a, const struct snapshot *b)
{
    struct buf left, right;
    say(&left, a);
    say(&right, b);
    bool same = slice_is_equal(buf_slice(&left), buf_slice(&right));
    if (!same)
        printf("\n--- one\n%s--- other\n%s", buf_text(&left), buf_text(&right));
    buf_fini(&left);
    buf_fini(&right);
    return same;
}

/* --- edits by chance --------------------------------------------------------------------------------------------------------------- */

static uint32_t state;

static unsigned chance(unsigned below)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
}

enum { OBJECTS = 27, STEPS = 150, HELD = 8 };

static void agent_lines(char *out, size_t size, unsigned variant)
{
    static const char *const lists[] = { "", "", "posternPostOffice: cn=o1,dc=x|cn=o3,dc=x", "posternPostOffice: cn=o2,dc=x|cn=nowhere,dc=x" };
    /* As an Internet Agent, as the Post Office Agent that this process serves as, and neither valid nor without effect. */
    if (variant % 5 == 4)
        snprintf(out, size, "objectClass: posternPostOfficeAgent\nposternHost: here");
    else
        snprintf(out, size, "objectClass: posternInternetAgent\nposternPop3Threads: %u\n%s", variant % 7 == 0 ? 0 : variant + 1, lists[variant % 4]);
}

/* An object by its number, in one of its forms. NULL: it is taken away. */
static struct directory_entry *object_of(unsigned number, unsigned variant)
{
    static const char *const paths[] = { "/srv/mail/a", "/srv/mail/b", "/etc" };
    static const char *const modes[] = { "direct", "current", "client/server", "nonsense" };
    char dn[80], lines[400];
    unsigned v = variant / 4;
    if (variant % 16 == 0)
        return NULL;
    if (number == 0 || number == OBJECTS - 1) {
        snprintf(dn, sizeof(dn), AGENT);
        agent_lines(lines, sizeof(lines), v);
    } else if (number < 8) {
        snprintf(dn, sizeof(dn), "cn=o%u,dc=x", v % 5 == 0 ? v % 4 : number % 4);
        if (v % 11 == 0)
            snprintf(dn, sizeof(dn), "dc=x");
        snprintf(lines, sizeof(lines), "objectClass: posternPostOffice\nposternPath: %s\nposternDomain: d%u|d%u\nposternAccessMode: %s", paths[v % 9 == 0 ? 2 : v % 2],
                 v % 4, 4 + number, modes[v % 13 == 0 ? 3 : v % 3]);
    } else if (number < 14) {
        snprintf(dn, sizeof(dn), "cn=l%u,%s", number, v % 8 == 0 ? "cn=other,dc=x" : AGENT);
        snprintf(lines, sizeof(lines), "objectClass: posternPostOfficeLink\nposternPostOffice: %s%u,dc=x\nposternPath: %s\nposternAccessMode: %s%s",
                 v % 10 == 0 ? "cn=nowhere" : "cn=o", v % 4, paths[v % 7 == 0 ? 2 : v % 2], modes[v % 3], v % 6 == 0 ? "\nposternHost: linked" : "");
    } else if (number < 24) {
        snprintf(dn, sizeof(dn), "cn=s%u,cn=o%u,dc=x", number, v % 9 == 0 ? 2 : 1);
        snprintf(lines, sizeof(lines), "objectClass: posternPostOfficeAgent\nposternPort: %u%s", v % 12 == 0 ? 70000 : 143,
                 v % 7 == 0 ? "" : "\nposternHost: h2|h1");
    } else {
        snprintf(dn, sizeof(dn), "cn=c%u,%s", number, v % 6 == 0 ? "dc=x" : AGENT);
        snprintf(lines, sizeof(lines), "objectClass: posternClassOfService\nposternMember: cn=o%u,dc=x\nposternPop3Access: %s", v % 4,
                 v % 5 == 0 ? "nonsense" : "prevent");
    }
    return entry_of(dn, number + 1, lines);
}

static void apply(struct objects *o, unsigned number, unsigned variant)
{
    struct directory_entry *entry = object_of(number, variant);
    char uuid[DIRECTORY_UUID_SIZE];
    snprintf(uuid, sizeof(uuid), "00000000-0000-0000-0000-%012u", number + 1);
    if (entry != NULL)
        objects_put(o, entry);
    else
        objects_remove(o, uuid);
}

static void run_edits(uint32_t seed)
{
    static unsigned numbers[STEPS], variants[STEPS];
    struct snapshot *held[HELD] = { NULL };
    struct buf texts[HELD] = { { .cap = 0 } };
    struct objects o;
    bool good = true;
    state = seed;
    objects_init(&o, &bounds);
    for (unsigned i = 0; i < STEPS && good; i++) {
        numbers[i] = chance(OBJECTS);
        variants[i] = chance(1000);
        apply(&o, numbers[i], variants[i]);
        if (chance(3) == 0)
            continue;
        struct snapshot *now = build(&o);
        /* Held for a while, given back in another order: what it says must not move. */
        unsigned at = chance(HELD);
        if (held[at] != NULL) {
            struct buf text;
            say(&text, held[at]);
            good = slice_is_equal(buf_slice(&text), buf_slice(&texts[at]));
            buf_fini(&text);
            buf_fini(&texts[at]);
            snapshot_unref(&held[at]);
        }
        held[at] = now;
        say(&texts[at], now);
        struct objects fresh;
        objects_init(&fresh, &bounds);
        for (unsigned j = 0; j <= i; j++)
            apply(&fresh, numbers[j], variants[j]);
        struct snapshot *whole = build(&fresh);
        good = is_same_text(now, whole) && good;
        snapshot_unref(&whole);
        objects_fini(&fresh);
    }
    CU_ASSERT(good);
    objects_fini(&o);
    for (unsigned i = 0; i < HELD; i++) {
        snapshot_unref(&held[i]);
        buf_fini(&texts[i]);
    }
}

static void test_any_order(void)
{
    for (uint32_t seed = 1; seed <= 12; seed++)
        run_edits(seed);
}

/* --- sharing ------------------------------------------------------------------------------------------------------------------------ */

static void put_office(struct objects *o, unsigned number, const char *path)
{
    char dn[80], lines[200];
    snprintf(dn, sizeof(dn), "cn=office%u,dc=x", number);
    snprintf(lines, sizeof(lines), "objectClass: posternPostOffice\nposternPath: %s\nposternDomain: o%u.example", path, number);
    objects_put(o, entry_of(dn, 1000 + number, lines));
}

static void put_link(struct objects *o, unsigned number, unsigned office, const char *path)
{
    char dn[80], lines[200];
    snprintf(dn, sizeof(dn), "cn=link%u,%s", number, AGENT);
    snprintf(lines, sizeof(lines), "objectClass: posternPostOfficeLink\nposternPostOffice: cn=office%u,dc=x\nposternPath: %s", office, path);
    objects_put(o, entry_of(dn, 5000 + number, lines));
}

/* How many post offices of `now` are not the very same as in `before`. */
static size_t count_new(const struct snapshot *before, const struct snapshot *now)
{
    size_t new = 0;
    for (size_t i = 0; i < now->post_office_count; i++)
        new += snapshot_post_office(before, now->post_offices[i]->dn) != now->post_offices[i];
    return new;
}

static void test_sharing(void)
{
    enum { OFFICES = 500 };
    struct objects o;
    objects_init(&o, &bounds);
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
    objects_put(&o, entry_of("cn=class,"AGENT, 2, "objectClass: posternClassOfService\nposternMember: cn=office1,dc=x"));
    for (unsigned i = 0; i < OFFICES; i++) {
        put_office(&o, i, "/srv/mail/a");
        put_link(&o, i, i, "/srv/mail/l");
    }
    struct snapshot *first = build(&o), *second, *third;
    CU_ASSERT_EQUAL(first->post_office_count, OFFICES);
    put_link(&o, 77, 77, "/srv/mail/other");
    second = build(&o);
    CU_ASSERT_EQUAL(count_new(first, second), 1);
    CU_ASSERT_NOT_EQUAL(first->post_offices_serial, second->post_offices_serial);
    CU_ASSERT_STRING_EQUAL(snapshot_post_office(second, "cn=office77,dc=x")->path, "/srv/mail/other");
    CU_ASSERT_STRING_EQUAL(snapshot_post_office(first, "cn=office77,dc=x")->path, "/srv/mail/l");
    CU_ASSERT_PTR_EQUAL(first->classes, second->classes);
    /* To another post office: both are made anew, and the link that had led there is of no use. */
    put_link(&o, 78, 79, "/srv/mail/z");
    third = build(&o);
    CU_ASSERT_EQUAL(count_new(second, third), 2);
    CU_ASSERT_EQUAL(third->fault_count, 1);
    snapshot_unref(&second);
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent\nposternPop3Threads: 9"));
    second = build(&o);
    CU_ASSERT_EQUAL(count_new(third, second), 0);
    CU_ASSERT_EQUAL(third->post_offices_serial, second->post_offices_serial);
    CU_ASSERT_EQUAL(second->agent.pop3_threads, 9);
    objects_fini(&o);
    snapshot_unref(&third);
    CU_ASSERT_STRING_EQUAL(snapshot_post_office(first, "cn=office77,dc=x")->path, "/srv/mail/l");
    snapshot_unref(&first);
    CU_ASSERT_STRING_EQUAL(snapshot_post_office(second, "cn=office499,dc=x")->path, "/srv/mail/l");
    snapshot_unref(&second);
}

/* A name with an octet zero is not the part before it. */
static void test_domain_with_nul(void)
{
    struct objects o;
    objects_init(&o, &bounds);
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
    put_office(&o, 1, "/srv/mail/a");
    struct snapshot *s = build(&o);
    CU_ASSERT_PTR_NOT_NULL(snapshot_domain(s, SLICE_LITERAL("o1.EXAMPLE")));
    CU_ASSERT_PTR_NULL(snapshot_domain(s, slice_make("o1.example\0x", 12)));
    snapshot_unref(&s);
    objects_fini(&o);
}

/* What was removed and not published any more is given back with the rest: the leak checker looks. */
static void test_end_after_removal(void)
{
    struct objects o;
    objects_init(&o, &bounds);
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
    put_office(&o, 1, "/srv/mail/a");
    struct snapshot *s = build(&o);
    objects_remove(&o, snapshot_domain(s, SLICE_LITERAL("o1.example"))->uuid);
    objects_fini(&o);
    CU_ASSERT_STRING_EQUAL(snapshot_domain(s, SLICE_LITERAL("o1.example"))->path, "/srv/mail/a");
    snapshot_unref(&s);
}

static struct directory_entry *entry_of_user(const char *name, unsigned number)
{
    char dn[80], lines[120];
    snprintf(dn, sizeof(dn), "uid=%s,dc=x", name);
    snprintf(lines, sizeof(lines), "objectClass: posternMailUser\nuid: %s\nposternPostOffice: cn=office1,dc=x", name);
    return entry_of(dn, 7000 + number, lines);
}

static void keep_user(struct snapshot *s, const char *name, unsigned number)
{
    struct fault fault;
    struct users_ticket ticket = users_ticket();
    struct directory_entry *entry = entry_of_user(name, number);
    struct user *user = user_from_entry(s, entry, NULL, 0, 0, &fault);
    CU_ASSERT_PTR_NOT_NULL_FATAL(user);
    CU_ASSERT(users_keep(&ticket, user, slice_from_string(name), entry, NULL, 0, false));
    user_unref(&user);
}

/* A user that nobody has asked for in a while must not hold an old snapshot, and with it what all edits since gave up. */
static void test_old_users(void)
{
    struct objects o;
    objects_init(&o, &bounds);
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent"));
    put_office(&o, 1, "/srv/mail/a");
    struct snapshot *first = build(&o), *second;
    users_follow(1);
    users_set_base("dc=x", true, true);
    keep_user(first, "joe", 1);
    keep_user(first, "ann", 2);
    CU_ASSERT_EQUAL(first->references, 3);
    passed_ms += 400000;
    put_office(&o, 1, "/srv/mail/b");
    second = build(&o);
    users_set_base("dc=x", true, true);
    struct user *joe = NULL;
    char *dn = NULL;
    CU_ASSERT_EQUAL(users_find(second, SLICE_LITERAL("joe"), &joe, &dn, NULL), USERS_FOUND);
    user_unref(&joe);
    CU_ASSERT_EQUAL(first->references, 2);
    passed_ms += 300000;
    keep_user(second, "joe", 1);
    users_set_base("dc=x", true, true);
    CU_ASSERT_EQUAL(first->references, 1);
    CU_ASSERT_EQUAL(users_find(second, SLICE_LITERAL("joe"), &joe, &dn, NULL), USERS_FOUND);
    user_unref(&joe);
    users_clear();
    CU_ASSERT_EQUAL(second->references, 1);
    snapshot_unref(&first);
    snapshot_unref(&second);
    objects_fini(&o);
}

/* What others find stands last, is shared by snapshots until it is something else, and old snapshots keep what they had. */
static void test_found(void)
{
    struct config_fault faults[] = { { .dn = (char *)"cn=o1,dc=x", .attribute = (char *)"posternPath", .reason = (char *)"not marked" },
                                     { .dn = (char *)"cn=o2,dc=x", .reason = (char *)"gone" } };
    struct objects o;
    objects_init(&o, &bounds);
    objects_put(&o, entry_of(AGENT, 1, "objectClass: posternInternetAgent\nposternPop3Threads: 0\n"));
    struct snapshot *none = build(&o);
    CU_ASSERT_EQUAL(none->fault_count, 1);
    CU_ASSERT_FALSE(config_is_found(FOUND_BY_PATHS, "cn=o1,dc=x"));
    config_set_found(FOUND_BY_PATHS, faults, 2);
    CU_ASSERT(config_is_found(FOUND_BY_PATHS, "cn=o1,dc=x") && !config_is_found(FOUND_BY_TLS, "cn=o1,dc=x"));
    struct snapshot *two = build(&o), *same = build(&o);
    CU_ASSERT_EQUAL_FATAL(two->fault_count, 3);
    CU_ASSERT_STRING_EQUAL(two->faults[0].attribute, "posternPop3Threads");
    CU_ASSERT_STRING_EQUAL(two->faults[1].reason, "not marked");
    CU_ASSERT_PTR_NULL(two->faults[2].attribute);
    CU_ASSERT_EQUAL(same->faults[2].reason, two->faults[2].reason);
    snapshot_unref(&same);
    config_set_found(FOUND_BY_PATHS, faults + 1, 1);
    config_set_found(FOUND_BY_TLS, faults, 1);
    struct snapshot *other = build(&o);
    CU_ASSERT_EQUAL(other->fault_count, 3);
    CU_ASSERT(!config_is_found(FOUND_BY_PATHS, "cn=o1,dc=x") && config_is_found(FOUND_BY_TLS, "cn=o1,dc=x"));
    CU_ASSERT_STRING_EQUAL(two->faults[1].reason, "not marked");
    config_set_found(FOUND_BY_PATHS, NULL, 0);
    config_set_found(FOUND_BY_TLS, NULL, 0);
    struct snapshot *cured = build(&o);
    CU_ASSERT_EQUAL(cured->fault_count, 1);
    CU_ASSERT_STRING_EQUAL(other->faults[2].reason, "not marked");
    snapshot_unref(&none);
    snapshot_unref(&two);
    snapshot_unref(&other);
    snapshot_unref(&cured);
    objects_fini(&o);
}

static const struct unit_test tests[] = {
    { "what others find", test_found },
    { "any order of edits comes to the same", test_any_order },
    { "what does not change is shared", test_sharing },
    { "a domain with an octet zero", test_domain_with_nul },
    { "the end after a removal", test_end_after_removal }, { "old users", test_old_users },
};

int main(int argc, char **argv)
{
    log_set_level(LOG_ERROR);
    return unit_run("publication", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
}
