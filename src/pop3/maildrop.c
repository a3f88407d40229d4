/* The messages of one POP3 session: listed at login, written back at QUIT. Called by commands.c and pop3.c. It must never remove a message
 * before QUIT, nor one that the client neither deleted nor fully retrieved. */
#include "maildrop.h"

#include <errno.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/user.h"
#include "postern/store/account.h"
#include "probe.h"
#include "retrieve.h"

enum {
    PIECE = 256,                /* messages looked at in one call of maildrop_open */
    CACHE_POP3_PROBE = 5,       /* one byte a message: enum probe_result */
};

static void ignore_news(void *context)
{
    (void)context;
}

/* Midnight of the day that lies that many days back, where the gateway stands. */
static time_t midnight_before(unsigned days)
{
    time_t now = clock_wall().tv_sec;
    struct tm day;
    localtime_r(&now, &day);
    day.tm_hour = day.tm_min = day.tm_sec = 0;
    day.tm_mday -= (int)days;
    day.tm_isdst = -1;
    return mktime(&day);
}

void maildrop_set_oldest(struct maildrop *drop)
{
    drop->oldest = midnight_before(drop->options.days);
}

static int open_account(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    const struct post_office *office = user->post_office;
    if (office == NULL || office->path == NULL)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "%s: no post office with a direct path", user->id);
    struct account_where where = {
        .path = slice_from_string(office->path),
        .uuid = slice_from_string(office->uuid),
        .mailbox_dir = slice_from_string(user->mailbox_dir),
        .control_dir = slice_from_string(office->control_dir),
        .prefix = slice_from_string(office->prefix),
        .separator = office->separator,
    };
    return account_open(&where, true, &drop->account, fault);
}

static void list_view(struct maildrop *drop)
{
    struct message messages[64];
    uint32_t total = view_count(drop->view);
    drop->entries = MEM_NEW_ARRAY(struct entry, total);
    for (uint32_t at = 1; at <= total;) {
        size_t got = view_read(drop->view, at, messages, sizeof(messages) / sizeof(messages[0]));
        if (got == 0)
            break;
        for (size_t i = 0; i < got && drop->count < total; i++)
            if (!uidset_has(&drop->downloaded, messages[i].uid))
                drop->entries[drop->count++] = (struct entry){ .uid = messages[i].uid, .size = MAILDROP_SMALL_SIZE,
                                                               .flags = messages[i].flags & MESSAGE_SEEN ? ENTRY_SEEN : 0 };
        at += (uint32_t)got;
    }
}

static void keep_newest(struct maildrop *drop)
{
    if (drop->options.limit == 0 || drop->count <= drop->options.limit)
        return;
    uint32_t skipped = drop->count - drop->options.limit;
    for (uint32_t i = 0; i < drop->options.limit; i++)
        drop->entries[i] = drop->entries[i + skipped];
    drop->count = drop->options.limit;
}

static void add_downloaded(struct maildrop *drop, const struct view_record *record)
{
    for (size_t i = 0; record->uid_validity == drop->uid_validity && i < record->uids.count; i++)
        uidset_add_range(&drop->downloaded, record->uids.ranges[i].first, record->uids.ranges[i].last);
}

/* Records only grow, so what any of them has counts: the mailbox's own, what was downloaded over a Post Office Agent, and what it says itself. */
static int load_view(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    struct view_record far = { 0 };
    uidset_clear(&drop->downloaded);
    if (drop->options.view == 0)
        return 0;
    int result = pop3view_load(drop->mailbox, drop->options.view, &drop->downloaded, fault);
    if (result == 0)
        result = views_load(user, drop->options.view, &far, fault);
    add_downloaded(drop, &far);
    add_downloaded(drop, &drop->known);
    view_record_fini(&far);
    return result;
}

/* What the session will see, but for the option t, which needs dates. */
static int list_messages(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    if (mailbox_sync(drop->mailbox, fault) < 0)
        return -1;
    struct mailbox_status status;
    mailbox_get_status(drop->mailbox, &status);
    drop->uid_validity = status.uid_validity;
    if (load_view(drop, user, fault) < 0)
        return -1;
    drop->view = view_open(drop->mailbox, true, ignore_news, NULL);
    list_view(drop);
    if (drop->options.days == 0)
        keep_newest(drop);
    else
        maildrop_set_oldest(drop);
    drop->stage = MAILDROP_LISTED;
    return 0;
}

