/* Unit tests of src/imap/parser: the tokens of IMAP commands. */
#include <stdlib.h>
#include <string.h>

#include "../../src/imap/parser.h"
#include "run.h"

/* One row: text, the function's name in short, whether it is taken, the value and what is left. */
enum token { ATOM, STRING, ASTRING, NSTRING, LIST, FLAG };

struct row {
    enum token token;
    const char *text;
    size_t len;
    bool good;
    const char *value;   /* NULL: NIL */
    const char *rest;
};

#define TEXT(s) s, sizeof(s) - 1

static bool (*const functions[])(struct imap_parser *, struct slice *) = {
    [ATOM] = parse_atom, [STRING] = parse_string, [ASTRING] = parse_astring, [NSTRING] = parse_nstring,
    [LIST] = parse_list_mailbox, [FLAG] = parse_flag,
};

static const struct row rows[] = {
    { ATOM, TEXT("NOOP"), true, "NOOP", "" },
    { ATOM, TEXT("a b"), true, "a", " b" },
    { ATOM, TEXT("a}[.b]"), true, "a}[.b", "]" },
    { ATOM, TEXT(""), false, "", "" },
    { ATOM, TEXT("(x"), false, "", "(x" },
    { ATOM, TEXT("\x7f"), false, "", "\x7f" },
    { ATOM, TEXT("\xc3\xa4"), false, "", "\xc3\xa4" },
    { ATOM, TEXT("a\x01"), true, "a", "\x01" },
    { ATOM, TEXT("%"), false, "", "%" },
    { STRING, TEXT("\"\""), true, "", "" },
    { STRING, TEXT("\"a b\" c"), true, "a b", " c" },
    { STRING, TEXT("\"a\\\"b\\\\\""), true, "a\"b\\", "" },
    { STRING, TEXT("\"a\\b\""), false, "", "\"a\\b\"" },
    { STRING, TEXT("\"a"), false, "", "\"a" },
    { STRING, TEXT("\"a\\"), false, "", "\"a\\" },
    { STRING, TEXT("\"a\rb\""), false, "", "\"a\rb\"" },
    { STRING, TEXT("\"a\0b\""), false, "", "\"a" },
    { STRING, TEXT("\"\xc3\xa4\""), true, "\xc3\xa4", "" },
    { STRING, TEXT("{3}\r\na\"b x"), true, "a\"b", " x" },
    { STRING, TEXT("{3+}\r\na\"b x"), true, "a\"b", " x" },
    { STRING, TEXT("{3}\na\"b x"), true, "a\"b", " x" },
    { STRING, TEXT("{0}\r\n"), true, "", "" },
    { STRING, TEXT("{4}\r\nabc"), false, "", "{4}\r\nabc" },
    { STRING, TEXT("{99999999999999999999}\r\nabc"), false, "", "{99999999999999999999}\r\nabc" },
    { STRING, TEXT("{-1}\r\nabc"), false, "", "{-1}\r\nabc" },
    { STRING, TEXT("{1}\r\n\0"), false, "", "{1}\r\n" },
    { STRING, TEXT("{1}a"), false, "", "{1}a" },
    { STRING, TEXT("abc"), false, "", "abc" },
    { ASTRING, TEXT("a]b "), true, "a]b", " " },
    { ASTRING, TEXT("\"x\""), true, "x", "" },
    { ASTRING, TEXT("a*"), true, "a", "*" },
    { NSTRING, TEXT("nil)"), true, NULL, ")" },
    { NSTRING, TEXT("\"NIL\""), true, "NIL", "" },
    { NSTRING, TEXT("NILS"), false, "", "NILS" },
    { LIST, TEXT("a.%*]"), true, "a.%*]", "" },
    { LIST, TEXT("\"*\""), true, "*", "" },
    { LIST, TEXT("(a"), false, "", "(a" },
    { FLAG, TEXT("\\Seen)"), true, "\\Seen", ")" },
    { FLAG, TEXT("$Junk x"), true, "$Junk", " x" },
    { FLAG, TEXT("\\*"), true, "\\*", "" },
    { FLAG, TEXT("\\"), false, "", "\\" },
    { FLAG, TEXT("\\(a"), false, "", "\\(a" },
};

