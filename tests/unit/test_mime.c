/* Unit tests of src/mime. */
#include <stdio.h>
#include <string.h>

#include "postern/base/memory.h"
#include "postern/mime/decode.h"
#include "postern/mime/header.h"
#include "postern/mime/structure.h"
#include "run.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

static void check_text(struct slice got, const char *want)
{
    if (!slice_is(got, want))
        fprintf(stderr, "got \"%.*s\", want \"%s\"\n", SLICE_ARG(got), want);
    CU_ASSERT(slice_is(got, want));
}

/* --- headers --------------------------------------------------------------------------------------------------------- */

static void test_header_fields(void)
{
    struct slice rest = SLICE_LITERAL("A: 1\r\nB :\t 2\r\n 3\r\nbroken\r\nC:\r\n\r\nbody: no\r\n");
    struct header_field field;
    CU_ASSERT(header_next(&rest, &field) && slice_is(field.name, "A") && slice_is(field.value, "1") && slice_is(field.raw, "A: 1\r\n"));
    CU_ASSERT(header_next(&rest, &field) && slice_is(field.name, "B") && slice_is(field.value, "2\r\n 3"));
    CU_ASSERT(header_next(&rest, &field) && slice_is(field.name, "broken") && field.value.len == 0);
    CU_ASSERT(header_next(&rest, &field) && slice_is(field.name, "C") && field.value.len == 0);
    CU_ASSERT_FALSE(header_next(&rest, &field));
    check_text(rest, "body: no\r\n");
    CU_ASSERT(header_find(SLICE_LITERAL("X: 1\nsubject: 2\n"), "Subject", &field) && slice_is(field.value, "2"));
    CU_ASSERT_FALSE(header_find(SLICE_LITERAL("X: 1\n\nSubject: 2\n"), "Subject", &field));
}

static void test_header_unfold(void)
{
    struct arena arena = { 0 };
    check_text(header_unfold(&arena, SLICE_LITERAL("a\r\n b\n\tc")), "a b\tc");
    check_text(header_unfold(&arena, SLICE_LITERAL("plain")), "plain");
    arena_clear(&arena);
}

static void test_header_dates(void)
{
    static const struct { const char *text; int64_t day; } rows[] = {
        { "Thu, 01 Jan 1970 00:00:00 +0000", 0 }, { "1 Jan 1970 23:59:59 -1200", 0 }, { "Fri, 2 January 70 1:00", 1 },
        { "Mon, 29 Feb 2024 00:00:00 GMT", 19782 }, { "31 Dec 49", 29219 }, { "1 Mar 102 00:00", 11747 },
        { "31 Dec 1969", -1 }, { "Sun,  6 Oct 2002 12:00:00", 11966 },
    };
    static const char *const bad[] = { "", "today", "32 Jan 2000", "0 Jan 2000", "1 Foo 2000", "1 Jan", "1 Jan 12345", "Mon" };
    for (size_t i = 0; i < ROWS(rows); i++) {
        int64_t day = 4711;
        CU_ASSERT(header_date(slice_from_string(rows[i].text), &day));
        CU_ASSERT_EQUAL(day, rows[i].day);
    }
    for (size_t i = 0; i < ROWS(bad); i++) {
        int64_t day;
        CU_ASSERT_FALSE(header_date(slice_from_string(bad[i]), &day));
    }
}

/* --- addresses ------------------------------------------------------------------------------------------------------- */

static void append_or_nil(struct buf *out, struct slice text)
{
    if (text.data == NULL)
        buf_append_text(out, "NIL");
    else
        buf_append(out, text);
}

