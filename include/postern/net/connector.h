/* connector: a connection to a host by name: resolves, then tries the addresses in turn, the next one beside the last after a quarter of a second; the first
 * that answers wins. On a loop's thread; never blocks it. */
#ifndef POSTERN_NET_CONNECTOR_H
#define POSTERN_NET_CONNECTOR_H

#include "postern/base/fault.h"
#include "postern/net/loop.h"

struct connector;
/* fd: connected, NONBLOCK and CLOEXEC, the callee's; or -1 and a fault (UNREACHABLE, TIMEOUT). The connector has ended: nothing is to be cancelled. */
typedef void connector_callback(void *context, int fd, const struct fault *fault);

/* timeout_ms for all of it. Never calls back before it returns. */
struct connector *connector_start(struct loop *loop, const char *host, uint16_t port, unsigned timeout_ms, connector_callback *callback, void *context);
/* No call comes any more. NULL inside is accepted. */
void connector_cancel(struct connector **connector);

#endif
