/* One libldap handle: options, connect, TLS, bind, waiting for results. Called by the watch and the pools. Everything here may block
 * for the time it is given, so never call it from a loop. The order and choice of options were found by experiment; each one says why. */
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

#include "choice.h"
#include "postern/base/buf.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/directory/policy.h"
#include "tls.h"

#define CONNECT_MS 3000
/* How often a wait looks whether the server has been found to have failed. */
#define SLICE_MS 100

static pthread_once_t init_once = PTHREAD_ONCE_INIT;

static void init_environment(void)
{
    setenv("LDAPNOINIT", "1", 1);
}

void directory_init(void)
{
    pthread_once(&init_once, init_environment);
}

void directory_use_keytab(const char *keytab)
{
    setenv("KRB5_CLIENT_KTNAME", keytab, 1);
    setenv("KRB5CCNAME", "MEMORY:postern", 1);
}

static struct timeval to_timeval(uint64_t ms)
{
    return (struct timeval){ (time_t)(ms / 1000), (suseconds_t)(ms % 1000 * 1000) };
}

static uint64_t remaining_ms(uint64_t deadline)
{
    uint64_t now = clock_monotonic_ms();
    return now < deadline ? deadline - now : 0;
}

int connection_fault(struct connection *c, int code, const char *doing, struct fault *fault)
{
    static const struct { int code; enum fault_class class; } rows[] = {
        { LDAP_NO_SUCH_OBJECT, FAULT_NOT_FOUND }, { LDAP_INVALID_CREDENTIALS, FAULT_AUTHENTICATION },
        { LDAP_INAPPROPRIATE_AUTH, FAULT_AUTHENTICATION }, { LDAP_INSUFFICIENT_ACCESS, FAULT_DENIED },
        { LDAP_UNWILLING_TO_PERFORM, FAULT_AUTHENTICATION }, { LDAP_CONSTRAINT_VIOLATION, FAULT_AUTHENTICATION },
        { LDAP_AUTH_METHOD_NOT_SUPPORTED, FAULT_AUTHENTICATION }, { LDAP_STRONG_AUTH_REQUIRED, FAULT_AUTHENTICATION },
        { LDAP_CONFIDENTIALITY_REQUIRED, FAULT_AUTHENTICATION }, { LDAP_INVALID_DN_SYNTAX, FAULT_AUTHENTICATION },
        { LDAP_SIZELIMIT_EXCEEDED, FAULT_LIMIT }, { LDAP_ADMINLIMIT_EXCEEDED, FAULT_LIMIT },
        { LDAP_TIMELIMIT_EXCEEDED, FAULT_TIMEOUT }, { LDAP_TIMEOUT, FAULT_TIMEOUT }, { LDAP_FILTER_ERROR, FAULT_INVALID },
    };
    enum fault_class class = FAULT_UNREACHABLE;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].code == code)
            class = rows[i].class;
    char *text = NULL;
    if (c->ld != NULL)
        ldap_get_option(c->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text);
    fault_set(fault, class, 0, "%s: %s%s%s", doing, ldap_err2string(code), text != NULL && *text != '\0' ? ": " : "",
              text != NULL ? text : "");
    ldap_memfree(text);
    return -1;
}

static void set_options(LDAP *ld, bool tls, uint64_t ms)
{
    int version = LDAP_VERSION3, idle = 30, probes = 3, interval = 10;
    unsigned user_timeout = 15000;
    struct timeval limit = to_timeval(ms);
    ldap_set_option(ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    ldap_set_option(ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    ldap_set_option(ld, LDAP_OPT_RESTART, LDAP_OPT_ON);
    /* Bounds connect(2) and, with CONNECT_ASYNC, the TLS handshake, which without it spins for ever against a mute peer. Plain connections go
     * without CONNECT_ASYNC, since there it would put off the bind and leave connect(2) unbounded. */
    ldap_set_option(ld, LDAP_OPT_NETWORK_TIMEOUT, &limit);
    ldap_set_option(ld, LDAP_OPT_CONNECT_ASYNC, tls ? LDAP_OPT_ON : LDAP_OPT_OFF);
    ldap_set_option(ld, LDAP_OPT_TIMEOUT, &limit);
    ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_IDLE, &idle);
    ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_PROBES, &probes);
    ldap_set_option(ld, LDAP_OPT_X_KEEPALIVE_INTERVAL, &interval);
    ldap_set_option(ld, LDAP_OPT_TCP_USER_TIMEOUT, &user_timeout);
}

