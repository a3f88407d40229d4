/* pop3views: which messages each view of a POP3 user has downloaded (behaviour.md, POP3 login options): `postern-pop3views` beside
 * INBOX's uidlist, changed under its lock. The POP3 sessions call it. A broken file costs the record, never mail.
 *
 *   1 V<uidvalidity>
 *   <view> <UIDs as an IMAP set>     one line for each view that has any */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "internal.h"
#include "plain_file.h"
#include "postern/base/log.h"

#define NAME_VIEWS "postern-pop3views"
#define NAME_VIEWS_TMP "postern-pop3views.tmp"

enum { VIEW_MAX = 31, VIEWS_FILE_MAX = 8 << 20, READ_SIZE = 65536 };

struct views {
    struct uidset sets[VIEW_MAX + 1];
};

static void views_fini(struct views *views)
{
    for (unsigned i = 0; i <= VIEW_MAX; i++)
        uidset_fini(&views->sets[i]);
}

static bool parse_view(struct slice line, struct views *views)
{
    struct slice word;
    uint64_t view;
    if (!slice_split(&line, ' ', &word) || !slice_to_number(word, VIEW_MAX, &view) || view == 0 || line.data == NULL)
        return false;
    return uidset_parse(line, &views->sets[view]);
}

/* False if the file is broken. Another UIDVALIDITY is another mailbox: all views begin anew. */
static bool parse_views(struct slice text, uint32_t uid_validity, struct views *views)
{
    struct slice line;
    uint64_t validity;
    if (!slice_split(&text, '\n', &line) || !slice_starts_with(line, "1 V") ||
        !slice_to_number(slice_from(line, 3), UINT32_MAX, &validity))
        return false;
    if (validity != uid_validity)
        return true;
    while (text.len > 0 && slice_split(&text, '\n', &line))
        if (!parse_view(line, views))
            return false;
    return true;
}

