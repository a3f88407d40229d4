/* folder_list: what LIST and LSUB are answered from: the dot-directories of the Maildir, their parents, and the subscriptions.
 * Sessions call account_list. It must never show a name that no command could open again. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/map.h"
#include "tree.h"

struct listing {
    struct account *account;
    struct tree_namespace space;
    struct arena *arena;
    struct map by_name;
    struct folder *folders;
    size_t count;
};

static bool is_directory(int root, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    return fstatat(root, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int account_each_folder(struct account *account, int (*visit)(struct slice disk, void *context), void *context, struct fault *fault)
{
    int fd = tree_reopen(account->root, fault);
    if (fd < 0)
        return -1;
    DIR *entries = fdopendir(fd);
    if (entries == NULL) {
        close(fd);
        return fault_set_errno(fault, errno, "read %s", account->path);
    }
    int result = 0;
    errno = 0;
    for (struct dirent *entry; result == 0 && (entry = readdir(entries)) != NULL; errno = 0)
        if (entry->d_name[0] == '.' && entry->d_name[1] != '\0' && entry->d_name[1] != '.' && is_directory(account->root, entry))
            result = visit(slice_from_string(entry->d_name + 1), context);
    if (result == 0 && errno != 0)
        result = fault_set_errno(fault, errno, "read %s", account->path);
    closedir(entries);
    return result;
}

/* RFC 6154 2: by the name below the namespace's prefix. */
static enum folder_use use_of(const struct listing *listing, struct slice name)
{
    static const struct { const char *name; enum folder_use use; } uses[] = {
        { "Drafts", FOLDER_DRAFTS }, { "Sent", FOLDER_SENT }, { "Trash", FOLDER_TRASH },
        { "Junk", FOLDER_JUNK }, { "Spam", FOLDER_JUNK }, { "Archive", FOLDER_ARCHIVE },
    };
    struct slice rest = slice_from(name, listing->space.prefix.len);
    for (size_t i = 0; i < sizeof(uses) / sizeof(uses[0]); i++)
        if (slice_is_nocase(rest, uses[i].name))
            return uses[i].use;
    return FOLDER_PLAIN;
}

static struct folder *get_or_add(struct listing *listing, struct slice name)
{
    struct folder *folder = map_get(&listing->by_name, name);
    if (folder == NULL) {
        folder = ARENA_NEW(listing->arena, struct folder);
        folder->name = name;
        folder->use = use_of(listing, name);
        map_put(&listing->by_name, name, folder);
    }
    return folder;
}

/* Stops at the first parent that is known to have children: those above it were marked with it. */
static void add_parents(struct listing *listing, struct slice name)
{
    for (ptrdiff_t at; (at = slice_find_last(name, listing->space.separator)) > 0;) {
        name = slice_part(name, 0, (size_t)at);
        struct folder *parent = get_or_add(listing, name);
        if (parent->has_children)
            return;
        parent->has_children = true;
    }
}

static int add_existing(struct slice disk, void *context)
{
    struct listing *listing = context;
    struct slice name;
    if (slice_is_nocase(disk, "INBOX") || !folder_name_from_disk(listing->space, disk, listing->arena, &name))
        return 0;
    get_or_add(listing, name)->exists = true;
    add_parents(listing, name);
    return 0;
}

static void add_subscribed(struct slice disk, void *context)
{
    struct listing *listing = context;
    struct slice name;
    if (folder_name_from_disk(listing->space, disk, listing->arena, &name))
        get_or_add(listing, name)->subscribed = true;
}

static void take_out(struct slice name, void *value, void *context)
{
    struct listing *listing = context;
    (void)name;
    listing->folders[listing->count++] = *(struct folder *)value;
}

static int compare_folders(const void *a, const void *b)
{
    const struct folder *x = a, *y = b;
    bool x_inbox = slice_is(x->name, "INBOX"), y_inbox = slice_is(y->name, "INBOX");
    if (x_inbox != y_inbox)
        return x_inbox ? -1 : 1;
    return slice_compare(x->name, y->name);
}

int account_list(struct account *account, struct arena *arena, struct folder **folders_out, size_t *count_out, struct fault *fault)
{
    struct listing listing = { .account = account, .space = account_namespace(account), .arena = arena };
    *folders_out = NULL;
    *count_out = 0;
    map_init(&listing.by_name);
    get_or_add(&listing, SLICE_LITERAL("INBOX"))->exists = true;
    int result = account_each_folder(account, add_existing, &listing, fault);
    if (result == 0)
        result = subscriptions_each(account, add_subscribed, &listing, fault);
    if (result == 0) {
        listing.folders = ARENA_NEW_ARRAY(arena, struct folder, listing.by_name.count);
        map_for_each(&listing.by_name, take_out, &listing);
        qsort(listing.folders, listing.count, sizeof(struct folder), compare_folders);
        *folders_out = listing.folders;
        *count_out = listing.count;
    }
    map_fini(&listing.by_name);
    return result;
}
