/* Users by name, and upwards from a user to its distribution lists. Called by config.c from many threads; may wait for the directory. */
#include "lookup.h"

#include <string.h>

#include "postern/base/buf.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"

#define NAME_MAX_OCTETS 320
#define LEVELS_MAX 8
#define LISTS_MAX 256
/* DNs in one filter: asked together, since each question is a round trip. */
#define QUESTION_MAX 32

static const char *const user_attributes[] = { "uid", "mail", "posternMailAlias", "posternPostOffice", "posternMailboxDirectory",
                                               "posternQuota", "posternDisabled", "posternExpirationTime", "entryUUID", "nsUniqueId", NULL };
static const char *const no_attributes[] = { "1.1", NULL };

static const char *user_base(const struct snapshot *snapshot)
{
    return snapshot->agent.user_base != NULL ? snapshot->agent.user_base : snapshot_body(snapshot)->base;
}

/* A base that does not exist or may not be read says nothing of the user: mail must wait, not go back. */
static void not_known(struct fault *fault)
{
    if (fault->class != FAULT_TIMEOUT)
        fault->class = FAULT_UNREACHABLE;
}

static int find_entry(struct directory_pool *pool, const char *base, struct slice name, struct directory_entry **out, struct fault *fault)
{
    struct buf filter;
    buf_init(&filter, 8192);
    buf_append_text(&filter, "(&(objectClass=posternMailUser)(|(uid=");
    filter_append_value(&filter, name);
    buf_append_text(&filter, ")(mail=");
    filter_append_value(&filter, name);
    buf_append_text(&filter, ")(posternMailAlias=");
    filter_append_value(&filter, name);
    buf_append_text(&filter, ")))");
    struct directory_entry *found[2] = { NULL, NULL };
    size_t count = 0;
    struct directory_search search = { base, DIRECTORY_SCOPE_SUBTREE, buf_text(&filter), user_attributes, 2 };
    int rc = directory_pool_search(pool, &search, found, &count, fault);
    buf_fini(&filter);
    if (count > 1 || (rc != 0 && fault->class == FAULT_LIMIT)) {
        log_warning("config", "the name %.*s finds more than one user: %s and %s: refused", SLICE_ARG(name), count > 0 ? found[0]->dn : "?",
                    count > 1 ? found[1]->dn : "others");
        rc = fault_set(fault, FAULT_NOT_FOUND, 0, "the name finds more than one user");
    } else if (rc == 0 && count == 0) {
        rc = fault_set(fault, FAULT_NOT_FOUND, 0, "no such user");
    } else if (rc == 0) {
        *out = found[0];
        return 0;
    } else {
        not_known(fault);
    }
    directory_entry_free(&found[0]);
    directory_entry_free(&found[1]);
    return rc;
}

struct upward {
    char *ndn[LISTS_MAX];     /* [0, asked): their own lists are known; the rest: to be asked */
    size_t count;
    struct map known;
};

static void remember_list(struct upward *u, const char *dn)
{
    char *normal = dn_normalise(slice_from_string(dn));
    if (normal != NULL && u->count < LISTS_MAX && map_get(&u->known, slice_from_string(normal)) == NULL) {
        map_put(&u->known, slice_from_string(normal), u);
        u->ndn[u->count++] = normal;
    } else {
        mem_free(&normal);
    }
}

static int ask_lists(struct directory_pool *pool, const char *base, struct upward *u, size_t from, size_t to, struct fault *fault)
{
    struct buf filter;
    buf_init(&filter, 1024 * 1024);
    buf_append_text(&filter, "(&(|(objectClass=groupOfNames)(objectClass=groupOfUniqueNames))(|");
    for (size_t i = from; i < to; i++) {
        buf_append_text(&filter, "(member=");
        filter_append_value(&filter, slice_from_string(u->ndn[i]));
        buf_append_text(&filter, ")(uniqueMember=");
        filter_append_value(&filter, slice_from_string(u->ndn[i]));
        buf_append_text(&filter, ")");
    }
    buf_append_text(&filter, "))");
    struct directory_entry *found[LISTS_MAX];
    size_t count = 0;
    struct directory_search search = { base, DIRECTORY_SCOPE_SUBTREE, buf_text(&filter), no_attributes, LISTS_MAX };
    int rc = directory_pool_search(pool, &search, found, &count, fault);
    buf_fini(&filter);
    for (size_t i = 0; i < count; i++) {
        remember_list(u, found[i]->dn);
        directory_entry_free(&found[i]);
    }
    return rc;
}

/* Level by level, each list once, so that lists that hold each other end. Index 0 is the user. */
static int find_lists(struct directory_pool *pool, const char *base, const char *user_dn, struct upward *u, struct fault *fault)
{
    size_t asked = 0;
    remember_list(u, user_dn);
    for (unsigned level = 0; level < LEVELS_MAX && asked < u->count; level++) {
        size_t end = u->count;
        for (; asked < end; asked += QUESTION_MAX < end - asked ? QUESTION_MAX : end - asked) {
            size_t to = QUESTION_MAX < end - asked ? asked + QUESTION_MAX : end;
            if (ask_lists(pool, base, u, asked, to, fault) != 0)
                return -1;
        }
    }
    return 0;
}

static void forget_lists(struct upward *u)
{
    for (size_t i = 0; i < u->count; i++)
        mem_free(&u->ndn[i]);
    map_fini(&u->known);
}

