/* system_calls: what the agent may no longer ask of the kernel. */
#ifndef SERVICE_SYSTEM_CALLS_H
#define SERVICE_SYSTEM_CALLS_H

#include "postern/base/fault.h"

/* Before any thread, after no_new_privs. A kernel without filters is no failure: it is logged. */
int system_calls_deny(struct fault *fault);

#endif
