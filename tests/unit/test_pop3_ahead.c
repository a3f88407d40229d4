/* Unit tests of RETR and TOP over a Post Office Agent, and of what is asked for ahead of the client. */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "pop3_poa.h"
#include "postern/base/clock.h"
#include "postern/store/uidset.h"

enum { WINDOW = 256 * 1024 };    /* octets that may be under way and not wanted yet */

/* Time stands still but where a test moves it. */
static uint64_t now_ms = 1000;

uint64_t clock_monotonic_ms(void)
{
    return now_ms;
}

uint64_t clock_monotonic_us(void)
{
    return now_ms * 1000;
}

struct timespec clock_wall(void)
{
    return (struct timespec){ .tv_sec = 1800000000 };
}

static const struct row rows[] = {
    { "retrieved in turn", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n",
      LOGGED "+OK 29 octets\r\n" ONE_SENT "+OK 22 octets\r\n" TWO "\r\n.\r\n+OK 24 octets\r\na \"b\\\r\n.\r\n" BYE,
      { { "UID STORE 5,7 +FLAGS.SILENT (\\Seen)", "~ NO [READ-ONLY] x\r\n" } } },
    { "not in turn", "UIDPLUS", LOGIN "RETR 1\r\nRETR 3\r\nTOP 1 0\r\nTOP 1 1\r\nTOP 1 9\r\nRETR 9\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT
      "+OK 24 octets\r\na \"b\\\r\n.\r\n+OK\r\nSubject: one\r\n\r\n.\r\n+OK\r\nSubject: one\r\n\r\nHello\r\n.\r\n+OK\r\n" ONE_SENT
      "-ERR There is no such message.\r\n", { { 0 } } },
    { "removed by others", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED "-ERR The message was removed by somebody else.\r\n+OK\r\n",
      { { FETCH(9), "* 3 EXPUNGE\r\n~ OK x\r\n" } } },
    { "not readable", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n+OK\r\n",
      { { FETCH(9), "~ NO x\r\n" } } },
    { "another message", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED LOST, { { FETCH(9), "* 3 FETCH (UID 8 BODY[] {1}\r\nx)\r\n~ OK x\r\n" } } },
    { "another message, said late", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED "+OK 24 octets\r\nx",
      { { FETCH(9), "* 3 FETCH (BODY[] {1}\r\nx UID 8)\r\n~ OK x\r\n" } } },
    { "twice", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED "+OK 24 octets\r\nx",
      { { FETCH(9), "* 3 FETCH (UID 9 BODY[] {1}\r\nx)\r\n* 3 FETCH (UID 9 BODY[] {1}\r\nx)\r\n~ OK x\r\n" } } },
    { "lost within a message", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED "+OK 24 octets\r\nxy",
      { { FETCH(9), "* 3 FETCH (UID 9 BODY[] {24}\r\nxy" } } },
    { "NO within a message", "UIDPLUS", LOGIN "RETR 3\r\nNOOP\r\n", LOGGED "+OK 24 octets\r\nxy",
      { { FETCH(9), "* 3 FETCH (UID 9 BODY[] {2}\r\nxy)\r\n~ NO x\r\n" } } },
    { "ahead, not in turn", "UIDPLUS", LOGIN "RETR 1\r\nRETR 3\r\nRETR 2\r\n", LOGGED ONE_GOT THREE_GOT TWO_GOT, { { FETCH(7,9), AHEAD_7 AHEAD_9 "~ OK\r\n" } } },
    { "ahead, sent in another order", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\n", LOGGED ONE_GOT TWO_GOT THREE_GOT,
      { { FETCH(7,9), AHEAD_9 AHEAD_7 "~ OK\r\n" }, { FETCH(9), AHEAD_9 "~ OK\r\n" } } },
    { "ahead, and one was removed", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\n",
      LOGGED ONE_GOT "-ERR The message was removed by somebody else.\r\n" THREE_GOT,
      { { FETCH(7,9), AHEAD_9 "~ OK\r\n" }, { FETCH(7), "~ OK\r\n" }, { FETCH(9), AHEAD_9 "~ OK\r\n" } } },
    { "ahead, and one cannot be read", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\n",
      LOGGED ONE_GOT TWO_GOT "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n",
      { { FETCH(7,9), AHEAD_7 "~ NO x\r\n" }, { FETCH(9), "~ NO\r\n" } } },
    { "ahead, with the UIDs behind the messages", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 1\r\nRETR 2\r\n",
      LOGGED ONE_GOT TWO_GOT THREE_GOT ONE_GOT TWO_GOT,
      { { FETCH(7,9), "* 2 FETCH (BODY[] {1}\r\nx UID 7)\r\n* 3 FETCH (BODY[] NIL UID 9)\r\n~ OK\r\n" },
        { FETCH(7), "* 2 FETCH (BODY[] {22}\r\n" TWO " UID 7)\r\n~ OK\r\n" }, { FETCH(9), "* 3 FETCH (BODY[] \"a \\\"b\\\\\" UID 9)\r\n~ OK\r\n" },
        { FETCH(5), "* 1 FETCH (BODY[] {29}\r\n" ONE " UID 5)\r\n~ OK\r\n" }, { FETCH(7), "* 2 FETCH (BODY[] {22}\r\n" TWO " UID 7)\r\n~ OK\r\n" } } },
    { "ahead, not what is deleted", "UIDPLUS", LOGIN "DELE 2\r\nRETR 1\r\nRETR 3\r\n", LOGGED "+OK Deleted.\r\n" ONE_GOT THREE_GOT,
      { { FETCH(9), AHEAD_9 "~ OK\r\n" } } },
    { "ahead, and deleted then", "UIDPLUS", LOGIN "RETR 1\r\nDELE 2\r\nTOP 1 0\r\nRETR 3\r\n",
      LOGGED ONE_GOT "+OK Deleted.\r\n+OK\r\nSubject: one\r\n\r\n.\r\n" THREE_GOT, { { FETCH(7,9), AHEAD_7 AHEAD_9 "~ OK\r\n" } } },
    { "ahead, and TOP of one of them", "UIDPLUS", LOGIN "RETR 1\r\nTOP 2 0\r\nRETR 2\r\n",
      LOGGED ONE_GOT "+OK\r\nSubject: two\r\n\r\n.\r\n" TWO_GOT,
      { { FETCH(7,9), AHEAD_7 AHEAD_9 "~ OK\r\n" }, { "UID FETCH 7 (UID BODY.PEEK[]<0.65536>)", "* 2 FETCH (UID 7 BODY[]<0> {22}\r\n" TWO ")\r\n~ OK\r\n" } } },
    { "ahead, option s", "UIDPLUS", LOGIN_AS("joe:s") "RETR 1\r\nRETR 2\r\nRETR 3\r\n", LOGGED "+OK\r\n" ONE_SENT "+OK\r\n" TWO "\r\n.\r\n+OK\r\na \"b\\\r\n.\r\n",
      { { "UID FETCH 1:* (UID FLAGS)", "* 1 FETCH (UID 5 FLAGS ())\r\n* 2 FETCH (UID 7 FLAGS ())\r\n* 3 FETCH (UID 9 FLAGS ())\r\n~ OK\r\n" },
        { FETCH(7), AHEAD_7 "~ OK\r\n" }, { FETCH(9), AHEAD_9 "~ OK\r\n" } } },
    { "ahead, not what is hidden", "METADATA", LOGIN_AS("joe:v=1") "RETR 1\r\nRETR 2\r\n", LOGGED ONE_GOT THREE_GOT,
      { { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 7\")\r\n~ OK\r\n" }, { FETCH(9), AHEAD_9 "~ OK\r\n" } } },
    { "ahead, lost within a message", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nNOOP\r\n", LOGGED ONE_GOT "+OK 22 octets\r\nSubject: two\r\n\r\nno",
      { { FETCH(7,9), "* 2 FETCH (UID 7 BODY[] {22}\r\nSubject: two\r\n\r\nno" } } },
    { "ahead, lost behind a message", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\n", LOGGED ONE_GOT TWO_GOT LOST, { { FETCH(7,9), AHEAD_7 } } },
    { "ahead, one that was not asked for", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\n", LOGGED ONE_GOT LOST,
      { { FETCH(7,9), "* 2 FETCH (UID 6 BODY[] {1}\r\nx)\r\n" } } },
    { "ahead, twice the same", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\n", LOGGED ONE_GOT TWO_GOT LOST,
      { { FETCH(7,9), AHEAD_7 "* 2 FETCH (UID 7 BODY[] {1}\r\nx)\r\n" } } },
    { "another UIDVALIDITY", "UIDPLUS", LOGIN "RETR 3\r\n", LOGGED LOST, { { FETCH(9), "* OK [UIDVALIDITY 5] x\r\n~ OK\r\n" } } },
};

static void test_rows(void)
{
    poa_try_rows(rows, COUNT(rows));
}

/* TOP asks for more as long as there is more and the lines are not there. */
static void test_big_top(void)
{
    poa_log_in();
    fake_feed_text("TOP 1 70000\r\n");
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p3 UID FETCH 5 (UID BODY.PEEK[]<0.65536>)\r\n"));
    buf_clear(&remote.out);
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[]<0> {65536}\r\na: b\r\n\r\n");
    for (int i = 0; i < 65528; i++)
        buf_append_byte(&speech, i % 2 ? '\n' : '.');
    buf_append_text(&speech, ")\r\np3 OK\r\n");
    while (speech.len != 0)
        poa_say(10000);
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p4 UID FETCH 5 (UID BODY.PEEK[]<65536.65536>)\r\n"));
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[]<65536> {3}\r\nend)\r\np4 OK\r\n");
    poa_say(speech.len);
    struct slice sent = buf_slice(&fake.sent);
    CU_ASSERT(slice_starts_with(sent, "+OK\r\na: b\r\n\r\n..\r\n") && slice_ends_with(sent, "..\r\nend\r\n.\r\n"));
    CU_ASSERT_EQUAL(sent.len, 5 + 8 + 65528 / 2 * 4 + 5 + 3);
    CU_ASSERT(!fake.closed);
    poa_end();
}

