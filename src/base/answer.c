/* The two forms of an answer. Called by the control socket and by posternctl; must never let a value leave its place in the form. */
#include "postern/base/answer.h"

#include <string.h>
#include <time.h>

#include "postern/base/check.h"

enum { NAME_WIDTH = 40, INDENT = 2 };

/* --- JSON -------------------------------------------------------------------------------------------------------------------- */

void json_append_string(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    while (text.len > 0) {
        size_t len = slice_utf8_length(text);
        unsigned char c = (unsigned char)text.data[0];
        if (len == 0)
            buf_append_text(out, "\\ufffd");
        else if (c == '"' || c == '\\')
            buf_printf(out, "\\%c", c);
        else if (slice_shown_length(text) == 0)
            buf_printf(out, "\\u%04x", len == 1 ? c : (unsigned char)text.data[1]);   /* U+0080 to U+009F are the second octet */
        else
            buf_append(out, slice_part(text, 0, len));
        text = slice_from(text, len > 0 ? len : 1);
    }
    buf_append_byte(out, '"');
}

static void json_name(struct answer *a, const char *name)
{
    struct answer_level *level = &a->levels[a->depth - 1];
    if (level->filled)
        buf_append_byte(a->out, ',');
    level->filled = true;
    if (name == NULL)
        return;
    buf_append_byte(a->out, '"');
    bool gap = false;
    for (; *name != '\0'; name++) {
        char c = ascii_lower(*name);
        bool plain = ascii_is_alpha(c) || ascii_is_digit(c);
        if (plain && gap)
            buf_append_byte(a->out, '_');
        if (plain)
            buf_append_byte(a->out, c);
        gap = !plain;
    }
    buf_append_text(a->out, "\":");
}

/* --- text -------------------------------------------------------------------------------------------------------------------- */

void text_append_clean(struct buf *out, struct slice text)
{
    while (text.len > 0) {
        size_t len = slice_shown_length(text);
        if (len == 0)
            buf_append_byte(out, '?');
        else
            buf_append(out, slice_part(text, 0, len));
        text = slice_from(text, len > 0 ? len : 1);
    }
}

/* Characters, as far as UTF-8 tells; wide ones count as one. */
static size_t text_width(struct slice text)
{
    size_t width = 0;
    for (size_t i = 0; i < text.len; i++)
        width += ((unsigned char)text.data[i] & 0xc0) != 0x80;
    return width;
}

static void append_padded(struct buf *out, struct slice text, size_t width)
{
    text_append_clean(out, text);
    for (size_t at = text_width(text); at < width; at++)
        buf_append_byte(out, ' ');
}

static void append_blanks(struct buf *out, size_t count)
{
    while (count-- > 0)
        buf_append_byte(out, ' ');
}

static void add_cell(struct answer *a, const char *name, struct slice text)
{
    CHECK(a->column < ANSWER_COLUMNS);
    if (a->row_count == 1)
        a->columns[a->column_count++] = name;
    CHECK(a->column < a->column_count);
    a->column++;
    text_append_clean(&a->cells, text.len > 0 ? text : SLICE_LITERAL("-"));
    buf_append_byte(&a->cells, '\0');
}

static void text_field(struct answer *a, const char *name, struct slice text)
{
    struct answer_level *level = &a->levels[a->depth - 1];
    if (level->kind == 'r') {
        add_cell(a, name, text);
        return;
    }
    if (text.data == NULL)
        return;
    append_blanks(a->out, level->indent);
    append_padded(a->out, slice_from_string(name), NAME_WIDTH);
    buf_append_byte(a->out, ' ');
    text_append_clean(a->out, text);
    buf_append_byte(a->out, '\n');
}

static void measure_table(const struct answer *a, size_t widths[ANSWER_COLUMNS])
{
    struct slice rest = buf_slice(&a->cells), cell;
    for (size_t i = 0; i < a->column_count; i++)
        widths[i] = strlen(a->columns[i]);
    for (size_t i = 0; i < a->row_count * a->column_count && slice_split(&rest, '\0', &cell); i++)
        if (text_width(cell) > widths[i % a->column_count])
            widths[i % a->column_count] = text_width(cell);
}

static void print_cell(struct answer *a, size_t column, struct slice text, const size_t widths[ANSWER_COLUMNS], unsigned indent)
{
    append_blanks(a->out, column == 0 ? indent : INDENT);
    bool last = column + 1 == a->column_count;
    append_padded(a->out, text, last ? 0 : widths[column]);
    if (last)
        buf_append_byte(a->out, '\n');
}

static void print_table(struct answer *a, unsigned indent)
{
    size_t widths[ANSWER_COLUMNS];
    measure_table(a, widths);
    struct slice rest = buf_slice(&a->cells), cell;
    for (size_t i = 0; i < a->column_count; i++) {
        char upper[64];
        size_t len = strlen(a->columns[i]);
        for (size_t j = 0; j < len && j < sizeof(upper); j++)
            upper[j] = ascii_upper(a->columns[i][j]);
        print_cell(a, i, slice_make(upper, len < sizeof(upper) ? len : sizeof(upper)), widths, indent);
    }
    for (size_t i = 0; i < a->row_count * a->column_count && slice_split(&rest, '\0', &cell); i++)
        print_cell(a, i % a->column_count, cell, widths, indent);
}

