/* The tables as data. Called by parse.c and by the generator of schema/. */
#include "attributes.h"

#include <string.h>

#include "postern/base/log.h"
static const struct attribute_rule agent_rules[] = {
#define OWNER struct agent_settings
#define TABLE "postern/tbl/agent.h"
#include "rules.h"
};
static const struct attribute_rule post_office_rules[] = {
#define OWNER struct post_office_settings
#define TABLE "postern/tbl/post_office.h"
#include "rules.h"
};
static const struct attribute_rule post_office_agent_rules[] = {
#define OWNER struct post_office_agent_settings
#define TABLE "postern/tbl/post_office_agent.h"
#include "rules.h"
};
static const struct attribute_rule link_rules[] = {
#define OWNER struct link_settings
#define TABLE "postern/tbl/link.h"
#include "rules.h"
};
static const struct attribute_rule class_of_service_rules[] = {
#define OWNER struct class_of_service_settings
#define TABLE "postern/tbl/class_of_service.h"
#include "rules.h"
};
static const struct attribute_rule mail_user_rules[] = {
#define OWNER struct mail_user_settings
#define TABLE "postern/tbl/mail_user.h"
#include "rules.h"
};
static const struct attribute_rule distribution_list_rules[] = {
#define OWNER struct distribution_list_settings
#define TABLE "postern/tbl/distribution_list.h"
#include "rules.h"
};
static const struct attribute_rule agent_status_rules[] = {
#define OWNER struct agent_status_settings
#define TABLE "postern/tbl/agent_status.h"
#include "rules.h"
};

const struct object_class object_classes[CLASS_COUNT] = {
#define X(name, table, class, kind, must, may, doc) \
    [CLASS_##name] = { class, kind, must, may, doc, table##_rules, sizeof(table##_rules) / sizeof(table##_rules[0]), \
                       sizeof(struct table##_settings) },
#include "postern/tbl/object_classes.h"
#undef X
};

static const struct { const char *set; const char *word; int value; } words[] = {
#define X(set, value, word) { #set, word, value },
#include "postern/tbl/words.h"
#undef X
};

struct number {
    const char *name;
    unsigned number;
};

static const struct number attribute_numbers[] = {
#define ATTRIBUTE(number, name) { name, number },
#define CLASS(number, name)
#include "postern/tbl/schema_numbers.h"
#undef ATTRIBUTE
#undef CLASS
};

static const struct number class_numbers[] = {
#define ATTRIBUTE(number, name)
#define CLASS(number, name) { name, number },
#include "postern/tbl/schema_numbers.h"
#undef ATTRIBUTE
#undef CLASS
};

const char schema_arc[] = SCHEMA_ARC;

bool word_find(const char *set, struct slice word, int *value_out)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i].set, set) == 0 && slice_is_nocase(word, words[i].word)) {
            *value_out = words[i].value;
            return true;
        }
    }
    return false;
}

const char *word_at(const char *set, size_t n, int *value_out)
{
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (strcmp(words[i].set, set) == 0 && n-- == 0) {
            *value_out = words[i].value;
            return words[i].word;
        }
    }
    return NULL;
}

static unsigned find_number(const struct number *numbers, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(numbers[i].name, name) == 0)
            return numbers[i].number;
    return 0;
}

unsigned schema_attribute_number(const char *name)
{
    return find_number(attribute_numbers, sizeof(attribute_numbers) / sizeof(attribute_numbers[0]), name);
}

unsigned schema_class_number(const char *name)
{
    return find_number(class_numbers, sizeof(class_numbers) / sizeof(class_numbers[0]), name);
}
