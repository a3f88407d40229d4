/* Switches gathered by attribute, and checked by themselves before anything is started. Called by config.c and by the command line. It reads no
 * directory. */
#include "overlay.h"

#include <string.h>

#include "parse.h"
#include "postern/base/check.h"
#include "postern/base/memory.h"

/* The values of one attribute, in the order given, and the words of the command line that gave them. */
static void gather(struct overlay *o, const struct config_switch *switches, size_t count, size_t first, size_t at)
{
    struct slice *values = MEM_NEW_ARRAY(struct slice, count);
    const char *given = NULL;
    size_t used = 0;
    for (size_t i = first; i < count; i++) {
        if (strcmp(switches[i].attribute, switches[first].attribute) != 0)
            continue;
        values[used++] = slice_from_string(switches[i].value);
        given = given == NULL ? arena_printf(&o->entry->arena, "%s", switches[i].given)
                              : arena_printf(&o->entry->arena, "%s %s", given, switches[i].given);
    }
    directory_entry_set(o->entry, at, slice_from_string(switches[first].attribute), values, used);
    o->given[at] = given;
    mem_free(&values);
}

struct overlay *overlay_new(const struct config_switch *switches, size_t count)
{
    if (count == 0)
        return NULL;
    struct overlay *o = MEM_NEW(struct overlay);
    o->entry = directory_entry_new(slice_from_string("command line"), NULL);
    directory_entry_reserve(o->entry, count);
    o->given = ARENA_NEW_ARRAY(&o->entry->arena, const char *, count);
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        size_t j = 0;
        while (strcmp(switches[j].attribute, switches[i].attribute) != 0)
            j++;
        if (j == i)
            gather(o, switches, count, i, used++);
    }
    o->entry->count = used;
    return o;
}

void overlay_free(struct overlay **overlay)
{
    if (*overlay != NULL)
        directory_entry_free(&(*overlay)->entry);
    mem_free(overlay);
}

const struct directory_attribute *overlay_find(const struct overlay *overlay, const char *attribute)
{
    return overlay != NULL ? directory_entry_find(overlay->entry, attribute) : NULL;
}

const char *overlay_given(const struct overlay *overlay, const char *attribute)
{
    const struct directory_attribute *found = overlay_find(overlay, attribute);
    return found != NULL ? overlay->given[found - overlay->entry->attributes] : NULL;
}

/* An agent object without any port: two services on one port are the directory's affair as long as it has a say in one of them. */
static struct directory_entry *bare_agent(void)
{
    const struct object_class *class = &object_classes[CLASS_AGENT];
    struct directory_entry *entry = directory_entry_new(slice_from_string("cn=agent"), NULL);
    struct slice name = slice_from_string(class->name), off = slice_from_string("0");
    directory_entry_reserve(entry, class->rule_count + 1);
    directory_entry_set(entry, 0, slice_from_string("objectClass"), &name, 1);
    size_t used = 1;
    for (size_t i = 0; i < class->rule_count; i++)
        if (class->rules[i].kind == KIND_NUMBER && slice_ends_with(slice_from_string(class->rules[i].name), "Port"))
            directory_entry_set(entry, used++, slice_from_string(class->rules[i].name), &off, 1);
    entry->count = used;
    return entry;
}

int config_check_switches(const struct config_switch *switches, size_t count, const uint16_t *allowed_ports, size_t allowed_port_count,
                          struct fault *fault)
{
    struct overlay *overlay = overlay_new(switches, count);
    struct parse_bounds bounds = { .mail_root = "", .allowed_ports = allowed_ports, .allowed_port_count = allowed_port_count, .overlay = overlay };
    struct version *version = version_new(bare_agent(), &bounds);
    int result = 0;
    CHECK(version != NULL);
    for (const struct complaint *c = version->complaints; c != NULL && result == 0; c = c->next) {
        const char *given = c->attribute != NULL ? overlay_given(overlay, c->attribute) : NULL;
        if (given != NULL)
            result = fault_set(fault, FAULT_INVALID, 0, "%s: %s", given, c->reason);
    }
    version_unref(&version);
    overlay_free(&overlay);
    return result;
}
