/* LDIF changes applied to entries in memory. Called by `posternctl check --ldif`; must never reach the directory but for reading. */
#include "edit.h"

#include <stdio.h>
#include <string.h>

#include "postern/base/memory.h"
#include "postern/directory/dn.h"

void edit_init(struct edit *edit, struct directory_entry *(*read)(void *context, const char *dn), void *context)
{
    memset(edit, 0, sizeof(*edit));
    map_init(&edit->by_before);
    map_init(&edit->by_after);
    edit->read = read;
    edit->context = context;
}

void edit_fini(struct edit *edit)
{
    for (size_t i = 0; i < edit->count; i++) {
        struct edited *e = edit->all[i];
        if (e->after != e->before)
            directory_entry_free(&e->after);
        directory_entry_free(&e->before);
        mem_free(&edit->all[i]);
    }
    mem_free(&edit->all);
    mem_free(&edit->renames);
    map_fini(&edit->by_before);
    map_fini(&edit->by_after);
}

/* --- what is known --------------------------------------------------------------------------------------------------------- */

static struct edited *remember(struct edit *edit, struct directory_entry *before)
{
    if (edit->count == edit->room) {
        edit->room = edit->room > 0 ? edit->room * 2 : 64;
        edit->all = mem_resize(edit->all, edit->room * sizeof(*edit->all));
    }
    struct edited *e = MEM_NEW(struct edited);
    e->before = e->after = before;
    edit->all[edit->count++] = e;
    return e;
}

#define MADE "00000000-0000-0000-0000-"

/* Objects are told apart by their UUIDs. */
static void make_uuid(struct edit *edit, struct directory_entry *entry)
{
    if (entry->uuid[0] == '\0')
        snprintf(entry->uuid, sizeof(entry->uuid), MADE "%012x", ++edit->made);
}

bool edit_is_made(const char *uuid)
{
    return strncmp(uuid, MADE, strlen(MADE)) == 0;
}

void edit_add(struct edit *edit, struct directory_entry *entry)
{
    char *ndn = dn_normalise(slice_from_string(entry->dn));
    if (ndn == NULL || map_get(&edit->by_before, slice_from_string(ndn)) != NULL) {
        mem_free(&ndn);
        directory_entry_free(&entry);
        return;
    }
    make_uuid(edit, entry);
    struct edited *e = remember(edit, entry);
    map_put(&edit->by_before, slice_from_string(ndn), e);
    map_put(&edit->by_after, slice_from_string(ndn), e);
    mem_free(&ndn);
}

/* The entry under that DN as the changes so far leave it, or NULL. */
static struct edited *find(struct edit *edit, const char *ndn)
{
    struct slice key = slice_from_string(ndn);
    struct edited *e = map_get(&edit->by_after, key);
    if (e == NULL && map_get(&edit->by_before, key) == NULL && edit->read != NULL) {
        struct directory_entry *entry = edit->read(edit->context, ndn);
        if (entry != NULL)
            edit_add(edit, entry);
        e = map_get(&edit->by_after, key);
    }
    return e;
}

/* --- attributes ------------------------------------------------------------------------------------------------------------ */

/* An entry that can be changed: attributes with lists of values. */
struct draft {
    struct arena arena;
    struct ldif_part *parts;     /* LDIF_PUT; a name stands once */
};

static struct ldif_part **draft_find(struct draft *d, const char *name)
{
    struct ldif_part **at = &d->parts;
    while (*at != NULL && !slice_is_nocase(slice_from_string(name), (*at)->attribute))
        at = &(*at)->next;
    return at;
}

static struct ldif_value **draft_value(struct ldif_part *part, struct slice value)
{
    struct ldif_value **at = &part->values;
    while (*at != NULL && !slice_is_equal_nocase((*at)->value, value))
        at = &(*at)->next;
    return at;
}

static bool draft_put(struct draft *d, const char *name, struct slice value)
{
    struct ldif_part **part = draft_find(d, name);
    if (*part == NULL) {
        *part = ARENA_NEW(&d->arena, struct ldif_part);
        (*part)->attribute = arena_printf(&d->arena, "%s", name);
    }
    struct ldif_value **at = draft_value(*part, value);
    if (*at != NULL)
        return false;
    *at = ARENA_NEW(&d->arena, struct ldif_value);
    (*at)->value = arena_copy(&d->arena, value);
    return true;
}

static bool draft_remove(struct draft *d, const char *name, const struct slice *value)
{
    struct ldif_part **part = draft_find(d, name);
    if (*part == NULL)
        return false;
    if (value != NULL) {
        struct ldif_value **at = draft_value(*part, *value);
        if (*at == NULL)
            return false;
        *at = (*at)->next;
    }
    if (value == NULL || (*part)->values == NULL)
        *part = (*part)->next;
    return true;
}

static void draft_init(struct draft *d, const struct directory_entry *entry)
{
    arena_init(&d->arena);
    d->parts = NULL;
    for (size_t i = 0; entry != NULL && i < entry->count; i++)
        for (size_t j = 0; j < entry->attributes[i].count; j++)
            draft_put(d, entry->attributes[i].name, entry->attributes[i].values[j]);
}

