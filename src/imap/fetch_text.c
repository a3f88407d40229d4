/* fetch_text: writes strings, ENVELOPE, BODY and BODYSTRUCTURE. Called by the FETCH files and by the structure comparison test. It
 * writes no byte that the grammar forbids, whatever the message holds. */
#include "fetch_text.h"

enum { QUOTED_MAX = 1000, QUOTED_ESCAPES_MAX = 4 };

static void write_literal(struct buf *out, struct slice text)
{
    buf_append_byte(out, '{');
    buf_append_number(out, text.len);
    buf_append_text(out, "}\r\n");
    size_t from = out->len;
    if (!buf_append(out, text))
        return;
    for (size_t i = from; i < out->len; i++)
        if (out->data[i] == '\0')
            out->data[i] = (char)0x80;
}

static bool can_be_quoted(struct slice text)
{
    size_t escapes = 0;
    for (size_t i = 0; i < text.len; i++) {
        unsigned char c = (unsigned char)text.data[i];
        if (c == '\0' || c == '\r' || c == '\n' || c >= 0x80)
            return false;
        escapes += c == '"' || c == '\\';
    }
    return text.len <= QUOTED_MAX && escapes <= QUOTED_ESCAPES_MAX;
}

void fetch_text_string(struct buf *out, struct slice text)
{
    if (text.data == NULL) {
        buf_append_text(out, "NIL");
    } else if (!can_be_quoted(text)) {
        write_literal(out, text);
    } else {
        buf_append_byte(out, '"');
        for (size_t i = 0; i < text.len; i++) {
            if (text.data[i] == '"' || text.data[i] == '\\')
                buf_append_byte(out, '\\');
            buf_append_byte(out, text.data[i]);
        }
        buf_append_byte(out, '"');
    }
}

/* A display name or subject: line ends are dropped, runs of blanks become one space, blanks at the ends go. */
static void write_for_humans(struct buf *out, struct slice text)
{
    struct buf clean = { 0 };
    bool blank = true;
    if (text.data == NULL) {
        buf_append_text(out, "NIL");
        return;
    }
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i] == '\t' ? ' ' : text.data[i];
        if (c == '\r' || c == '\n' || (c == ' ' && blank))
            continue;
        blank = c == ' ';
        buf_append_byte(&clean, c);
    }
    if (blank && clean.len > 0)
        buf_truncate(&clean, clean.len - 1);
    fetch_text_string(out, clean.len > 0 ? buf_slice(&clean) : SLICE_LITERAL(""));
    buf_fini(&clean);
}

static void write_addresses(struct buf *out, const struct address *address)
{
    if (address == NULL) {
        buf_append_text(out, "NIL");
        return;
    }
    buf_append_byte(out, '(');
    for (; address != NULL; address = address->next) {
        buf_append_byte(out, '(');
        write_for_humans(out, address->name);
        buf_append_byte(out, ' ');
        fetch_text_string(out, address->route);
        buf_append_byte(out, ' ');
        fetch_text_string(out, address->mailbox);
        buf_append_byte(out, ' ');
        fetch_text_string(out, address->domain);
        buf_append_byte(out, ')');
    }
    buf_append_byte(out, ')');
}

void fetch_text_envelope(struct buf *out, const struct envelope *envelope)
{
    static const struct envelope none;
    const struct envelope *e = envelope != NULL ? envelope : &none;
    /* Sender and Reply-To default to From (RFC 3501 7.4.2). */
    const struct address *const lists[] = {
        e->from, e->sender != NULL ? e->sender : e->from, e->reply_to != NULL ? e->reply_to : e->from, e->to, e->cc, e->bcc,
    };
    buf_append_byte(out, '(');
    fetch_text_string(out, e->date);
    buf_append_byte(out, ' ');
    write_for_humans(out, e->subject);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        buf_append_byte(out, ' ');
        write_addresses(out, lists[i]);
    }
    buf_append_byte(out, ' ');
    fetch_text_string(out, e->in_reply_to);
    buf_append_byte(out, ' ');
    fetch_text_string(out, e->message_id);
    buf_append_byte(out, ')');
}

static void write_parameters(struct buf *out, const struct parameter *parameter, bool default_charset)
{
    if (parameter == NULL && !default_charset) {
        buf_append_text(out, "NIL");
        return;
    }
    buf_append_byte(out, '(');
    for (bool first = true; parameter != NULL; parameter = parameter->next, first = false) {
        if (!first)
            buf_append_byte(out, ' ');
        fetch_text_string(out, parameter->name);
        buf_append_byte(out, ' ');
        fetch_text_string(out, parameter->value);
        if (slice_is_nocase(parameter->name, "charset"))
            default_charset = false;
        if (parameter->next == NULL && default_charset)
            buf_append_byte(out, ' ');
    }
    if (default_charset)
        buf_append_text(out, "\"charset\" \"us-ascii\"");
    buf_append_byte(out, ')');
}

