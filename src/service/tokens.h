/* tokens: who a bearer token speaks of. Called by mechanisms.c in a thread. */
#ifndef SERVICE_TOKENS_H
#define SERVICE_TOKENS_H

#include "gateway.h"
#include "postern/base/buf.h"
#include "postern/config/snapshot.h"

/* Whether the settings are complete: what is not is not offered. */
bool tokens_are_taken(const struct agent_settings *agent);
/* Appends the name. FAULT_AUTHENTICATION: the token does not count here; FAULT_UNREACHABLE, FAULT_TIMEOUT: that cannot be known now. */
int tokens_find_name(struct gateway *gateway, const struct snapshot *snapshot, struct slice token, struct buf *name, struct fault *fault);

#endif
