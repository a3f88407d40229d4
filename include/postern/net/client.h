/* client: a blocking connection to a peer, for threads that may wait (SMTP send threads). Never on a loop. */
#ifndef POSTERN_NET_CLIENT_H
#define POSTERN_NET_CLIENT_H

#include <stdint.h>

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/net/tls_client.h"

struct client;

/* host: name or address (getaddrinfo blocks; all addresses are tried in turn). timeout in milliseconds for all of it. */
int client_connect(const char *host, uint16_t port, unsigned timeout_ms, struct client **out, struct fault *fault);
void client_free(struct client **client);
/* The handshake; what the peer has to show is the tls_client's. Drops read-ahead. */
int client_start_tls(struct client *client, struct tls_client *tls, const char *host, unsigned timeout_ms, struct fault *fault);
/* Nothing has come that was not read, also no end: it may be used again. */
bool client_is_quiet(const struct client *client);
/* One line without its CRLF (LF alone is accepted) into line_out, at most 4,096 octets. FAULT_TIMEOUT, FAULT_UNREACHABLE on EOF. */
int client_read_line(struct client *client, struct buf *line_out, unsigned timeout_ms, struct fault *fault);
/* All of it, or a fault. */
int client_write(struct client *client, struct slice bytes, unsigned timeout_ms, struct fault *fault);

#endif
