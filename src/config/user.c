/* A directory entry turned into a user. Called by lookup.c. The entry may be hostile: whoever may write it must not get out of the post office. */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "lookup.h"
#include "path.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"
#include "users.h"

#define ADDRESSES_MAX 1000

struct user *user_ref(struct user *user)
{
    CHECK(atomic_fetch_add(&user->references, 1) > 0);
    return user;
}

void user_unref(struct user **user)
{
    struct user *u = *user;
    *user = NULL;
    if (u == NULL || atomic_fetch_sub(&u->references, 1) != 1)
        return;
    rights_fini(u);
    user_record_unref(&u->record);
    snapshot_unref(&u->snapshot);
    for (size_t i = 0; i < u->addresses.count; i++)
        mem_free(&u->addresses.values[i]);
    mem_free(&u->addresses.values);
    mem_free(&u->id);
    mem_free(&u->dn);
    mem_free(&u->mailbox_dir);
    mem_free(&u->office);
    mem_release(u);
}

/* With several values the smallest: the mailbox must not depend on the order of the moment. */
static struct slice smallest_value(const struct directory_entry *entry, const char *name)
{
    const struct directory_attribute *attribute = directory_entry_find(entry, name);
    struct slice best = SLICE_NONE;
    for (size_t i = 0; attribute != NULL && i < attribute->count; i++)
        if (best.data == NULL || slice_compare(attribute->values[i], best) < 0)
            best = attribute->values[i];
    return best;
}

static bool list_holds(const struct text_list *list, const char *text)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->values[i], text) == 0)
            return true;
    return false;
}

static void add_addresses(struct user *user, const struct directory_entry *entry, const char *name)
{
    const struct directory_attribute *attribute = directory_entry_find(entry, name);
    for (size_t i = 0; attribute != NULL && i < attribute->count && user->addresses.count < ADDRESSES_MAX; i++) {
        struct slice value = attribute->values[i];
        if (value.len == 0 || value.len > 320 || slice_has_nul(value))
            continue;
        char *address = slice_to_string(value);
        for (char *at = address; *at != '\0'; at++)
            *at = ascii_lower(*at);
        if (list_holds(&user->addresses, address))
            mem_free(&address);
        else
            user->addresses.values[user->addresses.count++] = address;
    }
}

static void read_addresses(struct user *user, const struct directory_entry *entry)
{
    user->addresses.values = MEM_NEW_ARRAY(char *, ADDRESSES_MAX);
    add_addresses(user, entry, "mail");
    add_addresses(user, entry, "posternMailAlias");
    user->addresses.values = mem_resize(user->addresses.values, (user->addresses.count + 1) * sizeof(char *));
}

/* The domain for %d: the first one of the post office that the user has an address in, else the post office's first. */
static struct slice user_domain(const struct user *user)
{
    const struct text_list *domains = &user->post_office->domains;
    for (size_t i = 0; i < domains->count; i++) {
        for (size_t j = 0; j < user->addresses.count; j++) {
            struct slice address = slice_from_string(user->addresses.values[j]);
            ptrdiff_t at = slice_find_last(address, '@');
            if (at >= 0 && slice_is(slice_from(address, (size_t)at + 1), domains->values[i]))
                return slice_from_string(domains->values[i]);
        }
    }
    return domains->count > 0 ? slice_from_string(domains->values[0]) : SLICE_NONE;
}

/* A user whose mailbox cannot be told has no post office: a temporary failure, and a line in the log. */
static void find_mailbox(struct user *user, const struct mail_user_settings *s)
{
    struct buf path;
    const char *reason;
    buf_init(&path, 4000);
    if (s->mailbox_dir != NULL) {
        buf_append_text(&path, s->mailbox_dir);
        reason = path_check_mailbox(buf_slice(&path));
    } else {
        reason = path_expand_template(slice_from_string(user->post_office->mailbox_template), slice_from_string(user->id),
                                      user_domain(user), &path);
    }
    if (reason == NULL) {
        user->mailbox_dir = slice_to_string(buf_slice(&path));
    } else {
        log_warning("config", "%s: the mailbox directory is not usable: %s", user->dn, reason);
        user->post_office = NULL;
    }
    buf_fini(&path);
}

/* An attribute that does not validate must not open what it was to close. */
static void apply_complaints(struct user *user, const struct complaint *complaints)
{
    for (const struct complaint *c = complaints; c != NULL; c = c->next) {
        log_warning("config", "%s: %s %s", user->dn, c->attribute, c->reason);
        if (strcmp(c->attribute, "posternDisabled") == 0 || strcmp(c->attribute, "posternExpirationTime") == 0)
            user->disabled = true;
        if (strcmp(c->attribute, "posternPostOffice") == 0 || strcmp(c->attribute, "posternMailboxDirectory") == 0)
            user->post_office = NULL;
    }
}

static void settle_user(struct user *user, const struct mail_user_settings *s, const struct complaint *complaints, int64_t now)
{
    user->disabled = s->disabled || (s->expiration != 0 && s->expiration <= now);
    user->expiration = s->expiration;
    user->post_office = s->post_office != NULL ? snapshot_post_office(user->snapshot, s->post_office) : NULL;
    if (user->post_office == NULL)
        /* A Post Office Agent knows no other one, and users of others are no news to it. */
        log_write(user->snapshot->is_post_office_agent ? LOG_VERBOSE : LOG_WARNING, "config", "%s: the post office %s is unknown", user->dn,
                  s->post_office != NULL ? s->post_office : "(none)");
    apply_complaints(user, complaints);
    if (user->post_office != NULL)
        find_mailbox(user, s);
    if (user->mailbox_dir == NULL)
        user->mailbox_dir = mem_strdup("");
}

struct user *user_from_entry(struct snapshot *snapshot, const struct directory_entry *entry, char *const *lists, size_t list_count,
                             int64_t now, struct fault *fault)
{
    struct slice id = smallest_value(entry, "uid");
    const char *reason = path_check_part(id);
    if (id.data == NULL || reason != NULL) {
        fault_set(fault, FAULT_NOT_FOUND, 0, "%s: no usable uid: %s", entry->dn, reason);
        return NULL;
    }
    struct user *user = MEM_NEW(struct user);
    user->references = 1;
    user->snapshot = snapshot_ref(snapshot);
    user->id = slice_to_string(id);
    user->dn = mem_strdup(entry->dn);
    memcpy(user->uuid, entry->uuid, sizeof(user->uuid));
    user->built_ms = clock_monotonic_ms();
    read_addresses(user, entry);

    struct arena arena;
    struct mail_user_settings s = { 0 };
    arena_init(&arena);
    struct complaint *complaints = parse_settings(&object_classes[CLASS_MAIL_USER], entry, &arena, &s);
    settle_user(user, &s, complaints, now);

    char *ndn = dn_normalise(slice_from_string(entry->dn));
    user->office = s.post_office != NULL ? dn_normalise(slice_from_string(s.post_office)) : NULL;
    struct membership m = { ndn != NULL ? ndn : "", lists, list_count, user->office, &user->addresses };
    rights_apply(snapshot, &m, user);
    mem_free(&ndn);
    arena_clear(&arena);
    return user;
}
