/* Entries: built by connection.c from the directory's answers and by src/config from its state on disk. */
#include "postern/directory/entry.h"

#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"

struct directory_entry *directory_entry_new(struct slice dn, const char *uuid)
{
    struct directory_entry *entry = MEM_NEW(struct directory_entry);
    arena_init(&entry->arena);
    entry->dn = (char *)arena_copy(&entry->arena, dn).data;
    if (uuid != NULL && strlen(uuid) == sizeof(entry->uuid) - 1)
        memcpy(entry->uuid, uuid, sizeof(entry->uuid));
    return entry;
}

void directory_entry_free(struct directory_entry **entry)
{
    if (*entry != NULL)
        arena_clear(&(*entry)->arena);
    mem_free(entry);
}

void directory_entry_reserve(struct directory_entry *entry, size_t count)
{
    CHECK(entry->count == 0);
    entry->attributes = ARENA_NEW_ARRAY(&entry->arena, struct directory_attribute, count);
    entry->count = count;
}

void directory_entry_set(struct directory_entry *entry, size_t at, struct slice name, const struct slice *values, size_t count)
{
    CHECK(at < entry->count);
    struct directory_attribute *attribute = &entry->attributes[at];
    attribute->name = (char *)arena_copy(&entry->arena, name).data;
    attribute->values = ARENA_NEW_ARRAY(&entry->arena, struct slice, count);
    attribute->count = count;
    for (size_t i = 0; i < count; i++)
        attribute->values[i] = arena_copy(&entry->arena, values[i]);
}

const struct directory_attribute *directory_entry_find(const struct directory_entry *entry, const char *name)
{
    for (size_t i = 0; i < entry->count; i++)
        if (slice_is_nocase(slice_from_string(entry->attributes[i].name), name))
            return &entry->attributes[i];
    return NULL;
}

bool directory_entry_has(const struct directory_entry *entry, const char *name, const char *word)
{
    const struct directory_attribute *attribute = directory_entry_find(entry, name);
    for (size_t i = 0; attribute != NULL && i < attribute->count; i++)
        if (slice_is_nocase(attribute->values[i], word))
            return true;
    return false;
}

/* Directories keep the values of an attribute in their order, but for those that an edit takes away and adds: each is looked for first after the one
 * found last, so that many thousands of members cost no more than one walk. */
bool directory_attribute_is_equal(const struct directory_attribute *a, const struct directory_attribute *b)
{
    if (a->count != b->count)
        return false;
    for (size_t i = 0, at = 0; i < a->count; i++, at++) {
        size_t tried = 0;
        for (; tried < b->count; tried++, at++) {
            at = at < b->count ? at : 0;
            if (slice_is_equal(a->values[i], b->values[at]))
                break;
        }
        if (tried == b->count)
            return false;
    }
    return true;
}

bool directory_entry_is_equal(const struct directory_entry *a, const struct directory_entry *b)
{
    if (a->count != b->count || strcmp(a->dn, b->dn) != 0)
        return false;
    for (size_t i = 0; i < a->count; i++) {
        const struct directory_attribute *other = directory_entry_find(b, a->attributes[i].name);
        if (other == NULL || !directory_attribute_is_equal(&a->attributes[i], other))
            return false;
    }
    return true;
}

void directory_uuid_print(const unsigned char bytes[16], char text_out[DIRECTORY_UUID_SIZE])
{
    static const char digits[] = "0123456789abcdef";
    char *at = text_out;
    for (size_t i = 0; i < 16; i++) {
        if (i == 4 || i == 6 || i == 8 || i == 10)
            *at++ = '-';
        *at++ = digits[bytes[i] >> 4];
        *at++ = digits[bytes[i] & 15];
    }
    *at = '\0';
}
