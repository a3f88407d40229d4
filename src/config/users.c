/* Users kept in memory. A record stands for one entry of the directory: what it was made from, as long as it is kept, and whether it has changed since,
 * as long as somebody holds a user made from it. Called by lookup.c and user.c, and by user_changes.c from the thread that follows changes. Nothing is
 * asked of the directory here, and nothing is done under the lock that waits. */
#include "users.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "known_lists.h"
#include "lookup.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/list.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"
#include "user_names.h"

#define USERS_MAX 20000
#define BYTES_MAX (64 * 1024 * 1024)
#define NAMES_EACH_MAX 8
/* What a list's name takes, with what the allocator adds. */
#define LIST_WEIGHT 128
/* The last notices: one that is older than a look-up took is of no interest to it. */
#define NOTICES 256
/* What no notice tells (an entry that an access rule hides) is found after this time. */
#define KEPT_MS 600000
/* A user of whom no notices come is asked for again after this time. */
#define UNFOLLOWED_MS 60000

struct user_record {
    _Atomic unsigned references;    /* the last one is given back under the lock */
    atomic_bool changed;
    char uuid[DIRECTORY_UUID_SIZE];
    struct kept_user *kept;         /* or NULL; holds a reference of its record */
};

struct kept_user {
    struct list link;               /* by use, the latest last */
    struct user_record *record;
    struct list names;
    size_t name_count;
    struct directory_entry *entry;
    struct user *built;
    char **lists;                   /* normal DNs */
    size_t list_count;
    bool has_lists;
    uint64_t lists_asked;           /* the count of changes of lists when they were asked for */
    uint64_t kept_ms;
    size_t bytes;
};

