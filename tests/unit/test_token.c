/* Unit tests of tokens: JSON, the parts and claims of a JSON Web Token, and signatures, by the examples of RFC 7515. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../src/sasl/json.h"
#include "postern/net/https.h"
#include "postern/net/keyed_hash.h"
#include "postern/net/public_key.h"
#include "postern/sasl/jwt.h"

/* RFC 7515, appendix A.2 and A.3. */
static const char rsa_key[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEAofgWCuLjybRlzo0tZWJj\n"
    "NiuSfb4p4fAkd/wWJcyQoTbji9k0l8W26mPddxHmfHQp+Vaw+4qPCJrcS2mJPMEz\n"
    "P1Pt0Bm4d4QlL+yRT+SFd2lZS+pCgNMsD1W/YpRPEwOWvG6b32690r2jZ47soMZo\n"
    "9wGzjb/7OMg0LOL+bSf63kpaSHSXndS5z5rexMdbBYUsLA9e+KXBdQOS+UTo7WTB\n"
    "EMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6/I5IhlJH7aGhyxX\n"
    "FvUK+DWNmoudF8NAco9/h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXp\n"
    "oQIDAQAB\n"
    "-----END PUBLIC KEY-----\n";
static const char ec_key[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
    "6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
    "-----END PUBLIC KEY-----\n";
#define CLAIMS "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
#define RSA_HEADER "eyJhbGciOiJSUzI1NiJ9"
#define EC_HEADER "eyJhbGciOiJFUzI1NiJ9"
#define EC_SIGNATURE "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"
#define RSA_SIGNATURE \
    "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQ" \
    "jbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqt" \
    "FZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"


static void test_json(void)
{
    static const struct { const char *text; bool good; } rows[] = {
        { "{}", true }, { " { } ", true }, { "{\"a\":1}", true }, { "{\"a\":[1,-2.5e+3,{\"b\":null}],\"c\":\"\\u00e4\\n\"}", true },
        { "", false }, { "[]", false }, { "{", false }, { "{\"a\"}", false }, { "{\"a\":}", false }, { "{\"a\":1,}", false }, { "{\"a\":01}", false },
        { "{\"a\":\"\n\"}", false }, { "{\"a\":\"\\x\"}", false }, { "{\"a\":\"\\u12g4\"}", false }, { "{\"a\":1}x", false }, { "{a:1}", false },
        { "{\"a\":tru}", false }, { "{\"a\":-}", false }, { "{\"a\":1.}", false }, { "{\"a\":1e}", false }, { "{\"a\":[1,]}", false }, { "{\"a\":[1}", false },
        { "{\"a\":[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]}", true }, { "{\"a\":[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]}", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CU_ASSERT_EQUAL(json_is_object(slice_from_string(rows[i].text)), rows[i].good);
        for (size_t len = 0; rows[i].good && len < strlen(rows[i].text) - (rows[i].text[0] == ' '); len++)
            CU_ASSERT_FALSE(json_is_object(slice_make(rows[i].text, len)));
    }
}

static void test_json_values(void)
{
    static const struct { const char *value, *text; } strings[] = {
        { "\"\"", "" }, { "\"a\\\"\\\\\\/\\b\\f\\n\\r\\tz\"", "a\"\\/\b\f\n\r\tz" }, { "\"\\u00e4\\u20AC\"", "\xc3\xa4\xe2\x82\xac" },
        { "\"\\ud83d\\ude00\"", "\xf0\x9f\x98\x80" }, { "\"\\ud83d\"", NULL }, { "\"\\ud83dx\"", NULL }, { "\"\\ude00\"", NULL }, { "\"\\u0000\"", NULL },
        { "\"\\ud83d\\u0041\"", NULL }, { "1", NULL },
    };
    static const struct { const char *value; bool good; int64_t number; } numbers[] = {
        { "0", true, 0 }, { "-5", true, -5 }, { "1300819380", true, 1300819380 }, { "12.75", true, 12 }, { "1e3", false, 0 }, { "\"1\"", false, 0 },
        { "99999999999999999999", false, 0 }, { "true", false, 0 },
    };
    for (size_t i = 0; i < sizeof(strings) / sizeof(strings[0]); i++) {
        struct buf out = { 0 };
        CU_ASSERT_EQUAL(json_string(slice_from_string(strings[i].value), &out), strings[i].text != NULL);
        if (strings[i].text != NULL)
            CU_ASSERT(slice_is(buf_slice(&out), strings[i].text));
        buf_fini(&out);
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        int64_t number = 0;
        CU_ASSERT_EQUAL(json_number(slice_from_string(numbers[i].value), &number), numbers[i].good);
        CU_ASSERT_EQUAL(number, numbers[i].number);
    }
    struct slice object = SLICE_LITERAL(" { \"a\" : {\"b\":1} , \"b\":[ 1 , \"x\",[]] ,\"\\u0063\":3,\"d\":4,\"d\":5,\"e\":[ ]} "), value, item;
    size_t at = 0, count = 0;
    CU_ASSERT_TRUE_FATAL(json_is_object(object));
    CU_ASSERT_EQUAL(json_find(object, "a", &value), 1);
    CU_ASSERT(slice_is(value, "{\"b\":1}"));
    CU_ASSERT_EQUAL(json_find(object, "c", &value), 1);
    CU_ASSERT(slice_is(value, "3"));
    CU_ASSERT_EQUAL(json_find(object, "d", &value), -1);
    CU_ASSERT_EQUAL(json_find(object, "x", &value), 0);
    CU_ASSERT_EQUAL(json_find(object, "b", &value), 1);
    while (json_next(value, &at, &item))
        count++;
    CU_ASSERT_EQUAL(count, 3);
    CU_ASSERT(slice_is(item, "[]"));
    CU_ASSERT_EQUAL(json_find(object, "e", &value), 1);
    at = 0;
    CU_ASSERT_FALSE(json_next(value, &at, &item));
}

static char *write_keys(const char *first, const char *second)
{
    static char path[] = "/tmp/postern-keys-XXXXXX";
    memcpy(path + sizeof(path) - 7, "XXXXXX", 6);
    int fd = mkstemp(path);
    CU_ASSERT_FATAL(fd >= 0);
    CU_ASSERT_EQUAL(write(fd, first, strlen(first)), (ssize_t)strlen(first));
    CU_ASSERT_EQUAL(write(fd, second, strlen(second)), (ssize_t)strlen(second));
    close(fd);
    return path;
}

static int verify(const char *file, const char *token)
{
    struct jwt jwt;
    struct fault fault;
    int result = -2;
    if (jwt_read(slice_from_string(token), &jwt) == NULL)
        result = public_key_verify(file, jwt.algorithm == JWT_RS256 ? SIGNATURE_RS256 : SIGNATURE_ES256, jwt.text, buf_slice(&jwt.signature), &fault);
    jwt_fini(&jwt);
    return result;
}

static void test_signatures(void)
{
    static const char *const good[] = { RSA_HEADER "." CLAIMS "." RSA_SIGNATURE, EC_HEADER "." CLAIMS "." EC_SIGNATURE };
    char *both = write_keys(rsa_key, ec_key);
    for (size_t i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(verify(both, good[i]), 1);
        /* one bit of the claims, then of the signature, is another */
        char *other = strdup(good[i]);
        other[25] ^= 1;
        CU_ASSERT_NOT_EQUAL(verify(both, other), 1);
        free(other);
        other = strdup(good[i]);
        other[strlen(other) - 20] = other[strlen(other) - 20] == 'A' ? 'B' : 'A';
        CU_ASSERT_EQUAL(verify(both, other), 0);
        free(other);
    }
    /* the algorithm of the header must be that of the key */
    CU_ASSERT_EQUAL(verify(both, EC_HEADER "." CLAIMS "." RSA_SIGNATURE), 0);
    CU_ASSERT_EQUAL(verify(both, RSA_HEADER "." CLAIMS "." EC_SIGNATURE), 0);
    unlink(both);
    char *file = write_keys(ec_key, "");
    CU_ASSERT_EQUAL(verify(file, good[0]), 0);
    CU_ASSERT_EQUAL(verify(file, good[1]), 1);
    unlink(file);
    CU_ASSERT_EQUAL(verify(file, good[1]), -1);
    file = write_keys("no key\n", "");
    CU_ASSERT_EQUAL(verify(file, good[1]), -1);
    unlink(file);
}

static void test_parts(void)
{
    static const char *const bad[] = {
        "", "a", "a.b", RSA_HEADER "." CLAIMS, RSA_HEADER "." CLAIMS ".", RSA_HEADER "." CLAIMS ".AAAA.AAAA", "." CLAIMS ".AAAA",
        RSA_HEADER "." CLAIMS ".AA=A", RSA_HEADER "." CLAIMS ".A", RSA_HEADER "." CLAIMS ".AB",
        "eyJhbGciOiJub25lIn0." CLAIMS ".AAAA",     /* none */
        "eyJhbGciOiJIUzI1NiJ9." CLAIMS ".AAAA",    /* HS256 */
        "eyJhbGciOiJSUzI1NiIsImNyaXQiOlsiYiJdfQ." CLAIMS ".AAAA",    /* crit */
        "eyJhbGciOiJSUzI1NiIsImFsZyI6IlJTMjU2In0." CLAIMS ".AAAA",   /* alg twice */
        "e30." CLAIMS ".AAAA", "AAAA." CLAIMS ".AAAA", RSA_HEADER ".AAAA.AAAA",
    };
    struct jwt jwt;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        CU_ASSERT_PTR_NOT_NULL(jwt_read(slice_from_string(bad[i]), &jwt));
        jwt_fini(&jwt);
    }
}

static void test_claims(void)
{
    static const struct { const char *claims, *name, *claim; } rows[] = {
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"email\":\"j@x\"}", "j@x", "email" },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"email\":\"j@x\",\"email_verified\":true}", "j@x", "email" },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"email\":\"j@x\",\"email_verified\":\"true\"}", "j@x", "email" },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"email\":\"j@x\",\"email_verified\":false}", NULL, "email" },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"email\":\"j@x\",\"email_verified\":\"false\"}", NULL, "email" },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"email\":\"j@x\",\"email_verified\":true,\"email_verified\":true}", NULL, "email" },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"sub\":\"joe\",\"email_verified\":false}", "joe", NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"sub\":\"joe\"}", "joe", NULL },
        { "{\"iss\":\"https://id\",\"aud\":[\"other\",\"mail\"],\"exp\":971,\"nbf\":1030,\"sub\":\"joe\"}", "joe", NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":970,\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"nbf\":1031,\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"nbf\":\"1\",\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":\"1000\",\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://ID\",\"aud\":\"mail\",\"exp\":1000,\"sub\":\"joe\"}", NULL, NULL },
        { "{\"aud\":\"mail\",\"exp\":1000,\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":[\"mai\",[\"mail\"]],\"exp\":1000,\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"exp\":1000,\"sub\":\"joe\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"sub\":\"\"}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"sub\":5}", NULL, NULL },
        { "{\"iss\":\"https://id\",\"aud\":\"mail\",\"exp\":1000,\"sub\":\"joe\",\"sub\":\"ann\"}", NULL, NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct jwt_rules rules = { "https://id", "mail", rows[i].claim != NULL ? rows[i].claim : "sub", NULL, 1000 };
        struct jwt jwt = { 0 };
        struct buf name = { 0 };
        buf_append_text(&jwt.claims, rows[i].claims);
        CU_ASSERT_TRUE_FATAL(json_is_object(buf_slice(&jwt.claims)));
        const char *why = jwt_judge(&jwt, &rules, &name);
        if ((why == NULL) != (rows[i].name != NULL))
            fprintf(stderr, "%s: %s\n", rows[i].claims, why != NULL ? why : "taken");
        CU_ASSERT_EQUAL(why == NULL, rows[i].name != NULL);
        if (rows[i].name != NULL)
            CU_ASSERT(slice_is(buf_slice(&name), rows[i].name));
        jwt_fini(&jwt);
        buf_fini(&name);
    }
}

