/* Unit tests of base's answer: both forms of the same words, whatever is in the values. */
#include <stdio.h>

#include "postern/base/answer.h"
#include "run.h"

static bool is_text(struct buf *out, const char *text)
{
    bool same = slice_is(buf_slice(out), text);
    if (!same)
        fprintf(stderr, "--- said\n%s--- wanted\n%s", buf_text(out), text);
    buf_fini(out);
    return same;
}

static void test_json_strings(void)
{
    static const struct { struct slice text; const char *json; } rows[] = {
        { { "", 0 }, "\"\"" },
        { SLICE_LITERAL("plain"), "\"plain\"" },
        { SLICE_LITERAL("a\"b\\c/"), "\"a\\\"b\\\\c/\"" },
        { SLICE_LITERAL("\n\r\t\b\f\x01\x1f\x7f"), "\"\\u000a\\u000d\\u0009\\u0008\\u000c\\u0001\\u001f\\u007f\"" },
        { SLICE_LITERAL("a\0b"), "\"a\\u0000b\"" },
        { SLICE_LITERAL("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
        { SLICE_LITERAL("\xff" "a"), "\"\\ufffda\"" },                    /* never in UTF-8 */
        { SLICE_LITERAL("\xc3"), "\"\\ufffd\"" },                         /* cut off */
        { SLICE_LITERAL("\xe2\x82"), "\"\\ufffd\\ufffd\"" },
        { SLICE_LITERAL("\xc0\x80"), "\"\\ufffd\\ufffd\"" },              /* too long a form */
        { SLICE_LITERAL("\xe0\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\"" },
        { SLICE_LITERAL("\xf0\x80\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
        { SLICE_LITERAL("\xed\xa0\x80"), "\"\\ufffd\\ufffd\\ufffd\"" },   /* a surrogate */
        { SLICE_LITERAL("\xf4\x90\x80\x80"), "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },   /* beyond U+10FFFF */
        { SLICE_LITERAL("\xc3\"x"), "\"\\ufffd\\\"x\"" },                 /* the quote is not swallowed */
        { SLICE_LITERAL("\xc2\x9b" "2J\xc2\xa0"), "\"\\u009b2J\xc2\xa0\"" },   /* a terminal would obey it */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out = { .cap = 0 };
        json_append_string(&out, rows[i].text);
        CU_ASSERT(is_text(&out, rows[i].json));
    }
}

/* What somebody tried as a name must not steer the terminal of who looks at it. */
static void test_clean_text(void)
{
    static const struct { struct slice text; const char *shown; } rows[] = {
        { SLICE_LITERAL("a\x1b[2J\x7f\n"), "a?[2J??" },
        { SLICE_LITERAL("\xc2\x9b" "2J"), "??2J" },
        { SLICE_LITERAL("\x9b" "2J\xff\xc3"), "?2J??" },
        { SLICE_LITERAL("\xc2\xa0\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80"), "\xc2\xa0\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out = { .cap = 0 };
        text_append_clean(&out, rows[i].text);
        CU_ASSERT(is_text(&out, rows[i].shown));
    }
}

static void say(struct answer *a)
{
    static char *const texts[] = { (char *)"one", (char *)"t,w\"o" };
    answer_text(a, "name", "x\ny");
    answer_text(a, "none", NULL);
    answer_number(a, "sessions now", 0);
    answer_count(a, "ended, idle too long", 0);
    answer_count(a, "left", 3);
    answer_flag(a, "tls", true);
    answer_texts(a, "values", texts, 2);
    answer_texts(a, "no values", texts, 0);
    answer_time(a, "since", 86400);
    answer_time(a, "never", 0);
    answer_object(a, "inner");
    answer_number(a, "deep", 1);
    answer_close(a);
    answer_list(a, "things");
    answer_item(a, "first");
    answer_number(a, "n", 1);
    answer_table(a, "rows");
    for (unsigned i = 0; i < 2; i++) {
        answer_row(a);
        answer_text(a, "who", i == 0 ? "\xc3\xa4" : "a longer one");
        answer_text(a, "what", i == 0 ? NULL : "b\0c");
        answer_flag(a, "good", i == 0);
        answer_close(a);
    }
    answer_close(a);
    answer_close(a);
    answer_item(a, "second");
    answer_close(a);
    answer_close(a);
    answer_table(a, "empty");
    answer_close(a);
}

static void test_json(void)
{
    struct buf out = { .cap = 0 };
    struct answer a;
    answer_init(&a, &out, true, false);
    say(&a);
    answer_fini(&a);
    CU_ASSERT(is_text(&out, "{\"name\":\"x\\u000ay\",\"none\":null,\"sessions_now\":0,\"ended_idle_too_long\":0,\"left\":3,\"tls\":true,"
                            "\"values\":[\"one\",\"t,w\\\"o\"],\"no_values\":[],\"since\":\"1970-01-02T00:00:00Z\",\"never\":null,"
                            "\"inner\":{\"deep\":1},\"things\":[{\"n\":1,\"rows\":[{\"who\":\"\xc3\xa4\",\"what\":null,\"good\":true},"
                            "{\"who\":\"a longer one\",\"what\":\"b\",\"good\":false}]},{}],\"empty\":[]}\n"));
}

static void test_text(void)
{
    static const char rest[] =
        "left                                     3\n"
        "tls                                      yes\n"
        "values                                   one, t,w\"o\n"
        "since                                    1970-01-02T00:00:00Z\n"
        "\ninner\n"
        "  deep                                     1\n"
        "\nfirst\n"
        "  n                                        1\n"
        "\n  rows\n"
        "    WHO           WHAT  GOOD\n"
        "    \xc3\xa4             -     yes\n"
        "    a longer one  b     no\n"
        "\nsecond\n";
    for (unsigned all = 0; all < 2; all++) {
        struct buf out = { .cap = 0 }, wanted = { .cap = 0 };
        struct answer a;
        buf_append_text(&wanted, "name                                     x?y\nsessions now                             0\n");
        if (all)
            buf_append_text(&wanted, "ended, idle too long                     0\n");
        buf_append_text(&wanted, rest);
        answer_init(&a, &out, false, all);
        say(&a);
        answer_fini(&a);
        CU_ASSERT(is_text(&out, buf_text(&wanted)));
        buf_fini(&wanted);
    }
}

/* A table that stands alone has no title; one without rows says that there are none. */
static void test_table_alone(void)
{
    struct buf out = { .cap = 0 };
    struct answer a;
    answer_init(&a, &out, false, false);
    answer_table(&a, "rows");
    answer_row(&a);
    answer_number(&a, "id", 7);
    answer_text(&a, "what is it", "");
    answer_fini(&a);
    CU_ASSERT(is_text(&out, "ID  WHAT IS IT\n7   -\n"));
    answer_init(&a, &out, false, false);
    answer_table(&a, "rows");
    answer_fini(&a);
    CU_ASSERT(is_text(&out, "none\n"));
    buf_fini(&out);
}

static const struct unit_test tests[] = {
    { "clean text", test_clean_text },
    { "json strings", test_json_strings },
    { "json", test_json },
    { "text", test_text },
    { "table alone", test_table_alone },
};

UNIT_MAIN("answer", tests)