/* After TLS the socket may be blocking again: half a TLS record would then hold ldap_result in spite of its time limit. */
static void keep_nonblocking(struct connection *c)
{
    if (ldap_get_option(c->ld, LDAP_OPT_DESC, &c->fd) != LDAP_OPT_SUCCESS || c->fd < 0)
        return;
    int flags = fcntl(c->fd, F_GETFL);
    if (flags >= 0 && (flags & O_NONBLOCK) == 0)
        fcntl(c->fd, F_SETFL, flags | O_NONBLOCK);
}

/* An answer is read at once instead of its head and then the rest. Not with TLS, which has its own way of reading. */
static void read_ahead(struct connection *c)
{
    Sockbuf *socket = NULL;
    if (ldap_get_option(c->ld, LDAP_OPT_SOCKBUF, &socket) == LDAP_OPT_SUCCESS && socket != NULL)
        ber_sockbuf_add_io(socket, &ber_sockbuf_io_readahead, LBER_SBIOD_LEVEL_PROVIDER + 1, NULL);
}

int connection_open(struct connection *c, const struct directory_options *options, const char *uri, uint64_t ms, struct fault *fault)
{
    directory_init();
    *c = (struct connection){ .fd = -1 };
    struct slice scheme = slice_from_string(uri);
    bool secure = slice_starts_with_nocase(scheme, "ldaps://");
    bool start_tls = options->start_tls && slice_starts_with_nocase(scheme, "ldap://");
    int rc = ldap_initialize(&c->ld, uri);
    if (rc != LDAP_SUCCESS) {
        c->ld = NULL;
        return fault_set(fault, FAULT_INVALID, 0, "%s: %s", uri, ldap_err2string(rc));
    }
    set_options(c->ld, secure || start_tls, ms < CONNECT_MS ? ms : CONNECT_MS);
    if ((secure || start_tls) && tls_use(c->ld, options) != 0) {
        connection_close(c);
        return fault_set(fault, FAULT_INVALID, 0, "%s: the CA file, the certificate or its key cannot be used", uri);
    }
    rc = start_tls ? ldap_start_tls_s(c->ld, NULL, NULL) : ldap_connect(c->ld);
    if (rc != LDAP_SUCCESS) {
        connection_fault(c, rc, uri, fault);
        connection_close(c);
        return -1;
    }
    keep_nonblocking(c);
    if (!secure && !start_tls)
        read_ahead(c);
    return 0;
}

void connection_close(struct connection *c)
{
    if (c->ld != NULL)
        ldap_destroy(c->ld);
    c->ld = NULL;
    c->fd = -1;
}

/* Whether the server of this connection is known to have failed since, so that waiting for it is in vain. */
static bool has_failed(const struct connection *c)
{
    return c->choice != NULL && choice_failed_since(c->choice, c->at) != 0;
}

