/* tls_context: the gateway's certificate chain and key. Always holds a pair that fits or none; a new pair that is broken is
 * refused and the old one stays in use. Thread-safe. */
#ifndef POSTERN_NET_TLS_CONTEXT_H
#define POSTERN_NET_TLS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/fault.h"

struct tls_context;

struct tls_context *tls_context_new(void);
void tls_context_free(struct tls_context **context);
/* Reads the files (PEM; key_file NULL: the certificate's file) if they are others than before, or changed on disk since, or
 * `again`. 1: a new pair is in use; 0: nothing changed; -1: refused, the old pair stays (told once for each state
 * of the files; 0 until they change). certificate_file NULL: no TLS from now on. Reads the disk: not on a loop. */
int tls_context_load(struct tls_context *context, const char *certificate_file, const char *key_file, bool again,
                     struct fault *fault);
/* Clients may show a certificate that one of these authorities (PEM; NULL: none is asked for) has issued: see peer.h. One that shows no such certificate
 * is connected all the same. In force with the next tls_context_load, which reads this file as the others. */
void tls_context_set_client_ca(struct tls_context *context, const char *file);
bool tls_context_is_ready(struct tls_context *context);
/* From when to when the certificate in use is valid, in seconds since the epoch. False: there is none. */
bool tls_context_validity(struct tls_context *context, int64_t *from_out, int64_t *until_out);

#endif
