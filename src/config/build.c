/* Objects to snapshot: the agent, its links applied to the post offices, its classes of service, and the faults of all. Called by config.c after
 * each change. It changes no object. */
#include "build.h"

#include <stdlib.h>
#include <string.h>

#include "access.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"

enum { AGENTS_MAX = 8 };   /* of one post office */

struct office_agents {
    struct version *versions[AGENTS_MAX];
    size_t count;
};

struct builder {
    struct snapshot_body *body;
    const struct build_options *options;
    struct object **objects;
    size_t object_count;
    struct arena arena;        /* until it is built */
    struct map links;          /* normal DN of a post office to the version of its link */
    struct map agents;         /* normal DN of a post office to its struct office_agents */
    size_t fault_room;
    char *fallback_template;   /* the snapshot's own, for all that have none */
    char *nothing;
    struct map served;         /* normal DNs of the agent's own list */
    bool serves_all;
};

static void add_fault(struct builder *b, const char *dn, const char *attribute, const char *reason)
{
    struct snapshot *s = &b->body->public;
    if (s->fault_count == b->fault_room) {
        struct config_fault *more = MEM_NEW_ARRAY(struct config_fault, b->fault_room * 2 + 16);
        for (size_t i = 0; i < s->fault_count; i++)
            more[i] = s->faults[i];
        mem_free(&s->faults);
        s->faults = more;
        b->fault_room = b->fault_room * 2 + 16;
    }
    struct config_fault *f = &s->faults[s->fault_count++];
    struct arena *arena = &b->body->arena;
    f->dn = arena_printf(arena, "%s", dn);
    f->attribute = attribute != NULL ? arena_printf(arena, "%s", attribute) : NULL;
    f->reason = arena_printf(arena, "%s", reason);
}

/* The snapshot keeps what it points into. */
static struct version *keep(struct builder *b, struct version *version)
{
    b->body->versions[b->body->version_count++] = version_ref(version);
    return version;
}

static bool is_of(const struct object *object, enum object_class_id id)
{
    return object->present->class == &object_classes[id];
}

static void make_room(struct builder *b)
{
    struct snapshot_body *body = b->body;
    size_t offices = 0, classes = 0, agents = 0;
    for (size_t i = 0; i < b->object_count; i++) {
        offices += is_of(b->objects[i], CLASS_POST_OFFICE);
        classes += is_of(b->objects[i], CLASS_CLASS_OF_SERVICE);
        agents += is_of(b->objects[i], CLASS_POST_OFFICE_AGENT);
    }
    map_init_in(&body->offices, &body->arena, offices);
    map_init_in(&body->domains, &body->arena, offices);
    map_init_in(&b->links, &b->arena, offices);
    map_init_in(&b->agents, &b->arena, agents);
    body->public.post_offices = MEM_NEW_ARRAY(struct post_office, offices + 1);
    body->public.classes = MEM_NEW_ARRAY(struct class_of_service, classes + 1);
    body->versions = MEM_NEW_ARRAY(struct version *, b->object_count * 2 + 1);
}

static bool is_own_child(const struct builder *b, const struct object *object)
{
    return dn_is_parent(b->options->agent_ndn, object->present->ndn);
}

/* parent: of a Post Office Agent, from the comma on. */
static bool concerns_the_office(const struct builder *b, const char *parent)
{
    return parent != NULL && (b->serves_all || map_get(&b->served, slice_from_string(parent + 1)) != NULL);
}

/* Complaints about other gateways' objects are theirs to make. */
static bool concerns_us(const struct builder *b, const struct object *object)
{
    if (is_of(object, CLASS_AGENT))
        return strcmp(object->present->ndn, b->options->agent_ndn) == 0;
    if (is_of(object, CLASS_POST_OFFICE))
        return b->serves_all || map_get(&b->served, slice_from_string(object->present->ndn)) != NULL;
    if (is_of(object, CLASS_POST_OFFICE_AGENT))
        return concerns_the_office(b, strchr(object->present->ndn, ','));
    return is_own_child(b, object);
}

static void list_complaints(struct builder *b)
{
    for (size_t i = 0; i < b->object_count; i++) {
        const struct version *present = b->objects[i]->present;
        if ((present->complaints == NULL && present->remarks == NULL) || !concerns_us(b, b->objects[i]))
            continue;
        for (const struct complaint *c = present->complaints; c != NULL; c = c->next)
            add_fault(b, present->entry->dn, c->attribute, c->reason);
        for (const struct complaint *c = present->remarks; c != NULL; c = c->next)
            add_fault(b, present->entry->dn, c->attribute, c->reason);
    }
}

/* Without an agent object nothing is enabled: there is nobody who asked for a service. */
static void build_absent_agent(struct builder *b)
{
    struct agent_settings *agent = &b->body->public.agent;
    struct directory_entry *empty = directory_entry_new(slice_from_string(b->options->agent_dn), NULL);
    parse_settings(&object_classes[CLASS_AGENT], empty, &b->body->arena, agent);
    directory_entry_free(&empty);
    agent->dn = arena_printf(&b->body->arena, "%s", b->options->agent_dn);
    agent->pop3_enabled = agent->imap4_enabled = agent->smtp_enabled = false;
}

