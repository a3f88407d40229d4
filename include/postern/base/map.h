/* map: bytes to pointers, hashed with a per-process random seed (keys come from peers). Not thread-safe. */
#ifndef POSTERN_BASE_MAP_H
#define POSTERN_BASE_MAP_H

#include "postern/base/arena.h"
#include "postern/base/slice.h"

struct map_entry;
struct map {
    struct map_entry **buckets;
    size_t bucket_count;
    size_t count;
    struct arena *arena;   /* NULL: nodes are freed one by one */
};

/* A zeroed struct is an empty map. */
void map_init(struct map *m);
/* An empty map with room for `count` keys, whose keys and nodes lie in the arena until that is cleared. */
void map_init_in(struct map *m, struct arena *arena, size_t count);
/* Frees keys and nodes; values belong to the caller. */
void map_fini(struct map *m);
/* NULL if absent. */
void *map_get(const struct map *m, struct slice key);
/* Copies the key; returns the value replaced, or NULL. value must not be NULL. */
void *map_put(struct map *m, struct slice key, void *value);
/* Returns the value removed, or NULL. */
void *map_remove(struct map *m, struct slice key);
/* Calls back for each entry, in no order; the callback must not change the map. */
void map_for_each(const struct map *m, void (*visit)(struct slice key, void *value, void *context), void *context);

#endif
