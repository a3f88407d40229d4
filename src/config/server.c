/* A Post Office Agent as an agent of its own: IMAP and LMTP for the one post office that it stands under, and nothing else. Called by version.c for the
 * object that this process was started with. What has no counterpart is as in an Internet Agent object without that attribute. */
#include "server.h"

#include <stdio.h>
#include <string.h>

/* Taken over as they are. */
static const char *const shared[] = {
#define BOOLEAN(field, attribute, fallback, doc) attribute,
#define NUMBER(field, attribute, fallback, min, max, doc) attribute,
#define WORD(field, attribute, words, fallback, doc) attribute,
#define TEXT(field, attribute, doc) attribute,
#define TEXTS(field, attribute, doc) attribute,
#define DN(field, attribute, doc) attribute,
#define DNS(field, attribute, doc) attribute,
#include "postern/tbl/server.h"
#include "postern/tbl/end.h"
};

static const struct { const char *agent; const char *own; } names[] = {
    { "posternImap4Port", "posternPort" },    { "posternImap4sPort", "posternPort" },    { "posternLmtpsPort", "posternLmtpPort" },
    { "posternImap4Tls", "posternTls" },      { "posternSmtpTls", "posternTls" },        { "posternTlsCertificate", "posternPoaCertificate" },
    { "posternTlsKey", "posternPoaKey" },
};

static const char *const unused_ports[] = { "posternPop3Port", "posternPop3sPort", "posternSmtpPort", "posternSubmissionPort", "posternSubmissionsPort" };

const char *server_attribute(const char *agent_attribute)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(names[i].agent, agent_attribute) == 0)
            return names[i].own;
    return agent_attribute;
}

static void put(struct directory_entry *entry, const char *name, const char *value)
{
    struct slice text = slice_from_string(value);
    directory_entry_set(entry, entry->count++, slice_from_string(name), &text, 1);
}

static void put_port(struct directory_entry *entry, const char *name, uint64_t port)
{
    char text[24];
    snprintf(text, sizeof(text), "%llu", (unsigned long long)port);
    put(entry, name, text);
}

static void put_ports(struct directory_entry *entry, const struct post_office_agent_settings *s)
{
    bool implicit = s->tls == POA_TLS_IMPLICIT;
    put_port(entry, "posternImap4Port", implicit ? 0 : s->port);
    put_port(entry, "posternImap4sPort", implicit ? s->port : 0);
    put_port(entry, "posternLmtpPort", implicit ? 0 : s->lmtp_port);
    put_port(entry, "posternLmtpsPort", implicit ? s->lmtp_port : 0);
    for (size_t i = 0; i < sizeof(unused_ports) / sizeof(unused_ports[0]); i++)
        put_port(entry, unused_ports[i], 0);
    put(entry, "posternPop3Enabled", "FALSE");
}

static void put_tls(struct directory_entry *entry, const struct post_office_agent_settings *s)
{
    const char *word = s->tls == POA_TLS_DISABLED ? "disabled" : s->tls == POA_TLS_REQUIRED ? "required" : "enabled";
    put(entry, "posternImap4Tls", word);
    put(entry, "posternSmtpTls", word);
    if (s->server_certificate != NULL)
        put(entry, "posternTlsCertificate", s->server_certificate);
    if (s->server_key != NULL)
        put(entry, "posternTlsKey", s->server_key);
}

struct directory_entry *server_entry(const struct version *v)
{
    const struct post_office_agent_settings *s = v->settings;
    const char *comma = strchr(v->ndn, ',');
    struct directory_entry *entry = directory_entry_new(slice_from_string(v->entry->dn), v->entry->uuid);
    directory_entry_reserve(entry, sizeof(shared) / sizeof(shared[0]) + 20);
    entry->count = 0;
    put(entry, "objectClass", object_classes[CLASS_AGENT].name);
    put_ports(entry, s);
    put_tls(entry, s);
    if (comma != NULL)
        put(entry, "posternPostOffice", comma + 1);
    for (size_t i = 0; i < sizeof(shared) / sizeof(shared[0]); i++) {
        const struct directory_attribute *a = directory_entry_find(v->entry, shared[i]);
        if (a != NULL)
            directory_entry_set(entry, entry->count++, slice_from_string(a->name), a->values, a->count);
    }
    return entry;
}
