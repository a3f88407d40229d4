/* Unit tests of src/pop3: messages on their way out: line ends, dots, MIME fields, the login option n, and LIST's octets for each of them. */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "pop3_fake.h"
#include "probe.h"
#include "wire.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOGIN "USER joe\r\nPASS secret\r\n"
#define AS(options) "USER joe:" options "\r\nPASS secret\r\n"

static bool check_sent(const char *title, const char *expected)
{
    const char *sent = fake_sent();
    if (strcmp(sent, expected) == 0)
        return true;
    fprintf(stderr, "%s: got\n%s\ninstead of\n%s\n", title, sent, expected);
    return false;
}

static void test_big_message(void)
{
    static char big[1000000];
    static const char header[] = "Subject: big\n\n";
    memset(big, 'a', sizeof(big));
    memcpy(big, header, sizeof(header) - 1);
    for (size_t i = 100; i < sizeof(big); i += 70)
        big[i] = '\n';
    fake_start();
    fake_add(11, big, sizeof(big));
    fake_sent();
    fake_feed_text(LOGIN "LIST 4\r\n");
    const char *sent = fake_sent();
    unsigned long listed = 0;
    CU_ASSERT_EQUAL(sscanf(strstr(sent, "+OK 4 "), "+OK 4 %lu", &listed), 1);
    fake.steps = 0;
    fake_feed_text("RETR 4\r\nNOOP\r\n");
    CU_ASSERT(fake.steps >= 7 && fake.steps < 20);
    size_t first = strlen("+OK  octets\r\n") + strlen("1014300");
    CU_ASSERT_EQUAL(fake.sent.len, first + listed + strlen(".\r\n") + strlen("+OK\r\n"));
    CU_ASSERT(fake.sent.size < 4 * sizeof(big));
    fake_stop();
}

/* --- MIME fields and plain text ------------------------------------------------------------------------------------------------------- */

#define FIELDS(charset) \
    "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=" charset "\r\nContent-Transfer-Encoding: 8bit\r\n"

struct message_row {
    const char *title;
    const char *login;
    const char *stored;
    const char *sent;      /* before dots are doubled; what LIST must count */
};

static const struct message_row message_rows[] = {
    { "7-bit", LOGIN, "A: b\n\nhi\n", "A: b\r\n\r\nhi\r\n" },
    { "UTF-8 without MIME fields", LOGIN, "A: b\n\nh\xc3\xa4\n", "A: b\r\n" FIELDS("utf-8") "\r\nh\xc3\xa4\r\n" },
    { "UTF-8, option m", AS("m"), "A: b\r\n\r\nh\xc3\xa4", "A: b\r\n" FIELDS("utf-8") "\r\nh\xc3\xa4\r\n" },
    { "another charset", LOGIN, "A: b\n\nh\xe4\n", "A: b\r\n" FIELDS("unknown-8bit") "\r\nh\xe4\r\n" },
    { "cut UTF-8", LOGIN, "A: b\n\nh\xc3", "A: b\r\n" FIELDS("unknown-8bit") "\r\nh\xc3\r\n" },
    { "surrogate", LOGIN, "A: b\n\n\xed\xa0\x80\n", "A: b\r\n" FIELDS("unknown-8bit") "\r\n\xed\xa0\x80\r\n" },
    { "8-bit in the header only", LOGIN, "A: \xe4\n\nhi\n", "A: \xe4\r\n\r\nhi\r\n" },
    { "MIME fields are there", LOGIN, "mime-version: 1.0\n\n\xe4\n", "mime-version: 1.0\r\n\r\n\xe4\r\n" },
    { "Content-Type is there", LOGIN, "A: b\nContent-Type: text/plain\n\n\xe4\n",
      "A: b\r\nContent-Type: text/plain\r\n\r\n\xe4\r\n" },
    { "no header", LOGIN, "\n\xe4\n", FIELDS("unknown-8bit") "\r\n\xe4\r\n" },
    { "header only, open", LOGIN, "A: b", "A: b\r\n" },
    { "empty", LOGIN, "", "" },
    { "lone CR", LOGIN, "A: b\n\rc\n\n\rx\r\r\n", "A: b\r\n\rc\r\n\r\n\rx\r\r\n" },
    { "plain: nothing to take away", AS("n"), "A: b\n\nhi\n", "A: b\r\n\r\nhi\r\n" },
    { "plain: quoted-printable", AS("n"),
      "A: b\nMIME-Version: 1.0\nContent-Type: text/plain;\n charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\nZ: y\n\n"
      "h=E4=\nllo\n.x\n",
      "A: b\r\nZ: y\r\n\r\nh\xc3\xa4llo\r\n.x\r\n" },
    { "plain: first text of a multipart", AS("n"),
      "A: b\nContent-Type: multipart/mixed; boundary=x\n\npreamble\n--x\nContent-Type: image/png\n\nPNG\n--x\n"
      "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\naGkK\n--x\n\nsecond\n--x--\n",
      "A: b\r\n\r\nhi\r\n" },
    { "plain: no text", AS("n"), "A: b\nContent-Type: image/png\n\nPNG\n", "A: b\r\n\r\n(This message has no text part.)\r\n" },
};

