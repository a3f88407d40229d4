/* found: keeps what postern/config/found.h is told. Internal to src/config; any thread. */
#ifndef CONFIG_FOUND_H
#define CONFIG_FOUND_H

#include "postern/config/found.h"

/* What one has found; counted. Snapshots share it as long as nothing of it changes. */
struct found;

/* False: it is the same as before. */
bool found_set(enum found_by by, const struct config_fault *faults, size_t count);
/* All that is known, with references for the caller, is added to the faults, which are grown and point into it. */
void found_share(struct found *out[FOUND_BY_COUNT], struct config_fault **faults, size_t *count);
/* NULL inside is accepted. */
void found_unref(struct found **found);
void found_clear(void);

#endif
