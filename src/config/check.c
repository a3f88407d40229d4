/* Objects and users judged from outside, by the code that the gateway uses. Called by `posternctl check`; must never be more lenient or stricter than
 * the gateway. */
#include "postern/config/check.h"

#include <stdio.h>
#include <string.h>

#include "build.h"
#include "path.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"

const char *const config_check_user_attributes[] = { "objectClass", "entryUUID", "nsUniqueId", "uid", "mail", "posternMailAlias", "posternPostOffice",
                                                     "posternMailboxDirectory", "posternQuota", "posternDisabled",
                                                     "posternExpirationTime", NULL };

struct config_check {
    struct objects objects;
    char *agent_dn;
    char *agent_ndn;
    char *base;
    char *mail_root;
};

struct config_check *config_check_new(const struct config_check_options *options)
{
    char *ndn = dn_normalise(slice_from_string(options->agent_dn));
    if (ndn == NULL || *ndn == '\0') {
        mem_free(&ndn);
        return NULL;
    }
    struct config_check *check = MEM_NEW(struct config_check);
    check->agent_dn = mem_strdup(options->agent_dn);
    check->agent_ndn = ndn;
    check->base = mem_strdup(options->base);
    check->mail_root = mem_strdup(options->mail_root != NULL ? options->mail_root : "");
    for (size_t len = strlen(check->mail_root); len > 0 && check->mail_root[len - 1] == '/'; len--)
        check->mail_root[len - 1] = '\0';
    struct parse_bounds bounds = { .mail_root = check->mail_root, .allowed_ports = options->allowed_ports,
                                   .allowed_port_count = options->allowed_port_count, .agent_ndn = check->agent_ndn, .vendor = options->vendor };
    objects_init(&check->objects, &bounds);
    return check;
}

void config_check_free(struct config_check **check)
{
    struct config_check *c = *check;
    if (c == NULL)
        return;
    objects_fini(&c->objects);
    mem_free(&c->agent_dn);
    mem_free(&c->agent_ndn);
    mem_free(&c->base);
    mem_free(&c->mail_root);
    mem_free(check);
}

void config_check_put(struct config_check *check, const struct directory_entry *entry)
{
    struct directory_entry *copy = directory_entry_new(slice_from_string(entry->dn), entry->uuid);
    directory_entry_reserve(copy, entry->count);
    for (size_t i = 0; i < entry->count; i++)
        directory_entry_set(copy, i, slice_from_string(entry->attributes[i].name), entry->attributes[i].values, entry->attributes[i].count);
    objects_put(&check->objects, copy);
}

void config_check_remove(struct config_check *check, const char *uuid)
{
    objects_remove(&check->objects, uuid);
}

struct snapshot *config_check_build(struct config_check *check)
{
    struct build_options options = { .agent_dn = check->agent_dn, .agent_ndn = check->agent_ndn, .base = check->base };
    return build_snapshot(&check->objects, &options);
}

const char **config_check_attributes(void)
{
    return objects_watched_attributes();
}

const char *config_check_filter(void)
{
    return objects_watched_filter;
}

const char *config_check_user_base(const struct snapshot *snapshot, const char *base)
{
    return snapshot->agent.user_base != NULL ? snapshot->agent.user_base : base;
}

/* --- users ----------------------------------------------------------------------------------------------------------------- */

struct user_check {
    const struct snapshot *snapshot;
    struct map names;        /* every user ID and address, in lower case, to the DN of its first holder */
    struct arena arena;      /* those DNs */
};

struct user_at_work {
    struct user_check *check;
    const struct directory_entry *entry;
    const char *dn;          /* in the check's arena, once it is needed */
    void (*fault)(void *context, const char *dn, const char *attribute, const char *reason);
    void *context;
};

struct user_check *user_check_new(const struct snapshot *snapshot)
{
    struct user_check *check = MEM_NEW(struct user_check);
    check->snapshot = snapshot;
    map_init(&check->names);
    arena_init(&check->arena);
    return check;
}

void user_check_free(struct user_check **check)
{
    if (*check == NULL)
        return;
    map_fini(&(*check)->names);
    arena_clear(&(*check)->arena);
    mem_free(check);
}

static void complain(const struct user_at_work *u, const char *attribute, const char *reason)
{
    u->fault(u->context, u->entry->dn, attribute, reason);
}

static void claim_name(struct user_at_work *u, const char *attribute, struct slice name)
{
    char *lower = slice_to_string(name);
    for (char *at = lower; *at != '\0'; at++)
        *at = ascii_lower(*at);
    if (u->dn == NULL)
        u->dn = arena_printf(&u->check->arena, "%s", u->entry->dn);
    const char *holder = map_get(&u->check->names, slice_from_string(lower));
    if (holder == NULL)
        map_put(&u->check->names, slice_from_string(lower), (void *)(uintptr_t)u->dn);
    else if (holder != u->dn) {
        struct buf reason = { .cap = 0 };
        buf_printf(&reason, "%s is a name of %s too: it is refused for both", lower, holder);
        complain(u, attribute, buf_text(&reason));
        buf_fini(&reason);
    }
    mem_free(&lower);
}