int connection_wait(struct connection *c, int id, bool all, uint64_t ms, LDAPMessage **out, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + ms;
    *out = NULL;
    int type;
    do {
        uint64_t left = remaining_ms(deadline);
        struct timeval limit = to_timeval(c->choice != NULL && left > SLICE_MS ? SLICE_MS : left);
        type = ldap_result(c->ld, id, all ? LDAP_MSG_ALL : LDAP_MSG_ONE, &limit, out);
    } while (type == 0 && remaining_ms(deadline) > 0 && !has_failed(c));
    if (type > 0)
        return 0;
    if (type == 0) {
        ldap_abandon_ext(c->ld, id, NULL, NULL);
        return has_failed(c) ? fault_set(fault, FAULT_UNREACHABLE, 0, "the directory server has failed")
                             : fault_set(fault, FAULT_TIMEOUT, 0, "the directory does not answer");
    }
    int code = LDAP_SERVER_DOWN;
    ldap_get_option(c->ld, LDAP_OPT_RESULT_CODE, &code);
    return connection_fault(c, code == LDAP_SUCCESS ? LDAP_SERVER_DOWN : code, "waiting for the directory", fault);
}

/* What the password policy adds (draft-behera-ldap-password-policy). */
static enum password_policy policy_of(struct connection *c, LDAPControl **controls, const char **text_out)
{
    static const struct { LDAPPasswordPolicyError error; enum password_policy policy; } rows[] = {
        { PP_accountLocked, POLICY_LOCKED }, { PP_passwordExpired, POLICY_EXPIRED }, { PP_changeAfterReset, POLICY_MUST_CHANGE },
    };
    LDAPControl *control = ldap_control_find(LDAP_CONTROL_PASSWORDPOLICYRESPONSE, controls, NULL);
    ber_int_t expire = -1, grace = -1;
    LDAPPasswordPolicyError error = PP_noError;
    if (control == NULL || ldap_parse_passwordpolicy_control(c->ld, control, &expire, &grace, &error) != LDAP_SUCCESS)
        return POLICY_NONE;
    if (error != PP_noError)
        *text_out = ldap_passwordpolicy_err2txt(error);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].error == error)
            return rows[i].policy;
    return grace >= 0 ? POLICY_GRACE : POLICY_NONE;
}

int connection_bind_result(struct connection *c, LDAPMessage *message, struct fault *fault)
{
    int code = LDAP_OTHER;
    char *text = NULL;
    LDAPControl **controls = NULL;
    int rc = ldap_parse_result(c->ld, message, &code, NULL, &text, NULL, &controls, 0);
    if (rc != LDAP_SUCCESS) {
        connection_fault(c, rc, "bind", fault);
    } else {
        const char *words = NULL;
        enum password_policy policy = policy_of(c, controls, &words);
        rc = code;
        if (policy == POLICY_MUST_CHANGE && code == LDAP_SUCCESS)
            rc = LDAP_INVALID_CREDENTIALS;
        if (rc != LDAP_SUCCESS) {
            connection_fault(&(struct connection){ .ld = NULL }, rc, "bind", fault);
            enum fault_class class = fault != NULL ? fault->class : FAULT_AUTHENTICATION;
            /* What the directory denies at a bind, it denies to the credentials. */
            class = class == FAULT_NOT_FOUND || class == FAULT_DENIED ? FAULT_AUTHENTICATION : class;
            fault_set(fault, class, class == FAULT_AUTHENTICATION ? (int)policy : 0, "bind: %s%s%s%s%s", ldap_err2string(code),
                      text != NULL && *text != '\0' ? ": " : "", text != NULL ? text : "", words != NULL ? "; policy: " : "",
                      words != NULL ? words : "");
        } else if (fault != NULL)
            *fault = (struct fault){ .error = policy == POLICY_GRACE ? POLICY_GRACE : 0 };
    }
    ldap_memfree(text);
    ldap_controls_free(controls);
    return rc == LDAP_SUCCESS ? 0 : -1;
}