static int probe_file(int fd, uint64_t size, unsigned *result_out, struct fault *fault)
{
    struct probe probe = { 0 };
    char bytes[8192];
    char last = '\n';
    ssize_t got = 0;
    while (!probe_is_decided(&probe) && (got = read(fd, bytes, sizeof(bytes))) > 0)
        probe_write(&probe, (struct slice){ bytes, (size_t)got });
    if (got >= 0 && size != 0)
        got = pread(fd, &last, 1, (off_t)(size - 1));
    if (got < 0)
        return fault_set_errno(fault, errno, "reading a message");
    *result_out = probe_end(&probe, last);
    return 0;
}

/* What a message that vanished or cannot be read would need does not matter: RETR will say so. */
static unsigned probe_message(struct maildrop *drop, uint32_t uid)
{
    struct buf cached = { 0 };
    unsigned result = 0;
    if (mailbox_cache_get(drop->mailbox, uid, (enum cache_kind)CACHE_POP3_PROBE, &cached) && cached.len == 1)
        result = (unsigned char)cached.data[0];
    buf_fini(&cached);
    if (result & PROBE_KNOWN)
        return result;
    int fd;
    uint64_t size;
    struct fault fault;
    if (mailbox_open_message(drop->mailbox, uid, &fd, &size, &fault) < 0)
        return 0;
    if (probe_file(fd, size, &result, &fault) == 0) {
        char byte = (char)result;
        mailbox_cache_put(drop->mailbox, uid, (enum cache_kind)CACHE_POP3_PROBE, (struct slice){ &byte, 1 });
    }
    close(fd);
    return result;
}

static unsigned probe_entry(struct maildrop *drop, struct entry *entry)
{
    unsigned result = probe_message(drop, entry->uid);
    entry->flags |= ENTRY_PROBED;
    if (result & PROBE_UTF8)
        entry->flags |= ENTRY_MIME_UTF8;
    if (result & PROBE_UNKNOWN)
        entry->flags |= ENTRY_MIME_UNKNOWN;
    return result;
}

const char *maildrop_fields(struct maildrop *drop, struct entry *entry)
{
    if (!(entry->flags & ENTRY_PROBED))
        probe_entry(drop, entry);
    if (entry->flags & ENTRY_MIME_UTF8)
        return probe_fields(PROBE_UTF8);
    return entry->flags & ENTRY_MIME_UNKNOWN ? probe_fields(PROBE_UNKNOWN) : NULL;
}

static void size_entry(struct maildrop *drop, struct entry *entry, char *scratch, uint64_t stored_size)
{
    struct fault fault;
    if (drop->options.plain) {
        entry->size = 0;
        retrieve_measure(drop, entry, scratch, &entry->size, &fault);
        return;
    }
    unsigned result = probe_entry(drop, entry);
    entry->size = stored_size + (result & PROBE_OPEN_END ? 2 : 0) + slice_from_string(probe_fields(result)).len;
}

/* Sizes and dates of the next PIECE messages; those that are too old leave the list. */
static int load_piece(struct maildrop *drop, struct fault *fault)
{
    struct uidset uids = { 0 };
    uint32_t end = drop->count - drop->loaded > PIECE ? drop->loaded + PIECE : drop->count;
    for (uint32_t i = drop->loaded; i < end; i++)
        uidset_add(&uids, drop->entries[i].uid);
    int result = mailbox_load(drop->mailbox, &uids, fault);
    uidset_fini(&uids);
    if (result < 0)
        return -1;
    char *scratch = mem_alloc(drop->options.plain ? RETRIEVE_SCRATCH_SIZE : 1);
    for (; drop->loaded < end; drop->loaded++) {
        struct entry entry = drop->entries[drop->loaded];
        struct message message = { 0 };
        uint32_t sequence = view_sequence_of(drop->view, entry.uid);
        if (sequence == 0 || view_read(drop->view, sequence, &message, 1) != 1 || message.internal_date < drop->oldest)
            continue;
        if (!drop->options.small_sizes)
            size_entry(drop, &entry, scratch, message.size);
        drop->entries[drop->kept++] = entry;
    }
    mem_free(&scratch);
    return 0;
}

