/* listener: a listening socket on a loop. */
#ifndef POSTERN_NET_LISTENER_H
#define POSTERN_NET_LISTENER_H

#include "postern/base/fault.h"
#include "postern/net/endpoint.h"
#include "postern/net/loop.h"

struct listener;

/* A bound and listening socket (NONBLOCK, CLOEXEC; IPv6's every-address also takes IPv4). -1 and a fault. */
int listener_bind(const struct endpoint *address, struct fault *fault);
/* Takes the descriptor over. accepted receives connected descriptors (NONBLOCK, CLOEXEC) that it owns; it may free the listener. When the process
 * has no descriptors left, the longest waiting connection is closed and accepting pauses for a moment. */
struct listener *listener_new(struct loop *loop, int fd, void (*accepted)(void *context, int fd), void *context);
void listener_free(struct listener **listener);

#endif
