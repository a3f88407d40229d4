/* material: the files that it takes to log in at a POA: CA, own certificate, credentials. Read by poa's thread, used on loops. Internal to src/poa. */
#ifndef POA_MATERIAL_H
#define POA_MATERIAL_H

#include "postern/base/fault.h"
#include "postern/config/snapshot.h"
#include "postern/net/tls_client.h"
#include "postern/poa/poa.h"

/* Copies for one login. */
struct material {
    struct tls_client *tls;    /* NULL: the agent's TLS is disabled */
    char *name;                /* of the gateway at the POA; NULL: not needed */
    char *secret;
};

enum material_state { MATERIAL_READY, MATERIAL_UNKNOWN, MATERIAL_BROKEN };

void material_start(const struct poa_options *options);
void material_stop(void);
/* UNKNOWN: not read yet. READY fills the copies. Any thread, never waits for a file. */
enum material_state material_get(const struct post_office_agent *agent, struct material *out, struct fault *fault);
/* Wipes. A zeroed one is accepted. */
void material_fini(struct material *material);
/* Reads what the post offices of the snapshot need and what has changed on disk. What is broken is logged once; what was read before stays in use. */
void material_follow(const struct snapshot *snapshot);

#endif
