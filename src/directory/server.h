/* server: what one directory server offers and how far its data have come. Internal to src/directory. */
#ifndef DIRECTORY_SERVER_H
#define DIRECTORY_SERVER_H

#include "connection.h"

struct server {
    char *base;            /* the naming context that holds what is asked for, as the server spells it */
    bool has_sync;         /* RFC 4533 */
    bool has_bell;         /* persistent search */
    enum directory_vendor vendor;
    bool is_open_ldap;     /* its cookies tell of every change, also of those that concern nothing watched */
};

/* Reads the root DSE (RFC 4512, section 5.1). */
int server_read(struct connection *c, const char *inside, struct server *out, struct fault *fault);
int server_read_vendor(struct connection *c, uint64_t ms, enum directory_vendor *out, struct fault *fault);
void server_fini(struct server *server);
/* The entry with contextCSN of the base, or NULL: it has none, or it cannot be read. */
struct directory_entry *server_read_csn(struct connection *c, const struct server *server);
/* Whether everything that `other` has seen has come to `own` too: for each of its server IDs a CSN that is not older. */
bool csn_has_reached(const struct directory_entry *own, const struct directory_entry *other);

#endif
