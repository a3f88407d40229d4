/* public_key: signatures by the keys of a file. Reads the disk: not on a loop. */
#ifndef POSTERN_NET_PUBLIC_KEY_H
#define POSTERN_NET_PUBLIC_KEY_H

#include <stdbool.h>

#include "postern/base/fault.h"
#include "postern/base/slice.h"

enum signature_kind {
    SIGNATURE_RS256,   /* RSASSA-PKCS1-v1_5 with SHA-256, keys of 2,048 bits at least (RFC 7518, section 3.3) */
    SIGNATURE_ES256,   /* ECDSA on P-256 with SHA-256, as two numbers of 32 octets (section 3.4) */
};

/* 1: one of the file's public keys (PEM) has made it; 0: none has. -1: the file cannot be read, or holds no key. */
int public_key_verify(const char *file, enum signature_kind kind, struct slice text, struct slice signature, struct fault *fault);

#endif
