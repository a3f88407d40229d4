/* What a client says to its POA: see relay_scan.h. */
#include "reader.h"
#include "relay_internal.h"

enum { PENDING_MAX = 256 };

/* The commands that are more than bytes. */
#define NAME(text) { text, sizeof(text) - 1 }
static const struct row {
    struct slice name;
    enum relay_kind kind;
    const char *text;
} rows[] = {
    { NAME("SELECT"), RELAY_SELECT, NULL }, { NAME("EXAMINE"), RELAY_SELECT, NULL }, { NAME("CLOSE"), RELAY_DESELECT, NULL }, { NAME("UNSELECT"), RELAY_DESELECT, NULL },
    { NAME("LOGOUT"), RELAY_LOGOUT, NULL }, { NAME("ENABLE"), RELAY_KEEPS, NULL }, { NAME("NOTIFY"), RELAY_KEEPS, NULL },
    { NAME("COMPRESS"), RELAY_REFUSED, "NO [CANNOT] Compression is not offered." },
    { NAME("STARTTLS"), RELAY_REFUSED, "BAD You are logged in already." },
    { NAME("LOGIN"), RELAY_REFUSED, "BAD You are logged in already." },
    { NAME("AUTHENTICATE"), RELAY_REFUSED, "BAD You are logged in already." },
    { NAME("UNAUTHENTICATE"), RELAY_REFUSED, "BAD Unknown command." },
};
#undef NAME

static const char too_long[] = "BAD [TOOBIG] Command too long.";
static const char too_large[] = "NO [TOOBIG] The message is larger than allowed.";
const char relay_none_enabled[] = "OK Completed.";

/* In place of a command that is refused. Its answer comes when all of it has been read. */
static void send_noop(struct relay_scan *scan, struct relay_pass *pass)
{
    relay_let_pass(pass);
    if (scan->current != NULL)
        buf_printf(pass->out, "%.*s NOOP\r\n", (int)scan->current->tag_len, scan->current->tag);
    scan->current = NULL;
    scan->up = UP_COMMAND;
}

/* The line is not for the POA. If a literal comes unasked it belongs to the command; one that is waited for never comes. */
static void skip_line(struct relay_scan *scan, struct relay_pass *pass, struct slice line)
{
    struct slice before;
    struct literal literal;
    if (reader_ends_in_literal(line, &before, &literal) && literal.unasked) {
        scan->up = UP_SKIP_LITERAL;
        scan->up_left = literal.size;
    } else if (scan->begun) {
        scan->up = UP_COMMAND;   /* the POA has a line of ours that ends the command */
        scan->current = NULL;
    } else
        send_noop(scan, pass);
}

static void refuse(struct relay_scan *scan, struct slice tag, const char *text)
{
    scan->current = relay_note(scan, tag, RELAY_REFUSED, text);
    scan->begun = false;
}

/* A later line of a command that the POA has read so far: a line that is wrong in every command ends it. */
static void spoil(struct relay_scan *scan, struct relay_pass *pass, const char *text)
{
    relay_let_pass(pass);
    buf_append_text(pass->out, ")\r\n");
    scan->begun = true;
    if (scan->current != NULL) {
        scan->current->kind = RELAY_REFUSED;
        scan->current->text = text;
    }
}

/* ENABLE (RFC 5161) without what is not offered. True if nothing is left to ask for; false: the line is passed, or was replaced. */
static bool filter_enable(struct relay_scan *scan, struct relay_pass *pass, struct slice tag, struct slice words, size_t total)
{
    struct buf kept = { .cap = 0 };
    bool hidden = false;
    for (struct slice word = relay_take_word(&words); word.len > 0; word = relay_take_word(&words)) {
        if (relay_is_hidden(&scan->rules, word))
            hidden = true;
        else
            buf_printf(&kept, " %.*s", SLICE_ARG(word));
    }
    bool nothing = hidden && kept.len == 0;
    if (hidden && !nothing) {
        relay_leave_out(pass, total);
        buf_printf(pass->out, "%.*s ENABLE%.*s\r\n", SLICE_ARG(tag), SLICE_ARG(buf_slice(&kept)));
    }
    buf_fini(&kept);
    return nothing;
}

static const struct row *find_row(struct slice name)
{
    char first = name.len > 0 ? ascii_upper(name.data[0]) : '\0';
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (rows[i].name.data[0] == first && slice_is_equal_nocase(name, rows[i].name))
            return &rows[i];
    return NULL;
}

static void await(struct relay_scan *scan, bool done)
{
    scan->up = UP_AWAIT;
    scan->await_done = done;
}

/* The line goes on; what does its end announce? */
static void pass_line(struct relay_scan *scan, struct relay_pass *pass, struct slice line, size_t total)
{
    struct slice before;
    struct literal literal;
    pass->at += total;
    if (!reader_ends_in_literal(line, &before, &literal)) {
        scan->up = UP_COMMAND;
        scan->current = NULL;
        return;
    }
    scan->up_left = literal.size;
    if (literal.unasked)
        scan->up = UP_LITERAL;
    else
        await(scan, false);
}