static struct directory_entry *draft_finish(struct draft *d, const char *dn, const char *uuid)
{
    struct directory_entry *entry = directory_entry_new(slice_from_string(dn), uuid);
    size_t count = 0, at = 0;
    for (const struct ldif_part *p = d->parts; p != NULL; p = p->next)
        count++;
    directory_entry_reserve(entry, count);
    for (const struct ldif_part *p = d->parts; p != NULL; p = p->next) {
        size_t values = 0;
        for (const struct ldif_value *v = p->values; v != NULL; v = v->next)
            values++;
        struct slice *slices = MEM_NEW_ARRAY(struct slice, values + 1);
        values = 0;
        for (const struct ldif_value *v = p->values; v != NULL; v = v->next)
            slices[values++] = v->value;
        directory_entry_set(entry, at++, slice_from_string(p->attribute), slices, values);
        mem_free(&slices);
    }
    arena_clear(&d->arena);
    return entry;
}

static void set_after(struct edited *e, struct directory_entry *after)
{
    if (e->after != e->before)
        directory_entry_free(&e->after);
    e->after = after;
}

/* --- the four changes ------------------------------------------------------------------------------------------------------ */

static int refuse(const struct ldif_record *r, struct fault *fault, const char *why, const char *what)
{
    return fault_set(fault, FAULT_INVALID, 0, "line %u: %s%s%s: %s", r->line, why, what != NULL ? " " : "", what != NULL ? what : "", r->dn);
}

static int apply_add(struct edit *edit, const struct ldif_record *r, const char *ndn, struct fault *fault)
{
    struct draft d;
    if (find(edit, ndn) != NULL)
        return refuse(r, fault, "the entry exists already", NULL);
    draft_init(&d, NULL);
    for (const struct ldif_part *p = r->parts; p != NULL; p = p->next)
        for (const struct ldif_value *v = p->values; v != NULL; v = v->next)
            draft_put(&d, p->attribute, v->value);
    struct edited *e = map_get(&edit->by_before, slice_from_string(ndn));
    if (e == NULL || e->after != NULL)
        e = remember(edit, NULL);
    e->after = draft_finish(&d, r->dn, NULL);
    make_uuid(edit, e->after);
    map_put(&edit->by_after, slice_from_string(ndn), e);
    return 0;
}

static bool apply_values(struct draft *d, const struct ldif_part *p)
{
    if (p->operation == LDIF_REPLACE)
        draft_remove(d, p->attribute, NULL);
    if (p->operation == LDIF_REMOVE && p->values == NULL)
        return draft_remove(d, p->attribute, NULL);
    for (const struct ldif_value *v = p->values; v != NULL; v = v->next) {
        bool good = p->operation == LDIF_REMOVE ? draft_remove(d, p->attribute, &v->value) : draft_put(d, p->attribute, v->value);
        if (!good)
            return false;
    }
    return p->operation != LDIF_PUT || p->values != NULL;
}

static int apply_modify(struct edited *e, const struct ldif_record *r, struct fault *fault)
{
    struct draft d;
    draft_init(&d, e->after);
    for (const struct ldif_part *p = r->parts; p != NULL; p = p->next)
        if (!apply_values(&d, p)) {
            arena_clear(&d.arena);
            return refuse(r, fault, p->operation == LDIF_REMOVE ? "there is no such value of" : "the value exists already, or there is none, of",
                          p->attribute);
        }
    set_after(e, draft_finish(&d, e->after->dn, e->after->uuid));
    return 0;
}

struct below {
    const char *base;
    bool found;
};

static void look_below(struct slice key, void *value, void *context)
{
    struct below *b = context;
    (void)value;
    size_t len = strlen(b->base);
    b->found = b->found || (key.len > len + 1 && key.data[key.len - len - 1] == ',' && slice_is(slice_from(key, key.len - len), b->base));
}

static int apply_delete(struct edit *edit, struct edited *e, const struct ldif_record *r, const char *ndn, struct fault *fault)
{
    struct below below = { ndn, false };
    map_for_each(&edit->by_after, look_below, &below);
    if (below.found)
        return refuse(r, fault, "there are entries below it", NULL);
    map_remove(&edit->by_after, slice_from_string(ndn));
    set_after(e, NULL);
    return 0;
}

/* The naming attributes change with the name (RFC 4511, section 4.9). Names of several parts are not taken apart. */
static void rename_values(struct draft *d, const char *old_dn, const struct ldif_record *r)
{
    struct slice rdns[2] = { slice_from_string(old_dn), slice_from_string(r->new_rdn) };
    char *texts[2] = { r->delete_old_rdn ? dn_first_value(rdns[0]) : NULL, dn_first_value(rdns[1]) };
    for (unsigned i = 0; i < 2; i++) {
        ptrdiff_t equals = slice_find(rdns[i], '=');
        if (texts[i] == NULL || equals <= 0)
            continue;
        char *name = slice_to_string(slice_trim(slice_part(rdns[i], 0, (size_t)equals)));
        struct slice value = slice_from_string(texts[i]);
        if (i == 0)
            draft_remove(d, name, &value);
        else
            draft_put(d, name, value);
        mem_free(&name);
    }
    mem_free(&texts[0]);
    mem_free(&texts[1]);
}

