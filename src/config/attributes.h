/* attributes: the tables of include/postern/tbl/ as data: the settings of each object class, their kinds, defaults and ranges, the words and the
 * schema's numbers. Read by parse.c and by the generator of schema/. Pure data; no library is needed to link it. */
#ifndef CONFIG_ATTRIBUTES_H
#define CONFIG_ATTRIBUTES_H

#include <stddef.h>

#include "postern/config/snapshot.h"

enum attribute_kind {
    KIND_BOOLEAN, KIND_NUMBER, KIND_AMOUNT, KIND_FLAG, KIND_WORD, KIND_TEXT, KIND_TEXTS, KIND_NAMES, KIND_DN, KIND_DNS, KIND_TIME,
};

struct attribute_rule {
    enum attribute_kind kind;
    const char *name;
    size_t offset;
    uint64_t fallback;
    uint64_t min;
    uint64_t max;
    const char *words;      /* the set's name, for KIND_WORD */
    const char *doc;
};

enum object_class_id {
#define X(name, table, class, kind, must, may, doc) CLASS_##name,
#include "postern/tbl/object_classes.h"
#undef X
    CLASS_COUNT
};

enum class_kind { STRUCTURAL, AUXILIARY };

struct object_class {
    const char *name;
    enum class_kind kind;
    const char *must;
    const char *may;
    const char *doc;
    const struct attribute_rule *rules;
    size_t rule_count;
    size_t size;            /* of the struct that the rules fill */
};

extern const struct object_class object_classes[CLASS_COUNT];

struct post_office_settings {
#define TABLE "postern/tbl/post_office.h"
#include "members.h"
};
struct post_office_agent_settings {
#define TABLE "postern/tbl/post_office_agent.h"
#include "members.h"
};
struct link_settings {
#define TABLE "postern/tbl/link.h"
#include "members.h"
};
struct class_of_service_settings {
#define TABLE "postern/tbl/class_of_service.h"
#include "members.h"
};
struct mail_user_settings {
#define TABLE "postern/tbl/mail_user.h"
#include "members.h"
};
struct distribution_list_settings {
#define TABLE "postern/tbl/distribution_list.h"
#include "members.h"
};
struct agent_status_settings {
#define TABLE "postern/tbl/agent_status.h"
#include "members.h"
};

/* The value of a word of a set, case ignored; false if it has no such word. */
bool word_find(const char *set, struct slice word, int *value_out);
/* The n-th word of a set, with its value; NULL after the last. */
const char *word_at(const char *set, size_t n, int *value_out);
/* Last arc of the OID of an attribute or an object class; 0 if it was never given one. */
unsigned schema_attribute_number(const char *name);
unsigned schema_class_number(const char *name);
extern const char schema_arc[];

#endif