static void test_tokens(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        struct arena arena = { 0 };
        char *copy = memcpy(malloc(row->len + 1), row->text, row->len);   /* so that reading beyond is seen */
        struct imap_parser p = { slice_make(copy, row->len), &arena };
        struct slice value = SLICE_NONE;
        bool good = functions[row->token](&p, &value);
        CU_ASSERT_EQUAL(good, row->good);
        if (good && row->value == NULL)
            CU_ASSERT_PTR_NULL(value.data);
        if (good && row->value != NULL) {
            CU_ASSERT_PTR_NOT_NULL(value.data);
            CU_ASSERT(slice_is(value, row->value));
        }
        if (good || !slice_has_nul(p.rest))
            CU_ASSERT(slice_is(p.rest, row->rest));
        if (!good)
            CU_ASSERT_EQUAL(p.rest.len, row->len);
        free(copy);
        arena_clear(&arena);
    }
}

/* Every token cut at every byte: it either fails or takes no more than is there. */
static void test_cut_tokens(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t len = 0; len < rows[i].len; len++) {
            struct arena arena = { 0 };
            char *copy = memcpy(malloc(len + 1), rows[i].text, len);
            struct imap_parser p = { slice_make(copy, len), &arena };
            struct slice value = SLICE_NONE;
            bool good = functions[rows[i].token](&p, &value);
            CU_ASSERT(good ? p.rest.len < len : p.rest.len == len);
            free(copy);
            arena_clear(&arena);
        }
    }
}

static void test_keyword(void)
{
    static const struct { const char *text; bool good; const char *rest; } keywords[] = {
        { "fetch", true, "" }, { "FETCH 1", true, " 1" }, { "FETCHED", false, "FETCHED" }, { "FETC", false, "FETC" },
        { "FETCH(", true, "(" }, { "FETCH]", true, "]" }, { "FETCH[", false, "FETCH[" },
    };
    for (size_t i = 0; i < sizeof(keywords) / sizeof(keywords[0]); i++) {
        struct imap_parser p = { slice_from_string(keywords[i].text), NULL };
        CU_ASSERT_EQUAL(parse_keyword(&p, "FETCH"), keywords[i].good);
        CU_ASSERT(slice_is(p.rest, keywords[i].rest));
    }
}

static void test_number(void)
{
    static const struct { const char *text; bool good; uint64_t value; const char *rest; } numbers[] = {
        { "0", true, 0, "" }, { "42)", true, 42, ")" }, { "100", true, 100, "" }, { "101", false, 0, "101" },
        { "", false, 0, "" }, { "-1", false, 0, "-1" }, { "007x", true, 7, "x" },
        { "18446744073709551617", false, 0, "18446744073709551617" },
    };
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        struct imap_parser p = { slice_from_string(numbers[i].text), NULL };
        uint64_t value = 0;
        CU_ASSERT_EQUAL(parse_number(&p, 100, &value), numbers[i].good);
        if (numbers[i].good)
            CU_ASSERT_EQUAL(value, numbers[i].value);
        CU_ASSERT(slice_is(p.rest, numbers[i].rest));
    }
}

static void test_date_time(void)
{
    static const struct { const char *text; bool good; int64_t seconds; } dates[] = {
        { "\"01-Jan-1970 00:00:00 +0000\"", true, 0 },
        { "\" 1-jan-1970 01:00:00 +0100\"", true, 0 },
        { "\"17-Jul-1996 02:44:25 -0700\"", true, 837596665 },
        { "\"29-Feb-2024 12:00:00 +0000\"", true, 1709208000 },
        { "\"29-Feb-2023 12:00:00 +0000\"", false, 0 },
        { "\"29-Feb-1900 12:00:00 +0000\"", false, 0 },
        { "\"31-Apr-2023 12:00:00 +0000\"", false, 0 },
        { "\"00-Jan-2023 12:00:00 +0000\"", false, 0 },
        { "\"1-Jan-2023 12:00:00 +0000\"", false, 0 },
        { "\"01-Foo-2023 12:00:00 +0000\"", false, 0 },
        { "\"01-Jan-2023 24:00:00 +0000\"", false, 0 },
        { "\"01-Jan-2023 12:60:00 +0000\"", false, 0 },
        { "\"01-Jan-2023 12:00:00 0000\"", false, 0 },
        { "\"01-Jan-2023 12:00:00 +0060\"", false, 0 },
        { "\"01-Jan-2023 12:00:00 +0000", false, 0 },
        { "\"01-Jan-23 12:00:00 +0000\"", false, 0 },
        { "01-Jan-2023 12:00:00 +0000", false, 0 },
        { "", false, 0 },
    };
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++) {
        struct imap_parser p = { slice_from_string(dates[i].text), NULL };
        int64_t seconds = -1;
        CU_ASSERT_EQUAL(parse_date_time(&p, &seconds), dates[i].good);
        CU_ASSERT_EQUAL(p.rest.len, dates[i].good ? 0 : strlen(dates[i].text));
        if (dates[i].good)
            CU_ASSERT_EQUAL(seconds, dates[i].seconds);
    }
}

