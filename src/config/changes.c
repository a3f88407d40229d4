/* Two snapshots compared. Called by the control socket when somebody watches, and by `posternctl check`; must change neither. */
#include "postern/config/changes.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "postern/base/buf.h"
#include "postern/base/memory.h"

struct comparison {
    struct snapshot_changes *changes;
    struct map before;        /* entryUUID to version */
    struct map after;
    size_t room;
};

/* --- settings ---------------------------------------------------------------------------------------------------------------- */

static struct text_list one_text(struct arena *arena, const char *text)
{
    struct text_list list = { ARENA_NEW_ARRAY(arena, char *, 1), 1 };
    list.values[0] = arena_printf(arena, "%s", text);
    return list;
}

static const char *fallback_text(struct arena *arena, const struct attribute_rule *rule)
{
    int value;
    const char *word;
    switch (rule->kind) {
    case KIND_BOOLEAN: return rule->fallback != 0 ? "TRUE" : "FALSE";
    case KIND_NUMBER: return arena_printf(arena, "%" PRIu64, rule->fallback);
    case KIND_WORD:
        for (size_t i = 0; (word = word_at(rule->words, i, &value)) != NULL; i++)
            if ((uint64_t)value == rule->fallback)
                return word;
        return NULL;
    default: return NULL;
    }
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static struct text_list values_of(struct arena *arena, const struct version *version, const struct attribute_rule *rule)
{
    struct text_list list = { NULL, 0 };
    const struct directory_attribute *attribute = version != NULL ? directory_entry_find(version->entry, rule->name) : NULL;
    if (version == NULL)
        return list;
    if (attribute == NULL || attribute->count == 0) {
        const char *fallback = fallback_text(arena, rule);
        return fallback != NULL ? one_text(arena, fallback) : list;
    }
    list.values = ARENA_NEW_ARRAY(arena, char *, attribute->count);
    for (; list.count < attribute->count; list.count++)
        list.values[list.count] = (char *)(uintptr_t)arena_copy(arena, attribute->values[list.count]).data;
    if (list.count > 1)
        qsort(list.values, list.count, sizeof(*list.values), compare_texts);
    return list;
}

static bool lists_are_equal(const struct text_list *a, const struct text_list *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->values[i], b->values[i]) != 0)
            return false;
    return true;
}

static void compare_settings(struct arena *arena, struct object_change *change, const struct version *before, const struct version *after)
{
    const struct object_class *class = (after != NULL ? after : before)->class;
    change->settings = ARENA_NEW_ARRAY(arena, struct setting_change, class->rule_count + 1);
    if (before != NULL && after != NULL && strcmp(before->entry->dn, after->entry->dn) != 0)
        change->settings[change->count++] =
            (struct setting_change){ "dn", one_text(arena, before->entry->dn), one_text(arena, after->entry->dn) };
    for (size_t i = 0; i < class->rule_count; i++) {
        const struct attribute_rule *rule = &class->rules[i];
        struct setting_change c = { rule->name, values_of(arena, before, rule), values_of(arena, after, rule) };
        if (!lists_are_equal(&c.before, &c.after))
            change->settings[change->count++] = c;
    }
}

/* --- objects ----------------------------------------------------------------------------------------------------------------- */

static void add_change(struct comparison *c, enum object_change_kind kind, const struct version *before, const struct version *after)
{
    struct snapshot_changes *changes = c->changes;
    struct object_change *change = &changes->objects[changes->object_count];
    const struct version *shown = after != NULL ? after : before;
    *change = (struct object_change){ .kind = kind, .dn = shown->entry->dn, .class = shown->class->name };
    compare_settings(&changes->arena, change, before, after);
    if (kind != OBJECT_CHANGED || change->count > 0)
        changes->object_count++;
}

static void look_at_new(struct slice key, void *value, void *context)
{
    struct comparison *c = context;
    const struct version *after = value, *before = map_get(&c->before, key);
    if (before != after)
        add_change(c, before != NULL ? OBJECT_CHANGED : OBJECT_ADDED, before, after);
}

static void look_at_old(struct slice key, void *value, void *context)
{
    struct comparison *c = context;
    if (map_get(&c->after, key) == NULL)
        add_change(c, OBJECT_REMOVED, value, NULL);
}

static void put_version(struct version *version, void *context)
{
    map_put(context, slice_from_string(version->entry->uuid), version);
}

static struct map versions_of(const struct snapshot *snapshot)
{
    struct map map;
    map_init(&map);
    if (snapshot != NULL)
        snapshot_for_each_version(snapshot, put_version, &map);
    return map;
}

static int compare_changes(const void *a, const void *b)
{
    return strcmp(((const struct object_change *)a)->dn, ((const struct object_change *)b)->dn);
}

static void compare_objects(struct comparison *c, const struct snapshot *before, const struct snapshot *after)
{
    c->before = versions_of(before);
    c->after = versions_of(after);
    c->changes->objects = ARENA_NEW_ARRAY(&c->changes->arena, struct object_change, c->before.count + c->after.count + 1);
    map_for_each(&c->after, look_at_new, c);
    map_for_each(&c->before, look_at_old, c);
    if (c->changes->object_count > 1)
        qsort(c->changes->objects, c->changes->object_count, sizeof(*c->changes->objects), compare_changes);
    map_fini(&c->before);
    map_fini(&c->after);
}

/* --- faults ------------------------------------------------------------------------------------------------------------------ */

static void fault_key(const struct config_fault *f, struct buf *key)
{
    buf_clear(key);
    buf_printf(key, "%s\n%s\n%s", f->dn, f->attribute != NULL ? f->attribute : "", f->reason);
}

/* Those of `a` that `b` does not have. */
static const struct config_fault **faults_only_in(struct arena *arena, const struct snapshot *a, const struct snapshot *b, size_t *count_out)
{
    struct map known;
    struct buf key;
    map_init(&known);
    buf_init(&key, 0);
    for (size_t i = 0; b != NULL && i < b->fault_count; i++) {
        fault_key(&b->faults[i], &key);
        map_put(&known, buf_slice(&key), &b->faults[i]);
    }
    const struct config_fault **found = ARENA_NEW_ARRAY(arena, const struct config_fault *, (a != NULL ? a->fault_count : 0) + 1);
    for (size_t i = 0; a != NULL && i < a->fault_count; i++) {
        fault_key(&a->faults[i], &key);
        if (map_get(&known, buf_slice(&key)) == NULL)
            found[(*count_out)++] = &a->faults[i];
    }
    map_fini(&known);
    buf_fini(&key);
    return found;
}

struct snapshot_changes *snapshot_compare(const struct snapshot *before, const struct snapshot *after)
{
    struct comparison c = { .changes = MEM_NEW(struct snapshot_changes) };
    arena_init(&c.changes->arena);
    compare_objects(&c, before, after);
    c.changes->faults = faults_only_in(&c.changes->arena, after, before, &c.changes->fault_count);
    c.changes->cured = faults_only_in(&c.changes->arena, before, after, &c.changes->cured_count);
    return c.changes;
}

void snapshot_changes_free(struct snapshot_changes **changes)
{
    if (*changes != NULL)
        arena_clear(&(*changes)->arena);
    mem_free(changes);
}

const char *object_change_word(enum object_change_kind kind)
{
    static const char *const words[] = { [OBJECT_ADDED] = "added", [OBJECT_CHANGED] = "changed", [OBJECT_REMOVED] = "removed" };
    return words[kind];
}
