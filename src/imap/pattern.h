/* pattern: LIST's and LSUB's patterns. Pure. */
#ifndef POSTERN_IMAP_PATTERN_H
#define POSTERN_IMAP_PATTERN_H

#include "postern/base/slice.h"

/* "*" matches anything, "%" anything without the separator. Time grows with the product of the lengths, squared at worst: cap them. */
bool pattern_matches(struct slice pattern, struct slice name, char separator, bool nocase);
bool pattern_ends_in_percent(struct slice pattern);

#endif
