/* Where each setting of the agent comes from. Called for posternctl; changes nothing. */
#include "postern/config/report.h"

#include <inttypes.h>

#include "build.h"
#include "overlay.h"
#include "postern/base/memory.h"

static const void *field(const void *settings, const struct attribute_rule *rule)
{
    return (const char *)settings + rule->offset;
}

static const char *word_of(const char *set, int value)
{
    int number;
    const char *word;
    for (size_t i = 0; (word = word_at(set, i, &number)) != NULL; i++)
        if (number == value)
            return word;
    return "";
}

static struct text_list one(struct arena *arena, const char *text)
{
    struct text_list list = { ARENA_NEW_ARRAY(arena, char *, 1), 1 };
    list.values[0] = arena_printf(arena, "%s", text);
    return list;
}

static struct text_list copy(struct arena *arena, const struct text_list *list)
{
    struct text_list out = { ARENA_NEW_ARRAY(arena, char *, list->count + 1), list->count };
    for (size_t i = 0; i < list->count; i++)
        out.values[i] = arena_printf(arena, "%s", list->values[i]);
    return out;
}

/* The value in `settings` as the directory would write it. */
static struct text_list print(struct arena *arena, const struct attribute_rule *rule, const void *settings)
{
    const void *at = field(settings, rule);
    switch (rule->kind) {
    case KIND_BOOLEAN: return one(arena, *(const bool *)at ? "TRUE" : "FALSE");
    case KIND_NUMBER: return one(arena, arena_printf(arena, "%" PRIu64, *(const uint64_t *)at));
    case KIND_WORD: return one(arena, word_of(rule->words, *(const int *)at));
    case KIND_TEXTS:
    case KIND_NAMES:
    case KIND_DNS: return copy(arena, at);
    case KIND_TEXT:
    case KIND_DN:
        if (*(char *const *)at != NULL)
            return one(arena, *(char *const *)at);
        break;
    default: break;   /* the agent has none of these */
    }
    return (struct text_list){ 0 };
}

struct reporter {
    struct settings_report *report;
    const struct snapshot *snapshot;
    const struct snapshot_body *body;
    const struct directory_entry *entry;   /* what is in force of the directory; NULL: nothing */
    void *without_switches;
    void *defaults;
};

static struct setting_value from_default(struct reporter *r, const struct attribute_rule *rule, const void *settings)
{
    return (struct setting_value){ print(&r->report->arena, rule, settings), SETTING_DEFAULT, NULL };
}

static struct setting_value from_directory(struct reporter *r, const struct attribute_rule *rule, const void *settings)
{
    if (r->entry == NULL || directory_entry_find(r->entry, rule->name) == NULL)
        return from_default(r, rule, settings);
    bool old = r->body->agent_present != r->body->agent;
    return (struct setting_value){ print(&r->report->arena, rule, settings), old ? SETTING_LAST_VALID : SETTING_DIRECTORY,
                                   arena_printf(&r->report->arena, "%s", r->entry->dn) };
}

static void report_setting(struct reporter *r, const struct attribute_rule *rule, struct setting_report *out)
{
    const void *now = &r->snapshot->agent;
    const char *given = r->entry != NULL ? overlay_given(r->body->overlay, rule->name) : NULL;
    out->attribute = rule->name;
    if (given != NULL) {
        out->now = (struct setting_value){ print(&r->report->arena, rule, now), SETTING_SWITCH, arena_printf(&r->report->arena, "%s", given) };
        out->without = from_directory(r, rule, r->without_switches);
        return;
    }
    out->now = from_directory(r, rule, now);
    out->without = out->now.source == SETTING_DEFAULT ? out->now : from_default(r, rule, r->defaults);
}

struct settings_report *settings_report_new(const struct snapshot *snapshot)
{
    const struct object_class *class = &object_classes[CLASS_AGENT];
    struct settings_report *report = MEM_NEW(struct settings_report);
    struct reporter r = { .report = report, .snapshot = snapshot, .body = snapshot_body(snapshot) };
    struct directory_entry *empty = directory_entry_new(slice_from_string(""), NULL);
    r.entry = r.body->agent != NULL ? r.body->agent->entry : NULL;
    r.without_switches = arena_alloc(&report->arena, class->size);
    r.defaults = arena_alloc(&report->arena, class->size);
    parse_settings(class, r.entry != NULL ? r.entry : empty, &report->arena, r.without_switches);
    parse_settings(class, empty, &report->arena, r.defaults);
    report->settings = ARENA_NEW_ARRAY(&report->arena, struct setting_report, class->rule_count);
    for (; report->count < class->rule_count; report->count++)
        report_setting(&r, &class->rules[report->count], &report->settings[report->count]);
    directory_entry_free(&empty);
    return report;
}

void settings_report_free(struct settings_report **report)
{
    if (*report != NULL)
        arena_clear(&(*report)->arena);
    mem_free(report);
}

const char *setting_source_word(enum setting_source source)
{
    static const char *const words[] = { "default", "directory", "last valid version", "switch" };
    return words[source];
}
