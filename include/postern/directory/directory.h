/* directory: the LDAP side. Options as given at start. Entries, DNs, the watch and the pools have headers of their own.
 * libldap is called from src/directory only. SIGPIPE must be ignored in the process: liblber writes with write(2). */
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

/* Keeps the environment and the files of libldap's own configuration from having a say (LDAPTLS_REQCERT=never, ./ldaprc). Before any thread is
 * started and before the first other call; further calls do nothing. */
void directory_init(void);

#endif
