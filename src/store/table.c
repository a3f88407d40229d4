/* Messages in an array with their names in a pool. Called by the mailbox, its scan and its index; never touches the disk. */
#include "table.h"

#include <stdlib.h>
#include <string.h>

#include "filename.h"
#include "postern/base/check.h"
#include "postern/base/memory.h"

/* Room kept behind a name so that flags can come and go in place. */
enum { NAME_SLACK = 8, POOL_WASTE = 64 * 1024 };

void table_fini(struct table *table)
{
    mem_free(&table->records);
    mem_free(&table->names);
    *table = (struct table){ 0 };
}

struct slice table_name(const struct table *table, const struct record *record)
{
    return slice_make(table->names + record->name, record->name_len);
}

/* A short name has its slack; a long one, that outgrew it, stands exactly. */
static size_t name_room(struct slice name)
{
    size_t room = filename_base(name).len + NAME_SLACK;
    return room > name.len ? room : name.len;
}

static uint32_t pool_add(struct table *table, struct slice name)
{
    size_t room = name_room(name);
    CHECK(name.len <= UINT16_MAX && table->names_len + room <= UINT32_MAX);
    if (table->names_len + room > table->names_size) {
        table->names_size = table->names_size + table->names_size / 2 + room + 1024;
        table->names = mem_resize(table->names, table->names_size);
    }
    uint32_t at = (uint32_t)table->names_len;
    memcpy(table->names + at, name.data, name.len);
    memset(table->names + at + name.len, 0, room - name.len);
    table->names_len += room;
    return at;
}

struct record *table_append(struct table *table, uint32_t uid, struct slice name)
{
    if (table->count == table->size) {
        table->size = table->size + table->size / 2 + 16;
        table->records = mem_resize(table->records, table->size * sizeof(*table->records));
    }
    struct record *record = &table->records[table->count++];
    *record = (struct record){ .uid = uid, .name_len = (uint16_t)name.len, .size = filename_size(name) };
    filename_parse(name, &record->flags, &record->keywords);
    record->name = pool_add(table, name);
    return record;
}

void table_rename(struct table *table, struct record *record, struct slice name)
{
    size_t room = name_room(table_name(table, record));
    if (name.len <= room && name_room(name) <= room) {
        memmove(table->names + record->name, name.data, name.len);
        table->names_dead += room - name_room(name);
    } else {
        table->names_dead += room;
        record->name = pool_add(table, name);
    }
    record->name_len = (uint16_t)name.len;
}

uint32_t table_below(const struct table *table, uint32_t uid)
{
    uint32_t low = 0, high = table->count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table->records[middle].uid < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct record *table_find(const struct table *table, uint32_t uid)
{
    uint32_t at = table_below(table, uid);
    return at < table->count && table->records[at].uid == uid ? &table->records[at] : NULL;
}

void table_drop_doomed(struct table *table)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table->count; i++) {
        if (table->records[i].marks & RECORD_DOOMED)
            table->names_dead += name_room(table_name(table, &table->records[i]));
        else
            table->records[kept++] = table->records[i];
    }
    table->count = kept;
}

static int compare_uids(const void *a, const void *b)
{
    uint32_t left = ((const struct record *)a)->uid, right = ((const struct record *)b)->uid;
    return left < right ? -1 : left > right;
}

static void pool_compact(struct table *table)
{
    struct table fresh = { .names_size = table->names_len - table->names_dead + POOL_WASTE };
    fresh.names = mem_resize(NULL, fresh.names_size);
    for (uint32_t i = 0; i < table->count; i++)
        table->records[i].name = pool_add(&fresh, table_name(table, &table->records[i]));
    mem_free(&table->names);
    table->names = fresh.names;
    table->names_len = fresh.names_len;
    table->names_size = fresh.names_size;
    table->names_dead = 0;
}

void table_sort(struct table *table)
{
    uint32_t i = 1;
    while (i < table->count && table->records[i - 1].uid < table->records[i].uid)
        i++;
    if (i < table->count)
        qsort(table->records, table->count, sizeof(*table->records), compare_uids);
    if (table->names_dead > table->names_len / 3 + POOL_WASTE)
        pool_compact(table);
}

/* --- look-up of base names: open addressing, a slot is (table + 1) << 30 | number --- */

static uint64_t hash_name(struct slice base)
{
    uint64_t hash = 14695981039346656037u;
    for (size_t i = 0; i < base.len; i++)
        hash = (hash ^ (unsigned char)base.data[i]) * 1099511628211u;
    return hash ^ hash >> 29;
}

static struct slice slot_base(const struct name_index *index, uint32_t slot)
{
    const struct table *table = index->tables[(slot >> 30) - 1];
    return filename_base(table_name(table, &table->records[slot & 0x3fffffff]));
}

static uint32_t slot_uid(const struct name_index *index, uint32_t slot)
{
    return index->tables[(slot >> 30) - 1]->records[slot & 0x3fffffff].uid;
}

/* A base name that two lines of a list have is that of the higher UID, as with Dovecot. */
static void slot_put(struct name_index *index, uint32_t slot)
{
    struct slice base = slot_base(index, slot);
    size_t at = hash_name(base) & index->mask;
    while (index->slots[at] != 0 && !slice_is_equal(slot_base(index, index->slots[at]), base))
        at = (at + 1) & index->mask;
    if (index->slots[at] == 0 || slot_uid(index, slot) > slot_uid(index, index->slots[at]))
        index->slots[at] = slot;
}

static void index_grow(struct name_index *index, size_t needed)
{
    size_t size = 64;
    while (size < needed * 2)
        size *= 2;
    uint32_t *old = index->slots;
    size_t old_size = old == NULL ? 0 : index->mask + 1;
    index->slots = MEM_NEW_ARRAY(uint32_t, size);
    index->mask = size - 1;
    for (size_t i = 0; i < old_size; i++)
        if (old[i] != 0)
            slot_put(index, old[i]);
    mem_free(&old);
}

void name_index_init(struct name_index *index, struct table *first, struct table *second, struct table *third)
{
    *index = (struct name_index){ .tables = { first, second, third } };
    index_grow(index, (size_t)first->count + second->count + third->count + 64);
    for (int table = 0; table < INDEX_TABLES; table++)
        for (uint32_t i = 0; i < index->tables[table]->count; i++)
            name_index_add(index, table, i);
}

void name_index_fini(struct name_index *index)
{
    mem_free(&index->slots);
}

void name_index_add(struct name_index *index, int table, uint32_t number)
{
    CHECK(number < 0x3fffffff);
    if (++index->used * 2 > index->mask + 1)
        index_grow(index, index->used * 2);
    slot_put(index, (uint32_t)(table + 1) << 30 | number);
}

struct name_hit name_index_find(const struct name_index *index, struct slice base)
{
    for (size_t at = hash_name(base) & index->mask; index->slots[at] != 0; at = (at + 1) & index->mask)
        if (slice_is_equal(slot_base(index, index->slots[at]), base))
            return (struct name_hit){ (int)(index->slots[at] >> 30) - 1, index->slots[at] & 0x3fffffff };
    return (struct name_hit){ -1, 0 };
}
