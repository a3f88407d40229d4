/* report: every setting of the Internet Agent with its value and where that came from, for posternctl. Made from one snapshot; any thread. */
#ifndef POSTERN_CONFIG_REPORT_H
#define POSTERN_CONFIG_REPORT_H

#include "postern/base/arena.h"
#include "postern/config/snapshot.h"

enum setting_source {
    SETTING_DEFAULT,
    SETTING_DIRECTORY,    /* the agent object as the directory has it now */
    SETTING_LAST_VALID,   /* the agent object's last valid version: its present one has a fault */
    SETTING_SWITCH,       /* the command line */
};

struct setting_value {
    struct text_list values;     /* as the directory would write them; none: no value */
    enum setting_source source;
    const char *from;            /* the switch as it was given ("--pt 10"), or the agent object's DN; NULL for a default */
};

struct setting_report {
    const char *attribute;
    struct setting_value now;
    struct setting_value without;   /* what it would be if the source of `now` did not give it; of a default: the same */
};

struct settings_report {
    struct arena arena;
    struct setting_report *settings;   /* in the order of tbl/agent.h */
    size_t count;
};

/* Holds nothing of the snapshot. */
struct settings_report *settings_report_new(const struct snapshot *snapshot);
/* NULL inside is accepted. */
void settings_report_free(struct settings_report **report);
/* "default", "directory", "last valid version" or "switch". */
const char *setting_source_word(enum setting_source source);

#endif
