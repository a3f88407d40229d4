/* choice: which directory server is good now, and connecting to the first of several that answers. Internal to src/directory. */
#ifndef DIRECTORY_CHOICE_H
#define DIRECTORY_CHOICE_H

#include "connection.h"

unsigned choice_current(const struct directory_choice *choice);
/* Since when (clock_monotonic_ms) the server counts as failed; 0: it does not. */
uint64_t choice_failed_since(const struct directory_choice *choice, unsigned at);
/* It failed: if it was the current one, the next becomes it. */
void choice_set_failed(struct directory_choice *choice, unsigned at);
/* It lacks what the one in use has: it is the last to be asked. */
bool choice_is_behind(const struct directory_choice *choice, unsigned at);
void choice_set_behind(struct directory_choice *choice, unsigned at, bool behind);
/* It is good, and the one to use from now on. */
void choice_set_current(struct directory_choice *choice, unsigned at);
/* Connects to the current server, and when that has not answered for a moment to the others beside it; the first that answers wins. options->choice
 * is set. Within about `ms`. */
int choice_connect(struct connection *c, const struct directory_options *options, bool bind, uint64_t ms, struct fault *fault);

#endif