static void test_addresses(void)
{
    static const struct { const char *text, *want; } rows[] = {
        { "", "" },
        { "a@b.c", "NIL|NIL|a|b.c;" },
        { "<a@b.c>", "NIL|NIL|a|b.c;" },
        { "A B <a@b.c>, \"C, D\" <c@d>", "A B|NIL|a|b.c;C, D|NIL|c|d;" },
        { "a@b (The Name)", "The Name|NIL|a|b;" },
        { "a@b (outer (inner) \\) end)", "outer (inner) ) end|NIL|a|b;" },
        { "J. Doe <j@d>", "J. Doe|NIL|j|d;" },
        { "\"q\\\"x\" <\"l p\"@d>", "q\"x|NIL|l p|d;" },
        { "<@r1,@r2:a@b>", "NIL|@r1,@r2|a|b;" },
        { "Group: a@b, C <c@d>;", "NIL|NIL|Group|NIL;NIL|NIL|a|b;C|NIL|c|d;NIL|NIL|NIL|NIL;" },
        { "undisclosed-recipients:;", "NIL|NIL|undisclosed-recipients|NIL;NIL|NIL|NIL|NIL;" },
        { "a @ [1.2.3.4]", "NIL|NIL|a|[1.2.3.4];" },
        { "a . b @ c . d", "NIL|NIL|a.b|c.d;" },
        { "user", "NIL|NIL|user|MISSING_DOMAIN;" },
        { "two words", "two words|NIL|MISSING_MAILBOX|MISSING_DOMAIN;" },
        { "A <>", "A|NIL|MISSING_MAILBOX|MISSING_DOMAIN;" },
        { "A <b", "A|NIL|b|SYNTAX_ERROR;" },
        { "a@b, , c@d", "NIL|NIL|a|b;NIL|NIL|MISSING_MAILBOX|MISSING_DOMAIN;NIL|NIL|c|d;" },
        { ".a..b.@c", "NIL|NIL|.a..b.|c;" },
        { "a@b\r\n (fold)", "fold|NIL|a|b;" },
        { "\xC3\xA9 <a@b>", "\xC3\xA9|NIL|a|b;" },
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct arena arena = { 0 };
        struct buf got = { 0 };
        /* Exactly as long as the text: reading past it is seen by the sanitizer. */
        struct slice text = slice_from_string(rows[i].text);
        char *copy = mem_alloc(text.len);
        memcpy(copy, text.data, text.len);
        for (struct address *a = address_parse(&arena, slice_make(copy, text.len)); a != NULL; a = a->next) {
            append_or_nil(&got, a->name);
            buf_append_byte(&got, '|');
            append_or_nil(&got, a->route);
            buf_append_byte(&got, '|');
            append_or_nil(&got, a->mailbox);
            buf_append_byte(&got, '|');
            append_or_nil(&got, a->domain);
            buf_append_byte(&got, ';');
        }
        check_text(slice_from_string(buf_text(&got)), rows[i].want);
        for (size_t len = 0; len < text.len; len++)
            (void)address_parse(&arena, slice_make(copy, len));
        mem_free(&copy);
        buf_fini(&got);
        arena_clear(&arena);
    }
}

static void test_addresses_are_capped(void)
{
    struct arena arena = { 0 };
    struct buf text = { 0 };
    size_t count = 0;
    for (int i = 0; i < ADDRESSES_MAX + 100; i++)
        buf_append_text(&text, "a@b,");
    for (struct address *a = address_parse(&arena, buf_slice(&text)); a != NULL; a = a->next)
        count++;
    CU_ASSERT_EQUAL(count, ADDRESSES_MAX);
    buf_fini(&text);
    arena_clear(&arena);
}

/* --- content --------------------------------------------------------------------------------------------------------- */

static void test_parameters(void)
{
    static const struct { const char *text, *want; } rows[] = {
        { "text/plain", "text/plain" },
        { "TEXT / HTML (c) ; charset = \"utf-8\" (d); x=y", "TEXT/HTML charset=utf-8 x=y" },
        { "a/b; n*=utf-8''%41; m=1", "a/b m=1 n*=utf-8''%41" },
        { "a/b; n*1=two; n*0=one", "a/b n=onetwo" },
        { "a/b; n*0*=utf-8''%41; n*1=\"50%\"", "a/b n*=utf-8''%4150%25" },
        { "a/b; n*1=x; n*3=y", "a/b n*1=x n*3=y" },
        { "a/b; name==?utf-8?q?x?=; c=d", "a/b name==?utf-8?q?x?= c=d" },
        { "a/b; q=\"a\\\"b\"", "a/b q=a\"b" },
        { "a/b; broken; c=d", "a/b c=d" },
        { "text", "text/" },
        { "text/plain charset=x", "text/plain" },
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct arena arena = { 0 };
        struct content content;
        struct buf got = { 0 };
        const char *header = arena_printf(&arena, "Content-Type: %s\n", rows[i].text);
        content_parse(&arena, slice_from_string(header), &content);
        buf_printf(&got, "%.*s/%.*s", SLICE_ARG(content.type), SLICE_ARG(content.subtype));
        for (struct parameter *p = content.parameters; p != NULL; p = p->next)
            buf_printf(&got, " %.*s=%.*s", SLICE_ARG(p->name), SLICE_ARG(p->value));
        check_text(buf_slice(&got), rows[i].want);
        CU_ASSERT(content.is_mime);
        buf_fini(&got);
        arena_clear(&arena);
    }
}