/* What the client has not asked for stays unread; and nothing is read for a client that does not read. */
static void test_backpressure(void)
{
    poa_log_in();
    fake_feed_text("RETR 1\r\n");
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p3 " FETCH(5) "\r\n"));
    poa_answer(&poa_plain_row);
    poa_say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), ONE_GOT);
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p4 " FETCH(7,9) "\r\n"));
    poa_answer(&poa_plain_row);
    poa_say(speech.len);
    CU_ASSERT(remote.in.len > sizeof(TWO) + sizeof(AHEAD_9) && fake.wakes == 1);
    fake.session.out_full = true;
    fake_feed_text("RETR 2\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), "");
    fake.session.out_full = false;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), TWO_GOT);
    CU_ASSERT(remote.in.len >= sizeof("~ OK x"));
    fake_feed_text("RETR 3\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), THREE_GOT);
    CU_ASSERT_EQUAL(remote.in.len, 0);
    poa_end();
}

/* A POA that dies of one message, say, does not take those with it that came before. */
static void test_last_words(void)
{
    poa_log_in();
    fake_feed_text("RETR 1\r\n");
    poa_answer(&poa_plain_row);
    poa_say(speech.len);
    buf_append_text(&speech, AHEAD_7 "* 3 FETCH (UID 9 BODY[] {24}\r\nSub");
    poa_say(speech.len);
    remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), ONE_GOT);
    fake_feed_text("DELE 1\r\nRETR 2\r\nNOOP\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK Deleted.\r\n" TWO_GOT "+OK\r\n");
    fake_feed_text("RETR 3\r\n");
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 24 octets\r\nSub");
    poa_end();
}

