/* JSON Web Tokens as OAUTHBEARER and XOAUTH2 bring them. Called by src/service. Algorithms are those of a list, never what the token asks for
 * (RFC 8725, section 3.1); "none" and symmetric ones are not in it. */
#include "postern/sasl/jwt.h"

#include <string.h>

#include "json.h"

enum { TOKEN_MAX_OCTETS = 9216, NAME_MAX_OCTETS = 320, LEEWAY_SECONDS = 30 };

static int letter_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (ascii_is_digit(c))
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* base64url without padding (RFC 7515, section 2); leftover bits must be zero. */
static bool decode(struct slice text, struct buf *out)
{
    unsigned bits = 0, have = 0;
    if (text.len == 0 || text.len % 4 == 1)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        int value = letter_value(text.data[i]);
        if (value < 0)
            return false;
        bits = bits << 6 | (unsigned)value;
        have += 6;
        if (have >= 8) {
            have -= 8;
            buf_append_byte(out, (char)(bits >> have & 255));
        }
        bits &= (1u << have) - 1;
    }
    return bits == 0;
}

static bool is_text(struct slice value, const char *wanted)
{
    struct buf text = { .cap = 0 };
    bool same = json_string(value, &text) && slice_is(buf_slice(&text), wanted);
    buf_fini(&text);
    return same;
}

static const char *read_header(struct slice header, struct jwt *out)
{
    struct slice value;
    if (!json_is_object(header))
        return "the header is not JSON";
    if (json_find(header, "crit", &value) != 0)
        return "the header names extensions that must be understood";
    if (json_find(header, "alg", &value) != 1)
        return "the header names no algorithm";
    if (is_text(value, "RS256"))
        out->algorithm = JWT_RS256;
    else if (is_text(value, "ES256"))
        out->algorithm = JWT_ES256;
    else
        return "the algorithm is neither RS256 nor ES256";
    return NULL;
}

const char *jwt_read(struct slice token, struct jwt *out)
{
    struct slice rest = token, header, claims, signature;
    struct buf bytes = { .cap = 0 };
    *out = (struct jwt){ .algorithm = JWT_RS256 };
    if (token.len > TOKEN_MAX_OCTETS || !slice_split(&rest, '.', &header) || !slice_split(&rest, '.', &claims) || !slice_split(&rest, '.', &signature) ||
        rest.data != NULL)
        return "it does not consist of three parts";
    out->text = slice_part(token, 0, header.len + 1 + claims.len);
    if (!decode(header, &bytes) || !decode(claims, &out->claims) || !decode(signature, &out->signature)) {
        buf_fini(&bytes);
        return "a part is not base64url";
    }
    const char *why = read_header(buf_slice(&bytes), out);
    buf_fini(&bytes);
    return why != NULL ? why : json_is_object(buf_slice(&out->claims)) ? NULL : "the claims are not JSON";
}

void jwt_fini(struct jwt *jwt)
{
    buf_wipe(&jwt->signature);
    buf_wipe(&jwt->claims);
}

/* RFC 7519, section 4.1.3: one text, or an array of them. */
static bool is_for(struct slice value, const char *audience)
{
    struct slice item;
    size_t at = 0;
    if (is_text(value, audience))
        return true;
    while (json_next(value, &at, &item))
        if (is_text(item, audience))
            return true;
    return false;
}

/* One of the words (RFC 6749, section 3.3). */
static bool is_scope(struct slice value, const char *scope)
{
    struct buf text = { .cap = 0 };
    struct slice rest, word;
    bool found = false;
    if (json_string(value, &text))
        for (rest = buf_slice(&text); !found && slice_split(&rest, ' ', &word);)
            found = slice_is(word, scope);
    buf_fini(&text);
    return found;
}

static const char *judge_parties(struct slice claims, const struct jwt_rules *rules)
{
    struct slice value;
    if (rules->issuer != NULL && (json_find(claims, "iss", &value) != 1 || !is_text(value, rules->issuer)))
        return "it is of another issuer";
    if (json_find(claims, "aud", &value) != 1 || !is_for(value, rules->audience))
        return "it is for another audience";
    if (rules->scope != NULL && (json_find(claims, "scope", &value) != 1 || !is_scope(value, rules->scope)))
        return "it has not the scope";
    return NULL;
}

/* *expires_out stays as it is where nothing is said of it and `must_expire` is not set. */
static const char *judge_times(struct slice claims, int64_t now, bool must_expire, int64_t *expires_out)
{
    struct slice value;
    int64_t seconds;
    int ends = json_find(claims, "exp", &value);
    if ((ends == 0 && must_expire) || ends < 0 || (ends == 1 && !json_number(value, expires_out)))
        return "it does not say when it expires";
    if (ends == 1 && now >= *expires_out + LEEWAY_SECONDS)
        return "it has expired";
    int early = json_find(claims, "nbf", &value);
    if (early != 0 && (early < 0 || !json_number(value, &seconds) || now + LEEWAY_SECONDS < seconds))
        return "it is not valid yet";
    return NULL;
}

static const char *take_name(struct slice claims, const struct jwt_rules *rules, struct buf *name_out)
{
    struct slice value;
    /* An address that its owner could write there himself names nobody (OpenID Connect Core 1.0, section 5.1). */
    int verified = strcmp(rules->claim, "email") == 0 ? json_find(claims, "email_verified", &value) : 0;
    if (verified != 0 && (verified < 0 || (!slice_is(value, "true") && !is_text(value, "true"))))
        return "its address was not verified";
    size_t before = name_out->len;
    if (json_find(claims, rules->claim, &value) != 1 || !json_string(value, name_out) || name_out->len == before || name_out->len - before > NAME_MAX_OCTETS)
        return "it names no user";
    return NULL;
}

const char *jwt_judge(const struct jwt *jwt, const struct jwt_rules *rules, struct buf *name_out)
{
    struct slice claims = buf_slice(&jwt->claims);
    int64_t expires = 0;
    const char *why = judge_parties(claims, rules);
    if (why == NULL)
        why = judge_times(claims, rules->now, true, &expires);
    return why != NULL ? why : take_name(claims, rules, name_out);
}

/* Refresh tokens are active too. */
static bool is_bearer(struct slice value)
{
    struct buf text = { .cap = 0 };
    bool same = json_string(value, &text) && slice_is_nocase(buf_slice(&text), "Bearer");
    buf_fini(&text);
    return same;
}

const char *introspection_judge(struct slice answer, const struct jwt_rules *rules, struct buf *name_out, int64_t *seconds_out)
{
    struct slice value;
    int64_t expires = INT64_MAX - LEEWAY_SECONDS;
    if (!json_is_object(answer))
        return "the answer of the authorization server is not JSON";
    if (json_find(answer, "active", &value) != 1 || !slice_is(value, "true"))
        return "it is not active";
    int type = json_find(answer, "token_type", &value);
    if (type != 0 && (type < 0 || !is_bearer(value)))
        return "it is no bearer token";
    const char *why = judge_parties(answer, rules);
    if (why == NULL)
        why = judge_times(answer, rules->now, false, &expires);
    if (why == NULL)
        why = take_name(answer, rules, name_out);
    *seconds_out = expires - rules->now;
    return why;
}
