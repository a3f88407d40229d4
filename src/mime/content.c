/* content: what the Content-* and envelope fields of a header block say. Called by structure.c and by IMAP. It never fails:
 * a field that cannot be read is as if it were not there, or is kept as far as it was good, as Dovecot does it. */
#include "postern/mime/content.h"

#include <stdlib.h>
#include <string.h>

#include "lexer.h"
#include "postern/mime/header.h"

enum { PARAMETERS_MAX = 500, LANGUAGES_MAX = 100 };

/* One "name*3*=value" of RFC 2231 section 3, before its sections are joined. */
struct section {
    struct slice name;
    struct slice value;
    uint32_t number;
    bool extended;      /* has a character set or percent signs (section 4) */
};

struct reader {
    struct lexer lexer;
    struct arena *arena;
    struct buf text;
};

static struct slice kept(struct reader *r)
{
    return arena_copy(r->arena, buf_slice(&r->text));
}

static void reader_begin(struct reader *r, struct arena *arena, struct slice value)
{
    *r = (struct reader){ .arena = arena };
    r->lexer = (struct lexer){ value.data, value.data + value.len, NULL };
    (void)lexer_skip(&r->lexer);
}

/* --- parameters ------------------------------------------------------------------------------------------------------ */

/* ";" name "=" value; false if it is not whole. */
static bool read_parameter(struct reader *r, struct slice *name_out, struct slice *value_out)
{
    struct lexer *l = &r->lexer;
    if (!lexer_has(l, ';'))
        return false;
    l->at++;
    buf_clear(&r->text);
    if (lexer_skip(l) != LEX_MORE || lexer_token(l, &r->text) != LEX_MORE || *l->at != '=')
        return false;
    *name_out = kept(r);
    l->at++;
    buf_clear(&r->text);
    enum lex lex = lexer_skip(l);
    if (lex == LEX_MORE && *l->at == '"') {
        lex = lexer_quoted(l, &r->text);
    } else if (lex == LEX_MORE && *l->at == '=') {
        /* name==?utf-8?b?...?=, an encoded word where RFC 2047 section 5 forbids it. */
        for (; l->at < l->end && memchr("; \t\r\n", *l->at, 5) == NULL; l->at++)
            buf_append_byte(&r->text, *l->at);
    } else if (lex == LEX_MORE) {
        lex = lexer_token(l, &r->text);
    }
    *value_out = kept(r);
    return lex != LEX_BROKEN;
}

static struct parameter **add_parameter(struct arena *arena, struct parameter **last, struct slice name, struct slice value)
{
    *last = ARENA_NEW(arena, struct parameter);
    (*last)->name = name;
    (*last)->value = value;
    return &(*last)->next;
}

/* "name*", "name*1", "name*1*"; false if it is a plain name. */
static bool section_read(struct slice name, struct slice value, struct section *out)
{
    ptrdiff_t star = slice_find(name, '*');
    if (star < 0)
        return false;
    struct slice rest = slice_from(name, (size_t)star + 1);
    uint64_t number = 0;
    size_t digits = 0;
    while (digits < rest.len && ascii_is_digit(rest.data[digits]))
        digits++;
    if (digits > 0 && !slice_to_number(slice_part(rest, 0, digits), UINT32_MAX, &number))
        return false;
    bool last_star = digits < rest.len && rest.data[digits] == '*';
    if (digits + last_star != rest.len)
        return false;
    *out = (struct section){ slice_part(name, 0, (size_t)star), value, (uint32_t)number, rest.len == 0 || last_star };
    return true;
}

static int section_compare(const void *a, const void *b)
{
    const struct section *left = a, *right = b;
    int order = slice_compare(left->name, right->name);
    return order != 0 ? order : (left->number > right->number) - (left->number < right->number);
}

/* A value without percent encoding among others that have it. */
static void append_escaped(struct buf *out, struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.data[i] == '%')
            buf_append_text(out, "%25");
        else
            buf_append_byte(out, value.data[i]);
    }
}

