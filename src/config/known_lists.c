/* The distribution lists that kept users are in. Called by users.c only, under its lock. It must never grow without bound. */
#include "known_lists.h"

#include "postern/base/map.h"
#include "postern/base/memory.h"

#define LISTS_MAX 50000

static struct map by_uuid;   /* to normal DN */

static void free_value(struct slice key, void *value, void *context)
{
    (void)key;
    (void)context;
    mem_release(value);
}

void known_lists_clear(void)
{
    map_for_each(&by_uuid, free_value, NULL);
    map_fini(&by_uuid);
}

bool known_lists_put(const struct list_name *list)
{
    bool full = by_uuid.count >= LISTS_MAX;
    if (full)
        known_lists_clear();
    if (list->uuid[0] != '\0') {
        char *old = map_put(&by_uuid, slice_from_string(list->uuid), mem_strdup(list->ndn));
        mem_free(&old);
    }
    return full;
}

const char *known_lists_get(const char *uuid)
{
    return map_get(&by_uuid, slice_from_string(uuid));
}
