/* The table of switches as data. Called by the command line of posternd, and by the generator of its manual page: no library is needed to
 * link it. */
#include "postern/config/switches.h"

#include <inttypes.h>
#include <pthread.h>

#include "attributes.h"
#include "postern/base/check.h"

/* attribute, doc and many are filled from the rule of the field. */
static struct row {
    struct switch_rule public;
    size_t offset;
} rows[] = {
#define SWITCH(name, field, argument, form) { { name, NULL, argument, NULL, NULL, SWITCH_##form, false }, offsetof(struct agent_settings, field) },
#define FIXED(name, field, value) { { name, NULL, NULL, value, NULL, SWITCH_FIXED, false }, offsetof(struct agent_settings, field) },
#define NOTHING(name, doc) { { name, NULL, NULL, NULL, doc, SWITCH_NOTHING, false }, 0 },
#include "postern/tbl/switches.h"
#undef SWITCH
#undef FIXED
#undef NOTHING
};

enum { ROW_COUNT = sizeof(rows) / sizeof(rows[0]) };

static pthread_once_t filled = PTHREAD_ONCE_INIT;

static void fill(void)
{
    const struct object_class *class = &object_classes[CLASS_AGENT];
    for (size_t i = 0; i < ROW_COUNT; i++) {
        if (rows[i].public.form == SWITCH_NOTHING)
            continue;
        size_t j = 0;
        while (j < class->rule_count && class->rules[j].offset != rows[i].offset)
            j++;
        CHECK(j < class->rule_count);
        rows[i].public.attribute = class->rules[j].name;
        rows[i].public.doc = class->rules[j].doc;
        rows[i].public.many = class->rules[j].kind == KIND_TEXTS && rows[i].public.form != SWITCH_COMMAS;
    }
}

const struct switch_rule *switch_at(size_t n)
{
    pthread_once(&filled, fill);
    return n < ROW_COUNT ? &rows[n].public : NULL;
}

const struct switch_rule *switch_find(struct slice name)
{
    const struct switch_rule *rule;
    for (size_t i = 0; (rule = switch_at(i)) != NULL; i++)
        if (slice_is_nocase(name, rule->name))
            return rule;
    return NULL;
}

static const struct { enum switch_form form; const char *theirs; const char *ours; } words[] = {
    { SWITCH_TLS, "enable", "enabled" },   { SWITCH_TLS, "disable", "disabled" }, { SWITCH_TLS, "require", "required" },
    { SWITCH_LEVEL, "off", "error" },      { SWITCH_LEVEL, "diag", "debug" },     { SWITCH_LEVEL, "diagnostic", "debug" },
};

static void append_word(enum switch_form form, struct slice word, struct buf *out)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (words[i].form == form && slice_is_nocase(word, words[i].theirs)) {
            buf_append_text(out, words[i].ours);
            return;
        }
    buf_append(out, word);
}

static void append_thousands(struct slice text, struct buf *out)
{
    uint64_t number;
    if (slice_to_number(text, UINT64_MAX / 1000, &number))
        buf_printf(out, "%" PRIu64, number * 1000);
    else
        buf_append(out, text);
}

static void append_list(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++)
        buf_append_byte(out, text.data[i] == ',' ? ' ' : text.data[i]);
}

void switch_translate(const struct switch_rule *rule, struct slice argument, struct buf *out)
{
    switch (rule->form) {
    case SWITCH_NOTHING: break;
    case SWITCH_FIXED: buf_append_text(out, rule->value); break;
    case SWITCH_PLAIN: buf_append(out, argument); break;
    case SWITCH_COMMAS: append_list(argument, out); break;
    case SWITCH_THOUSANDS: append_thousands(argument, out); break;
    case SWITCH_TLS:
    case SWITCH_LEVEL: append_word(rule->form, argument, out); break;
    }
}
