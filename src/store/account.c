/* account: one user's Maildir in a direct post office, one object per Maildir in the process, counted; and its way to mailboxes.
 * Sessions and deliveries open it. It must never make a Maildir or control directory where mail may lie unseen. */
#include "postern/store/account.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "tree.h"

static pthread_mutex_t registry_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct map by_where, by_directory;     /* of the same accounts: as asked for, and by what was found there */

/* Accounts that nobody has open, kept for a while. What was found good within TRUST_MS is not looked at again. */
enum { IDLE_MOST = 256, TRUST_MS = 2000 };
static struct list idle = { &idle, &idle };   /* by idle_ms */
static size_t idle_count;
static uint64_t idle_keep_ms;                 /* 0: none are kept */

/* --- opening the directories ------------------------------------------------------------------------------------------ */

/* Every level is a plain name: no climbing, nothing empty. openat2 would refuse it too, but with a less clear text. */
static int check_where(const struct account_where *where, struct fault *fault)
{
    if (where->separator != '.' && where->separator != '/')
        return fault_set(fault, FAULT_INVALID, 0, "separator '%c' is neither '.' nor '/'", where->separator);
    if (where->mailbox_dir.len == 0 || where->mailbox_dir.len >= PATH_MAX || slice_has_nul(where->mailbox_dir))
        return fault_set(fault, FAULT_INVALID, 0, "no valid mailbox directory: %.*s", SLICE_ARG(where->mailbox_dir));
    struct slice rest = where->mailbox_dir, level;
    while (slice_split(&rest, '/', &level))
        if (level.len == 0 || level.len > NAME_MAX || slice_is(level, ".") || slice_is(level, ".."))
            return fault_set(fault, FAULT_INVALID, 0, "no valid mailbox directory: %.*s", SLICE_ARG(where->mailbox_dir));
    if (where->control_dir.len > 0 &&
        (!slice_starts_with(where->control_dir, "/") || slice_has_nul(where->control_dir) || where->control_dir.len >= PATH_MAX))
        return fault_set(fault, FAULT_INVALID, 0, "control directory is not absolute: %.*s", SLICE_ARG(where->control_dir));
    return 0;
}

/* What a directory made for a user looks like: his alone, unless the post office hands its group down. */
static struct stat likeness_of_new(const struct stat *above)
{
    struct stat like = *above;
    like.st_mode = 0700 | (above->st_mode & S_ISGID ? above->st_mode & 02070 : 0);
    return like;
}

static int make_level(int parent, const char *name, const struct stat *like, bool is_maildir, struct fault *fault)
{
    if (is_maildir)
        return tree_make_maildir(parent, name, like, false, fault);
    int made = tree_make_directory(parent, name, like, fault);
    if (made < 0)
        return -1;
    close(made);
    return tree_sync(parent, name, fault);
}

/* Opens the level `name` of a path, made if it is missing. A Maildir as the last level appears whole. */
static int open_or_make_level(int parent, const char *name, const struct stat *like, bool is_last, struct fault *fault)
{
    struct fault why;
    int fd = tree_open(parent, name, O_RDONLY | O_DIRECTORY, &why);
    if (fd < 0 && why.error == ENOENT) {
        if (make_level(parent, name, like, is_last, &why) != 0 && why.error != EEXIST && why.error != ENOTEMPTY)
            return fault_set(fault, why.class, why.error, "%s", why.text);
        fd = tree_open(parent, name, O_RDONLY | O_DIRECTORY, &why);
    }
    return fd >= 0 ? fd : fault_set(fault, why.class, why.error, "%s", why.text);
}

static int open_making(const struct postoffice *postoffice, struct slice path, struct fault *fault)
{
    struct stat like = likeness_of_new(&postoffice->directory);
    struct slice rest = path, level;
    int at = tree_reopen(postoffice->fd, fault);
    while (at >= 0 && slice_split(&rest, '/', &level)) {
        char *name = slice_to_string(level);
        int next = open_or_make_level(at, name, &like, rest.data == NULL, fault);
        mem_free(&name);
        close(at);
        at = next;
    }
    return at;
}

