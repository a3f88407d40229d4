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

const char *jwt_judge(const struct jwt *jwt, const struct jwt_rules *rules, struct buf *name_out)
{
    struct slice claims = buf_slice(&jwt->claims), value;
    int64_t seconds;
    if (json_find(claims, "iss", &value) != 1 || !is_text(value, rules->issuer))
        return "it is of another issuer";
    if (json_find(claims, "aud", &value) != 1 || !is_for(value, rules->audience))
        return "it is for another audience";
    if (json_find(claims, "exp", &value) != 1 || !json_number(value, &seconds))
        return "it does not say when it expires";
    if (rules->now >= seconds + LEEWAY_SECONDS)
        return "it has expired";
    int early = json_find(claims, "nbf", &value);
    if (early != 0 && (early < 0 || !json_number(value, &seconds) || rules->now + LEEWAY_SECONDS < seconds))
        return "it is not valid yet";
    /* An address that its owner could write there himself names nobody (OpenID Connect Core 1.0, section 5.1). */
    int verified = strcmp(rules->claim, "email") == 0 ? json_find(claims, "email_verified", &value) : 0;
    if (verified != 0 && (verified < 0 || (!slice_is(value, "true") && !is_text(value, "true"))))
        return "its address was not verified";
    size_t before = name_out->len;
    if (json_find(claims, rules->claim, &value) != 1 || !json_string(value, name_out) || name_out->len == before || name_out->len - before > NAME_MAX_OCTETS)
        return "it names no user";
    return NULL;
}