static int read_file(int dir, struct buf *out, struct fault *fault)
{
    int fd = openat(dir, NAME_VIEWS, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fault_set_errno(fault, errno, "open " NAME_VIEWS);
    ssize_t got = 1;
    while (got > 0 && out->len <= VIEWS_FILE_MAX) {
        got = read(fd, buf_reserve(out, READ_SIZE), READ_SIZE);
        if (got > 0)
            buf_extend(out, (size_t)got);
    }
    int error = errno;
    close(fd);
    return got < 0 ? fault_set_errno(fault, error, "read " NAME_VIEWS) : 0;
}

static int views_read(struct mailbox *mailbox, uint32_t uid_validity, struct views *views, struct fault *fault)
{
    struct buf text;
    buf_init(&text, VIEWS_FILE_MAX + 2 * READ_SIZE);
    int result = read_file(mailbox_control_fd(mailbox), &text, fault);
    if (result == 0 && text.len > 0 && (text.len > VIEWS_FILE_MAX || !parse_views(buf_slice(&text), uid_validity, views))) {
        log_warning("store", NAME_VIEWS " is broken: the POP3 views begin anew");
        views_fini(views);
    }
    buf_fini(&text);
    return result;
}

static int write_new(int dir, mode_t mode, struct slice text, struct fault *fault)
{
    int fd = plain_file_make(dir, NAME_VIEWS_TMP, fault);
    if (fd < 0)
        return -1;
    bool good = fchmod(fd, mode) == 0;
    while (good && text.len > 0) {
        ssize_t put = write(fd, text.data, text.len);
        good = put > 0 || (put < 0 && errno == EINTR);
        text = slice_from(text, put > 0 ? (size_t)put : 0);
    }
    good = good && fsync(fd) == 0;
    int error = errno;
    close(fd);
    return good ? 0 : fault_set_errno(fault, error, "write " NAME_VIEWS_TMP);
}

static int views_write(struct mailbox *mailbox, uint32_t uid_validity, const struct views *views, struct fault *fault)
{
    struct buf text;
    buf_init(&text, VIEWS_FILE_MAX);
    buf_printf(&text, "1 V%u\n", (unsigned)uid_validity);
    for (unsigned i = 1; i <= VIEW_MAX; i++) {
        if (views->sets[i].count == 0)
            continue;
        buf_printf(&text, "%u ", i);
        uidset_write(&views->sets[i], &text);
        buf_append_byte(&text, '\n');
    }
    int dir = mailbox_control_fd(mailbox);
    struct stat like;
    int result = text.overflowed ? fault_set(fault, FAULT_LIMIT, 0, NAME_VIEWS " would be too large") : 0;
    if (result == 0 && fstat(dir, &like) != 0)
        result = fault_set_errno(fault, errno, "stat control directory");
    if (result == 0)
        result = write_new(dir, (like.st_mode & 0666) | 0600, buf_slice(&text), fault);
    if (result == 0 && (renameat(dir, NAME_VIEWS_TMP, dir, NAME_VIEWS) != 0 || fsync(dir) != 0))
        result = fault_set_errno(fault, errno, "replace " NAME_VIEWS);
    buf_fini(&text);
    return result;
}

/* Keeps what exists, and what is newer than this process has seen: another gateway may have read it already. */
static void drop_vanished(struct uidset *set, const struct uidset *existing, uint32_t uid_next)
{
    struct uidset kept = { 0 };
    size_t at = 0;
    for (size_t i = 0; i < set->count; i++) {
        struct uid_range range = set->ranges[i];
        while (at < existing->count && existing->ranges[at].last < range.first)
            at++;
        for (size_t j = at; j < existing->count && existing->ranges[j].first <= range.last; j++)
            uidset_add_range(&kept, existing->ranges[j].first > range.first ? existing->ranges[j].first : range.first,
                             existing->ranges[j].last < range.last ? existing->ranges[j].last : range.last);
        if (range.last >= uid_next)
            uidset_add_range(&kept, range.first > uid_next ? range.first : uid_next, range.last);
    }
    uidset_fini(set);
    *set = kept;
}

static int check_view(struct mailbox *mailbox, unsigned view, struct fault *fault)
{
    if (view < 1 || view > VIEW_MAX)
        return fault_set(fault, FAULT_INVALID, 0, "POP3 view %u is not in 1..%d", view, VIEW_MAX);
    return mailbox_uid_validity(mailbox) == 0 ? mailbox_sync(mailbox, fault) : 0;
}

int pop3view_load(struct mailbox *mailbox, unsigned view, struct uidset *uids_out, struct fault *fault)
{
    uidset_clear(uids_out);
    if (check_view(mailbox, view, fault) != 0)
        return -1;
    struct views views = { 0 };
    int result = views_read(mailbox, mailbox_uid_validity(mailbox), &views, fault);
    if (result == 0)
        for (size_t i = 0; i < views.sets[view].count; i++)
            uidset_add_range(uids_out, views.sets[view].ranges[i].first, views.sets[view].ranges[i].last);
    views_fini(&views);
    return result;
}

static int add_locked(struct mailbox *mailbox, unsigned view, const struct uidset *uids, struct fault *fault)
{
    struct views views = { 0 };
    struct uidset existing = { 0 };
    struct mailbox_status status;
    uint32_t uid_validity = mailbox_uid_validity(mailbox);
    int result = views_read(mailbox, uid_validity, &views, fault);
    if (result == 0) {
        for (size_t i = 0; i < uids->count; i++)
            uidset_add_range(&views.sets[view], uids->ranges[i].first, uids->ranges[i].last);
        mailbox_get_status(mailbox, &status);
        mailbox_uids(mailbox, &existing);
        for (unsigned i = 1; i <= VIEW_MAX; i++)
            drop_vanished(&views.sets[i], &existing, status.uid_next);
        result = views_write(mailbox, uid_validity, &views, fault);
    }
    uidset_fini(&existing);
    views_fini(&views);
    return result;
}

int pop3view_add(struct mailbox *mailbox, unsigned view, const struct uidset *uids, struct fault *fault)
{
    if (check_view(mailbox, view, fault) != 0 || mailbox_lock(mailbox, fault) != 0)
        return -1;
    int result = add_locked(mailbox, view, uids, fault);
    mailbox_unlock(mailbox);
    return result;
}
