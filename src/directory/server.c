/* The root DSE and contextCSN. Called by the watch and by the probe of servers that were away. */
#include "server.h"

#include <string.h>

#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "sync.h"

#define READ_MS 2000

static bool choose_base(const struct directory_entry *root, const char *inside, struct server *out)
{
    const struct directory_attribute *contexts = directory_entry_find(root, "namingContexts");
    char *normal = dn_normalise(slice_from_string(inside));
    size_t best = 0;
    for (size_t i = 0; contexts != NULL && normal != NULL && i < contexts->count; i++) {
        char *context = dn_normalise(contexts->values[i]);
        if (context != NULL && dn_is_within(normal, context) && (out->base == NULL || strlen(context) > best)) {
            mem_free(&out->base);
            out->base = slice_to_string(contexts->values[i]);
            best = strlen(context);
        }
        mem_free(&context);
    }
    mem_free(&normal);
    return out->base != NULL;
}

const char *directory_vendor_word(enum directory_vendor vendor)
{
    static const char *const words[] = { [DIRECTORY_OTHER] = "another directory", [DIRECTORY_OPEN_LDAP] = "OpenLDAP", [DIRECTORY_389] = "389 Directory Server" };
    return words[vendor];
}

/* vendorName and vendorVersion are those of RFC 3045. */
static enum directory_vendor vendor_of(const struct directory_entry *root)
{
    const struct directory_attribute *version = directory_entry_find(root, "vendorVersion");
    if (directory_entry_has(root, "objectClass", "OpenLDAProotDSE"))
        return DIRECTORY_OPEN_LDAP;
    if (directory_entry_has(root, "vendorName", "389 Project") || (version != NULL && version->count > 0 && slice_starts_with_nocase(version->values[0], "389-")))
        return DIRECTORY_389;
    return DIRECTORY_OTHER;
}

int server_read_vendor(struct connection *c, uint64_t ms, enum directory_vendor *out, struct fault *fault)
{
    static const char *const attributes[] = { "objectClass", "vendorName", "vendorVersion", NULL };
    struct directory_entry *root = connection_read(c, "", attributes, ms, fault);
    if (root == NULL)
        return -1;
    *out = vendor_of(root);
    directory_entry_free(&root);
    return 0;
}

int server_read(struct connection *c, const char *inside, struct server *out, struct fault *fault)
{
    static const char *const attributes[] = { "objectClass", "vendorName", "vendorVersion", "namingContexts", "supportedControl", NULL };
    memset(out, 0, sizeof(*out));
    struct directory_entry *root = connection_read(c, "", attributes, READ_MS, fault);
    if (root == NULL)
        return -1;
    out->has_sync = directory_entry_has(root, "supportedControl", SYNC_REQUEST_OID);
    out->vendor = vendor_of(root);
    out->is_open_ldap = out->vendor == DIRECTORY_OPEN_LDAP;
    out->has_bell = directory_entry_has(root, "supportedControl", BELL_REQUEST_OID);
    bool found = choose_base(root, inside, out);
    directory_entry_free(&root);
    return found ? 0 : fault_set(fault, FAULT_NOT_FOUND, 0, "no naming context of the directory holds %s", inside);
}

void server_fini(struct server *server)
{
    mem_free(&server->base);
}

struct directory_entry *server_read_csn(struct connection *c, const struct server *server)
{
    static const char *const attributes[] = { "contextCSN", NULL };
    struct fault fault;
    struct directory_entry *entry = connection_read(c, server->base, attributes, READ_MS / 2, &fault);
    if (entry != NULL && directory_entry_find(entry, "contextCSN") == NULL)
        directory_entry_free(&entry);
    return entry;
}

/* time#count#sid#mod (draft-chu-ldap-csn): the third part. */
static struct slice server_id(struct slice csn)
{
    struct slice part = SLICE_NONE;
    for (unsigned i = 0; i < 3; i++)
        if (!slice_split(&csn, '#', &part))
            return SLICE_NONE;
    return part;
}

bool csn_has_reached(const struct directory_entry *own, const struct directory_entry *other)
{
    const struct directory_attribute *mine = directory_entry_find(own, "contextCSN"), *theirs = directory_entry_find(other, "contextCSN");
    for (size_t i = 0; theirs != NULL && i < theirs->count; i++) {
        bool reached = false;
        for (size_t j = 0; mine != NULL && j < mine->count; j++)
            if (slice_is_equal(server_id(mine->values[j]), server_id(theirs->values[i])))
                reached = slice_compare(mine->values[j], theirs->values[i]) >= 0;
        if (!reached)
            return false;
    }
    return mine != NULL && theirs != NULL;
}
