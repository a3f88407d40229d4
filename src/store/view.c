/* Views: what each session was told of its mailbox. A view is the messages up to the highest UID it knows, plus ghosts: expunged ones it
 * was not told of yet. Called on loops: memory only, the mailbox's mutex held for microseconds. */
#include <stdlib.h>
#include <string.h>

#include "postern/base/memory.h"
#include "state.h"

struct view {
    struct list link;               /* in the mailbox's views, under its mutex */
    struct mailbox *mailbox;
    void (*notify)(void *context);
    void *context;
    bool read_only;
    uint32_t first;                 /* lowest UID shown: view_limit */
    uint32_t last;                  /* highest UID told of */
    uint32_t count_told, recent_told;
    uint64_t ghosts_seen;           /* ghosts before this number are taken over */
    struct message *ghosts;         /* by rising UID */
    uint32_t ghost_count, ghost_size;
    uint64_t flags_seen;            /* changes up to this number were told */
    uint64_t pass_end;              /* number at which the running pass over the messages began; 0: none runs */
    uint32_t pass_uid;              /* the pass goes on after this UID */
    struct uidset silent;           /* changes of these up to silent_at are known to the client */
    uint64_t silent_at;
    struct uidset recent;
};

enum { TRIM_LEAST = 1024 };

/* --- ghosts --- */

void ghosts_trim(struct mailbox *mailbox)
{
    uint64_t least = mailbox->ghosts_gone + mailbox->ghost_count;
    LIST_FOR_EACH(&mailbox->views, at) {
        struct view *view = LIST_ITEM(at, struct view, link);
        if (view->ghosts_seen < least)
            least = view->ghosts_seen;
    }
    size_t drop = (size_t)(least - mailbox->ghosts_gone);
    if (drop < mailbox->ghost_count && drop < TRIM_LEAST)
        return;
    if (drop == 0)
        return;
    memmove(mailbox->ghosts, mailbox->ghosts + drop, (mailbox->ghost_count - drop) * sizeof(*mailbox->ghosts));
    mailbox->ghost_count -= drop;
    mailbox->ghosts_gone = least;
    if (mailbox->ghost_count == 0) {
        mem_free(&mailbox->ghosts);
        mailbox->ghost_size = 0;
    }
}

static int compare_messages(const void *a, const void *b)
{
    uint32_t left = ((const struct message *)a)->uid, right = ((const struct message *)b)->uid;
    return left < right ? -1 : left > right;
}

/* Takes over what was expunged since the last look. Every function of a view begins with it. */
static void absorb(struct view *view)
{
    struct mailbox *mailbox = view->mailbox;
    uint64_t end = mailbox->ghosts_gone + mailbox->ghost_count;
    if (view->ghosts_seen == end)
        return;
    uint32_t before = view->ghost_count;
    for (uint64_t at = view->ghosts_seen; at < end; at++) {
        const struct message *ghost = &mailbox->ghosts[at - mailbox->ghosts_gone].message;
        if (ghost->uid > view->last || ghost->uid < view->first)
            continue;
        if (view->ghost_count == view->ghost_size) {
            view->ghost_size = view->ghost_size * 2 + 8;
            view->ghosts = mem_resize(view->ghosts, view->ghost_size * sizeof(*view->ghosts));
        }
        view->ghosts[view->ghost_count++] = *ghost;
    }
    view->ghosts_seen = end;
    if (view->ghost_count != before)
        qsort(view->ghosts, view->ghost_count, sizeof(*view->ghosts), compare_messages);
    ghosts_trim(mailbox);
}

static struct mailbox *enter(struct view *view)
{
    pthread_mutex_lock(&view->mailbox->mutex);
    absorb(view);
    return view->mailbox;
}

static void leave(struct view *view)
{
    pthread_mutex_unlock(&view->mailbox->mutex);
}

/* --- positions --- */

/* Live messages that the view does not show: they come before all others. */
static uint32_t hidden(const struct view *view)
{
    return view->first == 0 ? 0 : table_below(&view->mailbox->live, view->first);
}

/* Where the view's live messages end in the array. */
static uint32_t live_end(const struct view *view)
{
    return view->last == UINT32_MAX ? view->mailbox->live.count : table_below(&view->mailbox->live, view->last + 1);
}

