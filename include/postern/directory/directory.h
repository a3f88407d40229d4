/* directory: the LDAP side. Options as given at start. (Watch, pools: see the other headers of this folder.) */
#ifndef POSTERN_DIRECTORY_DIRECTORY_H
#define POSTERN_DIRECTORY_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

struct directory_options {
    char **uris;                /* ldap://, ldaps:// or ldapi:// (percent-encoded path), tried in turn */
    size_t uri_count;
    const char *bind_dn;        /* NULL with external */
    const char *password_file;  /* first line; read at each connect; NULL: none */
    bool external;              /* SASL EXTERNAL (ldapi peer credentials or client certificate) */
    bool start_tls;             /* required on ldap:// URIs */
    const char *ca_file;        /* PEM; NULL: the system's store */
};

#endif