/* RFC 7662, section 2.2: what the authorization server says. */
static void test_answers(void)
{
    static const struct { const char *answer, *name; int64_t seconds; } rows[] = {
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"exp\":1010}", "joe", 10 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":[\"x\",\"mail\"],\"token_type\":\"bearer\",\"scope\":\"a b\"}", "joe", INT64_MAX },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"exp\":971}", "joe", -29 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"exp\":970}", NULL, 0 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"exp\":\"1010\"}", NULL, 0 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"exp\":1,\"exp\":1010}", NULL, 0 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"nbf\":1031}", NULL, 0 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mailbox\"}", NULL, 0 },
        { "{\"active\":true,\"username\":\"joe\"}", NULL, 0 },
        { "{\"active\":true,\"aud\":\"mail\"}", NULL, 0 },
        { "{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"token_type\":\"refresh\"}", NULL, 0 },
        { "{\"active\":false,\"username\":\"joe\",\"aud\":\"mail\"}", NULL, 0 },
        { "{\"active\":\"true\",\"username\":\"joe\",\"aud\":\"mail\"}", NULL, 0 },
        { "{\"active\":false,\"active\":true,\"username\":\"joe\",\"aud\":\"mail\"}", NULL, 0 },
        { "{\"username\":\"joe\",\"aud\":\"mail\"}", NULL, 0 },
        { "[{\"active\":true}]", NULL, 0 }, { "", NULL, 0 }, { "{\"active\":true", NULL, 0 },
    };
    struct jwt_rules rules = { .audience = "mail", .claim = "username", .now = 1000 };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf name = { 0 };
        int64_t seconds = 0;
        const char *why = introspection_judge(slice_from_string(rows[i].answer), &rules, &name, &seconds);
        if ((why == NULL) != (rows[i].name != NULL))
            fprintf(stderr, "%s: %s\n", rows[i].answer, why != NULL ? why : "taken");
        CU_ASSERT_EQUAL(why == NULL, rows[i].name != NULL);
        if (rows[i].name != NULL) {
            CU_ASSERT(slice_is(buf_slice(&name), rows[i].name));
            CU_ASSERT(rows[i].seconds == INT64_MAX ? seconds > 1000000 : seconds == rows[i].seconds);
        }
        buf_fini(&name);
    }
    /* the scope is one of the words, and the issuer counts where it is configured */
    static const struct { const char *scope, *issuer; bool good; } demands[] = {
        { "b", NULL, true }, { "a", "i", true }, { "", NULL, false }, { "a b", NULL, false }, { "ab", NULL, false }, { NULL, "I", false }, { NULL, "i", true },
    };
    for (size_t i = 0; i < sizeof(demands) / sizeof(demands[0]); i++) {
        struct jwt_rules more = { demands[i].issuer, "mail", "username", demands[i].scope, 1000 };
        struct buf name = { 0 };
        int64_t seconds;
        const char *why = introspection_judge(SLICE_LITERAL("{\"active\":true,\"username\":\"joe\",\"aud\":\"mail\",\"scope\":\"a b\",\"iss\":\"i\"}"), &more, &name, &seconds);
        CU_ASSERT_EQUAL(why == NULL, demands[i].good);
        buf_fini(&name);
    }
}

