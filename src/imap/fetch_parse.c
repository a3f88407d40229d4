/* fetch_parse: the arguments of FETCH (RFC 3501 6.4.5, fetch-att in section 9). Called by the command table. Everything it
 * makes lives in the command's arena; what is not in the grammar gives NULL. */
#include <string.h>

#include "fetch_internal.h"
#include "fetch_text.h"

static const struct { const char *name; enum item_kind kind; } simple_items[] = {
    { "FLAGS", ITEM_FLAGS }, { "UID", ITEM_UID }, { "RFC822.SIZE", ITEM_SIZE }, { "INTERNALDATE", ITEM_DATE },
    { "ENVELOPE", ITEM_ENVELOPE }, { "BODYSTRUCTURE", ITEM_BODYSTRUCTURE },
};

static const struct { const char *name; enum section_kind kind; bool peek; } old_items[] = {
    { "RFC822", SECTION_ALL, false }, { "RFC822.HEADER", SECTION_HEADER, true }, { "RFC822.TEXT", SECTION_TEXT, false },
};

static const struct { const char *name; enum section_kind kind; } section_texts[] = {
    { "HEADER.FIELDS.NOT", SECTION_FIELDS_NOT }, { "HEADER.FIELDS", SECTION_FIELDS }, { "HEADER", SECTION_HEADER },
    { "TEXT", SECTION_TEXT }, { "MIME", SECTION_MIME },
};

/* Letters, digits and dots: item names are followed by '[', which parse_atom would take. */
static struct slice take_word(struct imap_parser *p)
{
    size_t len = 0;
    while (len < p->rest.len && (ascii_is_alpha(p->rest.data[len]) || ascii_is_digit(p->rest.data[len]) || p->rest.data[len] == '.'))
        len++;
    struct slice word = slice_make(p->rest.data, len);
    p->rest = slice_from(p->rest, len);
    return word;
}

static bool parse_fields(struct imap_parser *p, struct section *section)
{
    struct slice fields[FIELDS_MAX];
    if (!parse_space(p) || !parse_byte(p, '('))
        return false;
    section->usual = section->kind == SECTION_FIELDS && section->number_count == 0;
    do {
        if (section->field_count == FIELDS_MAX || !parse_astring(p, &fields[section->field_count]))
            return false;
        section->usual = section->usual && fetch_field_is_usual(fields[section->field_count]);
        section->field_count++;
    } while (parse_space(p));
    section->fields = ARENA_NEW_ARRAY(p->arena, struct slice, section->field_count);
    memcpy(section->fields, fields, section->field_count * sizeof(fields[0]));
    return parse_byte(p, ')');
}

/* "1.2." before a text or "1.2" alone; *dot_out: a text must follow. */
static bool parse_numbers(struct imap_parser *p, struct section *section, bool *dot_out)
{
    uint32_t numbers[SECTION_DEPTH_MAX];
    *dot_out = false;
    while (p->rest.len > 0 && ascii_is_digit(p->rest.data[0])) {
        uint64_t number;
        if (section->number_count == SECTION_DEPTH_MAX || !parse_number(p, UINT32_MAX, &number) || number == 0)
            return false;
        numbers[section->number_count++] = (uint32_t)number;
        *dot_out = parse_byte(p, '.');
        if (!*dot_out)
            break;
    }
    section->numbers = ARENA_NEW_ARRAY(p->arena, uint32_t, section->number_count);
    memcpy(section->numbers, numbers, section->number_count * sizeof(numbers[0]));
    return true;
}

static bool parse_section_text(struct imap_parser *p, struct section *section)
{
    struct slice word = take_word(p);
    for (size_t i = 0; i < sizeof(section_texts) / sizeof(section_texts[0]); i++) {
        if (!slice_is_nocase(word, section_texts[i].name))
            continue;
        section->kind = section_texts[i].kind;
        if (section->kind == SECTION_MIME)
            return section->number_count > 0;
        return (section->kind != SECTION_FIELDS && section->kind != SECTION_FIELDS_NOT) || parse_fields(p, section);
    }
    return false;
}

/* "<" start "." length ">" */
static bool parse_partial(struct imap_parser *p, struct section *section)
{
    section->partial = parse_byte(p, '<');
    if (!section->partial)
        return true;
    return parse_number(p, UINT32_MAX, &section->start) && parse_byte(p, '.') &&
           parse_number(p, UINT32_MAX, &section->length) && section->length > 0 && parse_byte(p, '>');
}

/* The section as the response says it; field names that are no atoms are quoted. */
static struct slice section_label(struct arena *arena, const struct section *section, struct slice text)
{
    struct buf label = { 0 };
    buf_append_text(&label, "BODY[");
    if (section->fields == NULL) {
        for (size_t i = 0; i < text.len; i++)
            buf_append_byte(&label, ascii_upper(text.data[i]));
    } else {
        for (size_t i = 0; i < section->number_count; i++)
            buf_printf(&label, "%u.", (unsigned)section->numbers[i]);
        buf_append_text(&label, section->kind == SECTION_FIELDS ? "HEADER.FIELDS (" : "HEADER.FIELDS.NOT (");
        for (size_t i = 0; i < section->field_count; i++) {
            struct imap_parser probe = { section->fields[i], arena };
            struct slice atom;
            bool plain = parse_atom(&probe, &atom) && parse_end(&probe) && slice_find(section->fields[i], '[') < 0;
            buf_append_text(&label, i > 0 ? " " : "");
            if (plain)
                buf_append(&label, section->fields[i]);
            else
                fetch_text_string(&label, section->fields[i]);
        }
        buf_append_byte(&label, ')');
    }
    buf_append_byte(&label, ']');
    struct slice kept = arena_copy(arena, buf_slice(&label));
    buf_fini(&label);
    return kept;
}

