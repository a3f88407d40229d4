/* gateways: whom an agent that stands behind gateways believes: a Post Office Agent, or an Internet Agent that takes mail by LMTP. */
#ifndef POSTERN_CONFIG_GATEWAYS_H
#define POSTERN_CONFIG_GATEWAYS_H

#include "postern/base/fault.h"
#include "postern/config/snapshot.h"

/* Whether the address, in text form, is one of posternTrustedAddress. */
bool agent_trusts_address(const struct agent_settings *agent, struct slice ip);
/* The value of posternTrustedGateway that the name means: the DN itself, or its first value if that is no other's too. Case is ignored. NULL: none. */
const char *agent_find_gateway(const struct agent_settings *agent, struct slice name);
/* [T] Binds as that gateway: faults as config_verify_user. */
int config_verify_gateway(const char *dn, struct slice password, struct fault *fault);

#endif
