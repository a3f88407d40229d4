/* resolver: the addresses of a host, asked for without blocking (c-ares; /etc/hosts is honoured). On a loop's thread. */
#ifndef POSTERN_NET_RESOLVER_H
#define POSTERN_NET_RESOLVER_H

#include "postern/base/fault.h"
#include "postern/net/endpoint.h"
#include "postern/net/loop.h"

enum { RESOLVER_ADDRESSES_MAX = 8 };

struct lookup;
/* count addresses with their port, or 0 and a fault. The lookup has ended: nothing is to be cancelled. */
typedef void resolver_callback(void *context, const struct endpoint *addresses, size_t count, const struct fault *fault);

/* Answers are kept for as long as they say, 5 s to 300 s, for the whole process. Never calls back before it returns: numeric addresses and kept answers come
 * in the next round of the loop. */
struct lookup *resolver_ask(struct loop *loop, const char *host, uint16_t port, unsigned timeout_ms, resolver_callback *callback, void *context);
/* No call comes any more. NULL inside is accepted. */
void resolver_cancel(struct lookup **lookup);

#endif
