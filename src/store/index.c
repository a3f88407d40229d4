/* The index file: what a mailbox had in memory, so that opening an unchanged folder reads one file and no directory. A cache: versioned and
 * checksummed, replaced by rename, never flushed; anything wrong with it costs time and nothing else. Called by sync under the uidlist lock. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "filename.h"
#include "plain_file.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "state.h"

#define NAME_INDEX_TMP "postern-index.tmp"
enum { INDEX_VERSION = 2, SAVE_MIN = 32, SAVE_MS = 60000, NAMES_SPARE = 16, INDEX_SIZE_MAX = 256 * 1024 * 1024 };

struct index_header {
    char magic[8];
    uint32_t version, record_size;
    uint64_t checksum;          /* of everything behind it */
    uint64_t device, inode;     /* of the folder: a copied one is another */
    struct uidlist list;
    struct file_state cur, new;
    uint32_t settled;           /* 0: the directories must be scanned */
    uint32_t recent_from;
    uint32_t counts[2];
    uint64_t names[2], names_dead[2];
};

static const char magic[8] = "PSTNIDX";

static uint64_t index_checksum(const struct index_header *header, const struct table *tables)
{
    size_t behind = offsetof(struct index_header, device);
    uint64_t hash = table_hash(1, (const char *)header + behind, sizeof(*header) - behind);
    for (int i = 0; i < 2; i++) {
        hash = table_hash(hash, tables[i].records, tables[i].count * sizeof(struct record));
        hash = table_hash(hash, tables[i].names, tables[i].names_len);
    }
    return hash;
}

/* --- loading --- */

static bool read_exactly(int fd, void *memory, size_t len)
{
    for (size_t at = 0; at < len; ) {
        ssize_t got = read(fd, (char *)memory + at, len - at);
        if (got <= 0)
            return false;
        at += (size_t)got;
    }
    return true;
}

static bool header_is_good(const struct index_header *header, const struct stat *st, const struct mailbox *mailbox)
{
    uint64_t len = sizeof(*header);
    if (memcmp(header->magic, magic, sizeof(magic)) != 0 || header->version != INDEX_VERSION ||
        header->record_size != sizeof(struct record) || header->device != mailbox->device || header->inode != mailbox->inode)
        return false;
    for (int i = 0; i < 2; i++) {
        if (header->names[i] > UINT32_MAX || header->names_dead[i] > header->names[i])
            return false;
        len += (uint64_t)header->counts[i] * sizeof(struct record) + header->names[i];
    }
    return len == (uint64_t)st->st_size;
}

static bool table_load(struct table *table, int fd, const struct index_header *header, int which)
{
    uint32_t count = header->counts[which];
    uint64_t names = header->names[which];
    table->records = mem_resize(NULL, ((size_t)count + 1) * sizeof(struct record));
    table->names = mem_resize(NULL, names + NAMES_SPARE);
    table->count = table->size = count;
    table->names_len = table->names_size = names;
    table->names_dead = header->names_dead[which];
    return read_exactly(fd, table->records, count * sizeof(struct record)) && read_exactly(fd, table->names, names);
}

/* The checksum was right, yet the user may have made it: nothing read may lead outside the pool, no name outside the folder, and what names
 * give back must not come to more than the pool. */
static bool table_is_good(const struct table *table)
{
    uint64_t taken = table->names_dead;
    for (uint32_t i = 0; i < table->count; i++) {
        const struct record *record = &table->records[i];
        if (record->uid == 0 || record->uid == UINT32_MAX || (i > 0 && record->uid <= record[-1].uid) || record->name_len > NAME_MAX ||
            (uint64_t)record->name + record->name_len > table->names_len || !filename_is_usable(table_name(table, record)))
            return false;
        taken += table_room(table_name(table, record));
    }
    return taken <= table->names_len;
}

static void take_tables(struct mailbox *mailbox, const struct index_header *header, struct table *tables)
{
    for (int t = 0; t < 2; t++)
        for (uint32_t i = 0; i < tables[t].count; i++) {
            tables[t].records[i].changed = 0;
            tables[t].records[i].marks &= RECORD_IN_NEW | RECORD_ABSENT;
        }
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->live = tables[0];
    mailbox->orphans = tables[1];
    mailbox->list = header->list;
    mailbox->cur = header->cur;
    mailbox->new = header->new;
    mailbox->recent_from = header->recent_from;
    mailbox->rescan_ms = header->settled ? 0 : 1;
    pthread_mutex_unlock(&mailbox->mutex);
    mailbox->unsaved = 0;
    mailbox->saved_ms = clock_monotonic_ms();
    mailbox->saved_settled = header->settled;
}