/* A client that pauses for long finds nothing under way: what the POA has sent has passed, and only its end is waited for. */
static void test_pause(void)
{
    poa_log_in();
    fake_feed_text("RETR 1\r\n");
    for (int i = 0; i < 2; i++) {
        poa_answer(&poa_plain_row);
        poa_say(speech.len);
    }
    CU_ASSERT_STRING_EQUAL(fake_sent(), ONE_GOT);
    now_ms += 59 * 1000;
    fake_feed_text("NOOP\r\n");
    CU_ASSERT(remote.in.len != 0);
    now_ms += 1000;
    fake_run();
    CU_ASSERT(remote.in.len == 0 && remote.out.len == 0 && !fake.closed);
    fake_feed_text("RETR 2\r\n");
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p5 " FETCH(7) "\r\n"));
    poa_answer(&poa_plain_row);
    poa_say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK\r\n" TWO_GOT);
    poa_end();
}

/* A POA that says nothing while the client waits is lost; but not because the client itself did not read. */
static void test_silence(void)
{
    poa_log_in();
    now_ms += 1000 * 1000;
    fake_feed_text("RETR 1\r\n");
    fake_run();
    CU_ASSERT(!fake.closed);
    buf_clear(&remote.out);
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE);
    poa_say(40);
    now_ms += 65 * 1000;
    poa_say(5);
    now_ms += 59 * 1000;
    fake_run();
    CU_ASSERT(!fake.closed);
    now_ms += 2 * 1000;
    fake_run();
    CU_ASSERT(!fake.closed);
    now_ms += 9 * 1000;
    fake_run();
    CU_ASSERT(!fake.closed);
    now_ms += 2 * 1000;
    fake_run();
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 29 octets\r\nSubject: one\r\n");
    poa_end();
}

