/* Objects to snapshot: the agent, its links applied to the post offices, its classes of service, and the faults of all. Called by config.c after
 * each change, under the lock of the objects. What one object comes to is a part; only the parts that a change concerns are made anew, the others are the
 * ones of the snapshot before. */
#include "build.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "claims.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"

enum { AGENTS_MAX = 8 };   /* of one post office */

struct edits {
    struct slot *at;
    size_t count;
    size_t room;
};

struct assembly {
    const struct build_options *options;   /* of the build under way */
    struct objects *objects;
    struct map claims;
    struct version *agent;                 /* in force, as an Internet Agent; NULL: none */
    struct buf served_list;                /* what `served` was made from */
    struct map served;                     /* normal DNs */
    bool serves_all;
    bool is_post_office_agent;
    struct part *no_agent;                 /* the complaint of an object that is not there; NULL: it is */
    struct generation *generation;
    struct part *retired;
    struct slots *offices, *by_name, *by_domain, *faulty;
    uint64_t offices_serial;
    struct edits office_edits, name_edits, domain_edits, fault_edits;
    struct class_index *classes;
    bool classes_changed;
};

static _Atomic uint64_t last_offices_serial;   /* of the process: objects that are put together side by side never share one */
static char fallback_template[] = "%u/Maildir", nothing[] = "";

/* --- whom a change concerns ---------------------------------------------------------------------------------------------------- */

static bool is_of(const struct version *version, enum object_class_id id)
{
    return version->class == &object_classes[id];
}

/* An Internet Agent, or the Post Office Agent that this process serves as. */
static bool is_agent(const struct version *version)
{
    return is_of(version, CLASS_AGENT) || version->server != NULL;
}

static struct version *as_agent(struct version *version)
{
    return version != NULL && version->server != NULL ? version->server : version;
}

static bool is_own_child(const struct assembly *a, const struct version *version)
{
    return dn_is_parent(a->options->agent_ndn, version->ndn);
}

static bool serves(const struct assembly *a, const char *office_ndn)
{
    return a->serves_all || map_get(&a->served, slice_from_string(office_ndn)) != NULL;
}

/* Of a Post Office Agent; NULL: it stands nowhere. */
static const char *parent_of(const struct version *version)
{
    const char *comma = strchr(version->ndn, ',');
    return comma != NULL ? comma + 1 : NULL;
}

static void mark(struct assembly *a, struct object *object)
{
    objects_mark(a->objects, object, false);
}

static void mark_all(struct assembly *a, enum claim_kind kind, const char *key)
{
    struct claim claim = claims_of(&a->claims, kind, key);
    for (size_t i = 0; i < claim.count; i++)
        mark(a, claim.by[i]);
}

static void mark_first(struct assembly *a, enum claim_kind kind, const char *key)
{
    struct object *first = claims_first(&a->claims, kind, key);
    if (first != NULL)
        mark(a, first);
}

/* Somebody's claim came or goes. */
static void mark_neighbours(struct assembly *a, enum claim_kind kind, const char *key)
{
    switch (kind) {
    case CLAIM_OFFICE:
        mark_all(a, CLAIM_OFFICE, key);
        mark_all(a, CLAIM_LINK, key);
        if (map_get(&a->served, slice_from_string(key)) != NULL)
            mark_first(a, CLAIM_AGENT, a->options->agent_ndn);
        break;
    case CLAIM_LINK:
        mark_first(a, CLAIM_OFFICE, key);
        mark_first(a, CLAIM_LINK, key);
        break;
    case CLAIM_UNDER:
        mark_first(a, CLAIM_OFFICE, key);
        mark_all(a, CLAIM_UNDER, key);
        break;
    case CLAIM_DOMAIN: mark_first(a, CLAIM_DOMAIN, key); break;
    case CLAIM_AGENT: mark_all(a, CLAIM_AGENT, key); break;
    case CLAIM_CLASS: a->classes_changed = true; break;
    }
}

