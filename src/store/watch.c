/* The process's watcher: one inotify instance for the folders that sessions have open, and a timer for folders that must be looked at again.
 * Both behind one epoll descriptor that the service watches. Called on loops: only marks mailboxes dirty and wakes their views. */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "state.h"

enum { WATCH_EVENTS = IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR };

struct watched {
    struct list link;
    struct mailbox *mailbox;
    int numbers[3];
    uint64_t due_ms;       /* 0: no look is due */
    bool woken;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct list all = { &all, &all };
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

static int add_watch(int directory, const char *name)
{
    struct buf path = { 0 };
    buf_printf(&path, "/proc/self/fd/%d/%s", directory, name);
    int number = inotify_add_watch(inotify_fd, buf_text(&path), WATCH_EVENTS);
    buf_fini(&path);
    return number;
}

/* The timer stands on the earliest look that is due. */
static void set_timer(void)
{
    uint64_t due = 0, now = clock_monotonic_ms();
    LIST_FOR_EACH(&all, at) {
        const struct watched *watched = LIST_ITEM(at, struct watched, link);
        if (watched->due_ms != 0 && (due == 0 || watched->due_ms < due))
            due = watched->due_ms;
    }
    uint64_t delay = due > now ? due - now : due != 0;
    struct itimerspec spec = { .it_value = { (time_t)(delay / 1000), (long)(delay % 1000) * 1000000 } };
    timerfd_settime(timer_fd, 0, &spec, NULL);
}

void watch_begin(struct mailbox *mailbox)
{
    if (store_watch_fd() < 0)
        return;
    struct watched *watched = MEM_NEW(struct watched);
    watched->mailbox = mailbox;
    pthread_mutex_lock(&mutex);
    struct watched *old = mailbox->watched;
    if (old == NULL) {
        mailbox->watched = watched;
        watched->numbers[0] = add_watch(mailbox->place.folder, "new");
        watched->numbers[1] = add_watch(mailbox->place.folder, "cur");
        watched->numbers[2] = mailbox->place.control != mailbox->place.folder ? add_watch(mailbox->place.control, ".") : -1;
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
        for (size_t i = 0; i < 3; i++)
            if (watched->numbers[i] >= 0)
                inotify_rm_watch(inotify_fd, watched->numbers[i]);
        list_remove(&watched->link);
    }
    pthread_mutex_unlock(&mutex);
    mem_release(watched);
}

void watch_rescan(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->mutex);
    uint64_t due = mailbox->rescan_ms;
    pthread_mutex_unlock(&mailbox->mutex);
    pthread_mutex_lock(&mutex);
    struct watched *watched = mailbox->watched;
    if (watched != NULL && watched->due_ms != due) {
        watched->due_ms = due;
        set_timer();
    }
    pthread_mutex_unlock(&mutex);
}

static void mark_number(int number)
{
    LIST_FOR_EACH(&all, at) {
        struct watched *watched = LIST_ITEM(at, struct watched, link);
        for (size_t i = 0; i < 3; i++)
            if (number == -1 || (watched->numbers[i] == number && number >= 0))
                watched->woken = true;
    }
}

static void read_events(void)
{
    _Alignas(struct inotify_event) char bytes[4096];
    for (ssize_t got; (got = read(inotify_fd, bytes, sizeof(bytes))) > 0; ) {
        for (char *at = bytes; at < bytes + got; ) {
            const struct inotify_event *event = (const struct inotify_event *)at;
            if (!(event->mask & IN_IGNORED))
                mark_number(event->mask & IN_Q_OVERFLOW ? -1 : event->wd);
            at += sizeof(*event) + event->len;
        }
    }
}

static void read_timer(void)
{
    uint64_t times, now = clock_monotonic_ms();
    if (read(timer_fd, &times, sizeof(times)) < 0)
        return;
    LIST_FOR_EACH(&all, at) {
        struct watched *watched = LIST_ITEM(at, struct watched, link);
        if (watched->due_ms != 0 && watched->due_ms <= now) {
            watched->due_ms = 0;
            watched->woken = true;
        }
    }
    set_timer();
}

/* Takes one mailbox that is to be woken, with a reference: no lock is held while views are called back. */
static struct mailbox *next_woken(void)
{
    struct mailbox *mailbox = NULL;
    pthread_mutex_lock(&mutex);
    LIST_FOR_EACH(&all, at) {
        struct watched *watched = LIST_ITEM(at, struct watched, link);
        if (mailbox != NULL || !watched->woken)
            continue;
        watched->woken = false;
        /* A view holds a reference until watch_end has returned, and that needs the mutex. One that is only kept has nobody to wake. */
        if (has_views(watched->mailbox))
            mailbox = mailbox_ref(watched->mailbox);
        else
            atomic_store(&watched->mailbox->dirty, true);
    }
    pthread_mutex_unlock(&mutex);
    return mailbox;
}

void store_watch_read(void)
{
    if (store_watch_fd() < 0)
        return;
    pthread_mutex_lock(&mutex);
    read_events();
    read_timer();
    pthread_mutex_unlock(&mutex);
    for (struct mailbox *mailbox; (mailbox = next_woken()) != NULL; mailbox_unref(&mailbox))
        if (!atomic_exchange(&mailbox->dirty, true))
            views_notify(mailbox);
}
