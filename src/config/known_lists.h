/* known_lists: which distribution lists the kept users are in, by entryUUID, so that a list that was deleted or renamed is known by its notice. Internal to
 * src/config: users.c calls all of it, under its lock. */
#ifndef CONFIG_KNOWN_LISTS_H
#define CONFIG_KNOWN_LISTS_H

#include "users.h"

/* Copied. True: there were too many, all others were forgotten. */
bool known_lists_put(const struct list_name *list);
/* The normal DN, until the next call; NULL: of no kept user. */
const char *known_lists_get(const char *uuid);
void known_lists_clear(void);

#endif
