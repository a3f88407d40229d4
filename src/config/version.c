/* One version of one configuration object: its settings by the tables, then the checks of its class that need no other object. Called by
 * objects.c for what the watch tells and what is kept on disk. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>

#include "exceptions.h"
#include "parse.h"
#include "path.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "postern/net/https.h"
#include "server.h"

/* Each of ten thousand values may be wrong: nobody reads ten thousand complaints. */
static void add_complaint(struct version *v, const char *attribute, const char *reason)
{
    size_t count = 0;
    for (const struct complaint *c = v->complaints; c != NULL; c = c->next)
        if (++count == COMPLAINTS_MAX)
            return;
    struct complaint *c = ARENA_NEW(&v->arena, struct complaint);
    c->attribute = attribute;
    c->reason = reason;
    c->next = v->complaints;
    v->complaints = c;
}

static bool port_is_allowed(uint64_t port, const struct parse_bounds *bounds)
{
    if (port == 0 || port >= 1024)
        return true;
    for (size_t i = 0; i < bounds->allowed_port_count; i++)
        if (bounds->allowed_ports[i] == port)
            return true;
    return false;
}

/* Every port of the agent's table is bound on this host: their attributes end with "Port". */
static void check_agent_ports(struct version *v, const struct parse_bounds *bounds)
{
    for (size_t i = 0; i < v->class->rule_count; i++) {
        const struct attribute_rule *rule = &v->class->rules[i];
        if (rule->kind != KIND_NUMBER || !slice_ends_with(slice_from_string(rule->name), "Port"))
            continue;
        uint64_t port = *(const uint64_t *)((const char *)v->settings + rule->offset);
        if (!port_is_allowed(port, bounds))
            add_complaint(v, rule->name, "the port is below 1024 and not among the allowed ports");
    }
}

/* Two services that are both enabled cannot share a port. */
static void check_shared_ports(struct version *v, const struct overlay *overlay)
{
    const struct agent_settings *a = v->settings;
    const struct { bool enabled; uint64_t port; const char *attribute; } ports[] = {
        { a->pop3_enabled, a->pop3_port, "posternPop3Port" },       { a->pop3_enabled, a->pop3s_port, "posternPop3sPort" },
        { a->imap4_enabled, a->imap4_port, "posternImap4Port" },    { a->imap4_enabled, a->imap4s_port, "posternImap4sPort" },
        { a->smtp_enabled, a->smtp_port, "posternSmtpPort" },       { a->smtp_enabled, a->submission_port, "posternSubmissionPort" },
        { a->smtp_enabled, a->submissions_port, "posternSubmissionsPort" },
        { a->smtp_enabled, a->lmtp_port, "posternLmtpPort" },       { a->smtp_enabled, a->lmtps_port, "posternLmtpsPort" },
    };
    for (size_t i = 0; i < sizeof(ports) / sizeof(ports[0]); i++)
        for (size_t j = 0; j < i; j++)
            if (ports[i].enabled && ports[j].enabled && ports[i].port != 0 && ports[i].port == ports[j].port) {
                const char *given = overlay_given(overlay, ports[i].attribute);
                given = given != NULL ? given : overlay_given(overlay, ports[j].attribute);
                add_complaint(v, ports[i].attribute, arena_printf(&v->arena, "the same port as %s%s%s", ports[j].attribute,
                                                                  given != NULL ? "; the command line has " : "", given != NULL ? given : ""));
            }
}

/* As the listeners take them: numeric, IPv6 also in brackets, or * for all. */
static bool address_is_valid(const char *text)
{
    struct slice address = slice_from_string(text);
    char plain[INET6_ADDRSTRLEN];
    unsigned char binary[sizeof(struct in6_addr)];
    if (slice_is(address, "*"))
        return true;
    if (address.len > 2 && address.data[0] == '[' && address.data[address.len - 1] == ']')
        address = slice_part(address, 1, address.len - 2);
    if (address.len == 0 || address.len >= sizeof(plain))
        return false;
    memcpy(plain, address.data, address.len);
    plain[address.len] = '\0';
    return inet_pton(AF_INET, plain, binary) == 1 || inet_pton(AF_INET6, plain, binary) == 1;
}

/* One value: numbers of minutes separated by blanks. A directory does not keep the order of several values. */
static bool minutes_are_valid(struct slice text)
{
    struct slice part;
    size_t count = 0;
    while (slice_split(&text, ' ', &part)) {
        uint64_t minutes;
        if (part.len == 0)
            continue;
        if (!slice_to_number(part, 43200, &minutes) || minutes == 0 || ++count > 64)
            return false;
    }
    return count > 0;
}

