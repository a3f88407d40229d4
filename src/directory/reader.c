/* A directory seen with somebody's own credentials. Called by `posternctl check`; must never change anything. */
#include "postern/directory/reader.h"

#include <ldap.h>
#include <string.h>

#include "connection.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "server.h"

enum { OPEN_MS = 10000, ANSWER_MS = 60000, PAGE_SIZE = 500 };

struct directory_reader {
    const struct directory_options *options;
    struct connection connection;
};

int directory_reader_open(const struct directory_options *options, struct slice password, struct directory_reader **out, struct fault *fault)
{
    struct directory_reader *reader = MEM_NEW(struct directory_reader);
    _Atomic unsigned preferred = 0;
    bool own = password.len == 0;
    reader->options = options;
    int rc = connection_open_any(&reader->connection, options, &preferred, own, OPEN_MS, fault);
    if (rc == 0 && !own)
        rc = connection_bind(&reader->connection, options->bind_dn, password, false, OPEN_MS, fault);
    if (rc != 0) {
        connection_close(&reader->connection);
        mem_free(&reader);
    }
    *out = reader;
    return rc;
}

void directory_reader_close(struct directory_reader **reader)
{
    if (*reader != NULL)
        connection_close(&(*reader)->connection);
    mem_free(reader);
}

int directory_reader_base(struct directory_reader *reader, const char *inside, char **out, enum directory_vendor *vendor_out, struct fault *fault)
{
    struct server server;
    *out = NULL;
    if (server_read(&reader->connection, inside, &server, fault) != 0)
        return -1;
    *out = server.base;
    *vendor_out = server.vendor;
    server.base = NULL;
    server_fini(&server);
    return 0;
}

/* One page; *cookie is that of the next one, empty at the end. */
static int read_page(struct directory_reader *reader, const struct directory_search *s, struct berval *cookie,
                     void (*entry)(void *context, struct directory_entry *entry), void *context, struct fault *fault)
{
    struct connection *c = &reader->connection;
    LDAPControl *page = NULL, **answer = NULL;
    LDAPMessage *messages = NULL;
    int id, code = LDAP_OTHER;
    int rc = ldap_create_page_control(c->ld, PAGE_SIZE, cookie, 0, &page);
    if (rc == LDAP_SUCCESS)
        rc = ldap_search_ext(c->ld, s->base, s->scope == DIRECTORY_SCOPE_BASE ? LDAP_SCOPE_BASE : LDAP_SCOPE_SUBTREE, s->filter,
                             (char **)(uintptr_t)s->attributes, 0, (LDAPControl *[]){ page, NULL }, NULL, NULL, 0, &id);
    ldap_control_free(page);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "search", fault);
    if (connection_wait(c, id, true, ANSWER_MS, &messages, fault) != 0)
        return -1;
    for (LDAPMessage *m = ldap_first_entry(c->ld, messages); m != NULL; m = ldap_next_entry(c->ld, m)) {
        struct directory_entry *found = connection_entry(c, m);
        if (found != NULL)
            entry(context, found);
    }
    rc = ldap_parse_result(c->ld, messages, &code, NULL, NULL, NULL, &answer, 1);
    ber_memfree(cookie->bv_val);
    *cookie = (struct berval){ 0, NULL };
    LDAPControl *next = rc == LDAP_SUCCESS ? ldap_control_find(LDAP_CONTROL_PAGEDRESULTS, answer, NULL) : NULL;
    ber_int_t estimate;
    if (next != NULL)
        ldap_parse_pageresponse_control(c->ld, next, &estimate, cookie);
    ldap_controls_free(answer);
    rc = rc == LDAP_SUCCESS ? code : rc;
    return rc == LDAP_SUCCESS ? 0 : connection_fault(c, rc, "search", fault);
}

int directory_reader_search(struct directory_reader *reader, const struct directory_search *search,
                            void (*entry)(void *context, struct directory_entry *entry), void *context, struct fault *fault)
{
    struct berval cookie = { 0, NULL };
    int rc;
    do
        rc = read_page(reader, search, &cookie, entry, context, fault);
    while (rc == 0 && cookie.bv_len > 0);
    ber_memfree(cookie.bv_val);
    return rc;
}

/* Both values in parts of their own: a directory applies all of a request or nothing (RFC 4511, section 4.6), and the second part cannot succeed
 * after the first. Access is checked before the values are looked at. */
enum directory_probe directory_reader_probe(struct directory_reader *reader, const char *dn, const char *attribute, const char *one,
                                            const char *other, struct fault *fault)
{
    struct connection *c = &reader->connection;
    char *values[2][2] = { { (char *)(uintptr_t)one, NULL }, { (char *)(uintptr_t)other, NULL } };
    LDAPMod parts[2] = {
        { .mod_op = LDAP_MOD_DELETE, .mod_type = (char *)(uintptr_t)attribute, .mod_vals.modv_strvals = values[0] },
        { .mod_op = LDAP_MOD_DELETE, .mod_type = (char *)(uintptr_t)attribute, .mod_vals.modv_strvals = values[1] },
    };
    LDAPMod *all[] = { &parts[0], &parts[1], NULL };
    LDAPMessage *message = NULL;
    int id, code = LDAP_OTHER;
    int rc = ldap_modify_ext(c->ld, dn, all, NULL, NULL, &id);
    if (rc != LDAP_SUCCESS) {
        connection_fault(c, rc, "modify", fault);
        return PROBE_UNKNOWN;
    }
    if (connection_wait(c, id, true, ANSWER_MS, &message, fault) != 0)
        return PROBE_UNKNOWN;
    rc = ldap_parse_result(c->ld, message, &code, NULL, NULL, NULL, NULL, 1);
    if (rc == LDAP_SUCCESS && (code == LDAP_INSUFFICIENT_ACCESS || code == LDAP_NO_SUCH_OBJECT))
        return PROBE_DENIED;   /* who may not even see the entry hears that there is none */
    if (rc == LDAP_SUCCESS && code == LDAP_NO_SUCH_ATTRIBUTE)
        return PROBE_ALLOWED;
    connection_fault(c, rc == LDAP_SUCCESS ? code : rc, "modify", fault);
    return PROBE_UNKNOWN;
}
