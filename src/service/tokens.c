/* Bearer tokens: signed ones by configured keys, any by asking the authorization server (RFC 7662); with both configured a token must pass both. Called in
 * threads; what was answered is kept for a short time, if that is wanted, under a keyed hash of the token. A server that does not answer is left alone for a
 * moment, so that it does not hold all threads that tokens may have. */
#include "tokens.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/net/https.h"
#include "postern/net/keyed_hash.h"
#include "postern/net/public_key.h"
#include "postern/sasl/jwt.h"

enum { ANSWERS = 1024, PAUSE_MS = 2000, CREDENTIALS_MAX = 1024 };

/* --- signed ones ------------------------------------------------------------------------------------------------------------- */

static int check_signature(struct gateway *g, const struct agent_settings *agent, const struct jwt *jwt, struct fault *fault)
{
    enum signature_kind kind = jwt->algorithm == JWT_RS256 ? SIGNATURE_RS256 : SIGNATURE_ES256;
    char *file = gateway_tls_path(g, agent->token_key);
    int rc = file != NULL ? public_key_verify(file, kind, jwt->text, buf_slice(&jwt->signature), fault)
                          : fault_set(fault, FAULT_INVALID, 0, "the file of posternTokenKey is not below the TLS directory");
    mem_free(&file);
    if (rc < 0) {
        log_error("login", "tokens cannot be verified: %s", fault->text);
        fault->class = FAULT_UNREACHABLE;
        return -1;
    }
    return rc == 1 ? 0 : fault_set(fault, FAULT_AUTHENTICATION, 0, "token: the signature is not good");
}

static int read_signed(struct gateway *g, const struct agent_settings *agent, const struct jwt_rules *rules, struct slice token, struct buf *name,
                       struct fault *fault)
{
    struct jwt jwt;
    if (rules->issuer == NULL)
        return fault_set(fault, FAULT_AUTHENTICATION, 0, "token: posternTokenKey needs posternTokenIssuer");
    const char *why = jwt_read(token, &jwt);
    int rc = why == NULL ? check_signature(g, agent, &jwt, fault) : 0;
    if (why == NULL && rc == 0)
        why = jwt_judge(&jwt, rules, name);
    jwt_fini(&jwt);
    return why == NULL ? rc : fault_set(fault, FAULT_AUTHENTICATION, 0, "token: %s", why);
}

/* --- answers that are kept --------------------------------------------------------------------------------------------------- */