/* --- many messages ------------------------------------------------------------------------------------------------------------------ */

/* A POA with messages of these octets, UIDs 1 to count. */
static void log_in_to_many(const unsigned *sizes, unsigned count)
{
    poa_begin("UIDPLUS");
    fake_feed_text(LOGIN);
    buf_clear(&remote.out);
    buf_append_text(&speech, "* OK [UIDVALIDITY 1]\r\np1 OK\r\n");
    for (unsigned i = 0; i < count; i++)
        buf_printf(&speech, "* %u FETCH (UID %u FLAGS () RFC822.SIZE %u)\r\n", i + 1, i + 1, sizes[i]);
    buf_append_text(&speech, "p2 OK\r\n");
    poa_say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
}

static void speak_message(unsigned uid, unsigned size)
{
    buf_printf(&speech, "* %u FETCH (UID %u BODY[] {%u}\r\n", uid, uid, size);
    for (unsigned i = 0; i < size; i++)
        buf_append_byte(&speech, i % 64 == 63 ? '\n' : 'x');
    buf_append_text(&speech, ")\r\n");
}

/* The messages of a FETCH are put into speech; how many octets they have. */
static uint64_t answer_fetch(struct slice line, const unsigned *sizes)
{
    struct uidset uids = { 0 };
    struct slice tag, word;
    uint64_t octets = 0;
    CU_ASSERT_FATAL(slice_split(&line, ' ', &tag) && slice_starts_with(line, "UID FETCH "));
    line = slice_from(line, 10);
    CU_ASSERT_FATAL(slice_split(&line, ' ', &word) && uidset_parse(word, &uids) && slice_starts_with(line, "(UID BODY.PEEK[]"));
    for (size_t i = 0; i < uids.count; i++)
        for (uint32_t uid = uids.ranges[i].first; uid <= uids.ranges[i].last; uid++) {
            speak_message(uid, sizes[uid - 1]);
            octets += sizes[uid - 1];
        }
    buf_printf(&speech, "%.*s OK\r\n", SLICE_ARG(tag));
    uidset_fini(&uids);
    return octets;
}

