/* The mailbox object: the process's registry of them, counting, locking, and the questions that memory answers. Called by accounts and
 * sessions. The mutex is never held across a system call. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "state.h"

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct map registry;      /* by device and inode of the folder; those that are of use */
static struct map by_name;       /* likewise by owner and name: the newest of that name */

/* Mailboxes of the registry that nobody has open: kept for a while, since a client that comes back finds all in memory. */
enum { IDLE_MOST = 256, IDLE_MESSAGES_MOST = 400000 };
static struct list idle = { &idle, &idle };   /* by idle_ms */
static size_t idle_count, idle_messages;
static uint64_t idle_keep_ms;                 /* 0: none are kept */

/* Under the registry's mutex. The caller counts its reference. */
static void leave_idle(struct mailbox *mailbox)
{
    if (mailbox->refs > 0)
        return;
    list_remove(&mailbox->idle_link);
    idle_count--;
    idle_messages -= mailbox->live.count;
}

struct identity { uint64_t device, inode; };

static struct mailbox *registry_find(const struct stat *st)
{
    struct identity identity = { st->st_dev, st->st_ino };
    return map_get(&registry, slice_make((const char *)&identity, sizeof(identity)));
}

static void name_key(const void *owner, const char *disk, struct buf *key_out)
{
    buf_append(key_out, slice_make((const char *)&owner, sizeof(owner)));
    buf_append_text(key_out, disk);
}

static struct mailbox *registry_find_name(const void *owner, const char *disk)
{
    struct buf key = { 0 };
    name_key(owner, disk, &key);
    struct mailbox *mailbox = map_get(&by_name, buf_slice(&key));
    buf_fini(&key);
    return mailbox;
}

static void registry_add(struct mailbox *mailbox)
{
    struct identity identity = { mailbox->device, mailbox->inode };
    struct buf key = { 0 };
    map_put(&registry, slice_make((const char *)&identity, sizeof(identity)), mailbox);
    mailbox->is_registered = true;
    if (mailbox->place.disk == NULL)
        return;
    name_key(mailbox->place.owner, mailbox->place.disk, &key);
    map_put(&by_name, buf_slice(&key), mailbox);
    buf_fini(&key);
}

/* Nobody finds it any more. */
static void registry_remove(struct mailbox *mailbox)
{
    struct identity identity = { mailbox->device, mailbox->inode };
    struct buf key = { 0 };
    if (!mailbox->is_registered)
        return;
    mailbox->is_registered = false;
    map_remove(&registry, slice_make((const char *)&identity, sizeof(identity)));
    if (mailbox->place.disk == NULL)
        return;
    name_key(mailbox->place.owner, mailbox->place.disk, &key);
    if (map_get(&by_name, buf_slice(&key)) == mailbox)
        map_remove(&by_name, buf_slice(&key));
    buf_fini(&key);
}

static void place_release(const struct mailbox_place *place)
{
    if (place->control >= 0 && place->control != place->folder)
        close(place->control);
    if (place->folder >= 0)
        close(place->folder);
    if (place->release != NULL)
        place->release(place->owner);
}

static struct mailbox *mailbox_make(const struct mailbox_place *place, const struct stat *st)
{
    struct mailbox *mailbox = MEM_NEW(struct mailbox);
    mailbox->refs = 1;
    mailbox->place = *place;
    mailbox->place.disk = place->disk != NULL ? mem_strdup(place->disk) : NULL;
    mailbox->device = st->st_dev;
    mailbox->inode = st->st_ino;
    mailbox->list.next_uid = 1;
    mailbox->lock.fd = -1;
    pthread_mutex_init(&mailbox->work, NULL);
    pthread_mutex_init(&mailbox->mutex, NULL);
    pthread_mutex_init(&mailbox->notify, NULL);
    pthread_mutex_init(&mailbox->cache_mutex, NULL);
    list_init(&mailbox->views);
    list_init(&mailbox->idle_link);
    return mailbox;
}