static struct slice name_with(struct arena *arena, const struct section *section, bool number)
{
    const char *star = section->extended ? "*" : "";
    const char *text = number ? arena_printf(arena, "%.*s*%u%s", SLICE_ARG(section->name), (unsigned)section->number, star)
                              : arena_printf(arena, "%.*s*", SLICE_ARG(section->name));
    return slice_from_string(text);
}

/* All sections of one name; if a number is missing they stay separate parameters. */
static struct parameter **join_sections(struct reader *r, struct parameter **last, const struct section *sections, size_t count)
{
    bool whole = true, extended = false;
    for (size_t i = 0; i < count; i++) {
        whole = whole && sections[i].number == i;
        extended = extended || sections[i].extended;
    }
    if (!whole) {
        for (size_t i = 0; i < count; i++)
            last = add_parameter(r->arena, last, name_with(r->arena, &sections[i], true), sections[i].value);
        return last;
    }
    buf_clear(&r->text);
    if (extended && !sections[0].extended)
        buf_append_text(&r->text, "''");
    for (size_t i = 0; i < count; i++) {
        if (extended && !sections[i].extended)
            append_escaped(&r->text, sections[i].value);
        else
            buf_append(&r->text, sections[i].value);
    }
    struct slice name = extended ? name_with(r->arena, &sections[0], false) : sections[0].name;
    return add_parameter(r->arena, last, name, kept(r));
}

static struct parameter *read_parameters(struct reader *r)
{
    struct parameter *first = NULL, **last = &first;
    struct section *sections = NULL;
    size_t section_count = 0, count = 0;
    while (r->lexer.at < r->lexer.end && count < PARAMETERS_MAX) {
        struct slice name, value;
        struct section section;
        if (!read_parameter(r, &name, &value)) {
            /* On to the next semicolon. */
            while (r->lexer.at < r->lexer.end && *r->lexer.at != ';')
                r->lexer.at++;
            continue;
        }
        count++;
        if (!section_read(name, value, &section)) {
            last = add_parameter(r->arena, last, name, value);
            continue;
        }
        if (sections == NULL)
            sections = ARENA_NEW_ARRAY(r->arena, struct section, PARAMETERS_MAX);
        sections[section_count++] = section;
    }
    if (section_count > 1)
        qsort(sections, section_count, sizeof(sections[0]), section_compare);
    for (size_t i = 0, next; i < section_count; i = next) {
        for (next = i + 1; next < section_count && slice_is_equal_nocase(sections[i].name, sections[next].name);)
            next++;
        last = join_sections(r, last, &sections[i], next - i);
    }
    return first;
}

/* --- fields ---------------------------------------------------------------------------------------------------------- */

/* RFC 2045 5.1 */
static void read_type(struct arena *arena, struct slice value, struct content *out)
{
    struct reader r;
    reader_begin(&r, arena, value);
    bool good = r.lexer.at < r.lexer.end;
    enum lex lex = good ? lexer_token(&r.lexer, &r.text) : LEX_BROKEN;
    out->type = kept(&r);
    out->subtype = SLICE_LITERAL("");
    good = lex == LEX_MORE && lexer_has(&r.lexer, '/');
    if (good) {
        r.lexer.at++;
        buf_clear(&r.text);
        good = lexer_skip(&r.lexer) == LEX_MORE && lexer_token(&r.lexer, &r.text) != LEX_BROKEN;
        out->subtype = kept(&r);
    }
    if (good)
        out->parameters = read_parameters(&r);
    /* What is no type at all is text/plain (RFC 2045 5.2). */
    if (out->type.len == 0)
        out->type = out->subtype = SLICE_NONE;
    buf_fini(&r.text);
}

/* RFC 2045 section 6: one token and nothing else. */
static void read_encoding(struct arena *arena, struct slice value, struct content *out)
{
    struct reader r;
    reader_begin(&r, arena, value);
    if (lexer_token(&r.lexer, &r.text) == LEX_END && r.text.len > 0)
        out->encoding = kept(&r);
    buf_fini(&r.text);
}

/* RFC 2183 */
static void read_disposition(struct arena *arena, struct slice value, struct content *out)
{
    struct reader r;
    reader_begin(&r, arena, value);
    if (lexer_token(&r.lexer, &r.text) != LEX_BROKEN) {
        out->disposition = kept(&r);
        out->disposition_parameters = read_parameters(&r);
    }
    buf_fini(&r.text);
}

