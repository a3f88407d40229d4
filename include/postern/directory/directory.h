/* directory: the LDAP side. Options as given at start. Entries, DNs, the watch and the pools have headers of their own.
 * libldap is called from src/directory only. SIGPIPE must be ignored in the process: liblber writes with write(2). */
#ifndef POSTERN_DIRECTORY_DIRECTORY_H
#define POSTERN_DIRECTORY_DIRECTORY_H

#include <stdbool.h>
#include <stddef.h>

struct directory_choice;

/* By the root DSE: those whose compare does not verify hashes. */
enum directory_vendor { DIRECTORY_OTHER, DIRECTORY_OPEN_LDAP, DIRECTORY_389 };
const char *directory_vendor_word(enum directory_vendor vendor);

struct directory_options {
    char **uris;                /* ldap://, ldaps:// or ldapi:// (percent-encoded path), tried in turn */
    size_t uri_count;
    const char *bind_dn;        /* NULL with external */
    const char *password_file;  /* first line; read at each connect; NULL: none */
    bool external;              /* SASL EXTERNAL (ldapi peer credentials or client certificate) */
    bool start_tls;             /* required on ldap:// URIs */
    const char *ca_file;        /* PEM; NULL: the system's store */
    const char *cert_file;      /* PEM: client certificate and, in key_file, its key; NULL: none */
    const char *key_file;
    bool gssapi;                /* SASL GSSAPI, with what the environment offers (see directory_use_keytab) */
    const char *keytab;         /* for directory_use_keytab; NULL: none */
    struct directory_choice *choice;   /* shared by the watch and the pools; NULL: each one finds its own way through the URIs */
};

/* Which of the URIs is good now. What fails at one moves to the next at once; only the watch moves back to an earlier one, when it has read
 * everything there. */
struct directory_choice *directory_choice_new(size_t uri_count);
/* After the watch and the pools are gone; the options stay until then. Waits for attempts to connect that nobody wanted any more, at most about 5 s. */
void directory_choice_free(struct directory_choice **choice);
/* Makes GSSAPI take its tickets by the keys of this file, and keep them in memory. Before any thread is started. */
void directory_use_keytab(const char *keytab);

/* Keeps the environment and the files of libldap's own configuration from having a say (LDAPTLS_REQCERT=never, ./ldaprc). Before any thread is
 * started and before the first other call; further calls do nothing. */
void directory_init(void);

#endif
