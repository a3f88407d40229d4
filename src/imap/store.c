/* STORE (RFC 3501 6.4.6), and lists of flags. */
#include "fetch.h"
#include "handlers.h"

struct store {
    struct sequence_set set;
    struct uidset uids;
    struct flag_list list;
    enum flag_change change;
    bool silent;
    size_t range;       /* responses: where in uids the next one is */
    uint32_t uid;
};

static const char *const flag_names[] = { "\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft" };

const char *imap_flag_name(unsigned bit)
{
    return flag_names[bit];
}

/* A system flag, or a keyword; other flags that begin with a backslash are none that a client may set. */
static bool add_flag(struct slice name, struct flag_list *list)
{
    for (unsigned bit = 0; bit < sizeof(flag_names) / sizeof(flag_names[0]); bit++) {
        if (slice_is_nocase(name, flag_names[bit])) {
            list->flags |= (uint8_t)(1U << bit);
            return true;
        }
    }
    if (slice_starts_with(name, "\\") || name.len > KEYWORD_LENGTH_MAX)
        return false;
    list->keywords[list->keyword_count++] = name;
    return true;
}

static size_t count_blanks(struct slice s)
{
    size_t count = 0;
    for (size_t i = 0; i < s.len; i++)
        count += s.data[i] == ' ';
    return count;
}

bool parse_flag_list(struct imap_parser *p, bool bare_allowed, struct flag_list *out)
{
    bool bare = !parse_byte(p, '(');
    struct slice name;
    if (bare && !bare_allowed)
        return false;
    out->keywords = ARENA_NEW_ARRAY(p->arena, struct slice, count_blanks(p->rest) + 1);
    if (!bare && parse_byte(p, ')'))
        return true;
    do {
        if (!parse_flag(p, &name) || !add_flag(name, out))
            return false;
    } while (parse_space(p));
    return bare || parse_byte(p, ')');
}

static void release(struct command *command)
{
    struct store *store = command->data;
    uidset_fini(&store->uids);
}

/* SP set SP ["+" / "-"] "FLAGS" [".SILENT"] SP flags */
bool store_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct store *store = ARENA_NEW(&command->arena, struct store);
    command->data = store;
    command->release = release;
    if (!parse_space(p) || !parse_sequence_set(p, &store->set) || !parse_space(p))
        return false;
    store->change = parse_byte(p, '+') ? FLAGS_ADD : parse_byte(p, '-') ? FLAGS_REMOVE : FLAGS_REPLACE;
    store->silent = parse_keyword(p, "FLAGS.SILENT");
    return (store->silent || parse_keyword(p, "FLAGS")) && parse_space(p) && parse_flag_list(p, true, &store->list) && parse_end(p);
}

static enum step_result store_work(struct imap *imap, struct command *command)
{
    struct store *store = command->data;
    struct fault fault;
    struct flag_update update = {
        .change = store->change, .flags = store->list.flags,
        .keywords = store->list.keywords, .keyword_count = store->list.keyword_count,
    };
    uidset_clear(&store->uids);
    if (!imap_resolve_set(imap->view, &store->set, command->row->flags & UID_KEYWORD, &store->uids)) {
        imap_reply(command, REPLY_BAD, "No such message number.");
        return STEP_DONE;
    }
    if (mailbox_update_flags(view_mailbox(imap->view), &store->uids, &update, &fault) < 0)
        return imap_fail_selected(imap, command, &fault);
    /* Before the responses read the flags: a change of others after this moment is told again rather than never. */
    view_forget_flag_changes(imap->view, &store->uids);
    return STEP_DONE;
}

static void write_flags(struct imap *imap, const struct command *command, uint32_t uid)
{
    struct buf *out = &imap->session->out;
    struct message message;
    uint32_t number = view_sequence_of(imap->view, uid);
    if (number == 0 || view_read(imap->view, number, &message, 1) != 1)
        return;
    buf_printf(out, "* %u FETCH (", (unsigned)number);
    if (command->row->flags & UID_KEYWORD)
        buf_printf(out, "UID %u ", (unsigned)uid);
    fetch_write_flags(out, view_mailbox(imap->view), &message);
    buf_append_text(out, ")\r\n");
}

/* False: out is full. */
static bool write_all_flags(struct imap *imap, const struct command *command, struct store *store)
{
    for (; store->range < store->uids.count; store->range++, store->uid = 0) {
        const struct uid_range *range = &store->uids.ranges[store->range];
        /* uid: the last one written of this range, or 0. */
        while (store->uid != range->last) {
            if (!session_out_has_room(imap->session))
                return false;
            store->uid = store->uid == 0 ? range->first : store->uid + 1;
            write_flags(imap, command, store->uid);
        }
    }
    return true;
}

bool store_run(struct imap *imap, struct command *command)
{
    struct store *store = command->data;
    if (command->stage == 0) {
        command->stage = 1;
        return imap_step(imap, store_work);
    }
    imap_tell_keywords(imap);
    if (!store->silent && !write_all_flags(imap, command, store))
        return false;
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}
