/* Collects commands. Lines end in CRLF; a bare LF is taken as a line's end too, outside literals. */
#include "reader.h"

#include <string.h>

static struct slice without_cr(struct slice line)
{
    return slice_ends_with(line, "\r") ? slice_part(line, 0, line.len - 1) : line;
}

enum line_result reader_line(const struct buf *in, size_t limit, struct slice *line_out, size_t *total_out)
{
    ptrdiff_t end = slice_find(slice_part(buf_slice(in), 0, limit + 2), '\n');
    if (end < 0)
        return in->len > limit + 1 ? LINE_TOO_LONG : LINE_MORE;
    *line_out = without_cr(slice_part(buf_slice(in), 0, (size_t)end));
    *total_out = (size_t)end + 1;
    return line_out->len > limit ? LINE_TOO_LONG : LINE_DONE;
}

/* A number that is too large is still a literal's: what follows one that came unasked must never be taken for commands. */
static bool read_size(struct slice digits, uint64_t *size_out)
{
    for (size_t i = 0; i < digits.len; i++)
        if (!ascii_is_digit(digits.data[i]))
            return false;
    if (!slice_to_number(digits, UINT64_MAX, size_out))
        *size_out = UINT64_MAX;
    return digits.len != 0;
}

bool reader_ends_in_literal(struct slice line, struct slice *before_out, struct literal *literal_out)
{
    if (line.len == 0 || line.data[line.len - 1] != '}')
        return false;
    ptrdiff_t open = slice_find_last(line, '{');
    if (open < 0)
        return false;
    struct slice number = slice_part(line, (size_t)open + 1, line.len - (size_t)open - 2);
    literal_out->unasked = slice_ends_with(number, "+");
    if (literal_out->unasked)
        number.len--;
    *before_out = slice_part(line, 0, (size_t)open);
    return read_size(number, &literal_out->size);
}

static void keep_tail(struct reader *reader, struct slice bytes)
{
    size_t room = sizeof(reader->tail);
    if (bytes.len > room)
        bytes = slice_from(bytes, bytes.len - room);
    size_t old = reader->tail_len;
    if (old + bytes.len > room) {
        size_t drop = old + bytes.len - room;
        memmove(reader->tail, reader->tail + drop, old - drop);
        old -= drop;
    }
    if (bytes.len > 0)
        memcpy(reader->tail + old, bytes.data, bytes.len);
    reader->tail_len = (uint8_t)(old + bytes.len);
}

/* Throws away up to the end of the command. A literal that was not asked for belongs to it; one that waits for us has had our BAD. */
static void skip(struct reader *reader, struct buf *in)
{
    struct slice bytes = buf_slice(in), before;
    struct literal literal;
    ptrdiff_t end = slice_find(bytes, '\n');
    keep_tail(reader, end < 0 ? bytes : slice_part(bytes, 0, (size_t)end));
    if (end >= 0) {
        struct slice tail = without_cr(slice_make(reader->tail, reader->tail_len));
        reader->tail_len = 0;
        reader->skipping = false;
        if (reader_ends_in_literal(tail, &before, &literal) && literal.unasked) {
            reader->skipping = true;
            reader->discard = literal.size;
        }
    }
    buf_consume(in, end < 0 ? in->len : (size_t)end + 1);
}

static size_t at_most(uint64_t a, size_t b)
{
    return a < b ? (size_t)a : b;
}

static void collect(struct reader *reader, struct buf *in)
{
    size_t count = at_most(reader->collect, in->len);
    buf_append(&reader->text, slice_part(buf_slice(in), 0, count));
    buf_consume(in, count);
    reader->collect -= count;
    reader->line = reader->text.len;
}

/* Takes bytes up to the line's end, or all of them. A CR is dropped only when the LF is there. */
static enum read_result take_line(struct reader *reader, struct buf *in, size_t limit, struct literal *literal_out)
{
    ptrdiff_t end = slice_find(buf_slice(in), '\n');
    size_t count = end < 0 ? in->len : (size_t)end;
    struct slice line, before;
    if (reader->text.len + count > limit + 1) {
        /* The beginning is kept for its tag; what follows is skipped. */
        keep_tail(reader, slice_from(buf_slice(&reader->text), reader->line));
        buf_append(&reader->text, slice_part(buf_slice(in), 0, limit > reader->text.len ? limit - reader->text.len : 0));
        reader->skipping = true;
        return READ_TOO_LONG;
    }
    buf_append(&reader->text, slice_part(buf_slice(in), 0, count));
    buf_consume(in, end < 0 ? count : count + 1);
    if (end < 0)
        return READ_MORE;
    line = without_cr(slice_from(buf_slice(&reader->text), reader->line));
    bool literal = reader_ends_in_literal(line, &before, literal_out);
    buf_truncate(&reader->text, reader->line + (literal ? before.len : line.len));
    return literal ? READ_LITERAL : READ_COMMAND;
}

enum read_result reader_read(struct reader *reader, struct buf *in, size_t limit, struct literal *literal_out)
{
    while (in->len > 0) {
        if (reader->discard > 0) {
            size_t count = at_most(reader->discard, in->len);
            buf_consume(in, count);
            reader->discard -= count;
        } else if (reader->skipping) {
            skip(reader, in);
        } else if (reader->collect > 0) {
            collect(reader, in);
        } else {
            enum read_result result = take_line(reader, in, limit, literal_out);
            if (result != READ_MORE)
                return result;
        }
    }
    return READ_MORE;
}

bool reader_collect_literal(struct reader *reader, struct literal literal, size_t limit)
{
    if (literal.size > limit || reader->text.len + (size_t)literal.size + 16 > limit)
        return false;
    buf_printf(&reader->text, "{%llu%s}\r\n", (unsigned long long)literal.size, literal.unasked ? "+" : "");
    reader->collect = literal.size;
    reader->line = reader->text.len;
    return true;
}

void reader_reset(struct reader *reader, bool secret)
{
    reader->collect = 0;
    reader->line = 0;
    if (secret)
        buf_wipe(&reader->text);
    else
        buf_fini(&reader->text);
}