static void test_content_fields(void)
{
    struct arena arena = { 0 };
    struct content c;
    content_parse(&arena, SLICE_LITERAL("content-id: <1@x>\nContent-Transfer-Encoding: BASE64 (c)\nContent-Disposition: attachment;\n"
                                        " filename=\"a b\"\nContent-Language: de, en-GB\nContent-MD5: m\nContent-Location: l\n"
                                        "Content-Description: d\n e\nMIME-Version: 1.0\nContent-ID: <second>\n"), &c);
    check_text(c.id, "<1@x>");
    check_text(c.encoding, "BASE64");
    check_text(c.disposition, "attachment");
    CU_ASSERT_PTR_NOT_NULL_FATAL(c.disposition_parameters);
    check_text(c.disposition_parameters->value, "a b");
    CU_ASSERT(c.languages != NULL && slice_is(c.languages->tag, "de") && slice_is(c.languages->next->tag, "en-GB"));
    check_text(c.md5, "m");
    check_text(c.location, "l");
    check_text(c.description, "d e");
    CU_ASSERT(c.is_mime && c.type.data == NULL);
    content_parse(&arena, SLICE_LITERAL("Content-Type: \nContent-Transfer-Encoding: two words\n"), &c);
    CU_ASSERT(c.type.data == NULL && c.encoding.data == NULL);
    arena_clear(&arena);
}

/* --- structure ------------------------------------------------------------------------------------------------------- */

static void describe(struct buf *out, const struct part *part)
{
    const char *kind = part->multipart ? "multi" : part->message ? "message" : part->overflow ? "over" : "leaf";
    buf_printf(out, "(%s %llu %llu/%llu/%llu %llu/%llu/%llu", kind, (unsigned long long)part->offset,
               (unsigned long long)part->header.stored, (unsigned long long)part->header.sent, (unsigned long long)part->header.lines,
               (unsigned long long)part->body.stored, (unsigned long long)part->body.sent, (unsigned long long)part->body.lines);
    for (const struct part *child = part->children; child != NULL; child = child->next)
        describe(out, child);
    buf_append_byte(out, ')');
}

/* In chunks of `chunk` bytes, the first of `first` bytes. */
static void parse_structure(struct slice text, size_t first, size_t chunk, struct buf *out)
{
    struct arena arena = { 0 };
    struct structure *s = structure_new(&arena);
    structure_feed(s, slice_part(text, 0, first));
    for (size_t at = first; at < text.len; at += chunk)
        structure_feed(s, slice_part(text, at, chunk));
    buf_clear(out);
    describe(out, structure_finish(s));
    structure_free(&s);
    arena_clear(&arena);
}

static void check_structure(struct slice text, const char *want)
{
    struct buf got = { 0 };
    parse_structure(text, text.len, text.len + 1, &got);
    check_text(buf_slice(&got), want);
    parse_structure(text, 0, 1, &got);
    check_text(buf_slice(&got), want);
    for (size_t first = 1; first < text.len; first++) {
        parse_structure(text, first, text.len, &got);
        check_text(buf_slice(&got), want);
    }
    buf_fini(&got);
}

