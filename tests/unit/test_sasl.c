/* Unit tests of src/sasl: whole exchanges as rows of lines and expected answers. */
#include "run.h"

#include <gsasl.h>
#include <stdio.h>
#include <string.h>

#include "postern/sasl/sasl.h"

struct exchange {
    const char *title;
    const char *mechanism;
    const char *lines[4];       /* "" is an empty line; NULL ends */
    const char *challenges[4];  /* what each line but the last is answered with */
    enum sasl_result end;
    const char *name;
    const char *password;
};

static const struct exchange exchanges[] = {
    /* \0joe\0secret */
    { "plain, initial", "PLAIN", { "AGpvZQBzZWNyZXQ=" }, { NULL }, SASL_DONE, "joe", "secret" },
    { "plain, no initial", "plain", { "", "AGpvZQBzZWNyZXQ=" }, { "" }, SASL_DONE, "joe", "secret" },
    /* joe\0joe\0secret */
    { "plain, same identity", "PLAIN", { "am9lAGpvZQBzZWNyZXQ=" }, { NULL }, SASL_DONE, "joe", "secret" },
    /* ann\0joe\0secret */
    { "plain, other identity", "PLAIN", { "YW5uAGpvZQBzZWNyZXQ=" }, { NULL }, SASL_REFUSED, "joe", NULL },
    /* \0joe:v=1\0p\xc3\xa4ss w */
    { "plain, options and UTF-8", "PLAIN", { "AGpvZTp2PTEAcMOkc3Mgdw==" }, { NULL }, SASL_DONE, "joe:v=1", "p\xc3\xa4ss w" },
    /* \0\0secret */
    { "plain, no name", "PLAIN", { "AABzZWNyZXQ=" }, { NULL }, SASL_REFUSED, NULL, NULL },
    { "plain, empty password", "PLAIN", { "AGpvZQA=" }, { NULL }, SASL_REFUSED, "joe", NULL },
    /* \0joe */
    { "plain, no password part", "PLAIN", { "AGpvZQ==" }, { NULL }, SASL_BAD, NULL, NULL },
    /* \0joe\0se\0cret */
    { "plain, a NUL too many", "PLAIN", { "AGpvZQBzZQBjcmV0" }, { NULL }, SASL_BAD, NULL, NULL },
    { "plain, empty initial", "PLAIN", { "=" }, { NULL }, SASL_BAD, NULL, NULL },
    { "plain, empty line", "PLAIN", { "", "" }, { "" }, SASL_BAD, NULL, NULL },
    { "plain, '=' is for the initial response only", "PLAIN", { "", "=" }, { "" }, SASL_BAD, NULL, NULL },
    { "plain, not base64", "PLAIN", { "AGpvZQBzZWNyZXQ" }, { NULL }, SASL_BAD, NULL, NULL },
    { "plain, blank in base64", "PLAIN", { "AGpv ZQBzZWNyZXQ=" }, { NULL }, SASL_BAD, NULL, NULL },
    { "login", "LOGIN", { "", "am9l", "c2VjcmV0" }, { "VXNlcm5hbWU6", "UGFzc3dvcmQ6" }, SASL_DONE, "joe", "secret" },
    { "login, initial", "login", { "am9l", "c2VjcmV0" }, { "UGFzc3dvcmQ6" }, SASL_DONE, "joe", "secret" },
    { "login, empty initial", "LOGIN", { "=" }, { NULL }, SASL_REFUSED, NULL, NULL },
    { "login, empty password", "LOGIN", { "am9l", "" }, { "UGFzc3dvcmQ6" }, SASL_REFUSED, NULL, NULL },
    { "login, not base64", "LOGIN", { "", "j*e" }, { "VXNlcm5hbWU6" }, SASL_BAD, NULL, NULL },
    { "external", "EXTERNAL", { "=" }, { NULL }, SASL_DONE, "", NULL },
    { "external, no initial", "EXTERNAL", { "", "" }, { "" }, SASL_DONE, "", NULL },
    { "external, as joe", "external", { "am9l" }, { NULL }, SASL_DONE, "joe", NULL },
    { "external, NUL", "EXTERNAL", { "agBl" }, { NULL }, SASL_BAD, NULL, NULL },
    /* n,a=user@example.com,\1host=server.example.com\1port=143\1auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1 (RFC 7628, section 4.1) */
    { "bearer", "OAUTHBEARER",
      { "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVhcmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB" },
      { NULL }, SASL_DONE, "user@example.com", "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==" },
    /* n,a=j=2Co=3De,\1auth=bearer x\1\1 */
    { "bearer, escapes", "OAUTHBEARER", { "bixhPWo9MkNvPTNEZSwBYXV0aD1iZWFyZXIgeAEB" }, { NULL }, SASL_DONE, "j,o=e", "x" },
    /* n,,\1auth=Bearer x\1\1 */
    { "bearer, no name", "OAUTHBEARER", { "biwsAWF1dGg9QmVhcmVyIHgBAQ==" }, { NULL }, SASL_DONE, "", "x" },
    /* n,,\1auth=\1\1, then \1 */
    { "bearer, no token", "OAUTHBEARER", { "biwsAWF1dGg9AQE=", "AQ==" }, { "eyJzdGF0dXMiOiJpbnZhbGlkX3Rva2VuIn0=" }, SASL_REFUSED, "", NULL },
    /* p=tls-unique,,\1auth=Bearer x\1\1 */
    { "bearer, bound", "OAUTHBEARER", { "cD10bHMtdW5pcXVlLCwBYXV0aD1CZWFyZXIgeAEB" }, { NULL }, SASL_BAD, NULL, NULL },
    /* n,a==,\1auth=Bearer x\1\1 */
    { "bearer, bad escape", "OAUTHBEARER", { "bixhPT0sAWF1dGg9QmVhcmVyIHgBAQ==" }, { NULL }, SASL_BAD, NULL, NULL },
    { "bearer, empty", "OAUTHBEARER", { "=" }, { NULL }, SASL_BAD, NULL, NULL },
    /* user=joe\1auth=Bearer x\1\1 */
    { "xoauth2", "XOAUTH2", { "dXNlcj1qb2UBYXV0aD1CZWFyZXIgeAEB" }, { NULL }, SASL_DONE, "joe", "x" },
    /* user=\1auth=Bearer x\1\1 */
    { "xoauth2, no name", "XOAUTH2", { "dXNlcj0BYXV0aD1CZWFyZXIgeAEB" }, { NULL }, SASL_BAD, NULL, NULL },
    /* j\0e */
    { "login, NUL", "LOGIN", { "agBl" }, { NULL }, SASL_BAD, NULL, NULL },
};

