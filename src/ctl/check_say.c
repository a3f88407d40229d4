/* What `posternctl check` has found, in words. Called by check.c. */
#include "check_state.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/answer.h"
#include "postern/config/changes.h"
#include "postern/config/links.h"

static void say_fault(struct answer *a, const struct config_fault *f)
{
    answer_row(a);
    answer_text(a, "dn", f->dn);
    answer_text(a, "attribute", f->attribute);
    answer_text(a, "reason", f->reason);
    answer_close(a);
}

static void say_faults(struct answer *a, const char *name, const struct fault_list *list)
{
    answer_table(a, name);
    for (size_t i = 0; i < list->count; i++)
        say_fault(a, &list->faults[i]);
    answer_close(a);
    if (list->more > 0)
        answer_number(a, "more faults", list->more);
}

static void fault_key(const struct config_fault *f, struct buf *key)
{
    buf_clear(key);
    buf_printf(key, "%s\n%s\n%s", f->dn, f->attribute != NULL ? f->attribute : "", f->reason);
}

/* Those of `list` that `other` does not have; returns how many. */
static size_t say_difference(struct answer *a, const char *name, const struct fault_list *list, const struct fault_list *other)
{
    struct map known;
    struct buf key = { .cap = 0 };
    size_t count = 0;
    map_init(&known);
    for (size_t i = 0; i < other->count; i++) {
        fault_key(&other->faults[i], &key);
        map_put(&known, buf_slice(&key), &other->faults[i]);
    }
    answer_table(a, name);
    for (size_t i = 0; i < list->count; i++) {
        fault_key(&list->faults[i], &key);
        if (map_get(&known, buf_slice(&key)) != NULL)
            continue;
        count++;
        say_fault(a, &list->faults[i]);
    }
    answer_close(a);
    buf_fini(&key);
    map_fini(&known);
    return count;
}

static void say_changes(struct answer *a, const struct check *c)
{
    struct snapshot_changes *changes = snapshot_compare(c->before, c->after);
    answer_table(a, "changes");
    for (size_t i = 0; i < changes->object_count; i++) {
        const struct object_change *o = &changes->objects[i];
        for (size_t j = 0; j < o->count || (j == 0 && o->count == 0); j++) {
            bool none = o->count == 0;
            answer_row(a);
            answer_text(a, "dn", o->dn);
            answer_text(a, "change", object_change_word(o->kind));
            answer_text(a, "attribute", none ? NULL : o->settings[j].attribute);
            answer_texts(a, "before", none ? NULL : o->settings[j].before.values, none ? 0 : o->settings[j].before.count);
            answer_texts(a, "after", none ? NULL : o->settings[j].after.values, none ? 0 : o->settings[j].after.count);
            answer_close(a);
        }
    }
    answer_close(a);
    snapshot_changes_free(&changes);
}

static bool texts_are_equal(const char *a, const char *b)
{
    return slice_is_equal(slice_from_string(a), slice_from_string(b));
}

static void say_way(struct answer *a, const struct link_row *before, const struct link_row *after)
{
    static const struct link_row none;
    before = before != NULL ? before : &none;
    after = after != NULL ? after : &none;
    const struct { const char *name; const char *before; const char *after; } ways[] = {
        { "mode", before->mode.value, after->mode.value }, { "path", before->path.value, after->path.value },
        { "host", before->host.value, after->host.value }, { "port", before->port.value, after->port.value },
    };
    const struct post_office *office = after->office != NULL ? after->office : before->office;
    for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
        if (texts_are_equal(ways[i].before, ways[i].after))
            continue;
        answer_row(a);
        answer_text(a, "post office", office->dn);
        answer_text(a, "setting", ways[i].name);
        answer_text(a, "before", ways[i].before);
        answer_text(a, "after", ways[i].after);
        answer_close(a);
    }
}

/* What becomes of the ways to the post offices, whichever object it was that changed. */
static void say_ways(struct answer *a, const struct check *c)
{
    struct link_rows *before = link_rows_new(c->before), *after = link_rows_new(c->after);
    struct map known;
    map_init(&known);
    for (size_t i = 0; i < before->count; i++)
        map_put(&known, slice_from_string(before->rows[i].office->uuid), &before->rows[i]);
    answer_table(a, "post offices");
    for (size_t i = 0; i < after->count; i++)
        say_way(a, map_remove(&known, slice_from_string(after->rows[i].office->uuid)), &after->rows[i]);
    for (size_t i = 0; i < before->count; i++)
        if (map_get(&known, slice_from_string(before->rows[i].office->uuid)) != NULL)
            say_way(a, &before->rows[i], NULL);
    answer_close(a);
    map_fini(&known);
    link_rows_free(&before);
    link_rows_free(&after);
}

static void say_now(struct answer *a, const struct check *c)
{
    answer_text(a, "agent", c->options->agent_dn);
    answer_text(a, "base", c->base);
    answer_number(a, "objects", c->objects);
    if (!c->options->no_users)
        answer_number(a, "users", c->user_count);
    answer_number(a, "faults now", c->faults[0].count + c->faults[0].more);
    say_faults(a, "faults", &c->faults[0]);
}

int check_say(struct check *c)
{
    struct buf out = { .cap = 0 };
    struct answer a;
    size_t bad = c->faults[0].count;
    /* People who try an edit want to see what it does, programs everything. */
    bool whole = c->after == NULL || c->options->verbose || c->ctl->json;
    answer_init(&a, &out, c->ctl->json, true);
    if (whole)
        say_now(&a, c);
    if (c->after != NULL) {
        answer_object(&a, "edit");
        answer_number(&a, "faults then", c->faults[1].count + c->faults[1].more);
        if (whole)
            say_changes(&a, c);
        say_ways(&a, c);
        bad = say_difference(&a, "new faults", &c->faults[1], &c->faults[0]);
        say_difference(&a, "cured", &c->faults[0], &c->faults[1]);
        answer_close(&a);
    }
    if (c->options->as_user != NULL) {
        answer_object(&a, "rights");
        answer_text(&a, "user", c->options->as_user);
        answer_number(&a, "denied", c->denied);
        answer_number(&a, "not known", c->unknown);
        answer_number(&a, "allowed", c->writable.count);
        say_faults(&a, "writable", &c->writable);
        answer_close(&a);
        bad += c->writable.count;
    }
    answer_fini(&a);
    bool said = fwrite(out.data, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buf_fini(&out);
    return !said ? ctl_complain("standard output", strerror(errno)) : bad > 0 ? CTL_FAILED : 0;
}
