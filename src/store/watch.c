/* The process's watcher: one inotify instance for the folders that sessions have open, and a timer for folders that must be looked at again.
 * Both behind one epoll descriptor that the service watches. Called on loops: only marks mailboxes dirty and wakes their views. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "state.h"

#ifndef F2FS_SUPER_MAGIC
#define F2FS_SUPER_MAGIC 0xF2F52010
#endif
#define ZFS_MAGIC 0x2fc12fc1   /* not in linux/magic.h */

enum {
    WATCH_EVENTS = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR,
    LIST_EVENTS = WATCH_EVENTS | IN_MODIFY,   /* the uidlist grows in place */
    WATCH_NEW = 0, WATCH_CUR, WATCH_FOLDER, WATCH_CONTROL, WATCHES
};

struct watched {
    struct list link;      /* in `all` */
    struct list due_link;  /* in `due`, while a look is due */
    struct list woken_link;   /* in `woken`, while its views are to be woken */
    struct mailbox *mailbox;
    int numbers[WATCHES];
    uint64_t due_ms;       /* 0: no look is due */
    bool whole;            /* nothing can change on disk without an event */
    bool proven;           /* a sync that began under this watch found or brought all up to date */
    bool moved;            /* the folder has, or had for a moment, another name than the one it was opened by */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list all = { &all, &all }, due = { &due, &due }, woken = { &woken, &woken };
static struct map by_number;   /* inotify's number of a directory: the `watched` that it belongs to */
static int epoll_fd = -1, inotify_fd = -1, timer_fd = -1;

static void watch_start(void)
{
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    struct epoll_event event = { .events = EPOLLIN };
    if (epoll_fd < 0)
        return;
    if (inotify_fd >= 0)
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, inotify_fd, &event);
    if (timer_fd >= 0)
        epoll_ctl(epoll_fd, EPOLL_CTL_ADD, timer_fd, &event);
}

int store_watch_fd(void)
{
    pthread_once(&once, watch_start);
    return epoll_fd;
}

static struct slice number_key(const int *number)
{
    return slice_make((const char *)number, sizeof(*number));
}

/* All under the mutex. */
static void set_woken(struct watched *watched, bool is_woken)
{
    list_remove(&watched->woken_link);
    if (is_woken)
        list_append(&woken, &watched->woken_link);
}

static bool is_woken(const struct watched *watched)
{
    return !list_is_empty(&watched->woken_link);
}

static void set_due(struct watched *watched, uint64_t due_ms)
{
    list_remove(&watched->due_link);
    watched->due_ms = due_ms;
    if (due_ms != 0)
        list_append(&due, &watched->due_link);
}

static int add_watch(int directory, const char *name, uint32_t events)
{
    struct buf path = { 0 };
    buf_printf(&path, "/proc/self/fd/%d/%s", directory, name);
    int number = inotify_add_watch(inotify_fd, buf_text(&path), events);
    buf_fini(&path);
    return number;
}

/* Whether every change is made through this kernel: no other machine, and no server behind the file system. */
static bool is_local(int directory)
{
    static const unsigned long known[] = { EXT4_SUPER_MAGIC, XFS_SUPER_MAGIC, BTRFS_SUPER_MAGIC, TMPFS_MAGIC, F2FS_SUPER_MAGIC, ZFS_MAGIC };
    struct statfs st;
    if (fstatfs(directory, &st) != 0)
        return false;
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if ((unsigned long)st.f_type == known[i])
            return true;
    return false;
}

static void add_watches(struct watched *watched)
{
    const struct mailbox_place *place = &watched->mailbox->place;
    bool own_control = place->control != place->folder;
    watched->numbers[WATCH_NEW] = add_watch(place->folder, "new", WATCH_EVENTS);
    watched->numbers[WATCH_CUR] = add_watch(place->folder, "cur", WATCH_EVENTS);
    watched->numbers[WATCH_FOLDER] = add_watch(place->folder, ".", LIST_EVENTS);
    watched->numbers[WATCH_CONTROL] = own_control ? add_watch(place->control, ".", LIST_EVENTS) : -1;
    watched->whole = is_local(place->folder) && (!own_control || (is_local(place->control) && watched->numbers[WATCH_CONTROL] >= 0));
    for (size_t i = 0; i <= WATCH_FOLDER; i++)
        watched->whole = watched->whole && watched->numbers[i] >= 0;
    for (size_t i = 0; i < WATCHES; i++)
        if (watched->numbers[i] >= 0)
            map_put(&by_number, number_key(&watched->numbers[i]), watched);
}

