/* material: the files that it takes to log in at a POA: CA, own certificate, credentials. Read by poa's thread, used on loops. Internal to src/poa. */
#ifndef POA_MATERIAL_H
#define POA_MATERIAL_H

#include "postern/base/fault.h"
#include "postern/config/snapshot.h"
#include "postern/net/tls_client.h"
#include "postern/poa/poa.h"

enum material_state { MATERIAL_READY, MATERIAL_UNKNOWN, MATERIAL_BROKEN };

void material_start(const struct poa_options *options);
void material_stop(void);
/* UNKNOWN: not read yet. READY: copies for one login. Any thread, never waits for a file. */
enum material_state material_get(const struct post_office_agent *agent, struct poa_keys *out, struct fault *fault);
/* Reads what the post offices of the snapshot need and what has changed on disk. What is broken is logged once; what was read before stays in use. */
void material_follow(const struct snapshot *snapshot);

#endif