/* The entry's parent in normal form; "" for one without. */
static const char *parent_of(const char *ndn)
{
    const char *comma = strchr(ndn, ',');
    return comma != NULL ? comma + 1 : "";
}

static char *moved_dn(const char *ndn, const char *old_ndn, const char *new_dn)
{
    size_t len = strlen(ndn), old_len = strlen(old_ndn);
    if (!dn_is_within(ndn, old_ndn))
        return NULL;
    struct buf out = { .cap = 0 };
    buf_append(&out, slice_make(ndn, len - old_len));
    buf_append_text(&out, new_dn);
    char *text = slice_to_string(buf_slice(&out));
    buf_fini(&out);
    return text;
}

static char *new_dn_of(const struct ldif_record *r, const char *ndn)
{
    struct buf out = { .cap = 0 };
    const char *parent = r->new_superior != NULL ? r->new_superior : parent_of(ndn);
    buf_printf(&out, "%s%s%s", r->new_rdn, *parent != '\0' ? "," : "", parent);
    char *text = slice_to_string(buf_slice(&out));
    buf_fini(&out);
    return text;
}

/* Everything that is known below goes along. */
static void move_all(struct edit *edit, const char *ndn, const char *new_dn)
{
    for (size_t i = 0; i < edit->count; i++) {
        struct edited *e = edit->all[i];
        char *own = e->after != NULL ? dn_normalise(slice_from_string(e->after->dn)) : NULL;
        char *moved = own != NULL ? moved_dn(own, ndn, new_dn) : NULL;
        if (moved != NULL) {
            struct draft d;
            draft_init(&d, e->after);
            map_remove(&edit->by_after, slice_from_string(own));
            set_after(e, draft_finish(&d, moved, e->after->uuid));
            char *normal = dn_normalise(slice_from_string(moved));
            if (normal != NULL)
                map_put(&edit->by_after, slice_from_string(normal), e);
            mem_free(&normal);
        }
        mem_free(&own);
        mem_free(&moved);
    }
}

static int apply_rename(struct edit *edit, struct edited *e, const struct ldif_record *r, const char *ndn, struct fault *fault)
{
    char *new_dn = new_dn_of(r, ndn), *normal = dn_normalise(slice_from_string(new_dn));
    int rc = 0;
    if (normal == NULL)
        rc = refuse(r, fault, "the new name is not a distinguished name", NULL);
    else if (find(edit, normal) != NULL && strcmp(normal, ndn) != 0)
        rc = refuse(r, fault, "there is an entry of the new name already", NULL);
    if (rc == 0) {
        struct draft d;
        draft_init(&d, e->after);
        rename_values(&d, e->after->dn, r);
        set_after(e, draft_finish(&d, e->after->dn, e->after->uuid));
        move_all(edit, ndn, new_dn);
        edit->renames = mem_resize(edit->renames, (edit->rename_count + 1) * sizeof(*edit->renames));
        edit->renames[edit->rename_count++] = (struct ldif_record *)(uintptr_t)r;
    }
    mem_free(&new_dn);
    mem_free(&normal);
    return rc;
}

int edit_apply(struct edit *edit, const struct ldif_record *r, struct fault *fault)
{
    char *ndn = dn_normalise(slice_from_string(r->dn));
    int rc = -1;
    if (ndn == NULL || *ndn == '\0') {
        mem_free(&ndn);
        return refuse(r, fault, "not a distinguished name", NULL);
    }
    struct edited *e = r->change != LDIF_ADD ? find(edit, ndn) : NULL;
    if (r->change == LDIF_ADD)
        rc = apply_add(edit, r, ndn, fault);
    else if (e == NULL || e->after == NULL)
        refuse(r, fault, "there is no such entry", NULL);
    else if (r->change == LDIF_MODIFY)
        rc = apply_modify(e, r, fault);
    else if (r->change == LDIF_DELETE)
        rc = apply_delete(edit, e, r, ndn, fault);
    else
        rc = apply_rename(edit, e, r, ndn, fault);
    mem_free(&ndn);
    return rc;
}

char *edit_renamed(const struct edit *edit, const char *dn)
{
    char *now = NULL;
    for (size_t i = 0; i < edit->rename_count; i++) {
        char *old = dn_normalise(slice_from_string(edit->renames[i]->dn)), *own = dn_normalise(slice_from_string(now != NULL ? now : dn));
        char *target = old != NULL ? new_dn_of(edit->renames[i], old) : NULL;
        char *moved = own != NULL && target != NULL ? moved_dn(own, old, target) : NULL;
        if (moved != NULL) {
            mem_free(&now);
            now = moved;
        }
        mem_free(&old);
        mem_free(&own);
        mem_free(&target);
    }
    return now;
}
