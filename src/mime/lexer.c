/* lexer: tokens of structured header fields. Called by address.c and content.c. It never reads past `end` and never fails
 * on 8-bit bytes, which are taken as letters. */
#include "lexer.h"

#include <string.h>

bool lexer_is_atext(char c)
{
    return (unsigned char)c >= 0x80 || ascii_is_alpha(c) || ascii_is_digit(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

/* RFC 2045 5.1: '/', '?' and '=' end a token, a dot does not. */
static bool is_token(char c)
{
    return c == '.' || (lexer_is_atext(c) && c != '/' && c != '?' && c != '=');
}

bool lexer_has(const struct lexer *l, char c)
{
    return l->at < l->end && *l->at == c;
}

static enum lex here(const struct lexer *l)
{
    return l->at < l->end ? LEX_MORE : LEX_END;
}

static void take(struct buf *out, const char *from, const char *to)
{
    buf_append(out, slice_make(from, (size_t)(to - from)));
}

static enum lex skip_comment(struct lexer *l)
{
    unsigned level = 0;
    if (l->comment != NULL)
        buf_clear(l->comment);
    for (; l->at < l->end; l->at++) {
        char c = *l->at;
        if (c == ')' && --level == 0) {
            l->at++;
            return here(l);
        }
        if (c == '\\') {
            if (++l->at == l->end)
                return LEX_BROKEN;
        } else if (c == '(' && level++ == 0) {
            continue;
        }
        if (l->comment != NULL)
            buf_append_byte(l->comment, *l->at);
    }
    /* A comment that is not closed has no text. */
    if (l->comment != NULL)
        buf_clear(l->comment);
    return LEX_BROKEN;
}

enum lex lexer_skip(struct lexer *l)
{
    while (l->at < l->end) {
        if (*l->at == '(') {
            if (skip_comment(l) == LEX_BROKEN)
                return LEX_BROKEN;
        } else if (*l->at == ' ' || *l->at == '\t' || *l->at == '\r' || *l->at == '\n') {
            l->at++;
        } else {
            break;
        }
    }
    return here(l);
}

enum lex lexer_atom(struct lexer *l, struct buf *out)
{
    const char *from = l->at;
    while (l->at < l->end && lexer_is_atext(*l->at))
        l->at++;
    if (l->at == from)
        return LEX_BROKEN;
    take(out, from, l->at);
    return lexer_skip(l);
}

enum lex lexer_dot_atom(struct lexer *l, struct buf *out)
{
    for (;;) {
        const char *from = l->at;
        while (l->at < l->end && lexer_is_atext(*l->at))
            l->at++;
        if (l->at == from)
            return LEX_BROKEN;
        take(out, from, l->at);
        enum lex lex = lexer_skip(l);
        if (lex != LEX_MORE || *l->at != '.')
            return lex;
        l->at++;
        buf_append_byte(out, '.');
        if (lexer_skip(l) != LEX_MORE)
            return LEX_BROKEN;
    }
}

enum lex lexer_token(struct lexer *l, struct buf *out)
{
    const char *from = l->at;
    while (l->at < l->end && is_token(*l->at))
        l->at++;
    take(out, from, l->at);
    return lexer_skip(l);
}

enum lex lexer_quoted(struct lexer *l, struct buf *out)
{
    for (l->at++; l->at < l->end; l->at++) {
        char c = *l->at;
        if (c == '"') {
            l->at++;
            return lexer_skip(l);
        }
        if (c == '\n' || (c == '\r' && l->at + 1 < l->end && l->at[1] == '\n'))
            continue;
        if (c == '\\' && ++l->at == l->end)
            return LEX_BROKEN;
        buf_append_byte(out, *l->at);
    }
    return LEX_BROKEN;
}

enum lex lexer_phrase(struct lexer *l, struct buf *out)
{
    if (l->at == l->end)
        return LEX_END;
    if (*l->at == '.')
        return LEX_BROKEN;
    for (;;) {
        enum lex lex;
        if (*l->at == '"') {
            lex = lexer_quoted(l, out);
        } else {
            const char *from = l->at;
            while (l->at < l->end && (*l->at == '.' || lexer_is_atext(*l->at)))
                l->at++;
            take(out, from, l->at);
            lex = lexer_skip(l);
        }
        if (lex != LEX_MORE)
            return lex;
        if (*l->at != '"' && *l->at != '.' && !lexer_is_atext(*l->at))
            return LEX_MORE;
        buf_append_byte(out, ' ');
    }
}

static enum lex domain_literal(struct lexer *l, struct buf *out)
{
    for (; l->at < l->end; l->at++) {
        if (*l->at == '\\' && ++l->at == l->end)
            return LEX_BROKEN;
        buf_append_byte(out, *l->at);
        if (*l->at == ']') {
            l->at++;
            return lexer_skip(l);
        }
    }
    return LEX_BROKEN;
}

enum lex lexer_domain(struct lexer *l, struct buf *out)
{
    l->at++;
    if (lexer_skip(l) != LEX_MORE)
        return LEX_BROKEN;
    return *l->at == '[' ? domain_literal(l, out) : lexer_dot_atom(l, out);
}
