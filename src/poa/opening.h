/* opening: one attempt to reach a post office through its POAs: a login, or a probe. Internal to src/poa. */
#ifndef POA_OPENING_H
#define POA_OPENING_H

#include "postern/poa/poa.h"

/* [loop] Asks one host whether it is well. done comes later, on the loop; poa_open_cancel ends it. hurry: somebody has waited for
 * a part of the time already. */
struct poa_opening *opening_probe(struct loop *loop, struct snapshot *snapshot, const struct post_office *office, size_t agent, bool hurry,
                                  void (*done)(void *context, bool well, const struct fault *fault), void *context);
/* Called for each login that succeeded, before it is answered; on the loop of the login, must not wait. NULL: nobody. */
extern void (*opening_observer)(const struct poa_open_request *request, size_t agent);

#endif