static void print_title(struct answer *a, const char *title, unsigned indent)
{
    if (a->out->len > 0)
        buf_append_byte(a->out, '\n');
    append_blanks(a->out, indent);
    text_append_clean(a->out, slice_from_string(title));
    buf_append_byte(a->out, '\n');
}

/* --- what the caller says ---------------------------------------------------------------------------------------------------- */

static void open_level(struct answer *a, char kind, unsigned indent)
{
    CHECK(a->depth < ANSWER_DEPTH);
    a->levels[a->depth++] = (struct answer_level){ .kind = kind, .indent = indent };
}

void answer_init(struct answer *a, struct buf *out, bool json, bool all)
{
    memset(a, 0, sizeof(*a));
    a->out = out;
    a->json = json;
    a->all = all;
    open_level(a, 'o', 0);
    if (json)
        buf_append_byte(out, '{');
}

void answer_fini(struct answer *a)
{
    while (a->depth > 0)
        answer_close(a);
    if (a->json)
        buf_append_byte(a->out, '\n');
    else if (a->out->len == 0)
        buf_append_text(a->out, "none\n");
    buf_fini(&a->cells);
}

void answer_slice(struct answer *a, const char *name, struct slice text)
{
    if (!a->json) {
        text_field(a, name, text);
        return;
    }
    json_name(a, name);
    if (text.data == NULL)
        buf_append_text(a->out, "null");
    else
        json_append_string(a->out, text);
}

void answer_text(struct answer *a, const char *name, const char *text)
{
    answer_slice(a, name, slice_from_string(text));
}

void answer_number(struct answer *a, const char *name, uint64_t number)
{
    struct buf digits = { .cap = 0 };
    if (a->json) {
        json_name(a, name);
        buf_append_number(a->out, number);
        return;
    }
    buf_append_number(&digits, number);
    text_field(a, name, buf_slice(&digits));
    buf_fini(&digits);
}

void answer_count(struct answer *a, const char *name, uint64_t number)
{
    if (a->json || a->all || number > 0)
        answer_number(a, name, number);
}

void answer_flag(struct answer *a, const char *name, bool flag)
{
    if (!a->json) {
        text_field(a, name, flag ? SLICE_LITERAL("yes") : SLICE_LITERAL("no"));
        return;
    }
    json_name(a, name);
    buf_append_text(a->out, flag ? "true" : "false");
}

void answer_texts(struct answer *a, const char *name, char *const *texts, size_t count)
{
    struct buf joined = { .cap = 0 };
    if (a->json) {
        json_name(a, name);
        buf_append_byte(a->out, '[');
    }
    for (size_t i = 0; i < count; i++) {
        struct slice text = slice_from_string(texts[i]);
        if (i > 0)
            buf_append_text(a->json ? a->out : &joined, a->json ? "," : ", ");
        if (a->json)
            json_append_string(a->out, text);
        else
            buf_append(&joined, text);
    }
    if (a->json)
        buf_append_byte(a->out, ']');
    else
        text_field(a, name, count > 0 ? buf_slice(&joined) : SLICE_NONE);
    buf_fini(&joined);
}

void answer_time(struct answer *a, const char *name, int64_t seconds)
{
    time_t when = (time_t)seconds;
    struct tm tm;
    char text[32];
    size_t len = seconds != 0 && gmtime_r(&when, &tm) != NULL ? strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) : 0;
    answer_slice(a, name, len > 0 ? slice_make(text, len) : SLICE_NONE);
}

static unsigned indent_now(const struct answer *a)
{
    return a->levels[a->depth - 1].indent;
}

void answer_object(struct answer *a, const char *name)
{
    unsigned indent = indent_now(a);
    if (a->json) {
        json_name(a, name);
        buf_append_byte(a->out, '{');
    } else
        print_title(a, name, indent);
    open_level(a, 'o', indent + INDENT);
}

void answer_list(struct answer *a, const char *name)
{
    unsigned indent = indent_now(a);
    if (a->json) {
        json_name(a, name);
        buf_append_byte(a->out, '[');
    }
    open_level(a, 'l', indent);
}

void answer_item(struct answer *a, const char *title)
{
    CHECK(a->levels[a->depth - 1].kind == 'l');
    answer_object(a, a->json ? NULL : title);
}

void answer_table(struct answer *a, const char *name)
{
    unsigned indent = indent_now(a);
    answer_list(a, name);
    a->levels[a->depth - 1] = (struct answer_level){ .kind = 't', .indent = indent, .title = name };
    a->row_count = a->column_count = 0;
    buf_clear(&a->cells);
}

void answer_row(struct answer *a)
{
    CHECK(a->levels[a->depth - 1].kind == 't');
    a->row_count++;
    a->column = 0;
    if (a->json) {
        json_name(a, NULL);
        buf_append_byte(a->out, '{');
    }
    open_level(a, 'r', 0);
}

void answer_close(struct answer *a)
{
    CHECK(a->depth > 0);
    struct answer_level level = a->levels[--a->depth];
    if (a->json)
        buf_append_byte(a->out, level.kind == 'o' || level.kind == 'r' ? '}' : ']');
    else if (level.kind == 'r')
        CHECK(a->column == a->column_count);
    else if (level.kind == 't' && a->row_count > 0) {
        bool titled = a->out->len > 0;
        if (titled)
            print_title(a, level.title, level.indent);
        print_table(a, level.indent + (titled ? INDENT : 0));
    }
}
