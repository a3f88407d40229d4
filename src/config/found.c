/* Faults that others have found. Called from threads of the service, and by build.c for every snapshot; knows nothing of what they mean. */
#include "found.h"

#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "postern/base/arena.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"

struct found {
    _Atomic unsigned references;
    struct arena arena;
    struct config_fault *faults;   /* in the arena, as their texts */
    size_t count;
    struct map by_dn;              /* to themselves */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct found *all[FOUND_BY_COUNT];   /* NULL: nothing */

static char *copy_text(struct arena *arena, const char *text)
{
    return text != NULL ? arena_printf(arena, "%s", text) : NULL;
}

static struct found *found_new(const struct config_fault *faults, size_t count)
{
    struct found *f = MEM_NEW(struct found);
    f->references = 1;
    arena_init(&f->arena);
    map_init(&f->by_dn);
    f->faults = ARENA_NEW_ARRAY(&f->arena, struct config_fault, count);
    for (; f->count < count; f->count++) {
        const struct config_fault *from = &faults[f->count];
        f->faults[f->count] = (struct config_fault){ .dn = copy_text(&f->arena, from->dn), .attribute = copy_text(&f->arena, from->attribute),
                                                     .reason = copy_text(&f->arena, from->reason) };
        map_put(&f->by_dn, slice_from_string(from->dn), &f->faults[f->count]);
    }
    return f;
}

void found_unref(struct found **found)
{
    struct found *f = *found;
    *found = NULL;
    if (f == NULL || atomic_fetch_sub(&f->references, 1) > 1)
        return;
    map_fini(&f->by_dn);
    arena_clear(&f->arena);
    mem_free(&f);
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same(const struct found *known, const struct config_fault *faults, size_t count)
{
    bool same = (known != NULL ? known->count : 0) == count;
    for (size_t i = 0; same && i < count; i++)
        same = is_same_text(known->faults[i].dn, faults[i].dn) && is_same_text(known->faults[i].attribute, faults[i].attribute) &&
               is_same_text(known->faults[i].reason, faults[i].reason);
    return same;
}

bool found_set(enum found_by by, const struct config_fault *faults, size_t count)
{
    struct found *old = NULL;
    pthread_mutex_lock(&lock);
    bool changed = !is_same(all[by], faults, count);
    if (changed) {
        old = all[by];
        all[by] = count > 0 ? found_new(faults, count) : NULL;
    }
    pthread_mutex_unlock(&lock);
    found_unref(&old);
    return changed;
}

bool config_found_reason(enum found_by by, const char *dn, struct buf *out)
{
    pthread_mutex_lock(&lock);
    const struct config_fault *fault = all[by] != NULL ? map_get(&all[by]->by_dn, slice_from_string(dn)) : NULL;
    if (fault != NULL && out != NULL)
        buf_append_text(out, fault->reason);
    pthread_mutex_unlock(&lock);
    return fault != NULL;
}

bool config_is_found(enum found_by by, const char *dn)
{
    return config_found_reason(by, dn, NULL);
}

void found_share(struct found *out[FOUND_BY_COUNT], struct config_fault **faults, size_t *count)
{
    pthread_mutex_lock(&lock);
    for (unsigned by = 0; by < FOUND_BY_COUNT; by++) {
        struct found *f = out[by] = all[by];
        if (f == NULL)
            continue;
        atomic_fetch_add(&f->references, 1);
        *faults = mem_resize(*faults, (*count + f->count) * sizeof(**faults));
        memcpy(&(*faults)[*count], f->faults, f->count * sizeof(**faults));
        *count += f->count;
    }
    pthread_mutex_unlock(&lock);
}

void found_clear(void)
{
    for (unsigned by = 0; by < FOUND_BY_COUNT; by++)
        found_set((enum found_by)by, NULL, 0);
}
