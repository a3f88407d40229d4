/* proxy_header: the PROXY protocol, version 2: what goes in front of a connection that is made on a client's behalf. Pure; any thread. */
#ifndef POSTERN_NET_PROXY_HEADER_H
#define POSTERN_NET_PROXY_HEADER_H

#include <stdint.h>

#include "postern/base/buf.h"

enum { PROXY_HEADER_MAX = 52 };

/* Addresses in text. NULL, or not of one family: it is nobody's connection but ours. */
void proxy_header_write(struct buf *out, const char *client, uint16_t client_port, const char *local, uint16_t local_port);

#endif
