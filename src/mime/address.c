/* address: address lists for ENVELOPE and SEARCH. A field is read to its end whatever it holds; an address that cannot be
 * understood becomes one with MISSING_MAILBOX or MISSING_DOMAIN, and reading goes on at the next comma. */
#include "postern/mime/address.h"

#include "lexer.h"

struct reader {
    struct lexer lexer;
    struct arena *arena;
    struct buf text;
    struct buf comment;
    struct address *first;
    struct address **last;
    struct address now;      /* being read */
    size_t count;
};

static struct slice kept(struct reader *r)
{
    return arena_copy(r->arena, buf_slice(&r->text));
}

static void add(struct reader *r)
{
    if (r->count < ADDRESSES_MAX) {
        struct address *address = ARENA_NEW(r->arena, struct address);
        *address = r->now;
        address->next = NULL;
        *r->last = address;
        r->last = &address->next;
        r->count++;
    }
    r->now = (struct address){ 0 };
}

static void add_filled(struct reader *r)
{
    if (r->now.mailbox.data == NULL)
        r->now.mailbox = SLICE_LITERAL("MISSING_MAILBOX");
    if (r->now.domain.len == 0)
        r->now.domain = SLICE_LITERAL("MISSING_DOMAIN");
    add(r);
}

/* A dot-atom whose dots may stand anywhere, as in real addresses, with blanks around them (obs-local-part). */
static enum lex read_dots_and_atoms(struct reader *r)
{
    struct lexer *l = &r->lexer;
    enum lex lex = LEX_BROKEN;
    do {
        while (lexer_has(l, '.')) {
            l->at++;
            buf_append_byte(&r->text, '.');
            lex = lexer_skip(l);
        }
        if (lex == LEX_END || lexer_has(l, '@'))
            return lex;
        lex = lexer_atom(l, &r->text);
    } while (lex == LEX_MORE && *l->at == '.');
    return lex;
}

static enum lex read_local_part(struct reader *r)
{
    buf_clear(&r->text);
    enum lex lex = lexer_has(&r->lexer, '"') ? lexer_quoted(&r->lexer, &r->text) : read_dots_and_atoms(r);
    if (lex != LEX_BROKEN)
        r->now.mailbox = kept(r);
    return lex;
}

static enum lex read_domain(struct reader *r)
{
    buf_clear(&r->text);
    enum lex lex = lexer_domain(&r->lexer, &r->text);
    if (lex != LEX_BROKEN)
        r->now.domain = kept(r);
    return lex;
}

/* obs-route (RFC 5322 4.4): "@a,@b" before the colon. */
static bool read_route(struct reader *r)
{
    buf_clear(&r->text);
    while (lexer_has(&r->lexer, '@')) {
        if (r->text.len > 0)
            buf_append_byte(&r->text, ',');
        buf_append_byte(&r->text, '@');
        if (lexer_domain(&r->lexer, &r->text) != LEX_MORE)
            return false;
        while (lexer_skip(&r->lexer) == LEX_MORE && *r->lexer.at == ',')
            r->lexer.at++;
    }
    if (r->lexer.at == r->lexer.end)
        return false;
    r->now.route = kept(r);
    return lexer_has(&r->lexer, ':');
}

static bool read_angle(struct reader *r)
{
    r->lexer.at++;
    if (lexer_skip(&r->lexer) != LEX_MORE)
        return false;
    if (*r->lexer.at == '@') {
        if (read_route(r))
            r->lexer.at++;
        else
            r->now.route = SLICE_LITERAL("INVALID_ROUTE");
        if (lexer_skip(&r->lexer) != LEX_MORE)
            return false;
    }
    if (*r->lexer.at != '>') {
        if (read_local_part(r) != LEX_MORE)
            return false;
        if (*r->lexer.at == '@' && read_domain(r) != LEX_MORE)
            return false;
    }
    if (!lexer_has(&r->lexer, '>'))
        return false;
    r->lexer.at++;
    return lexer_skip(&r->lexer) != LEX_BROKEN;
}