/* RFC 3282 */
static void read_languages(struct arena *arena, struct slice value, struct content *out)
{
    struct reader r;
    struct language **last = &out->languages;
    reader_begin(&r, arena, value);
    for (unsigned count = 0; count < LANGUAGES_MAX; count++) {
        buf_clear(&r.text);
        if (lexer_atom(&r.lexer, &r.text) == LEX_BROKEN)
            break;
        *last = ARENA_NEW(arena, struct language);
        (*last)->tag = kept(&r);
        last = &(*last)->next;
        if (!lexer_has(&r.lexer, ','))
            break;
        r.lexer.at++;
        (void)lexer_skip(&r.lexer);
    }
    buf_fini(&r.text);
}

static void take_text(struct arena *arena, struct slice value, struct slice *out)
{
    if (out->data == NULL)
        *out = arena_copy(arena, header_unfold(arena, value));
}

/* The first field of each name counts. */
static void read_content_field(struct arena *arena, struct slice name, struct slice value, struct content *out)
{
    if (slice_is_nocase(name, "Type")) {
        if (out->type.data == NULL)
            read_type(arena, value, out);
        out->is_mime = true;
    } else if (slice_is_nocase(name, "Transfer-Encoding")) {
        if (out->encoding.data == NULL)
            read_encoding(arena, value, out);
    } else if (slice_is_nocase(name, "Disposition")) {
        if (out->disposition_parameters == NULL)
            read_disposition(arena, value, out);
    } else if (slice_is_nocase(name, "Language")) {
        if (out->languages == NULL)
            read_languages(arena, value, out);
    } else if (slice_is_nocase(name, "ID")) {
        take_text(arena, value, &out->id);
    } else if (slice_is_nocase(name, "Description")) {
        take_text(arena, value, &out->description);
    } else if (slice_is_nocase(name, "MD5")) {
        take_text(arena, value, &out->md5);
    } else if (slice_is_nocase(name, "Location")) {
        take_text(arena, value, &out->location);
    }
}

void content_parse(struct arena *arena, struct slice header, struct content *out)
{
    struct header_field field;
    *out = (struct content){ 0 };
    while (header_next(&header, &field)) {
        if (slice_starts_with_nocase(field.name, "Content-"))
            read_content_field(arena, slice_from(field.name, 8), field.value, out);
        else if (slice_is_nocase(field.name, "MIME-Version"))
            out->is_mime = true;
    }
}

struct slice content_parameter(const struct content *content, const char *name)
{
    for (const struct parameter *p = content->parameters; p != NULL; p = p->next)
        if (slice_is_nocase(p->name, name))
            return p->value;
    return SLICE_NONE;
}

bool content_is_type(const struct content *content, const char *type, const char *subtype)
{
    return content->type.data != NULL && slice_is_nocase(content->type, type) &&
           (subtype == NULL || slice_is_nocase(content->subtype, subtype));
}

/* Address fields of one name are one list. */
static void append_addresses(struct address **list, struct address *more)
{
    while (*list != NULL)
        list = &(*list)->next;
    *list = more;
}

void envelope_parse(struct arena *arena, struct slice header, struct envelope *out)
{
    const struct { const char *name; struct slice *text; struct address **list; } fields[] = {
        { "Date", &out->date, NULL },
        { "Subject", &out->subject, NULL },
        { "From", NULL, &out->from },
        { "Sender", NULL, &out->sender },
        { "Reply-To", NULL, &out->reply_to },
        { "To", NULL, &out->to },
        { "Cc", NULL, &out->cc },
        { "Bcc", NULL, &out->bcc },
        { "In-Reply-To", &out->in_reply_to, NULL },
        { "Message-ID", &out->message_id, NULL },
    };
    struct header_field field;
    *out = (struct envelope){ 0 };
    while (header_next(&header, &field)) {
        for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
            if (!slice_is_nocase(field.name, fields[i].name))
                continue;
            if (fields[i].list != NULL)
                append_addresses(fields[i].list, address_parse(arena, field.value));
            else
                *fields[i].text = arena_copy(arena, header_unfold(arena, field.value));
        }
    }
}
