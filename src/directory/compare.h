/* compare: a user's password by compare, on a connection with the gateway's own credentials. Internal to src/directory. */
#ifndef DIRECTORY_COMPARE_H
#define DIRECTORY_COMPARE_H

#include "connection.h"

/* As directory_pool_compare, on this connection. */
int connection_compare(struct connection *c, const char *dn, struct slice password, uint64_t deadline, struct fault *fault);

#endif