static void change_claim(struct assembly *a, struct object *object, enum claim_kind kind, const char *key, bool add)
{
    mark_neighbours(a, kind, key);
    if (add)
        claims_add(&a->claims, kind, key, object);
    else
        claims_remove(&a->claims, kind, key, object);
    mark_neighbours(a, kind, key);
}

static void claim_domains(struct assembly *a, struct object *object, bool add)
{
    const struct post_office_settings *s = object->claimed->settings;
    for (size_t i = 0; i < s->domains.count; i++)
        change_claim(a, object, CLAIM_DOMAIN, s->domains.values[i], add);
}

/* All that an object claims, or claimed: by the same versions. */
static void claim(struct assembly *a, struct object *object, bool add)
{
    const struct version *present = object->claimed_present, *valid = object->claimed;
    if (is_agent(present))
        change_claim(a, object, CLAIM_AGENT, present->ndn, add);
    if (is_of(present, CLASS_POST_OFFICE))
        change_claim(a, object, CLAIM_OFFICE, present->ndn, add);
    if (is_of(present, CLASS_POST_OFFICE) && valid != NULL && object->claimed_domains)
        claim_domains(a, object, add);
    if (is_of(present, CLASS_LINK) && valid != NULL && valid->target != NULL && is_own_child(a, present))
        change_claim(a, object, CLAIM_LINK, valid->target, add);
    if (is_of(present, CLASS_POST_OFFICE_AGENT) && valid != NULL && parent_of(valid) != NULL)
        change_claim(a, object, CLAIM_UNDER, parent_of(valid), add);
    if (is_of(present, CLASS_CLASS_OF_SERVICE) && is_own_child(a, present))
        change_claim(a, object, CLAIM_CLASS, "", add);
}

static void renew_claims(struct assembly *a, struct object *object)
{
    if (object->claimed_present != NULL)
        claim(a, object, false);
    version_unref(&object->claimed_present);
    version_unref(&object->claimed);
    object->changed = false;
    if (object->gone)
        return;
    object->claimed_present = version_ref(object->present);
    object->claimed = object->valid != NULL ? version_ref(object->valid) : NULL;
    object->claimed_domains = is_of(object->present, CLASS_POST_OFFICE) && serves(a, object->present->ndn);
    claim(a, object, true);
}

static struct object *find_agent(const struct assembly *a)
{
    return claims_first(&a->claims, CLAIM_AGENT, a->options->agent_ndn);
}

/* The DNs as they are given, each ended by LF. Of a Post Office Agent: the post office that it stands under. */
static void list_served(const struct assembly *a, const struct object *agent, struct buf *out)
{
    const struct agent_settings *settings = a->agent != NULL ? a->agent->settings : NULL;
    if (a->is_post_office_agent)
        buf_printf(out, "%s\n", parent_of(agent->present));
    for (size_t i = 0; !a->is_post_office_agent && settings != NULL && i < settings->post_offices.count; i++)
        buf_printf(out, "%s\n", settings->post_offices.values[i]);
}

static void renew_served(struct assembly *a)
{
    struct slice rest = buf_slice(&a->served_list), dn;
    map_fini(&a->served);
    a->serves_all = rest.len == 0;
    while (slice_split(&rest, '\n', &dn)) {
        char *normal = dn.len > 0 ? dn_normalise(dn) : NULL;
        if (normal != NULL)
            map_put(&a->served, slice_from_string(normal), a);
        mem_free(&normal);
    }
}

/* Which post offices are served, and as what, concerns every object: it is looked at first. */
static void follow_agent(struct assembly *a)
{
    const struct object *found = find_agent(a);
    struct version *agent = found != NULL ? as_agent(found->valid) : NULL;
    struct buf list;
    buf_init(&list, 0);
    version_unref(&a->agent);
    a->agent = agent != NULL ? version_ref(agent) : NULL;
    a->is_post_office_agent = found != NULL && found->present->server != NULL;
    list_served(a, found, &list);
    if (slice_is_equal(buf_slice(&list), buf_slice(&a->served_list))) {
        buf_fini(&list);
        return;
    }
    buf_fini(&a->served_list);
    a->served_list = list;
    renew_served(a);
    objects_mark_all(a->objects);
}

