/* look: looks for a message in a user's INBOX through the POA. Internal to src/poa. */
#ifndef POA_LOOK_H
#define POA_LOOK_H

#include "postern/poa/poa.h"

/* loop: poa's own; NULL: it does not run. Waits; not on a loop. */
enum poa_looked look_for(struct loop *loop, const struct poa_look *asked);
/* The loop has ended: whoever waits hears of it. */
void look_cancel_all(void);
/* Seconds since the epoch of the INTERNALDATE in a FETCH response; -1 if there is none. */
int64_t look_read_date(struct slice response);

#endif
