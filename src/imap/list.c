/* LIST and LSUB (RFC 3501 6.3.8, 6.3.9) with CHILDREN (RFC 3348), SPECIAL-USE (RFC 6154) and LIST's RETURN options CHILDREN, SPECIAL-USE
 * and SUBSCRIBED (RFC 5258). Folders are read and matched in a thread, responses written on the loop as the output drains. */
#include "handlers.h"

#include <string.h>

#include "pattern.h"
#include "postern/base/map.h"

enum { PATTERN_MAX = 1024 };

struct list {
    struct slice pattern;       /* reference and mailbox */
    bool subscribed_only;       /* LSUB */
    bool return_subscribed;
    bool root;                  /* LIST "" "": only the separator is asked for */
    struct folder *folders;     /* those to be written, in the command's arena */
    size_t count;
    size_t written;
};

static bool parse_return_option(struct imap_parser *p, struct list *list)
{
    if (parse_keyword(p, "SUBSCRIBED")) {
        list->return_subscribed = true;
        return true;
    }
    return parse_keyword(p, "CHILDREN") || parse_keyword(p, "SPECIAL-USE");
}

/* [SP "RETURN" SP "(" [option *(SP option)] ")"] (RFC 5258 section 6) */
static bool parse_return(struct imap_parser *p, struct list *list)
{
    if (parse_end(p))
        return true;
    if (!parse_space(p) || !parse_keyword(p, "RETURN") || !parse_space(p) || !parse_byte(p, '('))
        return false;
    for (bool first = true; !parse_byte(p, ')'); first = false)
        if ((!first && !parse_space(p)) || !parse_return_option(p, list))
            return false;
    return parse_end(p);
}

static bool parse_arguments(struct command *command, struct list *list)
{
    struct imap_parser *p = &command->parser;
    struct slice reference, mailbox;
    struct buf pattern;
    if (!parse_space(p) || !parse_astring(p, &reference) || !parse_space(p) || !parse_list_mailbox(p, &mailbox) ||
        reference.len + mailbox.len > PATTERN_MAX)
        return false;
    buf_init(&pattern, 0);
    buf_append(&pattern, reference);
    buf_append(&pattern, mailbox);
    list->pattern = arena_copy(&command->arena, buf_slice(&pattern));
    buf_fini(&pattern);
    list->root = mailbox.len == 0;
    return true;
}

bool list_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct list *list = ARENA_NEW(&command->arena, struct list);
    command->data = list;
    return parse_arguments(command, list) && parse_return(&command->parser, list);
}

bool lsub_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct list *list = ARENA_NEW(&command->arena, struct list);
    command->data = list;
    list->subscribed_only = true;
    return parse_arguments(command, list) && parse_end(&command->parser);
}

/* --- matching: in a thread ------------------------------------------------------------------------------------------- */

/* INBOX is matched in any case; other names exactly. */
static bool matches(const struct imap *imap, const struct list *list, struct slice name)
{
    return pattern_matches(list->pattern, name, account_separator(imap->account), slice_is(name, "INBOX"));
}

static void keep_for_list(const struct imap *imap, struct list *list, const struct folder *folders, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if ((folders[i].exists || folders[i].has_children) && matches(imap, list, folders[i].name))
            list->folders[list->count++] = folders[i];
}

/* "%" also finds the parents of what is subscribed, though they are not subscribed themselves (RFC 3501 6.3.9). */
static void keep_parent(const struct imap *imap, struct list *list, struct map *kept, struct slice name)
{
    char separator = account_separator(imap->account);
    for (size_t len = name.len; len-- > 1;) {
        struct slice parent = slice_part(name, 0, len);
        if (name.data[len] != separator || !matches(imap, list, parent) || map_get(kept, parent) != NULL)
            continue;
        list->folders[list->count] = (struct folder){ .name = parent, .has_children = true };
        map_put(kept, parent, &list->folders[list->count++]);
        return;
    }
}

static void keep_for_lsub(const struct imap *imap, struct list *list, struct folder *folders, size_t count)
{
    struct map kept;
    map_init(&kept);
    for (size_t i = 0; i < count; i++)
        if (folders[i].subscribed)
            map_put(&kept, folders[i].name, &folders[i]);
    for (size_t i = 0; i < count; i++) {
        if (!folders[i].subscribed)
            continue;
        if (matches(imap, list, folders[i].name))
            list->folders[list->count++] = folders[i];
        else if (pattern_ends_in_percent(list->pattern))
            keep_parent(imap, list, &kept, folders[i].name);
    }
    map_fini(&kept);
}

static enum step_result list_work(struct imap *imap, struct command *command)
{
    struct list *list = command->data;
    struct folder *folders;
    size_t count;
    struct fault fault;
    if (account_list(imap->account, &command->arena, &folders, &count, &fault) < 0)
        return imap_fail(imap, command, &fault);
    /* One response a folder, or one for a parent of it. */
    list->folders = ARENA_NEW_ARRAY(&command->arena, struct folder, count);
    if (list->subscribed_only)
        keep_for_lsub(imap, list, folders, count);
    else
        keep_for_list(imap, list, folders, count);
    return STEP_DONE;
}

/* --- responses: on the loop -------------------------------------------------------------------------------------------- */

static void write_attributes(struct buf *out, const struct list *list, const struct folder *folder)
{
    static const char *const uses[] = {
        [FOLDER_PLAIN] = "", [FOLDER_DRAFTS] = " \\Drafts", [FOLDER_SENT] = " \\Sent", [FOLDER_TRASH] = " \\Trash",
        [FOLDER_JUNK] = " \\Junk", [FOLDER_ARCHIVE] = " \\Archive",
    };
    if (list->subscribed_only) {
        buf_append_text(out, folder->subscribed ? "" : "\\Noselect");
        return;
    }
    buf_append_text(out, folder->has_children ? "\\HasChildren" : "\\HasNoChildren");
    if (!folder->exists)
        buf_append_text(out, " \\Noselect");
    else
        buf_append_text(out, uses[folder->use]);
    if (list->return_subscribed && folder->subscribed)
        buf_append_text(out, " \\Subscribed");
}

static void write_folder(struct imap *imap, const struct list *list, const struct folder *folder)
{
    struct buf *out = &imap->session->out;
    char separator = account_separator(imap->account);
    buf_append_text(out, list->subscribed_only ? "* LSUB (" : "* LIST (");
    write_attributes(out, list, folder);
    buf_append_text(out, ") ");
    imap_write_string(out, slice_make(&separator, 1));
    buf_append_byte(out, ' ');
    imap_write_string(out, folder->name);
    buf_append_text(out, "\r\n");
}

static bool write_root(struct imap *imap, struct command *command)
{
    char separator = account_separator(imap->account);
    struct buf *out = &imap->session->out;
    buf_append_text(out, "* LIST (\\Noselect) ");
    imap_write_string(out, slice_make(&separator, 1));
    buf_append_text(out, " \"\"\r\n");
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

bool list_run(struct imap *imap, struct command *command)
{
    struct list *list = command->data;
    if (list->root && !list->subscribed_only)
        return write_root(imap, command);
    if (command->stage == 0) {
        command->stage = 1;
        return imap_step(imap, list_work);
    }
    for (; list->written < list->count; list->written++) {
        if (!session_out_has_room(imap->session))
            return false;
        write_folder(imap, list, &list->folders[list->written]);
    }
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}