static void test_sequence_set(void)
{
    static const struct { const char *text; bool good; size_t count; struct sequence_range first, last; const char *rest; } sets[] = {
        { "1", true, 1, { 1, 1 }, { 1, 1 }, "" },
        { "*", true, 1, { 0, 0 }, { 0, 0 }, "" },
        { "2:4,7,9:* x", true, 3, { 2, 4 }, { 9, 0 }, " x" },
        { "*:4", true, 1, { 0, 4 }, { 0, 4 }, "" },
        { "4:2", true, 1, { 4, 2 }, { 4, 2 }, "" },
        { "4294967295", true, 1, { UINT32_MAX, UINT32_MAX }, { UINT32_MAX, UINT32_MAX }, "" },
        { "4294967296", false, 0, { 0, 0 }, { 0, 0 }, "4294967296" },
        { "0", false, 0, { 0, 0 }, { 0, 0 }, "0" },
        { "1,", false, 0, { 0, 0 }, { 0, 0 }, "1," },
        { "1:", false, 0, { 0, 0 }, { 0, 0 }, "1:" },
        { ",1", false, 0, { 0, 0 }, { 0, 0 }, ",1" },
        { "", false, 0, { 0, 0 }, { 0, 0 }, "" },
        { "a", false, 0, { 0, 0 }, { 0, 0 }, "a" },
    };
    for (size_t i = 0; i < sizeof(sets) / sizeof(sets[0]); i++) {
        struct arena arena = { 0 };
        struct imap_parser p = { slice_from_string(sets[i].text), &arena };
        struct sequence_set set = { 0 };
        CU_ASSERT_EQUAL(parse_sequence_set(&p, &set), sets[i].good);
        CU_ASSERT(slice_is(p.rest, sets[i].rest));
        CU_ASSERT_EQUAL(set.count, sets[i].count);
        if (set.count == sets[i].count && set.count > 0) {
            CU_ASSERT_EQUAL(set.ranges[0].first, sets[i].first.first);
            CU_ASSERT_EQUAL(set.ranges[0].last, sets[i].first.last);
            CU_ASSERT_EQUAL(set.ranges[set.count - 1].first, sets[i].last.first);
            CU_ASSERT_EQUAL(set.ranges[set.count - 1].last, sets[i].last.last);
        }
        arena_clear(&arena);
    }
}

static void test_small(void)
{
    struct imap_parser p = { SLICE_LITERAL(" (x"), NULL };
    CU_ASSERT_FALSE(parse_byte(&p, '('));
    CU_ASSERT(parse_space(&p));
    CU_ASSERT_FALSE(parse_space(&p));
    CU_ASSERT(parse_byte(&p, '('));
    CU_ASSERT_FALSE(parse_end(&p));
    CU_ASSERT(parse_byte(&p, 'x'));
    CU_ASSERT(parse_end(&p));
    CU_ASSERT_FALSE(parse_byte(&p, 'x'));
}

static const struct unit_test tests[] = {
    { "tokens", test_tokens }, { "cut tokens", test_cut_tokens }, { "keyword", test_keyword }, { "number", test_number },
    { "date-time", test_date_time }, { "sequence set", test_sequence_set }, { "small", test_small },
};

UNIT_MAIN("imap parser", tests)
