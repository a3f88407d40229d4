/* What a POA says to its client: see relay_scan.h. */
#include <string.h>

#include "postern/base/check.h"
#include "reader.h"
#include "relay_internal.h"

enum { HELD_MAX = 16 * 1024 };    /* of a response that must be read as a whole */

/* --- capabilities ---------------------------------------------------------------------------------------------------------- */

/* Of use before a login only, about the connection, a way past us (RFC 2193), or offered by us in another way. */
static bool is_taken_out(const struct relay_rules *rules, struct slice word)
{
    static const char *const words[] = { "STARTTLS", "LOGINDISABLED", "LOGIN-REFERRALS", "MAILBOX-REFERRALS", "SASL-IR", "UNAUTHENTICATE" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (slice_is_nocase(word, words[i]))
            return true;
    return slice_starts_with_nocase(word, "AUTH=") || slice_starts_with_nocase(word, "COMPRESS=") || relay_is_hidden(rules, word);
}

void relay_scan_capability(const struct relay_rules *rules, struct slice words, struct buf *out)
{
    uint64_t most = rules->append_max, theirs;
    for (struct slice word = relay_take_word(&words); word.len > 0; word = relay_take_word(&words)) {
        /* RFC 7889 section 3: the smaller limit is the one in force. */
        if (slice_starts_with_nocase(word, "APPENDLIMIT")) {
            if (word.len > 12 && slice_to_number(slice_from(word, 12), UINT64_MAX, &theirs) && theirs < most)
                most = theirs;
        } else if (!is_taken_out(rules, word))
            buf_printf(out, " %.*s", SLICE_ARG(word));
    }
    if (most != UINT64_MAX)
        buf_printf(out, " APPENDLIMIT=%llu", (unsigned long long)most);
}

/* --- from the POA ---------------------------------------------------------------------------------------------------------- */

/* "OK [CAPABILITY ...] words": the code may stand in every status response (RFC 3501 section 7.1). Any other line goes on as it is. */
static void pass_status(const struct relay_scan *scan, struct relay_pass *pass, struct slice line, size_t total)
{
    struct slice code = SLICE_LITERAL("[CAPABILITY ");
    ptrdiff_t from = slice_find(line, '[') < 0 ? -1 : slice_find_text_nocase(line, code);
    if (from < 0 && total == line.len + 2) {
        pass->at += total;
        return;
    }
    struct buf *out = pass->out;
    relay_leave_out(pass, total);
    size_t words = from < 0 ? line.len : (size_t)from + code.len - 1;
    ptrdiff_t len = slice_find(slice_from(line, words), ']');
    if (len < 0)
        len = (ptrdiff_t)(line.len - words);
    buf_append(out, slice_part(line, 0, words));
    if (from >= 0)
        relay_scan_capability(&scan->rules, slice_part(line, words, (size_t)len), out);
    buf_append(out, slice_from(line, words + (size_t)len));
    buf_append_text(out, "\r\n");
}

static void command_ended(struct relay_scan *scan, struct relay_command *command, struct slice status)
{
    bool ok = slice_is_equal_nocase(status, SLICE_LITERAL("OK"));
    if (command->kind == RELAY_SELECT && !slice_is_nocase(status, "BAD"))
        scan->selected = ok;   /* a RELAY_SELECT that fails leaves none selected (RFC 3501 section 6.3.1) */
    else if (command->kind == RELAY_DESELECT && ok)
        scan->selected = false;
    else if (command->kind == RELAY_KEEPS && ok)
        scan->sticky = true;
    else if (command->kind == RELAY_LOGOUT)
        scan->logging_out = scan->logged_out = ok;
    /* Neither is the literal asked for, nor has IDLE begun, or it has ended. */
    if (scan->current == command && (scan->up == UP_AWAIT || scan->up == UP_DONE))
        scan->up = UP_COMMAND;
    relay_forget(scan, command);
}

static void write_refusal(const struct relay_command *command, struct slice tag, struct buf *out)
{
    if (command->text == relay_none_enabled)
        buf_append_text(out, "* ENABLED\r\n");
    if (command->no_tag)
        buf_append_text(out, "*");
    else
        buf_append(out, tag);
    buf_printf(out, " %s\r\n", command->text);
}

/* False: this is no answer. */
static bool take_tagged(struct relay_scan *scan, struct relay_pass *pass, struct slice line, size_t total)
{
    struct slice rest = line, tag = relay_take_word(&rest), status = relay_take_word(&rest);
    struct relay_command *command = relay_find(scan, tag);
    if (!slice_is_equal_nocase(status, SLICE_LITERAL("OK")) && !slice_is_nocase(status, "NO") && !slice_is_nocase(status, "BAD"))
        return false;
    if (command == NULL || command->kind != RELAY_REFUSED)
        pass_status(scan, pass, line, total);
    else {
        relay_leave_out(pass, total);
        write_refusal(command, tag, pass->out);
    }
    if (command != NULL)
        command_ended(scan, command, status);
    return true;
}

static void take_untagged(struct relay_scan *scan, struct relay_pass *pass, struct slice line, size_t total)
{
    struct slice rest = slice_from(line, 2), word = relay_take_word(&rest);
    if (slice_is_nocase(word, "CAPABILITY")) {
        relay_leave_out(pass, total);
        buf_append_text(pass->out, "* CAPABILITY");
        relay_scan_capability(&scan->rules, rest, pass->out);
        buf_append_text(pass->out, "\r\n");
    } else if (slice_is_nocase(word, "BYE") && !scan->logging_out) {
        relay_leave_out(pass, total);
        scan->bye = true;
    } else {
        /* All that a command without a tag is ever told. */
        if (slice_is_nocase(word, "BAD") && scan->up == UP_AWAIT && scan->current == NULL)
            scan->up = UP_COMMAND;
        pass_status(scan, pass, line, total);
    }
}

static void take_continuation(struct relay_scan *scan)
{
    if (scan->up != UP_AWAIT)
        return;
    scan->up = scan->await_done ? UP_DONE : scan->up_left > 0 ? UP_LITERAL : UP_MORE;
}

enum look { PASSES, HELD, UNDECIDED };

/* Must the line be read as a whole? */
static enum look look_at(struct slice line)
{
    static const char *const words[] = { "* CAPABILITY", "* OK", "* NO", "* BAD", "* BYE" };
    if (line.data[0] != '*')
        return HELD;
    if ((line.len > 1 && line.data[1] != ' ') || (line.len > 2 && strchr("CONB", ascii_upper(line.data[2])) == NULL))
        return PASSES;
    struct slice word = line;
    bool whole = false;
    for (size_t i = 2; i < line.len && !whole; i++)
        if (line.data[i] == ' ' || line.data[i] == '\r' || line.data[i] == '\n') {
            word = slice_part(line, 0, i);
            whole = true;
        }
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (whole && slice_is_nocase(word, words[i]))
            return HELD;
        if (!whole && word.len <= strlen(words[i]) && slice_is_equal_nocase(word, slice_make(words[i], word.len)))
            return UNDECIDED;
    }
    return PASSES;
}