static int open_root(const struct postoffice *postoffice, struct slice path, const char *text, bool create, struct fault *fault)
{
    int fd = create ? open_making(postoffice, path, fault) : tree_open(postoffice->fd, text, O_RDONLY | O_DIRECTORY, fault);
    if (fd < 0)
        return -1;
    struct stat st;
    int result = tree_check_owner(fd, text, fault);
    if (result == 0 && fstat(fd, &st) != 0)
        result = fault_set_errno(fault, errno, "stat %s", text);
    if (result == 0 && create)
        result = tree_complete_maildir(fd, &st, false, fault);
    else if (result == 0 && (fstatat(fd, "cur", &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISDIR(st.st_mode)))
        result = fault_set(fault, FAULT_NOT_FOUND, 0, "%s is no Maildir", text);
    if (result != 0)
        close(fd);
    return result == 0 ? fd : -1;
}

static bool has_files(int root, const char *name)
{
    int fd = tree_open(root, name, O_RDONLY | O_DIRECTORY, NULL);
    DIR *entries = fd < 0 ? NULL : fdopendir(fd);
    if (entries == NULL) {
        if (fd >= 0)
            close(fd);
        return fd >= 0;
    }
    bool found = false;
    for (struct dirent *entry; !found && (entry = readdir(entries)) != NULL;)
        found = entry->d_name[0] != '.';
    closedir(entries);
    return found;
}

static int no_folder(struct slice disk, void *context)
{
    (void)disk;
    (void)context;
    return -1;
}

static int make_path(struct slice path, const struct stat *like, struct fault *fault)
{
    int at = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (at < 0)
        return fault_set_errno(fault, errno, "open /");
    struct slice rest = slice_from(path, 1), level;
    while (at >= 0 && slice_split(&rest, '/', &level)) {
        if (level.len == 0)
            continue;
        char *name = slice_to_string(level);
        int next = open_or_make_level(at, name, like, false, fault);
        mem_free(&name);
        close(at);
        at = next;
    }
    return at;
}

/* The control directory is made only for a mailbox without mail and folders: a missing one may be unmounted, and then every UID would change. */
static int open_control(struct account *account, struct slice path, bool create, struct fault *fault)
{
    if (path.len == 0)
        return account->root;
    struct fault why;
    int slash = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = tree_open(slash, account->control_dir + 1, O_RDONLY | O_DIRECTORY, &why);
    if (slash >= 0)
        close(slash);
    if (fd < 0 && why.error == ENOENT) {
        bool is_new = !has_files(account->root, "cur") && !has_files(account->root, "new") &&
                      account_each_folder(account, no_folder, NULL, NULL) == 0;
        if (!create || !is_new)
            return fault_set(fault, FAULT_UNREACHABLE, ENOENT, "control directory %s is missing", account->control_dir);
        fd = make_path(path, &account->like, &why);
    }
    if (fd < 0)
        return fault_set(fault, why.class, why.error, "%s", why.text);
    if (tree_check_owner(fd, account->control_dir, fault) == 0)
        return fd;
    close(fd);
    return -1;
}

/* --- the registry -------------------------------------------------------------------------------------------------------- */

static struct buf key_of(const struct account_where *where)
{
    struct buf key = { 0 };
    const struct slice parts[] = { where->path, where->uuid, where->mailbox_dir, where->control_dir, where->prefix };
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_append(&key, parts[i]);
        buf_append_byte(&key, '\0');
    }
    buf_append_byte(&key, where->separator);
    return key;
}

/* Under the registry's mutex. */
static struct account *take(struct account *account)
{
    if (account->refs++ == 0) {
        list_remove(&account->idle_link);
        idle_count--;
    }
    return account;
}

/* Two ways of asking may lead to one directory. */
static struct buf directory_key(const struct stat *st, struct slice control_dir, struct slice prefix, char separator)
{
    const uint64_t identity[2] = { st->st_dev, st->st_ino };
    struct buf key = { 0 };
    buf_append(&key, slice_make((const char *)identity, sizeof(identity)));
    buf_append_byte(&key, separator);
    buf_append(&key, control_dir);
    buf_append_byte(&key, '\0');
    buf_append(&key, prefix);
    return key;
}

static struct buf directory_key_of(const struct account *account)
{
    return directory_key(&account->like, slice_from_string(account->control_dir), slice_from_string(account->prefix), account->separator);
}