/* A directory's number may be that of another object by now: of the folder that got a new UIDVALIDITY while this one was open. */
static void remove_watches(struct watched *watched)
{
    for (size_t i = 0; i < WATCHES; i++) {
        struct slice key = number_key(&watched->numbers[i]);
        if (watched->numbers[i] < 0 || map_get(&by_number, key) != watched)
            continue;
        map_remove(&by_number, key);
        inotify_rm_watch(inotify_fd, watched->numbers[i]);
    }
}

/* The timer stands on the earliest look that is due. */
static void set_timer(void)
{
    uint64_t first = 0, now = clock_monotonic_ms();
    LIST_FOR_EACH(&due, at) {
        const struct watched *watched = LIST_ITEM(at, struct watched, due_link);
        if (first == 0 || watched->due_ms < first)
            first = watched->due_ms;
    }
    uint64_t delay = first > now ? first - now : first != 0;
    struct itimerspec spec = { .it_value = { (time_t)(delay / 1000), (long)(delay % 1000) * 1000000 } };
    timerfd_settime(timer_fd, 0, &spec, NULL);
}

void watch_begin(struct mailbox *mailbox)
{
    if (store_watch_fd() < 0)
        return;
    struct watched *watched = MEM_NEW(struct watched);
    watched->mailbox = mailbox;
    list_init(&watched->due_link);
    list_init(&watched->woken_link);
    pthread_mutex_lock(&mutex);
    struct watched *old = mailbox->watched;
    if (old == NULL) {
        mailbox->watched = watched;
        add_watches(watched);
        list_append(&all, &watched->link);
    }
    pthread_mutex_unlock(&mutex);
    if (old != NULL)
        mem_release(watched);
    watch_rescan(mailbox);
}

static bool has_views(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    bool any = !list_is_empty(&mailbox->views);
    pthread_mutex_unlock(&mailbox->mutex);
    return any;
}

void watch_end(struct mailbox *mailbox, bool is_kept)
{
    pthread_mutex_lock(&mutex);
    struct watched *watched = is_kept || has_views(mailbox) ? NULL : mailbox->watched;
    if (watched != NULL) {
        mailbox->watched = NULL;
        remove_watches(watched);
        set_woken(watched, false);
        set_due(watched, 0);
        list_remove(&watched->link);
    }
    pthread_mutex_unlock(&mutex);
    mem_release(watched);
}

void watch_rescan(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    uint64_t rescan_ms = mailbox->rescan_ms;
    pthread_mutex_unlock(&mailbox->mutex);
    pthread_mutex_lock(&mutex);
    struct watched *watched = mailbox->watched;
    if (watched != NULL && watched->due_ms != rescan_ms) {
        set_due(watched, rescan_ms);
        set_timer();
    }
    pthread_mutex_unlock(&mutex);
}

/* In the folder and the control directory only these files count: Dovecot's indexes and locks there change all the time. */
static bool is_of_interest(const struct inotify_event *event)
{
    return strcmp(event->name, NAME_UIDLIST) == 0 || strcmp(event->name, NAME_KEYWORDS) == 0;
}

/* Events were lost. */
static void mark_all(void)
{
    LIST_FOR_EACH(&all, at) {
        struct watched *watched = LIST_ITEM(at, struct watched, link);
        watched->moved = true;
        set_woken(watched, true);
    }
}

static void mark_event(const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        mark_all();
        return;
    }
    struct watched *watched = map_get(&by_number, number_key(&event->wd));
    if (watched == NULL)
        return;
    bool self = event->len == 0, in_folder = event->wd != watched->numbers[WATCH_NEW] && event->wd != watched->numbers[WATCH_CUR];
    watched->moved |= self && event->wd == watched->numbers[WATCH_FOLDER];
    if (self || !in_folder || is_of_interest(event))
        set_woken(watched, true);
}

