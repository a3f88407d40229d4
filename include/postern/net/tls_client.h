/* tls_client: how peers are spoken to with TLS (1.2 or newer) as their client: whom to trust, and our own certificate. Immutable, counted, thread-safe. */
#ifndef POSTERN_NET_TLS_CLIENT_H
#define POSTERN_NET_TLS_CLIENT_H

#include <stdbool.h>

#include "postern/base/fault.h"

struct tls_client;

/* verify: the peer's chain against ca_file (PEM; NULL: those that the system trusts), and its certificate against the host's name (RFC 6125). Without
 * verification anything is taken (RFC 7435). certificate_file, key_file (NULL: the certificate's file): our own, for EXTERNAL; NULL for none.
 * Reads the disk: not on a loop. */
int tls_client_new(const char *ca_file, bool verify, const char *certificate_file, const char *key_file, struct tls_client **out, struct fault *fault);
struct tls_client *tls_client_ref(struct tls_client *client);
/* NULL inside is accepted. */
void tls_client_unref(struct tls_client **client);

#endif