/* 0: more must come first; 1: went on; -1: a line that must be read is too long. */
static int take_start(struct relay_scan *scan, struct relay_pass *pass)
{
    struct slice rest = relay_rest(pass);
    scan->down_tail_len = 0;
    if (rest.data[0] == '+') {
        take_continuation(scan);
        scan->down = DOWN_TEXT;
        return 1;
    }
    enum look look = look_at(rest);
    if (look == PASSES)
        scan->down = DOWN_LINE;
    if (look != HELD)
        return look == PASSES;
    ptrdiff_t end = slice_find(slice_part(rest, 0, HELD_MAX), '\n');
    if (end < 0)
        return rest.len >= HELD_MAX ? -1 : 0;
    size_t total = (size_t)end + 1;
    struct slice line = relay_without_end(slice_part(rest, 0, total));
    if (line.len == 0)
        relay_leave_out(pass, total);
    else if (line.data[0] == '*')
        take_untagged(scan, pass, line, total);
    else if (!take_tagged(scan, pass, line, total)) {
        relay_leave_out(pass, total);
        return -1;
    }
    return 1;
}

static void take_rest_of_line(struct relay_scan *scan, struct relay_pass *pass)
{
    struct slice rest = relay_rest(pass), before;
    struct literal literal;
    ptrdiff_t end = slice_find(rest, '\n');
    size_t total = end < 0 ? rest.len : (size_t)end + 1;
    pass->at += total;
    if (scan->down == DOWN_LINE)
        relay_keep_tail(scan->down_tail, &scan->down_tail_len, slice_part(rest, 0, total));
    if (end < 0)
        return;
    struct slice tail = relay_without_end(slice_make(scan->down_tail, scan->down_tail_len));
    scan->down_tail_len = 0;
    if (scan->down == DOWN_LINE && reader_ends_in_literal(tail, &before, &literal)) {
        scan->down = literal.size > 0 ? DOWN_LITERAL : DOWN_LINE;
        scan->down_left = literal.size;
    } else
        scan->down = DOWN_START;
}

int relay_scan_poa(struct relay_scan *scan, struct buf *in, struct buf *out)
{
    struct relay_pass pass = { in, out, 0, 0 };
    int result = 1;
    while (pass.at < in->len && result > 0) {
        if (scan->down == DOWN_LITERAL) {
            size_t count = relay_at_most(scan->down_left, relay_rest(&pass).len);
            pass.at += count;
            scan->down_left -= count;
            if (scan->down_left == 0)
                scan->down = DOWN_LINE;
        } else if (scan->down == DOWN_START)
            result = take_start(scan, &pass);
        else
            take_rest_of_line(scan, &pass);
    }
    relay_end_pass(&pass);
    return result < 0 ? -1 : 0;
}

uint64_t relay_scan_bulk(const struct relay_scan *scan)
{
    return scan->down == DOWN_LITERAL ? scan->down_left : 0;
}

void relay_scan_passed(struct relay_scan *scan, uint64_t count)
{
    if (count == 0)
        return;
    CHECK(scan->down == DOWN_LITERAL && count <= scan->down_left);
    scan->down_left -= count;
    if (scan->down_left == 0)
        scan->down = DOWN_LINE;
}