static void destroy(struct account *account)
{
    if (account->control != account->root && account->control >= 0)
        close(account->control);
    close(account->root);
    postoffice_unref(&account->postoffice);
    pthread_mutex_destroy(&account->mutex);
    mem_free(&account->path);
    mem_free(&account->control_dir);
    mem_free(&account->prefix);
    mem_free(&account->inbox_target);
    buf_fini(&account->key);
    mem_free(&account);
}

/* Takes over root and the reference to the post office. */
static struct account *build(struct postoffice *postoffice, int root, const struct stat *st, const struct account_where *where)
{
    struct account *account = MEM_NEW(struct account);
    account->refs = 1;
    list_init(&account->idle_link);
    account->opened_ms = clock_monotonic_ms();
    account->key = key_of(where);
    account->postoffice = postoffice;
    account->root = root;
    account->control = -1;
    account->like = *st;
    account->path = slice_to_string(where->mailbox_dir);
    account->control_dir = slice_to_string(where->control_dir);
    account->prefix = slice_to_string(where->prefix);
    account->separator = where->separator;
    pthread_mutex_init(&account->mutex, NULL);
    return account;
}

/* Another thread may have opened the same account meanwhile: then that one is it. */
static struct account *enter(struct account *account)
{
    struct buf key = directory_key_of(account);
    pthread_mutex_lock(&registry_mutex);
    struct account *known = map_get(&by_directory, buf_slice(&key));
    if (known == NULL) {
        map_put(&by_directory, buf_slice(&key), account);
        map_put(&by_where, buf_slice(&account->key), account);
    } else {
        known->opened_ms = clock_monotonic_ms();
        take(known);
    }
    pthread_mutex_unlock(&registry_mutex);
    buf_fini(&key);
    if (known == NULL)
        return account;
    destroy(account);
    return known;
}

static int open_in(struct postoffice *postoffice, const struct account_where *where, bool create, struct account **out,
                   struct fault *fault)
{
    char *path = slice_to_string(where->mailbox_dir);
    int root = open_root(postoffice, where->mailbox_dir, path, create, fault);
    mem_free(&path);
    struct stat st;
    if (root < 0 || fstat(root, &st) != 0) {
        if (root >= 0)
            close(root);
        postoffice_unref(&postoffice);
        return root < 0 ? -1 : fault_set_errno(fault, errno, "stat %.*s", SLICE_ARG(where->mailbox_dir));
    }
    struct account *account = build(postoffice, root, &st, where);
    account->control = open_control(account, where->control_dir, create, fault);
    if (account->control < 0) {
        destroy(account);
        return -1;
    }
    *out = enter(account);
    return 0;
}

struct account *account_find(const struct account_where *where)
{
    struct buf key = key_of(where);
    pthread_mutex_lock(&registry_mutex);
    struct account *known = map_get(&by_where, buf_slice(&key));
    bool trusted = known != NULL && idle_keep_ms != 0 && clock_monotonic_ms() - known->opened_ms < TRUST_MS;
    if (trusted)
        take(known);
    pthread_mutex_unlock(&registry_mutex);
    buf_fini(&key);
    return trusted ? known : NULL;
}

int account_open(const struct account_where *where, bool create, struct account **out, struct fault *fault)
{
    if (check_where(where, fault) != 0) {
        *out = NULL;
        return -1;
    }
    *out = account_find(where);
    if (*out != NULL)
        return 0;
    struct postoffice *postoffice = postoffice_get(where->path, where->uuid, fault);
    return postoffice == NULL ? -1 : open_in(postoffice, where, create, out, fault);
}

struct account *account_ref(struct account *account)
{
    pthread_mutex_lock(&registry_mutex);
    CHECK(account->refs > 0);
    account->refs++;
    pthread_mutex_unlock(&registry_mutex);
    return account;
}

static void forget_directory(const struct account *account)
{
    struct buf key = directory_key_of(account);
    map_remove(&by_directory, buf_slice(&key));
    buf_fini(&key);
}

/* Under the registry's mutex: those that were left at that time or before, and the oldest of too many; nobody finds them any more. */
static void end_idle_until(uint64_t time_ms, struct list *ended)
{
    while (!list_is_empty(&idle)) {
        struct account *oldest = LIST_ITEM(idle.next, struct account, idle_link);
        if (oldest->idle_ms > time_ms && idle_count <= IDLE_MOST)
            return;
        list_remove(&oldest->idle_link);
        idle_count--;
        forget_directory(oldest);
        if (map_get(&by_where, buf_slice(&oldest->key)) == oldest)
            map_remove(&by_where, buf_slice(&oldest->key));
        list_append(ended, &oldest->idle_link);
    }
}

