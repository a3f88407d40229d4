/* table: messages by rising UID in one array, their file names in one pool; and a look-up of base names for a scan. Forty bytes a message
 * and its name. Not thread-safe: the mailbox's mutex guards what sessions see. */
#ifndef STORE_TABLE_H
#define STORE_TABLE_H

#include "postern/base/slice.h"

enum { RECORD_SEEN = 1, RECORD_IN_NEW = 2, RECORD_DOOMED = 4, RECORD_ABSENT = 8 };

struct record {
    uint64_t size;       /* RFC822.SIZE; 0: not known */
    int64_t date;        /* 0: not known */
    uint64_t changed;    /* the mailbox's change number when flags or keywords changed last */
    uint32_t uid;
    uint32_t name;       /* offset in the pool */
    uint32_t keywords;
    uint16_t name_len;
    uint8_t flags;
    _Atomic uint8_t marks;   /* RECORD_SEEN changes under `work` alone, while readers under the mutex look at the others */
};

struct table {
    struct record *records;
    uint32_t count, size;
    char *names;
    size_t names_len, names_size, names_dead;
};

void table_fini(struct table *table);
struct slice table_name(const struct table *table, const struct record *record);
/* What a name takes of the pool. */
size_t table_room(struct slice name);
/* Appends; flags, keywords and size are read from the name. The pointer is good until the next append. */
struct record *table_append(struct table *table, uint32_t uid, struct slice name);
/* Gives the record another name; flags and keywords are not touched. */
void table_rename(struct table *table, struct record *record, struct slice name);
struct record *table_find(const struct table *table, uint32_t uid);
/* Number of records with a lower UID. */
uint32_t table_below(const struct table *table, uint32_t uid);
/* Removes every RECORD_DOOMED record. */
void table_drop_doomed(struct table *table);
/* Eight bytes at a time; for checksums and look-ups, not against those who choose the bytes. */
uint64_t table_hash(uint64_t hash, const void *memory, size_t len);
/* By UID; cheap when nothing is out of order. Also gives back wasted space in the pool. */
void table_sort(struct table *table);

/* --- looking up base names in several tables --- */
enum { INDEX_TABLES = 3, PREFETCH_MOST = 16 };
struct name_index {
    struct table *tables[INDEX_TABLES];
    uint64_t *slots;
    size_t mask, used;
};
struct name_hit {
    int table;              /* -1: not found */
    uint32_t number;
};
void name_index_init(struct name_index *index, struct table *first, struct table *second, struct table *third);
void name_index_fini(struct name_index *index);
void name_index_add(struct name_index *index, int table, uint32_t number);
struct name_hit name_index_find(const struct name_index *index, struct slice base);
/* Fetches from memory, all at a time, what finding these will look at: worth it in big tables, whose names come in no order. */
void name_index_prefetch(const struct name_index *index, const struct slice *bases, size_t count);

#endif
