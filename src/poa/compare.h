/* compare: the proof that POA and path show the same mailboxes, before the path is used in the place of the POA (architecture, decision 5). Made at a user's login
 * through the POA, with a connection of its own; the result is kept in STATE-DIR/compared. On poa's loop. Internal to src/poa. */
#ifndef POA_COMPARE_H
#define POA_COMPARE_H

#include "postern/poa/poa.h"

struct comparer;

/* state_dir may be NULL. */
struct comparer *comparer_new(struct loop *loop, const char *state_dir);
/* NULL inside is accepted. The loop has ended. */
void comparer_free(struct comparer **comparer);
/* Tells the circuit what is known of the post offices of the snapshot. */
void comparer_follow(struct comparer *comparer, const struct snapshot *snapshot);

#endif