bool index_load(struct mailbox *mailbox)
{
    struct index_header header;
    struct table tables[2] = { { 0 }, { 0 } };
    struct stat st;
    int fd = plain_file_open(mailbox->place.folder, NAME_INDEX, &st, NULL);
    if (fd < 0)
        return false;
    bool good = mailbox->live.count == 0 && mailbox->orphans.count == 0 && st.st_size <= INDEX_SIZE_MAX && read_exactly(fd, &header, sizeof(header)) && header_is_good(&header, &st, mailbox);
    for (int i = 0; i < 2 && good; i++)
        good = table_load(&tables[i], fd, &header, i);
    close(fd);
    good = good && index_checksum(&header, tables) == header.checksum && table_is_good(&tables[0]) && table_is_good(&tables[1]);
    if (good) {
        take_tables(mailbox, &header, tables);
    } else {
        table_fini(&tables[0]);
        table_fini(&tables[1]);
    }
    return good;
}

/* --- saving --- */

static bool write_exactly(int fd, const void *memory, size_t len)
{
    for (size_t at = 0; at < len; ) {
        ssize_t done = write(fd, (const char *)memory + at, len - at);
        if (done <= 0)
            return false;
        at += (size_t)done;
    }
    return true;
}

static bool write_file(struct mailbox *mailbox, const struct index_header *header, const struct table *tables)
{
    int fd = plain_file_make(mailbox->place.folder, NAME_INDEX_TMP, NULL);
    if (fd < 0)
        return false;
    file_share_like(fd, mailbox->place.folder);
    bool good = write_exactly(fd, header, sizeof(*header));
    for (int i = 0; i < 2 && good; i++)
        good = write_exactly(fd, tables[i].records, tables[i].count * sizeof(struct record)) &&
               write_exactly(fd, tables[i].names, tables[i].names_len);
    close(fd);
    return good && renameat(mailbox->place.folder, NAME_INDEX_TMP, mailbox->place.folder, NAME_INDEX) == 0;
}

void index_save(struct mailbox *mailbox)
{
    struct index_header header;
    memset(&header, 0, sizeof(header));
    mailbox->unsaved = 0;
    mailbox->saved_ms = clock_monotonic_ms();
    pthread_mutex_lock(&mailbox->mutex);
    /* Sizes and dates change without `work`, and with them only this copy. */
    struct table tables[2] = { mailbox->live, mailbox->orphans };
    tables[0].records = mem_resize(NULL, (tables[0].count + 1) * sizeof(struct record));
    if (tables[0].count > 0)
        memcpy(tables[0].records, mailbox->live.records, tables[0].count * sizeof(struct record));
    header.list = mailbox->list;
    header.cur = mailbox->cur;
    header.new = mailbox->new;
    header.settled = mailbox->rescan_ms == 0;
    header.recent_from = mailbox->recent_from;
    pthread_mutex_unlock(&mailbox->mutex);
    memcpy(header.magic, magic, sizeof(magic));
    header.version = INDEX_VERSION;
    header.record_size = sizeof(struct record);
    header.device = mailbox->device;
    header.inode = mailbox->inode;
    for (int i = 0; i < 2; i++) {
        header.counts[i] = tables[i].count;
        header.names[i] = tables[i].names_len;
        header.names_dead[i] = tables[i].names_dead;
    }
    header.checksum = index_checksum(&header, tables);
    if (!write_file(mailbox, &header, tables))
        unlinkat(mailbox->place.folder, NAME_INDEX_TMP, 0);
    mailbox->saved_settled = header.settled;
    mem_free(&tables[0].records);
}

/* Often enough that opening is quick, rarely enough that a big mailbox is not written for every message. */
void index_save_if_due(struct mailbox *mailbox)
{
    uint32_t unsaved = mailbox->unsaved;
    bool settles = mailbox->rescan_ms == 0 && !mailbox->saved_settled && mailbox->live.count >= SAVE_MIN;
    bool many = unsaved >= SAVE_MIN + mailbox->live.count / 16;
    bool old = unsaved > 0 && mailbox->live.count >= SAVE_MIN && clock_monotonic_ms() - mailbox->saved_ms >= SAVE_MS;
    if (mailbox->list.uid_validity != 0 && (many || old || settles))
        index_save(mailbox);
    cache_flush(mailbox);
}
