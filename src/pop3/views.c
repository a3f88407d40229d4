/* What the views of users behind a Post Office Agent have downloaded: `pop3-views/<user>.<view>` in the state directory, a file of one line,
 * "1 V<uidvalidity> <UIDs as an IMAP set>". One that no login has asked for in a year is removed: that asks no directory, which may be empty by mistake,
 * whether the user is still there. Called by remote_view.c and maildrop.c; the files in steps. It must never leave a file half written. */
#include "views.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/user.h"

#define NAME_DIR "pop3-views"

enum {
    NAME_BYTES_MAX = 200,        /* with the view and .tmp it fits every file system's 255 */
    DAY = 24 * 60 * 60,
    FORGET_AFTER = 365 * DAY,    /* without a login that asks for it */
    SWEEP_AT_ONCE = 256,         /* files looked at while one is written */
};

static char *state_dir;
static pthread_mutex_t writing = PTHREAD_MUTEX_INITIALIZER;
static DIR *sweep;               /* under way: once a day; with next_sweep_ms under `writing` */
static uint64_t next_sweep_ms;

void views_configure(const char *dir)
{
    if (sweep != NULL)
        closedir(sweep);
    sweep = NULL;
    next_sweep_ms = 0;
    mem_free(&state_dir);
    state_dir = dir != NULL ? mem_strdup(dir) : NULL;
}

/* --- records ------------------------------------------------------------------------------------------------------------------------ */

void view_record_fini(struct view_record *record)
{
    uidset_fini(&record->uids);
    *record = (struct view_record){ 0 };
}

void view_record_write(const struct view_record *record, struct buf *out)
{
    struct uidset highest = record->uids;
    struct buf text = { 0 };
    buf_printf(&text, "1 V%u ", record->uid_validity);
    size_t head = text.len;
    uidset_write(&highest, &text);
    while (text.len > VIEW_TEXT_MAX) {
        size_t dropped = highest.count / 8 + 1;
        highest.ranges += dropped;
        highest.count -= dropped;
        buf_truncate(&text, head);
        uidset_write(&highest, &text);
    }
    buf_append(out, buf_slice(&text));
    buf_fini(&text);
}

bool view_record_parse(struct slice text, struct view_record *record)
{
    struct slice word;
    uint64_t validity;
    if (text.len > VIEW_TEXT_MAX || !slice_starts_with(text, "1 V"))
        return false;
    text = slice_from(text, 3);
    if (!slice_split(&text, ' ', &word) || !slice_to_number(word, UINT32_MAX, &validity) || validity == 0 || !uidset_parse(text, &record->uids)) {
        view_record_fini(record);
        return false;
    }
    record->uid_validity = (uint32_t)validity;
    return true;
}

void view_record_add(struct view_record *record, const struct view_record *other)
{
    if (record->uid_validity != other->uid_validity)
        return;
    for (size_t i = 0; i < other->uids.count; i++)
        uidset_add_range(&record->uids, other->uids.ranges[i].first, other->uids.ranges[i].last);
}

/* --- files -------------------------------------------------------------------------------------------------------------------------- */

/* A user who is renamed keeps the record; what is no letter, digit or hyphen cannot lead elsewhere. */
static int write_name(const struct user *user, unsigned view, struct buf *out, struct fault *fault)
{
    struct slice id = slice_from_string(user->uuid[0] != '\0' ? user->uuid : user->id);
    buf_append_text(out, user->uuid[0] != '\0' ? "u-" : "i-");
    for (size_t i = 0; i < id.len; i++) {
        unsigned char byte = (unsigned char)id.data[i];
        if (ascii_is_digit(id.data[i]) || ascii_is_alpha(id.data[i]) || byte == '-')
            buf_append_byte(out, id.data[i]);
        else
            buf_printf(out, "_%02x", byte);
    }
    buf_printf(out, ".%u", view);
    return out->len <= NAME_BYTES_MAX ? 0 : fault_set(fault, FAULT_LIMIT, 0, "the user's name is too long for a file of a POP3 view");
}