static void test_urls(void)
{
    static const struct { const char *url; bool safe; } rows[] = {
        { "https://id.example.org", true }, { "https://id.example.org:8443/x?y", true }, { "http://127.0.0.1:80/x", true }, { "http://127.0.0.1", true },
        { "http://[::1]:80/", true }, { "http://127.0.0.1.example.org/", false }, { "http://127.0.0.10/", false }, { "http://localhost/", false },
        { "http://id.example.org/", false }, { "https://", false }, { "https:///x", false }, { "https://a@b/", false }, { "http://127.0.0.1:x@b/", false },
        { "https://a\\b", false }, { "https://a b", false }, { "https://a#b", false }, { "ftp://a", false }, { "HTTPS://a", false }, { "", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(https_url_is_safe(rows[i].url), rows[i].safe);
    struct buf form = { 0 };
    https_form_append(&form, "a", SLICE_LITERAL("x y&=%\xff~-._"));
    https_form_append(&form, "b", SLICE_NONE);
    CU_ASSERT(slice_is(buf_slice(&form), "a=x%20y%26%3D%25%FF~-._&b="));
    buf_fini(&form);
}

/* RFC 4231, section 4.4: test case 3, whose key is padded to a block in the same way as one of 32 octets with zeros. */
static void test_keyed_hash(void)
{
    unsigned char key[KEYED_HASH_SIZE], out[KEYED_HASH_SIZE];
    char text[50];
    memset(key, 0, sizeof(key));
    memset(key, 0xaa, 20);
    memset(text, (char)0xdd, sizeof(text));
    keyed_hash(key, slice_make(text, sizeof(text)), out);
    static const unsigned char wanted[] = { 0x77, 0x3e, 0xa9, 0x1e, 0x36, 0x80, 0x0e, 0x46 };
    CU_ASSERT_EQUAL(memcmp(out, wanted, sizeof(wanted)), 0);
    keyed_hash(key, SLICE_NONE, out);
    CU_ASSERT_NOT_EQUAL(memcmp(out, wanted, sizeof(wanted)), 0);
}

static const struct unit_test tests[] = {
    { "json", test_json },
    { "json values", test_json_values },
    { "signatures", test_signatures },
    { "parts", test_parts },
    { "claims", test_claims },
    { "answers", test_answers },
    { "urls", test_urls },
    { "keyed hash", test_keyed_hash },
};

UNIT_MAIN("token", tests)
