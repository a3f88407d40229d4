/* Unit tests of one SASL exchange of a session: what the service is asked for, with every mechanism; what the protocol hears. */
#include "run.h"

#include <gsasl.h>
#include <stdio.h>
#include <string.h>

#include "postern/session/exchange.h"

/* --- a service that notes what it is asked for ------------------------------------------------------------------------------- */

static struct {
    char asked[400];
    unsigned count;
} service;

static void fake_login(struct session *session, struct slice name, struct slice password)
{
    (void)session;
    service.count++;
    snprintf(service.asked, sizeof(service.asked), "login %.*s/%.*s", SLICE_ARG(name), SLICE_ARG(password));
}

static void fake_authenticate(struct session *session, enum session_proof proof, struct slice name, struct slice secret)
{
    static const char *const words[] = {
        [PROOF_PASSWORD] = "password", [PROOF_KEYS] = "keys", [PROOF_SHOWN] = "shown", [PROOF_WRONG] = "wrong", [PROOF_TOKEN] = "token",
        [PROOF_CERTIFICATE] = "certificate", [PROOF_GATEWAY] = "gateway",
    };
    (void)session;
    service.count++;
    ptrdiff_t nul = slice_find(secret, '\0');
    struct slice password = slice_from(secret, (size_t)(nul + 1));
    snprintf(service.asked, sizeof(service.asked), "%s %.*s/%.*s%s%.*s", words[proof], SLICE_ARG(name), nul < 0 ? 0 : (int)nul, secret.data,
             nul < 0 ? "" : "|", SLICE_ARG(password));
}

static void fake_close(struct session *session, enum close_reason reason)
{
    (void)reason;
    session->closing = true;
}

static const struct session_ops ops = { .login = fake_login, .authenticate = fake_authenticate, .close = fake_close };

static struct session new_session(void)
{
    memset(&service, 0, sizeof(service));
    return (struct session){ .ops = &ops, .clear_login = true, .sasl = { .scram = true, .certificate = true, .token = true } };
}

static bool cut_at_colon(struct session *session, struct slice full, struct slice *name_out)
{
    (void)session;
    ptrdiff_t colon = slice_find(full, ':');
    *name_out = colon >= 0 ? slice_part(full, 0, (size_t)colon) : full;
    return !slice_ends_with(full, "!");
}

/* --- tests ------------------------------------------------------------------------------------------------------------------- */

static void test_mechanisms(void)
{
    static const struct { const char *mechanism, *line; enum exchange_result result; const char *asked; } rows[] = {
        { "PLAIN", "AGpvZQBzZWNyZXQ=", EXCHANGE_WAIT, "login joe/secret" },
        { "PLAIN", "AGpvZTp2PTEAcMOkc3Mgdw==", EXCHANGE_WAIT, "login joe/p\xc3\xa4ss w" },
        { "PLAIN", "AGpvZSEAeA==", EXCHANGE_NAME, "" },                              /* \0joe!\0x */
        { "PLAIN", "YW5uAGpvZQBzZWNyZXQ=", EXCHANGE_WAIT, "login joe/" },            /* ann\0joe\0secret: refused as a wrong password is */
        { "PLAIN", "AABzZWNyZXQ=", EXCHANGE_WAIT, "login /" },
        { "PLAIN", "***", EXCHANGE_BAD, "" },
        { "PLAIN", "*", EXCHANGE_CANCELLED, "" },
        { "EXTERNAL", "=", EXCHANGE_WAIT, "certificate /" },
        { "EXTERNAL", "am9l", EXCHANGE_WAIT, "certificate joe/" },
        { "XOAUTH2", "dXNlcj1qb2UBYXV0aD1CZWFyZXIgeAEB", EXCHANGE_WAIT, "token joe/x" },
        { "SCRAM-SHA-256", "biwsbj11c2VyLHI9YWJj", EXCHANGE_WAIT, "keys user/" },    /* n,,n=user,r=abc */
        { "SCRAM-SHA-256", "eA==", EXCHANGE_BAD, "" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct session s = new_session();
        struct exchange e = { .take_name = cut_at_colon };
        CU_ASSERT_TRUE_FATAL(exchange_begin(&e, &s, slice_from_string(rows[i].mechanism)));
        enum exchange_result result = exchange_line(&e, &s, slice_from_string(rows[i].line));
        if (result != rows[i].result || strcmp(service.asked, rows[i].asked) != 0)
            fprintf(stderr, "%s %s: %d, %s\n", rows[i].mechanism, rows[i].line, (int)result, service.asked);
        CU_ASSERT_EQUAL(result, rows[i].result);
        CU_ASSERT_STRING_EQUAL(service.asked, rows[i].asked);
        /* nothing stays but what waits for keys */
        CU_ASSERT_EQUAL(e.sasl != NULL, strncmp(service.asked, "keys", 4) == 0);
        exchange_end(&e);
        exchange_end(&e);
    }
}

/* Where gateways are trusted, the identity to act as makes a gateway of the name; else it is a wrong password. */
static void test_acting(void)
{
    static const struct { const char *line, *asked, *without; } rows[] = {
        { "YW5uAGpvZQBzZWNyZXQ=", "gateway ann/joe|secret", "login joe/" },        /* ann\0joe\0secret */
        { "YW5uOnY9MQBqb2UAc2VjcmV0", "gateway ann/joe|secret", "login joe/" },     /* ann:v=1\0joe\0secret */
        { "am9lAGpvZQBzZWNyZXQ=", "login joe/secret", "login joe/secret" },        /* joe\0joe\0secret */
        { "AGpvZQBzZWNyZXQ=", "login joe/secret", "login joe/secret" },
        { "YW5uAGpvZQA=", "login joe/", "login joe/" },                            /* ann\0joe\0 */
        { "YW5uAABzZWNyZXQ=", "login /", "login /" },                              /* ann\0\0secret */
    };
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        struct session s = new_session();
        struct exchange e = { .take_name = cut_at_colon };
        s.sasl.acting = i % 2 == 0;
        CU_ASSERT_TRUE_FATAL(exchange_begin(&e, &s, SLICE_LITERAL("PLAIN")));
        CU_ASSERT_EQUAL(exchange_line(&e, &s, slice_from_string(rows[i / 2].line)), EXCHANGE_WAIT);
        CU_ASSERT_STRING_EQUAL(service.asked, i % 2 == 0 ? rows[i / 2].asked : rows[i / 2].without);
        CU_ASSERT_PTR_NULL(e.sasl);
        CU_ASSERT_EQUAL(exchange_resume(&e, &s, ACTION_REFUSED), EXCHANGE_LOGIN);
        exchange_end(&e);
    }
}