static int send_bind(struct connection *c, const char *dn, struct slice password, bool policy, int *id_out, struct fault *fault)
{
    struct berval credentials = { password.len, (char *)(uintptr_t)password.data };
    LDAPControl request = { (char *)(uintptr_t)LDAP_CONTROL_PASSWORDPOLICYREQUEST, { 0, NULL }, 0 };
    LDAPControl *controls[] = { &request, NULL };
    int rc = ldap_sasl_bind(c->ld, dn, LDAP_SASL_SIMPLE, &credentials, policy ? controls : NULL, NULL, id_out);
    return rc == LDAP_SUCCESS ? 0 : connection_fault(c, rc, "bind", fault);
}

int connection_bind_begin(struct connection *c, const char *dn, struct slice password, int *id_out, struct fault *fault)
{
    return send_bind(c, dn, password, true, id_out, fault);
}

int connection_bind(struct connection *c, const char *dn, struct slice password, bool policy, uint64_t ms, struct fault *fault)
{
    int id;
    LDAPMessage *message;
    if (send_bind(c, dn, password, policy, &id, fault) != 0 || connection_wait(c, id, true, ms, &message, fault) != 0)
        return -1;
    int rc = connection_bind_result(c, message, fault);
    ldap_msgfree(message);
    return rc;
}

struct directory_entry *connection_read(struct connection *c, const char *dn, const char *const *attributes, uint64_t ms, struct fault *fault)
{
    LDAPMessage *messages;
    int id, code = LDAP_OTHER;
    int rc = ldap_search_ext(c->ld, dn, LDAP_SCOPE_BASE, "(objectClass=*)", (char **)(uintptr_t)attributes, 0, NULL, NULL, NULL, 0, &id);
    if (rc != LDAP_SUCCESS) {
        connection_fault(c, rc, "read", fault);
        return NULL;
    }
    if (connection_wait(c, id, true, ms, &messages, fault) != 0)
        return NULL;
    LDAPMessage *first = ldap_first_entry(c->ld, messages);
    struct directory_entry *entry = first != NULL ? connection_entry(c, first) : NULL;
    if (entry == NULL) {
        rc = ldap_parse_result(c->ld, messages, &code, NULL, NULL, NULL, NULL, 0);
        if (rc == LDAP_SUCCESS && code != LDAP_SUCCESS)
            connection_fault(&(struct connection){ .ld = NULL }, code, "read", fault);
        else
            fault_set(fault, FAULT_DENIED, 0, "%s cannot be read", *dn != '\0' ? dn : "the root DSE");
    }
    ldap_msgfree(messages);
    return entry;
}

/* Of several servers, one that takes connections and then says nothing must not be taken for a good one. */
static int check_alive(struct connection *c, uint64_t deadline, struct fault *fault)
{
    static const char *const attributes[] = { LDAP_NO_ATTRS, NULL };
    struct directory_entry *entry = connection_read(c, "", attributes, remaining_ms(deadline), fault);
    /* An answer is enough: the root DSE itself may be hidden. */
    bool alive = entry != NULL || fault->class == FAULT_DENIED || fault->class == FAULT_NOT_FOUND || fault->class == FAULT_AUTHENTICATION;
    directory_entry_free(&entry);
    return alive ? 0 : -1;
}

int connection_open_one(struct connection *c, const struct directory_options *options, unsigned at, bool bind, uint64_t deadline,
                        struct fault *fault)
{
    uint64_t left = remaining_ms(deadline);
    c->ld = NULL;
    if (left == 0)
        return fault_set(fault, FAULT_TIMEOUT, 0, "no time is left for %s", options->uris[at]);
    if (connection_open(c, options, options->uris[at], left, fault) != 0)
        return -1;
    c->at = at;
    int rc = 0;
    if (bind)
        rc = connection_bind_own(c, options, deadline, fault);
    else if (options->uri_count > 1)
        rc = check_alive(c, deadline, fault);
    if (rc != 0)
        connection_close(c);
    c->choice = options->choice;
    return rc;
}

