/* The names in a user's entry, and what else of it counts. Called by users.c under its lock, by remembered.c and by keys.c: it must ask nobody. */
#include "user_names.h"

#include <string.h>

enum { NAMES = 3, MADE_FROM = 8 };

/* First those with names, then the others that a user is made from. */
const char *const user_attributes[] = { "uid", "mail", "posternMailAlias", "posternPostOffice", "posternMailboxDirectory", "posternQuota",
                                        "posternDisabled", "posternExpirationTime", "objectClass", "entryUUID", "nsUniqueId", NULL };

bool user_name_fold(struct slice name, char out[USER_NAME_MAX], struct slice *folded_out)
{
    if (name.len == 0 || name.len > USER_NAME_MAX || slice_has_nul(name))
        return false;
    for (size_t i = 0; i < name.len; i++)
        out[i] = ascii_lower(name.data[i]);
    *folded_out = slice_make(out, name.len);
    return true;
}

bool user_names_next(const struct directory_entry *entry, size_t *at, struct slice *out)
{
    size_t before = 0;
    for (size_t i = 0; i < NAMES; i++) {
        const struct directory_attribute *a = directory_entry_find(entry, user_attributes[i]);
        size_t count = a != NULL ? a->count : 0;
        if (*at < before + count) {
            *out = a->values[(*at)++ - before];
            return true;
        }
        before += count;
    }
    return false;
}

bool user_names_have(const struct directory_entry *entry, struct slice name)
{
    struct slice own;
    for (size_t at = 0; user_names_next(entry, &at, &own);)
        if (slice_is_equal_nocase(own, name))
            return true;
    return false;
}

bool user_entries_are_same(const struct directory_entry *a, const struct directory_entry *b)
{
    if (strcmp(a->dn, b->dn) != 0)
        return false;
    for (size_t i = 0; i < MADE_FROM; i++) {
        const struct directory_attribute *x = directory_entry_find(a, user_attributes[i]), *y = directory_entry_find(b, user_attributes[i]);
        if ((x == NULL) != (y == NULL) || (x != NULL && !directory_attribute_is_equal(x, y)))
            return false;
    }
    return true;
}
