/* What a connection can log in by beside name and password, and what its certificate is worth. Called by conn.c and conn_ops.c on the loop, by look_up.c in a
 * thread. It must never take the word of a certificate that was not verified. */
#include "mechanisms.h"

#include <string.h>

#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/net/peer.h"
#include "tokens.h"

enum { NAMES_OCTETS = 4096 };

/* Of connections that have something to show only. */
struct tls_facts {
    struct buf names;         /* each ended by LF */
    struct buf exporter;
    struct buf unique;
};

void mechanisms_tls_up(struct conn *conn)
{
    const struct agent_settings *agent = &conn->session.snapshot->agent;
    mechanisms_free(conn);
    if (!agent->scram && agent->tls_client_ca == NULL)
        return;
    struct tls_facts *facts = MEM_NEW(struct tls_facts);
    buf_init(&facts->names, NAMES_OCTETS);
    if (agent->tls_client_ca != NULL)
        peer_write_names(&conn->stream, &facts->names);
    if (agent->scram) {
        peer_write_exporter(&conn->stream, &facts->exporter);
        peer_write_unique(&conn->stream, &facts->unique);
    }
    conn->tls_facts = facts;
}

void mechanisms_free(struct conn *conn)
{
    struct tls_facts *facts = conn->tls_facts;
    if (facts == NULL)
        return;
    buf_fini(&facts->names);
    buf_wipe(&facts->exporter);
    buf_wipe(&facts->unique);
    mem_free(&conn->tls_facts);
}

void mechanisms_refresh(struct conn *conn, enum tls_mode mode)
{
    struct session *s = &conn->session;
    const struct agent_settings *agent = &s->snapshot->agent;
    const struct tls_facts *facts = conn->tls_facts;
    s->sasl = (struct sasl_offer){ .scram = agent->scram && (s->tls || mode != TLS_REQUIRED),
                                   .token = tokens_are_taken(agent),
                                   .acting = agent->trusted_gateways.count > 0 };
    if (facts == NULL)
        return;
    s->sasl.certificate = agent->tls_client_ca != NULL && facts->names.len > 0;
    s->sasl.exporter = buf_slice(&facts->exporter);
    s->sasl.unique = buf_slice(&facts->unique);
}

/* --- whose certificate ------------------------------------------------------------------------------------------------------- */

static int find_by_certificate(struct conn *c, struct user **out, struct fault *fault)
{
    struct slice names = c->tls_facts != NULL ? buf_slice(&c->tls_facts->names) : SLICE_NONE, name;
    fault_set(fault, FAULT_AUTHENTICATION, 0, "the certificate names no user");
    while (slice_split(&names, '\n', &name)) {
        if (name.len == 0)
            continue;
        if (config_find_user(name, out, fault) == 0)
            return 0;
        if (fault->class != FAULT_NOT_FOUND)
            return -1;
    }
    return -1;
}

/* --- whose token ------------------------------------------------------------------------------------------------------------- */

static int find_by_token(struct conn *c, struct user **out, struct fault *fault)
{
    struct buf name = { .cap = 0 };
    int rc = tokens_find_name(c->gateway, c->session.snapshot, buf_slice(&c->look_up->password), &name, fault);
    if (rc == 0)
        rc = config_find_user(buf_slice(&name), out, fault);
    buf_fini(&name);
    return rc;
}

/* Who is asked for must be who was shown. */
static int check_name(struct slice name, const struct user *shown, struct fault *fault)
{
    struct user *asked = NULL;
    if (name.len == 0)
        return 0;
    int rc = config_find_user(name, &asked, fault);
    if (rc == 0 && strcmp(asked->dn, shown->dn) != 0)
        rc = fault_set(fault, FAULT_AUTHENTICATION, 0, "%s is not %s", shown->dn, asked->dn);
    user_unref(&asked);
    return rc;
}

int mechanisms_find_user(struct conn *conn, struct fault *fault)
{
    struct look_up *l = conn->look_up;
    if (l->proof != PROOF_CERTIFICATE && l->proof != PROOF_TOKEN)
        return config_find_user(buf_slice(&l->name), &l->user, fault);
    int rc = l->proof == PROOF_TOKEN ? find_by_token(conn, &l->user, fault) : find_by_certificate(conn, &l->user, fault);
    if (rc < 0)
        return -1;
    return check_name(buf_slice(&l->name), l->user, fault);
}
