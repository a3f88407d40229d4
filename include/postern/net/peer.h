/* peer: what the handshake has shown of a TLS client: who its certificate speaks of, and values that bind another protocol to this connection. */
#ifndef POSTERN_NET_PEER_H
#define POSTERN_NET_PEER_H

#include "postern/base/buf.h"
#include "postern/net/stream.h"

/* Appends the names of a certificate that one of the context's authorities has issued, each ended by LF: the e-mail addresses of its subjectAltName (RFC 5280,
 * section 4.2.1.6) or, without any, the subject's UID and common name. Nothing without such a certificate. */
void peer_write_names(const struct stream *stream, struct buf *out);
/* Appends the channel binding tls-exporter (RFC 9266) or tls-unique (RFC 5929); nothing where it is not safe. */
void peer_write_exporter(const struct stream *stream, struct buf *out);
void peer_write_unique(const struct stream *stream, struct buf *out);

#endif
