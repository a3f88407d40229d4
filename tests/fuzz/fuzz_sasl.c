/* fuzz_sasl: the client's side of an exchange, line by line, with every mechanism and with keys for every name; and, as bytes, what comes from a directory or in a
 * token. Whatever a client says, nobody is let in but by what the mechanism shows. The first byte picks the mechanism. */
#include <string.h>

#include "postern/base/check.h"
#include "postern/sasl/jwt.h"
#include "postern/sasl/sasl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void run_exchange(const char *mechanism, struct slice lines)
{
    static const struct sasl_offer offer = { .clear = true, .scram = true, .certificate = true, .token = true, .exporter = { "0123456789abcdef", 16 } };
    static const struct sasl_keys keys = { .iterations = 4096, .salt_len = 4, .salt = { 1, 2, 3, 4 } };
    struct sasl_server *server = sasl_server_new(slice_from_string(mechanism), &offer);
    struct buf challenge = { .cap = 0 };
    struct slice line;
    enum sasl_result result = SASL_MORE;
    CHECK(server != NULL);
    while (result == SASL_MORE && slice_split(&lines, '\n', &line)) {
        result = sasl_server_step(server, line, &challenge);
        if (result == SASL_KEYS) {
            CHECK(sasl_server_name(server).len > 0);
            result = sasl_server_give_keys(server, &keys, &challenge);
        }
        CHECK(slice_find(buf_slice(&challenge), '\n') < 0);
    }
    /* The keys are nobody's: no proof can be right. */
    CHECK(result != SASL_PROVEN);
    if (result == SASL_DONE) {
        CHECK(sasl_server_proof(server) != SASL_SHOWN);
        CHECK(sasl_server_proof(server) != SASL_PASSWORD || (sasl_server_name(server).len > 0 && sasl_server_password(server).len > 0));
    }
    buf_fini(&challenge);
    sasl_server_free(&server);
}

static void read_token(struct slice token)
{
    struct jwt jwt;
    struct buf name = { .cap = 0 };
    struct jwt_rules rules = { .issuer = "i", .audience = "a", .claim = "sub", .now = 1000 };
    if (jwt_read(token, &jwt) == NULL && jwt_judge(&jwt, &rules, &name) == NULL)
        CHECK(name.len > 0 && name.len <= 320);
    buf_fini(&name);
    jwt_fini(&jwt);
    /* As claims that were signed. */
    struct jwt bare = { .claims = { .cap = 0 } };
    buf_append_text(&bare.claims, "{\"iss\":\"i\",\"aud\":\"a\",\"exp\":2000,\"sub\":");
    buf_append(&bare.claims, token);
    buf_append_text(&bare.claims, "}");
    struct buf text = { .cap = 0 };
    static const char header[] = "eyJhbGciOiJFUzI1NiJ9.";
    buf_append_text(&text, header);
    struct buf base64 = { .cap = 0 };
    sasl_client_base64(buf_slice(&bare.claims), &base64);
    for (size_t i = 0; i < base64.len && base64.data[i] != '='; i++)
        buf_append_byte(&text, base64.data[i] == '+' ? '-' : base64.data[i] == '/' ? '_' : base64.data[i]);
    buf_append_text(&text, ".AAAA");
    if (jwt_read(buf_slice(&text), &jwt) == NULL)
        (void)jwt_judge(&jwt, &rules, &name);
    jwt_fini(&jwt);
    jwt_fini(&bare);
    buf_fini(&name);
    buf_fini(&text);
    buf_fini(&base64);
}

static void read_answer(struct slice answer)
{
    struct buf name = { .cap = 0 };
    struct jwt_rules rules = { .audience = "a", .claim = "username", .scope = "mail", .now = 1000 };
    int64_t seconds;
    if (introspection_judge(answer, &rules, &name, &seconds) == NULL)
        CHECK(name.len > 0 && name.len <= 320 && seconds > -60);
    buf_fini(&name);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const mechanisms[] = { "PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "EXTERNAL", "OAUTHBEARER", "XOAUTH2" };
    if (size < 1)
        return 0;
    struct slice rest = slice_make((const char *)data + 1, size - 1);
    unsigned which = (data[0] + 2u) % 10;   /* '0' to '9' */
    struct sasl_keys keys;
    if (which < 7)
        run_exchange(mechanisms[which], rest);
    else if (which == 7)
        read_token(rest);
    else if (which == 9)
        read_answer(rest);
    else if (sasl_keys_parse(rest, &keys))
        CHECK(keys.iterations > 0 && keys.salt_len > 0 && keys.salt_len <= SASL_SALT_MAX);
    return 0;
}
