/* entry: one object as the directory gave it: DN, UUID, attributes with their values. Owned by one holder, not thread-safe while it is
 * being built; freely readable afterwards. */
#ifndef POSTERN_DIRECTORY_ENTRY_H
#define POSTERN_DIRECTORY_ENTRY_H

#include "postern/base/arena.h"
#include "postern/base/slice.h"

#define DIRECTORY_UUID_SIZE 37   /* text form and its NUL */

struct directory_attribute {
    char *name;               /* as the directory spells it */
    struct slice *values;
    size_t count;
};

struct directory_entry {
    struct arena arena;
    char *dn;
    char uuid[DIRECTORY_UUID_SIZE];   /* entryUUID, lower case; empty if the directory gave none */
    struct directory_attribute *attributes;
    size_t count;
};

/* uuid may be NULL. Copies everything. */
struct directory_entry *directory_entry_new(struct slice dn, const char *uuid);
void directory_entry_free(struct directory_entry **entry);
/* Makes room for count attributes at once; then each is filled with directory_entry_set. */
void directory_entry_reserve(struct directory_entry *entry, size_t count);
/* The name and the values are copied. at < the reserved count. */
void directory_entry_set(struct directory_entry *entry, size_t at, struct slice name, const struct slice *values, size_t count);
/* By name, case ignored; NULL if the entry does not have it. */
const struct directory_attribute *directory_entry_find(const struct directory_entry *entry, const char *name);
/* Whether one of the values of the attribute is `word`, case ignored. */
bool directory_entry_has(const struct directory_entry *entry, const char *name, const char *word);
/* The same values in any order; names are not compared. */
bool directory_attribute_is_equal(const struct directory_attribute *a, const struct directory_attribute *b);
/* Same DN as written, same attributes in any order with the same values in any order. */
bool directory_entry_is_equal(const struct directory_entry *a, const struct directory_entry *b);
/* The 16 bytes of a UUID in text form. */
void directory_uuid_print(const unsigned char bytes[16], char text_out[DIRECTORY_UUID_SIZE]);

#endif