/* Files of the TLS directory: names below it, never paths out of it. */
static void check_file(struct version *v, const char *attribute, const char *file)
{
    const char *reason = file != NULL ? path_check_mailbox(slice_from_string(file)) : NULL;
    if (reason != NULL)
        add_complaint(v, attribute, reason);
}

/* "https://id.example.org" allows what begins so and goes on with a slash or a question mark, if with anything. */
static bool url_is_allowed(const char *url, const struct parse_bounds *bounds)
{
    struct slice text = slice_from_string(url);
    for (size_t i = 0; i < bounds->token_url_count; i++) {
        struct slice allowed = slice_from_string(bounds->token_urls[i]);
        bool whole = allowed.len > 0 && allowed.data[allowed.len - 1] == '/';
        struct slice rest = slice_from(text, allowed.len);
        if (slice_starts_with(text, bounds->token_urls[i]) && (whole || rest.len == 0 || rest.data[0] == '/' || rest.data[0] == '?'))
            return true;
    }
    return bounds->token_urls == NULL;
}

static void check_tokens(struct version *v, const struct agent_settings *agent, const struct parse_bounds *bounds)
{
    check_file(v, "posternTokenKey", agent->token_key);
    check_file(v, "posternTokenIntrospectionCa", agent->token_ca);
    const char *reason = agent->token_credentials != NULL ? path_check_part(slice_from_string(agent->token_credentials)) : NULL;
    if (reason != NULL)
        add_complaint(v, "posternTokenIntrospectionCredentials", reason);
    if (agent->token_url == NULL)
        return;
    if (!https_url_is_safe(agent->token_url))
        add_complaint(v, "posternTokenIntrospectionUrl", "neither an https URL nor http to an address of this machine");
    else if (!url_is_allowed(agent->token_url, bounds))
        add_complaint(v, "posternTokenIntrospectionUrl", "the gateway was not started with --allow-token-url for it");
    if (agent->token_audience == NULL)
        add_complaint(v, "posternTokenAudience", "is missing: a token for another service would open mailboxes");
}

static void check_agent(struct version *v, const struct parse_bounds *bounds)
{
    struct agent_settings *agent = v->settings;
    agent->dn = v->entry->dn;
    check_agent_ports(v, bounds);
    check_shared_ports(v, bounds->overlay);
    for (size_t i = 0; i < agent->bind_addresses.count; i++)
        if (!address_is_valid(agent->bind_addresses.values[i]))
            add_complaint(v, "posternBindAddress", arena_printf(&v->arena, "%s is not an IP address", agent->bind_addresses.values[i]));
    if (agent->lmtp_port == 25 || agent->lmtps_port == 25)
        add_complaint(v, agent->lmtp_port == 25 ? "posternLmtpPort" : "posternLmtpsPort", "LMTP must not be spoken on port 25 (RFC 2033, section 1)");
    for (size_t i = 0; i < agent->trusted_addresses.count; i++)
        if (!exception_is_address(slice_from_string(agent->trusted_addresses.values[i])))
            add_complaint(v, "posternTrustedAddress", arena_printf(&v->arena, "%s is no IP address or range", agent->trusted_addresses.values[i]));
    if (agent->defer_minutes.count > 1)
        add_complaint(v, "posternDeferMinutes", "has more than one value");
    else if (agent->defer_minutes.count == 1 && !minutes_are_valid(slice_from_string(agent->defer_minutes.values[0])))
        add_complaint(v, "posternDeferMinutes", "not numbers from 1 to 43200 separated by blanks");
    check_file(v, "posternTlsCertificate", agent->tls_certificate);
    check_file(v, "posternTlsKey", agent->tls_key);
    check_tokens(v, agent, bounds);
    if (agent->login_method == LOGIN_COMPARE && bounds->vendor != DIRECTORY_OTHER)
        add_complaint(v, "posternLoginMethod", arena_printf(&v->arena, "compare is for directories that verify hashes by it, %s does not",
                                                            directory_vendor_word(bounds->vendor)));
}

static void check_path(struct version *v, const char *attribute, const char *path, const struct parse_bounds *bounds)
{
    const char *reason = path != NULL ? path_check_absolute(slice_from_string(path), bounds->mail_root) : NULL;
    if (reason != NULL)
        add_complaint(v, attribute, reason);
}

/* Host names (RFC 1123, section 2.1) and, for domains, their UTF-8 forms: no blanks, no at sign, no slash. */
static bool domain_is_valid(struct slice domain)
{
    if (domain.len == 0 || domain.len > 255 || domain.data[0] == '.' || domain.data[0] == '-')
        return false;
    for (size_t i = 0; i < domain.len; i++) {
        unsigned char c = (unsigned char)domain.data[i];
        if (c < 0x80 && !ascii_is_alpha((char)c) && !ascii_is_digit((char)c) && c != '-' && c != '.' && c != '_')
            return false;
        if (c == '.' && (i + 1 == domain.len || domain.data[i + 1] == '.'))
            return false;
    }
    return true;
}

