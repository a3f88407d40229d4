/* Hash map with chains. FNV-1a over eight bytes at a time, from a random start: enough against peers who choose keys, since the seed never
 * leaves. */
#include "postern/base/map.h"

#include <pthread.h>
#include <string.h>

#include "postern/base/memory.h"
#include "postern/base/secret.h"

struct map_entry {
    struct map_entry *next;
    void *value;
    uint64_t hash;
    size_t len;
    char key[];
};

static pthread_once_t seed_once = PTHREAD_ONCE_INIT;
static uint64_t seed;

static void make_seed(void)
{
    secret_random(&seed, sizeof(seed));
}

static uint64_t hash_key(struct slice key)
{
    pthread_once(&seed_once, make_seed);
    uint64_t hash = 14695981039346656037u ^ seed;
    size_t i = 0;
    for (; i + sizeof(uint64_t) <= key.len; i += sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, key.data + i, sizeof(word));
        /* The shift brings the upper bytes down: a product only carries upwards. */
        hash = (hash ^ word) * 1099511628211u;
        hash ^= hash >> 29;
    }
    for (; i < key.len; i++)
        hash = (hash ^ (unsigned char)key.data[i]) * 1099511628211u;
    return hash ^ hash >> 32;
}

void map_init(struct map *m)
{
    *m = (struct map){ 0 };
}

void map_init_in(struct map *m, struct arena *arena, size_t count)
{
    map_init(m);
    m->arena = arena;
    m->bucket_count = 16;
    while (m->bucket_count < count)
        m->bucket_count *= 2;
    m->buckets = MEM_NEW_ARRAY(struct map_entry *, m->bucket_count);
}

void map_fini(struct map *m)
{
    for (size_t i = 0; m->arena == NULL && i < m->bucket_count; i++) {
        while (m->buckets[i] != NULL) {
            struct map_entry *entry = m->buckets[i];
            m->buckets[i] = entry->next;
            mem_free(&entry);
        }
    }
    mem_free(&m->buckets);
    map_init(m);
}

static struct map_entry **map_find(const struct map *m, struct slice key, uint64_t hash)
{
    struct map_entry **at = &m->buckets[hash & (m->bucket_count - 1)];
    while (*at != NULL) {
        if ((*at)->hash == hash && slice_is_equal(slice_make((*at)->key, (*at)->len), key))
            break;
        at = &(*at)->next;
    }
    return at;
}

static void map_grow(struct map *m)
{
    size_t bucket_count = m->bucket_count ? m->bucket_count * 2 : 16;
    struct map_entry **buckets = MEM_NEW_ARRAY(struct map_entry *, bucket_count);
    for (size_t i = 0; i < m->bucket_count; i++) {
        while (m->buckets[i] != NULL) {
            struct map_entry *entry = m->buckets[i];
            m->buckets[i] = entry->next;
            entry->next = buckets[entry->hash & (bucket_count - 1)];
            buckets[entry->hash & (bucket_count - 1)] = entry;
        }
    }
    mem_free(&m->buckets);
    m->buckets = buckets;
    m->bucket_count = bucket_count;
}

void *map_get(const struct map *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    struct map_entry *entry = *map_find(m, key, hash_key(key));
    return entry ? entry->value : NULL;
}

void *map_put(struct map *m, struct slice key, void *value)
{
    if (m->count >= m->bucket_count)
        map_grow(m);
    uint64_t hash = hash_key(key);
    struct map_entry **at = map_find(m, key, hash);
    if (*at != NULL) {
        void *old = (*at)->value;
        (*at)->value = value;
        return old;
    }
    size_t size = sizeof(struct map_entry) + key.len;
    struct map_entry *entry = m->arena != NULL ? arena_alloc(m->arena, size) : mem_alloc(size);
    entry->value = value;
    entry->hash = hash;
    entry->len = key.len;
    if (key.len)
        memcpy(entry->key, key.data, key.len);
    *at = entry;
    m->count++;
    return NULL;
}

void *map_remove(struct map *m, struct slice key)
{
    if (m->count == 0)
        return NULL;
    struct map_entry **at = map_find(m, key, hash_key(key));
    struct map_entry *entry = *at;
    if (entry == NULL)
        return NULL;
    void *value = entry->value;
    *at = entry->next;
    if (m->arena == NULL)
        mem_free(&entry);
    m->count--;
    return value;
}

void map_for_each(const struct map *m, void (*visit)(struct slice key, void *value, void *context), void *context)
{
    for (size_t i = 0; i < m->bucket_count; i++)
        for (struct map_entry *entry = m->buckets[i]; entry != NULL; entry = entry->next)
            visit(slice_make(entry->key, entry->len), entry->value, context);
}
