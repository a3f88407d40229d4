/* search_parse: the keys of SEARCH (RFC 3501 6.4.4, search-key in section 9). Called by the command table. The tree lives in the
 * command's arena, and is bounded in depth and size. */
#include "postern/mime/decode.h"
#include "postern/mime/header.h"
#include "search_internal.h"

enum argument { TAKES_NOTHING, TAKES_TEXT, TAKES_FIELD, TAKES_DATE, TAKES_NUMBER, TAKES_KEYWORD, TAKES_SET, TAKES_KEY, TAKES_TWO_KEYS };

static const struct row {
    const char *name;
    enum key_kind kind;
    enum argument argument;
    uint8_t flag;
    const char *field;
} rows[] = {
    { "ALL", KEY_ALL, TAKES_NOTHING, 0, NULL },
    { "ANSWERED", KEY_FLAG, TAKES_NOTHING, MESSAGE_ANSWERED, NULL },
    { "BCC", KEY_HEADER, TAKES_TEXT, 0, "Bcc" },
    { "BEFORE", KEY_BEFORE, TAKES_DATE, 0, NULL },
    { "BODY", KEY_BODY, TAKES_TEXT, 0, NULL },
    { "CC", KEY_HEADER, TAKES_TEXT, 0, "Cc" },
    { "DELETED", KEY_FLAG, TAKES_NOTHING, MESSAGE_DELETED, NULL },
    { "DRAFT", KEY_FLAG, TAKES_NOTHING, MESSAGE_DRAFT, NULL },
    { "FLAGGED", KEY_FLAG, TAKES_NOTHING, MESSAGE_FLAGGED, NULL },
    { "FROM", KEY_HEADER, TAKES_TEXT, 0, "From" },
    { "HEADER", KEY_HEADER, TAKES_FIELD, 0, NULL },
    { "KEYWORD", KEY_KEYWORD, TAKES_KEYWORD, 0, NULL },
    { "LARGER", KEY_LARGER, TAKES_NUMBER, 0, NULL },
    { "NEW", KEY_NEW, TAKES_NOTHING, 0, NULL },
    { "NOT", KEY_NOT, TAKES_KEY, 0, NULL },
    { "OLD", KEY_NO_FLAG, TAKES_NOTHING, MESSAGE_RECENT, NULL },
    { "ON", KEY_ON, TAKES_DATE, 0, NULL },
    { "OR", KEY_OR, TAKES_TWO_KEYS, 0, NULL },
    { "RECENT", KEY_FLAG, TAKES_NOTHING, MESSAGE_RECENT, NULL },
    { "SEEN", KEY_FLAG, TAKES_NOTHING, MESSAGE_SEEN, NULL },
    { "SENTBEFORE", KEY_SENT_BEFORE, TAKES_DATE, 0, "Date" },
    { "SENTON", KEY_SENT_ON, TAKES_DATE, 0, "Date" },
    { "SENTSINCE", KEY_SENT_SINCE, TAKES_DATE, 0, "Date" },
    { "SINCE", KEY_SINCE, TAKES_DATE, 0, NULL },
    { "SMALLER", KEY_SMALLER, TAKES_NUMBER, 0, NULL },
    { "SUBJECT", KEY_HEADER, TAKES_TEXT, 0, "Subject" },
    { "TEXT", KEY_TEXT, TAKES_TEXT, 0, NULL },
    { "TO", KEY_HEADER, TAKES_TEXT, 0, "To" },
    { "UID", KEY_UID, TAKES_SET, 0, NULL },
    { "UNANSWERED", KEY_NO_FLAG, TAKES_NOTHING, MESSAGE_ANSWERED, NULL },
    { "UNDELETED", KEY_NO_FLAG, TAKES_NOTHING, MESSAGE_DELETED, NULL },
    { "UNDRAFT", KEY_NO_FLAG, TAKES_NOTHING, MESSAGE_DRAFT, NULL },
    { "UNFLAGGED", KEY_NO_FLAG, TAKES_NOTHING, MESSAGE_FLAGGED, NULL },
    { "UNKEYWORD", KEY_NO_KEYWORD, TAKES_KEYWORD, 0, NULL },
    { "UNSEEN", KEY_NO_FLAG, TAKES_NOTHING, MESSAGE_SEEN, NULL },
};

struct reader {
    struct imap_parser *p;
    struct search *search;
    struct slice charset;
};

static struct key *read_key(struct reader *r, unsigned depth);

static struct key *new_key(struct reader *r, enum key_kind kind)
{
    if (r->search->key_count++ >= SEARCH_KEYS_MAX)
        return NULL;
    struct key *key = ARENA_NEW(r->p->arena, struct key);
    key->kind = kind;
    if (kind >= KEY_LARGER && kind <= KEY_SINCE)
        r->search->wants_load = true;
    if (kind >= KEY_LARGER)
        r->search->in_memory = false;
    return key;
}