/* After "BODY[" or "BODY.PEEK[". */
static struct section *parse_section(struct imap_parser *p)
{
    struct section *section = ARENA_NEW(p->arena, struct section);
    const char *from = p->rest.data;
    bool dot;
    if (!parse_numbers(p, section, &dot))
        return NULL;
    bool text = dot || (section->number_count == 0 && p->rest.len > 0 && p->rest.data[0] != ']');
    if (text && !parse_section_text(p, section))
        return NULL;
    struct slice written = slice_make(from, (size_t)(p->rest.data - from));
    if (!parse_byte(p, ']') || !parse_partial(p, section))
        return NULL;
    section->label = section_label(p->arena, section, written);
    return section;
}

static struct section *old_section(struct arena *arena, size_t row)
{
    struct section *section = ARENA_NEW(arena, struct section);
    section->kind = old_items[row].kind;
    section->label = slice_from_string(old_items[row].name);
    return section;
}

static bool parse_item(struct imap_parser *p, struct fetch *fetch, struct item *item)
{
    struct slice word = take_word(p);
    bool peek = slice_is_nocase(word, "BODY.PEEK");
    for (size_t i = 0; i < sizeof(simple_items) / sizeof(simple_items[0]); i++) {
        item->kind = simple_items[i].kind;
        if (slice_is_nocase(word, simple_items[i].name))
            return true;
    }
    item->kind = ITEM_SECTION;
    for (size_t i = 0; i < sizeof(old_items) / sizeof(old_items[0]); i++) {
        if (slice_is_nocase(word, old_items[i].name)) {
            item->section = old_section(p->arena, i);
            fetch->sets_seen = fetch->sets_seen || !old_items[i].peek;
            return true;
        }
    }
    if (!peek && !slice_is_nocase(word, "BODY"))
        return false;
    if (!parse_byte(p, '[')) {
        item->kind = ITEM_BODY;
        return !peek;
    }
    item->section = parse_section(p);
    fetch->sets_seen = fetch->sets_seen || !peek;
    return item->section != NULL;
}

/* What the items together need. */
static void note_item(struct fetch *fetch, const struct item *item)
{
    const struct section *section = item->section;
    fetch->simple = fetch->simple && item->kind <= ITEM_DATE;
    fetch->with_uid = fetch->with_uid && item->kind != ITEM_UID;
    fetch->wants_date = fetch->wants_date || item->kind == ITEM_DATE;
    fetch->wants_size = fetch->wants_size || item->kind == ITEM_SIZE ||
                        (section != NULL && section->number_count == 0 && (section->kind == SECTION_ALL || section->kind == SECTION_TEXT));
    fetch->wants_digest = fetch->wants_digest || (section != NULL && section->usual);
    if (item->kind >= ITEM_ENVELOPE && item->kind <= ITEM_BODYSTRUCTURE)
        fetch->wants_text[item->kind - ITEM_ENVELOPE] = true;
}

static struct item **add_item(struct fetch *fetch, struct item **last, const struct item *item)
{
    *last = ARENA_NEW(fetch->arena, struct item);
    **last = *item;
    note_item(fetch, item);
    return &(*last)->next;
}

/* "ALL", "FAST" or "FULL", alone. */
static bool parse_macro(struct imap_parser *p, struct fetch *fetch)
{
    static const enum item_kind kinds[] = { ITEM_FLAGS, ITEM_DATE, ITEM_SIZE, ITEM_ENVELOPE, ITEM_BODY };
    size_t count = parse_keyword(p, "FAST") ? 3 : parse_keyword(p, "ALL") ? 4 : parse_keyword(p, "FULL") ? 5 : 0;
    struct item **last = &fetch->items;
    for (size_t i = 0; i < count; i++)
        last = add_item(fetch, last, &(struct item){ .kind = kinds[i] });
    return count > 0;
}

static bool parse_items(struct imap_parser *p, struct fetch *fetch)
{
    bool list = parse_byte(p, '(');
    struct item **last = &fetch->items;
    size_t count = 0;
    do {
        struct item item = { 0 };
        if (count++ == ITEMS_MAX || !parse_item(p, fetch, &item))
            return false;
        last = add_item(fetch, last, &item);
    } while (list && parse_space(p));
    return !list || parse_byte(p, ')');
}

struct fetch *fetch_parse(struct imap_parser *p, bool with_uid)
{
    struct fetch *fetch = ARENA_NEW(p->arena, struct fetch);
    fetch->arena = p->arena;
    fetch->with_uid = with_uid;
    fetch->simple = true;
    fetch->fd = -1;
    fetch->zone_block = INT64_MIN;
    if ((!parse_macro(p, fetch) && !parse_items(p, fetch)) || !parse_end(p))
        return NULL;
    return fetch;
}

bool fetch_sets_seen(const struct fetch *fetch)
{
    return fetch->sets_seen;
}
