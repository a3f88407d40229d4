/* The cache file: things computed from messages (envelopes, structures), appended as records of uid, kind, length, checksum and bytes. In memory
 * only where each one stands. A cache: any doubt drops it. Called in steps of sessions; one mutex of its own, held across its file's I/O. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "state.h"

#define NAME_CACHE_TMP "postern-cache.tmp"
enum { CACHE_VERSION = 2, VALUE_MAX = 64 * 1024, FLUSH_BYTES = 256 * 1024, CACHE_FILE_MAX = 128 * 1024 * 1024, COMPACT_MIN = 1024 * 1024,
       WINDOW_BYTES = 128 * 1024 };

struct cache_header { char magic[8]; uint32_t version, uid_validity; };
struct cache_record { uint32_t uid, kind, len, check; };

/* Where a value stands: in the file, or behind its end in `pending`. Slots of an open-addressed table; uid 0 is empty. A value of one byte
 * also stands in the slot itself. */
struct place_of { uint32_t uid; uint32_t kind_len; uint64_t at : 56; uint64_t byte : 8; };

struct cache {
    struct place_of *slots;
    size_t mask, used;
    struct file_state state;
    uint64_t file_len;
    struct buf pending;
    uint32_t uid_validity;
    uint64_t dead;            /* bytes of values that were replaced */
    struct buf window;        /* a part of the file, while many values are being read */
    uint64_t window_at;
};

static const char magic[8] = "PSTNCCH";

static uint32_t check_of(const struct cache_record *record, struct slice value)
{
    uint64_t hash = table_hash(2166136261u ^ record->uid * 2654435761u ^ record->kind << 20 ^ record->len, value.data, value.len);
    return (uint32_t)(hash * 0x9e3779b97f4a7c15u >> 32);
}

static struct place_of *slot_of(struct cache *cache, uint32_t uid, uint32_t kind)
{
    size_t at = (uid * 2654435761u ^ kind * 0x9e3779b9u) & cache->mask;
    while (cache->slots[at].uid != 0 && (cache->slots[at].uid != uid || cache->slots[at].kind_len >> 24 != kind))
        at = (at + 1) & cache->mask;
    return &cache->slots[at];
}

static void remember(struct cache *cache, uint32_t uid, uint32_t kind, struct slice value, uint64_t at)
{
    if ((cache->used + 1) * 2 > cache->mask + 1) {
        struct place_of *old = cache->slots;
        size_t size = cache->mask + 1;
        cache->mask = size * 2 - 1;
        cache->slots = MEM_NEW_ARRAY(struct place_of, size * 2);
        for (size_t i = 0; i < size; i++)
            if (old[i].uid != 0)
                *slot_of(cache, old[i].uid, old[i].kind_len >> 24) = old[i];
        mem_free(&old);
    }
    struct place_of *slot = slot_of(cache, uid, kind);
    if (slot->uid == 0)
        cache->used++;
    else
        cache->dead += (slot->kind_len & 0xffffff) + sizeof(struct cache_record);
    *slot = (struct place_of){ uid, kind << 24 | (uint32_t)value.len, at, value.len == 1 ? (unsigned char)value.data[0] : 0 };
}

static bool record_is_good(const struct cache_record *record)
{
    return record->uid != 0 && record->kind > 0 && record->kind < 128 && record->len <= VALUE_MAX;
}

/* --- the file --- */

/* Learns where everything stands; true if the file ends where its last record does. */
static bool learn(struct cache *cache, int fd, uint64_t len)
{
    struct buf window = { 0 };
    size_t taken = 0;
    uint64_t at = sizeof(struct cache_header), read_to = at;
    while (at < len) {
        struct cache_record record;
        if (window.len - taken < sizeof(record) + VALUE_MAX && read_to < len) {
            buf_consume(&window, taken);
            taken = 0;
            char *room = buf_reserve(&window, FLUSH_BYTES);
            ssize_t got = pread(fd, room, FLUSH_BYTES, (off_t)read_to);
            if (got <= 0)
                break;
            buf_extend(&window, (size_t)got);
            read_to += (uint64_t)got;
        }
        struct slice rest = slice_from(buf_slice(&window), taken);
        if (rest.len < sizeof(record))
            break;
        memcpy(&record, rest.data, sizeof(record));
        if (!record_is_good(&record) || rest.len < sizeof(record) + record.len)
            break;
        struct slice value = slice_part(rest, sizeof(record), record.len);
        if (record.len == 1 && record.check != check_of(&record, value))
            break;
        remember(cache, record.uid, record.kind, value, at + sizeof(record));
        at += sizeof(record) + record.len;
        taken += sizeof(record) + record.len;
    }
    buf_fini(&window);
    return at == len;
}

static void forget_all(struct cache *cache)
{
    mem_free(&cache->slots);
    buf_fini(&cache->pending);
    buf_fini(&cache->window);
    *cache = (struct cache){ .uid_validity = cache->uid_validity, .mask = 63 };
    cache->slots = MEM_NEW_ARRAY(struct place_of, 64);
}