static const struct { const char *text, *want; } structures[] = {
    { "", "(leaf 0 0/0/0 0/0/0)" },
    { "A: b", "(leaf 0 4/4/0 0/0/0)" },
    { "A: b\n", "(leaf 0 5/6/1 0/0/0)" },
    { "A: b\n\nx\ny", "(leaf 0 6/8/2 3/4/1)" },
    { "A: b\r\n\r\nx\r\ny\r", "(leaf 0 8/8/2 5/5/1)" },
    { "\nbody\n", "(leaf 0 1/2/1 5/6/1)" },
    { "Content-Type: multipart/mixed; boundary=b\n\npre\n--b\nA: b\n\none\n--b\n\ntwo\n--b--\nend\n",
      "(multi 0 43/45/2 37/47/10(leaf 51 6/8/2 3/3/0)(leaf 65 1/2/1 3/3/0))" },
    /* CRLF: the line end before a boundary is the boundary's. */
    { "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n1\r\n--b--\r\n",
      "(multi 0 45/45/2 17/17/4(leaf 50 2/2/1 1/1/0))" },
    /* A part that ends in its header; the line end is taken from it. */
    { "Content-Type: multipart/mixed; boundary=b\n\n--b\nA: b\n--b\n\nx\n--b--",
      "(multi 0 43/45/2 21/26/5(leaf 47 4/4/0 0/0/0)(leaf 56 1/2/1 1/1/0))" },
    /* No closing boundary; an outer boundary ends the inner multipart. */
    { "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=b\n\n--b\n\n1\n--a\n\n2\n",
      "(multi 0 43/45/2 61/70/9(multi 47 43/45/2 6/8/2(leaf 94 1/2/1 1/1/0))(leaf 101 1/2/1 2/3/1))" },
    /* One boundary begins the other: the longest that fits counts. */
    { "Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: multipart/mixed; boundary=ab\n\n--ab\n\n1\n--ab--\n--a--\n",
      "(multi 0 43/45/2 69/77/8(multi 47 44/46/2 15/19/4(leaf 96 1/2/1 1/1/0)))" },
    /* The boundary itself ends in dashes. */
    { "Content-Type: multipart/mixed; boundary=\"b--\"\n\n--b--\n\n1\n--b----\n", "(multi 0 47/49/2 17/21/4(leaf 53 1/2/1 1/1/0))" },
    /* A line that is two boundaries: the inner one's end comes before the outer one's next part. */
    { "Content-Type: multipart/mixed; boundary=\"a--\"\n\n--a--\nContent-Type: multipart/mixed; boundary=a\n\n--a\n\n1\n--a--\n",
      "(multi 0 47/49/2 62/69/7(multi 53 43/45/2 13/17/4(leaf 100 1/2/1 1/1/0)))" },
    { "Content-Type: multipart/mixed\n\n--b\n\n1\n", "(multi 0 31/33/2 7/10/3)" },
    { "Content-Type: message/rfc822\n\nSubject: x\n\nbody\n", "(message 0 30/32/2 17/20/3(leaf 30 12/14/2 5/6/1))" },
    { "Content-Type: message/rfc822\n", "(message 0 29/30/1 0/0/0(leaf 29 0/0/0 0/0/0))" },
    { "Content-Type: multipart/digest; boundary=b\n\n--b\n\nA: b\n\nx\n--b--\n",
      "(multi 0 44/46/2 19/25/6(message 48 1/2/1 7/9/2(leaf 49 6/8/2 1/1/0)))" },
    /* A CR alone is no line end. */
    { "Content-Type: multipart/mixed; boundary=b\n\n--b\n\na\rb\r\r\n--b--\n", "(multi 0 43/45/2 17/20/4(leaf 47 1/2/1 4/4/0))" },
};

static void test_structure(void)
{
    for (size_t i = 0; i < ROWS(structures); i++)
        check_structure(slice_from_string(structures[i].text), structures[i].want);
}

static void test_structure_caps(void)
{
    struct arena arena = { 0 };
    struct buf text = { 0 };
    unsigned depth = 0;
    size_t count = 0;
    for (int i = 0; i < 300; i++)
        buf_printf(&text, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i);
    struct structure *s = structure_new(&arena);
    structure_feed(s, buf_slice(&text));
    struct part *part = structure_finish(s);
    structure_free(&s);
    for (; part->children != NULL; part = part->children)
        depth++;
    CU_ASSERT_EQUAL(depth, STRUCTURE_DEPTH_MAX);
    CU_ASSERT(part->overflow && !part->multipart);

    arena_clear(&arena);
    buf_clear(&text);
    buf_append_text(&text, "Content-Type: multipart/mixed; boundary=b\n\n");
    for (int i = 0; i < STRUCTURE_PARTS_MAX + 500; i++)
        buf_append_text(&text, "--b\n\nx\n");
    s = structure_new(&arena);
    structure_feed(s, buf_slice(&text));
    struct part *root = structure_finish(s);
    structure_free(&s);
    for (part = root->children; part != NULL; part = part->next)
        count++;
    CU_ASSERT_EQUAL(count, STRUCTURE_PARTS_MAX - 1);
    CU_ASSERT_EQUAL(root->header.stored + root->body.stored, text.len);
    /* Messages that are parts bring two each. */
    arena_clear(&arena);
    buf_clear(&text);
    count = 0;
    buf_append_text(&text, "Content-Type: multipart/digest; boundary=b\n\n");
    for (int i = 0; i < STRUCTURE_PARTS_MAX; i++)
        buf_append_text(&text, "--b\n\n\nx\n");
    s = structure_new(&arena);
    structure_feed(s, buf_slice(&text));
    root = structure_finish(s);
    structure_free(&s);
    for (part = root->children; part != NULL; part = part->next)
        count += part->children != NULL ? 2 : 1;
    CU_ASSERT_EQUAL(count, STRUCTURE_PARTS_MAX - 1);
    buf_fini(&text);
    arena_clear(&arena);
}