static bool was_agent(const struct object *object)
{
    return object->claimed_present != NULL && is_agent(object->claimed_present);
}

static bool becomes_agent(const struct object *object)
{
    return !object->gone && is_agent(object->present);
}

/* First whatever was or becomes an agent: one that was renamed or is something else by now must not be found as the agent. */
static void settle_claims(struct assembly *a)
{
    struct objects *o = a->objects;
    for (size_t i = 0, count = o->marked_count; i < count; i++) {
        if (o->marked[i]->changed && (was_agent(o->marked[i]) || becomes_agent(o->marked[i])))
            renew_claims(a, o->marked[i]);
    }
    follow_agent(a);
    for (size_t i = 0; i < o->marked_count; i++)
        if (o->marked[i]->changed)
            renew_claims(a, o->marked[i]);
}

/* --- parts --------------------------------------------------------------------------------------------------------------------- */

/* Complaints about other gateways' objects are theirs to make. */
static bool concerns_us(const struct assembly *a, const struct version *version)
{
    if (is_of(version, CLASS_AGENT))
        return strcmp(version->ndn, a->options->agent_ndn) == 0;
    if (is_of(version, CLASS_POST_OFFICE))
        return serves(a, version->ndn);
    if (is_of(version, CLASS_POST_OFFICE_AGENT))
        return parent_of(version) != NULL && serves(a, parent_of(version));
    return is_own_child(a, version);
}

static void add_complaints(struct part *part, const struct version *present)
{
    for (const struct complaint *c = present->complaints; c != NULL; c = c->next)
        part_add_fault(part, present->entry->dn, c->attribute, c->reason);
    for (const struct complaint *c = present->remarks; c != NULL; c = c->next)
        part_add_fault(part, present->entry->dn, c->attribute, c->reason);
}

/* A DN that leads nowhere: no reason to refuse the object, since the other one may come a moment later. */
static void check_pointer(const struct assembly *a, struct part *part, const char *owner, const char *target, const char *normal, const char *reason)
{
    if (claims_first(&a->claims, CLAIM_OFFICE, normal) == NULL)
        part_add_fault(part, owner, "posternPostOffice", arena_printf(&part->arena, "%s: %s", reason, target));
}

static void finish_agent(struct assembly *a, struct part *part, const struct object *object)
{
    if (object->valid == NULL || object != find_agent(a))
        return;
    const struct agent_settings *settings = as_agent(object->valid)->settings;
    for (size_t i = 0; i < settings->post_offices.count; i++) {
        const char *dn = settings->post_offices.values[i];
        char *normal = dn_normalise(slice_from_string(dn));
        if (normal != NULL)
            check_pointer(a, part, object->valid->entry->dn, dn, normal, "there is no such post office");
        mem_free(&normal);
    }
}

static void finish_link(struct assembly *a, struct part *part, const struct object *object)
{
    const struct version *valid = object->valid;
    if (valid == NULL || valid->target == NULL || !is_own_child(a, valid))
        return;
    if (claims_first(&a->claims, CLAIM_LINK, valid->target) != object)
        part_add_fault(part, valid->entry->dn, "posternPostOffice", "another link leads to the same post office: this one is not used");
    check_pointer(a, part, valid->entry->dn, ((const struct link_settings *)valid->settings)->post_office, valid->target,
                  "the post office of the link does not exist");
}

static void finish_post_office_agent(struct assembly *a, struct part *part, const struct object *object)
{
    if (object->valid == NULL || !concerns_us(a, object->valid))
        return;
    if (is_agent(object->valid))
        finish_agent(a, part, object);
    struct claim all = claims_of(&a->claims, CLAIM_UNDER, parent_of(object->valid));
    for (size_t i = AGENTS_MAX; i < all.count; i++)
        if (all.by[i] == object)
            part_add_fault(part, object->valid->entry->dn, NULL, "the post office has too many Post Office Agents: this one is not used");
}

