/* Unit tests of the small pure parts of src/imap: patterns, the reader. */
#include "../../src/imap/pattern.h"
#include "../../src/imap/reader.h"
#include "run.h"

#include <string.h>

static void test_patterns(void)
{
    static const struct { const char *pattern; const char *name; bool matches; } rows[] = {
        { "*", "A.B", true }, { "*", "", true }, { "%", "A", true }, { "%", "A.B", false }, { "%", "", true },
        { "A.%", "A.B", true }, { "A.%", "A.B.C", false }, { "A.*", "A.B.C", true }, { "A%", "A.B", false },
        { "%.%", "A.B", true }, { "%.%", "A.B.C", false }, { "%.%", "A", false }, { "*.C", "A.B.C", true },
        { "*%", "A.B", true }, { "%*", "A.B", true }, { "%*C", "A.B.C", true }, { "*%C", "A.B.C", true },
        { "a", "A", false }, { "A", "A", true }, { "A", "AB", false }, { "AB", "A", false }, { "", "", true }, { "", "A", false },
        { "*b*d", "abcbd", true }, { "*b*d", "abcbe", false }, { "%b%d", "abcbd", true }, { "%b%d", "ab.bd", false },
        { "*a%c", "xa.xabc", true }, { "*a%c", "xab.c", false }, { "*.%a", "x.y.za", true }, { "%a.%c", "xa.ya.zc", false },
        { "*%a.b", "x.ya.b", true }, { "**%%**", "A.B.C", true }, { "%%", "AB", true }, { "%%", "A.B", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(pattern_matches(slice_from_string(rows[i].pattern), slice_from_string(rows[i].name), '.', false), rows[i].matches);
    CU_ASSERT(pattern_matches(SLICE_LITERAL("in%"), SLICE_LITERAL("INBOX"), '.', true));
    CU_ASSERT_FALSE(pattern_matches(SLICE_LITERAL("in%"), SLICE_LITERAL("INBOX"), '.', false));
}

/* The definition itself, slow. */
static bool is_match(struct slice p, struct slice n)
{
    if (p.len == 0)
        return n.len == 0;
    if (p.data[0] == '*' || p.data[0] == '%') {
        if (is_match(slice_from(p, 1), n))
            return true;
        return n.len > 0 && (p.data[0] == '*' || n.data[0] != '.') && is_match(p, slice_from(n, 1));
    }
    return n.len > 0 && p.data[0] == n.data[0] && is_match(slice_from(p, 1), slice_from(n, 1));
}

/* The text number `number` over an alphabet. */
static struct slice text_number(char *text, size_t len, unsigned number, const char *alphabet)
{
    unsigned base = (unsigned)strlen(alphabet);
    for (size_t i = 0; i < len; i++, number /= base)
        text[i] = alphabet[number % base];
    return slice_make(text, len);
}

static void test_all_patterns(void)
{
    char pattern_text[5], name_text[5];
    unsigned wrong = 0, matched = 0;
    for (unsigned p = 0; p < 1024; p++) {
        for (unsigned n = 0; n < 32; n++) {
            struct slice pattern = text_number(pattern_text, 5, p, "*%a."), name = text_number(name_text, 5, n, "a.");
            bool matches = pattern_matches(pattern, name, '.', false);
            wrong += matches != is_match(pattern, name);
            matched += matches;
        }
    }
    CU_ASSERT_EQUAL(wrong, 0);
    CU_ASSERT(matched > 1000);
}

/* A pattern of nothing but wildcards must not take for ever. */
static void test_hostile_pattern(void)
{
    char pattern[1001], name[256];
    for (size_t i = 0; i < 1000; i += 4)
        memcpy(pattern + i, "*a%a", 4);
    memset(name, 'a', 255);
    CU_ASSERT_FALSE(pattern_matches(slice_make(pattern, 1000), slice_make(name, 255), '.', false));
    memcpy(pattern, "*%b", 3);
    CU_ASSERT_FALSE(pattern_matches(slice_make(pattern, 3), slice_make(name, 255), '.', false));
}

/* What stands in the text, cut at every byte. */
static void test_reader(void)
{
    static const struct { const char *in; const char *texts; } rows[] = {
        { "a NOOP\r\nb NOOP\n", "a NOOP|b NOOP|" },
        { "a X {3+}\r\nab\n y\r\nb\r\n", "a X {3+}\r\nab\n y|b|" },
        { "a {0+}\r\n{0+}\r\n\r\n", "a {0+}\r\n{0+}\r\n|" },
        { "a {4+}\r\n{9+}\r\n", "a {4+}\r\n{9+}|" },
        { "a {9+}x\r\n{+}\r\n{-1}\r\n", "a {9+}x|{+}|{-1}|" },
        { "\r\n\n\r\r\n", "||\r|" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        for (size_t cut = 0; cut <= strlen(rows[i].in); cut++) {
            struct reader reader = { 0 };
            struct buf in, texts;
            buf_init(&in, 0);
            buf_init(&texts, 0);
            for (int half = 0; half < 2; half++) {
                struct slice all = slice_from_string(rows[i].in);
                struct literal literal = { 0, false };
                enum read_result result;
                buf_append(&in, half ? slice_from(all, cut) : slice_part(all, 0, cut));
                while ((result = reader_read(&reader, &in, 100, &literal)) != READ_MORE) {
                    if (result == READ_LITERAL) {
                        CU_ASSERT(reader_collect_literal(&reader, literal, 100));
                        continue;
                    }
                    buf_append(&texts, buf_slice(&reader.text));
                    buf_append_byte(&texts, '|');
                    reader_reset(&reader, false);
                }
            }
            CU_ASSERT(slice_is(buf_slice(&texts), rows[i].texts));
            buf_fini(&in);
            buf_fini(&texts);
            reader_reset(&reader, false);
        }
    }
}

/* A number that no literal can have is a literal nevertheless: what follows it must not be taken for commands. */
static void test_huge_literal(void)
{
    struct reader reader = { 0 };
    struct literal literal = { 0, false };
    struct buf in;
    buf_init(&in, 0);
    buf_append_text(&in, "a {4294967296+}\r\nb NOOP\r\n");
    CU_ASSERT_EQUAL(reader_read(&reader, &in, 100, &literal), READ_LITERAL);
    CU_ASSERT_FALSE(reader_collect_literal(&reader, literal, 100));
    buf_fini(&in);
    reader_reset(&reader, false);
}

static const struct unit_test tests[] = {
    { "patterns", test_patterns }, { "all patterns", test_all_patterns }, { "hostile pattern", test_hostile_pattern },
    { "reader", test_reader }, { "huge literal", test_huge_literal },
};

UNIT_MAIN("imap pattern", tests)