/* A header longer than what is kept is still counted in full. */
static void test_structure_long_header(void)
{
    struct arena arena = { 0 };
    struct buf text = { 0 };
    buf_append_text(&text, "Subject: here\n");
    while (text.len < HEADER_BYTES_MAX + 100000)
        buf_append_text(&text, "X-Filler: 0123456789012345678901234567890123456789\n");
    buf_append_text(&text, "\nbody\n");
    struct structure *s = structure_new(&arena);
    structure_feed(s, buf_slice(&text));
    struct part *root = structure_finish(s);
    structure_free(&s);
    CU_ASSERT_EQUAL(root->header.stored + 5, text.len);
    CU_ASSERT_EQUAL(root->body.stored, 5);
    check_text(root->envelope->subject, "here");
    buf_fini(&text);
    arena_clear(&arena);
}

/* --- decodings ------------------------------------------------------------------------------------------------------- */

static void test_transfer(void)
{
    static const struct { enum transfer_encoding encoding; const char *text, *want; } rows[] = {
        { TRANSFER_BASE64, "aGVsbG8=", "hello" }, { TRANSFER_BASE64, "aGVs\r\nbG8", "hello" }, { TRANSFER_BASE64, "a*G!V?s", "hel" },
        { TRANSFER_BASE64, "YQ==Yg==", "ab" }, { TRANSFER_BASE64, "", "" },
        { TRANSFER_QUOTED_PRINTABLE, "a=3Db=\r\nc  \r\nd=", "a=bc\r\nd=" }, { TRANSFER_QUOTED_PRINTABLE, "=4a=4G=x", "J=4G=x" },
        { TRANSFER_QUOTED_PRINTABLE, "a b \t=20\nx", "a b \t \nx" }, { TRANSFER_QUOTED_PRINTABLE, "soft= \t\nend ", "softend " },
        { TRANSFER_PLAIN, "as=20is", "as=20is" },
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct slice text = slice_from_string(rows[i].text);
        for (size_t split = 0; split <= text.len; split++) {
            struct transfer_decoder decoder = { .encoding = rows[i].encoding };
            struct buf got = { 0 };
            transfer_decode(&decoder, slice_part(text, 0, split), &got);
            transfer_decode(&decoder, slice_from(text, split), &got);
            transfer_decode_end(&decoder, &got);
            check_text(slice_from_string(buf_text(&got)), rows[i].want);
            buf_fini(&got);
        }
    }
    CU_ASSERT_EQUAL(transfer_encoding_of(SLICE_LITERAL(" Quoted-Printable")), TRANSFER_QUOTED_PRINTABLE);
    CU_ASSERT_EQUAL(transfer_encoding_of(SLICE_LITERAL("x-uuencode")), TRANSFER_PLAIN);
}

static void test_charset(void)
{
    struct slice text = SLICE_LITERAL("\xA4\xA2\xA4\xA4");    /* two kana in EUC-JP */
    for (size_t split = 0; split <= text.len; split++) {
        struct charset *charset = charset_new(SLICE_LITERAL("EUC-JP"));
        struct buf got = { 0 };
        CU_ASSERT_PTR_NOT_NULL_FATAL(charset);
        charset_decode(charset, slice_part(text, 0, split), &got);
        charset_decode(charset, slice_from(text, split), &got);
        check_text(slice_from_string(buf_text(&got)), "\xE3\x81\x82\xE3\x81\x84");
        charset_free(&charset);
        buf_fini(&got);
    }
    CU_ASSERT(charset_is_known(SLICE_LITERAL("us-ascii")) && charset_is_known(SLICE_LITERAL("UTF-8")));
    CU_ASSERT_FALSE(charset_is_known(SLICE_LITERAL("no-such-charset")));
    CU_ASSERT_FALSE(charset_is_known(SLICE_LITERAL("ISO-8859-1//TRANSLIT")));
    CU_ASSERT_FALSE(charset_is_known(SLICE_LITERAL("a\0b")));
}

