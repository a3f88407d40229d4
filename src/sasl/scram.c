/* SCRAM-SHA-256 as server (RFC 5802, RFC 7677) through GNU SASL. The keys of a name come from the directory, so the client's first message is held until they
 * are there: a session that is thrown away reads the name from it. */
#include <string.h>

#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "server.h"

enum { FIRST_MESSAGE_MAX = 2048, DIGITS = 10 };

/* --- authPassword -------------------------------------------------------------------------------------------------------------- */

static bool decode_exactly(struct slice text, unsigned char *out, size_t size, size_t most, size_t *len_out)
{
    char *bytes = NULL;
    size_t len = 0;
    if (text.len == 0 || text.len > 4096 || gsasl_base64_from(text.data, text.len, &bytes, &len) != GSASL_OK)
        return false;
    bool good = len >= size && len <= most;
    if (good) {
        memcpy(out, bytes, len);
        *len_out = len;
    }
    secret_wipe(bytes, len);
    gsasl_free(bytes);
    return good;
}

bool sasl_keys_parse(struct slice value, struct sasl_keys *out)
{
    struct slice scheme, info, keys, iterations, stored, rest = slice_trim(value);
    uint64_t number = 0;
    size_t len = 0;
    if (slice_has_nul(rest) || !slice_split(&rest, '$', &scheme) || !slice_split(&rest, '$', &info) || !slice_split(&rest, '$', &keys) || rest.data != NULL)
        return false;
    scheme = slice_trim(scheme);
    info = slice_trim(info);
    keys = slice_trim(keys);
    if (!slice_is_nocase(scheme, "SCRAM-SHA-256") || !slice_split(&info, ':', &iterations) || !slice_split(&keys, ':', &stored) ||
        iterations.len > DIGITS || !slice_to_number(iterations, 100000000, &number) || number == 0)
        return false;
    *out = (struct sasl_keys){ .iterations = (unsigned)number };
    return decode_exactly(info, out->salt, 1, SASL_SALT_MAX, &out->salt_len) && decode_exactly(stored, out->stored_key, SASL_KEY_SIZE, SASL_KEY_SIZE, &len) &&
           decode_exactly(keys, out->server_key, SASL_KEY_SIZE, SASL_KEY_SIZE, &len);
}

/* --- the exchange -------------------------------------------------------------------------------------------------------------- */

static int set_binding(Gsasl_session *session, Gsasl_property property, struct slice bytes, int missing)
{
    struct buf text = { .cap = 0 };
    if (bytes.len == 0)
        return missing;
    sasl_client_base64(bytes, &text);
    gsasl_property_set_raw(session, property, text.data, text.len);
    buf_fini(&text);
    return GSASL_OK;
}

int scram_callback(struct sasl_server *server, Gsasl_session *session, Gsasl_property property)
{
    switch (property) {
    case GSASL_CB_TLS_EXPORTER:
        return set_binding(session, property, server->offer.exporter, GSASL_NO_CB_TLS_EXPORTER);
    case GSASL_CB_TLS_UNIQUE:
        return set_binding(session, property, server->offer.unique, GSASL_NO_CB_TLS_UNIQUE);
    default:
        return GSASL_NO_CALLBACK;
    }
}

/* Who the first message speaks of; false: it is none. */
static bool read_first(struct sasl_server *server, struct slice bytes)
{
    Gsasl_session *probe = NULL;
    struct buf answer = { .cap = 0 };
    if (gsasl_server_start(sasl_library(), server->mechanism->name, &probe) != GSASL_OK)
        return false;
    gsasl_session_hook_set(probe, server);
    bool good = sasl_library_step(probe, bytes, &answer) == GSASL_NEEDS_MORE;
    const char *name = gsasl_property_fast(probe, GSASL_AUTHID), *as = gsasl_property_fast(probe, GSASL_AUTHZID);
    good = good && name != NULL && *name != '\0';
    if (good) {
        server->name = mem_strdup(name);
        server->refused = as != NULL && *as != '\0' && strcmp(as, name) != 0;
    }
    gsasl_finish(probe);
    buf_fini(&answer);
    return good;
}

/* In base64, whatever gsasl.h says. */
static void set_bytes(Gsasl_session *session, Gsasl_property property, const unsigned char *bytes, size_t len)
{
    struct buf text = { .cap = 0 };
    sasl_client_base64(slice_make((const char *)bytes, len), &text);
    gsasl_property_set_raw(session, property, text.data, text.len);
    buf_wipe(&text);
}

enum sasl_result scram_give_keys(struct sasl_server *server, const struct sasl_keys *keys, struct buf *challenge)
{
    struct buf text = { .cap = 0 };
    buf_append_number(&text, keys->iterations);
    gsasl_property_set_raw(server->session, GSASL_SCRAM_ITER, text.data, text.len);
    buf_fini(&text);
    set_bytes(server->session, GSASL_SCRAM_SALT, keys->salt, keys->salt_len);
    set_bytes(server->session, GSASL_SCRAM_STOREDKEY, keys->stored_key, SASL_KEY_SIZE);
    set_bytes(server->session, GSASL_SCRAM_SERVERKEY, keys->server_key, SASL_KEY_SIZE);
    int result = sasl_library_step(server->session, slice_from_string(server->held), challenge);
    secret_free(&server->held);
    return result == GSASL_NEEDS_MORE ? SASL_MORE : SASL_BAD;
}

/* The last message: the server's signature goes as one more challenge once the login is let in, to be answered by an empty line (RFC 4422, section 5, item 2a). */
static enum sasl_result take_proof(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    int result = sasl_library_step(server->session, bytes, challenge);
    sasl_wipe_property(server->session, GSASL_SCRAM_STOREDKEY);
    sasl_wipe_property(server->session, GSASL_SCRAM_SERVERKEY);
    if (result == GSASL_AUTHENTICATION_ERROR || server->refused)
        return SASL_REFUSED;
    server->shown = result == GSASL_OK;
    return server->shown ? SASL_PROVEN : SASL_BAD;
}

enum sasl_result scram_step(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    if (server->shown)
        return bytes.len == 0 ? SASL_DONE : SASL_BAD;
    if (server->name != NULL)
        return take_proof(server, bytes, challenge);
    if (bytes.len == 0 || bytes.len > FIRST_MESSAGE_MAX || slice_has_nul(bytes) || !read_first(server, bytes))
        return SASL_BAD;
    server->held = slice_to_string(bytes);
    return SASL_KEYS;
}