/* Disposition, language and location: what ends the extension data of every part. */
static void write_extension(struct buf *out, const struct content *content)
{
    buf_append_byte(out, ' ');
    if (content->disposition.data == NULL) {
        buf_append_text(out, "NIL");
    } else {
        buf_append_byte(out, '(');
        fetch_text_string(out, content->disposition);
        buf_append_byte(out, ' ');
        write_parameters(out, content->disposition_parameters, false);
        buf_append_byte(out, ')');
    }
    buf_append_byte(out, ' ');
    if (content->languages == NULL)
        buf_append_text(out, "NIL");
    for (const struct language *l = content->languages; l != NULL; l = l->next) {
        buf_append_byte(out, l == content->languages ? '(' : ' ');
        fetch_text_string(out, l->tag);
        if (l->next == NULL)
            buf_append_byte(out, ')');
    }
    buf_append_byte(out, ' ');
    fetch_text_string(out, content->location);
}

static void write_multipart(struct buf *out, const struct part *part, bool extended)
{
    for (const struct part *child = part->children; child != NULL; child = child->next)
        fetch_text_structure(out, child, extended);
    /* The grammar wants at least one part. */
    if (part->children == NULL) {
        buf_append_text(out, "(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 0 0");
        buf_append_text(out, extended ? " NIL NIL NIL NIL)" : ")");
    }
    buf_append_byte(out, ' ');
    fetch_text_string(out, part->content.subtype);
    if (extended) {
        buf_append_byte(out, ' ');
        write_parameters(out, part->content.parameters, false);
        write_extension(out, &part->content);
    }
}

static void write_type(struct buf *out, const struct part *part, const struct content *content)
{
    if (part->message) {
        buf_append_text(out, "\"message\" \"rfc822\"");
    } else if (part->overflow) {
        buf_append_text(out, "\"application\" \"octet-stream\"");
    } else if (content->type.data == NULL) {
        buf_append_text(out, "\"text\" \"plain\"");
    } else {
        fetch_text_string(out, content->type);
        buf_append_byte(out, ' ');
        fetch_text_string(out, content->subtype);
    }
}

/* Says no more than a message without any Content field: written like one. */
static bool is_plain_ascii(const struct part *part)
{
    const struct content *c = &part->content;
    return part->parent == NULL && content_is_type(c, "text", "plain") && c->id.data == NULL && c->description.data == NULL &&
           (c->parameters == NULL || (c->parameters->next == NULL && slice_is_nocase(c->parameters->name, "charset") &&
                                      slice_is_nocase(c->parameters->value, "us-ascii"))) &&
           (c->encoding.data == NULL || slice_is_nocase(c->encoding, "7bit")) && c->md5.data == NULL &&
           c->disposition.data == NULL && c->languages == NULL && c->location.data == NULL;
}

static void write_leaf(struct buf *out, const struct part *part, bool extended)
{
    static const struct content plain;
    const struct content *content = is_plain_ascii(part) ? &plain : &part->content;
    bool text = !part->message && !part->overflow && (content->type.data == NULL || slice_is_nocase(content->type, "text"));
    write_type(out, part, content);
    buf_append_byte(out, ' ');
    write_parameters(out, content->parameters, text);
    buf_append_byte(out, ' ');
    fetch_text_string(out, content->id);
    buf_append_byte(out, ' ');
    fetch_text_string(out, content->description);
    buf_append_byte(out, ' ');
    fetch_text_string(out, content->encoding.data != NULL ? content->encoding : SLICE_LITERAL("7bit"));
    buf_append_byte(out, ' ');
    buf_append_number(out, part->body.sent);
    if (part->message) {
        buf_append_byte(out, ' ');
        fetch_text_envelope(out, part->children->envelope);
        buf_append_byte(out, ' ');
        fetch_text_structure(out, part->children, extended);
    }
    if (text || part->message) {
        buf_append_byte(out, ' ');
        buf_append_number(out, part->body.lines);
    }
    if (extended) {
        buf_append_byte(out, ' ');
        fetch_text_string(out, content->md5);
        write_extension(out, content);
    }
}

/* Recursion is bounded by STRUCTURE_DEPTH_MAX. */
void fetch_text_structure(struct buf *out, const struct part *part, bool extended)
{
    buf_append_byte(out, '(');
    if (part->multipart)
        write_multipart(out, part, extended);
    else
        write_leaf(out, part, extended);
    buf_append_byte(out, ')');
}