/* The object that this process serves as: an Internet Agent or a Post Office Agent. */
static struct object *find_agent(const struct builder *b)
{
    for (size_t i = 0; i < b->object_count; i++)
        if ((is_of(b->objects[i], CLASS_AGENT) || b->objects[i]->present->server != NULL) &&
            strcmp(b->objects[i]->present->ndn, b->options->agent_ndn) == 0)
            return b->objects[i];
    return NULL;
}

static struct version *as_agent(struct version *version)
{
    return version->server != NULL ? version->server : version;
}

static void build_agent(struct builder *b)
{
    struct object *found = find_agent(b);
    b->serves_all = found == NULL || found->present->server == NULL;
    b->body->public.is_post_office_agent = !b->serves_all;
    if (found == NULL)
        add_fault(b, b->options->agent_dn, NULL, "there is no such Internet Agent object: all services are off");
    if (found != NULL)
        b->body->agent_present = as_agent(keep(b, found->present));
    if (!b->serves_all)
        map_put(&b->served, slice_from_string(strchr(found->present->ndn, ',') + 1), found);
    if (found == NULL || found->valid == NULL) {
        build_absent_agent(b);
        return;
    }
    struct agent_settings *agent = &b->body->public.agent;
    b->body->agent = as_agent(keep(b, found->valid));
    *agent = *(const struct agent_settings *)b->body->agent->settings;
    b->serves_all = agent->post_offices.count == 0;
    for (size_t i = 0; i < agent->post_offices.count; i++) {
        char *normal = dn_normalise(slice_from_string(agent->post_offices.values[i]));
        if (normal != NULL)
            map_put(&b->served, slice_from_string(normal), agent);
        mem_free(&normal);
    }
}

static void build_links(struct builder *b)
{
    for (size_t i = 0; i < b->object_count; i++) {
        struct object *object = b->objects[i];
        if (!is_of(object, CLASS_LINK) || !is_own_child(b, object) || object->valid == NULL)
            continue;
        struct slice target = slice_from_string(object->valid->target);
        if (target.data == NULL)
            continue;
        struct version *first = map_put(&b->links, target, object->valid);
        if (first == NULL)
            continue;
        map_put(&b->links, target, first);
        add_fault(b, object->valid->entry->dn, "posternPostOffice", "another link leads to the same post office: this one is not used");
    }
}

static int compare_agents(const void *a, const void *b)
{
    const struct version *const *left = a, *const *right = b;
    int order = strcmp((*left)->name, (*right)->name);
    return order != 0 ? order : strcmp((*left)->ndn, (*right)->ndn);
}

/* Post Office Agents by the post office that they stand under. */
static void build_agents(struct builder *b)
{
    for (size_t i = 0; i < b->object_count; i++) {
        struct object *object = b->objects[i];
        const char *parent = is_of(object, CLASS_POST_OFFICE_AGENT) && object->valid != NULL ? strchr(object->valid->ndn, ',') : NULL;
        if (parent == NULL)
            continue;
        struct office_agents *all = map_get(&b->agents, slice_from_string(parent + 1));
        if (all == NULL) {
            all = ARENA_NEW(&b->arena, struct office_agents);
            map_put(&b->agents, slice_from_string(parent + 1), all);
        }
        if (all->count < AGENTS_MAX)
            all->versions[all->count++] = object->valid;
        else
            add_fault(b, object->valid->entry->dn, NULL, "the post office has too many Post Office Agents: this one is not used");
    }
}

static void fault_of_access(void *context, const char *dn, const char *attribute, const char *reason)
{
    add_fault(context, dn, attribute, reason);
}

