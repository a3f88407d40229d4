/* probe: looks for servers before the one in use that are back. Internal to src/directory. */
#ifndef DIRECTORY_PROBE_H
#define DIRECTORY_PROBE_H

#include "server.h"

struct offer {
    struct connection connection;   /* bound */
    struct server server;
    uint64_t good_ms;               /* how long it has been seen to be good */
};

struct probe;
/* `found` is called from the probe's thread when there is an offer. options and inside outlive it. */
struct probe *probe_new(const struct directory_options *options, const char *inside, void (*found)(void *context), void *context);
/* Waits for an attempt under way, at most about 2 s. */
void probe_free(struct probe **probe);
/* Looks for servers before the one with this number, each second; 0: for none. */
void probe_look(struct probe *probe, unsigned before);
/* True: the offer, to be closed by offer_fini or taken over. */
bool probe_take(struct probe *probe, struct offer *out);
void offer_fini(struct offer *offer);

#endif