/* Asks for something and has the answer; the octets that the POA was asked for. */
static uint64_t ask(const char *word, unsigned number, const char *rest_of_it, const unsigned *sizes, unsigned *commands)
{
    char command[32];
    uint64_t octets = 0;
    snprintf(command, sizeof(command), "%s %u%s\r\n", word, number, rest_of_it);
    fake_feed_text(command);
    for (int rounds = 0; fake.sent.len == 0 || !slice_ends_with(buf_slice(&fake.sent), "\r\n.\r\n"); rounds++) {
        struct slice rest = buf_slice(&remote.out), line;
        CU_ASSERT_FATAL(rounds < 10000 && !fake.closed);
        for (; rest.len != 0 && slice_split(&rest, '\n', &line); ++*commands)
            octets += answer_fetch(line, sizes);
        buf_clear(&remote.out);
        poa_say(remote.in.len < 60000 ? 5000 : 0);
    }
    fake_sent();
    return octets;
}

/* A client that looks at each message first has no use for what is asked for ahead of it. */
static void test_tops(void)
{
    enum { SOME = 100, SIZE = 2000 };
    static unsigned sizes[SOME];
    uint64_t octets = 0;
    unsigned commands = 0;
    for (unsigned i = 0; i < SOME; i++)
        sizes[i] = SIZE;
    log_in_to_many(sizes, SOME);
    for (unsigned i = 0; i < SOME; i++)
        octets += ask("TOP", i + 1, " 0", sizes, &commands) + ask("RETR", i + 1, "", sizes, &commands);
    CU_ASSERT(octets >= 2 * SOME * SIZE && octets <= (3 * SOME + 10) * SIZE);
    poa_end();
}

struct asked {
    unsigned commands;
    unsigned pauses;        /* times that the client found nothing that the POA had been asked for and had sent before */
    uint64_t most_ahead;    /* octets asked for and not wanted yet */
};

/* A client that takes them in turn; the POA sends what is asked for in pieces. */
static struct asked retrieve_all(const unsigned *sizes, unsigned count)
{
    struct asked asked = { 0 };
    uint64_t given = 0, wanted = 0;
    for (unsigned i = 0; i < count; i++) {
        asked.pauses += given <= wanted;
        wanted += sizes[i];
        given += ask("RETR", i + 1, "", sizes, &asked.commands);
        asked.most_ahead = given > wanted && given - wanted > asked.most_ahead ? given - wanted : asked.most_ahead;
    }
    return asked;
}

/* Few commands, and never more under way than one session may hold. */
static void test_many_ahead(void)
{
    enum { MANY = 1000 };
    static unsigned small[MANY], mixed[MANY];
    for (unsigned i = 0; i < MANY; i++) {
        small[i] = 2000;
        mixed[i] = i % 100 == 50 ? 300 * 1024 : i % 7 * 3000 + 1;
    }
    log_in_to_many(small, MANY);
    struct asked asked = retrieve_all(small, MANY);
    CU_ASSERT(asked.commands <= MANY / 40 && asked.pauses <= 2);
    CU_ASSERT(asked.most_ahead <= WINDOW && asked.most_ahead > WINDOW / 2);
    poa_end();
    log_in_to_many(mixed, MANY);
    asked = retrieve_all(mixed, MANY);
    CU_ASSERT(asked.commands <= MANY / 5 && asked.pauses <= MANY / 30);
    CU_ASSERT(asked.most_ahead <= 300 * 1024);
    poa_end();
}

static const struct unit_test tests[] = {
    { "conversations", test_rows },
    { "a big TOP", test_big_top },
    { "backpressure", test_backpressure },
    { "last words", test_last_words },
    { "a pause", test_pause },
    { "silence", test_silence },
    { "many messages ahead", test_many_ahead },
    { "TOP before each RETR", test_tops },
};

UNIT_MAIN("pop3_ahead", tests)
