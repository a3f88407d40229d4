/* OAUTHBEARER (RFC 7628) and XOAUTH2 (Google's form before it) as server: one message with a name and a bearer token, which is looked at elsewhere. GNU SASL
 * has neither. A message that is no login ends with an error in JSON as the RFC wants it (section 3.2.2), then as a refusal. */
#include "postern/base/memory.h"
#include "server.h"

static const char invalid_token[] = "{\"status\":\"invalid_token\"}";

/* "\1key=value" parts; the one that begins with "auth=Bearer ". False: there is none, or a part is malformed. */
static bool find_token(struct slice parts, struct slice *token_out)
{
    struct slice part;
    bool found = false;
    while (slice_split(&parts, '\1', &part)) {
        if (part.len == 0)
            continue;
        if (slice_find(part, '=') <= 0)
            return false;
        if (slice_starts_with_nocase(part, "auth=Bearer ")) {
            *token_out = slice_trim(slice_from(part, sizeof("auth=Bearer ") - 1));
            found = token_out->len > 0 && !slice_has_nul(*token_out);
        }
    }
    return found;
}

/* RFC 5801, section 4: "=2C" and "=3D" stand for comma and equals sign; nothing else does. */
static char *decode_name(struct slice text)
{
    struct buf name = { .cap = 0 };
    for (size_t i = 0; i < text.len; i++) {
        struct slice three = slice_part(text, i, 3);
        if (slice_is(three, "=2C") || slice_is(three, "=3D")) {
            buf_append_byte(&name, three.data[1] == '2' ? ',' : '=');
            i += 2;
        } else if (text.data[i] == '=' || text.data[i] == '\0') {
            buf_fini(&name);
            return NULL;
        } else
            buf_append_byte(&name, text.data[i]);
    }
    char *result = slice_to_string(buf_slice(&name));
    buf_fini(&name);
    return result;
}

static enum sasl_result take(struct sasl_server *server, char *name, struct slice parts, struct buf *challenge)
{
    struct slice token;
    server->name = name;
    if (name == NULL)
        return SASL_BAD;
    if (find_token(parts, &token)) {
        server->password = slice_to_string(token);
        return SASL_DONE;
    }
    server->shown = true;
    buf_append_text(challenge, invalid_token);
    return SASL_MORE;
}

/* gs2-header ("n,a=name,") \1 parts \1 \1 (RFC 7628, section 3.1). Channel binding is not known to it. */
enum sasl_result oauth_bearer_step(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    struct slice flag, as;
    if (server->shown)
        return SASL_REFUSED;
    ptrdiff_t end = slice_find(bytes, '\1');
    if (end < 0 || bytes.len < 3 || bytes.data[bytes.len - 1] != '\1' || bytes.data[bytes.len - 2] != '\1')
        return SASL_BAD;
    struct slice header = slice_part(bytes, 0, (size_t)end), parts = slice_from(bytes, (size_t)end);
    if (!slice_split(&header, ',', &flag) || !slice_split(&header, ',', &as) || header.len != 0 || (!slice_is(flag, "n") && !slice_is(flag, "y")))
        return SASL_BAD;
    if (as.len > 0 && !slice_starts_with(as, "a="))
        return SASL_BAD;
    return take(server, decode_name(slice_from(as, as.len > 0 ? 2 : 0)), parts, challenge);
}

/* "user=" name \1 "auth=Bearer " token \1 \1 */
enum sasl_result oauth_xoauth2_step(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    if (server->shown)
        return SASL_REFUSED;
    ptrdiff_t end = slice_find(bytes, '\1');
    if (end < 0 || !slice_starts_with(bytes, "user=") || bytes.data[bytes.len - 1] != '\1')
        return SASL_BAD;
    struct slice name = slice_part(bytes, 5, (size_t)end - 5);
    return take(server, slice_has_nul(name) || name.len == 0 ? NULL : slice_to_string(name), slice_from(bytes, (size_t)end), challenge);
}