void maildrop_finish_opening(struct maildrop *drop)
{
    view_close(&drop->view);
    keep_newest(drop);
    maildrop_undelete_all(drop);
    drop->stage = MAILDROP_OPEN;
}

int maildrop_open(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    if (drop->account == NULL && open_account(drop, user, fault) < 0)
        return -1;
    if (drop->mailbox == NULL && account_mailbox(drop->account, SLICE_LITERAL("INBOX"), &drop->mailbox, fault) < 0)
        return -1;
    if (drop->stage == MAILDROP_CLOSED && list_messages(drop, user, fault) < 0)
        return -1;
    bool needs_load = !drop->options.small_sizes || drop->options.days != 0;
    if (needs_load && drop->loaded < drop->count && load_piece(drop, fault) < 0)
        return -1;
    if (needs_load && drop->loaded < drop->count)
        return 0;
    if (needs_load)
        drop->count = drop->kept;
    maildrop_finish_opening(drop);
    return 0;
}

struct entry *maildrop_find(struct maildrop *drop, uint64_t number)
{
    if (number == 0 || number > drop->count || (drop->entries[number - 1].flags & ENTRY_DELETED))
        return NULL;
    return &drop->entries[number - 1];
}

struct entry *maildrop_find_uid(struct maildrop *drop, uint32_t uid)
{
    uint32_t from = 0, end = drop->count;
    while (from < end) {
        uint32_t middle = from + (end - from) / 2;
        if (drop->entries[middle].uid == uid)
            return &drop->entries[middle];
        if (drop->entries[middle].uid < uid)
            from = middle + 1;
        else
            end = middle;
    }
    return NULL;
}

void maildrop_delete(struct maildrop *drop, struct entry *entry)
{
    entry->flags |= ENTRY_DELETED;
    drop->left--;
    drop->left_size -= entry->size;
}

void maildrop_undelete_all(struct maildrop *drop)
{
    drop->left = drop->count;
    drop->left_size = 0;
    for (uint32_t i = 0; i < drop->count; i++) {
        drop->entries[i].flags &= ~(unsigned)ENTRY_DELETED;
        drop->left_size += drop->entries[i].size;
    }
}

/* Retrieving again what is seen and stays changes nothing. */
static bool entry_needs_update(const struct maildrop *drop, unsigned flags)
{
    bool stays_as_it_is = (flags & ENTRY_SEEN) && drop->options.view == 0 && drop->options.removal == POP3_KEEP;
    return (flags & ENTRY_DELETED) || ((flags & ENTRY_RETRIEVED) && !stays_as_it_is);
}

bool maildrop_needs_update(const struct maildrop *drop)
{
    for (uint32_t i = 0; i < drop->count; i++)
        if (entry_needs_update(drop, drop->entries[i].flags))
            return true;
    return false;
}

struct uidset maildrop_with(const struct maildrop *drop, unsigned mask, unsigned flags)
{
    struct uidset uids = { 0 };
    for (uint32_t i = 0; i < drop->count; i++)
        if ((drop->entries[i].flags & mask) == flags)
            uidset_add(&uids, drop->entries[i].uid);
    return uids;
}

struct uidset maildrop_retrieved(const struct maildrop *drop)
{
    return maildrop_with(drop, ENTRY_DELETED | ENTRY_RETRIEVED, ENTRY_RETRIEVED);
}

static int update_seen(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    (void)user;
    struct flag_update seen = { .change = FLAGS_ADD, .flags = MESSAGE_SEEN };
    struct uidset uids = maildrop_with(drop, ENTRY_DELETED | ENTRY_RETRIEVED | ENTRY_SEEN, ENTRY_RETRIEVED);
    int result = 0;
    if (drop->options.removal != POP3_PURGE && uids.count != 0)
        result = mailbox_update_flags(drop->mailbox, &uids, &seen, fault);
    uidset_fini(&uids);
    if (result < 0 && fault->class != FAULT_BUSY) {
        log_warning("pop3", "messages retrieved were not marked as seen: %s", fault->text);
        return 0;    /* nobody was promised that */
    }
    return result;
}

