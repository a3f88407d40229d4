/* The mailboxes of a From field (RFC 5322 3.4, RFC 6854 groups). Used to hold users to their own addresses: what it does not
 * understand wholly it refuses, so that no other reader sees an author that was not checked. Pure. */
#include "address.h"

#include <string.h>

/* The field's text without comments and folding, taken token by token. */
struct reader {
    struct slice rest;
    bool bad;
};

static void step_over(struct reader *r, size_t count)
{
    r->rest = slice_from(r->rest, count);
}

/* RFC 5322 3.2.2: comments nest and may hold quoted pairs. */
static void skip_comment(struct reader *r)
{
    unsigned depth = 0;
    do {
        if (r->rest.len == 0) {
            r->bad = true;
            return;
        }
        char c = r->rest.data[0];
        if (c == '\\')
            step_over(r, 1);
        else if (c == '(')
            depth++;
        else if (c == ')')
            depth--;
        step_over(r, 1);
    } while (depth != 0);
}

/* Comments and folding white space; the next significant byte, or '\0' at the end. */
static char peek(struct reader *r)
{
    while (r->rest.len != 0 && !r->bad) {
        char c = r->rest.data[0];
        if (c == '(')
            skip_comment(r);
        else if (c == ' ' || c == '\t' || c == '\r' || c == '\n')
            step_over(r, 1);
        else
            return c == '\0' ? '\1' : c;
    }
    return '\0';
}

static struct slice take_quoted(struct reader *r)
{
    struct slice from = r->rest;
    size_t len = 1;
    while (len < from.len && from.data[len] != '"')
        len += from.data[len] == '\\' ? 2 : 1;
    if (len >= from.len) {
        r->bad = true;
        return SLICE_NONE;
    }
    step_over(r, len + 1);
    return slice_part(from, 0, len + 1);
}

/* A word: a quoted string, a domain literal, or bytes up to the next special (RFC 5322 3.2.3; '.' counts as part of a word). */
static struct slice take_word(struct reader *r)
{
    size_t len = 0;
    if (r->rest.data[0] == '"')
        return take_quoted(r);
    if (r->rest.data[0] == '[') {
        ptrdiff_t end = slice_find(r->rest, ']');
        len = end < 0 ? 0 : (size_t)end + 1;
    } else {
        while (len < r->rest.len && (unsigned char)r->rest.data[len] > ' ' && strchr("()<>[]:;@\\,\"", r->rest.data[len]) == NULL)
            len++;
    }
    if (len == 0)
        r->bad = true;
    struct slice word = slice_part(r->rest, 0, len);
    step_over(r, len);
    return word;
}

/* Words joined without what stood between them ("john . doe @ example.com" is john.doe@example.com), up to a special. */
struct spelling {
    char text[MAIL_LOCAL_MAX + MAIL_DOMAIN_MAX + 4];
    size_t len;
    bool has_at;
};

static void join(struct reader *r, struct spelling *out, struct slice word)
{
    char before = out->len != 0 ? out->text[out->len - 1] : '@';
    /* Two words side by side are no local part: some readers would see only the second. */
    bool apart = before == '@' || before == '.' || word.len == 0 || word.data[0] == '@' || word.data[0] == '.';
    if (!apart || word.len > sizeof(out->text) - out->len) {
        r->bad = true;
        return;
    }
    if (word.len != 0)
        memcpy(out->text + out->len, word.data, word.len);
    out->len += word.len;
}

static bool is_word_start(char c)
{
    return c != '\0' && strchr("<>,:;@)]\\", c) == NULL;
}

static void take_addr_spec(struct reader *r, struct spelling *out)
{
    for (char c = peek(r); !r->bad && (is_word_start(c) || c == '@'); c = peek(r)) {
        if (c != '@') {
            join(r, out, take_word(r));
            continue;
        }
        if (out->has_at)
            r->bad = true;
        out->has_at = true;
        join(r, out, slice_part(r->rest, 0, 1));
        step_over(r, 1);
    }
}

/* "<addr-spec>", with the obsolete route of RFC 5322 4.4 refused. */
static bool take_angle(struct reader *r, struct mail_path *out)
{
    struct spelling spelling = { .len = 0 };
    step_over(r, 1);
    take_addr_spec(r, &spelling);
    if (r->bad || peek(r) != '>')
        return false;
    step_over(r, 1);
    return address_parse_mailbox(slice_make(spelling.text, spelling.len), out);
}

/* What ends a display name or an addr-spec without brackets. */
static bool take_phrase(struct reader *r, struct slice *start_out)
{
    bool has_at = false;
    *start_out = r->rest;
    for (char c = peek(r); !r->bad && (is_word_start(c) || c == '@'); c = peek(r)) {
        has_at = has_at || c == '@';
        if (c == '@')
            step_over(r, 1);
        else
            take_word(r);
    }
    return has_at;
}

/* One mailbox, with or without a display name; false if malformed. *group_out: it was the name of a group, up to its colon. */
static bool take_mailbox(struct reader *r, struct mail_path *out, bool *group_out)
{
    struct slice start;
    *group_out = false;
    bool has_at = take_phrase(r, &start);
    char c = peek(r);
    if (r->bad)
        return false;
    if (c == '<')
        return !has_at && take_angle(r, out);
    if (c == ':') {
        *group_out = true;
        step_over(r, 1);
        return !has_at;
    }
    struct reader again = { .rest = slice_make(start.data, (size_t)(r->rest.data - start.data)) };
    struct spelling spelling = { .len = 0 };
    take_addr_spec(&again, &spelling);
    return !again.bad && address_parse_mailbox(slice_make(spelling.text, spelling.len), out);
}

bool address_list_for_each(struct slice body, bool (*visit)(const struct mail_path *mailbox, void *context), void *context)
{
    struct reader r = { .rest = body };
    bool in_group = false, found = false;
    for (char c = peek(&r); c != '\0'; c = peek(&r)) {
        struct mail_path mailbox;
        bool group;
        if (c == ',' || (c == ';' && in_group)) {
            in_group = in_group && c != ';';
            step_over(&r, 1);
            continue;
        }
        if (!take_mailbox(&r, &mailbox, &group) || (group && in_group))
            return false;
        in_group = in_group || group;
        if (group)
            continue;
        if (!visit(&mailbox, context))
            return false;
        found = true;
        c = peek(&r);
        if (c != '\0' && c != ',' && !(c == ';' && in_group))
            return false;
    }
    return found && !r.bad && !in_group;
}
