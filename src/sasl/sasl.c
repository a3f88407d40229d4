/* The server's role: turns the lines of the protocols into steps of a mechanism, GNU SASL's or our own, and keeps what is learned. Called by
 * src/session on the loops. It must never decide whether a password is right. */
#include <pthread.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "server.h"

/* GNU SASL's handle holds the mechanisms only; it is not changed after its start and may be used by all threads. */
static Gsasl *library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

void sasl_wipe_property(Gsasl_session *session, Gsasl_property property)
{
    char *value = (char *)(uintptr_t)gsasl_property_fast(session, property);
    if (value != NULL)
        secret_wipe(value, strlen(value));
}

static int take_credentials(struct sasl_server *server, Gsasl_session *session)
{
    const char *name = gsasl_property_fast(session, GSASL_AUTHID);
    const char *as = gsasl_property_fast(session, GSASL_AUTHZID);
    const char *password = gsasl_property_fast(session, GSASL_PASSWORD);
    if (name != NULL && server->name == NULL)
        server->name = mem_strdup(name);
    server->refused = name == NULL || *name == '\0' || password == NULL || *password == '\0';
    bool acts = !server->refused && as != NULL && *as != '\0' && strcmp(as, name) != 0;
    server->refused = server->refused || (acts && !server->offer.acting);
    if (server->refused)
        return GSASL_AUTHENTICATION_ERROR;
    if (acts && server->acts_as == NULL)
        server->acts_as = mem_strdup(as);
    server->password = mem_strdup(password);
    sasl_wipe_property(session, GSASL_PASSWORD);
    return GSASL_OK;
}

static int take_identity(struct sasl_server *server, Gsasl_session *session)
{
    const char *as = gsasl_property_fast(session, GSASL_AUTHZID);
    server->name = mem_strdup(as != NULL ? as : "");
    return GSASL_OK;
}

static int answer_library(Gsasl *context, Gsasl_session *session, Gsasl_property property)
{
    (void)context;
    struct sasl_server *server = gsasl_session_hook_get(session);
    if (server == NULL)
        return GSASL_NO_CALLBACK;
    if (property == GSASL_VALIDATE_SIMPLE)
        return take_credentials(server, session);
    if (property == GSASL_VALIDATE_EXTERNAL)
        return take_identity(server, session);
    return scram_callback(server, session, property);
}

static void start_library(void)
{
    CHECK(gsasl_init(&library) == GSASL_OK);
    gsasl_callback_set(library, answer_library);
}

Gsasl *sasl_library(void)
{
    pthread_once(&library_once, start_library);
    return library;
}

int sasl_library_step(Gsasl_session *session, struct slice bytes, struct buf *answer)
{
    char *out = NULL;
    size_t len = 0;
    int result = gsasl_step(session, bytes.len > 0 ? bytes.data : "", bytes.len, &out, &len);
    if (out != NULL && (result == GSASL_OK || result == GSASL_NEEDS_MORE))
        buf_append(answer, slice_make(out, len));
    gsasl_free(out);
    return result;
}

/* --- mechanisms of one or two messages --------------------------------------------------------------------------------------- */

static enum sasl_result plain_step(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    int result = bytes.len > 0 ? sasl_library_step(server->session, bytes, challenge) : GSASL_MECHANISM_PARSE_ERROR;
    if (server->refused)
        return SASL_REFUSED;
    return result == GSASL_OK && server->password != NULL ? SASL_DONE : SASL_BAD;
}

/* Name and password can be empty, but are nobody's. GNU SASL's second challenge reads "Password"; clients were written against "Password:". */
static enum sasl_result login_step(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    if (bytes.len == 0)
        return SASL_REFUSED;
    int result = sasl_library_step(server->session, bytes, challenge);
    buf_clear(challenge);
    if (server->refused)
        return SASL_REFUSED;
    if (result == GSASL_NEEDS_MORE && server->steps == 1) {
        buf_append_text(challenge, "Password:");
        return SASL_MORE;
    }
    return result == GSASL_OK && server->password != NULL ? SASL_DONE : SASL_BAD;
}

static enum sasl_result external_step(struct sasl_server *server, struct slice bytes, struct buf *challenge)
{
    return sasl_library_step(server->session, bytes, challenge) == GSASL_OK && server->name != NULL ? SASL_DONE : SASL_BAD;
}

/* --- the table, best first --------------------------------------------------------------------------------------------------- */

static bool is_clear(const struct sasl_offer *offer)
{
    return offer->clear;
}

static bool is_scram(const struct sasl_offer *offer)
{
    return offer->scram;
}

static bool is_bound(const struct sasl_offer *offer)
{
    return offer->scram && (offer->exporter.len > 0 || offer->unique.len > 0);
}

static bool is_certified(const struct sasl_offer *offer)
{
    return offer->certificate;
}

static bool is_token(const struct sasl_offer *offer)
{
    return offer->token && offer->clear;
}