static const struct sasl_offer everything = { .clear = true, .scram = true, .certificate = true, .token = true };

static void run_exchange(const struct exchange *row)
{
    struct sasl_server *server = sasl_server_new(slice_from_string(row->mechanism), &everything);
    CU_ASSERT_PTR_NOT_NULL_FATAL(server);
    struct buf out = { 0 };
    enum sasl_result result = SASL_MORE;
    for (size_t i = 0; row->lines[i] != NULL; i++) {
        CU_ASSERT_EQUAL(result, SASL_MORE);
        result = sasl_server_step(server, slice_from_string(row->lines[i]), &out);
        if (row->lines[i + 1] != NULL)
            CU_ASSERT(slice_is(buf_slice(&out), row->challenges[i]));
    }
    if (result != row->end)
        fprintf(stderr, "%s: %d\n", row->title, (int)result);
    CU_ASSERT_EQUAL(result, row->end);
    CU_ASSERT_EQUAL(out.len, 0);
    CU_ASSERT(slice_is_equal(sasl_server_name(server), slice_from_string(row->name)));
    CU_ASSERT(slice_is_equal(sasl_server_password(server), slice_from_string(row->password)));
    CU_ASSERT_EQUAL(sasl_server_step(server, SLICE_LITERAL("AGpvZQBzZWNyZXQ="), &out), SASL_BAD);
    buf_fini(&out);
    sasl_server_free(&server);
    CU_ASSERT_PTR_NULL(server);
    sasl_server_free(&server);
}

static void test_exchanges(void)
{
    for (size_t i = 0; i < sizeof(exchanges) / sizeof(exchanges[0]); i++)
        run_exchange(&exchanges[i]);
}