/* -1 with errno. */
static int open_dir(bool make)
{
    struct buf path = { 0 };
    if (state_dir == NULL) {
        errno = ENOENT;
        return -1;
    }
    buf_printf(&path, "%s/" NAME_DIR, state_dir);
    if (make)
        mkdir(buf_text(&path), 0700);
    int dir = open(buf_text(&path), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    int error = errno;
    buf_fini(&path);
    errno = error;
    return dir;
}

/* The time of the file says when it was asked for last, to the day. */
static void note_use(int fd)
{
    struct stat file;
    if (fstat(fd, &file) == 0 && clock_wall().tv_sec - file.st_mtime > DAY)
        futimens(fd, NULL);
}

static int read_file(int dir, const char *name, struct view_record *record, struct fault *fault)
{
    char text[VIEW_TEXT_MAX + 2];
    size_t len = 0;
    ssize_t got = 1;
    int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT ? 0 : fault_set_errno(fault, errno, NAME_DIR "/%s", name);
    while (len < sizeof(text) && (got > 0 || errno == EINTR)) {
        got = read(fd, text + len, sizeof(text) - len);
        if (got == 0)
            break;
        len += got > 0 ? (size_t)got : 0;
    }
    int error = errno;
    note_use(fd);
    close(fd);
    if (got < 0)
        return fault_set_errno(fault, error, NAME_DIR "/%s", name);
    if (len == 0 || text[len - 1] != '\n' || !view_record_parse(slice_make(text, len - 1), record))
        log_warning("pop3", NAME_DIR "/%s is broken: the view begins anew", name);
    return 0;
}

int views_load(const struct user *user, unsigned view, struct view_record *record, struct fault *fault)
{
    struct buf name = { 0 };
    int dir = open_dir(false);
    int result = dir < 0 && errno != ENOENT ? fault_set_errno(fault, errno, NAME_DIR) : 0;
    if (dir >= 0) {
        result = write_name(user, view, &name, fault);
        if (result == 0)
            result = read_file(dir, buf_text(&name), record, fault);
        close(dir);
    }
    buf_fini(&name);
    return result;
}

/* --- writing ------------------------------------------------------------------------------------------------------------------------ */

static void forget_if_old(int dir, const char *name)
{
    struct stat file;
    if (fstatat(dir, name, &file, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(file.st_mode) && clock_wall().tv_sec - file.st_mtime > FORGET_AFTER &&
        unlinkat(dir, name, 0) == 0)
        log_verbose("pop3", NAME_DIR "/%s was removed: nobody has asked for it in a year", name);
}

/* A part of the directory each time that something is written. */
static void sweep_some(int dir)
{
    const struct dirent *file;
    if (sweep == NULL && clock_monotonic_ms() >= next_sweep_ms) {
        int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        sweep = again >= 0 ? fdopendir(again) : NULL;
        if (sweep == NULL && again >= 0)
            close(again);
        next_sweep_ms = clock_monotonic_ms() + DAY * UINT64_C(1000);
    }
    for (int i = 0; sweep != NULL && i < SWEEP_AT_ONCE; i++) {
        file = readdir(sweep);
        if (file != NULL) {
            forget_if_old(dir, file->d_name);
            continue;
        }
        closedir(sweep);
        sweep = NULL;
    }
}

static int write_file(int dir, const char *name, const struct view_record *record, struct fault *fault)
{
    struct buf text = { 0 }, next = { 0 };
    view_record_write(record, &text);
    buf_append_byte(&text, '\n');
    buf_printf(&next, "%s.tmp", name);
    /* A left-over of a crash may be anything: it is not written into. */
    unlinkat(dir, buf_text(&next), 0);
    int fd = openat(dir, buf_text(&next), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    for (struct slice rest = buf_slice(&text); good && rest.len != 0;) {
        ssize_t put = write(fd, rest.data, rest.len);
        good = put > 0 || (put < 0 && errno == EINTR);
        rest = slice_from(rest, put > 0 ? (size_t)put : 0);
    }
    good = good && fsync(fd) == 0 && renameat(dir, buf_text(&next), dir, name) == 0 && fsync(dir) == 0;
    int result = good ? 0 : fault_set_errno(fault, errno, NAME_DIR "/%s", name);
    if (fd >= 0)
        close(fd);
    buf_fini(&next);
    buf_fini(&text);
    return result;
}

static int save_alone(int dir, const char *name, const struct view_record *record, struct fault *fault)
{
    struct view_record kept = { 0 };
    int result = read_file(dir, name, &kept, fault);
    if (result == 0 && kept.uid_validity != record->uid_validity) {
        view_record_fini(&kept);
        kept.uid_validity = record->uid_validity;
    }
    if (result == 0) {
        view_record_add(&kept, record);
        result = write_file(dir, name, &kept, fault);
    }
    view_record_fini(&kept);
    return result;
}

int views_save(const struct user *user, unsigned view, const struct view_record *record, struct fault *fault)
{
    struct buf name = { 0 };
    if (pthread_mutex_trylock(&writing) != 0)
        return fault_set(fault, FAULT_BUSY, 0, NAME_DIR " is being written");
    int dir = open_dir(true);
    int result = dir < 0 ? fault_set_errno(fault, errno, NAME_DIR) : write_name(user, view, &name, fault);
    if (result == 0)
        result = save_alone(dir, buf_text(&name), record, fault);
    if (dir >= 0) {
        sweep_some(dir);
        close(dir);
    }
    pthread_mutex_unlock(&writing);
    buf_fini(&name);
    return result;
}
