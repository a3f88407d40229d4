/* The gateway's own entry. Called by src/config's status thread. Whatever happens to the connection, it is closed and the next call
 * opens another. */
#include "postern/directory/write.h"

#include "connection.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"

struct directory_writer {
    const struct directory_options *options;
    _Atomic unsigned preferred;
    struct connection connection;   /* ld NULL: none */
};

struct directory_writer *directory_writer_new(const struct directory_options *options)
{
    struct directory_writer *w = MEM_NEW(struct directory_writer);
    w->options = options;
    w->connection.fd = -1;
    return w;
}

void directory_writer_free(struct directory_writer **writer)
{
    if (*writer != NULL)
        connection_close(&(*writer)->connection);
    mem_free(writer);
}

/* The attributes from `first` on as libldap wants them. One piece of memory for all: mem_free. */
static LDAPMod **to_mods(const struct directory_entry *entry, size_t first, int operation)
{
    size_t count = entry->count - first, values = 0;
    for (size_t i = first; i < entry->count; i++)
        values += entry->attributes[i].count + 1;
    char *memory = mem_alloc((count + 1 + values) * sizeof(void *) + count * sizeof(LDAPMod) + values * sizeof(struct berval));
    LDAPMod **mods = (LDAPMod **)(void *)memory;
    struct berval **pointers = (struct berval **)(void *)(mods + count + 1);
    LDAPMod *mod = (LDAPMod *)(void *)(pointers + values);
    struct berval *value = (struct berval *)(void *)(mod + count);
    for (size_t i = 0; i < count; i++, mod++) {
        const struct directory_attribute *attribute = &entry->attributes[first + i];
        mods[i] = mod;
        mod->mod_op = operation | LDAP_MOD_BVALUES;
        mod->mod_type = attribute->name;
        mod->mod_bvalues = pointers;
        for (size_t j = 0; j < attribute->count; j++, value++) {
            value->bv_val = (char *)(uintptr_t)attribute->values[j].data;
            value->bv_len = attribute->values[j].len;
            *pointers++ = value;
        }
        pointers++;   /* NULL */
    }
    return mods;
}

/* The result of the operation that was sent with code `rc`: 0, or -1 with the fault and the result in *code_out. */
static int finish(struct directory_writer *w, int rc, int id, const char *doing, uint64_t deadline, int *code_out, struct fault *fault)
{
    struct connection *c = &w->connection;
    LDAPMessage *message = NULL;
    uint64_t now = clock_monotonic_ms();
    *code_out = rc;
    if (rc != LDAP_SUCCESS || connection_wait(c, id, true, deadline > now ? deadline - now : 1, &message, fault) != 0) {
        if (rc != LDAP_SUCCESS)
            connection_fault(c, rc, doing, fault);
        *code_out = LDAP_SERVER_DOWN;
        connection_close(c);
        return -1;
    }
    char *text = NULL;
    rc = ldap_parse_result(c->ld, message, code_out, NULL, &text, NULL, NULL, 1);
    ldap_memfree(text);
    if (rc != LDAP_SUCCESS)
        *code_out = rc;
    if (*code_out == LDAP_SUCCESS)
        return 0;
    connection_fault(&(struct connection){ 0 }, *code_out, doing, fault);
    /* The server is there and says no, for whatever reason: a schema that is not loaded, a referral of one that only reads. */
    if (fault->class != FAULT_NOT_FOUND && *code_out != LDAP_BUSY && *code_out != LDAP_UNAVAILABLE && *code_out != LDAP_SERVER_DOWN)
        fault->class = FAULT_DENIED;
    return -1;
}

static int modify(struct directory_writer *w, const struct directory_entry *entry, size_t fixed, uint64_t deadline, int *code, struct fault *fault)
{
    LDAPMod **mods = to_mods(entry, fixed, LDAP_MOD_REPLACE);
    int id = 0, rc = ldap_modify_ext(w->connection.ld, entry->dn, mods, NULL, NULL, &id);
    mem_free(&mods);
    return finish(w, rc, id, entry->dn, deadline, code, fault);
}

static int add(struct directory_writer *w, const struct directory_entry *entry, uint64_t deadline, int *code, struct fault *fault)
{
    LDAPMod **mods = to_mods(entry, 0, LDAP_MOD_ADD);
    size_t kept = 0;
    for (size_t i = 0; mods[i] != NULL; i++)   /* an attribute without values is no part of a new entry */
        if (mods[i]->mod_bvalues[0] != NULL)
            mods[kept++] = mods[i];
    mods[kept] = NULL;
    int id = 0, rc = ldap_add_ext(w->connection.ld, entry->dn, mods, NULL, NULL, &id);
    mem_free(&mods);
    return finish(w, rc, id, entry->dn, deadline, code, fault);
}

static int open_connection(struct directory_writer *w, uint64_t ms, struct fault *fault)
{
    if (w->connection.ld != NULL && connection_is_left(&w->connection))
        connection_close(&w->connection);
    if (w->connection.ld != NULL)
        return 0;
    return connection_open_any(&w->connection, w->options, &w->preferred, true, ms, fault);
}

int directory_writer_put(struct directory_writer *w, const struct directory_entry *entry, size_t fixed, uint64_t ms, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + ms;
    /* A connection that was idle may have been ended by the server: then once more with a new one. */
    for (unsigned attempt = 0; attempt < 2; attempt++) {
        bool idle = w->connection.ld != NULL;
        int code;
        if (open_connection(w, ms, fault) != 0)
            return -1;
        if (modify(w, entry, fixed, deadline, &code, fault) == 0)
            return 0;
        /* Some servers say of an entry that is not there that it may not be written. */
        if (code == LDAP_NO_SUCH_OBJECT || code == LDAP_INSUFFICIENT_ACCESS) {
            struct fault refusal = *fault;
            if (add(w, entry, deadline, &code, fault) == 0)
                return 0;
            if (code == LDAP_ALREADY_EXISTS)
                *fault = refusal;
            return -1;
        }
        if (code != LDAP_SERVER_DOWN || !idle || clock_monotonic_ms() >= deadline)
            return -1;
    }
    return -1;
}

int directory_writer_remove(struct directory_writer *w, const char *dn, uint64_t ms, struct fault *fault)
{
    int id = 0, code;
    uint64_t deadline = clock_monotonic_ms() + ms;
    if (open_connection(w, ms, fault) != 0)
        return -1;
    int rc = ldap_delete_ext(w->connection.ld, dn, NULL, NULL, &id);
    if (finish(w, rc, id, dn, deadline, &code, fault) == 0 || code == LDAP_NO_SUCH_OBJECT)
        return 0;
    return -1;
}
