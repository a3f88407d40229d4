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
size_t table_room(struct slice name)
{
    size_t room = filename_base(name).len + NAME_SLACK;
    return room > name.len ? room : name.len;
}

static uint32_t pool_add(struct table *table, struct slice name)
{
    size_t room = table_room(name);
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
    size_t room = table_room(table_name(table, record));
    if (name.len <= room && table_room(name) <= room) {
        memmove(table->names + record->name, name.data, name.len);
        table->names_dead += room - table_room(name);
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
            table->names_dead += table_room(table_name(table, &table->records[i]));
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

uint64_t table_hash(uint64_t hash, const void *memory, size_t len)
{
    const unsigned char *bytes = memory;
    uint64_t word;
    for (; len >= sizeof(word); len -= sizeof(word), bytes += sizeof(word)) {
        memcpy(&word, bytes, sizeof(word));
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 32;
    }
    for (; len > 0; len--)
        hash = (hash ^ *bytes++) * 1099511628211u;
    return hash;
}

/* --- look-up of base names: open addressing, a slot is hash << 32 | (table + 1) << 30 | number: a name is looked at only if its hash is right --- */

enum { NUMBER_MASK = 0x3fffffff };

static uint32_t hash_name(struct slice base)
{
    return (uint32_t)(table_hash(base.len, base.data, base.len) * 0x9e3779b97f4a7c15u >> 32);
}

static struct table *slot_table(const struct name_index *index, uint64_t slot)
{
    return index->tables[(slot >> 30 & 3) - 1];
}

static struct record *slot_record(const struct name_index *index, uint64_t slot)
{
    return &slot_table(index, slot)->records[slot & NUMBER_MASK];
}

static bool slot_is(const struct name_index *index, uint64_t slot, struct slice base)
{
    struct slice name = table_name(slot_table(index, slot), slot_record(index, slot));
    return name.len >= base.len && memcmp(name.data, base.data, base.len) == 0 && (name.len == base.len || name.data[base.len] == ':');
}

static size_t slot_find(const struct name_index *index, uint32_t hash, struct slice base)
{
    size_t at = hash & index->mask;
    while (index->slots[at] != 0 && (index->slots[at] >> 32 != hash || !slot_is(index, index->slots[at], base)))
        at = (at + 1) & index->mask;
    return at;
}

static void index_grow(struct name_index *index, size_t needed)
{
    size_t size = 64;
    while (size < needed * 2)
        size *= 2;
    uint64_t *old = index->slots;
    size_t old_size = old == NULL ? 0 : index->mask + 1;
    index->slots = MEM_NEW_ARRAY(uint64_t, size);
    index->mask = size - 1;
    for (size_t i = 0; i < old_size; i++) {
        size_t at = old[i] >> 32 & index->mask;
        while (old[i] != 0 && index->slots[at] != 0)
            at = (at + 1) & index->mask;
        if (old[i] != 0)
            index->slots[at] = old[i];
    }
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

/* A base name that two lines of a list have is that of the higher UID, as with Dovecot. */
void name_index_add(struct name_index *index, int table, uint32_t number)
{
    CHECK(number < NUMBER_MASK);
    if (++index->used * 2 > index->mask + 1)
        index_grow(index, index->used * 2);
    const struct record *record = &index->tables[table]->records[number];
    struct slice base = filename_base(table_name(index->tables[table], record));
    uint32_t hash = hash_name(base);
    size_t at = slot_find(index, hash, base);
    if (index->slots[at] == 0 || record->uid > slot_record(index, index->slots[at])->uid)
        index->slots[at] = (uint64_t)hash << 32 | (uint64_t)(table + 1) << 30 | number;
}

struct name_hit name_index_find(const struct name_index *index, struct slice base)
{
    uint64_t slot = index->slots[slot_find(index, hash_name(base), base)];
    return slot == 0 ? (struct name_hit){ -1, 0 } : (struct name_hit){ (int)(slot >> 30 & 3) - 1, slot & NUMBER_MASK };
}

void name_index_prefetch(const struct name_index *index, const struct slice *bases, size_t count)
{
    uint32_t hashes[PREFETCH_MOST];
    uint64_t slots[PREFETCH_MOST];
    for (size_t i = 0; i < count; i++) {
        hashes[i] = hash_name(bases[i]);
        __builtin_prefetch(&index->slots[hashes[i] & index->mask]);
    }
    for (size_t i = 0; i < count; i++) {
        size_t at = hashes[i] & index->mask;
        while (index->slots[at] != 0 && index->slots[at] >> 32 != hashes[i])
            at = (at + 1) & index->mask;
        slots[i] = index->slots[at];
        if (slots[i] != 0)
            __builtin_prefetch(slot_record(index, slots[i]), 1);
    }
    for (size_t i = 0; i < count; i++) {
        if (slots[i] == 0)
            continue;
        const char *name = slot_table(index, slots[i])->names + slot_record(index, slots[i])->name;
        __builtin_prefetch(name, 1);
        __builtin_prefetch(name + bases[i].len, 1);
    }
}
