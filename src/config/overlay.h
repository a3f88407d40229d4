/* overlay: the switches of the command line as values that stand over the agent object's own. Made once by config.c before anything is read;
 * immutable; every agent version is parsed with it. Internal to src/config. */
#ifndef CONFIG_OVERLAY_H
#define CONFIG_OVERLAY_H

#include "postern/config/switches.h"
#include "postern/directory/entry.h"

struct overlay {
    struct directory_entry *entry;   /* one attribute for each overridden setting */
    const char **given;              /* of each attribute: the switches, in the entry's arena */
};

/* NULL without switches. */
struct overlay *overlay_new(const struct config_switch *switches, size_t count);
/* NULL inside is accepted. */
void overlay_free(struct overlay **overlay);
/* Both take a NULL overlay: NULL if no switch gives the attribute. */
const struct directory_attribute *overlay_find(const struct overlay *overlay, const char *attribute);
const char *overlay_given(const struct overlay *overlay, const char *attribute);

#endif
