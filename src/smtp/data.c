/* The dot-unstuffing automaton. Used by smtp.c for every byte of a message; a bare CR or LF never brings it to a line's start, which
 * is what SMTP smuggling needs. */
#include "data.h"

static void emit(struct buf *out, const char *bytes, size_t len)
{
    buf_append(out, slice_make(bytes, len));
}

/* Text up to the next CR or LF, at once. */
static size_t read_text(struct slice in, struct buf *out)
{
    size_t len = 0;
    while (len < in.len && in.data[len] != '\r' && in.data[len] != '\n')
        len++;
    buf_append(out, slice_part(in, 0, len));
    return len;
}

/* A byte within a line. */
static void read_byte(struct data_reader *reader, char c, struct buf *out)
{
    if (c == '\r') {
        reader->state = DATA_CR;
        return;
    }
    if (c == '\n')
        reader->bare = true;
    emit(out, &c, 1);
    reader->state = DATA_TEXT;
}

static void read_after_cr(struct data_reader *reader, char c, struct buf *out)
{
    if (c == '\n') {
        emit(out, "\r\n", 2);
        reader->state = DATA_LINE_START;
        return;
    }
    reader->bare = true;
    emit(out, "\r", 1);
    read_byte(reader, c, out);
}

static void read_after_dot(struct data_reader *reader, char c, struct buf *out)
{
    if (c == '\r')
        reader->state = DATA_DOT_CR;
    else
        read_byte(reader, c, out);   /* the first dot of the line is dropped (RFC 5321 4.5.2) */
}

static void read_after_dot_cr(struct data_reader *reader, char c, struct buf *out)
{
    if (c == '\n')
        reader->state = DATA_DONE;
    else
        read_after_cr(reader, c, out);
}

void data_read(struct data_reader *reader, struct slice *in, struct buf *out)
{
    while (in->len != 0 && reader->state != DATA_DONE) {
        char c = in->data[0];
        size_t used = 1;
        switch (reader->state) {
        case DATA_LINE_START:
            if (c == '.')
                reader->state = DATA_DOT;
            else
                read_byte(reader, c, out);
            break;
        case DATA_TEXT:
            used = read_text(*in, out);
            if (used == 0) {
                read_byte(reader, c, out);
                used = 1;
            }
            break;
        case DATA_DOT: read_after_dot(reader, c, out); break;
        case DATA_DOT_CR: read_after_dot_cr(reader, c, out); break;
        case DATA_CR: read_after_cr(reader, c, out); break;
        case DATA_DONE: return;
        }
        *in = slice_from(*in, used);
    }
}
