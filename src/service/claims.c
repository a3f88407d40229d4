/* The address that a client says it speaks for (the ID fields that Dovecot's proxy sends). Called on the loop. Whoever is not a gateway that is trusted
 * could write what he likes into the log and hide behind it: his claim changes nothing. What is decided by the address of the connection itself, as
 * clear text from loopback, stays so. */
#include "claims.h"

#include <stdio.h>

#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/gateways.h"
#include "postern/net/endpoint.h"

struct claim {
    char peer[ENDPOINT_TEXT];
    uint16_t port;
};

void claims_believe(struct conn *conn)
{
    struct session *s = &conn->session;
    struct claim *claim = conn->claim;
    if (claim == NULL)
        return;
    log_verbose("service", "session %llu from %s speaks for a client at %s port %u", (unsigned long long)s->id, s->peer, claim->peer, claim->port);
    snprintf(s->peer, sizeof(s->peer), "%s", claim->peer);
    s->peer_port = claim->port;
    mem_free(&conn->claim);
}

void claims_take(struct session *session, struct slice address, uint16_t port)
{
    struct conn *c = LIST_ITEM(session, struct conn, session);
    struct endpoint endpoint;
    if (c->claimed || address.len == 0 || slice_is(address, "*") || !endpoint_parse(address, port, &endpoint))
        return;
    c->claimed = true;
    c->claim = MEM_NEW(struct claim);
    c->claim->port = port;
    endpoint_format(&endpoint, c->claim->peer);
}

void claims_consider(struct conn *conn)
{
    if (conn->claim != NULL && agent_trusts_address(&conn->session.snapshot->agent, slice_from_string(conn->address)))
        claims_believe(conn);
}

void claims_forget(struct conn *conn)
{
    struct session *s = &conn->session;
    mem_free(&conn->claim);
    conn->claimed = false;
    snprintf(s->peer, sizeof(s->peer), "%s", conn->address);
    s->peer_port = conn->port;
}
