/* The state on disk: magic with the version, length, body, checksum. Called by config.c. Every count and length in it is checked: the file may
 * be cut or damaged, and then it is as if it were not there. */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/memory.h"

#define MAGIC "PSTNCFG1"
#define MAGIC_SIZE 8
#define LENGTH_SIZE 8
#define CACHE_MAX ((size_t)256 * 1024 * 1024)
#define NONE UINT32_MAX

static void put_number(struct buf *out, uint64_t number, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        buf_append_byte(out, (char)(number >> (8 * i) & 255));
}

static void put_text(struct buf *out, struct slice text)
{
    put_number(out, text.data != NULL ? text.len : NONE, 4);
    buf_append(out, text);
}

/* FNV-1a: any single changed byte changes it. Damage is meant, not malice: who can write the file can write the sum. */
static uint64_t checksum(struct slice bytes)
{
    uint64_t sum = 14695981039346656037u;
    for (size_t i = 0; i < bytes.len; i++)
        sum = (sum ^ (unsigned char)bytes.data[i]) * 1099511628211u;
    return sum;
}

static void put_entry(struct buf *out, const struct directory_entry *entry)
{
    put_text(out, slice_from_string(entry->uuid));
    put_text(out, slice_from_string(entry->dn));
    put_number(out, entry->count, 4);
    for (size_t i = 0; i < entry->count; i++) {
        put_text(out, slice_from_string(entry->attributes[i].name));
        put_number(out, entry->attributes[i].count, 4);
        for (size_t j = 0; j < entry->attributes[i].count; j++)
            put_text(out, entry->attributes[i].values[j]);
    }
}

void cache_collect(const struct objects *objects, struct cache_content *out)
{
    out->versions = MEM_NEW_ARRAY(struct version *, objects->by_uuid.count + 1);
    out->count = 0;
    LIST_FOR_EACH (&objects->all, at) {
        const struct object *object = LIST_ITEM(at, struct object, link);
        if (object->valid != NULL)
            out->versions[out->count++] = version_ref(object->valid);
    }
}

void cache_encode(struct cache_content *content, const char *agent_ndn, const char *base, struct buf *out)
{
    buf_append(out, slice_make(MAGIC, MAGIC_SIZE));
    put_number(out, 0, LENGTH_SIZE);
    size_t body = out->len;
    put_text(out, slice_from_string(agent_ndn));
    put_text(out, slice_from_string(base));
    put_number(out, content->count, 4);
    for (size_t i = 0; i < content->count; i++) {
        put_entry(out, content->versions[i]->entry);
        version_unref(&content->versions[i]);
    }
    mem_free(&content->versions);
    for (unsigned i = 0; i < LENGTH_SIZE; i++)
        out->data[body - LENGTH_SIZE + i] = (char)((out->len - body) >> (8 * i) & 255);
    put_number(out, checksum(buf_slice(out)), 8);
}

struct reader {
    struct slice rest;
    bool bad;
};

static uint64_t get_number(struct reader *r, unsigned bytes)
{
    uint64_t number = 0;
    if (r->bad || r->rest.len < bytes) {
        r->bad = true;
        return 0;
    }
    for (unsigned i = 0; i < bytes; i++)
        number |= (uint64_t)(unsigned char)r->rest.data[i] << (8 * i);
    r->rest = slice_from(r->rest, bytes);
    return number;
}

static struct slice get_text(struct reader *r)
{
    uint64_t len = get_number(r, 4);
    if (r->bad || len == NONE)
        return SLICE_NONE;
    if (len > r->rest.len) {
        r->bad = true;
        return SLICE_NONE;
    }
    struct slice text = slice_part(r->rest, 0, len);
    r->rest = slice_from(r->rest, len);
    return text;
}

/* A count of things of at least four bytes each: more than there is room for is damage, not a reason to allocate. */
static size_t get_count(struct reader *r)
{
    uint64_t count = get_number(r, 4);
    if (count > r->rest.len / 4)
        r->bad = true;
    return r->bad ? 0 : count;
}

static void get_attribute(struct reader *r, struct directory_entry *entry, size_t at)
{
    struct slice name = get_text(r);
    size_t count = get_count(r);
    struct slice *values = MEM_NEW_ARRAY(struct slice, count + 1);
    for (size_t i = 0; i < count; i++)
        values[i] = get_text(r);
    if (name.data == NULL)
        r->bad = true;
    directory_entry_set(entry, at, name, values, count);
    mem_free(&values);
}

