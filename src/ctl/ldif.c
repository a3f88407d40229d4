/* LDIF (RFC 2849). Called by `posternctl check --ldif`; what is not understood is refused with its line, never guessed. */
#include "ldif.h"

#include <string.h>

enum { LINE_MAX_OCTETS = 16 * 1024 * 1024 };

enum { STATE_BETWEEN, STATE_DN, STATE_ENTRY, STATE_MODIFY, STATE_PART, STATE_RENAME, STATE_SUPERIOR, STATE_DONE };

struct field {
    struct slice name;
    struct slice value;
};

void ldif_init(struct ldif *l)
{
    memset(l, 0, sizeof(*l));
    arena_init(&l->arena);
    buf_init(&l->physical, LINE_MAX_OCTETS);
    buf_init(&l->logical, LINE_MAX_OCTETS);
    l->line = 1;
    l->state = STATE_BETWEEN;
}

void ldif_fini(struct ldif *l)
{
    arena_clear(&l->arena);
    buf_fini(&l->physical);
    buf_fini(&l->logical);
}

static int wrong(const struct ldif *l, struct fault *fault, const char *why)
{
    return fault_set(fault, FAULT_INVALID, 0, "line %u: %s", l->logical_line, why);
}

/* --- fields ------------------------------------------------------------------------------------------------------------------ */

static int base64_digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(digits, c) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

/* RFC 4648, section 4: whole groups, the padding only at the end. */
static bool decode_base64(struct arena *arena, struct slice text, struct slice *out)
{
    char *bytes = arena_alloc(arena, text.len / 4 * 3 + 1);
    size_t len = 0;
    if (text.len % 4 != 0)
        return false;
    for (size_t i = 0; i < text.len; i += 4) {
        bool last = i + 4 == text.len;
        size_t pads = last && text.data[i + 3] == '=' ? (text.data[i + 2] == '=' ? 2 : 1) : 0;
        unsigned long group = 0;
        for (size_t j = 0; j < 4; j++) {
            int digit = j < 4 - pads ? base64_digit(text.data[i + j]) : 0;
            if (digit < 0)
                return false;
            group = group << 6 | (unsigned long)digit;
        }
        for (size_t j = 0; j < 3 - pads; j++)
            bytes[len++] = (char)(group >> (16 - 8 * j) & 0xff);
    }
    *out = slice_make(bytes, len);
    return true;
}

static bool name_is_valid(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!ascii_is_alpha(name.data[i]) && !ascii_is_digit(name.data[i]) && strchr("-.;", name.data[i]) == NULL)
            return false;
    return name.len > 0;
}

/* "name: value", "name:: base64"; "name:< URL" would read files of this machine and is refused. */
static int split_field(struct ldif *l, struct slice line, struct field *out, struct fault *fault)
{
    ptrdiff_t colon = slice_find(line, ':');
    if (colon < 0)
        return wrong(l, fault, "there is no colon");
    out->name = slice_part(line, 0, (size_t)colon);
    if (!name_is_valid(out->name))
        return wrong(l, fault, "not the name of an attribute");
    struct slice rest = slice_from(line, (size_t)colon + 1);
    char kind = rest.len > 0 ? rest.data[0] : '\0';
    if (kind == '<')
        return wrong(l, fault, "values from a URL are not read");
    if (kind == ':')
        rest = slice_from(rest, 1);
    while (rest.len > 0 && rest.data[0] == ' ')
        rest = slice_from(rest, 1);
    if (kind != ':')
        out->value = arena_copy(&l->arena, rest);
    else if (!decode_base64(&l->arena, rest, &out->value))
        return wrong(l, fault, "not base64");
    return 0;
}

static const char *text_of(struct ldif *l, struct slice value)
{
    return arena_copy(&l->arena, value).data;
}

/* --- records ----------------------------------------------------------------------------------------------------------------- */

static void add_record(struct ldif *l, struct slice dn)
{
    struct ldif_record **end = l->record != NULL ? &l->record->next : &l->records;
    l->record = *end = ARENA_NEW(&l->arena, struct ldif_record);
    l->record->dn = text_of(l, dn);
    l->record->line = l->logical_line;
    l->part = NULL;
    l->state = STATE_DN;
}