/* [display-name] "<" ... ">" */
static enum lex read_name_addr(struct reader *r)
{
    buf_clear(&r->text);
    if (lexer_phrase(&r->lexer, &r->text) != LEX_MORE || *r->lexer.at != '<')
        return LEX_BROKEN;
    if (r->text.len > 0)
        r->now.name = kept(r);
    if (!read_angle(r))
        r->now.domain = SLICE_LITERAL("SYNTAX_ERROR");
    return r->lexer.at < r->lexer.end ? LEX_MORE : LEX_END;
}

/* Words without a domain: one word is a mailbox, several are a name. */
static void take_words(struct reader *r, bool quoted)
{
    buf_append_byte(&r->text, ' ');
    size_t before = r->text.len;
    (void)lexer_phrase(&r->lexer, &r->text);
    if (r->text.len != before) {
        r->now.mailbox = SLICE_NONE;
        r->now.name = kept(r);
    } else if (!quoted) {
        r->now.domain = SLICE_LITERAL("");
    }
}

/* local-part "@" domain, with the name in a comment (RFC 822's way) */
static enum lex read_addr_spec(struct reader *r, bool *broken_out)
{
    bool quoted = lexer_has(&r->lexer, '"'), domain_read = false;
    buf_clear(&r->comment);
    enum lex lex = read_local_part(r);
    *broken_out = lex != LEX_MORE;
    if (lex != LEX_END && lexer_has(&r->lexer, '@')) {
        enum lex domain = read_domain(r);
        domain_read = true;
        if (domain != LEX_MORE)
            lex = domain;
    }
    if (r->comment.len > 0) {
        r->now.name = arena_copy(r->arena, buf_slice(&r->comment));
        return lex;
    }
    if (domain_read)
        return lex;
    take_words(r, quoted);
    *broken_out = true;
    return LEX_BROKEN;
}

static enum lex read_mailbox(struct reader *r)
{
    const char *from = r->lexer.at;
    enum lex lex = read_name_addr(r);
    if (lex == LEX_BROKEN) {
        bool broken;
        r->lexer.at = from;
        lex = read_addr_spec(r, &broken);
        if (broken && r->now.name.data == NULL && r->now.domain.data == NULL) {
            r->now.name = r->now.mailbox;
            r->now.mailbox = SLICE_NONE;
        }
    }
    add_filled(r);
    return lex;
}

/* display-name ":" [mailbox-list] ";" (RFC 5322 3.4) */
static enum lex read_group(struct reader *r)
{
    struct lexer *l = &r->lexer;
    buf_clear(&r->text);
    if (lexer_phrase(l, &r->text) != LEX_MORE || *l->at != ':')
        return LEX_BROKEN;
    l->at++;
    enum lex lex = lexer_skip(l);
    r->now.mailbox = kept(r);
    add(r);
    while (lex == LEX_MORE && *l->at != ';') {
        (void)read_mailbox(r);
        if (!lexer_has(l, ','))
            break;
        l->at++;
        if (lexer_skip(l) != LEX_MORE)
            lex = LEX_BROKEN;
    }
    if (lex != LEX_BROKEN) {
        lex = lexer_has(l, ';') ? LEX_MORE : LEX_BROKEN;
        if (lex == LEX_MORE) {
            l->at++;
            lex = lexer_skip(l);
        }
    }
    r->now = (struct address){ 0 };
    add(r);
    return lex == LEX_END ? LEX_END : LEX_MORE;
}

static void read_list(struct reader *r)
{
    struct lexer *l = &r->lexer;
    while (r->count < ADDRESSES_MAX) {
        const char *from = l->at;
        enum lex lex = read_group(r);
        if (lex == LEX_BROKEN) {
            l->at = from;
            lex = read_mailbox(r);
        }
        if (lex == LEX_END || !lexer_has(l, ','))
            return;
        l->at++;
        lex = lexer_skip(l);
        if (lex == LEX_BROKEN)
            add_filled(r);
        if (lex != LEX_MORE)
            return;
    }
}

struct address *address_parse(struct arena *arena, struct slice value)
{
    struct reader r = { .arena = arena };
    r.lexer = (struct lexer){ value.data, value.data + value.len, &r.comment };
    r.last = &r.first;
    if (value.len > 0 && lexer_skip(&r.lexer) == LEX_MORE)
        read_list(&r);
    buf_fini(&r.text);
    buf_fini(&r.comment);
    return r.first;
}
