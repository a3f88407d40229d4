/* filename: the parts of a message's file name: base ":2," flags [ "," more ] (maildir.md, rules 6, 8 and 9). Pure. */
#ifndef STORE_FILENAME_H
#define STORE_FILENAME_H

#include "postern/base/buf.h"

/* Leading dot, CR, LF: no message. */
bool filename_is_usable(struct slice name);
/* Everything before the first ':'; what the uidlist records. */
struct slice filename_base(struct slice name);
void filename_parse(struct slice name, uint8_t *flags_out, uint32_t *keywords_out);
/* Appends the name with these flags; letters that we do not know and what follows a second comma stay as they were. */
void filename_make(struct slice old, uint8_t flags, uint32_t keywords, struct buf *out);
/* W= of the base name, or 0. */
uint64_t filename_size(struct slice name);
/* The order of arrival: the number before the first dot, then M<usec>, then the name. */
int filename_compare(struct slice a, struct slice b);

/* Base name without S= and W=, unique in this process and on this host; and with them. */
void filename_unique(struct buf *out);
void filename_add_sizes(struct buf *out, uint64_t stored, uint64_t sent);
const char *filename_host(void);

#endif