struct known {
    unsigned char hash[KEYED_HASH_SIZE];
    char *name;                /* NULL: free */
    uint64_t until_ms;
    uint64_t serial;           /* of the configuration that the answer was judged under */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;
static unsigned char key[KEYED_HASH_SIZE];
static struct known answers[ANSWERS];
static struct { uint64_t serial, until_ms; } paused_server;   /* another configuration may be a better one */

static void make_key(void)
{
    secret_random(key, sizeof(key));
}

static struct known *place_of(struct slice token, unsigned char hash[KEYED_HASH_SIZE])
{
    pthread_once(&key_once, make_key);
    keyed_hash(key, token, hash);
    return &answers[(hash[0] << 8 | hash[1]) % ANSWERS];
}

static bool recall(struct slice token, uint64_t serial, struct buf *name)
{
    unsigned char hash[KEYED_HASH_SIZE];
    const struct known *k = place_of(token, hash);
    pthread_mutex_lock(&mutex);
    bool good = k->name != NULL && k->serial == serial && clock_monotonic_ms() < k->until_ms && secret_is_equal(k->hash, sizeof(hash), hash, sizeof(hash));
    if (good)
        buf_append_text(name, k->name);
    pthread_mutex_unlock(&mutex);
    return good;
}

static void keep(struct slice token, uint64_t serial, struct slice name, uint64_t seconds)
{
    unsigned char hash[KEYED_HASH_SIZE];
    struct known *k = place_of(token, hash);
    pthread_mutex_lock(&mutex);
    mem_free(&k->name);
    memcpy(k->hash, hash, sizeof(hash));
    k->name = slice_to_string(name);
    k->serial = serial;
    k->until_ms = clock_monotonic_ms() + seconds * 1000;
    pthread_mutex_unlock(&mutex);
}

/* --- asking ------------------------------------------------------------------------------------------------------------------ */

/* Our own name at the server, and the secret: the file's two lines. */
static int read_credentials(const struct gateway *g, const char *file, char **name_out, char **secret_out, struct fault *fault)
{
    char text[CREDENTIALS_MAX];
    struct buf path = { .cap = 0 };
    buf_printf(&path, "%s/%s", g->options->credentials_dir != NULL ? g->options->credentials_dir : "/nonexistent", file);
    int fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    ssize_t len = fd >= 0 ? read(fd, text, sizeof(text)) : -1;
    int error = errno;
    if (fd >= 0)
        close(fd);
    struct slice rest = slice_make(text, len > 0 ? (size_t)len : 0), name = SLICE_NONE, secret = SLICE_NONE;
    bool two = slice_split(&rest, '\n', &name) && slice_split(&rest, '\n', &secret);
    name = slice_trim(name);
    secret = slice_trim(secret);
    bool good = two && name.len > 0 && secret.len > 0 && !slice_has_nul(name) && !slice_has_nul(secret);
    if (len < 0)
        fault_set_errno(fault, error, "%s", buf_text(&path));
    else if (!good)
        fault_set(fault, FAULT_INVALID, 0, "%s: not two lines, a name and a secret", buf_text(&path));
    *name_out = good ? slice_to_string(name) : NULL;
    *secret_out = good ? slice_to_string(secret) : NULL;
    secret_wipe(text, sizeof(text));
    buf_fini(&path);
    return good ? 0 : -1;
}

/* What the settings name and the files hold. */
static int prepare(struct gateway *g, const struct agent_settings *agent, char **ca, char **name, char **secret, struct fault *fault)
{
    *ca = gateway_tls_path(g, agent->token_ca);
    if (agent->token_ca != NULL && *ca == NULL)
        return fault_set(fault, FAULT_INVALID, 0, "the file of posternTokenIntrospectionCa is not below the TLS directory");
    return agent->token_credentials != NULL ? read_credentials(g, agent->token_credentials, name, secret, fault) : 0;
}

static void begin_pause(uint64_t serial)
{
    pthread_mutex_lock(&mutex);
    paused_server.serial = serial;
    paused_server.until_ms = clock_monotonic_ms() + PAUSE_MS;
    pthread_mutex_unlock(&mutex);
}

/* Then it is tried again, by whoever comes first. */
static bool is_paused(uint64_t serial)
{
    pthread_mutex_lock(&mutex);
    bool paused = paused_server.serial == serial && clock_monotonic_ms() < paused_server.until_ms;
    pthread_mutex_unlock(&mutex);
    return paused;
}

static int post(const struct snapshot *snapshot, const char *ca, const char *name, const char *secret, struct slice token, struct buf *answer,
                struct fault *fault)
{
    struct buf form = { .cap = 0 };
    long status = 0;
    buf_reserve(&form, token.len * 3 + 64);
    https_form_append(&form, "token", token);
    https_form_append(&form, "token_type_hint", slice_from_string("access_token"));
    int rc = https_ask(&(struct https_question){ snapshot->agent.token_url, ca, name, secret, buf_slice(&form) }, &status, answer, fault);
    buf_wipe(&form);
    if (rc != 0) {
        if (fault->class != FAULT_LIMIT)   /* which is of this token */
            begin_pause(snapshot->serial);
        return -1;
    }
    if (status == 200)
        return 0;
    /* No pause for these: a client must not be able to bring it about by what it sends. */
    bool ours = status == 401 || status == 403;
    return fault_set(fault, ours || status == 429 || status >= 500 ? FAULT_UNREACHABLE : FAULT_AUTHENTICATION, 0, "token: %s: status %ld%s",
                     snapshot->agent.token_url, status, ours ? ": our credentials are refused" : "");
}

static int ask(struct gateway *g, const struct snapshot *snapshot, struct slice token, struct buf *answer, struct fault *fault)
{
    char *ca = NULL, *name = NULL, *secret = NULL;
    int rc = prepare(g, &snapshot->agent, &ca, &name, &secret, fault);
    if (rc == 0)
        rc = post(snapshot, ca, name, secret, token, answer, fault);
    else
        fault->class = FAULT_UNREACHABLE;
    if (rc != 0 && fault->class != FAULT_AUTHENTICATION)
        log_error("login", "tokens cannot be verified: %s", fault->text);
    secret_free(&name);
    secret_free(&secret);
    mem_free(&ca);
    return rc;
}

static int introspect(struct gateway *g, const struct snapshot *snapshot, const struct jwt_rules *rules, struct slice token, struct buf *name, struct fault *fault)
{
    const struct agent_settings *agent = &snapshot->agent;
    struct buf answer = { .cap = 0 };
    int64_t seconds = INT64_MAX;
    if (agent->token_cache_seconds > 0 && recall(token, snapshot->serial, name))
        return 0;
    if (is_paused(snapshot->serial))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "token: the authorization server has not answered a moment ago");
    int rc = ask(g, snapshot, token, &answer, fault);
    size_t before = name->len;
    const char *why = rc == 0 ? introspection_judge(buf_slice(&answer), rules, name, &seconds) : NULL;
    if (why != NULL)
        rc = fault_set(fault, FAULT_AUTHENTICATION, 0, "token: %s", why);
    else if (rc == 0 && agent->token_cache_seconds > 0 && seconds > 0)
        keep(token, snapshot->serial, slice_from(buf_slice(name), before),
             (uint64_t)seconds < agent->token_cache_seconds ? (uint64_t)seconds : agent->token_cache_seconds);
    buf_wipe(&answer);
    return rc;
}

