/* loop: what the files of this folder see of it. */
#ifndef NET_LOOP_H
#define NET_LOOP_H

#include <ev.h>

#include "postern/net/loop.h"

enum { LOOP_SCRATCH = 64 * 1024 };

struct ev_loop *loop_ev(struct loop *loop);
/* LOOP_SCRATCH bytes for reading, of the loop's thread, good until the next call of anybody. */
char *loop_scratch(struct loop *loop);

#endif
