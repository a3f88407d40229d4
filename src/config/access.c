/* How a post office is reached (behaviour.md, Post office links): mode, path and servers in force, and who says so. Called by build.c for each post
 * office of each snapshot. It decides nothing about what can be reached at the moment. */
#include "access.h"

#include <stdlib.h>
#include <string.h>

static const struct link_settings *link_of(const struct access_say *say)
{
    return say->link != NULL ? say->link->settings : NULL;
}

static void apply_mode(struct post_office *po, const struct access_say *say)
{
    const struct post_office_settings *own = say->office->settings;
    const struct link_settings *link = link_of(say);
    po->own_mode = (enum access_mode)own->mode;
    po->link_mode = link != NULL ? (enum access_mode)link->mode : ACCESS_CURRENT;
    po->link_dn = say->link != NULL ? say->link->entry->dn : NULL;
    po->move_sessions = link != NULL && link->move_sessions;
    po->mode = po->link_mode != ACCESS_CURRENT ? po->link_mode : po->own_mode;
    po->mode_from = po->link_mode != ACCESS_CURRENT ? po->link_dn : po->own_mode != ACCESS_CURRENT ? po->dn : NULL;
    if (po->mode == ACCESS_CURRENT)
        po->mode = ACCESS_CLIENT_SERVER_AND_DIRECT;
    if (say->served_here) {
        po->mode = ACCESS_DIRECT;
        po->mode_from = NULL;   /* what it says to gateways counts for nothing here */
    }
}

static void apply_path(struct post_office *po, const struct access_say *say)
{
    const struct post_office_settings *own = say->office->settings;
    const struct link_settings *link = link_of(say);
    bool mapped = link != NULL && link->path != NULL;
    po->path = mapped ? link->path : own->path;
    po->path_from = mapped ? po->link_dn : own->path != NULL ? po->dn : NULL;
    if (po->mode == ACCESS_CLIENT_SERVER)
        po->path = NULL;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Directories keep no order: sorted, so that the first one is the same each time. */
static char **sorted_hosts(struct arena *arena, const struct text_list *hosts)
{
    char **sorted = ARENA_NEW_ARRAY(arena, char *, hosts->count);
    for (size_t i = 0; i < hosts->count; i++)
        sorted[i] = hosts->values[i];
    qsort(sorted, hosts->count, sizeof(*sorted), compare_names);
    return sorted;
}

static void fill_agent(struct post_office_agent *out, const struct post_office_agent_settings *s, const struct link_settings *link)
{
    out->port = (uint16_t)(link != NULL && link->port >= 0 ? (uint64_t)link->port : s->port);
    out->lmtp_port = (uint16_t)(link != NULL && link->lmtp_port >= 0 ? (uint64_t)link->lmtp_port : s->lmtp_port);
    out->tls = (enum poa_tls)s->tls;
    out->login = (enum poa_login)s->login;
    out->proxy_header = s->proxy_header;
    out->timeout_ms = (uint32_t)s->timeout_milliseconds;
    out->login_timeout_ms = (uint32_t)s->login_milliseconds;
    out->ca_file = s->ca_file;
    out->certificate = s->certificate;
    out->key = s->key;
    out->credentials = s->credentials;
}

static void add_agents(struct post_office *po, struct arena *arena, const struct version *from, const struct text_list *hosts,
                       const struct post_office_agent_settings *s, const struct link_settings *link)
{
    char **sorted = sorted_hosts(arena, hosts);
    for (size_t i = 0; i < hosts->count; i++) {
        struct post_office_agent *out = &po->agents[po->agent_count++];
        fill_agent(out, s, link);
        out->host = sorted[i];
        out->dn = from->entry->dn;
    }
}

/* The link's hosts stand in the place of all others; how to talk to them is what the first Post Office Agent says. */
static void apply_link_hosts(struct post_office *po, const struct access_say *say, struct arena *arena)
{
    const struct link_settings *link = link_of(say);
    const struct post_office_agent_settings *s = say->agent_count > 0 ? say->agents[0]->settings : NULL;
    if (s == NULL) {
        struct post_office_agent_settings *defaults = ARENA_NEW(arena, struct post_office_agent_settings);
        struct directory_entry *empty = directory_entry_new(slice_from_string(say->link->entry->dn), NULL);
        parse_settings(&object_classes[CLASS_POST_OFFICE_AGENT], empty, arena, defaults);
        directory_entry_free(&empty);
        s = defaults;
    }
    po->agents = ARENA_NEW_ARRAY(arena, struct post_office_agent, link->hosts.count);
    add_agents(po, arena, say->link, &link->hosts, s, link);
}

static void apply_agents(struct post_office *po, const struct access_say *say, struct arena *arena)
{
    const struct link_settings *link = link_of(say);
    size_t hosts = 0;
    if (po->mode == ACCESS_DIRECT)
        return;
    if (link != NULL && link->hosts.count > 0) {
        apply_link_hosts(po, say, arena);
        return;
    }
    for (size_t i = 0; i < say->agent_count; i++)
        hosts += ((const struct post_office_agent_settings *)say->agents[i]->settings)->hosts.count;
    if (hosts == 0)
        return;
    po->agents = ARENA_NEW_ARRAY(arena, struct post_office_agent, hosts);
    for (size_t i = 0; i < say->agent_count; i++) {
        const struct post_office_agent_settings *s = say->agents[i]->settings;
        add_agents(po, arena, say->agents[i], &s->hosts, s, link);
    }
}

/* What nobody asked for is not missed: without a mode, one of both ways is enough. */
static const char *what_is_missing(const struct post_office *po, const char **attribute_out)
{
    bool path = po->path != NULL, agents = po->agent_count > 0;
    *attribute_out = path || po->mode == ACCESS_CLIENT_SERVER ? "posternHost" : "posternPath";
    if (po->mode == ACCESS_DIRECT)
        return path ? NULL : "there is no path for direct access: the users are told to try later";
    if (po->mode == ACCESS_CLIENT_SERVER)
        return agents ? NULL : "there is no Post Office Agent for client/server access: the users are told to try later";
    if (!path && !agents)
        return "there is neither a path nor a Post Office Agent: the users are told to try later";
    if (po->mode_from == NULL || (path && agents))
        return NULL;
    return path ? "there is no Post Office Agent for client/server access: the mailboxes are opened directly only"
                : "there is no path for direct access: the Post Office Agent is the only way";
}

void access_apply(struct post_office *po, const struct access_say *say, struct arena *arena,
                  void (*fault)(void *context, const char *dn, const char *attribute, const char *reason), void *context)
{
    apply_mode(po, say);
    apply_path(po, say);
    apply_agents(po, say, arena);
    const char *attribute, *reason = what_is_missing(po, &attribute);
    if (reason != NULL)
        fault(context, po->mode_from != NULL ? po->mode_from : po->dn, attribute, reason);
}
