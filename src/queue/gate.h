/* gate: what all send threads know of the LMTP of each Post Office Agent: whether it is to be asked now, and connections that are free for the next message. Used by
 * agents.c and queue.c; thread-safe, never waits for a peer. */
#ifndef POSTERN_QUEUE_GATE_H
#define POSTERN_QUEUE_GATE_H

#include "postern/config/snapshot.h"
#include "talk.h"

enum { GATE_IDLE_MS = 5000 };   /* a free connection is closed after that */

/* True: ask, and tell what came of it. *talk: a free connection, or closed. False: it is away and left alone. */
bool gate_enter(const struct post_office_agent *agent, struct talk *talk);
/* It did its work; the connection is taken over. True: it had been away. */
bool gate_well(const struct post_office_agent *agent, const char *office, struct talk *talk);
/* A failed access: it is left alone for 1, 2, 4 ... 30 seconds. */
void gate_failed(const struct post_office_agent *agent, const char *office, const char *why);
/* For the status: its mail waits, or goes into the path. */
bool gate_is_away(const struct post_office_agent *agent);
/* Any at all. */
bool gate_any_is_away(void);
/* Nothing was learned. */
void gate_unknown(const struct post_office_agent *agent);
/* Closes what has been free for too long. True: there are free ones left. */
bool gate_close_idle(void);
/* Forgets all of it. */
void gate_clear(void);

#endif
