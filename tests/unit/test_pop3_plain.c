/* Unit tests of the login option n over a Post Office Agent: sizes and texts are those that the direct way gives. */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "pop3_poa.h"

#define MIME "Subject: m\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\nno\r\n" \
    "--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nAAAA\r\n" \
    "--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n.gr=FCn=\r\n!\r\n--b--\r\nno\r\n"    /* 275 */
#define MIME_SENT "Subject: m\r\n\r\n..gr\303\274n!\r\n.\r\n"
#define MIME_BODY "* 1 FETCH (UID 5 BODY[] {275}\r\n" MIME ")\r\n"
#define NONE "Subject: n\r\nContent-Type: image/png\r\nMime-Version: 1\r\n\r\nx"    /* 57 */
#define NONE_SENT "Subject: n\r\n\r\n(This message has no text part.)\r\n.\r\n"

static const struct row rows[] = {
    { "sizes and texts", "UIDPLUS", LOGIN_AS("joe:n") "LIST\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n",
      LOGGED "+OK 3 messages (62 octets)\r\n1 29\r\n2 24\r\n3 9\r\n.\r\n" ONE_GOT "+OK 24 octets\r\n" TWO "\r\n.\r\n+OK 9 octets\r\na \"b\\\r\n\r\n.\r\n" BYE,
      { { FETCH(5), "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE ")\r\n~ OK x\r\n" }, { FETCH(7,9), AHEAD_7 AHEAD_9 "~ OK\r\n" },
        { FETCH(5), "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE ")\r\n~ OK x\r\n" }, { FETCH(7,9), AHEAD_7 AHEAD_9 "~ OK\r\n" },
        { "UID STORE 5,7 +FLAGS.SILENT (\\Seen)", "~ OK x\r\n" } } },
    { "parts", "UIDPLUS", LOGIN_AS("joe:nl=2") "LIST\r\nTOP 1 0\r\nRETR 1\r\nRETR 2\r\n",
      LOGGED "+OK 2 messages (71 octets)\r\n1 23\r\n2 48\r\n.\r\n+OK\r\nSubject: m\r\n\r\n.\r\n+OK 23 octets\r\n" MIME_SENT "+OK 48 octets\r\n" NONE_SENT,
      { { LIST, "* 1 FETCH (UID 4 FLAGS () RFC822.SIZE 9)\r\n* 2 FETCH (UID 5 FLAGS () RFC822.SIZE 275)\r\n* 3 FETCH (UID 6 FLAGS () RFC822.SIZE 57)\r\n~ OK\r\n" },
        { FETCH(5), MIME_BODY "~ OK x\r\n" }, { FETCH(6), "* 2 FETCH (UID 6 BODY[] {57}\r\n" NONE ")\r\n~ OK x\r\n" },
        { FETCH(5), MIME_BODY "~ OK x\r\n" }, { FETCH(5), MIME_BODY "~ OK x\r\n" },
        { FETCH(6), "* 2 FETCH (UID 6 BODY[] {57}\r\n" NONE ")\r\n~ OK x\r\n" } } },
    { "option s", "UIDPLUS", LOGIN_AS("joe:ns") "STAT\r\nRETR 1\r\nQUIT\r\n", LOGGED "+OK 1 1024\r\n+OK\r\n" MIME_SENT BYE,
      { { "UID FETCH 1:* (UID FLAGS)", "* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n~ OK\r\n" }, { FETCH(5), MIME_BODY "~ OK x\r\n" } } },
    { "option v", "METADATA", LOGIN_AS("joe:v=1n") "LIST\r\n", LOGGED "+OK 1 messages (24 octets)\r\n1 24\r\n.\r\n",
      { { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 5,9\")\r\n~ OK\r\n" }, { FETCH(7), AHEAD_7 "~ OK\r\n" } } },
    { "removed, and not readable", "UIDPLUS", LOGIN_AS("joe:n") "LIST\r\nRETR 1\r\nRETR 3\r\n",
      LOGGED "+OK 3 messages (24 octets)\r\n1 0\r\n2 24\r\n3 0\r\n.\r\n-ERR The message was removed by somebody else.\r\n"
      "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n",
      { { FETCH(5), "~ OK\r\n" }, { FETCH(7), AHEAD_7 "~ OK\r\n" }, { FETCH(9), "~ NO x\r\n" }, { FETCH(9), "~ NO x\r\n" }, { FETCH(5), "~ OK\r\n" }, { FETCH(9), AHEAD_9 "~ NO x\r\n" } } },
    { "lost while it measures", "UIDPLUS", LOGIN_AS("joe:n"), ASKED LOST, { { FETCH(5), "* 1 FETCH (UID 5 BODY[] {29}\r\nSub" } } },
    { "lost within a message", "UIDPLUS", LOGIN_AS("joe:nl=1") "RETR 1\r\n", LOGGED LOST,
      { { FETCH(9), AHEAD_9 "~ OK\r\n" }, { FETCH(9), "* 3 FETCH (UID 9 BODY[] {24}\r\nSubj" } } },
    { "empty", "UIDPLUS", LOGIN_AS("joe:n") "STAT\r\n", LOGGED "+OK 0 0\r\n",
      { { "SELECT INBOX", "* 0 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n~ OK\r\n" }, { LIST, "~ BAD no messages\r\n" } } },
};