static int compare_agents(const void *a, const void *b)
{
    const struct version *const *left = a, *const *right = b;
    int order = strcmp((*left)->name, (*right)->name);
    return order != 0 ? order : strcmp((*left)->ndn, (*right)->ndn);
}

static void fault_of_access(void *context, const char *dn, const char *attribute, const char *reason)
{
    part_add_fault(context, dn, attribute, reason);
}

static void find_access(struct assembly *a, struct part *part)
{
    const struct object *link = claims_first(&a->claims, CLAIM_LINK, part->version->ndn);
    struct claim under = claims_of(&a->claims, CLAIM_UNDER, part->version->ndn);
    part->link = link != NULL ? version_ref(link->valid) : NULL;
    if (under.count > 0)
        part->agents = ARENA_NEW_ARRAY(&part->arena, struct version *, under.count);
    for (; part->agent_count < under.count && part->agent_count < AGENTS_MAX; part->agent_count++)
        part->agents[part->agent_count] = version_ref(under.by[part->agent_count]->valid);
    if (part->agent_count > 1)
        qsort(part->agents, part->agent_count, sizeof(part->agents[0]), compare_agents);
    struct access_say say = { part->version, part->link, (const struct version *const *)part->agents, part->agent_count, a->is_post_office_agent };
    access_apply(&part->office, &say, &part->arena, fault_of_access, part);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Directories keep no order: sorted, so that the first one is the same each time. */
static void find_domains(struct assembly *a, struct part *part, const struct object *object)
{
    const struct text_list *all = &((const struct post_office_settings *)part->version->settings)->domains;
    struct text_list *mine = &part->office.domains;
    /* One is the usual case, and needs no list of its own: that of the version is read by who has an older snapshot, and not written. */
    bool own = all->count > 1;
    mine->values = own ? ARENA_NEW_ARRAY(&part->arena, char *, all->count) : all->values;
    for (size_t i = 0; i < all->count; i++) {
        if (claims_first(&a->claims, CLAIM_DOMAIN, all->values[i]) == object) {
            if (own)
                mine->values[mine->count] = all->values[i];
            mine->count++;
        } else
            part_add_fault(part, part->office.dn, "posternDomain",
                           arena_printf(&part->arena, "%s is served by another post office already", all->values[i]));
    }
    if (mine->count > 1)
        qsort(mine->values, mine->count, sizeof(*mine->values), compare_names);
}

static void finish_post_office(struct assembly *a, struct part *part, const struct object *object)
{
    if (object->valid == NULL || !serves(a, object->valid->ndn) || claims_first(&a->claims, CLAIM_OFFICE, object->valid->ndn) != object)
        return;
    part->version = version_ref(object->valid);
    const struct post_office_settings *s = part->version->settings;
    struct post_office *po = &part->office;
    po->dn = part->version->entry->dn;
    po->name = part->version->name;
    po->mailbox_template = s->mailbox_template != NULL ? s->mailbox_template : fallback_template;
    po->prefix = s->prefix != NULL ? s->prefix : nothing;
    po->control_dir = s->control_dir != NULL ? s->control_dir : nothing;
    po->separator = s->separator != NULL ? s->separator[0] : '.';
    find_access(a, part);
    find_domains(a, part, object);
}

static void (*const finish[CLASS_COUNT])(struct assembly *, struct part *, const struct object *) = {
    [CLASS_AGENT] = finish_agent, [CLASS_LINK] = finish_link, [CLASS_POST_OFFICE] = finish_post_office,
    [CLASS_POST_OFFICE_AGENT] = finish_post_office_agent,
};

/* --- from the parts before to those of now ---------------------------------------------------------------------------------------- */

static void add_edit(struct edits *edits, const char *key, struct part *part)
{
    if (edits->count == edits->room) {
        edits->room = edits->room * 2 + 16;
        edits->at = mem_resize(edits->at, edits->room * sizeof(edits->at[0]));
    }
    edits->at[edits->count++] = (struct slot){ key, part };
}

/* Its keys, to the part or to nothing. */
static void edit_tables(struct assembly *a, const struct part *part, struct part *to)
{
    if (part->fault_count > 0)
        add_edit(&a->fault_edits, part->office.uuid, to);
    if (part->version == NULL)
        return;
    add_edit(&a->office_edits, part->office.uuid, to);
    add_edit(&a->name_edits, part->version->ndn, to);
    for (size_t i = 0; i < part->office.domains.count; i++)
        add_edit(&a->domain_edits, part->office.domains.values[i], to);
}

/* Either may be NULL. */
static void replace_part(struct assembly *a, struct part **at, struct part *part)
{
    struct part *old = *at;
    if (part != NULL && part->version == NULL && part->fault_count == 0)
        part_free(&part);
    *at = part;
    if (part != NULL)
        edit_tables(a, part, part);
    if (old == NULL)
        return;
    edit_tables(a, old, NULL);
    old->next = a->retired;
    a->retired = old;
}

static void renew_part(struct assembly *a, struct object *object)
{
    struct part *part = NULL;
    object->marked = false;
    if (!object->gone) {
        part = part_new(object->uuid);
        if (concerns_us(a, object->present))
            add_complaints(part, object->present);
        if (finish[object->present->class - object_classes] != NULL)
            finish[object->present->class - object_classes](a, part, object);
    }
    replace_part(a, &object->part, part);
}

static void renew_no_agent(struct assembly *a)
{
    bool missing = find_agent(a) == NULL;
    if (missing == (a->no_agent != NULL))
        return;
    struct part *part = missing ? part_new("") : NULL;
    if (missing)
        part_add_fault(part, a->options->agent_dn, NULL, "there is no such Internet Agent or Post Office Agent object: all services are off");
    replace_part(a, &a->no_agent, part);
}

static void apply_edits(struct slots **slots, struct edits *edits, bool *keys_changed)
{
    if (*slots == NULL || edits->count > 0) {
        struct slots *new = slots_edit(*slots, edits->at, edits->count, keys_changed);
        slots_unref(slots);
        *slots = new;
    }
    mem_free(&edits->at);
    *edits = (struct edits){ 0 };
}

static void renew_classes(struct assembly *a, bool names_changed)
{
    if (a->classes != NULL && !a->classes_changed && !names_changed)
        return;
    struct claim all = claims_of(&a->claims, CLAIM_CLASS, "");
    class_index_unref(&a->classes);
    a->classes = class_index_new(all.by, all.count, a->by_name);
    a->classes_changed = false;
}

static void renew_parts(struct assembly *a)
{
    struct objects *o = a->objects;
    bool names_changed = false, unused = false;
    for (size_t i = 0; i < o->marked_count; i++)
        renew_part(a, o->marked[i]);
    renew_no_agent(a);
    if (a->offices == NULL || a->office_edits.count > 0)
        a->offices_serial = ++last_offices_serial;
    apply_edits(&a->offices, &a->office_edits, &unused);
    apply_edits(&a->by_name, &a->name_edits, &names_changed);
    apply_edits(&a->by_domain, &a->domain_edits, &unused);
    apply_edits(&a->faulty, &a->fault_edits, &unused);
    renew_classes(a, names_changed);
    objects_forget_marked(o);
    a->generation = generation_after(a->generation, a->retired);
    a->retired = NULL;
}

/* --- the snapshot ---------------------------------------------------------------------------------------------------------------- */

/* Without an agent object nothing is enabled: there is nobody who asked for a service. */
static void fill_absent_agent(const struct assembly *a, struct snapshot_body *body)
{
    struct agent_settings *agent = &body->public.agent;
    struct directory_entry *empty = directory_entry_new(slice_from_string(a->options->agent_dn), NULL);
    parse_settings(&object_classes[CLASS_AGENT], empty, &body->arena, agent);
    directory_entry_free(&empty);
    agent->dn = arena_printf(&body->arena, "%s", a->options->agent_dn);
    agent->pop3_enabled = agent->imap4_enabled = agent->smtp_enabled = false;
}

static void fill_agent(const struct assembly *a, struct snapshot_body *body)
{
    const struct object *found = find_agent(a);
    body->agent_present = found != NULL ? version_ref(as_agent(found->present)) : NULL;
    body->public.is_post_office_agent = a->is_post_office_agent;
    body->agent = a->agent != NULL ? version_ref(a->agent) : NULL;
    if (body->agent != NULL)
        body->public.agent = *(const struct agent_settings *)body->agent->settings;
    else
        fill_absent_agent(a, body);
}

static void fill_lists(const struct assembly *a, struct snapshot *snapshot)
{
    size_t faults = 0;
    snapshot->post_offices = MEM_NEW_ARRAY(const struct post_office *, a->offices->count + 1);
    for (size_t i = 0; i < a->offices->count; i++)
        snapshot->post_offices[snapshot->post_office_count++] = &a->offices->at[i].part->office;
    for (size_t i = 0; i < a->faulty->count; i++)
        faults += a->faulty->at[i].part->fault_count;
    snapshot->faults = MEM_NEW_ARRAY(struct config_fault, faults + 1);
    for (size_t i = 0; i < a->faulty->count; i++)
        for (const struct part_fault *f = a->faulty->at[i].part->faults; f != NULL; f = f->next)
            snapshot->faults[snapshot->fault_count++] = f->fault;
}

static struct assembly *assembly_new(struct objects *objects)
{
    struct assembly *a = MEM_NEW(struct assembly);
    a->objects = objects;
    a->serves_all = true;
    return a;
}

struct snapshot *build_snapshot(struct objects *objects, const struct build_options *options)
{
    if (objects->assembly == NULL)
        objects->assembly = assembly_new(objects);
    struct assembly *a = objects->assembly;
    struct snapshot_body *body = MEM_NEW(struct snapshot_body);
    a->options = options;
    settle_claims(a);
    renew_parts(a);
    body->public.references = 1;
    body->public.from_cache = options->from_cache;
    arena_init(&body->arena);
    body->base = mem_strdup(options->base);
    body->overlay = options->overlay;
    body->generation = generation_ref(a->generation);
    body->offices = slots_ref(a->offices);
    body->public.post_offices_serial = a->offices_serial;
    body->by_name = slots_ref(a->by_name);
    body->by_domain = slots_ref(a->by_domain);
    body->classes = class_index_ref(a->classes);
    class_index_show(a->classes, &body->public);
    fill_agent(a, body);
    fill_lists(a, &body->public);
    found_share(body->found, &body->public.faults, &body->public.fault_count);
    return &body->public;
}

/* Snapshots that are still held keep the parts by their generation. */
void assembly_free(struct assembly **assembly, struct objects *objects)
{
    struct assembly *a = *assembly;
    if (a == NULL)
        return;
    LIST_FOR_EACH (&objects->all, at)
        replace_part(a, &LIST_ITEM(at, struct object, link)->part, NULL);
    /* No build has looked at those that are gone. */
    for (size_t i = 0; i < objects->marked_count; i++)
        replace_part(a, &objects->marked[i]->part, NULL);
    replace_part(a, &a->no_agent, NULL);
    struct edits *edits[] = { &a->office_edits, &a->name_edits, &a->domain_edits, &a->fault_edits };
    for (size_t i = 0; i < sizeof(edits) / sizeof(edits[0]); i++)
        mem_free(&edits[i]->at);
    a->generation = generation_after(a->generation, a->retired);
    generation_unref(&a->generation);
    slots_unref(&a->offices);
    slots_unref(&a->by_name);
    slots_unref(&a->by_domain);
    slots_unref(&a->faulty);
    class_index_unref(&a->classes);
    claims_fini(&a->claims);
    map_fini(&a->served);
    buf_fini(&a->served_list);
    version_unref(&a->agent);
    mem_free(assembly);
}
