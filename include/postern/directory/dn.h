/* dn: distinguished names in a normal form that can be compared as text, and values in filters. Pure: no connection is used. */
#ifndef POSTERN_DIRECTORY_DN_H
#define POSTERN_DIRECTORY_DN_H

#include "postern/base/buf.h"
#include "postern/base/slice.h"

/* A new text, freed with mem_free: letters in lower case, blanks folded, attributes by their short names, the parts of a multi-valued RDN in order,
 * everything special in hexadecimal form, so that each comma separates two RDNs. NULL if it is not a DN (RFC 4514) or longer than 4,096 octets. */
char *dn_normalise(struct slice dn);
/* On normal forms: whether `dn` is `base` or below it. The empty base holds everything. */
bool dn_is_within(const char *dn, const char *base);
/* On normal forms: whether `parent` is what remains without the first RDN. */
bool dn_is_parent(const char *parent, const char *dn);
/* The first value of the first RDN, unescaped: a new text; NULL if there is none. */
char *dn_first_value(struct slice dn);
/* Appends a value to a filter, escaped (RFC 4515, section 3). */
bool filter_append_value(struct buf *filter, struct slice value);

#endif
