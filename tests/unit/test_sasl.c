/* Unit tests of src/sasl: whole exchanges as rows of lines and expected answers. */
#include "run.h"

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
    { "plain, other identity", "PLAIN", { "YW5uAGpvZQBzZWNyZXQ=" }, { NULL }, SASL_REFUSED, NULL, NULL },
    /* \0joe:v=1\0p\xc3\xa4ss w */
    { "plain, options and UTF-8", "PLAIN", { "AGpvZTp2PTEAcMOkc3Mgdw==" }, { NULL }, SASL_DONE, "joe:v=1", "p\xc3\xa4ss w" },
    /* \0\0secret */
    { "plain, no name", "PLAIN", { "AABzZWNyZXQ=" }, { NULL }, SASL_REFUSED, NULL, NULL },
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
    /* j\0e */
    { "login, NUL", "LOGIN", { "agBl" }, { NULL }, SASL_BAD, NULL, NULL },
};

static void run_exchange(const struct exchange *row)
{
    struct sasl_server *server = sasl_server_new(slice_from_string(row->mechanism));
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
    static const char *const names[] = { "", "CRAM-MD5", "PLAI", "PLAINS", "ANONYMOUS", "EXTERNAL" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CU_ASSERT_PTR_NULL(sasl_server_new(slice_from_string(names[i])));
}

static void test_too_long(void)
{
    static char line[SASL_LINE_MAX + 4];
    memset(line, 'A', sizeof(line));
    struct sasl_server *server = sasl_server_new(SLICE_LITERAL("LOGIN"));
    struct buf out = { 0 };
    CU_ASSERT_EQUAL(sasl_server_step(server, SLICE_NONE, &out), SASL_MORE);
    CU_ASSERT_EQUAL(sasl_server_step(server, (struct slice){ line, SASL_LINE_MAX + 1 }, &out), SASL_BAD);
    buf_fini(&out);
    sasl_server_free(&server);
}

static const struct unit_test tests[] = {
    { "exchanges", test_exchanges },
    { "unknown mechanisms", test_unknown_mechanisms },
    { "too long", test_too_long },
};

UNIT_MAIN("sasl", tests)
