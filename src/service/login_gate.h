/* login_gate: how many logins are at the directory at a time: all together as many as it has connections for, of one client at most half of them,
 * and one for each name from one client, so that who guesses against slow hashes holds up nobody else. Clients take turns. */
#ifndef SERVICE_LOGIN_GATE_H
#define SERVICE_LOGIN_GATE_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/list.h"

enum { LOGIN_GATE_SLOTS = 16, LOGIN_GATE_BUCKETS = 4096 };

/* Embedded in its owner. */
struct login_ticket {
    struct list link;
    uint32_t client;      /* hashes, filled in by the owner */
    uint32_t name;
};

struct login_gate;
/* may_go is called for a ticket that has waited, from any thread, without a lock. */
struct login_gate *login_gate_new(void (*may_go)(struct login_ticket *ticket));
void login_gate_free(struct login_gate **gate);
/* True: it may go at once. False: may_go will be called. Either way login_gate_leave has to follow when it has ended. Any thread. */
bool login_gate_enter(struct login_gate *gate, struct login_ticket *ticket);
void login_gate_leave(struct login_gate *gate, const struct login_ticket *ticket);

#endif