struct known_name {
    struct list link;
    struct kept_user *kept;
    char *text;                     /* lower case */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct map by_uuid, by_name;
static struct list by_use = { &by_use, &by_use };
static size_t kept_count, kept_bytes;
static uint64_t generation, notices, lists_changed = 1;
static char recent[NOTICES][DIRECTORY_UUID_SIZE];
static unsigned server_followed, lists_in_doubt;
static char *users_base;
static bool told, base_inside;       /* notices come; and of where users are */
static atomic_bool followed;        /* both */
static _Atomic uint64_t lists_relevant = 1;
static atomic_bool news;

/* --- records ------------------------------------------------------------------------------------------------------------------ */

void user_record_unref(struct user_record **record)
{
    struct user_record *r = *record;
    *record = NULL;
    if (r == NULL)
        return;
    unsigned count = atomic_load(&r->references);
    while (count > 1)
        if (atomic_compare_exchange_weak(&r->references, &count, count - 1))
            return;
    pthread_mutex_lock(&mutex);
    bool last = atomic_fetch_sub(&r->references, 1) == 1;
    struct slice uuid = slice_from_string(r->uuid);
    if (last && map_get(&by_uuid, uuid) == r)
        map_remove(&by_uuid, uuid);
    pthread_mutex_unlock(&mutex);
    if (last)
        mem_release(r);
}

static void forget_name(struct known_name *name)
{
    map_remove(&by_name, slice_from_string(name->text));
    list_remove(&name->link);
    name->kept->name_count--;
    mem_free(&name->text);
    mem_release(name);
}

static void free_lists(struct kept_user *k)
{
    for (size_t i = 0; i < k->list_count; i++)
        mem_free(&k->lists[i]);
    mem_free(&k->lists);
    k->list_count = 0;
}

/* Into `garbage`, to be emptied without the lock: the end of a user asks for it. */
static void stop_keeping(struct user_record *r, struct list *garbage)
{
    struct kept_user *k = r->kept;
    if (k == NULL)
        return;
    r->kept = NULL;
    kept_count--;
    kept_bytes -= k->bytes;
    LIST_FOR_EACH (&k->names, at)
        forget_name(LIST_ITEM(at, struct known_name, link));
    list_remove(&k->link);
    list_append(garbage, &k->link);
}

static void empty_garbage(struct list *garbage)
{
    LIST_FOR_EACH (garbage, at) {
        struct kept_user *k = LIST_ITEM(at, struct kept_user, link);
        user_unref(&k->built);
        directory_entry_free(&k->entry);
        free_lists(k);
        user_record_unref(&k->record);
        mem_release(k);
    }
}

/* A user that a newer one takes the place of: ended with the garbage. */
static void replace_built(struct kept_user *k, struct user *user, struct list *garbage)
{
    if (k->built != NULL) {
        struct kept_user *husk = MEM_NEW(struct kept_user);
        husk->built = k->built;
        list_append(garbage, &husk->link);
    }
    k->built = user;
}

static void mark_changed(struct user_record *r, struct list *garbage)
{
    if (atomic_exchange(&r->changed, true))
        return;
    atomic_store(&news, true);
    map_remove(&by_uuid, slice_from_string(r->uuid));
    stop_keeping(r, garbage);
}

static void collect_record(struct slice key, void *value, void *context)
{
    (void)key;
    struct user_record ***at = context;
    *(*at)++ = value;
}

static void mark_all_changed(struct list *garbage)
{
    struct user_record **all = MEM_NEW_ARRAY(struct user_record *, by_uuid.count + 1), **at = all;
    map_for_each(&by_uuid, collect_record, &at);
    for (struct user_record **r = all; r < at; r++)
        mark_changed(*r, garbage);
    mem_free(&all);
    generation++;
}

static void drop_all_kept(struct list *garbage)
{
    while (!list_is_empty(&by_use))
        stop_keeping(LIST_ITEM(by_use.next, struct kept_user, link)->record, garbage);
    generation++;
}

/* --- asking ------------------------------------------------------------------------------------------------------------------- */

struct users_ticket users_ticket(void)
{
    pthread_mutex_lock(&mutex);
    struct users_ticket ticket = { generation, notices, lists_changed, server_followed, atomic_load(&followed) };
    pthread_mutex_unlock(&mutex);
    return ticket;
}

static bool is_expired(const struct user *user)
{
    return !user->disabled && user->expiration != 0 && user->expiration <= clock_wall().tv_sec;
}

/* Whether rights by lists that were asked for then still hold. */
static bool are_fresh(uint64_t lists_asked)
{
    return lists_asked == UINT64_MAX || (lists_in_doubt == 0 && lists_asked >= atomic_load(&lists_relevant));
}

bool users_is_current(const struct user *user)
{
    if (user->snapshot->serial != snapshot_current_serial() || is_expired(user))
        return false;
    if (user->record == NULL || !atomic_load(&followed))
        return user->built_ms != 0 && clock_monotonic_ms() - user->built_ms <= UNFOLLOWED_MS;
    return !atomic_load(&user->record->changed) && user->lists_asked >= atomic_load(&lists_relevant);
}

bool users_is_known_changed(const struct user *user)
{
    if (user->snapshot->serial != snapshot_current_serial() || is_expired(user))
        return true;
    return user->record != NULL && (atomic_load(&user->record->changed) || user->lists_asked < atomic_load(&lists_relevant));
}

static void attach(struct user *user, struct user_record *r, uint64_t lists_asked)
{
    atomic_fetch_add(&r->references, 1);
    user->record = r;
    user->lists_asked = lists_asked;
}

/* The answer from a kept user. Under the lock. */
static enum users_answer answer(struct kept_user *k, struct snapshot *snapshot, struct user **out, char **dn_out, struct list *garbage)
{
    list_remove(&k->link);
    list_append(&by_use, &k->link);
    if (k->built->snapshot == snapshot && !is_expired(k->built) && are_fresh(k->built->lists_asked)) {
        *out = user_ref(k->built);
        return USERS_FOUND;
    }
    char *ndn = dn_normalise(slice_from_string(k->entry->dn));
    bool needs_lists = ndn != NULL && rights_need_lists(snapshot, ndn);
    mem_free(&ndn);
    if (needs_lists && !(k->has_lists && are_fresh(k->lists_asked))) {
        *dn_out = mem_strdup(k->entry->dn);
        return USERS_NEEDS_LISTS;
    }
    struct user *user = user_from_entry(snapshot, k->entry, k->lists, k->list_count, clock_wall().tv_sec, NULL);
    if (user == NULL)
        return USERS_UNKNOWN;
    attach(user, k->record, needs_lists ? k->lists_asked : UINT64_MAX);
    replace_built(k, user, garbage);
    *out = user_ref(user);
    return USERS_FOUND;
}

static enum users_answer find(struct snapshot *snapshot, const char *uuid, struct slice name, struct user **out, char **dn_out,
                              char uuid_out[DIRECTORY_UUID_SIZE])
{
    struct list garbage;
    list_init(&garbage);
    enum users_answer result = USERS_UNKNOWN;
    pthread_mutex_lock(&mutex);
    const struct known_name *known = uuid == NULL ? map_get(&by_name, name) : NULL;
    const struct user_record *r = uuid != NULL ? map_get(&by_uuid, slice_from_string(uuid)) : NULL;
    struct kept_user *k = known != NULL ? known->kept : r != NULL ? r->kept : NULL;
    if (k != NULL && clock_monotonic_ms() - k->kept_ms > KEPT_MS) {
        stop_keeping(k->record, &garbage);
    } else if (k != NULL) {
        if (uuid_out != NULL)
            memcpy(uuid_out, k->record->uuid, DIRECTORY_UUID_SIZE);
        result = answer(k, snapshot, out, dn_out, &garbage);
    }
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
    return result;
}

enum users_answer users_find(struct snapshot *snapshot, struct slice name, struct user **out, char **dn_out, char uuid_out[DIRECTORY_UUID_SIZE])
{
    char lower[USER_NAME_MAX];
    struct slice folded;
    return user_name_fold(name, lower, &folded) ? find(snapshot, NULL, folded, out, dn_out, uuid_out) : USERS_UNKNOWN;
}

enum users_answer users_find_uuid(struct snapshot *snapshot, const char *uuid, struct user **out, char **dn_out)
{
    return uuid[0] != '\0' ? find(snapshot, uuid, SLICE_NONE, out, dn_out, NULL) : USERS_UNKNOWN;
}

/* --- keeping ------------------------------------------------------------------------------------------------------------------ */

static void set_lists(struct kept_user *k, const struct users_ticket *ticket, const struct list_name *lists, size_t count)
{
    size_t old = k->list_count * LIST_WEIGHT;
    free_lists(k);
    k->bytes += count * LIST_WEIGHT - old;
    kept_bytes += count * LIST_WEIGHT - old;
    k->lists = MEM_NEW_ARRAY(char *, count + 1);
    for (size_t i = 0; i < count; i++) {
        k->lists[k->list_count++] = mem_strdup(lists[i].ndn);
        /* What is not known is not missed: all lists are asked for again. */
        if (known_lists_put(&lists[i]))
            atomic_store(&lists_relevant, ++lists_changed);
    }
    k->has_lists = true;
    /* If a list has changed meanwhile, what was read may be of before or after. */
    k->lists_asked = ticket->lists == lists_changed && lists_in_doubt == 0 ? ticket->lists : 0;
}

static bool changed_since(const struct users_ticket *ticket, const char *uuid)
{
    if (!ticket->followed || !atomic_load(&followed) || ticket->generation != generation || notices - ticket->notices > NOTICES)
        return true;
    for (uint64_t i = ticket->notices; i < notices; i++)
        if (strcmp(recent[i % NOTICES], uuid) == 0)
            return true;
    return false;
}

void users_give_lists(const struct users_ticket *ticket, const char *uuid, const struct list_name *lists, size_t count)
{
    pthread_mutex_lock(&mutex);
    const struct user_record *r = map_get(&by_uuid, slice_from_string(uuid));
    /* Kept anew meanwhile, it may have another DN, and be on other lists. */
    if (r != NULL && r->kept != NULL && !changed_since(ticket, uuid))
        set_lists(r->kept, ticket, lists, count);
    pthread_mutex_unlock(&mutex);
}

static void add_name(struct kept_user *k, struct slice folded)
{
    struct known_name *known = map_get(&by_name, folded);
    if (known != NULL && known->kept == k)
        return;
    if (known != NULL)
        forget_name(known);
    if (k->name_count == NAMES_EACH_MAX)
        forget_name(LIST_ITEM(k->names.next, struct known_name, link));
    known = MEM_NEW(struct known_name);
    known->kept = k;
    known->text = slice_to_string(folded);
    map_put(&by_name, folded, known);
    list_append(&k->names, &known->link);
    k->name_count++;
}

static void start_keeping(struct user_record *r, struct directory_entry *entry)
{
    struct kept_user *k = MEM_NEW(struct kept_user);
    atomic_fetch_add(&r->references, 1);
    r->kept = k;
    k->record = r;
    k->entry = entry;
    k->kept_ms = clock_monotonic_ms();
    k->bytes = sizeof(*k) + sizeof(*r) + sizeof(struct user) + 2 * entry->arena.used + 1024;
    list_init(&k->names);
    list_append(&by_use, &k->link);
    kept_count++;
    kept_bytes += k->bytes;
}

static void make_room(struct list *garbage)
{
    while (kept_count > USERS_MAX || kept_bytes > BYTES_MAX)
        stop_keeping(LIST_ITEM(by_use.next, struct kept_user, link)->record, garbage);
}

static struct user_record *record_of(const char *uuid)
{
    struct user_record *r = map_get(&by_uuid, slice_from_string(uuid));
    if (r != NULL)
        return r;
    r = MEM_NEW(struct user_record);
    memcpy(r->uuid, uuid, sizeof(r->uuid));
    map_put(&by_uuid, slice_from_string(uuid), r);
    return r;
}

bool users_keep(const struct users_ticket *ticket, struct user *user, struct slice name, struct directory_entry *entry,
                const struct list_name *lists, size_t list_count, bool has_lists)
{
    struct list garbage;
    char lower[USER_NAME_MAX];
    struct slice folded;
    list_init(&garbage);
    pthread_mutex_lock(&mutex);
    bool good = ticket->followed && entry->uuid[0] != '\0' && !changed_since(ticket, entry->uuid);
    if (good) {
        struct user_record *r = record_of(entry->uuid);
        /* The user's hold comes first: a record that nobody holds is nobody's to free. */
        attach(user, r, UINT64_MAX);
        if (r->kept != NULL && !user_entries_are_same(r->kept->entry, entry))
            stop_keeping(r, &garbage);
        if (r->kept == NULL) {
            start_keeping(r, entry);
            entry = NULL;
        }
        struct kept_user *k = r->kept;
        if (has_lists) {
            set_lists(k, ticket, lists, list_count);
            user->lists_asked = k->lists_asked;
        }
        k->kept_ms = clock_monotonic_ms();
        replace_built(k, user_ref(user), &garbage);
        /* Only a value of the entry, so that a notice of another entry with the same value finds the name. */
        if (notices == ticket->notices && user_name_fold(name, lower, &folded) && user_names_have(k->entry, folded))
            add_name(k, folded);
        make_room(&garbage);
    } else if (ticket->followed || atomic_load(&followed)) {
        user->built_ms = 0;
    }
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
    directory_entry_free(&entry);
    return good;
}

/* --- what changes ------------------------------------------------------------------------------------------------------------- */

/* A name that another user has now finds two, or the other one. */
static void give_names_up(const struct directory_entry *entry)
{
    struct slice name, folded;
    char lower[USER_NAME_MAX];
    for (size_t at = 0; user_names_next(entry, &at, &name);) {
        struct known_name *known = user_name_fold(name, lower, &folded) ? map_get(&by_name, folded) : NULL;
        if (known != NULL && strcmp(known->kept->record->uuid, entry->uuid) != 0)
            forget_name(known);
    }
}

void users_note(const struct directory_entry *entry, bool gone)
{
    struct list garbage;
    list_init(&garbage);
    bool is_user = directory_entry_has(entry, "objectClass", "posternMailUser");
    pthread_mutex_lock(&mutex);
    memcpy(recent[notices++ % NOTICES], entry->uuid, DIRECTORY_UUID_SIZE);
    struct user_record *r = map_get(&by_uuid, slice_from_string(entry->uuid));
    bool was_user = r != NULL;
    if (r != NULL && (gone || !is_user || r->kept == NULL || !user_entries_are_same(r->kept->entry, entry)))
        mark_changed(r, &garbage);
    if (!gone && is_user)
        give_names_up(entry);
    /* Something above users was moved, perhaps: their DNs are in doubt. */
    if (!gone && !is_user && !was_user && users_entry_may_hold_users(entry))
        mark_all_changed(&garbage);
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
}

void users_doubt_all(void)
{
    struct list garbage;
    list_init(&garbage);
    pthread_mutex_lock(&mutex);
    mark_all_changed(&garbage);
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
}

enum users_list_change users_doubt_lists(const struct directory_entry *entry, bool gone)
{
    pthread_mutex_lock(&mutex);
    const char *known = known_lists_get(entry->uuid);
    char *ndn = dn_normalise(slice_from_string(entry->dn));
    enum users_list_change change = USERS_LIST_ASK;
    if (known != NULL && (gone || ndn == NULL || strcmp(known, ndn) != 0))
        change = USERS_LIST_MATTERS;
    else if (gone && known == NULL)
        change = USERS_LIST_OF_NOBODY;
    /* Also if it is of nobody who is kept: of somebody who is asked for just now it may be. */
    lists_changed++;
    lists_in_doubt += change != USERS_LIST_OF_NOBODY;
    pthread_mutex_unlock(&mutex);
    mem_free(&ndn);
    return change;
}

void users_settle_lists(bool relevant)
{
    pthread_mutex_lock(&mutex);
    lists_in_doubt--;
    if (relevant) {
        atomic_store(&lists_relevant, lists_changed);
        atomic_store(&news, true);
    }
    pthread_mutex_unlock(&mutex);
}

bool users_has_news(void)
{
    return atomic_load(&news);
}

void users_take_news(void)
{
    atomic_store(&news, false);
}

/* Under the lock. */
static void settle_followed(void)
{
    atomic_store(&followed, told && base_inside);
}

void users_follow(unsigned server)
{
    struct list garbage;
    list_init(&garbage);
    pthread_mutex_lock(&mutex);
    mark_all_changed(&garbage);
    known_lists_clear();
    atomic_store(&lists_relevant, ++lists_changed);
    server_followed = server;
    told = true;
    settle_followed();
    atomic_store(&news, true);
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
}

void users_unfollow(void)
{
    struct list garbage;
    list_init(&garbage);
    pthread_mutex_lock(&mutex);
    told = false;
    settle_followed();
    drop_all_kept(&garbage);
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
}

/* A user that nobody asks for any more holds the snapshot that it was made under, and with it all that was given up since. Whoever is behind one that is
 * young enough was asked for after that. */
static void drop_old(struct list *garbage)
{
    uint64_t now = clock_monotonic_ms();
    LIST_FOR_EACH (&by_use, at) {
        const struct kept_user *k = LIST_ITEM(at, struct kept_user, link);
        if (now - k->kept_ms <= KEPT_MS)
            return;
        stop_keeping(k->record, garbage);
    }
}

void users_set_base(const char *base, bool inside, bool same_classes)
{
    struct list garbage;
    list_init(&garbage);
    pthread_mutex_lock(&mutex);
    if (users_base == NULL || base == NULL || strcmp(users_base, base) != 0 || inside != base_inside) {
        mark_all_changed(&garbage);
        mem_free(&users_base);
        users_base = mem_strdup(base);
    }
    base_inside = inside;
    settle_followed();
    drop_old(&garbage);
    /* Changes of lists that did not matter may matter to the new classes. */
    if (!same_classes)
        atomic_store(&lists_relevant, lists_changed);
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
}

void users_clear(void)
{
    struct list garbage;
    list_init(&garbage);
    pthread_mutex_lock(&mutex);
    told = base_inside = false;
    settle_followed();
    mark_all_changed(&garbage);
    known_lists_clear();
    mem_free(&users_base);
    pthread_mutex_unlock(&mutex);
    empty_garbage(&garbage);
    map_fini(&by_uuid);
    map_fini(&by_name);
}
