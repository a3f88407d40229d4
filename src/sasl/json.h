/* json: just enough of RFC 8259 to read the claims of a token: members of one object, strings, numbers, arrays. Nothing is copied but strings. */
#ifndef SASL_JSON_H
#define SASL_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/buf.h"
#include "postern/base/slice.h"

/* The whole text is one well-formed object, at most 16 levels deep. */
bool json_is_object(struct slice text);
/* A member of a well-formed object, as it is written there. 1: it is there; 0: not; -1: more than once. */
int json_find(struct slice object, const char *name, struct slice *value_out);
/* The next element of a well-formed array; *at is 0 at first. False: there is none, or it is no array. */
bool json_next(struct slice array, size_t *at, struct slice *value_out);
/* A well-formed value: appended as UTF-8; false: it is no string, or holds half a surrogate pair or NUL. */
bool json_string(struct slice value, struct buf *out);
/* Its whole part; false: it is no number, or beyond 2^53. */
bool json_number(struct slice value, int64_t *out);

#endif