int mailbox_new_at(const struct mailbox_place *place, struct mailbox **out, struct fault *fault)
{
    struct stat st;
    if (fstat(place->folder, &st) != 0) {
        fault_set_errno(fault, errno, "folder");
        place_release(place);
        return -1;
    }
    pthread_mutex_lock(&registry_mutex);
    struct mailbox *mailbox = registry_find(&st);
    bool found = mailbox != NULL;
    if (found) {
        leave_idle(mailbox);
        mailbox->refs++;
    } else {
        mailbox = mailbox_make(place, &st);
        registry_add(mailbox);
    }
    pthread_mutex_unlock(&registry_mutex);
    if (found)
        place_release(place);
    *out = mailbox;
    return 0;
}

struct mailbox *mailbox_find_settled(const void *owner, const char *disk)
{
    pthread_mutex_lock(&registry_mutex);
    struct mailbox *found = registry_find_name(owner, disk);
    if (found != NULL) {
        leave_idle(found);
        found->refs++;
    }
    pthread_mutex_unlock(&registry_mutex);
    if (found != NULL && !watch_is_settled(found, true))
        mailbox_unref(&found);
    return found;
}

bool mailbox_is_known(const void *owner, const char *disk)
{
    pthread_mutex_lock(&registry_mutex);
    bool known = registry_find_name(owner, disk) != NULL;
    pthread_mutex_unlock(&registry_mutex);
    return known;
}

struct mailbox *mailbox_ref(struct mailbox *mailbox)
{
    pthread_mutex_lock(&registry_mutex);
    mailbox->refs++;
    pthread_mutex_unlock(&registry_mutex);
    return mailbox;
}

static void mailbox_destroy(struct mailbox *mailbox)
{
    CHECK(list_is_empty(&mailbox->views));
    watch_end(mailbox, false);
    cache_free(mailbox);
    table_fini(&mailbox->live);
    table_fini(&mailbox->orphans);
    uidset_fini(&mailbox->unlinks);
    keywords_fini(&mailbox->keywords);
    mem_free(&mailbox->ghosts);
    pthread_mutex_destroy(&mailbox->work);
    pthread_mutex_destroy(&mailbox->mutex);
    pthread_mutex_destroy(&mailbox->notify);
    pthread_mutex_destroy(&mailbox->cache_mutex);
    char *disk = (char *)mailbox->place.disk;
    mem_free(&disk);
    place_release(&mailbox->place);
    mem_release(mailbox);
}

/* Under the registry's mutex: nobody finds it any more. */
static void end_idle(struct mailbox *mailbox, struct list *ended)
{
    leave_idle(mailbox);
    registry_remove(mailbox);
    list_append(ended, &mailbox->idle_link);
}

/* Those that were left at that time or before, and the oldest of too many. */
static void end_idle_until(uint64_t time_ms, struct list *ended)
{
    while (!list_is_empty(&idle)) {
        struct mailbox *oldest = LIST_ITEM(idle.next, struct mailbox, idle_link);
        if (oldest->idle_ms > time_ms && idle_count <= IDLE_MOST && idle_messages <= IDLE_MESSAGES_MOST)
            return;
        end_idle(oldest, ended);
    }
}

static void destroy_all(struct list *ended)
{
    while (!list_is_empty(ended)) {
        struct mailbox *mailbox = LIST_ITEM(ended->next, struct mailbox, idle_link);
        list_remove(&mailbox->idle_link);
        mailbox_destroy(mailbox);
    }
}

void mailbox_unref(struct mailbox **mailbox)
{
    struct mailbox *m = *mailbox;
    *mailbox = NULL;
    if (m == NULL)
        return;
    struct list ended;
    list_init(&ended);
    pthread_mutex_lock(&registry_mutex);
    if (--m->refs == 0) {
        bool keep = idle_keep_ms != 0 && m->loaded && !m->gone;
        m->idle_ms = clock_monotonic_ms();
        list_append(&idle, &m->idle_link);
        idle_count++;
        idle_messages += m->live.count;
        if (!keep)
            end_idle(m, &ended);
        end_idle_until(m->idle_ms - idle_keep_ms, &ended);
    }
    pthread_mutex_unlock(&registry_mutex);
    destroy_all(&ended);
}

