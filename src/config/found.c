/* Faults that others have found. Called from threads of the service, and by build.c for every snapshot; knows nothing of what they mean. */
#include "found.h"

#include <pthread.h>
#include <string.h>

#include "postern/base/map.h"
#include "postern/base/memory.h"

struct list_of_faults {
    struct arena arena;
    struct config_fault *faults;   /* in the arena, as their texts */
    size_t count;
    struct map by_dn;              /* to themselves */
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list_of_faults all[FOUND_BY_COUNT];

static char *copy_text(struct arena *arena, const char *text)
{
    return text != NULL ? arena_printf(arena, "%s", text) : NULL;
}

static struct config_fault copy_fault(struct arena *arena, const struct config_fault *fault)
{
    return (struct config_fault){ .dn = copy_text(arena, fault->dn), .attribute = copy_text(arena, fault->attribute), .reason = copy_text(arena, fault->reason) };
}

static bool is_same_text(const char *a, const char *b)
{
    return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

static bool is_same(const struct list_of_faults *known, const struct config_fault *faults, size_t count)
{
    bool same = known->count == count;
    for (size_t i = 0; same && i < count; i++)
        same = is_same_text(known->faults[i].dn, faults[i].dn) && is_same_text(known->faults[i].attribute, faults[i].attribute) &&
               is_same_text(known->faults[i].reason, faults[i].reason);
    return same;
}

static void clear(struct list_of_faults *known)
{
    arena_clear(&known->arena);
    map_fini(&known->by_dn);
    *known = (struct list_of_faults){ .count = 0 };
}

bool found_set(enum found_by by, const struct config_fault *faults, size_t count)
{
    struct list_of_faults *known = &all[by];
    pthread_mutex_lock(&lock);
    bool changed = !is_same(known, faults, count);
    if (changed) {
        clear(known);
        arena_init(&known->arena);
        map_init(&known->by_dn);
        known->faults = ARENA_NEW_ARRAY(&known->arena, struct config_fault, count + 1);
        for (; known->count < count; known->count++) {
            struct config_fault *fault = &known->faults[known->count];
            *fault = copy_fault(&known->arena, &faults[known->count]);
            map_put(&known->by_dn, slice_from_string(fault->dn), fault);
        }
    }
    pthread_mutex_unlock(&lock);
    return changed;
}

bool config_is_found(enum found_by by, const char *dn)
{
    pthread_mutex_lock(&lock);
    bool found = all[by].count > 0 && map_get(&all[by].by_dn, slice_from_string(dn)) != NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

void found_append(struct config_fault **faults, size_t *count, struct arena *arena)
{
    pthread_mutex_lock(&lock);
    for (unsigned by = 0; by < FOUND_BY_COUNT; by++) {
        if (all[by].count == 0)
            continue;
        *faults = mem_resize(*faults, (*count + all[by].count) * sizeof(**faults));
        for (size_t i = 0; i < all[by].count; i++)
            (*faults)[(*count)++] = copy_fault(arena, &all[by].faults[i]);
    }
    pthread_mutex_unlock(&lock);
}

void found_clear(void)
{
    pthread_mutex_lock(&lock);
    for (unsigned by = 0; by < FOUND_BY_COUNT; by++)
        clear(&all[by]);
    pthread_mutex_unlock(&lock);
}
