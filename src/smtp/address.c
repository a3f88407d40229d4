/* RFC 5321 paths. Used by the commands MAIL and RCPT, and by the check of From; never allocates, never looks anything up. */
#include "address.h"

#include <arpa/inet.h>
#include <string.h>

struct slice mail_path_text(const struct mail_path *path)
{
    return slice_make(path->text, path->len);
}

struct slice mail_path_local(const struct mail_path *path)
{
    return slice_make(path->text, path->at);
}

struct slice mail_path_domain(const struct mail_path *path)
{
    return slice_from(mail_path_text(path), path->at == path->len ? path->len : path->at + 1);
}

bool mail_path_is_postmaster(const struct mail_path *path)
{
    return slice_is_nocase(mail_path_local(path), "postmaster");
}

/* RFC 5321 4.1.2, atext (RFC 5322 3.2.3). */
static bool is_atext(char c)
{
    return ascii_is_alpha(c) || ascii_is_digit(c) || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool is_dot_string(struct slice s)
{
    bool after_dot = true;
    for (size_t i = 0; i < s.len; i++) {
        if (s.data[i] == '.' ? after_dot : !is_atext(s.data[i]))
            return false;
        after_dot = s.data[i] == '.';
    }
    return !after_dot;
}

static void put(struct mail_path *out, char c)
{
    out->text[out->len++] = c;
}

/* RFC 5321 4.1.2: the quoted form is used only where it is needed. */
static void put_local(struct mail_path *out, struct slice local)
{
    bool quoted = !is_dot_string(local);
    if (quoted)
        put(out, '"');
    for (size_t i = 0; i < local.len; i++) {
        if (quoted && (local.data[i] == '"' || local.data[i] == '\\'))
            put(out, '\\');
        put(out, local.data[i]);
    }
    if (quoted)
        put(out, '"');
    out->at = out->len;
}

/* Length of the quoted string at the front of s, its content in text/len; 0 if malformed. */
static size_t take_quoted(struct slice s, char *text, size_t *len)
{
    *len = 0;
    for (size_t i = 1; i < s.len; i++) {
        char c = s.data[i];
        if (c == '"')
            return i + 1;
        if (c == '\\' && ++i < s.len)
            c = s.data[i];
        if (i >= s.len || c < ' ' || c > '~' || *len == MAIL_LOCAL_MAX)
            return 0;
        text[(*len)++] = c;
    }
    return 0;
}

/* Length of the local part at the front of s; 0 if malformed. */
static size_t take_local(struct slice s, struct mail_path *out)
{
    char text[MAIL_LOCAL_MAX];
    size_t len = 0, used;
    if (s.len != 0 && s.data[0] == '"') {
        used = take_quoted(s, text, &len);
    } else {
        while (len < s.len && (is_atext(s.data[len]) || s.data[len] == '.'))
            len++;
        if (len > MAIL_LOCAL_MAX || !is_dot_string(slice_part(s, 0, len)))
            return 0;
        memcpy(text, s.data, len);
        used = len;
    }
    if (used != 0)
        put_local(out, slice_make(text, len));
    return used;
}

/* RFC 5321 4.1.3: IPv4, or "IPv6:" and an IPv6 address. */
static bool is_literal(struct slice inner)
{
    char text[INET6_ADDRSTRLEN];
    unsigned char address[16];
    bool six = slice_starts_with_nocase(inner, "IPv6:");
    struct slice number = slice_from(inner, six ? 5 : 0);
    if (number.len >= sizeof(text) || slice_has_nul(number))
        return false;
    memcpy(text, number.data, number.len);
    text[number.len] = '\0';
    return inet_pton(six ? AF_INET6 : AF_INET, text, address) == 1;
}

/* Labels of letters, digits, hyphens; underscores occur in practice and do no harm. */
static bool is_domain(struct slice s)
{
    struct slice rest = s, label;
    if (s.len == 0 || s.len > MAIL_DOMAIN_MAX)
        return false;
    while (slice_split(&rest, '.', &label)) {
        if (label.len == 0 || label.len > 63 || label.data[0] == '-' || label.data[label.len - 1] == '-')
            return false;
        for (size_t i = 0; i < label.len; i++)
            if (!ascii_is_alpha(label.data[i]) && !ascii_is_digit(label.data[i]) && label.data[i] != '-' && label.data[i] != '_')
                return false;
    }
    return true;
}

/* Length of the domain or address literal at the front of s; 0 if malformed. */
static size_t take_domain(struct slice s, bool *literal_out)
{
    size_t len = 0;
    *literal_out = s.len != 0 && s.data[0] == '[';
    if (*literal_out) {
        ptrdiff_t end = slice_find(s, ']');
        return end > 0 && is_literal(slice_part(s, 1, (size_t)end - 1)) ? (size_t)end + 1 : 0;
    }
    while (len < s.len && s.data[len] != '\0' && strchr(">,: @\r\n\t", s.data[len]) == NULL)
        len++;
    return is_domain(slice_part(s, 0, len)) ? len : 0;
}

/* Length of the mailbox at the front of s; 0 if malformed. */
static size_t take_mailbox(struct slice s, struct mail_path *out)
{
    size_t local = take_local(s, out), domain;
    if (local == 0 || local == s.len || s.data[local] != '@')
        return local;
    struct slice rest = slice_from(s, local + 1);
    domain = take_domain(rest, &out->literal);
    if (domain == 0)
        return 0;
    put(out, '@');
    memcpy(out->text + out->len, rest.data, domain);
    out->len += domain;
    return local + 1 + domain;
}

/* "@a,@b:" (RFC 5321 appendix C): its length, 0 if there is none or it is malformed. */
static size_t take_route(struct slice s)
{
    size_t used = 0;
    bool literal;
    while (used < s.len && s.data[used] == '@') {
        size_t domain = take_domain(slice_from(s, used + 1), &literal);
        used += 1 + domain;
        if (domain == 0 || used >= s.len)
            return 0;
        if (s.data[used] == ':')
            return used + 1;
        if (s.data[used++] != ',')
            return 0;
    }
    return 0;
}

bool address_parse_path(struct slice *rest, struct mail_path *out)
{
    struct slice s = *rest;
    memset(out, 0, sizeof(*out));
    if (s.len < 2 || s.data[0] != '<')
        return false;
    s = slice_from(s, 1);
    if (s.data[0] != '>') {
        s = slice_from(s, take_route(s));
        size_t used = take_mailbox(s, out);
        if (used == 0)
            return false;
        s = slice_from(s, used);
    }
    if (s.len == 0 || s.data[0] != '>')
        return false;
    *rest = slice_from(s, 1);
    return true;
}

bool address_parse_mailbox(struct slice text, struct mail_path *out)
{
    memset(out, 0, sizeof(*out));
    size_t used = take_mailbox(text, out);
    return used != 0 && used == text.len && out->at < out->len;
}