static void test_rows(void)
{
    poa_try_rows(rows, COUNT(rows));
}

static void test_class_of_service(void)
{
    poa_begin("UIDPLUS");
    fake.user.pop3.plain = true;
    fake_feed_text(LOGIN "STAT\r\n");
    poa_talk(&poa_plain_row);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED "+OK 3 62\r\n");
    poa_end();
}

static void test_lost_and_direct(void)
{
    poa_begin("UIDPLUS");
    remote.direct_too = fake.uncompared = true;
    fake_feed_text(LOGIN_AS("joe:n") "STAT\r\nRETR 1\r\n");
    poa_answer(&rows[5]);
    poa_say(speech.len);
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p3 " FETCH(5) "\r\n"));
    poa_answer(&rows[5]);
    poa_say(speech.len);
    fake.uncompared = false;
    remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED "+OK 3 77\r\n" ONE_GOT);
    CU_ASSERT(fake.session.fallback);
    poa_end();
}

/* --- big messages ----------------------------------------------------------------------------------------------------------------------- */

enum { KEPT = 256 * 1024, LINES = 2000, LINE = 50, TEXT = LINES * LINE, PART = 65536 };

#define BIG_HEADER "Subject: big\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
#define BIG_IMAGE "--b\r\nContent-Type: image/png\r\n\r\n"

static void write_image(struct buf *message)
{
    buf_append_text(message, BIG_IMAGE);
    for (size_t i = 0; i < KEPT; i++)
        buf_append_byte(message, i % 70 == 69 ? '\n' : 'x');
    buf_append_text(message, "\r\n");
}

/* LINES lines of LINE octets; where it begins. */
static size_t write_text(struct buf *message)
{
    buf_append_text(message, "--b\r\n\r\n");
    size_t at = message->len;
    for (int i = 0; i < LINES; i++)
        buf_printf(message, "%*d\r\n", LINE - 2, i);
    buf_append_text(message, "\r\n");
    return at;
}

static void log_in_to_one(const struct buf *message)
{
    poa_begin("UIDPLUS");
    fake_feed_text(LOGIN_AS("joe:n"));
    buf_clear(&remote.out);
    buf_printf(&speech, "* OK [UIDVALIDITY 1]\r\np1 OK\r\n* 1 FETCH (UID 1 FLAGS () RFC822.SIZE %zu)\r\np2 OK\r\n", message->len);
    poa_say(speech.len);
}

/* It was asked for that piece of it, and says so many octets of it. */
static void give_less(const struct buf *message, unsigned tag, size_t from, size_t len, size_t given)
{
    char text[160], part[64] = "";
    if (len != message->len)
        snprintf(part, sizeof(part), "<%zu.%zu>", from, len);
    snprintf(text, sizeof(text), "p%u UID FETCH 1 (UID BODY.PEEK[]%s)\r\n", tag, part);
    CU_ASSERT(slice_is(buf_slice(&remote.out), text));
    buf_clear(&remote.out);
    buf_printf(&speech, "* 1 FETCH (UID 1 BODY[] {%zu}\r\n", given);
    buf_append(&speech, slice_part(buf_slice(message), from, given));
    buf_printf(&speech, ")\r\np%u OK\r\n", tag);
    while (speech.len != 0 && !fake.closed)
        poa_say(10000);
}

