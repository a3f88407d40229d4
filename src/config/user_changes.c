/* What changes under the users kept in memory: the thread's events, each turned into what users.c must give up, and each publication. Called by the
 * directory's thread of changes and by config.c. Asks the directory about lists; never does so under the lock of users.c. */
#include "users.h"

#include <string.h>

#include "lookup.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/directory/changes.h"
#include "postern/directory/dn.h"
#include "remembered.h"
#include "rights.h"
#include "user_names.h"

#define TELL_EVERY_MS 100

static const char followed_filter[] = "(|(objectClass=posternMailUser)(objectClass=groupOfNames)(objectClass=groupOfUniqueNames)"
                                      "(objectClass=organizationalUnit)(objectClass=organization)(objectClass=domain)(objectClass=dcObject)"
                                      "(objectClass=locality)(objectClass=country)(objectClass=nsContainer))";

static const char *const containers[] = { "organizationalUnit", "organization", "domain", "dcObject", "locality", "country", "nsContainer" };

static struct directory_changes *changes;
static struct directory_pool *pool;
static void (*tell)(void *context);
static void *tell_context;
static uint64_t told_ms;
static char *said;

bool users_entry_is_list(const struct directory_entry *entry)
{
    return directory_entry_has(entry, "objectClass", "groupOfNames") || directory_entry_has(entry, "objectClass", "groupOfUniqueNames");
}

bool users_entry_may_hold_users(const struct directory_entry *entry)
{
    bool holds = directory_entry_find(entry, "objectClass") == NULL;
    for (size_t i = 0; !holds && i < sizeof(containers) / sizeof(containers[0]); i++)
        holds = directory_entry_has(entry, "objectClass", containers[i]);
    return holds;
}

/* Whether a class of service names the list or one that it is in. */
static bool matters(const char *dn)
{
    struct snapshot *snapshot = snapshot_current();
    struct list_name *lists = NULL;
    size_t count = 0;
    struct fault fault;
    unsigned server;
    bool named = snapshot != NULL && rights_need_lists(snapshot, "");
    if (named && lookup_lists(pool, snapshot, dn, &server, &lists, &count, &fault) == 0 && server == users_ticket().server) {
        char *own = dn_normalise(slice_from_string(dn));
        named = own == NULL || rights_is_named(snapshot, own);
        for (size_t i = 0; i < count && !named; i++)
            named = rights_is_named(snapshot, lists[i].ndn);
        mem_free(&own);
    }
    list_names_free(&lists, count);
    snapshot_unref(&snapshot);
    return named;
}

static void on_changed(void *context, struct directory_entry *entry, bool gone)
{
    (void)context;
    users_note(entry, gone);
    remembered_note(entry->uuid);
    bool is_list = users_entry_is_list(entry), is_user = directory_entry_has(entry, "objectClass", "posternMailUser");
    /* What is neither may have been a list. Until it is known whether the change matters, nobody is given rights by the lists that are kept. */
    enum users_list_change change = gone || is_list || !is_user ? users_doubt_lists(entry, gone || !is_list) : USERS_LIST_OF_NOBODY;
    if (change != USERS_LIST_OF_NOBODY)
        users_settle_lists(change == USERS_LIST_MATTERS || matters(entry->dn));
    directory_entry_free(&entry);
}

static void on_ready(void *context, unsigned server)
{
    (void)context;
    users_follow(server);
    remembered_clear();   /* also those who logged in while nothing was told */
    if (said != NULL)
        log_normal("config", "users are kept in memory again");
    mem_free(&said);
}

static void on_lost(void *context, const struct fault *fault)
{
    (void)context;
    users_unfollow();
    bool new = said == NULL || strcmp(said, fault->text) != 0;
    log_write(new ? LOG_NORMAL : LOG_VERBOSE, "config", "users are not kept in memory: %s", fault->text);
    mem_free(&said);
    said = mem_strdup(fault->text);
}

static bool on_rest(void *context)
{
    (void)context;
    if (tell == NULL || !users_has_news())
        return false;
    uint64_t now = clock_monotonic_ms();
    if (now - told_ms < TELL_EVERY_MS)
        return true;
    told_ms = now;
    users_take_news();
    tell(tell_context);
    return false;
}

static bool has_same_classes(const struct snapshot *a, const struct snapshot *b)
{
    bool same = a != NULL && b != NULL && a->class_count == b->class_count;
    for (size_t i = 0; same && i < a->class_count; i++)
        same = a->classes[i].version == b->classes[i].version;
    return same;
}

/* The thread follows the naming context: of users elsewhere it hears nothing. */
static bool is_inside(const struct snapshot *snapshot, const char *base)
{
    const char *context = snapshot_body(snapshot)->base;
    char *inner = base != NULL ? dn_normalise(slice_from_string(base)) : NULL;
    char *outer = context != NULL ? dn_normalise(slice_from_string(context)) : NULL;
    bool inside = inner != NULL && outer != NULL && dn_is_within(inner, outer);
    mem_free(&inner);
    mem_free(&outer);
    return inside;
}

void users_follow_snapshot(const struct snapshot *before, const struct snapshot *now)
{
    const char *base = lookup_user_base(now);
    users_set_base(base, is_inside(now, base), has_same_classes(before, now));
}

void users_start(const struct directory_options *directory, const char *agent_dn, struct directory_pool *look_ups,
                 void (*changed)(void *context), void *context)
{
    static const struct directory_changes_events events = { .ready = on_ready, .changed = on_changed, .lost = on_lost, .rest = on_rest };
    struct directory_changes_options options = { directory, agent_dn, followed_filter, user_attributes };
    pool = look_ups;
    tell = changed;
    tell_context = context;
    changes = directory_changes_start(&options, &events, NULL);
}

void users_stop(void)
{
    directory_changes_stop(&changes);
    users_clear();
    mem_free(&said);
}
