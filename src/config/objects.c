/* The unit of refusal is one object: one that does not validate keeps its last valid version, all others move on. A deletion is always
 * valid. Called by config.c. */
#include "objects.h"

#include <stdlib.h>
#include <string.h>

#include "postern/base/memory.h"

void objects_init(struct objects *o, const struct parse_bounds *bounds)
{
    memset(o, 0, sizeof(*o));
    o->bounds = *bounds;
    map_init(&o->by_uuid);
}

static void object_free(struct object *object)
{
    version_unref(&object->present);
    version_unref(&object->valid);
    mem_release(object);
}

struct collection {
    struct object **at;
    size_t count;
};

static void collect(struct slice key, void *value, void *context)
{
    struct collection *c = context;
    (void)key;
    c->at[c->count++] = value;
}

static int compare_objects(const void *a, const void *b)
{
    return strcmp((*(struct object *const *)a)->uuid, (*(struct object *const *)b)->uuid);
}

static void sort(struct objects *o)
{
    struct collection c = { MEM_NEW_ARRAY(struct object *, o->by_uuid.count + 1), 0 };
    map_for_each(&o->by_uuid, collect, &c);
    qsort(c.at, c.count, sizeof(*c.at), compare_objects);
    o->order = c.at;
}

struct object **objects_sorted(struct objects *o, size_t *count_out)
{
    if (o->order == NULL)
        sort(o);
    *count_out = o->by_uuid.count;
    struct object **copy = MEM_NEW_ARRAY(struct object *, *count_out + 1);
    memcpy(copy, o->order, *count_out * sizeof(struct object *));
    return copy;
}

void objects_fini(struct objects *o)
{
    size_t count;
    struct object **all = objects_sorted(o, &count);
    for (size_t i = 0; i < count; i++)
        object_free(all[i]);
    mem_free(&all);
    map_fini(&o->by_uuid);
    mem_free(&o->order);
}

void objects_remove(struct objects *o, const char *uuid)
{
    struct object *object = map_remove(&o->by_uuid, slice_from_string(uuid));
    if (object == NULL)
        return;
    mem_free(&o->order);
    object_free(object);
    o->changed = true;
}

/* The last valid settings live on under the name that the object has now: links and users know it by that. */
static void follow_rename(struct objects *o, struct object *object)
{
    struct directory_entry *old = object->valid->entry;
    struct directory_entry *copy = directory_entry_new(slice_from_string(object->present->entry->dn), old->uuid);
    directory_entry_reserve(copy, old->count);
    for (size_t i = 0; i < old->count; i++)
        directory_entry_set(copy, i, slice_from_string(old->attributes[i].name), old->attributes[i].values, old->attributes[i].count);
    struct version *renamed = version_new(copy, &o->bounds);
    version_unref(&object->valid);
    object->valid = renamed;
}

static void take_version(struct objects *o, struct object *object, struct version *version)
{
    version_unref(&object->present);
    object->present = version;
    if (version->complaints == NULL) {
        version_unref(&object->valid);
        object->valid = version_ref(version);
    } else if (object->valid != NULL && strcmp(object->valid->ndn, version->ndn) != 0) {
        follow_rename(o, object);
    }
    o->changed = true;
}

bool objects_put(struct objects *o, struct directory_entry *entry)
{
    struct slice key = slice_from_string(entry->uuid);
    struct object *object = map_get(&o->by_uuid, key);
    if (object != NULL)
        object->seen = o->refresh;
    if (object != NULL && directory_entry_is_equal(object->present->entry, entry)) {
        directory_entry_free(&entry);
        return false;
    }
    char uuid[DIRECTORY_UUID_SIZE];
    memcpy(uuid, entry->uuid, sizeof(uuid));
    struct version *version = version_new(entry, &o->bounds);
    if (version == NULL) {
        objects_remove(o, uuid);
        return false;
    }
    if (object == NULL) {
        object = MEM_NEW(struct object);
        memcpy(object->uuid, uuid, sizeof(uuid));
        object->seen = o->refresh;
        map_put(&o->by_uuid, slice_from_string(uuid), object);
        mem_free(&o->order);
    }
    bool renamed = object->present != NULL && strcmp(object->present->ndn, version->ndn) != 0;
    take_version(o, object, version);
    return renamed;
}

void objects_refresh_begin(struct objects *o)
{
    o->refresh++;
}

void objects_refresh_end(struct objects *o)
{
    size_t count;
    struct object **all = objects_sorted(o, &count);
    for (size_t i = 0; i < count; i++)
        if (all[i]->seen != o->refresh)
            objects_remove(o, all[i]->uuid);
    mem_free(&all);
}
