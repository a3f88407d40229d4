/* fetch_memory: what is known of the last partial fetches. Called by fetch_message.c and fetch.c from any thread. An entry is of one
 * file as it was (device, inode, size, times): it can be lost at any time, and is never wrong. */
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "fetch_internal.h"

enum { ENTRIES = 256, LABEL_MAX = 64 };

struct key {
    dev_t device;
    ino_t inode;
    off_t size;
    struct timespec changed, modified;
    size_t label_len;
    char label[LABEL_MAX];
};

static struct entry {
    struct key key;
    struct extent extent;
    struct position position;
} entries[ENTRIES];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static bool key_make(struct key *key, int fd, struct slice label)
{
    struct stat st;
    if (label.len > LABEL_MAX || fstat(fd, &st) != 0)
        return false;
    *key = (struct key){ st.st_dev, st.st_ino, st.st_size, st.st_ctim, st.st_mtim, label.len, { 0 } };
    memcpy(key->label, label.data, label.len);
    return true;
}

static bool key_is_equal(const struct key *a, const struct key *b)
{
    return a->device == b->device && a->inode == b->inode && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec && a->label_len == b->label_len && memcmp(a->label, b->label, LABEL_MAX) == 0;
}

static struct entry *entry_of(const struct key *key)
{
    uint64_t hash = key->inode * 0x9E3779B97F4A7C15u ^ key->device;
    for (size_t i = 0; i < key->label_len; i++)
        hash = (hash ^ (unsigned char)key->label[i]) * 0x100000001B3u;
    return &entries[(hash >> 32) % ENTRIES];
}

bool fetch_memory_get(int fd, struct slice label, struct extent *extent_out, struct position *position_out)
{
    struct key key;
    if (!key_make(&key, fd, label))
        return false;
    pthread_mutex_lock(&mutex);
    const struct entry *entry = entry_of(&key);
    bool found = key_is_equal(&entry->key, &key);
    if (found) {
        *extent_out = entry->extent;
        *position_out = entry->position;
    }
    pthread_mutex_unlock(&mutex);
    return found;
}

void fetch_memory_put(int fd, struct slice label, const struct extent *extent, const struct position *position)
{
    struct key key;
    if (!key_make(&key, fd, label))
        return;
    pthread_mutex_lock(&mutex);
    *entry_of(&key) = (struct entry){ key, *extent, *position };
    pthread_mutex_unlock(&mutex);
}
