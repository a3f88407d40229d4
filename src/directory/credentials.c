/* The gateway's own bind: simple with a password file, SASL EXTERNAL, SASL GSSAPI. Called by connection.c. The password is read at each bind, so
 * that a new one is taken without a restart, and wiped. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "connection.h"
#include "postern/base/clock.h"
#include "postern/base/secret.h"

#define PASSWORD_MAX 1024
/* A negotiation of more steps than any mechanism has is a broken server. */
#define STEPS_MAX 16

static uint64_t left_ms(uint64_t deadline)
{
    uint64_t now = clock_monotonic_ms();
    return now < deadline ? deadline - now : 1;
}

static int bind_external(struct connection *c, uint64_t deadline, struct fault *fault)
{
    /* Empty credentials, not absent ones: the mechanism then ends in one step (RFC 4422, appendix A). */
    struct berval credentials = { 0, (char *)(uintptr_t)"" };
    int id;
    int rc = ldap_sasl_bind(c->ld, NULL, "EXTERNAL", &credentials, NULL, NULL, &id);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "bind EXTERNAL", fault);
    LDAPMessage *message;
    if (connection_wait(c, id, true, left_ms(deadline), &message, fault) != 0)
        return -1;
    rc = connection_bind_result(c, message, fault);
    ldap_msgfree(message);
    return rc;
}

/* What libldap hands through from Cyrus SASL: sasl_interact_t of its version 2. An id of 0 ends the list. */
struct question {
    unsigned long id;
    const char *challenge;
    const char *prompt;
    const char *fallback;
    const void *result;
    unsigned len;
};

/* The defaults are right for everything that GSSAPI asks. */
static int answer_defaults(LDAP *ld, unsigned flags, void *defaults, void *questions)
{
    (void)ld;
    (void)flags;
    (void)defaults;
    for (struct question *q = questions; q->id != 0; q++) {
        const char *answer = q->fallback != NULL ? q->fallback : "";
        q->result = answer;
        q->len = (unsigned)slice_from_string(answer).len;
    }
    return LDAP_SUCCESS;
}

/* RFC 4752. Without TLS the mechanism has to protect the connection; with TLS or a local socket one protection is enough. The name of the service
 * is that of the URI: a reverse look-up would let DNS decide whom to trust. */
static int bind_gssapi(struct connection *c, bool plain, uint64_t deadline, struct fault *fault)
{
    LDAPMessage *message = NULL;
    const char *mechanism = NULL;
    int id = 0, rc;
    ldap_set_option(c->ld, LDAP_OPT_X_SASL_SECPROPS, (void *)(uintptr_t)(plain ? "noanonymous,minssf=1" : "noanonymous,maxssf=0"));
    ldap_set_option(c->ld, LDAP_OPT_X_SASL_NOCANON, LDAP_OPT_ON);
    for (unsigned step = 0; step < STEPS_MAX; step++) {
        rc = ldap_sasl_interactive_bind(c->ld, NULL, "GSSAPI", NULL, NULL, LDAP_SASL_QUIET, answer_defaults, NULL, message, &mechanism, &id);
        ldap_msgfree(message);
        message = NULL;
        if (rc == LDAP_SUCCESS)
            return 0;
        if (rc != LDAP_SASL_BIND_IN_PROGRESS)
            return connection_fault(c, rc, "bind GSSAPI", fault);
        if (connection_wait(c, id, true, left_ms(deadline), &message, fault) != 0)
            return -1;
    }
    ldap_msgfree(message);
    return fault_set(fault, FAULT_PROTOCOL, 0, "bind GSSAPI: the negotiation does not end");
}

/* The first line of the file. A file that others may read is refused nowhere: its mode is the administrator's affair. */
static int read_password(const char *path, char *out, size_t *len_out, struct fault *fault)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fault_set_errno(fault, errno, "password file %s", path);
    ssize_t len = read(fd, out, PASSWORD_MAX);
    int error = errno;
    close(fd);
    if (len < 0)
        return fault_set_errno(fault, error, "password file %s", path);
    struct slice line = slice_make(out, (size_t)len);
    ptrdiff_t end = slice_find(line, '\n');
    line.len = end >= 0 ? (size_t)end : line.len;
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    if (line.len == 0)
        return fault_set(fault, FAULT_INVALID, 0, "password file %s: the first line is empty", path);
    *len_out = line.len;
    return 0;
}

static int bind_simple(struct connection *c, const struct directory_options *options, uint64_t deadline, struct fault *fault)
{
    char password[PASSWORD_MAX];
    size_t len = 0;
    int rc = -1;
    if (options->password_file == NULL)
        fault_set(fault, FAULT_INVALID, 0, "a bind DN needs a password file");
    else if (read_password(options->password_file, password, &len, fault) == 0)
        rc = connection_bind(c, options->bind_dn, slice_make(password, len), false, left_ms(deadline), fault);
    secret_wipe(password, sizeof(password));
    return rc;
}

int connection_bind_own(struct connection *c, const struct directory_options *options, uint64_t deadline, struct fault *fault)
{
    if (options->gssapi) {
        bool plain = slice_starts_with_nocase(slice_from_string(options->uris[c->at]), "ldap://") && !options->start_tls;
        return bind_gssapi(c, plain, deadline, fault);
    }
    if (options->external)
        return bind_external(c, deadline, fault);
    return options->bind_dn != NULL ? bind_simple(c, options, deadline, fault) : 0;
}
