/* found: keeps what postern/config/found.h is told. Internal to src/config; any thread. */
#ifndef CONFIG_FOUND_H
#define CONFIG_FOUND_H

#include "postern/base/arena.h"
#include "postern/config/found.h"

/* False: it is the same as before. */
bool found_set(enum found_by by, const struct config_fault *faults, size_t count);
/* Adds all that is known to the faults, which are grown; the texts are in the arena. */
void found_append(struct config_fault **faults, size_t *count, struct arena *arena);
void found_clear(void);

#endif
