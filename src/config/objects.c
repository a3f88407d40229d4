/* The unit of refusal is one object: one that does not validate keeps its last valid version, all others move on. A deletion is always
 * valid. Called by config.c. */
#include "objects.h"

#include <string.h>

#include "build.h"
#include "postern/base/memory.h"

void objects_init(struct objects *o, const struct parse_bounds *bounds)
{
    memset(o, 0, sizeof(*o));
    o->bounds = *bounds;
    map_init(&o->by_uuid);
    list_init(&o->all);
}

static void object_free(struct object *object)
{
    version_unref(&object->present);
    version_unref(&object->valid);
    version_unref(&object->claimed_present);
    version_unref(&object->claimed);
    mem_release(object);
}

void objects_mark(struct objects *o, struct object *object, bool changed)
{
    object->changed = object->changed || changed;
    if (object->marked)
        return;
    object->marked = true;
    if (o->marked_count == o->marked_room) {
        o->marked_room = o->marked_room * 2 + 16;
        o->marked = mem_resize(o->marked, o->marked_room * sizeof(o->marked[0]));
    }
    o->marked[o->marked_count++] = object;
}

void objects_mark_all(struct objects *o)
{
    LIST_FOR_EACH (&o->all, at)
        objects_mark(o, LIST_ITEM(at, struct object, link), true);
}

void objects_forget_marked(struct objects *o)
{
    for (size_t i = 0; i < o->marked_count; i++) {
        o->marked[i]->marked = false;
        if (o->marked[i]->gone)
            object_free(o->marked[i]);
    }
    o->marked_count = 0;
}

void objects_fini(struct objects *o)
{
    assembly_free(&o->assembly, o);
    objects_forget_marked(o);
    LIST_FOR_EACH (&o->all, at)
        object_free(LIST_ITEM(at, struct object, link));
    map_fini(&o->by_uuid);
    mem_free(&o->marked);
}

/* It is freed by the next build, which looks at what it claimed. */
void objects_remove(struct objects *o, const char *uuid)
{
    struct object *object = map_remove(&o->by_uuid, slice_from_string(uuid));
    if (object == NULL)
        return;
    list_remove(&object->link);
    object->gone = true;
    objects_mark(o, object, true);
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
    if (object->valid != NULL && object->valid->class != version->class)
        version_unref(&object->valid);
    if (version->complaints == NULL) {
        version_unref(&object->valid);
        object->valid = version_ref(version);
    } else if (object->valid != NULL && strcmp(object->valid->ndn, version->ndn) != 0) {
        follow_rename(o, object);
    }
    objects_mark(o, object, true);
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
        list_append(&o->all, &object->link);
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
    LIST_FOR_EACH (&o->all, at) {
        const struct object *object = LIST_ITEM(at, struct object, link);
        if (object->seen != o->refresh)
            objects_remove(o, object->uuid);
    }
}
