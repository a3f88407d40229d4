/* Values by the tables: kinds, ranges, words, single values. Called by version.c for configuration objects and by user.c for mail users.
 * It knows nothing of other objects. */
#include "parse.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "postern/base/memory.h"
#include "postern/directory/dn.h"

#define TEXT_MAX 4096

struct parser {
    struct arena *arena;
    struct complaint *complaints;
    size_t count;
    void *out;
};

static void complain(struct parser *p, const char *attribute, const char *reason)
{
    if (p->count++ >= COMPLAINTS_MAX)
        return;
    struct complaint *c = ARENA_NEW(p->arena, struct complaint);
    c->attribute = attribute;
    c->reason = reason;
    c->next = p->complaints;
    p->complaints = c;
}

static void *field(const struct parser *p, const struct attribute_rule *rule)
{
    return (char *)p->out + rule->offset;
}

static void set_default(const struct parser *p, const struct attribute_rule *rule)
{
    switch (rule->kind) {
    case KIND_BOOLEAN: *(bool *)field(p, rule) = rule->fallback != 0; break;
    case KIND_NUMBER: *(uint64_t *)field(p, rule) = rule->fallback; break;
    case KIND_AMOUNT: *(int64_t *)field(p, rule) = -1; break;
    case KIND_FLAG: *(int *)field(p, rule) = -1; break;
    case KIND_WORD: *(int *)field(p, rule) = (int)rule->fallback; break;
    default: break;   /* zeroed: absent */
    }
}

static bool digits(struct slice s, size_t from, size_t count, int *out)
{
    uint64_t number;
    struct slice part = slice_part(s, from, count);
    if (part.len != count || !slice_to_number(part, UINT32_MAX, &number))
        return false;
    *out = (int)number;
    return true;
}

/* Z, or +hhmm or -hhmm or without minutes. */
static bool parse_zone(struct slice zone, int *seconds_out)
{
    int hours = 0, minutes = 0;
    *seconds_out = 0;
    if (slice_is_nocase(zone, "Z"))
        return true;
    if (zone.len != 3 && zone.len != 5)
        return false;
    if ((zone.data[0] != '+' && zone.data[0] != '-') || !digits(zone, 1, 2, &hours) ||
        (zone.len == 5 && !digits(zone, 3, 2, &minutes)) || hours > 23 || minutes > 59)
        return false;
    *seconds_out = (hours * 3600 + minutes * 60) * (zone.data[0] == '-' ? -1 : 1);
    return true;
}

bool parse_time(struct slice text, int64_t *out)
{
    struct tm tm = { 0 };
    int zone;
    if (!digits(text, 0, 4, &tm.tm_year) || !digits(text, 4, 2, &tm.tm_mon) || !digits(text, 6, 2, &tm.tm_mday) ||
        !digits(text, 8, 2, &tm.tm_hour))
        return false;
    size_t at = 10;
    if (digits(text, at, 2, &tm.tm_min))
        at += 2;
    if (at == 12 && digits(text, at, 2, &tm.tm_sec))
        at += 2;
    if (at < text.len && (text.data[at] == '.' || text.data[at] == ',')) {
        size_t first = ++at;
        while (at < text.len && ascii_is_digit(text.data[at]))
            at++;
        if (at == first)
            return false;
    }
    if (tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 23 || tm.tm_min > 59 || tm.tm_sec > 60 ||
        !parse_zone(slice_from(text, at), &zone))
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon -= 1;
    *out = (int64_t)timegm(&tm) - zone;
    return true;
}

static void parse_number(struct parser *p, const struct attribute_rule *rule, struct slice value)
{
    uint64_t number = 0;
    if (!slice_to_number(value, rule->max, &number) || number < rule->min) {
        complain(p, rule->name, arena_printf(p->arena, "%.64s is not a number from %" PRIu64 " to %" PRIu64, value.data, rule->min, rule->max));
        return;
    }
    if (rule->kind == KIND_NUMBER)
        *(uint64_t *)field(p, rule) = number;
    else
        *(int64_t *)field(p, rule) = (int64_t)number;
}

static void parse_boolean(struct parser *p, const struct attribute_rule *rule, struct slice value)
{
    bool on = slice_is_nocase(value, "TRUE");
    if (!on && !slice_is_nocase(value, "FALSE")) {
        complain(p, rule->name, arena_printf(p->arena, "%.64s is neither TRUE nor FALSE", value.data));
        return;
    }
    if (rule->kind == KIND_BOOLEAN)
        *(bool *)field(p, rule) = on;
    else
        *(int *)field(p, rule) = on;
}