static uint32_t ghosts_below(const struct view *view, uint32_t uid)
{
    uint32_t low = 0, high = view->ghost_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (view->ghosts[middle].uid < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t total(const struct view *view)
{
    return live_end(view) - hidden(view) + view->ghost_count;
}

static uint32_t sequence_at_or_above(const struct view *view, uint32_t uid)
{
    if (uid > view->last)
        return total(view) + 1;
    if (uid < view->first)
        uid = view->first;
    return table_below(&view->mailbox->live, uid) - hidden(view) + ghosts_below(view, uid) + 1;
}

static struct message message_of(const struct view *view, const struct record *record)
{
    return (struct message){
        .uid = record->uid, .keywords = record->keywords, .size = record->size, .internal_date = (time_t)record->date,
        .flags = (uint8_t)(record->flags | (uidset_has(&view->recent, record->uid) ? MESSAGE_RECENT : 0)) };
}

uint32_t view_count(struct view *view)
{
    enter(view);
    uint32_t count = total(view);
    leave(view);
    return count;
}

/* Messages of the view that it holds as \Recent, ghosts included. */
static uint32_t recent_count(const struct view *view)
{
    uint32_t count = 0;
    for (size_t i = 0; i < view->recent.count; i++) {
        struct uid_range range = view->recent.ranges[i];
        count += table_below(&view->mailbox->live, range.last + 1) - table_below(&view->mailbox->live, range.first);
        count += ghosts_below(view, range.last + 1) - ghosts_below(view, range.first);
    }
    return count;
}

uint32_t view_recent(struct view *view)
{
    enter(view);
    uint32_t count = recent_count(view);
    leave(view);
    return count;
}

uint32_t view_sequence_of(struct view *view, uint32_t uid)
{
    enter(view);
    uint32_t ghost = ghosts_below(view, uid);
    bool there = uid <= view->last && uid >= view->first && (table_find(&view->mailbox->live, uid) != NULL ||
                                                              (ghost < view->ghost_count && view->ghosts[ghost].uid == uid));
    uint32_t sequence = there ? sequence_at_or_above(view, uid) : 0;
    leave(view);
    return sequence;
}

uint32_t view_sequence_at_or_above(struct view *view, uint32_t uid)
{
    enter(view);
    uint32_t sequence = sequence_at_or_above(view, uid);
    leave(view);
    return sequence;
}

/* Walks live messages and ghosts in the order of their UIDs. */
struct walk {
    const struct view *view;
    uint32_t live, ghost, live_end;
};

/* Positions on sequence number `first`: the split of first - 1 messages between both arrays. */
static struct walk walk_from(const struct view *view, uint32_t first)
{
    struct walk walk = { view, 0, 0, live_end(view) };
    uint32_t skip = first - 1, low = 0, high = view->ghost_count, before = hidden(view);
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (table_below(&view->mailbox->live, view->ghosts[middle].uid) - before + middle < skip)
            low = middle + 1;
        else
            high = middle;
    }
    walk.ghost = low;
    walk.live = before + skip - low;
    return walk;
}

static bool walk_next(struct walk *walk, struct message *out)
{
    const struct view *view = walk->view;
    bool live = walk->live < walk->live_end, ghost = walk->ghost < view->ghost_count;
    if (!live && !ghost)
        return false;
    const struct record *record = live ? &view->mailbox->live.records[walk->live] : NULL;
    if (live && (!ghost || record->uid < view->ghosts[walk->ghost].uid)) {
        *out = message_of(view, record);
        walk->live++;
    } else {
        *out = view->ghosts[walk->ghost++];
        out->flags |= uidset_has(&view->recent, out->uid) ? MESSAGE_RECENT : 0;
    }
    return true;
}

enum { READ_MOST = 4096 };

size_t view_read(struct view *view, uint32_t first, struct message *messages_out, size_t most)
{
    size_t count = 0;
    enter(view);
    if (first >= 1 && first <= total(view)) {
        struct walk walk = walk_from(view, first);
        if (most > READ_MOST)
            most = READ_MOST;
        while (count < most && walk_next(&walk, &messages_out[count]))
            count++;
    }
    leave(view);
    return count;
}

uint32_t view_first_unseen(struct view *view)
{
    uint32_t found = 0;
    struct message message;
    enter(view);
    /* Among the messages that live none before that one can be it. */
    uint32_t unseen = mailbox_summary(view->mailbox)->first_unseen;
    uint32_t sequence = view->ghost_count > 0 ? 1 : unseen == 0 ? total(view) + 1 : sequence_at_or_above(view, unseen);
    for (struct walk walk = walk_from(view, sequence); found == 0 && walk_next(&walk, &message); sequence++)
        if (!(message.flags & MESSAGE_SEEN))
            found = sequence;
    leave(view);
    return found;
}

/* --- opening --- */

/* The view knows all messages there are now; those that no session knew are \Recent in it, and claimed unless it only reads. */
static void extend(struct view *view)
{
    struct mailbox *mailbox = view->mailbox;
    uint32_t newest = mailbox->live.count > 0 ? mailbox->live.records[mailbox->live.count - 1].uid : 0;
    if (newest <= view->last)
        return;
    uint32_t from = mailbox->recent_from > view->last ? mailbox->recent_from : view->last + 1;
    if (from <= newest && from >= mailbox->recent_from)
        uidset_add_range(&view->recent, from, newest);
    if (!view->read_only && mailbox->recent_from <= newest) {
        mailbox->recent_from = newest + 1;
        mailbox->unsaved++;
    }
    view->last = newest;
    if (newest > mailbox->told)
        mailbox->told = newest;
}

struct view *view_open(struct mailbox *mailbox, bool read_only, void (*notify)(void *context), void *context)
{
    struct view *view = MEM_NEW(struct view);
    view->mailbox = mailbox_ref(mailbox);
    view->notify = notify;
    view->context = context;
    view->read_only = read_only;
    pthread_mutex_lock(&mailbox->notify);
    pthread_mutex_lock(&mailbox->mutex);
    bool first = list_is_empty(&mailbox->views);
    list_append(&mailbox->views, &view->link);
    view->ghosts_seen = mailbox->ghosts_gone + mailbox->ghost_count;
    view->flags_seen = mailbox->change;
    extend(view);
    view->count_told = total(view);
    view->recent_told = recent_count(view);
    pthread_mutex_unlock(&mailbox->mutex);
    pthread_mutex_unlock(&mailbox->notify);
    if (first)
        watch_begin(mailbox);
    return view;
}

/* \Recent is only what is shown. */
static void clip_recent(struct view *view)
{
    struct uidset kept = { 0 };
    for (size_t i = 0; i < view->recent.count; i++) {
        struct uid_range range = view->recent.ranges[i];
        if (range.last >= view->first)
            uidset_add_range(&kept, range.first > view->first ? range.first : view->first, range.last);
    }
    uidset_fini(&view->recent);
    view->recent = kept;
}

void view_limit(struct view *view, uint32_t most)
{
    struct mailbox *mailbox = enter(view);
    uint32_t end = live_end(view);
    if (most > 0 && end > most) {
        view->first = mailbox->live.records[end - most].uid;
        clip_recent(view);
    }
    view->count_told = total(view);
    view->recent_told = recent_count(view);
    leave(view);
}

void view_close(struct view **view)
{
    struct view *v = *view;
    *view = NULL;
    if (v == NULL)
        return;
    struct mailbox *mailbox = v->mailbox;
    pthread_mutex_lock(&mailbox->notify);
    pthread_mutex_lock(&mailbox->mutex);
    list_remove(&v->link);
    bool last = list_is_empty(&mailbox->views);
    ghosts_trim(mailbox);
    pthread_mutex_unlock(&mailbox->mutex);
    pthread_mutex_unlock(&mailbox->notify);
    if (last)
        watch_end(mailbox, mailbox_is_kept());
    uidset_fini(&v->silent);
    uidset_fini(&v->recent);
    mem_free(&v->ghosts);
    mem_release(v);
    mailbox_unref(&mailbox);
}

struct mailbox *view_mailbox(struct view *view)
{
    return view->mailbox;
}

void views_notify(struct mailbox *mailbox)
{
    pthread_mutex_lock(&mailbox->notify);
    LIST_FOR_EACH(&mailbox->views, at) {
        struct view *view = LIST_ITEM(at, struct view, link);
        if (view->notify != NULL)
            view->notify(view->context);
    }
    pthread_mutex_unlock(&mailbox->notify);
}

/* --- changes --- */

static bool is_silent(const struct view *view, const struct record *record)
{
    return record->changed <= view->silent_at && uidset_has(&view->silent, record->uid);
}

/* The next message whose flags the client does not know, in a pass over all of them that began at pass_end. */
static const struct record *next_changed(struct view *view)
{
    struct mailbox *mailbox = view->mailbox;
    while (view->pass_end != 0 || mailbox->flags_changed > view->flags_seen) {
        if (view->pass_end == 0) {
            view->pass_end = mailbox->change;
            view->pass_uid = 0;
        }
        uint32_t end = live_end(view), from = view->pass_uid + 1 > view->first ? view->pass_uid + 1 : view->first;
        for (uint32_t at = table_below(&mailbox->live, from); at < end; at++) {
            const struct record *record = &mailbox->live.records[at];
            if (record->changed <= view->flags_seen || record->changed > view->pass_end || is_silent(view, record))
                continue;
            view->pass_uid = record->uid;
            return record;
        }
        view->flags_seen = view->pass_end;
        view->pass_end = 0;
        if (view->silent_at <= view->flags_seen)
            uidset_clear(&view->silent);
    }
    return NULL;
}

static bool change_expunged(struct view *view, struct view_change *change)
{
    if (view->ghost_count == 0)
        return false;
    struct message ghost = view->ghosts[view->ghost_count - 1];
    *change = (struct view_change){ .kind = VIEW_EXPUNGED, .number = sequence_at_or_above(view, ghost.uid), .message = ghost };
    bool was_recent = uidset_has(&view->recent, ghost.uid);
    view->ghost_count--;
    view->count_told--;
    view->recent_told -= was_recent && view->recent_told > 0;
    if (view->ghost_count == 0) {
        mem_free(&view->ghosts);
        view->ghost_size = 0;
    }
    return true;
}

static bool change_count(struct view *view, struct view_change *change)
{
    extend(view);
    uint32_t count = total(view);
    if (count != view->count_told) {
        *change = (struct view_change){ .kind = VIEW_EXISTS, .number = view->count_told = count };
        return true;
    }
    uint32_t recent = recent_count(view);
    if (recent != view->recent_told) {
        *change = (struct view_change){ .kind = VIEW_RECENT, .number = view->recent_told = recent };
        return true;
    }
    return false;
}

static bool change_flags(struct view *view, struct view_change *change)
{
    const struct record *record = next_changed(view);
    if (record == NULL)
        return false;
    *change = (struct view_change){ .kind = VIEW_FLAGS, .number = sequence_at_or_above(view, record->uid),
                                    .message = message_of(view, record) };
    return true;
}

bool view_next_change(struct view *view, bool expunges_allowed, struct view_change *change_out)
{
    enter(view);
    bool any = (expunges_allowed && change_expunged(view, change_out)) || change_count(view, change_out) ||
               change_flags(view, change_out);
    leave(view);
    return any;
}

bool view_has_news(struct view *view)
{
    struct mailbox *mailbox = enter(view);
    uint32_t newest = mailbox->live.count > 0 ? mailbox->live.records[mailbox->live.count - 1].uid : 0;
    bool news = view->ghost_count > 0 || newest > view->last || total(view) != view->count_told || view->pass_end != 0 ||
                mailbox->flags_changed > view->flags_seen;
    leave(view);
    return news;
}

void view_forget_flag_changes(struct view *view, const struct uidset *uids)
{
    struct mailbox *mailbox = enter(view);
    struct uidset merged = { 0 };
    for (size_t i = 0; i < view->silent.count; i++) {
        uint32_t end = table_below(&mailbox->live, view->silent.ranges[i].last + 1);
        for (uint32_t at = table_below(&mailbox->live, view->silent.ranges[i].first); at < end; at++)
            if (mailbox->live.records[at].changed <= view->silent_at)
                uidset_add(&merged, mailbox->live.records[at].uid);
    }
    for (size_t i = 0; i < uids->count; i++)
        uidset_add_range(&merged, uids->ranges[i].first, uids->ranges[i].last);
    uidset_fini(&view->silent);
    view->silent = merged;
    view->silent_at = mailbox->change;
    leave(view);
}