/* RFC 6750, section 2.1. */
static bool is_token(struct slice token)
{
    for (size_t i = 0; i < token.len; i++)
        if (!ascii_is_alpha(token.data[i]) && !ascii_is_digit(token.data[i]) && slice_find(SLICE_LITERAL("-._~+/="), token.data[i]) < 0)
            return false;
    return token.len > 0;
}

bool tokens_are_taken(const struct agent_settings *agent)
{
    return agent->token_audience != NULL && (agent->token_url != NULL || (agent->token_key != NULL && agent->token_issuer != NULL));
}

int tokens_find_name(struct gateway *gateway, const struct snapshot *snapshot, struct slice token, struct buf *name, struct fault *fault)
{
    const struct agent_settings *agent = &snapshot->agent;
    const char *claim = agent->token_claim != NULL ? agent->token_claim : agent->token_url != NULL ? "username" : "sub";
    struct jwt_rules rules = { agent->token_issuer, agent->token_audience, claim, agent->token_scope, clock_wall().tv_sec };
    struct buf signed_name = { .cap = 0 };
    if (!tokens_are_taken(agent))
        return fault_set(fault, FAULT_AUTHENTICATION, 0, "tokens are not taken any more");
    if (!is_token(token))
        return fault_set(fault, FAULT_AUTHENTICATION, 0, "token: it has characters that none has");
    if (agent->token_url == NULL)
        return read_signed(gateway, agent, &rules, token, name, fault);
    if (agent->token_key != NULL) {
        struct jwt_rules own = rules;
        own.claim = agent->token_claim != NULL ? agent->token_claim : "sub";
        int rc = read_signed(gateway, agent, &own, token, &signed_name, fault);
        buf_fini(&signed_name);
        if (rc != 0)
            return -1;
    }
    return introspect(gateway, snapshot, &rules, token, name, fault);
}