static const struct mechanism mechanisms[] = {
    { "PLAIN", SASL_PASSWORD, is_clear, "", plain_step, false },
    { "LOGIN", SASL_PASSWORD, is_clear, "Username:", login_step, false },
    { "SCRAM-SHA-256-PLUS", SASL_SHOWN, is_bound, "", scram_step, false },
    { "SCRAM-SHA-256", SASL_SHOWN, is_scram, "", scram_step, false },
    { "EXTERNAL", SASL_CERTIFICATE, is_certified, "", external_step, false },
    { "OAUTHBEARER", SASL_TOKEN, is_token, "", oauth_bearer_step, true },
    { "XOAUTH2", SASL_TOKEN, is_token, "", oauth_xoauth2_step, true },
};

void sasl_write_mechanisms(const struct sasl_offer *offer, struct buf *out)
{
    const char *separator = "";
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++) {
        if (!mechanisms[i].is_offered(offer))
            continue;
        buf_append_text(out, separator);
        buf_append_text(out, mechanisms[i].name);
        separator = " ";
    }
}

static const struct mechanism *find_mechanism(struct slice name, const struct sasl_offer *offer)
{
    for (size_t i = 0; i < sizeof(mechanisms) / sizeof(mechanisms[0]); i++)
        if (slice_is_nocase(name, mechanisms[i].name))
            return mechanisms[i].is_offered(offer) ? &mechanisms[i] : NULL;
    return NULL;
}

struct sasl_server *sasl_server_new(struct slice mechanism, const struct sasl_offer *offer)
{
    const struct mechanism *m = find_mechanism(mechanism, offer);
    if (m == NULL)
        return NULL;
    struct sasl_server *server = MEM_NEW(struct sasl_server);
    server->mechanism = m;
    server->offer = *offer;
    if (m->own)
        return server;
    CHECK(gsasl_server_start(sasl_library(), m->name, &server->session) == GSASL_OK);
    gsasl_session_hook_set(server->session, server);
    if (m->step == login_step) {
        struct buf greeting = { .cap = 0 };
        sasl_library_step(server->session, SLICE_NONE, &greeting);
        buf_fini(&greeting);
    }
    return server;
}

/* --- lines ------------------------------------------------------------------------------------------------------------------- */

static void encode(struct slice bytes, struct buf *out)
{
    sasl_client_base64(bytes, out);
}

static enum sasl_result finish(struct sasl_server *server, enum sasl_result result, struct buf *challenge, struct buf *base64_out)
{
    if (result == SASL_MORE || result == SASL_PROVEN)
        encode(buf_slice(challenge), base64_out);
    else if (result != SASL_KEYS)
        server->over = true;
    buf_wipe(challenge);
    if (result == SASL_BAD)
        secret_free(&server->name);
    if (result == SASL_BAD || result == SASL_REFUSED)
        secret_free(&server->password);
    return result;
}

static enum sasl_result step_bytes(struct sasl_server *server, struct slice bytes, struct buf *base64_out)
{
    struct buf challenge = { .cap = 0 };
    server->steps++;
    return finish(server, server->mechanism->step(server, bytes, &challenge), &challenge, base64_out);
}

static enum sasl_result step_line(struct sasl_server *server, struct slice line, struct buf *base64_out)
{
    if (line.len > SASL_LINE_MAX || slice_has_nul(line))
        return SASL_BAD;
    bool first = !server->started;
    server->started = true;
    if (first && line.len == 0) {
        encode(slice_from_string(server->mechanism->first), base64_out);
        return SASL_MORE;
    }
    if (line.len == 0 || (first && slice_is(line, "=")))
        return step_bytes(server, SLICE_LITERAL(""), base64_out);
    char *bytes = NULL;
    size_t len = 0;
    if (gsasl_base64_from(line.data, line.len, &bytes, &len) != GSASL_OK)
        return SASL_BAD;
    enum sasl_result result = step_bytes(server, slice_make(bytes, len), base64_out);
    secret_wipe(bytes, len);
    gsasl_free(bytes);
    return result;
}

enum sasl_result sasl_server_step(struct sasl_server *server, struct slice base64_in, struct buf *base64_out)
{
    buf_clear(base64_out);
    if (server->over || server->held != NULL)
        return SASL_BAD;
    enum sasl_result result = step_line(server, base64_in, base64_out);
    server->over = server->over || result == SASL_BAD;
    return result;
}

enum sasl_result sasl_server_give_keys(struct sasl_server *server, const struct sasl_keys *keys, struct buf *base64_out)
{
    struct buf challenge = { .cap = 0 };
    buf_clear(base64_out);
    if (server->over || server->held == NULL)
        return SASL_BAD;
    return finish(server, scram_give_keys(server, keys, &challenge), &challenge, base64_out);
}

/* --- what is known ----------------------------------------------------------------------------------------------------------- */

enum sasl_proof sasl_server_proof(const struct sasl_server *server)
{
    return server->mechanism->proof;
}

struct slice sasl_server_name(const struct sasl_server *server)
{
    return slice_from_string(server->name);
}

struct slice sasl_server_password(const struct sasl_server *server)
{
    return slice_from_string(server->password);
}

struct slice sasl_server_acts_as(const struct sasl_server *server)
{
    return slice_from_string(server->acts_as);
}

void sasl_server_free(struct sasl_server **server)
{
    if (*server == NULL)
        return;
    if ((*server)->session != NULL)
        gsasl_finish((*server)->session);
    secret_free(&(*server)->name);
    secret_free(&(*server)->password);
    secret_free(&(*server)->held);
    mem_free(&(*server)->acts_as);
    mem_free(server);
}