static void parse_word(struct parser *p, const struct attribute_rule *rule, struct slice value)
{
    int number;
    if (word_find(rule->words, value, &number)) {
        *(int *)field(p, rule) = number;
        return;
    }
    struct buf reason;
    buf_init(&reason, 512);
    buf_printf(&reason, "%.64s is not one of", value.data);
    const char *word;
    for (size_t i = 0; (word = word_at(rule->words, i, &number)) != NULL; i++)
        buf_printf(&reason, " %s", word);
    complain(p, rule->name, arena_copy(p->arena, buf_slice(&reason)).data);
    buf_fini(&reason);
}

/* Controls would break lines in logs and protocols; nothing legitimate has them. */
static bool text_is_clean(struct slice value)
{
    if (value.len == 0 || value.len > TEXT_MAX)
        return false;
    for (size_t i = 0; i < value.len; i++)
        if ((unsigned char)value.data[i] < ' ' || value.data[i] == 127)
            return false;
    return true;
}

/* The value as text of the arena, or NULL with a complaint. */
static char *parse_text(struct parser *p, const struct attribute_rule *rule, struct slice value)
{
    if (!text_is_clean(value)) {
        complain(p, rule->name, "the text is empty, too long or has control characters");
        return NULL;
    }
    struct slice copy = arena_copy(p->arena, value);
    if (rule->kind == KIND_DN || rule->kind == KIND_DNS) {
        char *normal = dn_normalise(copy);
        if (normal == NULL || *normal == '\0') {
            complain(p, rule->name, "not a distinguished name");
            copy.data = NULL;
        }
        mem_free(&normal);
    }
    return (char *)(uintptr_t)copy.data;
}

static void parse_texts(struct parser *p, const struct attribute_rule *rule, const struct directory_attribute *attribute)
{
    struct text_list *list = field(p, rule);
    list->values = ARENA_NEW_ARRAY(p->arena, char *, attribute->count);
    for (size_t i = 0; i < attribute->count; i++) {
        char *text = parse_text(p, rule, attribute->values[i]);
        if (text != NULL)
            list->values[list->count++] = text;
    }
}

static void parse_value(struct parser *p, const struct attribute_rule *rule, struct slice value)
{
    switch (rule->kind) {
    case KIND_BOOLEAN:
    case KIND_FLAG: parse_boolean(p, rule, value); break;
    case KIND_NUMBER:
    case KIND_AMOUNT: parse_number(p, rule, value); break;
    case KIND_WORD: parse_word(p, rule, value); break;
    case KIND_TIME:
        if (!parse_time(value, field(p, rule)))
            complain(p, rule->name, arena_printf(p->arena, "%.64s is not a time like 20301231235959Z", value.data));
        break;
    default: *(char **)field(p, rule) = parse_text(p, rule, value);
    }
}

static void parse_attribute(struct parser *p, const struct attribute_rule *rule, const struct directory_attribute *attribute)
{
    if (attribute == NULL || attribute->count == 0)
        return;
    if (rule->kind == KIND_TEXTS || rule->kind == KIND_NAMES || rule->kind == KIND_DNS)
        parse_texts(p, rule, attribute);
    else if (attribute->count > 1)
        complain(p, rule->name, "has more than one value");
    else
        parse_value(p, rule, attribute->values[0]);
}

struct complaint *parse_settings_over(const struct object_class *class, const struct directory_entry *entry, const struct overlay *overlay,
                                      struct arena *arena, void *out, struct complaint **remarks)
{
    struct parser p = { .arena = arena, .out = out };
    struct parser unused = { .arena = arena, .out = overlay != NULL ? arena_alloc(arena, class->size) : NULL };
    for (size_t i = 0; i < class->rule_count; i++) {
        const struct attribute_rule *rule = &class->rules[i];
        const struct directory_attribute *over = overlay_find(overlay, rule->name);
        set_default(&p, rule);
        if (over != NULL)
            parse_attribute(&unused, rule, directory_entry_find(entry, rule->name));
        parse_attribute(&p, rule, over != NULL ? over : directory_entry_find(entry, rule->name));
    }
    for (struct complaint *c = unused.complaints; c != NULL; c = c->next)
        c->reason = arena_printf(arena, "%s; not in force: the command line has %s", c->reason, overlay_given(overlay, c->attribute));
    *remarks = unused.complaints;
    return p.complaints;
}

struct complaint *parse_settings(const struct object_class *class, const struct directory_entry *entry, struct arena *arena, void *out)
{
    struct complaint *remarks;
    return parse_settings_over(class, entry, NULL, arena, out, &remarks);
}