/* As UTF-8, folded. */
static bool read_text(struct reader *r, struct slice *out)
{
    struct slice text;
    struct buf utf8 = { 0 }, folded = { 0 };
    if (!parse_space(r->p) || !parse_astring(r->p, &text))
        return false;
    struct charset *charset = charset_new(r->charset);
    if (charset != NULL)
        charset_decode(charset, text, &utf8);
    charset_free(&charset);
    text_fold(buf_slice(&utf8), &folded);
    *out = arena_copy(r->p->arena, buf_slice(&folded));
    buf_fini(&utf8);
    buf_fini(&folded);
    return true;
}

/* "1-Feb-1994", perhaps in quotes */
static bool read_date(struct reader *r, int64_t *day_out)
{
    struct slice rest, day_text, month_text;
    uint64_t day, year;
    if (!parse_space(r->p) || !parse_astring(r->p, &rest))
        return false;
    if (!slice_split(&rest, '-', &day_text) || !slice_split(&rest, '-', &month_text) || rest.data == NULL)
        return false;
    unsigned month = date_month_number(month_text);
    if (month == 0 || !slice_to_number(slice_trim(day_text), 31, &day) || day == 0 || rest.len != 4 || !slice_to_number(rest, 9999, &year))
        return false;
    *day_out = date_day_number((int)year, month, (unsigned)day);
    return true;
}

static bool read_argument(struct reader *r, const struct row *row, struct key *key, unsigned depth)
{
    key->flag = row->flag;
    key->name = slice_from_string(row->field);
    switch (row->argument) {
    case TAKES_NOTHING:
        return true;
    case TAKES_FIELD:
        return parse_space(r->p) && parse_astring(r->p, &key->name) && read_text(r, &key->text);
    case TAKES_TEXT:
        return read_text(r, &key->text);
    case TAKES_DATE:
        return read_date(r, &key->day);
    case TAKES_NUMBER:
        return parse_space(r->p) && parse_number(r->p, UINT64_MAX, &key->number);
    case TAKES_KEYWORD:
        return parse_space(r->p) && parse_flag(r->p, &key->name);
    case TAKES_SET:
        return parse_space(r->p) && parse_sequence_set(r->p, &key->set);
    case TAKES_TWO_KEYS:
    case TAKES_KEY:
        if (!parse_space(r->p) || (key->children = read_key(r, depth + 1)) == NULL)
            return false;
        return row->argument == TAKES_KEY || (parse_space(r->p) && (key->children->next = read_key(r, depth + 1)) != NULL);
    }
    return false;
}

/* Keys with a space between them: all must match. */
static struct key *read_keys(struct reader *r, unsigned depth)
{
    struct key *all = new_key(r, KEY_AND);
    struct key **last = all != NULL ? &all->children : NULL;
    do {
        if (last == NULL || (*last = read_key(r, depth)) == NULL)
            return NULL;
        last = &(*last)->next;
    } while (parse_space(r->p));
    return all;
}

static struct key *read_key(struct reader *r, unsigned depth)
{
    if (depth > SEARCH_DEPTH_MAX || r->p->rest.len == 0)
        return NULL;
    if (parse_byte(r->p, '(')) {
        struct key *key = read_keys(r, depth + 1);
        return key != NULL && parse_byte(r->p, ')') ? key : NULL;
    }
    char first = r->p->rest.data[0];
    if (ascii_is_digit(first) || first == '*') {
        struct key *key = new_key(r, KEY_SEQUENCE);
        return key != NULL && parse_sequence_set(r->p, &key->set) ? key : NULL;
    }
    struct slice word;
    if (!parse_atom(r->p, &word))
        return NULL;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        if (!slice_is_nocase(word, rows[i].name))
            continue;
        struct key *key = new_key(r, rows[i].kind);
        return key != NULL && read_argument(r, &rows[i], key, depth) ? key : NULL;
    }
    return NULL;
}

struct search *search_parse(struct imap_parser *p, bool with_uid, bool *bad_charset_out)
{
    struct search *search = ARENA_NEW(p->arena, struct search);
    struct reader reader = { .p = p, .search = search, .charset = SLICE_LITERAL("") };
    *bad_charset_out = false;
    search->arena = p->arena;
    search->with_uid = with_uid;
    search->in_memory = true;
    search->fd = -1;
    if (parse_keyword(p, "CHARSET")) {
        if (!parse_space(p) || !parse_astring(p, &reader.charset) || !parse_space(p))
            return NULL;
        *bad_charset_out = !charset_is_known(reader.charset);
        if (*bad_charset_out)
            return NULL;
    }
    search->root = read_keys(&reader, 0);
    return search->root != NULL && parse_end(p) ? search : NULL;
}
