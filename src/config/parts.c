/* Parts, generations of them and the sorted tables. Called by build.c under the lock of the objects, and by whoever gives back the last reference of a
 * snapshot, in any thread. */
#include "parts.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"

struct part *part_new(const char *uuid)
{
    struct part *part = MEM_NEW(struct part);
    memcpy(part->office.uuid, uuid, strlen(uuid) + 1);
    part->last_fault = &part->faults;
    arena_init(&part->arena);
    return part;
}

void part_free(struct part **part)
{
    struct part *p = *part;
    if (p == NULL)
        return;
    for (size_t i = 0; i < p->agent_count; i++)
        version_unref(&p->agents[i]);
    version_unref(&p->version);
    version_unref(&p->link);
    arena_clear(&p->arena);
    mem_free(part);
}

void part_add_fault(struct part *part, const char *dn, const char *attribute, const char *reason)
{
    struct arena *arena = &part->arena;
    struct part_fault *f = ARENA_NEW(arena, struct part_fault);
    f->fault.dn = arena_printf(arena, "%s", dn);
    f->fault.attribute = attribute != NULL ? arena_printf(arena, "%s", attribute) : NULL;
    f->fault.reason = arena_printf(arena, "%s", reason);
    *part->last_fault = f;
    part->last_fault = &f->next;
    part->fault_count++;
}

/* --- generations ------------------------------------------------------------------------------------------------------------- */

/* An older one holds the next: they end in their order. */
struct generation {
    _Atomic unsigned references;
    struct generation *next;
    struct part *retired;
};

struct generation *generation_ref(struct generation *generation)
{
    CHECK(atomic_fetch_add(&generation->references, 1) > 0);
    return generation;
}

struct generation *generation_after(struct generation *before, struct part *retired)
{
    struct generation *generation = MEM_NEW(struct generation);
    generation->references = 1;
    CHECK(before != NULL || retired == NULL);
    if (before != NULL) {
        before->retired = retired;
        before->next = generation_ref(generation);
        generation_unref(&before);
    }
    return generation;
}

void generation_unref(struct generation **generation)
{
    struct generation *g = *generation;
    *generation = NULL;
    while (g != NULL && atomic_fetch_sub(&g->references, 1) == 1) {
        struct generation *next = g->next;
        while (g->retired != NULL) {
            struct part *part = g->retired;
            g->retired = part->next;
            part_free(&part);
        }
        mem_release(g);
        g = next;
    }
}

/* --- tables ------------------------------------------------------------------------------------------------------------------ */

static int compare_edits(const void *a, const void *b)
{
    const struct slot *left = a, *right = b;
    int order = strcmp(left->key, right->key);
    return order != 0 ? order : (left->part != NULL) - (right->part != NULL);
}

/* The first place at or after `from` whose key is not before this one. */
static size_t place_of(const struct slot *at, size_t from, size_t count, const char *key)
{
    while (from < count) {
        size_t middle = from + (count - from) / 2;
        if (strcmp(at[middle].key, key) < 0)
            from = middle + 1;
        else
            count = middle;
    }
    return from;
}

static void copy(struct slots *out, const struct slots *old, size_t from, size_t to)
{
    if (to > from)
        memcpy(&out->at[out->count], &old->at[from], (to - from) * sizeof(out->at[0]));
    out->count += to - from;
}

struct slots *slots_edit(const struct slots *old, struct slot *edits, size_t count, bool *keys_changed)
{
    size_t old_count = old != NULL ? old->count : 0, at = 0;
    struct slots *out = mem_alloc(sizeof(*out) + (old_count + count) * sizeof(out->at[0]));
    out->references = 1;
    if (count > 1)
        qsort(edits, count, sizeof(edits[0]), compare_edits);
    for (size_t i = 0; i < count; i++) {
        while (i + 1 < count && strcmp(edits[i].key, edits[i + 1].key) == 0)
            i++;
        size_t place = old != NULL ? place_of(old->at, at, old_count, edits[i].key) : 0;
        bool known = place < old_count && strcmp(old->at[place].key, edits[i].key) == 0;
        copy(out, old, at, place);
        at = place + known;
        if (edits[i].part != NULL)
            out->at[out->count++] = edits[i];
        *keys_changed = *keys_changed || known != (edits[i].part != NULL);
    }
    copy(out, old, at, old_count);
    return out;
}

struct slots *slots_ref(struct slots *slots)
{
    CHECK(atomic_fetch_add(&slots->references, 1) > 0);
    return slots;
}

void slots_unref(struct slots **slots)
{
    if (*slots != NULL && atomic_fetch_sub(&(*slots)->references, 1) == 1)
        mem_release(*slots);
    *slots = NULL;
}

struct part *slots_get(const struct slots *slots, const char *key)
{
    size_t place = place_of(slots->at, 0, slots->count, key);
    return place < slots->count && strcmp(slots->at[place].key, key) == 0 ? slots->at[place].part : NULL;
}