static void test_offers(void)
{
    struct session s = new_session();
    struct exchange e = { 0 };
    struct buf words = { 0 };
    CU_ASSERT_TRUE(exchange_write_mechanisms(&s, &words));
    CU_ASSERT(slice_is(buf_slice(&words), "PLAIN LOGIN SCRAM-SHA-256 EXTERNAL OAUTHBEARER XOAUTH2"));
    buf_clear(&words);
    s.clear_login = false;
    CU_ASSERT_TRUE(exchange_write_mechanisms(&s, &words));
    CU_ASSERT(slice_is(buf_slice(&words), "SCRAM-SHA-256 EXTERNAL"));
    CU_ASSERT_FALSE(exchange_begin(&e, &s, SLICE_LITERAL("PLAIN")));
    s.sasl = (struct sasl_offer){ .clear = true };   /* what the session says counts */
    CU_ASSERT_FALSE(exchange_write_mechanisms(&s, &words));
    buf_fini(&words);
}

/* The keys come late, or not at all; a wrong proof is the service's to answer. */
static void test_scram(void)
{
    struct sasl_keys keys = { .iterations = 4096, .salt_len = 3, .salt = { 1, 2, 3 } };
    struct session s = new_session();
    struct exchange e = { 0 };
    CU_ASSERT_TRUE_FATAL(exchange_begin(&e, &s, SLICE_LITERAL("SCRAM-SHA-256")));
    CU_ASSERT_EQUAL(exchange_line(&e, &s, SLICE_NONE), EXCHANGE_CHALLENGE);
    CU_ASSERT_EQUAL(e.challenge.len, 0);
    CU_ASSERT_EQUAL(exchange_line(&e, &s, SLICE_LITERAL("biwsbj11c2VyLHI9YWJj")), EXCHANGE_WAIT);
    s.keys = &keys;
    CU_ASSERT_EQUAL(exchange_resume(&e, &s, ACTION_OK), EXCHANGE_CHALLENGE);
    CU_ASSERT(slice_starts_with(buf_slice(&e.challenge), "cj1hY"));   /* r=abc... */
    /* c=biws,r=abc...,p=(32 octets): the nonce is the server's own, the proof is made up */
    char text[300];
    struct buf line = { 0 };
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = 0;
    for (size_t i = 0; i + 3 < e.challenge.len; i += 4) {
        unsigned bits = 0;
        for (size_t j = 0; j < 4; j++)
            bits = bits << 6 | (e.challenge.data[i + j] == '=' ? 0 : (unsigned)(strchr(letters, e.challenge.data[i + j]) - letters));
        for (size_t j = 3; j-- > 0;)
            text[len++] = (char)(bits >> (8 * j) & 255);
    }
    ptrdiff_t comma = slice_find(slice_make(text, len), ',');
    char final[400];
    int final_len = snprintf(final, sizeof(final), "c=biws,%.*s,p=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", (int)comma, text);
    sasl_client_base64(slice_make(final, (size_t)final_len), &line);
    CU_ASSERT_EQUAL(exchange_line(&e, &s, buf_slice(&line)), EXCHANGE_WAIT);
    CU_ASSERT_STRING_EQUAL(service.asked, "wrong user/");
    CU_ASSERT_EQUAL(exchange_resume(&e, &s, ACTION_REFUSED), EXCHANGE_LOGIN);
    buf_fini(&line);

    CU_ASSERT_TRUE_FATAL(exchange_begin(&e, &s, SLICE_LITERAL("SCRAM-SHA-256")));
    CU_ASSERT_EQUAL(exchange_line(&e, &s, SLICE_LITERAL("biwsbj11c2VyLHI9YWJj")), EXCHANGE_WAIT);
    s.keys = NULL;
    CU_ASSERT_EQUAL(exchange_resume(&e, &s, ACTION_UNAVAILABLE), EXCHANGE_LOGIN);
    CU_ASSERT_PTR_NULL(e.sasl);
    CU_ASSERT_EQUAL(exchange_resume(&e, &s, ACTION_OK), EXCHANGE_LOGIN);
    exchange_end(&e);
}

