/* The watch over a passing header: Received fields are counted, the author is kept, Date and Message-ID are noticed. Used by smtp.c. */
#include "header.h"

void header_watch_init(struct header_watch *watch)
{
    *watch = (struct header_watch){ .place = HEADER_LINE_START };
    buf_init(&watch->from, HEADER_FROM_MAX);
    buf_init(&watch->automatic, HEADER_AUTO_MAX);
}

void header_watch_fini(struct header_watch *watch)
{
    buf_fini(&watch->from);
    buf_fini(&watch->automatic);
}

static void note_field(struct header_watch *watch)
{
    struct slice name = slice_make(watch->name, watch->name_len > HEADER_NAME_MAX ? 0 : watch->name_len);
    name = slice_trim(name);   /* RFC 5322 4.5: blanks before the colon are an obsolete but understood form */
    watch->in_from = slice_is_nocase(name, "From");
    watch->from_count += watch->in_from;
    watch->in_auto = slice_is_nocase(name, "Auto-Submitted");
    if (watch->in_auto)
        buf_append_byte(&watch->automatic, '\0');
    watch->received += slice_is_nocase(name, "Received");
    watch->has_date = watch->has_date || slice_is_nocase(name, "Date");
    watch->has_message_id = watch->has_message_id || slice_is_nocase(name, "Message-ID");
}

static void read_name(struct header_watch *watch, char c)
{
    if (c == ':') {
        note_field(watch);
        watch->place = HEADER_VALUE;
    } else if (c == '\n') {
        watch->place = HEADER_LINE_START;
    } else if ((c == ' ' || c == '\t') && watch->name_len >= HEADER_NAME_MAX) {
        return;
    } else if (watch->name_len < HEADER_NAME_MAX) {
        watch->name[watch->name_len++] = c;
    } else {
        watch->name_len = HEADER_NAME_MAX + 1;
    }
}

static void read_value(struct header_watch *watch, char c)
{
    if (watch->in_from)
        buf_append_byte(&watch->from, c);
    if (watch->in_auto && c != '\0')
        buf_append_byte(&watch->automatic, c);
    if (c == '\n')
        watch->place = HEADER_LINE_START;
}

static void read_line_start(struct header_watch *watch, char c)
{
    if (c == ' ' || c == '\t') {
        watch->place = HEADER_VALUE;
        read_value(watch, c);
    } else if (c == '\r') {
        watch->place = HEADER_EMPTY_CR;
    } else {
        watch->in_from = watch->in_auto = false;
        watch->name_len = 0;
        watch->place = HEADER_NAME;
        read_name(watch, c);
    }
}

void header_watch_read(struct header_watch *watch, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len && watch->place != HEADER_DONE; i++) {
        char c = bytes.data[i];
        switch (watch->place) {
        case HEADER_LINE_START: read_line_start(watch, c); break;
        case HEADER_EMPTY_CR: watch->place = c == '\n' ? HEADER_DONE : HEADER_VALUE; break;
        case HEADER_NAME: read_name(watch, c); break;
        case HEADER_VALUE: read_value(watch, c); break;
        case HEADER_DONE: return;
        }
    }
}

/* The first word of a body, without comments before it (RFC 3834 section 5: keyword, then parameters). */
static struct slice first_word(struct slice body)
{
    unsigned depth = 0;
    size_t from = 0, len = 0;
    for (; from < body.len; from++) {
        char c = body.data[from];
        depth += c == '(';
        if (depth == 0 && c != ' ' && c != '\t' && c != '\r' && c != '\n')
            break;
        depth -= c == ')' && depth > 0;
    }
    while (from + len < body.len && (ascii_is_alpha(body.data[from + len]) || body.data[from + len] == '-'))
        len++;
    return slice_part(body, from, len);
}

enum header_rule header_watch_rule(const struct header_watch *watch)
{
    struct slice rest = buf_slice(&watch->automatic), body;
    enum header_rule rule = HEADER_NO_RULE;
    while (slice_split(&rest, '\0', &body)) {
        struct slice word = first_word(body);
        if (slice_is_nocase(word, "auto-forwarded"))
            return HEADER_FORWARD;
        if (slice_is_nocase(word, "auto-replied"))
            rule = HEADER_REPLY;
    }
    return rule;
}
