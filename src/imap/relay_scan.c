/* What both directions of relay_scan.h share. */
#include "relay_internal.h"

#include <string.h>

#include "postern/base/memory.h"

enum { TAG_MAX = 255, TAIL_ROOM = 32, SPARE_TAG = 16 };

struct slice relay_without_end(struct slice line)
{
    if (line.len > 0 && line.data[line.len - 1] == '\n')
        line.len--;
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    return line;
}

size_t relay_at_most(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

/* The last bytes of a line that comes in pieces: enough for "{18446744073709551615+}\r". */
void relay_keep_tail(char *tail, uint8_t *tail_len, struct slice bytes)
{
    if (bytes.len > TAIL_ROOM)
        bytes = slice_from(bytes, bytes.len - TAIL_ROOM);
    size_t old = *tail_len;
    if (old + bytes.len > TAIL_ROOM) {
        size_t drop = old + bytes.len - TAIL_ROOM;
        memmove(tail, tail + drop, old - drop);
        old -= drop;
    }
    if (bytes.len > 0)
        memcpy(tail + old, bytes.data, bytes.len);
    *tail_len = (uint8_t)(old + bytes.len);
}

/* --- commands under way --------------------------------------------------------------------------------------------------- */

bool relay_is_tag(struct slice tag)
{
    for (size_t i = 0; i < tag.len; i++) {
        unsigned char c = (unsigned char)tag.data[i];
        if (c <= 0x20 || c >= 0x7f || strchr("(){%*\"\\+", c) != NULL)
            return false;
    }
    return tag.len > 0 && tag.len <= TAG_MAX;
}

static bool ends_word(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct slice relay_take_word(struct slice *rest)
{
    size_t from = 0, to;
    while (from < rest->len && (rest->data[from] == ' ' || rest->data[from] == '\t'))
        from++;
    for (to = from; to < rest->len && !ends_word(rest->data[to]); to++)
        ;
    struct slice word = slice_part(*rest, from, to - from);
    *rest = slice_from(*rest, to);
    return word;
}

struct relay_command *relay_note(struct relay_scan *scan, struct slice tag, enum relay_kind kind, const char *text)
{
    bool valid = relay_is_tag(tag);
    if (!valid)
        tag = SLICE_LITERAL("postern");
    bool spare = scan->spare != NULL && tag.len <= SPARE_TAG;
    struct relay_command *command = spare ? scan->spare : mem_alloc(sizeof(*command) + (tag.len > SPARE_TAG ? tag.len : SPARE_TAG));
    if (spare)
        scan->spare = NULL;
    command->kind = kind;
    command->text = text;
    command->no_tag = !valid;
    command->tag_len = (uint8_t)tag.len;
    memcpy(command->tag, tag.data, tag.len);
    list_append(&scan->pending, &command->link);
    scan->pending_count++;
    return command;
}

void relay_forget(struct relay_scan *scan, struct relay_command *command)
{
    if (scan->current == command)
        scan->current = NULL;
    list_remove(&command->link);
    scan->pending_count--;
    if (scan->spare == NULL && command->tag_len <= SPARE_TAG)
        scan->spare = command;
    else
        mem_free(&command);
}

struct relay_command *relay_find(struct relay_scan *scan, struct slice tag)
{
    LIST_FOR_EACH(&scan->pending, at) {
        struct relay_command *command = LIST_ITEM(at, struct relay_command, link);
        if (slice_is_equal(slice_make(command->tag, command->tag_len), tag))
            return command;
    }
    return NULL;
}

void relay_scan_init(struct relay_scan *scan, struct relay_rules rules)
{
    *scan = (struct relay_scan){ .rules = rules };
    list_init(&scan->pending);
}

void relay_scan_fini(struct relay_scan *scan)
{
    while (!list_is_empty(&scan->pending))
        relay_forget(scan, LIST_ITEM(scan->pending.next, struct relay_command, link));
    mem_free(&scan->spare);
}

bool relay_scan_is_between_responses(const struct relay_scan *scan)
{
    return scan->down == DOWN_START;
}

bool relay_scan_is_quiet(const struct relay_scan *scan)
{
    return scan->up == UP_COMMAND && scan->pending_count == 0;
}

bool relay_scan_is_idling(const struct relay_scan *scan)
{
    return scan->up == UP_DONE && scan->pending_count <= 1;
}

bool relay_scan_is_owed(const struct relay_scan *scan)
{
    bool clients_turn = scan->current != NULL && scan->up != UP_AWAIT && scan->up != UP_COMMAND;
    return scan->down != DOWN_START || scan->pending_count > (clients_turn ? 1 : 0);
}

/* --- bytes on their way --------------------------------------------------------------------------------------------------- */

struct slice relay_rest(const struct relay_pass *pass)
{
    return slice_from(buf_slice(pass->in), pass->at);
}

void relay_let_pass(struct relay_pass *pass)
{
    buf_append(pass->out, slice_part(buf_slice(pass->in), pass->from, pass->at - pass->from));
    pass->from = pass->at;
}

/* The next bytes do not go on. */
void relay_leave_out(struct relay_pass *pass, size_t count)
{
    relay_let_pass(pass);
    pass->at += count;
    pass->from = pass->at;
}

/* A whole buffer is moved, not copied. */
void relay_end_pass(struct relay_pass *pass)
{
    if (pass->from == 0 && pass->at > 0 && pass->at == pass->in->len && pass->out->len == 0)
        buf_swap(pass->in, pass->out);
    else {
        relay_let_pass(pass);
        buf_consume(pass->in, pass->at);
    }
}

bool relay_is_hidden(const struct relay_rules *rules, struct slice word)
{
    return rules->hide_modseq && (slice_is_nocase(word, "CONDSTORE") || slice_is_nocase(word, "QRESYNC"));
}