static void give(const struct buf *message, unsigned tag, size_t from, size_t len)
{
    give_less(message, tag, from, len, len);
}

static void give_whole(const struct buf *message, unsigned tag)
{
    give(message, tag, 0, KEPT);
    give(message, tag + 1, 0, message->len);
}

/* A text behind what is kept is asked for in parts, of TOP no more than it needs; a part that is too short is no end. */
static void test_text_behind(void)
{
    struct buf message = { 0 };
    buf_append_text(&message, BIG_HEADER);
    write_image(&message);
    size_t at = write_text(&message);
    buf_append_text(&message, "--b--\r\n");
    log_in_to_one(&message);
    give_whole(&message, 3);
    give(&message, 5, at, PART);
    give(&message, 6, at + PART, TEXT - PART);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
    fake_feed_text("STAT\r\nRETR 1\r\n");
    give_whole(&message, 7);
    give(&message, 9, at, PART);
    give(&message, 10, at + PART, TEXT - PART);
    struct slice sent = buf_slice(&fake.sent);
    CU_ASSERT(slice_starts_with(sent, "+OK 1 100016\r\n+OK 100016 octets\r\nSubject: big\r\n\r\n        ") && slice_ends_with(sent, " 1999\r\n.\r\n"));
    CU_ASSERT_EQUAL(sent.len, 14 + 19 + 16 + TEXT + 3);
    buf_clear(&fake.sent);
    fake_feed_text("TOP 1 1\r\nRETR 1\r\n");
    give_whole(&message, 11);
    give(&message, 13, at, PART);
    sent = buf_slice(&fake.sent);
    CU_ASSERT(slice_ends_with(sent, " 0\r\n.\r\n") && sent.len == 5 + 16 + LINE + 3);
    buf_clear(&fake.sent);
    give_whole(&message, 14);
    give_less(&message, 16, at, PART, 100);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    CU_ASSERT_EQUAL(fake.sent.len, 19 + 16 + 100);
    poa_end();
    buf_fini(&message);
}

/* A text that ends within the beginning is all that is asked for; one that may not have ended there is not. */
static void test_text_before(void)
{
    struct buf message = { 0 };
    buf_append_text(&message, BIG_HEADER);
    write_text(&message);
    write_image(&message);
    buf_append_text(&message, "--b--\r\n");
    log_in_to_one(&message);
    give(&message, 3, 0, KEPT);
    fake_feed_text("RETR 1\r\n");
    give(&message, 4, 0, KEPT);
    struct slice sent = buf_slice(&fake.sent);
    CU_ASSERT(slice_ends_with(sent, " 1999\r\n.\r\n"));
    CU_ASSERT_EQUAL(sent.len, strlen(LOGGED) + 19 + 16 + TEXT + 3);
    CU_ASSERT(remote.out.len == 0 && !fake.closed);
    poa_end();
    buf_clear(&message);
    buf_append_text(&message, "Subject: all\r\n\r\n");
    while (message.len < KEPT + 4)
        buf_append_text(&message, "text\r\n");
    log_in_to_one(&message);
    give_whole(&message, 3);
    CU_ASSERT(!slice_is(buf_slice(&fake.sent), LOGGED));    /* and the rest of it */
    CU_ASSERT(slice_starts_with(buf_slice(&remote.out), "p5 UID FETCH 1 (UID BODY.PEEK[]<16.65536>)"));
    poa_end();
    buf_fini(&message);
}

static const struct unit_test tests[] = {
    { "conversations", test_rows },
    { "a class of service", test_class_of_service },
    { "lost while it measures, and directly on", test_lost_and_direct },
    { "a text behind what is kept", test_text_behind },
    { "a text in the beginning", test_text_before },
};

UNIT_MAIN("pop3_plain", tests)
