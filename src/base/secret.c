/* Secrets: wiping, comparing, random bytes. */
#include "postern/base/secret.h"

#include <string.h>
#include <sys/random.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"

void secret_wipe(void *memory, size_t len)
{
    explicit_bzero(memory, len);
}

void secret_free(char **text)
{
    if (*text != NULL)
        secret_wipe(*text, strlen(*text));
    mem_free(text);
}

bool secret_is_equal(const void *a, size_t a_len, const void *b, size_t b_len)
{
    const unsigned char *x = a, *y = b;
    unsigned char differ = a_len != b_len;
    for (size_t i = 0; i < a_len && i < b_len; i++)
        differ |= x[i] ^ y[i];
    return differ == 0;
}

void secret_random(void *memory, size_t len)
{
    unsigned char *at = memory;
    while (len > 0) {
        size_t want = len > 256 ? 256 : len;
        ssize_t got = getrandom(at, want, 0);
        CHECK(got > 0);
        at += got;
        len -= (size_t)got;
    }
}