static void lower_case(char *text)
{
    for (; *text != '\0'; text++)
        *text = ascii_lower(*text);
}

static void check_domains(struct version *v, struct text_list *domains)
{
    for (size_t i = 0; i < domains->count; i++) {
        lower_case(domains->values[i]);
        if (!domain_is_valid(slice_from_string(domains->values[i])))
            add_complaint(v, "posternDomain", "not a domain name");
        for (size_t j = 0; j < i; j++)
            if (strcmp(domains->values[i], domains->values[j]) == 0)
                add_complaint(v, "posternDomain", "has the same domain twice");
    }
}

static void check_post_office(struct version *v, const struct parse_bounds *bounds)
{
    struct post_office_settings *s = v->settings;
    check_domains(v, &s->domains);
    check_path(v, "posternPath", s->path, bounds);
    check_path(v, "posternControlDirectory", s->control_dir, bounds);
    const char *reason = s->mailbox_template != NULL ? path_check_template(slice_from_string(s->mailbox_template)) : NULL;
    if (reason != NULL)
        add_complaint(v, "posternMailboxTemplate", reason);
    if (s->separator != NULL && strcmp(s->separator, ".") != 0 && strcmp(s->separator, "/") != 0)
        add_complaint(v, "posternSeparator", "neither a dot nor a slash");
    if (s->prefix != NULL && strlen(s->prefix) > 255)
        add_complaint(v, "posternPrefix", "longer than 255 octets");
}

static void check_hosts(struct version *v, const struct text_list *hosts)
{
    for (size_t i = 0; i < hosts->count; i++)
        if (strcmp(hosts->values[i], "*") == 0 ||
            (!domain_is_valid(slice_from_string(hosts->values[i])) && !address_is_valid(hosts->values[i])))
            add_complaint(v, "posternHost", "neither a host name nor an IP address");
}

static void check_link(struct version *v, const struct parse_bounds *bounds)
{
    struct link_settings *s = v->settings;
    if (s->post_office == NULL && v->complaints == NULL)
        add_complaint(v, "posternPostOffice", "is missing");
    check_path(v, "posternPath", s->path, bounds);
    check_hosts(v, &s->hosts);
}

/* A name in the credentials directory, and nothing else. */
static void check_credentials(struct version *v, const struct post_office_agent_settings *s)
{
    bool needed = s->login == POA_LOGIN_AUTHORIZATION || s->login == POA_LOGIN_MASTER_USER;
    if (s->credentials == NULL && needed)
        add_complaint(v, "posternPoaCredentials", "is missing: this way to log in needs the gateway's own credentials");
    const char *reason = s->credentials != NULL ? path_check_part(slice_from_string(s->credentials)) : NULL;
    if (reason != NULL)
        add_complaint(v, "posternPoaCredentials", reason);
}

static void check_exceptions(struct version *v, const char *attribute, const struct text_list *exceptions)
{
    for (size_t i = 0; i < exceptions->count; i++)
        if (!exception_is_valid(slice_from_string(exceptions->values[i])))
            add_complaint(v, attribute, arena_printf(&v->arena, "%s is no address, domain or IP address", exceptions->values[i]));
}

static void check_post_office_agent(struct version *v, const struct parse_bounds *bounds)
{
    (void)bounds;
    const struct post_office_agent_settings *s = v->settings;
    if (s->hosts.count == 0 && v->complaints == NULL)
        add_complaint(v, "posternHost", "is missing");
    check_hosts(v, &s->hosts);
    check_credentials(v, s);
    check_file(v, "posternTlsCaFile", s->ca_file);
    check_file(v, "posternTlsCertificate", s->certificate);
    check_file(v, "posternTlsKey", s->key);
    if (s->login == POA_LOGIN_EXTERNAL && (s->certificate == NULL || s->tls == POA_TLS_DISABLED || s->tls == POA_TLS_ENABLED))
        add_complaint(v, "posternPoaLogin", "external needs posternTlsCertificate, and posternTls required or implicit");
}

/* A member with an equals sign is a DN, any other is a domain. */
static void check_class_of_service(struct version *v, const struct parse_bounds *bounds)
{
    (void)bounds;
    struct class_of_service_settings *s = v->settings;
    check_exceptions(v, "posternSmtpIncomingException", &s->smtp_incoming_exceptions);
    check_exceptions(v, "posternSmtpOutgoingException", &s->smtp_outgoing_exceptions);
    for (size_t i = 0; i < s->members.count; i++) {
        struct slice member = slice_from_string(s->members.values[i]);
        if (slice_find(member, '=') >= 0) {
            char *normal = dn_normalise(member);
            if (normal != NULL)
                map_put(&v->members, slice_from_string(normal), v);
            else
                add_complaint(v, "posternMember", "neither a distinguished name nor a domain");
            mem_free(&normal);
        } else {
            lower_case(s->members.values[i]);
            if (domain_is_valid(member))
                map_put(&v->members, member, v);
            else
                add_complaint(v, "posternMember", "neither a distinguished name nor a domain");
        }
    }
}