static int finish_user(struct directory_pool *pool, struct snapshot *snapshot, const struct directory_entry *entry, struct user **out,
                       struct fault *fault)
{
    struct upward *u = MEM_NEW(struct upward);
    const char *base = snapshot_body(snapshot)->base != NULL ? snapshot_body(snapshot)->base : user_base(snapshot);
    char *ndn = dn_normalise(slice_from_string(entry->dn));
    int rc = 0;
    if (ndn != NULL && rights_need_lists(snapshot, ndn))
        rc = find_lists(pool, base, entry->dn, u, fault);
    if (rc != 0)
        not_known(fault);
    mem_free(&ndn);
    if (rc == 0) {
        size_t lists = u->count > 0 ? u->count - 1 : 0;
        *out = user_from_entry(snapshot, entry, u->ndn + 1, lists, clock_wall().tv_sec, fault);
        rc = *out != NULL ? 0 : -1;
    }
    forget_lists(u);
    mem_free(&u);
    return rc;
}

int lookup_user(struct directory_pool *pool, struct slice name, struct user **out, struct fault *fault)
{
    struct fault own;
    fault = fault != NULL ? fault : &own;
    *out = NULL;
    if (name.len == 0 || name.len > NAME_MAX_OCTETS || slice_has_nul(name))
        return fault_set(fault, FAULT_NOT_FOUND, 0, "no such user");
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL || user_base(snapshot) == NULL) {
        snapshot_unref(&snapshot);
        return fault_set(fault, FAULT_UNREACHABLE, 0, "the configuration has not been read yet");
    }
    struct directory_entry *entry = NULL;
    int rc = find_entry(pool, user_base(snapshot), name, &entry, fault);
    if (rc == 0)
        rc = finish_user(pool, snapshot, entry, out, fault);
    directory_entry_free(&entry);
    snapshot_unref(&snapshot);
    return rc;
}

/* entryUUID's text form as 389-DS writes its own identifier: four groups of eight digits. */
static void append_unique_id(struct buf *filter, const char *uuid)
{
    unsigned digits = 0;
    for (const char *at = uuid; *at != '\0'; at++) {
        if (*at == '-')
            continue;
        if (digits > 0 && digits % 8 == 0)
            buf_append_byte(filter, '-');
        buf_append_byte(filter, *at);
        digits++;
    }
}

/* Where it was; when something else or nothing is there now, wherever it has gone. */
static int find_again(struct directory_pool *pool, const char *base, const struct user *old, struct directory_entry **out, struct fault *fault)
{
    size_t count = 0;
    struct directory_search search = { old->dn, DIRECTORY_SCOPE_BASE, "(objectClass=posternMailUser)", user_attributes, 1 };
    int rc = directory_pool_search(pool, &search, out, &count, fault);
    if (rc == 0 && count == 1 && strcmp((*out)->uuid, old->uuid) == 0)
        return 0;
    if (count == 1)
        directory_entry_free(out);
    if (rc != 0 && fault->class != FAULT_NOT_FOUND) {
        not_known(fault);
        return -1;
    }
    if (old->uuid[0] == '\0')
        return fault_set(fault, FAULT_NOT_FOUND, 0, "%s: gone", old->dn);
    struct buf filter;
    buf_init(&filter, 1024);
    buf_printf(&filter, "(&(objectClass=posternMailUser)(|(entryUUID=%s)(nsUniqueId=", old->uuid);
    append_unique_id(&filter, old->uuid);
    buf_append_text(&filter, ")))");
    search = (struct directory_search){ base, DIRECTORY_SCOPE_SUBTREE, buf_text(&filter), user_attributes, 1 };
    rc = directory_pool_search(pool, &search, out, &count, fault);
    buf_fini(&filter);
    if (rc == 0 && count == 1)
        return 0;
    if (count == 1)
        directory_entry_free(out);
    if (rc == 0)
        return fault_set(fault, FAULT_NOT_FOUND, 0, "%s: gone", old->dn);
    not_known(fault);
    return -1;
}

/* On DNs as written. */
static bool is_within(const char *dn, const char *base)
{
    char *inner = dn_normalise(slice_from_string(dn)), *outer = dn_normalise(slice_from_string(base));
    bool within = inner != NULL && outer != NULL && dn_is_within(inner, outer);
    mem_free(&inner);
    mem_free(&outer);
    return within;
}

int lookup_user_again(struct directory_pool *pool, const struct user *old, struct user **out, struct fault *fault)
{
    struct fault own;
    fault = fault != NULL ? fault : &own;
    *out = NULL;
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL || user_base(snapshot) == NULL) {
        snapshot_unref(&snapshot);
        return fault_set(fault, FAULT_UNREACHABLE, 0, "the configuration has not been read yet");
    }
    struct directory_entry *entry = NULL;
    int rc = find_again(pool, user_base(snapshot), old, &entry, fault);
    if (rc == 0 && !is_within(entry->dn, user_base(snapshot)))
        rc = fault_set(fault, FAULT_NOT_FOUND, 0, "%s: outside of the users' base now", entry->dn);
    if (rc == 0)
        rc = finish_user(pool, snapshot, entry, out, fault);
    directory_entry_free(&entry);
    snapshot_unref(&snapshot);
    return rc;
}

int lookup_lists(struct directory_pool *pool, const struct user *user, char ***lists_out, size_t *count_out, struct fault *fault)
{
    const struct snapshot *snapshot = user->snapshot;
    const char *base = snapshot_body(snapshot)->base != NULL ? snapshot_body(snapshot)->base : user_base(snapshot);
    struct upward *u = MEM_NEW(struct upward);
    int rc = find_lists(pool, base, user->dn, u, fault);
    *count_out = 0;
    if (rc == 0) {
        *lists_out = MEM_NEW_ARRAY(char *, u->count + 1);
        for (size_t i = 1; i < u->count; i++)
            (*lists_out)[(*count_out)++] = mem_strdup(u->ndn[i]);
    } else {
        not_known(fault);
    }
    forget_lists(u);
    mem_free(&u);
    return rc;
}
