/* cache: the last good state on disk: STATE-DIR/configuration, mode 0600. No secret is in it, since no attribute holds one. Losing it costs
 * only a start while the directory is away. */
#ifndef CONFIG_CACHE_H
#define CONFIG_CACHE_H

#include "objects.h"
#include "postern/base/buf.h"
#include "postern/base/fault.h"

/* The last valid version of every object, held apart from the objects: encoding many takes long. */
struct cache_content {
    struct version **versions;
    size_t count;
};

void cache_collect(const struct objects *objects, struct cache_content *out);
/* Encodes them into `out`, which is empty and has no cap, and releases them. base may be NULL. */
void cache_encode(struct cache_content *content, const char *agent_ndn, const char *base, struct buf *out);
/* Puts every object; *base_out (may become NULL) is the caller's. -1 and nothing put if it is damaged, of another version or of another agent. */
int cache_decode(struct slice bytes, const char *agent_ndn, struct objects *objects, char **base_out, struct fault *fault);
/* Replaces the file: a reader sees the old or the new one, whole. */
int cache_write(const char *state_dir, struct slice bytes, struct fault *fault);
/* The file's bytes appended to `out`; FAULT_NOT_FOUND if there is none. */
int cache_read(const char *state_dir, struct buf *out, struct fault *fault);

#endif
