/* tls: what a handle needs before it may speak TLS. Internal to src/directory. */
#ifndef DIRECTORY_TLS_H
#define DIRECTORY_TLS_H

#include <ldap.h>

#include "postern/directory/directory.h"

/* Any thread. Nonzero: a file cannot be used. */
int tls_use(LDAP *ld, const struct directory_options *options);

#endif