static void test_words(void)
{
    static const struct { const char *text, *want; } rows[] = {
        { "plain text", "plain text" }, { "=?utf-8?q?a_b=C3=A9?= c", "a b\xC3\xA9 c" },
        { "=?iso-8859-1?Q?=E9?= =?iso-8859-1?Q?=E8?=", "\xC3\xA9\xC3\xA8" }, { "=?utf-8?B?w6k=?=\r\n =?utf-8?B?w6g=?=", "\xC3\xA9\xC3\xA8" },
        { "=?utf-8?B?ww==?= =?utf-8?B?qQ==?=", "\xC3\xA9" }, { "a\r\n b", "a b" }, { "=?utf-8?q?a", "=?utf-8?q?a" },
        { "=?x-unknown?q?a?=", "=?x-unknown?q?a?=" }, { "=?utf-8*de?q?a?= =?iso-8859-1?q?b?=", "ab" }, { "=?utf-8?x?a?=", "=?utf-8?x?a?=" },
        { "(=?utf-8?q?a?=)", "(a)" }, { "", "" }, { "=?", "=?" },
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct buf got = { 0 };
        words_decode(slice_from_string(rows[i].text), &got);
        check_text(slice_from_string(buf_text(&got)), rows[i].want);
        buf_fini(&got);
    }
}

static void test_fold(void)
{
    static const struct { const char *text, *want; } rows[] = {
        { "ABC xyz [", "abc xyz [" }, { "\xC3\x84\xC3\x9F\xC3\x97", "\xC3\xA4\xC3\x9F\xC3\x97" }, { "\xD0\x90\xD0\xAF\xD0\x81", "\xD0\xB0\xD1\x8F\xD1\x91" },
        { "\xCE\xA3\xCF\x82", "\xCF\x83\xCF\x83" }, { "\xC5\xA0\xC5\xBD", "\xC5\xA1\xC5\xBE" }, { "\xE2\x82\xAC", "\xE2\x82\xAC" }, { "\xC3", "\xC3" },
    };
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct buf got = { 0 };
        text_fold(slice_from_string(rows[i].text), &got);
        check_text(buf_slice(&got), rows[i].want);
        buf_fini(&got);
    }
}

static void test_text_search(void)
{
    struct slice text = SLICE_LITERAL("aababaabac");
    for (size_t split = 0; split <= text.len; split++) {
        struct text_search found, missed;
        text_search_init(&found, SLICE_LITERAL("abac"));
        text_search_init(&missed, SLICE_LITERAL("abad"));
        text_search_feed(&found, slice_part(text, 0, split));
        CU_ASSERT(text_search_feed(&found, slice_from(text, split)));
        text_search_feed(&missed, slice_part(text, 0, split));
        CU_ASSERT_FALSE(text_search_feed(&missed, slice_from(text, split)));
        text_search_fini(&found);
        text_search_fini(&missed);
    }
    struct text_search empty;
    text_search_init(&empty, SLICE_LITERAL(""));
    CU_ASSERT(text_search_feed(&empty, SLICE_LITERAL("")));
    text_search_fini(&empty);
}

static const struct unit_test tests[] = {
    { "header fields", test_header_fields },
    { "header unfold", test_header_unfold },
    { "header dates", test_header_dates },
    { "addresses", test_addresses },
    { "addresses are capped", test_addresses_are_capped },
    { "parameters", test_parameters },
    { "content fields", test_content_fields },
    { "structure", test_structure },
    { "structure caps", test_structure_caps },
    { "structure long header", test_structure_long_header },
    { "transfer encodings", test_transfer },
    { "charsets", test_charset },
    { "encoded words", test_words },
    { "folding", test_fold },
    { "text search", test_text_search },
};

UNIT_MAIN("mime", tests)
