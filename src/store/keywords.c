/* The file dovecot-keywords: lines "<0-25> <name>" (maildir.md, rule 8). Called under the uidlist lock; written by replacing it, with a
 * time that rises by a whole second since Dovecot compares seconds. A number in use by any file is never given to another name. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "plain_file.h"
#include "postern/base/memory.h"
#include "state.h"

#define NAME_KEYWORDS_LOCK "dovecot-keywords.lock"
#define NAME_KEYWORDS_TMP "dovecot-keywords.tmp"
enum { KEYWORDS_FILE_MAX = 64 * 1024 };

void keywords_fini(struct keywords *keywords)
{
    for (size_t i = 0; i < KEYWORDS_MAX; i++)
        mem_free(&keywords->names[i]);
}

bool keywords_changed_on_disk(struct mailbox *mailbox)
{
    struct stat st;
    bool there = fstatat(mailbox->place.control, NAME_KEYWORDS, &st, AT_SYMLINK_NOFOLLOW) == 0;
    return there ? !file_state_is(&mailbox->keywords.state, &st) : mailbox->keywords.state.inode != 0;
}

static void parse(struct slice text, struct keywords *keywords)
{
    struct slice line, number_text;
    uint64_t number;
    while (slice_split(&text, '\n', &line)) {
        if (!slice_split(&line, ' ', &number_text) || !slice_to_number(number_text, KEYWORDS_MAX - 1, &number))
            continue;
        if (line.len == 0 || line.len > KEYWORD_LENGTH_MAX || slice_has_nul(line) || keywords->names[number] != NULL)
            continue;
        keywords->names[number] = slice_to_string(line);
    }
}

static void take_over(struct mailbox *mailbox, struct keywords *fresh)
{
    bool same = true;
    for (size_t i = 0; i < KEYWORDS_MAX; i++) {
        const char *old = mailbox->keywords.names[i], *new = fresh->names[i];
        same &= old == new || (old != NULL && new != NULL && strcmp(old, new) == 0);
    }
    fresh->version = mailbox->keywords.version + !same;
    pthread_mutex_lock(&mailbox->mutex);
    struct keywords old = mailbox->keywords;
    mailbox->keywords = *fresh;
    pthread_mutex_unlock(&mailbox->mutex);
    keywords_fini(&old);
}

int keywords_read(struct mailbox *mailbox, struct fault *fault)
{
    struct keywords fresh = { 0 };
    if (!keywords_changed_on_disk(mailbox))
        return 0;
    struct stat st;
    struct fault why;
    int fd = plain_file_open(mailbox->place.control, NAME_KEYWORDS, &st, &why);
    if (fd < 0 && why.error != ENOENT)
        return fault_set(fault, why.class, why.error, "%s", why.text);
    if (fd >= 0) {
        char *text = mem_alloc(KEYWORDS_FILE_MAX);
        ssize_t got = read(fd, text, KEYWORDS_FILE_MAX);
        int error = errno;
        close(fd);
        if (got >= 0) {
            parse(slice_make(text, (size_t)got), &fresh);
            file_state_set(&fresh.state, &st);
        }
        mem_free(&text);
        if (got < 0)
            return fault_set_errno(fault, error, NAME_KEYWORDS);
    }
    take_over(mailbox, &fresh);
    return 0;
}

static int write_locked(struct mailbox *mailbox, int dir, struct keywords *fresh, struct fault *fault)
{
    struct buf text = { 0 };
    struct stat st;
    int fd = plain_file_make(dir, NAME_KEYWORDS_TMP, fault);
    if (fd < 0)
        return -1;
    file_share_like(fd, mailbox->place.folder);
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        if (fresh->names[i] != NULL)
            buf_printf(&text, "%u %s\n", i, fresh->names[i]);
    bool good = write(fd, text.data, text.len) == (ssize_t)text.len && fstat(fd, &st) == 0;
    if (good && st.st_mtim.tv_sec <= mailbox->keywords.state.seconds) {
        struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = mailbox->keywords.state.seconds + 1 } };
        good = futimens(fd, times) == 0;
    }
    good = good && fsync(fd) == 0 && fstat(fd, &st) == 0 && renameat(dir, NAME_KEYWORDS_TMP, dir, NAME_KEYWORDS) == 0 &&
           fsync(dir) == 0;
    int error = errno;
    close(fd);
    buf_fini(&text);
    if (!good)
        return fault_set_errno(fault, error, NAME_KEYWORDS);
    file_state_set(&fresh->state, &st);
    return 0;
}

/* Dovecot writes into the lock file. Here it keeps its PID, so that the lock of a process killed in between is known to be dead. */
static int keywords_write(struct mailbox *mailbox, struct keywords *fresh, struct fault *fault)
{
    struct lock_file *lock = &mailbox->keywords_lock;
    if (lock_take(lock, mailbox->place.control, NAME_KEYWORDS_LOCK, NAME_KEYWORDS, mailbox->place.folder, LOCK_STALE_SECONDS, fault) != 0)
        return -1;
    int result = lock_check(&mailbox->lock, fault) == 0 ? write_locked(mailbox, lock->dir, fresh, fault) : -1;
    lock_drop(lock);
    return result;
}