/* True if there was any event. */
static bool read_events(void)
{
    _Alignas(struct inotify_event) char bytes[4096];
    bool any = false;
    for (ssize_t got; (got = read(inotify_fd, bytes, sizeof(bytes))) > 0; ) {
        for (char *at = bytes; at < bytes + got; ) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            if (!(event->mask & IN_IGNORED)) {
                mark_event(event);
                any = true;
            }
            at += sizeof(*event) + event->len;
        }
    }
    return any;
}

static bool read_timer(void)
{
    uint64_t times, now = clock_monotonic_ms();
    if (read(timer_fd, &times, sizeof(times)) < 0)
        return false;
    LIST_FOR_EACH(&due, at) {
        struct watched *watched = LIST_ITEM(at, struct watched, due_link);
        if (watched->due_ms > now)
            continue;
        set_due(watched, 0);
        set_woken(watched, true);
    }
    set_timer();
    return true;
}

/* Takes one mailbox that is to be woken, with a reference: no lock is held while views are called back. */
static struct mailbox *next_woken(void)
{
    struct mailbox *mailbox = NULL;
    pthread_mutex_lock(&mutex);
    while (mailbox == NULL && !list_is_empty(&woken)) {
        struct watched *watched = LIST_ITEM(woken.next, struct watched, woken_link);
        set_woken(watched, false);
        /* A view holds a reference until watch_end has returned, and that needs the mutex. One that is only kept has nobody to wake. */
        if (has_views(watched->mailbox))
            mailbox = mailbox_ref(watched->mailbox);
        else
            atomic_store(&watched->mailbox->dirty, true);
    }
    pthread_mutex_unlock(&mutex);
    return mailbox;
}

static void wake_woken(void)
{
    for (struct mailbox *mailbox; (mailbox = next_woken()) != NULL; mailbox_unref(&mailbox))
        if (!atomic_exchange(&mailbox->dirty, true))
            views_notify(mailbox);
}

void store_watch_read(void)
{
    if (store_watch_fd() < 0)
        return;
    pthread_mutex_lock(&mutex);
    bool any = read_events();
    any = read_timer() || any;
    pthread_mutex_unlock(&mutex);
    if (any)
        wake_woken();
}

/* --- what needs no look at the disk --- */

bool watch_is_whole(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mutex);
    bool whole = mailbox->watched != NULL && mailbox->watched->whole;
    pthread_mutex_unlock(&mutex);
    return whole;
}

/* By the name that the folder was opened by. INBOX is the account itself. */
static bool has_its_name(struct mailbox *mailbox)
{
    struct buf path = { 0 };
    struct stat st;
    if (mailbox->place.disk == NULL || mailbox->place.disk[0] == '\0')
        return mailbox->place.disk != NULL;
    buf_printf(&path, "../%s", mailbox->place.disk);
    bool same = fstatat(mailbox->place.folder, buf_text(&path), &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_dev == mailbox->device &&
                st.st_ino == mailbox->inode;
    buf_fini(&path);
    return same;
}

void watch_prove(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mutex);
    bool known = mailbox->watched == NULL || mailbox->watched->proven;
    pthread_mutex_unlock(&mutex);
    if (known)
        return;
    bool same = has_its_name(mailbox);
    pthread_mutex_lock(&mutex);
    if (mailbox->watched != NULL) {
        mailbox->watched->proven = true;
        mailbox->watched->moved |= !same;
    }
    pthread_mutex_unlock(&mutex);
}

static bool is_quiet(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    bool quiet = mailbox->loaded && !mailbox->gone && mailbox->unlinks.count == 0 &&
                 (mailbox->rescan_ms == 0 || clock_monotonic_ms() < mailbox->rescan_ms);
    pthread_mutex_unlock(&mailbox->mutex);
    return quiet && !atomic_load(&mailbox->dirty);
}

bool watch_is_settled(struct mailbox *mailbox, bool by_name)
{
    /* The kernel queues an event before the call that made it returns: what was changed before now has been read after this. */
    store_watch_read();
    pthread_mutex_lock(&mutex);
    const struct watched *watched = mailbox->watched;
    bool proven = watched != NULL && watched->whole && watched->proven && !is_woken(watched) && !(by_name && watched->moved);
    pthread_mutex_unlock(&mutex);
    return proven && is_quiet(mailbox);
}
