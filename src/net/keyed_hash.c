/* HMAC-SHA-256, for what must be recognised and not be read. */
#include "postern/net/keyed_hash.h"

#include <openssl/hmac.h>

#include "postern/base/check.h"

void keyed_hash(const unsigned char key[KEYED_HASH_SIZE], struct slice bytes, unsigned char out[KEYED_HASH_SIZE])
{
    unsigned len = 0;
    const unsigned char *data = bytes.len > 0 ? (const unsigned char *)bytes.data : key;
    CHECK(HMAC(EVP_sha256(), key, KEYED_HASH_SIZE, data, bytes.len, out, &len) != NULL && len == KEYED_HASH_SIZE);
}