static struct directory_entry *get_entry(struct reader *r)
{
    struct slice uuid = get_text(r), dn = get_text(r);
    if (uuid.len != DIRECTORY_UUID_SIZE - 1 || dn.data == NULL)
        r->bad = true;
    char *text = slice_to_string(uuid);
    struct directory_entry *entry = directory_entry_new(dn, text);
    mem_free(&text);
    directory_entry_reserve(entry, get_count(r));
    for (size_t i = 0; i < entry->count; i++)
        get_attribute(r, entry, i);
    return entry;
}

static bool open_body(struct slice bytes, struct reader *r)
{
    if (bytes.len < MAGIC_SIZE + 16 || !slice_starts_with(bytes, MAGIC))
        return false;
    struct reader tail = { slice_from(bytes, bytes.len - 8), false };
    if (get_number(&tail, 8) != checksum(slice_part(bytes, 0, bytes.len - 8)))
        return false;
    r->rest = slice_part(bytes, MAGIC_SIZE, bytes.len - MAGIC_SIZE - 8);
    r->bad = false;
    return get_number(r, 8) == r->rest.len;
}

int cache_decode(struct slice bytes, const char *agent_ndn, struct objects *objects, char **base_out, struct fault *fault)
{
    struct reader r;
    *base_out = NULL;
    if (!open_body(bytes, &r))
        return fault_set(fault, FAULT_CORRUPT, 0, "damaged or of another version");
    if (!slice_is(get_text(&r), agent_ndn))
        return fault_set(fault, FAULT_INVALID, 0, "it belongs to another agent object");
    struct slice base = get_text(&r);
    size_t count = get_count(&r), made = 0;
    struct directory_entry **entries = MEM_NEW_ARRAY(struct directory_entry *, count + 1);
    while (made < count && !r.bad)
        entries[made++] = get_entry(&r);
    bool good = !r.bad && r.rest.len == 0;
    for (size_t i = 0; i < made; i++) {
        if (good)
            objects_put(objects, entries[i]);
        else
            directory_entry_free(&entries[i]);
    }
    mem_free(&entries);
    if (!good)
        return fault_set(fault, FAULT_CORRUPT, 0, "damaged");
    *base_out = base.data != NULL ? slice_to_string(base) : NULL;
    return 0;
}

static int write_all(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t written = write(fd, bytes.data, bytes.len);
        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return -1;
        bytes = slice_from(bytes, (size_t)written);
    }
    return 0;
}

int cache_write(const char *state_dir, struct slice bytes, struct fault *fault)
{
    int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return fault_set_errno(fault, errno, "%s", state_dir);
    int rc = -1;
    /* A left-over of a crash may have another mode: it is not written into. */
    unlinkat(dir, "configuration.tmp", 0);
    int fd = openat(dir, "configuration.tmp", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd >= 0) {
        if (write_all(fd, bytes) == 0 && fsync(fd) == 0)
            rc = 0;
        int error = errno;
        close(fd);
        errno = error;
    }
    if (rc == 0)
        rc = renameat(dir, "configuration.tmp", dir, "configuration") == 0 && fsync(dir) == 0 ? 0 : -1;
    if (rc != 0)
        fault_set_errno(fault, errno, "%s/configuration", state_dir);
    close(dir);
    return rc;
}

int cache_read(const char *state_dir, struct buf *out, struct fault *fault)
{
    struct buf path;
    buf_init(&path, 4096);
    buf_printf(&path, "%s/configuration", state_dir);
    int fd = open(buf_text(&path), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    buf_fini(&path);
    if (fd < 0)
        return fault_set_errno(fault, error, "%s/configuration", state_dir);
    ssize_t got = 1;
    while (got > 0 && out->len < CACHE_MAX) {
        char *room = buf_reserve(out, 65536);
        got = room != NULL ? read(fd, room, 65536) : -1;
        if (got > 0)
            buf_extend(out, (size_t)got);
    }
    error = errno;
    close(fd);
    return got == 0 ? 0 : fault_set_errno(fault, got < 0 ? error : EFBIG, "%s/configuration", state_dir);
}
