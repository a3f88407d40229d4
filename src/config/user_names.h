/* user_names: what a user can be asked for by. Internal to src/config; pure. */
#ifndef CONFIG_USER_NAMES_H
#define CONFIG_USER_NAMES_H

#include <stdbool.h>

#include "postern/base/slice.h"
#include "postern/directory/entry.h"

enum { USER_NAME_MAX = 320 };

/* What a user is asked for. It ends with NULL. */
extern const char *const user_attributes[];

/* In lower case, into `out`. False: nobody is called so, or it is too long to be kept. */
bool user_name_fold(struct slice name, char out[USER_NAME_MAX], struct slice *folded_out);
/* The values that are names, one after the other: *at is 0 at first. */
bool user_names_next(const struct directory_entry *entry, size_t *at, struct slice *out);
/* Whether the name is written so there, but for the case of ASCII: a directory finds it by other spellings too. */
bool user_names_have(const struct directory_entry *entry, struct slice name);
/* Whether the same user is made from both. */
bool user_entries_are_same(const struct directory_entry *a, const struct directory_entry *b);

#endif
