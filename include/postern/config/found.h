/* found: what others than the configuration have found to be wrong with what it says: a path that is not marked, a certificate that has expired. It stands
 * among the faults of every snapshot, and so in the log, the status and its entry, until who found it says otherwise. */
#ifndef POSTERN_CONFIG_FOUND_H
#define POSTERN_CONFIG_FOUND_H

#include "postern/base/buf.h"
#include "postern/config/snapshot.h"

enum found_by { FOUND_BY_PATHS, FOUND_BY_TLS, FOUND_BY_COUNT };

/* [T] All that this one finds wrong now, copied. If it is not the same as before, a snapshot with it is published. */
void config_set_found(enum found_by by, const struct config_fault *faults, size_t count);
/* [L] Has it found something wrong with the object of that DN? */
bool config_is_found(enum found_by by, const char *dn);
/* [L] The same, with its reason appended. */
bool config_found_reason(enum found_by by, const char *dn, struct buf *out);

#endif