static int free_number(const struct mailbox *mailbox, const struct keywords *keywords)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < mailbox->live.count; i++)
        used |= mailbox->live.records[i].keywords;
    for (int i = 0; i < KEYWORDS_MAX; i++)
        if (keywords->names[i] == NULL && (used >> i & 1) == 0)
            return i;
    return -1;
}

static bool is_good_name(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if ((unsigned char)name.data[i] <= ' ' || (unsigned char)name.data[i] == 127)
            return false;
    return name.len > 0 && name.len <= KEYWORD_LENGTH_MAX;
}

static int find_name(const struct keywords *keywords, struct slice name)
{
    for (int i = 0; i < KEYWORDS_MAX; i++)
        if (keywords->names[i] != NULL && slice_is_nocase(name, keywords->names[i]))
            return i;
    return -1;
}

/* Every new name gets a number in `fresh`, a copy of what the mailbox has. */
static int add_names(struct mailbox *mailbox, struct keywords *fresh, const struct slice *names, size_t count, uint32_t *bits,
                     bool *added_out, struct fault *fault)
{
    for (size_t i = 0; i < count; i++) {
        int number = find_name(fresh, names[i]);
        if (number < 0)
            number = mailbox_keyword_number(mailbox, names[i]);
        if (number < 0) {
            if (!is_good_name(names[i]))
                return fault_set(fault, FAULT_INVALID, 0, "keyword that cannot be stored");
            number = free_number(mailbox, fresh);
            if (number < 0)
                return fault_set(fault, FAULT_LIMIT, 0, "more than %d keywords", KEYWORDS_MAX);
            fresh->names[number] = slice_to_string(names[i]);
            *added_out = true;
        }
        *bits |= 1u << number;
    }
    return 0;
}

int keywords_bits(struct mailbox *mailbox, const struct slice *names, size_t count, bool make, uint32_t *bits_out, struct fault *fault)
{
    *bits_out = 0;
    for (size_t i = 0; i < count && !make; i++) {
        int number = mailbox_keyword_number(mailbox, names[i]);
        if (number >= 0)
            *bits_out |= 1u << number;
    }
    if (!make || count == 0)
        return 0;
    struct keywords fresh = { .state = mailbox->keywords.state };
    bool added = false;
    for (size_t i = 0; i < KEYWORDS_MAX; i++)
        fresh.names[i] = mem_strdup(mailbox->keywords.names[i]);
    int result = add_names(mailbox, &fresh, names, count, bits_out, &added, fault);
    if (result == 0 && added)
        result = keywords_write(mailbox, &fresh, fault);
    if (result == 0 && added)
        take_over(mailbox, &fresh);
    else
        keywords_fini(&fresh);
    return result;
}