static const struct object_class *class_of(const struct directory_entry *entry)
{
    static const enum object_class_id watched[] = { CLASS_AGENT, CLASS_POST_OFFICE, CLASS_POST_OFFICE_AGENT, CLASS_LINK,
                                                    CLASS_CLASS_OF_SERVICE };
    for (size_t i = 0; i < sizeof(watched) / sizeof(watched[0]); i++)
        if (directory_entry_has(entry, "objectClass", object_classes[watched[i]].name))
            return &object_classes[watched[i]];
    return NULL;
}

static bool is_told(const struct complaint *list, const char *attribute)
{
    for (; list != NULL; list = list->next)
        if (list->attribute != NULL && strcmp(list->attribute, attribute) == 0)
            return true;
    return false;
}

/* What is wrong with the agent is wrong with the object that it was made from. */
static void take_complaints(struct version *v, struct complaint **to, const struct complaint *from)
{
    for (; from != NULL; from = from->next) {
        const char *attribute = server_attribute(from->attribute);
        if (is_told(v->complaints, attribute))
            continue;
        struct complaint *c = ARENA_NEW(&v->arena, struct complaint);
        c->attribute = attribute;
        c->reason = arena_printf(&v->arena, "%s", from->reason);
        c->next = *to;
        *to = c;
    }
}

/* This process serves as this Post Office Agent. */
static void make_server(struct version *v, const struct parse_bounds *bounds)
{
    const struct post_office_agent_settings *s = v->settings;
    v->server = version_new(server_entry(v), bounds);
    take_complaints(v, &v->complaints, v->server->complaints);
    take_complaints(v, &v->remarks, v->server->remarks);
    if (s->tls == POA_TLS_IMPLICIT && s->server_certificate == NULL)
        add_complaint(v, "posternPoaCertificate", "is missing: there is no TLS without it");
    if (s->proxy_header)
        add_complaint(v, "posternPoaProxyHeader", "posternd does not understand the PROXY protocol: it believes what posternTrustedAddress tells it");
}

static void (*const checks[CLASS_COUNT])(struct version *, const struct parse_bounds *) = {
    [CLASS_AGENT] = check_agent, [CLASS_POST_OFFICE] = check_post_office, [CLASS_POST_OFFICE_AGENT] = check_post_office_agent,
    [CLASS_LINK] = check_link, [CLASS_CLASS_OF_SERVICE] = check_class_of_service,
};

struct version *version_new(struct directory_entry *entry, const struct parse_bounds *bounds)
{
    const struct object_class *class = class_of(entry);
    char *normal = class != NULL ? dn_normalise(slice_from_string(entry->dn)) : NULL;
    if (normal == NULL) {
        directory_entry_free(&entry);
        return NULL;
    }
    struct version *v = MEM_NEW(struct version);
    v->references = 1;
    arena_init(&v->arena);
    map_init(&v->members);
    v->class = class;
    v->entry = entry;
    v->ndn = normal;
    v->settings = arena_alloc(&v->arena, class->size);
    const struct overlay *overlay = class == &object_classes[CLASS_AGENT] ? bounds->overlay : NULL;
    v->complaints = parse_settings_over(class, entry, overlay, &v->arena, v->settings, &v->remarks);
    checks[class - object_classes](v, bounds);
    v->name = dn_first_value(slice_from_string(entry->dn));
    if (v->name == NULL)
        v->name = mem_strdup(entry->dn);
    if (class == &object_classes[CLASS_POST_OFFICE_AGENT] && bounds->agent_ndn != NULL && strcmp(normal, bounds->agent_ndn) == 0 &&
        strchr(normal, ',') != NULL)
        make_server(v, bounds);
    if (class == &object_classes[CLASS_LINK])
        v->target = dn_normalise(slice_from_string(((const struct link_settings *)v->settings)->post_office));
    return v;
}

struct version *version_ref(struct version *version)
{
    version->references++;
    return version;
}

void version_unref(struct version **version)
{
    struct version *v = *version;
    *version = NULL;
    if (v == NULL || --v->references > 0)
        return;
    version_unref(&v->server);
    map_fini(&v->members);
    arena_clear(&v->arena);
    directory_entry_free(&v->entry);
    mem_free(&v->ndn);
    mem_free(&v->name);
    mem_free(&v->target);
    mem_release(v);
}