static bool is_too_large(const struct relay_scan *scan, struct slice line)
{
    struct slice before;
    struct literal literal;
    return reader_ends_in_literal(line, &before, &literal) && literal.size > scan->rules.append_max;
}

static void begin_command(struct relay_scan *scan, struct relay_pass *pass, struct slice line, size_t total)
{
    struct slice rest = line, tag = relay_take_word(&rest), name = relay_take_word(&rest);
    const struct row *row = find_row(name);
    const char *refusal = row != NULL && row->kind == RELAY_REFUSED ? row->text : is_too_large(scan, line) ? too_large : NULL;
    if (refusal == NULL && slice_is_equal_nocase(name, SLICE_LITERAL("ENABLE")) && relay_is_tag(tag)) {
        size_t before = pass->at;
        if (filter_enable(scan, pass, tag, rest, total))
            refusal = relay_none_enabled;
        else if (pass->at != before) {
            relay_note(scan, tag, RELAY_KEEPS, NULL);
            return;
        }
    }
    if (refusal != NULL) {
        relay_leave_out(pass, total);
        refuse(scan, tag, refusal);
        skip_line(scan, pass, line);
        return;
    }
    scan->current = relay_is_tag(tag) ? relay_note(scan, tag, row != NULL ? row->kind : RELAY_OTHER, NULL) : NULL;
    struct relay_command *command = scan->current;
    pass_line(scan, pass, line, total);
    if (command != NULL && command->kind == RELAY_LOGOUT)
        scan->logging_out = true;
    if (command != NULL && scan->up == UP_COMMAND && slice_is_equal_nocase(name, SLICE_LITERAL("IDLE"))) {
        scan->current = command;
        await(scan, true);
    }
}

static void take_line(struct relay_scan *scan, struct relay_pass *pass, struct slice line, size_t total)
{
    switch (scan->up) {
    case UP_COMMAND:
        begin_command(scan, pass, line, total);
        break;
    case UP_MORE:
        if (is_too_large(scan, line)) {
            relay_leave_out(pass, total);
            spoil(scan, pass, too_large);
            skip_line(scan, pass, line);
        } else
            pass_line(scan, pass, line, total);
        break;
    case UP_DONE:
        pass->at += total;
        scan->up = UP_COMMAND;
        scan->current = NULL;
        break;
    default:
        relay_keep_tail(scan->up_tail, &scan->up_tail_len, slice_part(relay_rest(pass), 0, total));
        relay_leave_out(pass, total);
        line = relay_without_end(slice_make(scan->up_tail, scan->up_tail_len));
        scan->up_tail_len = 0;
        skip_line(scan, pass, line);
        break;
    }
}

/* A line too long to be kept: what it began is refused, and it is skipped. */
static void refuse_long_line(struct relay_scan *scan, struct relay_pass *pass)
{
    struct slice rest = relay_rest(pass);
    if (scan->up == UP_COMMAND)
        refuse(scan, relay_take_word(&rest), too_long);
    else
        spoil(scan, pass, too_long);
    scan->up = UP_SKIP;
}

/* False: more must come first. */
static bool take_part(struct relay_scan *scan, struct relay_pass *pass)
{
    struct slice rest = relay_rest(pass);
    ptrdiff_t end = slice_find(slice_from(rest, scan->seen), '\n');
    if (end >= 0) {
        size_t total = scan->seen + (size_t)end + 1;
        scan->seen = 0;
        if (total <= RELAY_LINE_MAX + 2 || scan->up == UP_SKIP) {
            take_line(scan, pass, relay_without_end(slice_part(rest, 0, total)), total);
            return true;
        }
        refuse_long_line(scan, pass);
        return true;
    }
    if (scan->up == UP_SKIP) {
        relay_keep_tail(scan->up_tail, &scan->up_tail_len, rest);
        relay_leave_out(pass, rest.len);
        return false;
    }
    scan->seen = rest.len;
    if (rest.len <= RELAY_LINE_MAX + 1)
        return false;
    scan->seen = 0;
    refuse_long_line(scan, pass);
    return true;
}

static void take_literal(struct relay_scan *scan, struct relay_pass *pass)
{
    size_t count = relay_at_most(scan->up_left, relay_rest(pass).len);
    scan->up_left -= count;
    if (scan->up == UP_SKIP_LITERAL)
        relay_leave_out(pass, count);
    else
        pass->at += count;
    if (scan->up_left == 0)
        scan->up = scan->up == UP_LITERAL ? UP_MORE : UP_SKIP;
}

void relay_scan_client(struct relay_scan *scan, struct buf *in, struct buf *out)
{
    struct relay_pass pass = { in, out, 0, 0 };
    while (pass.at < in->len && scan->up != UP_AWAIT) {
        if (scan->up == UP_COMMAND && (scan->stop || scan->logging_out || scan->pending_count >= PENDING_MAX))
            break;
        if (scan->up == UP_LITERAL || scan->up == UP_SKIP_LITERAL)
            take_literal(scan, &pass);
        else if (!take_part(scan, &pass))
            break;
    }
    relay_end_pass(&pass);
}