static void claim_names(struct user_at_work *u)
{
    static const char *const attributes[] = { "uid", "mail", "posternMailAlias" };
    for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
        const struct directory_attribute *attribute = directory_entry_find(u->entry, attributes[i]);
        for (size_t j = 0; attribute != NULL && j < attribute->count; j++)
            claim_name(u, attributes[i], attribute->values[j]);
    }
}

static void check_mailbox(const struct user_at_work *u, const struct mail_user_settings *s, struct slice id)
{
    if (s->post_office == NULL) {
        complain(u, "posternPostOffice", "is missing");
        return;
    }
    const struct post_office *office = snapshot_post_office(u->check->snapshot, s->post_office);
    /* A Post Office Agent has nothing to do with the users of others. */
    if (office == NULL && u->check->snapshot->is_post_office_agent)
        return;
    if (office == NULL) {
        struct buf reason = { .cap = 0 };
        buf_printf(&reason, "there is no such post office in force: %s", s->post_office);
        complain(u, "posternPostOffice", buf_text(&reason));
        buf_fini(&reason);
        return;
    }
    struct buf path = { .cap = 4000 };
    struct slice domain = office->domains.count > 0 ? slice_from_string(office->domains.values[0]) : SLICE_NONE;
    const char *reason = s->mailbox_dir != NULL ? path_check_mailbox(slice_from_string(s->mailbox_dir))
                                                : path_expand_template(slice_from_string(office->mailbox_template), id, domain, &path);
    if (reason != NULL)
        complain(u, "posternMailboxDirectory", reason);
    buf_fini(&path);
}

/* With several user IDs the smallest counts, as at a login. */
static struct slice user_id(const struct directory_entry *entry)
{
    const struct directory_attribute *attribute = directory_entry_find(entry, "uid");
    struct slice best = SLICE_NONE;
    for (size_t i = 0; attribute != NULL && i < attribute->count; i++)
        if (best.data == NULL || slice_compare(attribute->values[i], best) < 0)
            best = attribute->values[i];
    return best;
}

void user_check_entry(struct user_check *check, const struct directory_entry *entry,
                      void (*fault)(void *context, const char *dn, const char *attribute, const char *reason), void *context)
{
    struct user_at_work u = { .check = check, .entry = entry, .fault = fault, .context = context };
    struct mail_user_settings s = { 0 };
    struct arena arena;
    arena_init(&arena);
    struct slice id = user_id(entry);
    const char *reason = path_check_part(id);
    if (id.data == NULL || reason != NULL)
        complain(&u, "uid", id.data == NULL ? "is missing" : reason);
    struct complaint *complaints = parse_settings(&object_classes[CLASS_MAIL_USER], entry, &arena, &s);
    for (const struct complaint *c = complaints; c != NULL; c = c->next)
        complain(&u, c->attribute, c->reason);
    if (complaints == NULL && id.data != NULL && reason == NULL)
        check_mailbox(&u, &s, id);
    claim_names(&u);
    arena_clear(&arena);
}

/* --- who may write --------------------------------------------------------------------------------------------------------- */

static void two_values(enum attribute_kind kind, struct protected_attribute *out)
{
    unsigned long long salt = clock_monotonic_us() % 1000000000;
    char *texts[2] = { out->one, out->other };
    for (unsigned i = 0; i < 2; i++) {
        switch (kind) {
        case KIND_BOOLEAN:
        case KIND_FLAG: snprintf(texts[i], sizeof(out->one), "%s", i == 0 ? "TRUE" : "FALSE"); break;
        case KIND_NUMBER:
        case KIND_AMOUNT: snprintf(texts[i], sizeof(out->one), "7%09llu%u", salt, i); break;
        case KIND_DN:
        case KIND_DNS: snprintf(texts[i], sizeof(out->one), "cn=postern check %llu %u", salt, i); break;
        case KIND_TIME: snprintf(texts[i], sizeof(out->one), "1901010101010%uZ", i); break;
        default: snprintf(texts[i], sizeof(out->one), "postern-check-%llu-%u", salt, i);
        }
    }
}

bool config_check_protected(size_t n, struct protected_attribute *out)
{
    static const char *const names[] = { "uid", "mail" };
    static const enum object_class_id classes[] = { CLASS_MAIL_USER, CLASS_AGENT, CLASS_POST_OFFICE, CLASS_POST_OFFICE_AGENT, CLASS_LINK,
                                                    CLASS_CLASS_OF_SERVICE };
    *out = (struct protected_attribute){ .class = object_classes[CLASS_MAIL_USER].name };
    if (n < sizeof(names) / sizeof(names[0])) {
        out->attribute = names[n];
        two_values(KIND_NAMES, out);
        return true;
    }
    n -= sizeof(names) / sizeof(names[0]);
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        const struct object_class *class = &object_classes[classes[i]];
        if (n < class->rule_count) {
            out->class = class->name;
            out->attribute = class->rules[n].name;
            two_values(class->rules[n].kind, out);
            return true;
        }
        n -= class->rule_count;
    }
    return false;
}