static void add_part(struct ldif *l, enum ldif_operation operation, struct slice attribute)
{
    struct ldif_part *part = ARENA_NEW(&l->arena, struct ldif_part);
    part->operation = operation;
    part->attribute = text_of(l, attribute);
    if (l->part != NULL)
        l->part->next = part;
    else
        l->record->parts = part;
    l->part = part;
}

static void add_value(struct ldif *l, struct ldif_part *part, struct slice value)
{
    struct ldif_value *added = ARENA_NEW(&l->arena, struct ldif_value);
    added->value = value;
    if (part->last != NULL)
        part->last->next = added;
    else
        part->values = added;
    part->last = added;
}

static struct ldif_part *find_part(const struct ldif *l, struct slice attribute)
{
    for (struct ldif_part *part = l->record->parts; part != NULL; part = part->next)
        if (slice_is_nocase(attribute, part->attribute))
            return part;
    return NULL;
}

static int take_change(struct ldif *l, struct slice word, struct fault *fault)
{
    static const struct { const char *word; enum ldif_change change; int state; } rows[] = {
        { "add", LDIF_ADD, STATE_ENTRY }, { "delete", LDIF_DELETE, STATE_DONE }, { "modify", LDIF_MODIFY, STATE_MODIFY },
        { "modrdn", LDIF_RENAME, STATE_RENAME }, { "moddn", LDIF_RENAME, STATE_RENAME },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (slice_is_nocase(word, rows[i].word)) {
            l->record->change = rows[i].change;
            l->state = rows[i].state;
            return 0;
        }
    return wrong(l, fault, "not add, delete, modify, modrdn or moddn");
}

static int take_entry(struct ldif *l, const struct field *f)
{
    struct ldif_part *part = find_part(l, f->name);
    if (part == NULL) {
        add_part(l, LDIF_PUT, f->name);
        part = l->part;
    }
    add_value(l, part, f->value);
    l->state = STATE_ENTRY;
    return 0;
}

static int take_modify(struct ldif *l, const struct field *f, struct fault *fault)
{
    enum ldif_operation operation;
    if (slice_is_nocase(f->name, "add"))
        operation = LDIF_PUT;
    else if (slice_is_nocase(f->name, "delete"))
        operation = LDIF_REMOVE;
    else if (slice_is_nocase(f->name, "replace"))
        operation = LDIF_REPLACE;
    else
        return wrong(l, fault, "not add, delete or replace");
    if (!name_is_valid(f->value))
        return wrong(l, fault, "not the name of an attribute");
    add_part(l, operation, f->value);
    l->state = STATE_PART;
    return 0;
}

static int take_part(struct ldif *l, const struct field *f, struct fault *fault)
{
    if (!slice_is_nocase(f->name, l->part->attribute))
        return wrong(l, fault, "not the attribute that this part changes (a line with - ends it)");
    add_value(l, l->part, f->value);
    return 0;
}

static int take_rename(struct ldif *l, const struct field *f, struct fault *fault)
{
    struct ldif_record *r = l->record;
    if (r->new_rdn == NULL) {
        if (!slice_is_nocase(f->name, "newrdn") || f->value.len == 0)
            return wrong(l, fault, "newrdn is missing");
        r->new_rdn = text_of(l, f->value);
        return 0;
    }
    if (!slice_is_nocase(f->name, "deleteoldrdn") || (!slice_is(f->value, "0") && !slice_is(f->value, "1")))
        return wrong(l, fault, "deleteoldrdn: 0 or 1 is missing");
    r->delete_old_rdn = slice_is(f->value, "1");
    l->state = STATE_SUPERIOR;
    return 0;
}

static int take_superior(struct ldif *l, const struct field *f, struct fault *fault)
{
    if (!slice_is_nocase(f->name, "newsuperior"))
        return wrong(l, fault, "only newsuperior can follow");
    l->record->new_superior = text_of(l, f->value);
    l->state = STATE_DONE;
    return 0;
}

static int take_between(struct ldif *l, const struct field *f, struct fault *fault)
{
    bool first = !l->seen;
    l->seen = true;
    if (first && slice_is_nocase(f->name, "version"))
        return slice_is(f->value, "1") ? 0 : wrong(l, fault, "not version 1");
    if (!slice_is_nocase(f->name, "dn"))
        return wrong(l, fault, "a record begins with dn");
    if (slice_has_nul(f->value))
        return wrong(l, fault, "the DN has a NUL");
    add_record(l, f->value);
    return 0;
}

static int take_after_dn(struct ldif *l, const struct field *f, struct fault *fault)
{
    if (slice_is_nocase(f->name, "control"))
        return 0;
    if (slice_is_nocase(f->name, "changetype"))
        return take_change(l, f->value, fault);
    return take_entry(l, f);
}

static int end_record(struct ldif *l, struct fault *fault)
{
    if (l->state == STATE_BETWEEN)
        return 0;
    if (l->state == STATE_RENAME)
        return wrong(l, fault, "newrdn and deleteoldrdn are missing");
    if ((l->state == STATE_ENTRY || l->state == STATE_DN) && l->record->parts == NULL)
        return wrong(l, fault, "the record has no attributes");
    l->state = STATE_BETWEEN;
    return 0;
}

static int take_line(struct ldif *l, struct slice line, struct fault *fault)
{
    struct field f;
    if (line.len == 0)
        return end_record(l, fault);
    if (slice_is(line, "-") && l->state == STATE_PART) {
        l->state = STATE_MODIFY;
        return 0;
    }
    if (split_field(l, line, &f, fault) < 0)
        return -1;
    switch (l->state) {
    case STATE_BETWEEN: return take_between(l, &f, fault);
    case STATE_DN: return take_after_dn(l, &f, fault);
    case STATE_ENTRY: return take_entry(l, &f);
    case STATE_MODIFY: return take_modify(l, &f, fault);
    case STATE_PART: return take_part(l, &f, fault);
    case STATE_RENAME: return take_rename(l, &f, fault);
    case STATE_SUPERIOR: return take_superior(l, &f, fault);
    default: return wrong(l, fault, "nothing can follow in this record");
    }
}

/* --- lines ------------------------------------------------------------------------------------------------------------------- */

static int end_logical(struct ldif *l, struct fault *fault)
{
    if (!l->has_logical)
        return 0;
    struct slice line = buf_slice(&l->logical);
    l->has_logical = false;
    /* Comments are folded, too. */
    int rc = line.len > 0 && line.data[0] == '#' ? 0 : take_line(l, line, fault);
    buf_clear(&l->logical);
    return rc;
}

/* A line that begins with a blank goes on where the one before it ended. */
static int end_physical(struct ldif *l, struct fault *fault)
{
    struct slice line = buf_slice(&l->physical);
    int rc = 0;
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    if (line.len > 0 && line.data[0] == ' ') {
        if (!l->has_logical || l->logical.len == 0) {
            l->logical_line = l->line;
            return wrong(l, fault, "there is no line that this one could continue");
        }
        if (!buf_append(&l->logical, slice_from(line, 1)))
            rc = wrong(l, fault, "too long");
    } else {
        rc = end_logical(l, fault);
        l->logical_line = l->line;
        l->has_logical = true;
        buf_append(&l->logical, line);
    }
    buf_clear(&l->physical);
    l->line++;
    return rc;
}

int ldif_feed(struct ldif *l, struct slice bytes, struct fault *fault)
{
    while (bytes.len > 0) {
        ptrdiff_t end = slice_find(bytes, '\n');
        struct slice part = end < 0 ? bytes : slice_part(bytes, 0, (size_t)end);
        bytes = slice_from(bytes, part.len + (end < 0 ? 0 : 1));
        if (!buf_append(&l->physical, part)) {
            l->logical_line = l->line;
            return wrong(l, fault, "too long");
        }
        if (end >= 0 && end_physical(l, fault) < 0)
            return -1;
    }
    return 0;
}

int ldif_end(struct ldif *l, struct fault *fault)
{
    if (l->physical.len > 0 && end_physical(l, fault) < 0)
        return -1;
    if (end_logical(l, fault) < 0)
        return -1;
    return end_record(l, fault);
}
