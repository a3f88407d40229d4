/* tls: what the files of this folder share about OpenSSL. */
#ifndef NET_TLS_H
#define NET_TLS_H

#include <openssl/ssl.h>

#include "postern/base/fault.h"
#include "postern/net/tls_client.h"
#include "postern/net/tls_context.h"

/* Sets the fault from OpenSSL's error queue and empties it. Returns -1. */
int tls_fault(struct fault *fault, enum fault_class class, const char *what);
/* A new server side with the pair in use now; NULL if there is none. The caller frees it. */
SSL *tls_context_accept(struct tls_context *context);
/* A new client side towards that host. The caller frees it. */
SSL *tls_client_connect(struct tls_client *client, const char *host);
/* The context's client sides keep the sessions that peers offer. */
void tls_sessions_keep(SSL_CTX *context);
/* Before the handshake: the peer of that name may be reminded of a session. */
void tls_sessions_use(SSL *ssl, const char *name);
/* After each step of a handshake that is not its end, before OpenSSL's error queue is emptied: a peer that answers its own session with an alert is reminded of
 * none any more. */
void tls_sessions_failed(SSL *ssl);

#endif
