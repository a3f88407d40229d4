/* The server's role of PLAIN and LOGIN through GNU SASL: this file turns the lines of the protocols into its steps and keeps what it learns.
 * Called by POP3, IMAP and SMTP on their loops. It must never decide whether a password is right. */
#include "postern/sasl/sasl.h"

#include <gsasl.h>
#include <pthread.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"

struct sasl_server {
    Gsasl_session *session;
    bool is_login;
    bool started;
    bool over;          /* DONE, BAD or REFUSED was said */
    bool refused;
    unsigned challenges;
    char *name;
    char *password;
};

/* GNU SASL's handle holds the mechanisms only; it is not changed after its start and may be used by all threads. */
static Gsasl *library;
static pthread_once_t library_once = PTHREAD_ONCE_INIT;

static const char *const login_challenges[] = { "Username:", "Password:" };

/* GNU SASL does not wipe its properties before it frees them. */
static void wipe_property(Gsasl_session *session, Gsasl_property property)
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
    server->refused = name == NULL || *name == '\0' || password == NULL || (as != NULL && *as != '\0' && strcmp(as, name) != 0);
    if (server->refused)
        return GSASL_AUTHENTICATION_ERROR;
    server->name = mem_strdup(name);
    server->password = mem_strdup(password);
    wipe_property(session, GSASL_PASSWORD);
    return GSASL_OK;
}

static int answer_library(Gsasl *context, Gsasl_session *session, Gsasl_property property)
{
    (void)context;
    if (property != GSASL_VALIDATE_SIMPLE)
        return GSASL_NO_CALLBACK;
    return take_credentials(gsasl_session_hook_get(session), session);
}

static void start_library(void)
{
    CHECK(gsasl_init(&library) == GSASL_OK);
    gsasl_callback_set(library, answer_library);
}

const char *sasl_mechanisms(void)
{
    return "PLAIN LOGIN";
}

struct sasl_server *sasl_server_new(struct slice mechanism)
{
    bool is_login = slice_is_nocase(mechanism, "LOGIN");
    if (!is_login && !slice_is_nocase(mechanism, "PLAIN"))
        return NULL;
    pthread_once(&library_once, start_library);
    struct sasl_server *server = MEM_NEW(struct sasl_server);
    server->is_login = is_login;
    CHECK(gsasl_server_start(library, is_login ? "LOGIN" : "PLAIN", &server->session) == GSASL_OK);
    gsasl_session_hook_set(server->session, server);
    return server;
}

static void append_base64(struct buf *out, const char *text)
{
    char *encoded = NULL;
    size_t len = 0;
    CHECK(gsasl_base64_to(text, strlen(text), &encoded, &len) == GSASL_OK);
    buf_append(out, (struct slice){ encoded, len });
    gsasl_free(encoded);
}

/* GNU SASL's LOGIN challenges read "User Name" and "Password"; clients were written against "Username:" and "Password:". */
static void write_challenge(struct sasl_server *server, struct buf *out)
{
    if (server->is_login) {
        CHECK(server->challenges < sizeof(login_challenges) / sizeof(login_challenges[0]));
        append_base64(out, login_challenges[server->challenges++]);
    }
}

static enum sasl_result step_library(struct sasl_server *server, const char *bytes, size_t len, struct buf *out)
{
    char *answer = NULL;
    size_t answer_len = 0;
    int result = gsasl_step(server->session, bytes, len, &answer, &answer_len);
    gsasl_free(answer);
    if (result == GSASL_NEEDS_MORE) {
        write_challenge(server, out);
        return SASL_MORE;
    }
    if (server->refused)
        return SASL_REFUSED;
    return result == GSASL_OK && server->name != NULL ? SASL_DONE : SASL_BAD;
}

/* LOGIN begins with a challenge: with an initial response, that challenge is passed over and the response is the name. */
static enum sasl_result begin_exchange(struct sasl_server *server, bool has_initial, struct buf *out)
{
    server->started = true;
    if (!server->is_login && has_initial)
        return SASL_MORE;
    enum sasl_result result = step_library(server, "", 0, out);
    if (has_initial)
        buf_clear(out);
    return result;
}

static enum sasl_result step_base64(struct sasl_server *server, struct slice base64, struct buf *out)
{
    char *bytes = NULL;
    size_t len = 0;
    if (slice_has_nul(base64) || gsasl_base64_from(base64.data, base64.len, &bytes, &len) != GSASL_OK)
        return SASL_BAD;
    enum sasl_result result = step_library(server, bytes, len, out);
    secret_wipe(bytes, len);
    gsasl_free(bytes);
    return result;
}

static enum sasl_result step_line(struct sasl_server *server, struct slice line, struct buf *out)
{
    if (line.len > SASL_LINE_MAX)
        return SASL_BAD;
    if (!server->started) {
        enum sasl_result result = begin_exchange(server, line.len != 0, out);
        if (line.len == 0 || result != SASL_MORE)
            return result;
        if (slice_is(line, "="))
            line.len = 0;
    }
    /* PLAIN's message cannot be empty; LOGIN's name and password can, but are nobody's. */
    if (line.len == 0)
        return server->is_login ? SASL_REFUSED : SASL_BAD;
    return step_base64(server, line, out);
}

enum sasl_result sasl_server_step(struct sasl_server *server, struct slice base64_in, struct buf *base64_out)
{
    buf_clear(base64_out);
    if (server->over)
        return SASL_BAD;
    enum sasl_result result = step_line(server, base64_in, base64_out);
    if (result != SASL_MORE) {
        server->over = true;
        buf_clear(base64_out);
    }
    if (result == SASL_BAD || result == SASL_REFUSED) {
        secret_free(&server->name);
        secret_free(&server->password);
    }
    return result;
}

struct slice sasl_server_name(const struct sasl_server *server)
{
    return slice_from_string(server->name);
}

struct slice sasl_server_password(const struct sasl_server *server)
{
    return slice_from_string(server->password);
}

void sasl_server_free(struct sasl_server **server)
{
    if (*server == NULL)
        return;
    gsasl_finish((*server)->session);
    secret_free(&(*server)->name);
    secret_free(&(*server)->password);
    mem_free(server);
}