static void build_access(struct builder *b, struct post_office *po, const struct version *version)
{
    struct version *link = map_get(&b->links, slice_from_string(version->ndn));
    struct office_agents *agents = map_get(&b->agents, slice_from_string(version->ndn));
    struct access_say say = { .office = version, .link = link, .served_here = b->body->public.is_post_office_agent };
    if (link != NULL)
        keep(b, link);
    if (agents != NULL) {
        qsort(agents->versions, agents->count, sizeof(agents->versions[0]), compare_agents);
        for (size_t i = 0; i < agents->count; i++)
            keep(b, agents->versions[i]);
        say.agents = (const struct version *const *)agents->versions;
        say.agent_count = agents->count;
    }
    access_apply(po, &say, &b->body->arena, fault_of_access, b);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Directories keep no order: sorted, so that the first one is the same each time. */
static struct text_list sorted_list(struct arena *arena, const struct text_list *list)
{
    struct text_list copy = { ARENA_NEW_ARRAY(arena, char *, list->count), 0 };
    for (; copy.count < list->count; copy.count++)
        copy.values[copy.count] = list->values[copy.count];
    if (copy.count > 1)
        qsort(copy.values, copy.count, sizeof(*copy.values), compare_names);
    return copy;
}

static void claim_domains(struct builder *b, struct post_office *po, const struct post_office_settings *s)
{
    struct text_list all = sorted_list(&b->body->arena, &s->domains);
    po->domains.values = all.values;
    for (size_t i = 0; i < all.count; i++) {
        struct slice domain = slice_from_string(all.values[i]);
        struct post_office *first = map_put(&b->body->domains, domain, po);
        if (first != NULL) {
            map_put(&b->body->domains, domain, first);
            add_fault(b, po->dn, "posternDomain", arena_printf(&b->body->arena, "%s is served by another post office already", all.values[i]));
            continue;
        }
        po->domains.values[po->domains.count++] = all.values[i];
    }
}

static void build_post_office(struct builder *b, struct object *object)
{
    struct version *version = keep(b, object->valid);
    const struct post_office_settings *s = version->settings;
    struct snapshot *snapshot = &b->body->public;
    struct post_office *po = &snapshot->post_offices[snapshot->post_office_count++];
    struct slice key = slice_from_string(version->ndn);
    po->dn = version->entry->dn;
    po->name = version->name;
    memcpy(po->uuid, object->uuid, sizeof(po->uuid));
    po->mailbox_template = s->mailbox_template != NULL ? s->mailbox_template : b->fallback_template;
    po->prefix = s->prefix != NULL ? s->prefix : b->nothing;
    po->control_dir = s->control_dir != NULL ? s->control_dir : b->nothing;
    po->separator = s->separator != NULL ? s->separator[0] : '.';
    build_access(b, po, version);
    claim_domains(b, po, s);
    map_put(&b->body->offices, key, po);
}

static void build_post_offices(struct builder *b)
{
    for (size_t i = 0; i < b->object_count; i++)
        if (is_of(b->objects[i], CLASS_POST_OFFICE) && b->objects[i]->valid != NULL && concerns_us(b, b->objects[i]))
            build_post_office(b, b->objects[i]);
}

static bool exists(const struct builder *b, const char *ndn, enum object_class_id id)
{
    for (size_t i = 0; i < b->object_count; i++)
        if (is_of(b->objects[i], id) && strcmp(b->objects[i]->present->ndn, ndn) == 0)
            return true;
    return false;
}

static void check_pointer(struct builder *b, const char *owner, const char *target, const char *normal, const char *reason)
{
    /* Looking among all objects is slow: only for one that is not in force. */
    if (normal != NULL && map_get(&b->body->offices, slice_from_string(normal)) == NULL && !exists(b, normal, CLASS_POST_OFFICE))
        add_fault(b, owner, "posternPostOffice", arena_printf(&b->body->arena, "%s: %s", reason, target));
}

/* DNs that lead nowhere: no reason to refuse the object, since the other one may come a moment later. */
static void check_pointers(struct builder *b)
{
    const struct agent_settings *agent = &b->body->public.agent;
    for (size_t i = 0; i < agent->post_offices.count; i++) {
        char *normal = dn_normalise(slice_from_string(agent->post_offices.values[i]));
        check_pointer(b, agent->dn, agent->post_offices.values[i], normal, "there is no such post office");
        mem_free(&normal);
    }
    for (size_t i = 0; i < b->object_count; i++) {
        struct object *object = b->objects[i];
        if (is_of(object, CLASS_LINK) && is_own_child(b, object) && object->valid != NULL)
            check_pointer(b, object->valid->entry->dn, ((const struct link_settings *)object->valid->settings)->post_office,
                          object->valid->target, "the post office of the link does not exist");
    }
}

static void build_classes(struct builder *b)
{
    for (size_t i = 0; i < b->object_count; i++) {
        struct object *object = b->objects[i];
        if (!is_of(object, CLASS_CLASS_OF_SERVICE) || !is_own_child(b, object))
            continue;
        struct class_of_service *class = &b->body->public.classes[b->body->public.class_count++];
        class->broken = object->valid == NULL;
        class->version = keep(b, class->broken ? object->present : object->valid);
        class->settings = class->version->settings;
    }
}

struct snapshot *build_snapshot(struct objects *objects, const struct build_options *options)
{
    struct snapshot_body *body = MEM_NEW(struct snapshot_body);
    struct builder b = { .body = body, .options = options };
    body->public.references = 1;
    body->public.from_cache = options->from_cache;
    arena_init(&body->arena);
    arena_init(&b.arena);
    body->base = mem_strdup(options->base);
    body->overlay = options->overlay;
    b.fallback_template = arena_printf(&body->arena, "%%u/Maildir");
    b.nothing = arena_printf(&body->arena, "%s", "");
    b.objects = objects_sorted(objects, &b.object_count);
    make_room(&b);
    build_agent(&b);
    list_complaints(&b);
    build_links(&b);
    build_agents(&b);
    build_post_offices(&b);
    check_pointers(&b);
    build_classes(&b);
    rights_index(body);
    map_fini(&b.links);
    map_fini(&b.agents);
    arena_clear(&b.arena);
    map_fini(&b.served);
    mem_free(&b.objects);
    return &body->public;
}
