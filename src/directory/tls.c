/* The TLS context of all connections to the directory. Called by connection.c. One for the process, made anew when a file has changed: making one
 * reads every certificate of the system, and with a client certificate libldap 2.5 loses memory each time (GnuTLS). */
#include "tls.h"

#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/memory.h"

enum { FILES = 3 };

/* Which files, and what they were. */
struct source {
    const char *path[FILES];     /* authorities, certificate, key */
    struct stat stat[FILES];
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static LDAP *holder;             /* keeps the context; never connected */
static char *used_path[FILES];
static struct stat used_stat[FILES];

/* Where distributions keep the system's certificates: with LDAPNOINIT, libldap does not look by itself. */
static const char *system_ca_file(void)
{
    static const char *const files[] = { "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                         "/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem" };
    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
        if (access(files[i], R_OK) == 0)
            return files[i];
    return files[0];
}

static void look_at(const struct directory_options *options, struct source *out)
{
    memset(out, 0, sizeof(*out));
    out->path[0] = options->ca_file != NULL ? options->ca_file : system_ca_file();
    out->path[1] = options->cert_file;
    out->path[2] = options->key_file;
    for (size_t i = 0; i < FILES; i++)
        if (out->path[i] == NULL || stat(out->path[i], &out->stat[i]) != 0)
            memset(&out->stat[i], 0, sizeof(out->stat[i]));
}

static bool is_same(const struct source *s)
{
    for (size_t i = 0; i < FILES; i++) {
        const struct stat *a = &s->stat[i], *b = &used_stat[i];
        if ((s->path[i] == NULL) != (used_path[i] == NULL) || (s->path[i] != NULL && strcmp(s->path[i], used_path[i]) != 0))
            return false;
        if (a->st_dev != b->st_dev || a->st_ino != b->st_ino || a->st_size != b->st_size || a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
            a->st_mtim.tv_nsec != b->st_mtim.tv_nsec)
            return false;
    }
    return holder != NULL;
}

static int make_context(LDAP *ld, const struct source *s)
{
    static const int names[FILES] = { LDAP_OPT_X_TLS_CACERTFILE, LDAP_OPT_X_TLS_CERTFILE, LDAP_OPT_X_TLS_KEYFILE };
    int demand = LDAP_OPT_X_TLS_DEMAND, client = 0, minimum = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
    if (ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) != LDAP_OPT_SUCCESS)
        return -1;
    for (size_t i = 0; i < FILES; i++)
        if (s->path[i] != NULL && ldap_set_option(ld, names[i], s->path[i]) != LDAP_OPT_SUCCESS)
            return -1;
    ldap_set_option(ld, LDAP_OPT_X_TLS_PROTOCOL_MIN, &minimum);
    /* Last, after all other TLS options. */
    return ldap_set_option(ld, LDAP_OPT_X_TLS_NEWCTX, &client) == LDAP_OPT_SUCCESS ? 0 : -1;
}

/* Under the mutex. Connections that are open keep the context that they have. */
static int renew(const struct source *s)
{
    LDAP *fresh;
    if (ldap_initialize(&fresh, "ldap://") != LDAP_SUCCESS)
        return -1;
    if (make_context(fresh, s) != 0) {
        ldap_destroy(fresh);
        return -1;
    }
    if (holder != NULL)
        ldap_destroy(holder);
    holder = fresh;
    for (size_t i = 0; i < FILES; i++) {
        mem_free(&used_path[i]);
        used_path[i] = mem_strdup(s->path[i]);
        used_stat[i] = s->stat[i];
    }
    return 0;
}

int tls_use(LDAP *ld, const struct directory_options *options)
{
    int demand = LDAP_OPT_X_TLS_DEMAND, rc = 0;
    void *context = NULL;
    struct source source;
    look_at(options, &source);
    pthread_mutex_lock(&mutex);
    if (!is_same(&source))
        rc = renew(&source);
    if (rc == 0 && (ldap_get_option(holder, LDAP_OPT_X_TLS_CTX, &context) != LDAP_OPT_SUCCESS || context == NULL ||
                    ldap_set_option(ld, LDAP_OPT_X_TLS_CTX, context) != LDAP_OPT_SUCCESS))
        rc = -1;
    pthread_mutex_unlock(&mutex);
    /* The handle's own, for the host name. */
    if (rc == 0 && ldap_set_option(ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand) != LDAP_OPT_SUCCESS)
        rc = -1;
    return rc;
}
