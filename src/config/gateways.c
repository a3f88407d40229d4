/* Whom an agent behind gateways believes. Called by SMTP and the service; a gateway is known by its password only, never by its address. */
#include "postern/config/gateways.h"

#include <string.h>

#include "exceptions.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"

bool agent_trusts_address(const struct agent_settings *agent, struct slice ip)
{
    struct mail_party party = { .ip = ip };
    for (size_t i = 0; i < agent->trusted_addresses.count; i++)
        if (exception_match(slice_from_string(agent->trusted_addresses.values[i]), &party) == EXCEPTION_YES)
            return true;
    return false;
}

static bool is_first_value(const char *dn, struct slice name)
{
    char *value = dn_first_value(slice_from_string(dn));
    bool is = value != NULL && slice_is_nocase(name, value);
    mem_free(&value);
    return is;
}

static bool is_same_dn(const char *dn, const char *ndn)
{
    char *normal = dn_normalise(slice_from_string(dn));
    bool is = normal != NULL && ndn != NULL && strcmp(normal, ndn) == 0;
    mem_free(&normal);
    return is;
}

const char *agent_find_gateway(const struct agent_settings *agent, struct slice name)
{
    const struct text_list *list = &agent->trusted_gateways;
    const char *found = NULL;
    size_t count = 0;
    if (name.len == 0 || slice_has_nul(name))
        return NULL;
    char *ndn = slice_find(name, '=') > 0 ? dn_normalise(name) : NULL;
    for (size_t i = 0; i < list->count; i++) {
        bool whole = is_same_dn(list->values[i], ndn);
        if (!whole && !is_first_value(list->values[i], name))
            continue;
        found = list->values[i];
        count++;
        if (whole) {
            count = 1;
            break;
        }
    }
    mem_free(&ndn);
    return count == 1 ? found : NULL;
}