int connection_open_any(struct connection *c, const struct directory_options *options, _Atomic unsigned *preferred, bool bind,
                        uint64_t ms, struct fault *fault)
{
    uint64_t deadline = clock_monotonic_ms() + ms;
    unsigned first = *preferred, count = (unsigned)options->uri_count;
    c->ld = NULL;
    if (options->choice != NULL && count > 1)
        return choice_connect(c, options, bind, ms, fault);
    fault_set(fault, FAULT_INVALID, 0, "no directory URI");
    for (unsigned i = 0; i < count; i++) {
        unsigned at = (first + i) % count;
        if (i > 0 && remaining_ms(deadline) == 0)
            break;
        if (connection_open_one(c, options, at, bind, deadline, fault) == 0) {
            *preferred = at;
            fault_clear(fault);
            return 0;
        }
    }
    /* The next attempt begins elsewhere: a black hole must not eat the time of all the others for ever. */
    *preferred = count > 0 ? (first + 1) % count : 0;
    return -1;
}

bool connection_is_left(const struct connection *c)
{
    return c->ld != NULL && c->choice != NULL && choice_current(c->choice) != c->at;
}

static size_t value_count(struct berval **values)
{
    size_t count = 0;
    while (values != NULL && values[count] != NULL)
        count++;
    return count;
}

static void read_attribute(struct connection *c, LDAPMessage *message, struct directory_entry *entry, size_t at, const char *name)
{
    struct berval **values = ldap_get_values_len(c->ld, message, name);
    size_t count = value_count(values);
    struct slice *slices = MEM_NEW_ARRAY(struct slice, count + 1);
    for (size_t i = 0; i < count; i++)
        slices[i] = slice_make(values[i]->bv_val, values[i]->bv_len);
    directory_entry_set(entry, at, slice_from_string(name), slices, count);
    mem_free(&slices);
    ldap_value_free_len(values);
}

static size_t attribute_count(struct connection *c, LDAPMessage *message)
{
    BerElement *at = NULL;
    size_t count = 0;
    for (char *name = ldap_first_attribute(c->ld, message, &at); name != NULL; name = ldap_next_attribute(c->ld, message, at)) {
        ldap_memfree(name);
        count++;
    }
    ber_free(at, 0);
    return count;
}

/* entryUUID (RFC 4530), else 389-DS's own nsUniqueId, which has its hyphens elsewhere. */
static void read_uuid(struct directory_entry *entry)
{
    const struct directory_attribute *attribute = directory_entry_find(entry, "entryUUID");
    if (attribute == NULL)
        attribute = directory_entry_find(entry, "nsUniqueId");
    if (attribute == NULL || attribute->count != 1)
        return;
    unsigned char bytes[16] = { 0 };
    size_t digits = 0;
    for (size_t i = 0; i < attribute->values[0].len; i++) {
        char c = ascii_lower(attribute->values[0].data[i]);
        if (c == '-')
            continue;
        if (digits == 32 || !(ascii_is_digit(c) || (c >= 'a' && c <= 'f')))
            return;
        int value = ascii_is_digit(c) ? c - '0' : c - 'a' + 10;
        bytes[digits / 2] = (unsigned char)(bytes[digits / 2] << 4 | value);
        digits++;
    }
    if (digits == 32)
        directory_uuid_print(bytes, entry->uuid);
}

struct directory_entry *connection_entry(struct connection *c, LDAPMessage *message)
{
    char *dn = ldap_get_dn(c->ld, message);
    if (dn == NULL)
        return NULL;
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), NULL);
    ldap_memfree(dn);
    directory_entry_reserve(entry, attribute_count(c, message));
    BerElement *ber = NULL;
    size_t at = 0;
    for (char *name = ldap_first_attribute(c->ld, message, &ber); name != NULL; name = ldap_next_attribute(c->ld, message, ber)) {
        if (at < entry->count)
            read_attribute(c, message, entry, at++, name);
        ldap_memfree(name);
    }
    ber_free(ber, 0);
    entry->count = at;
    read_uuid(entry);
    return entry;
}