/* A copy, for a time when only an agent leads to the mailbox; without it the view lists something again then. */
static int copy_view(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    struct view_record record = { .uid_validity = drop->uid_validity, .uids = drop->downloaded };
    if (user->post_office->agent_count == 0 || views_save(user, drop->options.view, &record, fault) == 0)
        return 0;
    if (fault->class == FAULT_BUSY)
        return -1;
    log_warning("pop3", "view %u of %s has no copy: %s", drop->options.view, user->id, fault->text);
    return 0;
}

static int update_view(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    struct uidset uids = maildrop_retrieved(drop);
    int result = 0;
    if (drop->options.view != 0 && uids.count != 0) {
        for (size_t i = 0; i < uids.count; i++)
            uidset_add_range(&drop->downloaded, uids.ranges[i].first, uids.ranges[i].last);
        result = pop3view_add(drop->mailbox, drop->options.view, &drop->downloaded, fault);
        if (result == 0)
            result = copy_view(drop, user, fault);
    }
    uidset_fini(&uids);
    return result;
}

static int open_trash(struct maildrop *drop, struct mailbox **trash_out, struct fault *fault)
{
    struct buf name = { 0 };
    buf_append(&name, account_prefix(drop->account));
    buf_append_text(&name, "Trash");
    int result = account_mailbox(drop->account, buf_slice(&name), trash_out, fault);
    if (result < 0 && fault->class == FAULT_NOT_FOUND) {
        result = account_create(drop->account, buf_slice(&name), fault);
        if (result == 0 || fault->class == FAULT_EXISTS)
            result = account_mailbox(drop->account, buf_slice(&name), trash_out, fault);
    }
    buf_fini(&name);
    return result;
}

static int move_to_trash(struct maildrop *drop, const struct uidset *uids, struct fault *fault)
{
    struct mailbox *trash = NULL;
    struct uidset sources = { 0 };
    struct uidset targets = { 0 };
    int result = open_trash(drop, &trash, fault);
    if (result == 0)
        result = mailbox_sync(trash, fault);
    if (result == 0)
        result = mailbox_copy(drop->mailbox, uids, trash, true, &sources, &targets, fault);
    uidset_fini(&sources);
    uidset_fini(&targets);
    mailbox_unref(&trash);
    return result;
}

static int update_trash(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    (void)user;
    if (drop->options.removal != POP3_DELETE)
        return 0;
    struct uidset uids = maildrop_retrieved(drop);
    int result = uids.count != 0 ? move_to_trash(drop, &uids, fault) : 0;
    uidset_fini(&uids);
    return result;
}

static int update_expunge(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    (void)user;
    struct uidset uids = maildrop_with(drop, ENTRY_DELETED, ENTRY_DELETED);
    struct uidset retrieved = maildrop_retrieved(drop);
    if (drop->options.removal == POP3_PURGE)
        for (size_t i = 0; i < retrieved.count; i++)
            uidset_add_range(&uids, retrieved.ranges[i].first, retrieved.ranges[i].last);
    int result = uids.count != 0 ? mailbox_expunge(drop->mailbox, &uids, true, NULL, fault) : 0;
    uidset_fini(&uids);
    uidset_fini(&retrieved);
    return result;
}

/* In this order, so that a message in Trash is seen, and a failure on the way has removed nothing that was not recorded. */
static int (*const update_stages[UPDATE_DONE])(struct maildrop *, const struct user *, struct fault *) = {
    [UPDATE_SEEN] = update_seen,
    [UPDATE_VIEW] = update_view,
    [UPDATE_TRASH] = update_trash,
    [UPDATE_EXPUNGE] = update_expunge,
};

int maildrop_update(struct maildrop *drop, const struct user *user, struct fault *fault)
{
    if (drop->update == UPDATE_NONE)
        drop->update = UPDATE_SEEN;
    for (; drop->update != UPDATE_DONE; drop->update++)
        if (update_stages[drop->update](drop, user, fault) < 0)
            return -1;
    return 0;
}

void maildrop_close(struct maildrop *drop)
{
    view_close(&drop->view);
    mailbox_unref(&drop->mailbox);
    account_unref(&drop->account);
    mem_free(&drop->entries);
    uidset_fini(&drop->downloaded);
    view_record_fini(&drop->known);
    *drop = (struct maildrop){ 0 };
}
