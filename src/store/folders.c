/* folders: CREATE, DELETE and RENAME in a Maildir++ tree (maildir.md, rules 7, 10, 12). Sessions call it in steps. A folder appears
 * and disappears at once, whatever crashes; it must never remove a message that was not in the folder deleted. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "plain_file.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "tree.h"

/* In a folder whose control files follow in a moment: the directory name that they still have. */
#define NAME_CONTROL_FROM "postern-control-from"

static bool has_own_control(const struct account *account)
{
    return account->control != account->root;
}

static bool is_there(int dir, const char *name)
{
    struct stat st;
    return fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

/* --- create --------------------------------------------------------------------------------------------------------------- */

static int count_folder(struct slice disk, void *context)
{
    unsigned *left = context;
    (void)disk;
    return --*left == 0 ? -1 : 0;
}

/* Control files that a deleted folder left behind must not give the new one their UIDVALIDITY. */
static void discard_control(struct account *account, const char *disk)
{
    char aside[TREE_NAME_SIZE];
    if (has_own_control(account) && is_there(account->control, disk) && tree_put_aside(account->control, disk, aside, NULL) == 0)
        tree_remove(account->control, aside);
}

static void sweep(struct account *account)
{
    tree_sweep(account->root);
    if (has_own_control(account))
        tree_sweep(account->control);
}

static int create_locked(struct account *account, const char *disk, struct fault *fault)
{
    unsigned left = TREE_FOLDERS_MAX;
    if (is_there(account->root, disk))
        return fault_set(fault, FAULT_EXISTS, 0, "%s of %s exists", disk, account->path);
    if (account_each_folder(account, count_folder, &left, fault) != 0)
        return left == 0 ? fault_set(fault, FAULT_LIMIT, 0, "%s has %d folders", account->path, TREE_FOLDERS_MAX) : -1;
    sweep(account);
    discard_control(account, disk);
    return tree_make_maildir(account->root, disk, &account->like, true, fault);
}

/* The directory for a folder to be made. INBOX is always there; Dovecot opens nothing that begins with '~'. */
static int check_new(struct account *account, struct slice name, char *disk_out, struct fault *fault)
{
    if (folder_name_to_disk(account_namespace(account), name, disk_out, fault) != 0)
        return -1;
    if (disk_out[0] == '\0')
        return fault_set(fault, FAULT_EXISTS, 0, "INBOX exists");
    if (disk_out[1] == '~')
        return fault_set(fault, FAULT_INVALID, 0, "folder name begins with '~'");
    return 0;
}

int account_create(struct account *account, struct slice name, struct fault *fault)
{
    char disk[TREE_NAME_SIZE];
    if (check_new(account, name, disk, fault) != 0)
        return -1;
    pthread_mutex_lock(&account->mutex);
    int result = create_locked(account, disk, fault);
    pthread_mutex_unlock(&account->mutex);
    return result;
}

/* --- delete --------------------------------------------------------------------------------------------------------------- */

/* Under the uidlist lock, so that nobody is at work on the folder's files while it leaves. */
static int put_folder_aside(struct account *account, const char *disk, char *aside_out, struct fault *fault)
{
    struct mailbox *mailbox;
    if (account_mailbox_at(account, disk, &mailbox, fault) != 0)
        return -1;
    int result = mailbox_lock(mailbox, fault);
    if (result == 0) {
        result = tree_put_aside(account->root, disk, aside_out, fault);
        if (result == 0)
            mailbox_mark_gone(mailbox_folder_fd(mailbox));
        mailbox_unlock(mailbox);
    }
    mailbox_unref(&mailbox);
    return result;
}

int account_delete(struct account *account, struct slice name, struct fault *fault)
{
    char disk[TREE_NAME_SIZE], aside[TREE_NAME_SIZE];
    if (folder_name_to_disk(account_namespace(account), name, disk, fault) != 0)
        return -1;
    if (disk[0] == '\0')
        return fault_set(fault, FAULT_DENIED, 0, "INBOX cannot be deleted");
    pthread_mutex_lock(&account->mutex);
    int result = put_folder_aside(account, disk, aside, fault);
    if (result == 0) {
        discard_control(account, disk);
        tree_remove(account->root, aside);
        sweep(account);
    }
    pthread_mutex_unlock(&account->mutex);
    return result;
}

/* --- rename --------------------------------------------------------------------------------------------------------------- */

static int write_control_from(int folder, const char *disk, struct fault *fault)
{
    int fd = plain_file_make(folder, NAME_CONTROL_FROM, fault);
    if (fd < 0)
        return -1;
    size_t len = strlen(disk);
    bool good = write(fd, disk, len) == (ssize_t)len && fsync(fd) == 0;
    int error = errno;
    close(fd);
    return good ? tree_sync(folder, disk, fault) : fault_set_errno(fault, error, "write " NAME_CONTROL_FROM);
}

/* 1: moved; 0: nothing is there: a folder without control files, or another gateway has finished it for us. */
static int move_control(struct account *account, const char *from, const char *to, struct fault *fault)
{
    if (tree_rename(account->control, from, to, fault) == 0)
        return 1;
    return fault->error == ENOENT ? 0 : -1;
}

void folder_finish_rename(struct account *account, const char *disk, int folder)
{
    char from[TREE_NAME_SIZE];
    int fd = openat(folder, NAME_CONTROL_FROM, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t len = read(fd, from, sizeof(from) - 1);
    close(fd);
    from[len > 0 ? len : 0] = '\0';
    bool is_name = from[0] == '.' && from[1] != '\0' && from[1] != '.' && strchr(from, '/') == NULL;
    int moved = 0;
    struct fault why;
    if (is_name && strcmp(from, disk) != 0 && !is_there(account->root, from) && !is_there(account->control, disk))
        moved = move_control(account, from, disk, &why);
    if (moved < 0 || (moved > 0 && tree_sync(account->control, disk, &why) != 0))
        log_warning("store", "control files of %s: %s", account->path, why.text);   /* tried again when the folder is opened next */
    else
        unlinkat(folder, NAME_CONTROL_FROM, 0);
}

/* The control files follow, or the folder goes back. If it cannot, whoever opens it next finishes it. */
static int move_with_control(struct account *account, int folder, const char *from, const char *to, struct fault *fault)
{
    if (write_control_from(folder, from, fault) != 0)
        return -1;
    discard_control(account, to);
    if (tree_rename(account->root, from, to, fault) != 0)
        return -1;
    struct fault ignored;
    int moved = move_control(account, from, to, fault);
    if (moved < 0) {
        if (tree_rename(account->root, to, from, &ignored) == 0)
            unlinkat(folder, NAME_CONTROL_FROM, 0);
        return -1;
    }
    if (tree_sync(account->root, to, fault) != 0 || (moved > 0 && tree_sync(account->control, to, fault) != 0))
        return -1;
    unlinkat(folder, NAME_CONTROL_FROM, 0);
    return 0;
}

static int move_folder_locked(struct account *account, int folder, const char *from, const char *to, struct fault *fault)
{
    if (has_own_control(account))
        return move_with_control(account, folder, from, to, fault);
    return tree_rename(account->root, from, to, fault) != 0 ? -1 : tree_sync(account->root, to, fault);
}

/* The directory moves whole: the process's object for it, open sessions and the lock inside it stay what they are. */
static int move_folder(struct account *account, const char *from, const char *to, struct fault *fault)
{
    struct mailbox *mailbox;
    if (account_mailbox_at(account, from, &mailbox, fault) != 0)
        return -1;
    int result = mailbox_lock(mailbox, fault);
    if (result == 0) {
        result = move_folder_locked(account, mailbox_folder_fd(mailbox), from, to, fault);
        mailbox_unlock(mailbox);
    }
    mailbox_unref(&mailbox);
    return result;
}

struct family {
    struct slice parent;     /* without the leading dot */
    struct slice target;     /* likewise: what lies there already was moved before FAULT_BUSY */
    char (*names)[TREE_NAME_SIZE];
    size_t count;
};

static bool is_at_or_below(struct slice disk, struct slice parent)
{
    return slice_is_equal(slice_part(disk, 0, parent.len), parent) && (disk.len == parent.len || disk.data[parent.len] == '.');
}

static int add_member(struct slice disk, void *context)
{
    struct family *family = context;
    size_t len = family->parent.len;
    if (!is_at_or_below(disk, family->parent) || (family->target.len > len && is_at_or_below(disk, family->target)))
        return 0;
    if ((family->count & (family->count + 1)) == 0)
        family->names = mem_resize(family->names, (2 * family->count + 2) * sizeof(family->names[0]));
    char *name = family->names[family->count++];
    name[0] = '.';
    memcpy(name + 1, disk.data, disk.len);
    name[disk.len + 1] = '\0';
    return 0;
}

/* Children come before parents: until the last rename the old name is still there, and a RENAME cut short can be given again. */
static int compare_members(const void *a, const void *b)
{
    return strcmp(b, a);
}

static int new_name(const struct family *family, const char *member, const char *to, char *out, struct fault *fault)
{
    const char *rest = member + 1 + family->parent.len;
    size_t to_len = strlen(to), rest_len = strlen(rest);
    if (to_len + rest_len >= TREE_NAME_SIZE)
        return fault_set(fault, FAULT_INVALID, 0, "folder name %s%s would be too long", to, rest);
    memcpy(out, to, to_len);
    memcpy(out + to_len, rest, rest_len + 1);
    return 0;
}

static int check_targets(struct account *account, const struct family *family, const char *to, struct fault *fault)
{
    char target[TREE_NAME_SIZE];
    for (size_t i = 0; i < family->count; i++) {
        if (new_name(family, family->names[i], to, target, fault) != 0)
            return -1;
        if (is_there(account->root, target))
            return fault_set(fault, FAULT_EXISTS, 0, "%s of %s exists", target, account->path);
    }
    if (is_there(account->root, to))
        return fault_set(fault, FAULT_EXISTS, 0, "%s of %s exists", to, account->path);
    return 0;
}

static int move_family(struct account *account, struct family *family, const char *to, struct fault *fault)
{
    char target[TREE_NAME_SIZE];
    if (family->count == 0)
        return fault_set(fault, FAULT_NOT_FOUND, 0, "%s has no folder %.*s", account->path, SLICE_ARG(family->parent));
    if (check_targets(account, family, to, fault) != 0)
        return -1;
    qsort(family->names, family->count, sizeof(family->names[0]), compare_members);
    for (size_t i = 0; i < family->count; i++)
        if (new_name(family, family->names[i], to, target, fault) != 0 ||
            move_folder(account, family->names[i], target, fault) != 0)
            return -1;
    return 0;
}

static int rename_folder(struct account *account, const char *from, const char *to, struct fault *fault)
{
    struct family family = { .parent = slice_from_string(from + 1), .target = slice_from_string(to + 1) };
    int result = account_each_folder(account, add_member, &family, fault);
    if (result == 0)
        result = move_family(account, &family, to, fault);
    mem_free(&family.names);
    return result;
}

static int move_messages(struct mailbox *inbox, struct mailbox *target, struct fault *fault)
{
    if (mailbox_sync(inbox, fault) != 0 || mailbox_sync(target, fault) != 0)
        return -1;
    struct uidset uids = { 0 }, sources = { 0 }, targets = { 0 };
    mailbox_uids(inbox, &uids);
    int result = uids.count == 0 ? 0 : mailbox_copy(inbox, &uids, target, true, &sources, &targets, fault);
    uidset_fini(&uids);
    uidset_fini(&sources);
    uidset_fini(&targets);
    return result;
}

static int fill_from_inbox(struct account *account, const char *to, struct fault *fault)
{
    struct mailbox *inbox, *target;
    if (account_mailbox_at(account, "", &inbox, fault) != 0)
        return -1;
    int result = account_mailbox_at(account, to, &target, fault);
    if (result == 0) {
        result = move_messages(inbox, target, fault);
        mailbox_unref(&target);
    }
    mailbox_unref(&inbox);
    return result;
}

/* RFC 3501 6.3.5. After FAULT_BUSY the step comes again: the folder that the first attempt made is then no obstacle. */
static int rename_inbox(struct account *account, const char *to, struct fault *fault)
{
    bool is_made = account->inbox_target != NULL && strcmp(account->inbox_target, to) == 0 && is_there(account->root, to);
    if (!is_made && create_locked(account, to, fault) != 0)
        return -1;
    mem_free(&account->inbox_target);
    account->inbox_target = mem_strdup(to);
    if (fill_from_inbox(account, to, fault) != 0)
        return -1;
    mem_free(&account->inbox_target);
    return 0;
}

int account_rename(struct account *account, struct slice from, struct slice to, struct fault *fault)
{
    char from_disk[TREE_NAME_SIZE], to_disk[TREE_NAME_SIZE];
    if (folder_name_to_disk(account_namespace(account), from, from_disk, fault) != 0 || check_new(account, to, to_disk, fault) != 0)
        return -1;
    pthread_mutex_lock(&account->mutex);
    int result = from_disk[0] == '\0' ? rename_inbox(account, to_disk, fault) : rename_folder(account, from_disk, to_disk, fault);
    pthread_mutex_unlock(&account->mutex);
    return result;
}
