/* Stored bytes to octets of POP3. Called by retrieve.c in steps. It must never keep more than one byte of the message. */
#include "wire.h"

#include <string.h>

static void count_line(struct wire *wire)
{
    wire->in_line = false;
    wire->last = '\n';
    if (wire->is_top && wire->in_body && --wire->body_lines == 0)
        wire->full = true;
}

static void end_header(struct wire *wire, struct buf *out)
{
    buf_append_text(out, wire->fields);
    buf_append(out, SLICE_LITERAL("\r\n"));
    wire->held_cr = false;
    wire->in_body = true;
    wire->full = wire->is_top && wire->body_lines == 0;
    wire->last = '\n';
}

/* The first byte of a header line: true if it was dealt with. */
static bool begin_header_line(struct wire *wire, char byte, struct buf *out)
{
    if (byte == '\n') {
        end_header(wire, out);
        return true;
    }
    if (wire->held_cr) {
        buf_append_byte(out, '\r');
        wire->held_cr = false;
        wire->in_line = true;
        return false;
    }
    wire->held_cr = byte == '\r';
    return wire->held_cr;
}

static size_t write_line(struct wire *wire, struct slice bytes, struct buf *out)
{
    const char *end = memchr(bytes.data, '\n', bytes.len);
    size_t len = end != NULL ? (size_t)(end - bytes.data) : bytes.len;
    if (!wire->in_line && !wire->is_measured && bytes.data[0] == '.')
        buf_append_byte(out, '.');
    buf_append(out, slice_part(bytes, 0, len));
    if (len != 0) {
        wire->in_line = true;
        wire->last = bytes.data[len - 1];
    }
    if (end == NULL)
        return len;
    if (wire->last != '\r')
        buf_append_byte(out, '\r');
    buf_append_byte(out, '\n');
    count_line(wire);
    return len + 1;
}

void wire_write(struct wire *wire, struct slice stored, struct buf *out)
{
    while (stored.len != 0 && !wire->full) {
        size_t taken = 1;
        if (wire->in_line || wire->in_body || !begin_header_line(wire, stored.data[0], out))
            taken = write_line(wire, stored, out);
        stored = slice_from(stored, taken);
    }
}

void wire_end(struct wire *wire, struct buf *out)
{
    if (wire->held_cr) {
        buf_append_byte(out, '\r');
        wire->in_line = true;
    }
    if (wire->in_line)
        buf_append(out, SLICE_LITERAL("\r\n"));
    if (!wire->is_measured)
        buf_append(out, SLICE_LITERAL(".\r\n"));
}
