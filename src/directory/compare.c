/* Passwords by compare, for servers that verify hashes on compare (eDirectory). Called by the pools. OpenLDAP and 389-DS compare the hash with the password as
 * texts: they are not asked, since who knows the hash would get in by it. */
#include "compare.h"

#include "postern/base/clock.h"
#include "postern/directory/policy.h"
#include "server.h"

static uint64_t left_ms(uint64_t deadline)
{
    uint64_t now = clock_monotonic_ms();
    return now < deadline ? deadline - now : 1;
}

static int check_vendor(struct connection *c, uint64_t deadline, struct fault *fault)
{
    if (!c->vendor_known) {
        if (server_read_vendor(c, left_ms(deadline), &c->vendor, fault) != 0) {
            fault->class = FAULT_UNREACHABLE;
            return -1;
        }
        c->vendor_known = true;
    }
    if (c->vendor == DIRECTORY_OTHER)
        return 0;
    return fault_set(fault, FAULT_UNREACHABLE, 0, "compare: %s does not verify hashes by it", directory_vendor_word(c->vendor));
}

/* The answer's code, or -1. */
static int ask(struct connection *c, const char *dn, struct slice password, uint64_t deadline, struct fault *fault)
{
    struct berval value = { password.len, (char *)(uintptr_t)password.data };
    LDAPMessage *message;
    int id, code = LDAP_OTHER;
    int rc = ldap_compare_ext(c->ld, dn, "userPassword", &value, NULL, NULL, &id);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "compare", fault);
    if (connection_wait(c, id, true, left_ms(deadline), &message, fault) != 0)
        return -1;
    rc = ldap_parse_result(c->ld, message, &code, NULL, NULL, NULL, NULL, 1);
    return rc == LDAP_SUCCESS ? code : connection_fault(c, rc, "compare", fault);
}

/* What a bind would have told. Elsewhere these attributes are not known, and the filter finds nothing. */
static int check_disabled(struct connection *c, const char *dn, uint64_t deadline, struct fault *fault)
{
    static const char *const nothing[] = { LDAP_NO_ATTRS, NULL };
    LDAPMessage *messages;
    int id, code = LDAP_OTHER;
    int rc = ldap_search_ext(c->ld, dn, LDAP_SCOPE_BASE, "(|(loginDisabled=TRUE)(lockedByIntruder=TRUE))", (char **)(uintptr_t)nothing, 0, NULL, NULL, NULL,
                             1, &id);
    if (rc != LDAP_SUCCESS)
        return connection_fault(c, rc, "search", fault);
    if (connection_wait(c, id, true, left_ms(deadline), &messages, fault) != 0)
        return -1;
    int found = ldap_count_entries(c->ld, messages);
    rc = ldap_parse_result(c->ld, messages, &code, NULL, NULL, NULL, NULL, 1);
    if (found > 0)
        return fault_set(fault, FAULT_AUTHENTICATION, POLICY_LOCKED, "compare: loginDisabled or lockedByIntruder");
    if (rc == LDAP_SUCCESS && code == LDAP_SUCCESS)
        return 0;
    connection_fault(c, rc != LDAP_SUCCESS ? rc : code, "search", fault);
    fault->class = FAULT_UNREACHABLE;
    return -1;
}

int connection_compare(struct connection *c, const char *dn, struct slice password, uint64_t deadline, struct fault *fault)
{
    if (check_vendor(c, deadline, fault) != 0)
        return -1;
    int code = ask(c, dn, password, deadline, fault);
    switch (code) {
    case -1:
        return -1;
    case LDAP_COMPARE_TRUE:
        return check_disabled(c, dn, deadline, fault);
    case LDAP_COMPARE_FALSE:
    case LDAP_NO_SUCH_ATTRIBUTE:
    case LDAP_NO_SUCH_OBJECT:
        return fault_set(fault, FAULT_AUTHENTICATION, 0, "compare: %s", ldap_err2string(code));
    default:
        /* The gateway may not compare, perhaps: that says nothing of the password. */
        return fault_set(fault, FAULT_UNREACHABLE, 0, "compare: %s", ldap_err2string(code));
    }
}
