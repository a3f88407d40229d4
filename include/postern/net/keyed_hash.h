/* keyed_hash: HMAC-SHA-256 (RFC 2104). Pure; any thread. */
#ifndef POSTERN_NET_KEYED_HASH_H
#define POSTERN_NET_KEYED_HASH_H

#include "postern/base/slice.h"

enum { KEYED_HASH_SIZE = 32 };

void keyed_hash(const unsigned char key[KEYED_HASH_SIZE], struct slice bytes, unsigned char out[KEYED_HASH_SIZE]);

#endif