/* --- the right proof ---------------------------------------------------------------------------------------------------------- */

static int client_callback(Gsasl *context, Gsasl_session *session, Gsasl_property property)
{
    (void)context;
    const char *value = property == GSASL_AUTHID ? "user" : property == GSASL_PASSWORD ? "pencil" : NULL;
    return value != NULL ? gsasl_property_set(session, property, value) : GSASL_NO_CALLBACK;
}

/* Up to the answer of the service on the right proof. */
static void prove(struct exchange *e, struct session *s, Gsasl_session *client, struct sasl_keys *keys)
{
    char *line = NULL;
    CU_ASSERT_TRUE_FATAL(exchange_begin(e, s, SLICE_LITERAL("SCRAM-SHA-256")));
    CU_ASSERT_EQUAL(gsasl_step64(client, "", &line), GSASL_NEEDS_MORE);
    CU_ASSERT_EQUAL(exchange_line(e, s, slice_from_string(line)), EXCHANGE_WAIT);
    gsasl_free(line);
    s->keys = keys;
    CU_ASSERT_EQUAL(exchange_resume(e, s, ACTION_OK), EXCHANGE_CHALLENGE);
    CU_ASSERT_EQUAL(gsasl_step64(client, buf_text(&e->challenge), &line), GSASL_NEEDS_MORE);
    CU_ASSERT_EQUAL(exchange_line(e, s, slice_from_string(line)), EXCHANGE_WAIT);
    gsasl_free(line);
    CU_ASSERT_STRING_EQUAL(service.asked, "shown user/");
}

/* Our own proof tells that the password is right: only who is let in may see it. */
static void test_let_in(void)
{
    static const struct { enum action_result action; const char *line; enum exchange_result result; bool closed; } rows[] = {
        { ACTION_OK, "", EXCHANGE_LOGIN, false },
        { ACTION_OK, "*", EXCHANGE_CANCELLED, true },
        { ACTION_OK, "eA==", EXCHANGE_BAD, true },
        { ACTION_REFUSED, NULL, EXCHANGE_LOGIN, false },
        { ACTION_UNAVAILABLE, NULL, EXCHANGE_LOGIN, false },
    };
    struct sasl_keys keys;
    Gsasl *context = NULL;
    CU_ASSERT_TRUE_FATAL(sasl_keys_parse(SLICE_LITERAL("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"
                                                       "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="), &keys));
    CU_ASSERT_EQUAL_FATAL(gsasl_init(&context), GSASL_OK);
    gsasl_callback_set(context, client_callback);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct session s = new_session();
        struct exchange e = { 0 };
        Gsasl_session *client = NULL;
        char *line = NULL;
        CU_ASSERT_EQUAL_FATAL(gsasl_client_start(context, "SCRAM-SHA-256", &client), GSASL_OK);
        prove(&e, &s, client, &keys);
        enum exchange_result result = exchange_resume(&e, &s, rows[i].action);
        if (rows[i].line == NULL) {
            CU_ASSERT_EQUAL(result, rows[i].result);
        } else {
            CU_ASSERT_EQUAL(result, EXCHANGE_CHALLENGE);
            CU_ASSERT_EQUAL(gsasl_step64(client, buf_text(&e.challenge), &line), GSASL_OK);   /* the client finds it right */
            gsasl_free(line);
            CU_ASSERT_EQUAL(exchange_line(&e, &s, slice_from_string(rows[i].line)), rows[i].result);
        }
        CU_ASSERT_EQUAL(s.closing, rows[i].closed);
        CU_ASSERT_PTR_NULL(e.sasl);
        CU_ASSERT_EQUAL(e.challenge.len, 0);
        CU_ASSERT_EQUAL(service.count, 2);
        exchange_end(&e);
        gsasl_finish(client);
    }
    gsasl_done(context);
}

static const struct unit_test tests[] = {
    { "mechanisms", test_mechanisms },
    { "acting", test_acting }, { "offers", test_offers },
    { "scram", test_scram },
    { "let in", test_let_in },
};

UNIT_MAIN("exchange", tests)