static void test_unknown_mechanisms(void)
{
    static const char *const names[] = { "", "CRAM-MD5", "PLAI", "PLAINS", "ANONYMOUS", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-1" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CU_ASSERT_PTR_NULL(sasl_server_new(slice_from_string(names[i]), &everything));
}

static void test_too_long(void)
{
    static char line[SASL_LINE_MAX + 4];
    memset(line, 'A', sizeof(line));
    struct sasl_server *server = sasl_server_new(SLICE_LITERAL("LOGIN"), &everything);
    struct buf out = { 0 };
    CU_ASSERT_EQUAL(sasl_server_step(server, SLICE_NONE, &out), SASL_MORE);
    CU_ASSERT_EQUAL(sasl_server_step(server, (struct slice){ line, SASL_LINE_MAX + 1 }, &out), SASL_BAD);
    buf_fini(&out);
    sasl_server_free(&server);
}

static void test_offers(void)
{
    static const struct { struct sasl_offer offer; const char *words; } rows[] = {
        { { .clear = false }, "" },
        { { .clear = true }, "PLAIN LOGIN" },
        { { .scram = true }, "SCRAM-SHA-256" },
        { { .scram = true, .unique = { "u", 1 } }, "SCRAM-SHA-256-PLUS SCRAM-SHA-256" },
        { { .token = true }, "" },
        { { .token = true, .clear = true }, "PLAIN LOGIN OAUTHBEARER XOAUTH2" },
        { { .certificate = true }, "EXTERNAL" },
        { { .exporter = { "e", 1 }, .clear = true }, "PLAIN LOGIN" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out = { 0 };
        sasl_write_mechanisms(&rows[i].offer, &out);
        CU_ASSERT(slice_is(buf_slice(&out), rows[i].words));
        buf_fini(&out);
    }
    CU_ASSERT_PTR_NULL(sasl_server_new(SLICE_LITERAL("PLAIN"), &rows[2].offer));
    CU_ASSERT_PTR_NULL(sasl_server_new(SLICE_LITERAL("OAUTHBEARER"), &rows[4].offer));
}

/* --- SCRAM ------------------------------------------------------------------------------------------------------------------- */

/* The user of RFC 7677, section 3: password "pencil". */
#define SALT "W22ZaJ0SNY7soEsUEjb6gQ=="
#define STORED "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
#define SERVER "wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
static const char pencil[] = "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER;

static void test_keys(void)
{
    static const char *const bad[] = {
        "", "SCRAM-SHA-256", "SCRAM-SHA-1$4096:" SALT "$" STORED ":" SERVER, "SCRAM-SHA-256$4096$" STORED ":" SERVER,
        "SCRAM-SHA-256$0:" SALT "$" STORED ":" SERVER, "SCRAM-SHA-256$x:" SALT "$" STORED ":" SERVER,
        "SCRAM-SHA-256$99999999999:" SALT "$" STORED ":" SERVER, "SCRAM-SHA-256$4096:$" STORED ":" SERVER,
        "SCRAM-SHA-256$4096:" SALT "$" STORED, "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SERVER "$",
        "SCRAM-SHA-256$4096:" SALT "$" SALT ":" SERVER, "SCRAM-SHA-256$4096:" SALT "$" STORED ":" SALT, "SCRAM-SHA-256$4096:****$" STORED ":" SERVER,
    };
    struct sasl_keys keys;
    CU_ASSERT_TRUE(sasl_keys_parse(slice_from_string(pencil), &keys));
    CU_ASSERT_EQUAL(keys.iterations, 4096);
    CU_ASSERT_EQUAL(keys.salt_len, 16);
    CU_ASSERT_EQUAL(keys.salt[0], 0x5b);
    CU_ASSERT_EQUAL(keys.stored_key[0], 0x58);
    CU_ASSERT_EQUAL(keys.server_key[31], 0xd5);
    CU_ASSERT_TRUE(sasl_keys_parse(SLICE_LITERAL(" scram-sha-256 $ 4096:" SALT " $ " STORED ":" SERVER " "), &keys));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_FALSE(sasl_keys_parse(slice_from_string(bad[i]), &keys));
    for (size_t i = 0; i < sizeof(pencil) - 3; i++)
        CU_ASSERT_FALSE(sasl_keys_parse(slice_make(pencil, i), &keys));
}

static const char *client_password, *client_name, *client_as, *client_binding;

static int client_callback(Gsasl *context, Gsasl_session *session, Gsasl_property property)
{
    (void)context;
    const char *value = property == GSASL_AUTHID ? client_name : property == GSASL_PASSWORD ? client_password : property == GSASL_AUTHZID ? client_as
                        : property == GSASL_CB_TLS_EXPORTER ? client_binding : NULL;
    return value != NULL ? gsasl_property_set(session, property, value) : GSASL_NO_CALLBACK;
}

struct scram {
    enum sasl_result end;
    bool proven;             /* our own proof was told to be for those who are let in */
    bool verified;           /* the client has seen the server's signature */
    char asked[32];
};

/* GNU SASL's client against our server. */
static struct scram run_scram(const char *mechanism, const struct sasl_offer *offer, bool initial)
{
    struct scram scram = { .end = SASL_MORE };
    struct sasl_keys keys;
    struct sasl_server *server = sasl_server_new(slice_from_string(mechanism), offer);
    Gsasl *context = NULL;
    Gsasl_session *client = NULL;
    struct buf out = { 0 };
    CU_ASSERT_PTR_NOT_NULL_FATAL(server);
    CU_ASSERT_TRUE_FATAL(sasl_keys_parse(slice_from_string(pencil), &keys));
    CU_ASSERT_EQUAL_FATAL(gsasl_init(&context), GSASL_OK);
    gsasl_callback_set(context, client_callback);
    CU_ASSERT_EQUAL_FATAL(gsasl_client_start(context, mechanism, &client), GSASL_OK);
    if (!initial)
        CU_ASSERT_EQUAL(sasl_server_step(server, SLICE_NONE, &out), SASL_MORE);
    for (int i = 0; i < 6 && (scram.end == SASL_MORE || scram.end == SASL_PROVEN); i++) {
        char *answer = NULL;
        int result = gsasl_step64(client, buf_text(&out), &answer);
        scram.verified = scram.verified || (i > 0 && result == GSASL_OK);
        if (result != GSASL_OK && result != GSASL_NEEDS_MORE)
            break;
        scram.end = sasl_server_step(server, slice_from_string(answer), &out);
        gsasl_free(answer);
        scram.proven = scram.proven || scram.end == SASL_PROVEN;
        if (scram.end == SASL_KEYS) {
            snprintf(scram.asked, sizeof(scram.asked), "%.*s", SLICE_ARG(sasl_server_name(server)));
            CU_ASSERT_EQUAL(sasl_server_step(server, SLICE_LITERAL("eA=="), &out), SASL_BAD);   /* not before the keys are there */
            scram.end = sasl_server_give_keys(server, &keys, &out);
        }
    }
    CU_ASSERT_EQUAL(sasl_server_give_keys(server, &keys, &out), SASL_BAD);
    gsasl_finish(client);
    gsasl_done(context);
    sasl_server_free(&server);
    buf_fini(&out);
    return scram;
}

static void test_scram(void)
{
    static const struct sasl_offer bound = { .scram = true, .exporter = { "0123456789abcdef", 16 } }, other = { .scram = true, .exporter = { "x", 1 } };
    client_name = "user";
    client_password = "pencil";
    client_as = client_binding = NULL;
    struct scram scram = run_scram("SCRAM-SHA-256", &everything, true);
    CU_ASSERT_EQUAL(scram.end, SASL_DONE);
    CU_ASSERT_TRUE(scram.verified);
    CU_ASSERT_TRUE(scram.proven);
    CU_ASSERT_STRING_EQUAL(scram.asked, "user");
    CU_ASSERT_EQUAL(run_scram("SCRAM-SHA-256", &everything, false).end, SASL_DONE);
    client_as = "user";
    CU_ASSERT_EQUAL(run_scram("SCRAM-SHA-256", &everything, true).end, SASL_DONE);
    client_as = "ann";
    CU_ASSERT_EQUAL(run_scram("SCRAM-SHA-256", &everything, true).end, SASL_REFUSED);
    client_as = NULL;
    client_password = "pencils";
    CU_ASSERT_EQUAL(run_scram("SCRAM-SHA-256", &everything, true).end, SASL_REFUSED);
    client_password = "pencil";
    client_name = "us,e=r";
    CU_ASSERT_STRING_EQUAL(run_scram("SCRAM-SHA-256", &everything, true).asked, "us,e=r");
    client_binding = "MDEyMzQ1Njc4OWFiY2RlZg==";
    CU_ASSERT_EQUAL(run_scram("SCRAM-SHA-256-PLUS", &bound, true).end, SASL_DONE);
    CU_ASSERT_NOT_EQUAL(run_scram("SCRAM-SHA-256-PLUS", &other, true).end, SASL_DONE);
}

static void test_scram_bad(void)
{
    /* n,,n=user,r=abc; the same cut short; y,,... where PLUS is offered; c=biws with another nonce */
    static const char *const lines[] = { "bixs", "biwsbj0=", "biwsbj11c2VyLHI9", "cD14LCxuPXVzZXIscj1hYmM=", "AAAA", "=" };
    struct buf out = { 0 };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        struct sasl_server *server = sasl_server_new(SLICE_LITERAL("SCRAM-SHA-256"), &everything);
        CU_ASSERT_NOT_EQUAL(sasl_server_step(server, slice_from_string(lines[i]), &out), SASL_DONE);
        sasl_server_free(&server);
    }
    static const struct sasl_offer bound = { .scram = true, .exporter = { "0123456789abcdef", 16 } };
    /* y,,n=user,r=abc: the client believes that we have no PLUS: somebody took it away (RFC 5802, section 6) */
    struct sasl_server *server = sasl_server_new(SLICE_LITERAL("SCRAM-SHA-256"), &bound);
    CU_ASSERT_EQUAL(sasl_server_step(server, SLICE_LITERAL("eSwsbj11c2VyLHI9YWJj"), &out), SASL_BAD);
    sasl_server_free(&server);
    buf_fini(&out);
}

static const struct unit_test tests[] = {
    { "offers", test_offers },
    { "keys", test_keys },
    { "scram", test_scram },
    { "bad scram", test_scram_bad },
    { "exchanges", test_exchanges },
    { "unknown mechanisms", test_unknown_mechanisms },
    { "too long", test_too_long },
};

UNIT_MAIN("sasl", tests)