bool mailbox_is_kept(void)
{
    pthread_mutex_lock(&registry_mutex);
    bool kept = idle_keep_ms != 0;
    pthread_mutex_unlock(&registry_mutex);
    return kept;
}

void mailbox_keep_idle(uint64_t milliseconds)
{
    struct list ended;
    list_init(&ended);
    pthread_mutex_lock(&registry_mutex);
    idle_keep_ms = milliseconds;
    end_idle_until(clock_monotonic_ms() - milliseconds, &ended);
    pthread_mutex_unlock(&registry_mutex);
    destroy_all(&ended);
}

void mailbox_release_unlinks(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    bool held = mailbox->unlinks_held;
    mailbox->unlinks_held = false;
    pthread_mutex_unlock(&mailbox->mutex);
    if (held)
        mailbox_unref(&mailbox);
}

/* The object is of no use any more; the same folder opened again, with a new UIDVALIDITY perhaps, is a new object. */
void mailbox_set_gone(struct mailbox *mailbox)
{
    pthread_mutex_lock(&registry_mutex);
    registry_remove(mailbox);
    pthread_mutex_unlock(&registry_mutex);
    pthread_mutex_lock(&mailbox->mutex);
    mailbox->gone = true;
    pthread_mutex_unlock(&mailbox->mutex);
    atomic_store(&mailbox->dirty, true);
    mailbox_release_unlinks(mailbox);
}

void mailbox_mark_gone(int folder_fd)
{
    struct stat st;
    if (fstat(folder_fd, &st) != 0)
        return;
    pthread_mutex_lock(&registry_mutex);
    struct mailbox *mailbox = registry_find(&st);
    if (mailbox != NULL) {
        leave_idle(mailbox);
        mailbox->refs++;
    }
    pthread_mutex_unlock(&registry_mutex);
    if (mailbox == NULL)
        return;
    mailbox_set_gone(mailbox);
    views_notify(mailbox);
    mailbox_unref(&mailbox);
}

bool mailbox_is_gone(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    bool gone = mailbox->gone;
    pthread_mutex_unlock(&mailbox->mutex);
    return gone;
}

int mailbox_lock(struct mailbox *mailbox, struct fault *fault)
{
    if (mailbox_is_gone(mailbox))
        return fault_set(fault, FAULT_GONE, 0, "folder was removed or renumbered");
    if (pthread_mutex_trylock(&mailbox->work) != 0)
        return fault_set(fault, FAULT_BUSY, EBUSY, "another session works on the folder");
    struct fault why;
    if (lock_take(&mailbox->lock, mailbox->place.control, NAME_UIDLIST_LOCK, NAME_UIDLIST, mailbox->place.folder,
                  LOCK_STALE_SECONDS, &why) == 0)
        return 0;
    pthread_mutex_unlock(&mailbox->work);
    if (why.class == FAULT_NOT_FOUND)
        why.class = FAULT_GONE;
    if (fault != NULL)
        *fault = why;
    return -1;
}

void mailbox_unlock(struct mailbox *mailbox)
{
    lock_drop(&mailbox->lock);
    pthread_mutex_unlock(&mailbox->work);
}

int mailbox_lock_touch(struct mailbox *mailbox, struct fault *fault)
{
    return lock_touch(&mailbox->lock, fault);
}

int mailbox_folder_fd(const struct mailbox *mailbox)
{
    return mailbox->place.folder;
}

int mailbox_control_fd(const struct mailbox *mailbox)
{
    return mailbox->place.control;
}

uint32_t mailbox_uid_validity(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    uint32_t validity = mailbox->list.uid_validity;
    pthread_mutex_unlock(&mailbox->mutex);
    return validity;
}

void mailbox_uids(struct mailbox *mailbox, struct uidset *uids_out)
{
    pthread_mutex_lock(&mailbox->mutex);
    for (uint32_t i = 0; i < mailbox->live.count; i++)
        uidset_add(uids_out, mailbox->live.records[i].uid);
    pthread_mutex_unlock(&mailbox->mutex);
}

bool mailbox_is_settled(struct mailbox *mailbox)
{
    return watch_is_settled(mailbox, false);
}