static void dot_stuff(const char *text, struct buf *out)
{
    bool start = true;
    for (; *text != '\0'; text++) {
        if (start && *text == '.')
            buf_append_byte(out, '.');
        buf_append_byte(out, *text);
        start = *text == '\n';
    }
}

static void test_messages(void)
{
    for (size_t i = 0; i < COUNT(message_rows); i++) {
        const struct message_row *row = &message_rows[i];
        struct buf expected = { 0 };
        size_t len = strlen(row->sent);
        fake_start();
        fake_add(20, row->stored, strlen(row->stored));
        fake_feed_text(row->login);
        fake_sent();
        fake_feed_text("LIST 4\r\nRETR 4\r\nQUIT\r\n");
        buf_printf(&expected, "+OK 4 %zu\r\n+OK %zu octets\r\n", len, len);
        dot_stuff(row->sent, &expected);
        buf_append_text(&expected, ".\r\n+OK Bye.\r\n");
        CU_ASSERT(check_sent(row->title, buf_text(&expected)));
        buf_fini(&expected);
        fake_stop();
    }
}

/* Pieces of every size give the same. */
static void test_pieces(void)
{
    static const char stored[] = "A: b\r\n.c: \rd\n\r\n.\r\n..\n\nh\xc3\xa4\n\r.\n.";
    static const char whole[] = "A: b\r\n..c: \rd\r\nF: x\r\n\r\n..\r\n...\r\n\r\nh\xc3\xa4\r\n\r.\r\n..\r\n.\r\n";
    size_t len = sizeof(stored) - 1;
    for (size_t a = 0; a <= len; a++)
        for (size_t b = a; b <= len; b++) {
            struct wire wire = { .fields = "F: x\r\n" };
            struct probe probe = { 0 };
            struct buf out = { 0 };
            size_t cuts[] = { 0, a, b, len };
            for (size_t i = 0; i < 3; i++) {
                struct slice piece = { stored + cuts[i], cuts[i + 1] - cuts[i] };
                wire_write(&wire, piece, &out);
                probe_write(&probe, piece);
            }
            wire_end(&wire, &out);
            if (!slice_is(buf_slice(&out), whole)) {
                fprintf(stderr, "pieces %zu %zu:\n%.*s\n", a, b, SLICE_ARG(buf_slice(&out)));
                CU_FAIL("pieces");
            }
            CU_ASSERT_EQUAL(probe_end(&probe, '.'), PROBE_KNOWN | PROBE_OPEN_END | PROBE_UTF8);
            buf_fini(&out);
        }
}

static const struct unit_test tests[] = {
    { "big message", test_big_message },
    { "messages", test_messages },
    { "pieces", test_pieces },
};

UNIT_MAIN("pop3_messages", tests)