static void destroy_all(struct list *ended)
{
    while (!list_is_empty(ended)) {
        struct account *account = LIST_ITEM(ended->next, struct account, idle_link);
        list_remove(&account->idle_link);
        destroy(account);
    }
}

void account_unref(struct account **account)
{
    struct account *old = *account;
    *account = NULL;
    if (old == NULL)
        return;
    struct list ended;
    list_init(&ended);
    pthread_mutex_lock(&registry_mutex);
    if (--old->refs == 0) {
        old->idle_ms = clock_monotonic_ms();
        list_append(&idle, &old->idle_link);
        idle_count++;
        end_idle_until(old->idle_ms - idle_keep_ms, &ended);
    }
    pthread_mutex_unlock(&registry_mutex);
    destroy_all(&ended);
}

void store_keep_idle(uint64_t milliseconds)
{
    struct list ended;
    list_init(&ended);
    mailbox_keep_idle(milliseconds);
    pthread_mutex_lock(&registry_mutex);
    idle_keep_ms = milliseconds;
    end_idle_until(clock_monotonic_ms() - milliseconds, &ended);
    pthread_mutex_unlock(&registry_mutex);
    destroy_all(&ended);
}

char account_separator(const struct account *account)
{
    return account->separator;
}

struct slice account_prefix(const struct account *account)
{
    return slice_from_string(account->prefix);
}

struct tree_namespace account_namespace(const struct account *account)
{
    return (struct tree_namespace){ account_prefix(account), account->separator };
}

/* --- mailboxes -------------------------------------------------------------------------------------------------------------- */

static void release_account(void *owner)
{
    struct account *account = owner;
    account_unref(&account);
}

/* Dovecot's CONTROL= has a directory per folder, for INBOX too, which in the Maildir itself has none. */
static int open_folder_control(struct account *account, const char *disk, int folder, struct fault *fault)
{
    if (account->control == account->root)
        return folder;
    struct stat like;
    if (fstat(account->control, &like) != 0)
        return fault_set_errno(fault, errno, "stat %s", account->control_dir);
    return open_or_make_level(account->control, disk[0] == '\0' ? ".INBOX" : disk, &like, false, fault);
}

static int open_folder(struct account *account, const char *disk, struct fault *fault)
{
    int fd = tree_open(account->root, disk[0] == '\0' ? "." : disk, O_RDONLY | O_DIRECTORY, fault);
    if (fd < 0)
        return -1;
    if (tree_check_owner(fd, disk, fault) == 0 && tree_complete_maildir(fd, &account->like, disk[0] != '\0', fault) == 0)
        return fd;
    close(fd);
    return -1;
}

int account_mailbox_at(struct account *account, const char *disk, struct mailbox **out, struct fault *fault)
{
    *out = NULL;
    int folder = open_folder(account, disk, fault);
    if (folder < 0)
        return -1;
    if (account->control != account->root)
        folder_finish_rename(account, disk, folder);
    int control = open_folder_control(account, disk, folder, fault);
    if (control < 0) {
        close(folder);
        return -1;
    }
    struct mailbox_place place = {
        .folder = folder, .control = control, .validity = account->control, .disk = disk,
        .owner = account_ref(account), .release = release_account,
    };
    return mailbox_new_at(&place, out, fault);
}

int account_mailbox(struct account *account, struct slice name, struct mailbox **out, struct fault *fault)
{
    char disk[TREE_NAME_SIZE];
    *out = NULL;
    if (folder_name_to_disk(account_namespace(account), name, disk, fault) != 0)
        return -1;
    return account_mailbox_at(account, disk, out, fault);
}

struct mailbox *account_mailbox_settled(struct account *account, struct slice name)
{
    char disk[TREE_NAME_SIZE];
    if (folder_name_to_disk(account_namespace(account), name, disk, NULL) != 0)
        return NULL;
    return mailbox_find_settled(account, disk);
}

bool account_has_mailbox(struct account *account, struct slice name)
{
    char disk[TREE_NAME_SIZE];
    return folder_name_to_disk(account_namespace(account), name, disk, NULL) == 0 && mailbox_is_known(account, disk);
}