static void cache_load(struct mailbox *mailbox, struct cache *cache)
{
    struct cache_header header;
    struct stat st;
    forget_all(cache);
    int fd = openat(mailbox->place.folder, NAME_CACHE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return;
    bool good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= CACHE_FILE_MAX &&
                pread(fd, &header, sizeof(header), 0) == (ssize_t)sizeof(header) && memcmp(header.magic, magic, sizeof(magic)) == 0 &&
                header.version == CACHE_VERSION && header.uid_validity == cache->uid_validity && learn(cache, fd, (uint64_t)st.st_size);
    close(fd);
    if (!good) {
        forget_all(cache);
        unlinkat(mailbox->place.folder, NAME_CACHE, 0);
        return;
    }
    cache->file_len = (uint64_t)st.st_size;
    file_state_set(&cache->state, &st);
}

/* Opens the file to append: -1 if it is not what we know. A new one gets its header. */
static int open_to_append(struct mailbox *mailbox, struct cache *cache)
{
    struct stat st;
    int flags = O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | (cache->file_len == 0 ? O_CREAT | O_EXCL : 0);
    int fd = openat(mailbox->place.folder, NAME_CACHE, flags, 0600);
    if (fd < 0)
        return -1;
    if (cache->file_len == 0) {
        struct cache_header header = { .version = CACHE_VERSION, .uid_validity = cache->uid_validity };
        memcpy(header.magic, magic, sizeof(magic));
        file_share_like(fd, mailbox->place.folder);
        if (write(fd, &header, sizeof(header)) == (ssize_t)sizeof(header) && fstat(fd, &st) == 0) {
            file_state_set(&cache->state, &st);
            return fd;
        }
    } else if (fstat(fd, &st) == 0 && file_state_is(&cache->state, &st)) {
        return fd;
    }
    close(fd);
    return -1;
}

static void append_pending(struct mailbox *mailbox, struct cache *cache)
{
    struct stat st;
    bool fresh = cache->file_len == 0;
    int fd = open_to_append(mailbox, cache);
    uint64_t start = fresh ? sizeof(struct cache_header) : cache->file_len;
    bool good = fd >= 0 && write(fd, cache->pending.data, cache->pending.len) == (ssize_t)cache->pending.len && fstat(fd, &st) == 0 &&
                (uint64_t)st.st_size == start + cache->pending.len;
    if (fd >= 0)
        close(fd);
    if (!good) {
        cache_load(mailbox, cache);
        return;
    }
    file_state_set(&cache->state, &st);
    cache->file_len = (uint64_t)st.st_size;
    buf_fini(&cache->pending);
}

static bool in_window(const struct cache *cache, uint64_t from, size_t len)
{
    return from >= cache->window_at && from + len <= cache->window_at + cache->window.len;
}

/* Reads from there on, at least len bytes: values that are asked for in turn mostly stand in turn. */
static bool read_window(struct mailbox *mailbox, struct cache *cache, uint64_t from, size_t len)
{
    struct stat st;
    buf_clear(&cache->window);
    cache->window_at = from;
    int fd = openat(mailbox->place.folder, NAME_CACHE, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return false;
    char *room = buf_reserve(&cache->window, WINDOW_BYTES);
    ssize_t got = fstat(fd, &st) == 0 && st.st_ino == cache->state.inode ? pread(fd, room, WINDOW_BYTES, (off_t)from) : -1;
    close(fd);
    if (got > 0)
        buf_extend(&cache->window, (size_t)got);
    return got >= (ssize_t)len;
}

static bool value_read(struct mailbox *mailbox, struct cache *cache, const struct place_of *place, struct buf *out)
{
    uint32_t len = place->kind_len & 0xffffff;
    struct cache_record record;
    uint64_t base = cache->file_len == 0 ? sizeof(struct cache_header) : cache->file_len;
    char byte = (char)place->byte;
    if (len == 1)
        return buf_append(out, slice_make(&byte, 1));
    if (place->at >= base)
        return buf_append(out, slice_part(buf_slice(&cache->pending), place->at - base, len));
    uint64_t from = place->at - sizeof(record);
    if (!in_window(cache, from, sizeof(record) + len) && !read_window(mailbox, cache, from, sizeof(record) + len))
        return false;
    const char *bytes = cache->window.data + (from - cache->window_at);
    struct slice value = slice_make(bytes + sizeof(record), len);
    memcpy(&record, bytes, sizeof(record));
    return record.uid == place->uid && record.len == len && record.kind == place->kind_len >> 24 &&
           record.check == check_of(&record, value) && buf_append(out, value);
}

/* More than half of the file is of messages that are gone: the rest is written anew. */
static void compact(struct mailbox *mailbox, struct cache *cache)
{
    uint64_t alive = 0;
    pthread_mutex_lock(&mailbox->mutex);
    for (size_t i = 0; i <= cache->mask; i++)
        if (cache->slots[i].uid != 0 && table_find(&mailbox->live, cache->slots[i].uid) != NULL)
            alive += (cache->slots[i].kind_len & 0xffffff) + sizeof(struct cache_record);
    pthread_mutex_unlock(&mailbox->mutex);
    if (cache->file_len < COMPACT_MIN || alive > cache->file_len / 2)
        return;
    struct cache fresh = { .uid_validity = cache->uid_validity };
    struct buf value = { 0 };
    forget_all(&fresh);
    for (size_t i = 0; i <= cache->mask; i++) {
        const struct place_of *slot = &cache->slots[i];
        buf_clear(&value);
        pthread_mutex_lock(&mailbox->mutex);
        bool there = slot->uid != 0 && table_find(&mailbox->live, slot->uid) != NULL;
        pthread_mutex_unlock(&mailbox->mutex);
        if (!there || !value_read(mailbox, cache, slot, &value))
            continue;
        struct cache_record record = { slot->uid, slot->kind_len >> 24, (uint32_t)value.len, 0 };
        record.check = check_of(&record, buf_slice(&value));
        remember(&fresh, record.uid, record.kind, buf_slice(&value), sizeof(struct cache_header) + fresh.pending.len + sizeof(record));
        buf_append(&fresh.pending, slice_make((const char *)&record, sizeof(record)));
        buf_append(&fresh.pending, buf_slice(&value));
    }
    buf_fini(&value);
    unlinkat(mailbox->place.folder, NAME_CACHE, 0);
    mem_free(&cache->slots);
    buf_fini(&cache->pending);
    buf_fini(&cache->window);
    *cache = fresh;
    append_pending(mailbox, cache);
}

static struct cache *cache_of(struct mailbox *mailbox)
{
    uint32_t validity = mailbox_uid_validity(mailbox);
    if (mailbox->cache != NULL && mailbox->cache->uid_validity == validity)
        return mailbox->cache;
    if (mailbox->cache == NULL)
        mailbox->cache = MEM_NEW(struct cache);
    mailbox->cache->uid_validity = validity;
    cache_load(mailbox, mailbox->cache);
    compact(mailbox, mailbox->cache);
    return mailbox->cache;
}

/* --- the interface --- */

bool mailbox_cache_get(struct mailbox *mailbox, uint32_t uid, enum cache_kind kind, struct buf *out)
{
    pthread_mutex_lock(&mailbox->cache_mutex);
    struct cache *cache = cache_of(mailbox);
    const struct place_of *slot = slot_of(cache, uid, (uint32_t)kind);
    bool found = uid != 0 && slot->uid == uid && value_read(mailbox, cache, slot, out);
    pthread_mutex_unlock(&mailbox->cache_mutex);
    return found;
}

void mailbox_cache_put(struct mailbox *mailbox, uint32_t uid, enum cache_kind kind, struct slice value)
{
    struct cache_record record = { uid, (uint32_t)kind, (uint32_t)value.len, 0 };
    if (value.len > VALUE_MAX || !record_is_good(&record))
        return;
    pthread_mutex_lock(&mailbox->cache_mutex);
    struct cache *cache = cache_of(mailbox);
    uint64_t base = cache->file_len == 0 ? sizeof(struct cache_header) : cache->file_len;
    if (base + cache->pending.len < CACHE_FILE_MAX - VALUE_MAX - sizeof(record)) {
        record.check = check_of(&record, value);
        remember(cache, uid, record.kind, value, base + cache->pending.len + sizeof(record));
        buf_append(&cache->pending, slice_make((const char *)&record, sizeof(record)));
        buf_append(&cache->pending, value);
        if (cache->pending.len >= FLUSH_BYTES)
            append_pending(mailbox, cache);
    }
    pthread_mutex_unlock(&mailbox->cache_mutex);
}

void mailbox_cache_rest(struct mailbox *mailbox)
{
    /* Whoever is at it now frees it later. */
    if (pthread_mutex_trylock(&mailbox->cache_mutex) != 0)
        return;
    if (mailbox->cache != NULL)
        buf_fini(&mailbox->cache->window);
    pthread_mutex_unlock(&mailbox->cache_mutex);
}

void cache_flush(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->cache_mutex);
    struct cache *cache = mailbox->cache;
    if (cache != NULL && cache->pending.len > 0)
        append_pending(mailbox, cache);
    if (cache != NULL && cache->file_len >= COMPACT_MIN && cache->dead > cache->file_len / 2)
        compact(mailbox, cache);
    pthread_mutex_unlock(&mailbox->cache_mutex);
}

void cache_free(struct mailbox *mailbox)
{
    if (mailbox->cache == NULL)
        return;
    mem_free(&mailbox->cache->slots);
    buf_fini(&mailbox->cache->pending);
    buf_fini(&mailbox->cache->window);
    mem_free(&mailbox->cache);
}