bool mailbox_is_dirty(struct mailbox *mailbox)
{
    if (atomic_load(&mailbox->dirty))
        return true;
    pthread_mutex_lock(&mailbox->mutex);
    bool due = mailbox->rescan_ms != 0 && clock_monotonic_ms() >= mailbox->rescan_ms;
    pthread_mutex_unlock(&mailbox->mutex);
    return due;
}

/* Counted again only when flags, sizes or messages have changed: UIDs only rise, so that no other messages have the same count and last UID. */
const struct summary *mailbox_summary(struct mailbox *mailbox)
{
    const struct table *live = &mailbox->live;
    const struct summary *known = &mailbox->summary;
    struct summary now = { .change = mailbox->change, .loads = mailbox->loads, .count = live->count,
                           .last = live->count > 0 ? live->records[live->count - 1].uid : 0 };
    if (known->change == now.change && known->loads == now.loads && known->count == now.count && known->last == now.last)
        return known;
    for (uint32_t i = 0; i < live->count; i++) {
        const struct record *record = &live->records[i];
        bool seen = (record->flags & MESSAGE_SEEN) != 0;
        now.keywords |= record->keywords;
        now.size += record->size;
        now.unseen += !seen;
        if (!seen && now.first_unseen == 0)
            now.first_unseen = record->uid;
    }
    mailbox->summary = now;
    return &mailbox->summary;
}

void mailbox_get_status(struct mailbox *mailbox, struct mailbox_status *status_out)
{
    pthread_mutex_lock(&mailbox->mutex);
    const struct summary *summary = mailbox_summary(mailbox);
    *status_out = (struct mailbox_status){
        .uid_validity = mailbox->list.uid_validity, .uid_next = mailbox->list.next_uid, .messages = mailbox->live.count,
        .recent = mailbox->live.count - table_below(&mailbox->live, mailbox->recent_from), .unseen = summary->unseen, .size = summary->size };
    pthread_mutex_unlock(&mailbox->mutex);
}

/* --- keywords: what memory knows --- */

static uint32_t keywords_used(struct mailbox *mailbox)
{
    return mailbox_summary(mailbox)->keywords;
}

bool mailbox_keyword_name(struct mailbox *mailbox, unsigned number, char *name_out)
{
    if (number >= KEYWORDS_MAX)
        return false;
    pthread_mutex_lock(&mailbox->mutex);
    bool known = mailbox->keywords.names[number] != NULL;
    if (known)
        snprintf(name_out, KEYWORD_LENGTH_MAX + 1, "%s", mailbox->keywords.names[number]);
    else if ((known = keywords_used(mailbox) >> number & 1))
        snprintf(name_out, KEYWORD_LENGTH_MAX + 1, "unknown-%u", number);
    pthread_mutex_unlock(&mailbox->mutex);
    return known;
}

static int number_of_unknown(struct mailbox *mailbox, struct slice name)
{
    uint64_t number;
    if (!slice_starts_with_nocase(name, "unknown-") || !slice_to_number(slice_from(name, 8), KEYWORDS_MAX - 1, &number))
        return -1;
    return mailbox->keywords.names[number] == NULL && keywords_used(mailbox) >> number & 1 ? (int)number : -1;
}

int mailbox_keyword_number(struct mailbox *mailbox, struct slice name)
{
    pthread_mutex_lock(&mailbox->mutex);
    int number = -1;
    for (int i = 0; i < KEYWORDS_MAX && number < 0; i++)
        if (mailbox->keywords.names[i] != NULL && slice_is_nocase(name, mailbox->keywords.names[i]))
            number = i;
    if (number < 0)
        number = number_of_unknown(mailbox, name);
    pthread_mutex_unlock(&mailbox->mutex);
    return number;
}

bool mailbox_has_keyword_room(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    uint32_t taken = keywords_used(mailbox);
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        if (mailbox->keywords.names[i] != NULL)
            taken |= 1u << i;
    pthread_mutex_unlock(&mailbox->mutex);
    return taken != (1u << KEYWORDS_MAX) - 1;
}

uint64_t mailbox_keywords_version(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    uint64_t version = mailbox->keywords.version;
    pthread_mutex_unlock(&mailbox->mutex);
    return version;
}
