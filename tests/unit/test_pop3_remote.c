/* Unit tests of POP3 over a Post Office Agent: the client and the POA are both the test; what the POA says is split at every octet. */
#include "run.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "pop3_fake.h"
#include "postern/base/memory.h"
#include "postern/pop3/pop3.h"
#include "remote_reader.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOGIN "USER joe\r\nPASS secret\r\n"
#define LOGIN_AS(name) "USER " name "\r\nPASS secret\r\n"
#define ASKED "+OK Send your password.\r\n"
#define LOGGED ASKED "+OK Logged in.\r\n"
#define BYE "+OK Bye.\r\n"
#define NOT_REMOVED "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n"
#define LOST "-ERR [SYS/TEMP] The mailbox is not reachable at the moment.\r\n"
#define NOT_OPENED "-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n"
#define ONE "Subject: one\r\n\r\nHello\r\n.dot\r\n"      /* 29 */
#define ONE_SENT "Subject: one\r\n\r\nHello\r\n..dot\r\n.\r\n"
#define TWO "Subject: two\r\n\r\nno end"                 /* 22 */

/* What the POA answers to a command (its tag is ~), and how often that must be asked. NULL reply: nothing, and it is lost. */
struct rule {
    const char *command;
    const char *reply;
};

enum { RULES = 10 };

struct row {
    const char *title;
    const char *capability;
    const char *in;
    const char *out;
    struct rule rules[RULES];    /* before the common ones; each must be asked exactly once, in this order */
};

#define SELECTED "* FLAGS (\\Seen)\r\n* 3 EXISTS\r\n* OK [UNSEEN 1] {5}\r\n* OK [UIDVALIDITY 1795417200] x\r\n~ OK [READ-WRITE] x\r\n"
#define SELECTED_AS(tag) "* 3 EXISTS\r\n* OK [UIDVALIDITY 1795417200] x\r\n" tag " OK\r\n"
#define LISTED_AS(tag) "* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 29)\r\n* 2 FETCH (UID 7 FLAGS () RFC822.SIZE 22)\r\n" tag " OK\r\n"
#define LIST "UID FETCH 1:* (UID FLAGS RFC822.SIZE)"
#define VIEW(n) "/private/vendor/postern/pop3-view-" #n
#define GET(n) "GETMETADATA INBOX " VIEW(n)
#define SET(n, uids) "SETMETADATA INBOX (" VIEW(n) " \"1 V1795417200 " uids "\")"
#define FETCH(uid) "UID FETCH " #uid " (UID BODY.PEEK[])"

static const struct rule common[] = {
    { "SELECT INBOX", SELECTED },
    { LIST, "* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 29)\r\n* 3 FETCH (FLAGS (\\Answered \\Seen) RFC822.SIZE 24 UID 9)\r\n"
            "* 2 FETCH (UID 7 RFC822.SIZE 22 FLAGS (x))\r\n* 2 FETCH (FLAGS (\\Seen) UID 7)\r\n~ OK x\r\n" },
    { FETCH(5), "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE ")\r\n~ OK x\r\n" },
    { FETCH(7), "* 4 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (BODY[] {22}\r\n" TWO " UID 7)\r\n~ OK x\r\n" },
    { FETCH(9), "* 3 FETCH (UID 9 BODY[] \"a \\\"b\\\\\")\r\n~ OK x\r\n" },
    { "UID FETCH 5 (UID BODY.PEEK[]<0.65536>)", "* 1 FETCH (UID 5 BODY[]<0> {29}\r\n" ONE ")\r\n~ OK x\r\n" },
};

static const struct row rows[] = {
    { "from memory", "UIDPLUS MOVE", LOGIN "STAT\r\nLIST\r\nUIDL\r\nNOOP\r\nDELE 1\r\nLIST 2\r\nRSET\r\nQUIT\r\n",
      LOGGED "+OK 3 75\r\n+OK 3 messages (75 octets)\r\n1 29\r\n2 22\r\n3 24\r\n.\r\n"
      "+OK\r\n1 000000056b03e470\r\n2 000000076b03e470\r\n3 000000096b03e470\r\n.\r\n+OK\r\n+OK Deleted.\r\n+OK 2 22\r\n+OK\r\n" BYE, { { 0 } } },
    { "retrieved in turn", "UIDPLUS", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\nQUIT\r\n",
      LOGGED "+OK 29 octets\r\n" ONE_SENT "+OK 22 octets\r\n" TWO "\r\n.\r\n+OK 24 octets\r\na \"b\\\r\n.\r\n" BYE,
      { { "UID STORE 5,7 +FLAGS.SILENT (\\Seen)", "~ NO [READ-ONLY] x\r\n" } } },
    { "not in turn", "UIDPLUS", LOGIN "RETR 1\r\nRETR 3\r\nTOP 1 0\r\nTOP 1 1\r\nTOP 1 9\r\nRETR 9\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT
      "+OK 24 octets\r\na \"b\\\r\n.\r\n+OK\r\nSubject: one\r\n\r\n.\r\n+OK\r\nSubject: one\r\n\r\nHello\r\n.\r\n+OK\r\n" ONE_SENT
      "-ERR There is no such message.\r\n", { { 0 } } },
    { "deleted", "UIDPLUS", LOGIN "DELE 1\r\nDELE 3\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n+OK Deleted.\r\n" BYE,
      { { "UID STORE 5,9 +FLAGS.SILENT (\\Deleted)", "* 1 FETCH (FLAGS (\\Deleted))\r\n~ OK\r\n" }, { "UID EXPUNGE 5,9", "* 1 EXPUNGE\r\n~ OK\r\n" } } },
    { "capability asked", "", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" BYE,
      { { "CAPABILITY", "* CAPABILITY IMAP4rev1 UIDPLUS\r\n~ OK\r\n" },
        { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID EXPUNGE 5", "~ OK\r\n" } } },
    { "marking fails", "UIDPLUS", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" NOT_REMOVED,
      { { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ NO x\r\n" } } },
    { "removing fails", "UIDPLUS", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" NOT_REMOVED,
      { { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK x\r\n" }, { "UID EXPUNGE 5", "~ BAD x\r\n" } } },
    { "lost at the end", "UIDPLUS", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" NOT_REMOVED,
      { { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK x\r\n" }, { "UID EXPUNGE 5", NULL } } },
    { "no UIDPLUS", "IMAP4rev1", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" BYE,
      { { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID SEARCH DELETED", "* SEARCH 5\r\n~ OK\r\n" }, { "EXPUNGE", "~ OK\r\n" } } },
    { "no UIDPLUS, and others' marks", "IMAP4rev1", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" NOT_REMOVED,
      { { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID SEARCH DELETED", "* SEARCH 5 6\r\n~ OK\r\n" } } },
    { "no UIDPLUS, and no answer to the search", "IMAP4rev1", LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n" NOT_REMOVED,
      { { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID SEARCH DELETED", "~ OK\r\n" } } },
    { "option p", "UIDPLUS", LOGIN_AS("joe:p") "RETR 1\r\nDELE 2\r\nQUIT\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT "+OK Deleted.\r\n" BYE,
      { { "UID STORE 5,7 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID EXPUNGE 5,7", "~ OK\r\n" } } },
    { "option d", "UIDPLUS MOVE", LOGIN_AS("joe:d") "RETR 1\r\nDELE 2\r\nQUIT\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT "+OK Deleted.\r\n" BYE,
      { { "UID STORE 5 +FLAGS.SILENT (\\Seen)", "~ OK\r\n" }, { "UID MOVE 5 \"INBOX.Trash\"", "~ NO [TRYCREATE] x\r\n" },
        { "CREATE \"INBOX.Trash\"", "~ OK\r\n" }, { "UID MOVE 5 \"INBOX.Trash\"", "~ OK\r\n" },
        { "UID STORE 7 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID EXPUNGE 7", "~ OK\r\n" } } },
    { "option d without MOVE", "UIDPLUS", LOGIN_AS("joe:d") "RETR 1\r\nQUIT\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT BYE,
      { { "UID STORE 5 +FLAGS.SILENT (\\Seen)", "~ OK\r\n" }, { "UID COPY 5 \"INBOX.Trash\"", "~ OK\r\n" },
        { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID EXPUNGE 5", "~ OK\r\n" } } },
    { "option d, and no Trash", "UIDPLUS", LOGIN_AS("joe:d") "RETR 1\r\nQUIT\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT NOT_REMOVED,
      { { "UID STORE 5 +FLAGS.SILENT (\\Seen)", "~ OK\r\n" }, { "UID COPY 5 \"INBOX.Trash\"", "~ NO [TRYCREATE] x\r\n" },
        { "CREATE \"INBOX.Trash\"", "~ NO\r\n" }, { "UID COPY 5 \"INBOX.Trash\"", "~ NO [TRYCREATE] x\r\n" } } },
    { "option l", "UIDPLUS", LOGIN_AS("joe:l=2") "UIDL\r\nQUIT\r\n", LOGGED "+OK\r\n1 000000076b03e470\r\n2 000000096b03e470\r\n.\r\n" BYE, { { 0 } } },
    { "option s", "UIDPLUS", LOGIN_AS("joe:s") "STAT\r\nRETR 1\r\nQUIT\r\n", LOGGED "+OK 1 1024\r\n+OK\r\n" ONE_SENT BYE,
      { { "UID FETCH 1:* (UID FLAGS)", "* 1 FETCH (UID 5 FLAGS (\\Seen))\r\n~ OK\r\n" } } },
    { "option t", "UIDPLUS", LOGIN_AS("joe:t=3") "UIDL\r\nQUIT\r\n", LOGGED "+OK\r\n1 000000076b03e470\r\n.\r\n" BYE,
      { { "UID FETCH 1:* (UID FLAGS RFC822.SIZE INTERNALDATE)",
          "* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 1 INTERNALDATE \"17-Jul-2020 02:44:25 -0700\")\r\n"
          "* 2 FETCH (UID 7 FLAGS () RFC822.SIZE 1 INTERNALDATE \" 7-Jul-2999 02:44:25 +0000\")\r\n~ OK\r\n" } } },
    { "option n", "UIDPLUS", LOGIN_AS("joe:n"),
      ASKED "-ERR [SYS/PERM] Login option n cannot be used: this mailbox is behind a post office agent.\r\n", { { 0 } } },
    { "option v, in quotes", "METADATA", LOGIN_AS("joe:v=31") "UIDL\r\nRETR 1\r\nDELE 2\r\nQUIT\r\n",
      LOGGED "+OK\r\n1 000000056b03e470\r\n.\r\n+OK 29 octets\r\n" ONE_SENT "-ERR There is no such message.\r\n" BYE,
      { { GET(31), "* METADATA \"INBOX\" (" VIEW(31) " \"1 V1795417200 7,9\")\r\n~ OK\r\n" },
        { "UID STORE 5 +FLAGS.SILENT (\\Seen)", "~ OK\r\n" }, { SET(31, "5,7,9"), "* METADATA \"INBOX\" " VIEW(31) "\r\n~ OK\r\n" } } },
    { "option v, in a literal", "METADATA", LOGIN_AS("joe:v=1") "UIDL\r\nQUIT\r\n", LOGGED "+OK\r\n1 000000076b03e470\r\n.\r\n" BYE,
      { { GET(1), "* METADATA INBOX (" VIEW(1) " {19}\r\n1 V1795417200 5,8:9)\r\n~ OK\r\n" } } },
    { "option v, capability asked", "", LOGIN_AS("joe:v=1") "UIDL\r\nQUIT\r\n", LOGGED "+OK\r\n1 000000096b03e470\r\n.\r\n" BYE,
      { { "CAPABILITY", "* CAPABILITY METADATA\r\n~ OK\r\n" }, { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 5:7\")\r\n~ OK\r\n" } } },
    { "option v, answered before the list", "METADATA", LOGIN_AS("joe:v=1") "UIDL\r\nQUIT\r\n", LOGGED "+OK\r\n1 000000056b03e470\r\n.\r\n" BYE,
      { { LIST, "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 7\")\r\np3 OK x\r\n" LISTED_AS("~") }, { GET(1), "" } } },
    { "option v, another UIDVALIDITY", "METADATA", LOGIN_AS("joe:v=1") "DELE 1\r\nRETR 2\r\nQUIT\r\n",
      LOGGED "+OK Deleted.\r\n+OK 22 octets\r\n" TWO "\r\n.\r\n" BYE,
      { { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417201 5:9\")\r\n~ OK\r\n" }, { "UID STORE 7 +FLAGS.SILENT (\\Seen)", "~ OK\r\n" },
        { SET(1, "7"), "~ OK\r\n" }, { "UID STORE 5 +FLAGS.SILENT (\\Deleted)", "~ OK\r\n" }, { "UID SEARCH DELETED", "* SEARCH 5\r\n~ OK\r\n" },
        { "EXPUNGE", "~ OK\r\n" } } },
    { "option v, with what is no record", "METADATA", LOGIN_AS("joe:v=1") "STAT\r\nQUIT\r\n", LOGGED "+OK 3 75\r\n" BYE,
      { { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 9,5\")\r\n~ OK\r\n" } } },
    { "option v, none yet", "METADATA", LOGIN_AS("joe:v=1") "STAT\r\nQUIT\r\n", LOGGED "+OK 3 75\r\n" BYE,
      { { GET(1), "* METADATA INBOX (" VIEW(1) " NIL)\r\n~ OK\r\n" } } },
    { "option v, and nowhere to keep it", "IMAP4rev1", LOGIN_AS("joe:v=1") "RETR 2\r\nDELE 1\r\nQUIT\r\n",
      LOGGED "+OK 22 octets\r\n" TWO "\r\n.\r\n+OK Deleted.\r\n" NOT_REMOVED, { { "UID STORE 7 +FLAGS.SILENT (\\Seen)", "~ OK\r\n" } } },
    { "empty", "UIDPLUS", LOGIN "STAT\r\nQUIT\r\n", LOGGED "+OK 0 0\r\n" BYE,
      { { "SELECT INBOX", "* 0 EXISTS\r\n* OK [UIDVALIDITY 1]\r\n~ OK\r\n" }, { LIST, "~ BAD no messages\r\n" } } },
    { "not selected", "UIDPLUS", LOGIN, ASKED NOT_OPENED, { { "SELECT INBOX", "~ NO x\r\n" } } },
    { "not listed", "UIDPLUS", LOGIN, ASKED NOT_OPENED, { { LIST, "~ NO x\r\n" } } },
    { "no UIDVALIDITY", "UIDPLUS", LOGIN, ASKED NOT_OPENED, { { "SELECT INBOX", "* 3 EXISTS\r\n~ OK\r\n" } } },
    { "BYE while it lists", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, "* BYE x\r\n" } } },
    { "lost while it lists", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, NULL } } },
    { "another tag", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, "p9 OK\r\n" } } },
    { "no IMAP", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, "HTTP/1.1 200 OK\r\n" } } },
    { "a UID that is none", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, "* 1 FETCH (UID 4294967296 FLAGS () RFC822.SIZE 1)\r\n~ OK\r\n" } } },
    { "a list without end", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, "* 1 FETCH (UID 4 FLAGS ( RFC822.SIZE 1)\r\n~ OK\r\n" } } },
    { "a literal over the limit", "UIDPLUS", LOGIN, ASKED LOST, { { LIST, "* 1 FETCH (BODY[] {4294967296}\r\n" } } },
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
    { "another UIDVALIDITY", "UIDPLUS", LOGIN "RETR 3\r\n", LOGGED LOST, { { FETCH(9), "* OK [UIDVALIDITY 5] x\r\n~ OK\r\n" } } },
};

/* --- the POA ---------------------------------------------------------------------------------------------------------------------- */

static struct remote remote;
static struct buf speech;      /* what the POA is about to say */
static size_t next_rule;
static bool dies;

static const char *find_reply(const struct row *row, struct slice command)
{
    if (next_rule < RULES && row->rules[next_rule].command != NULL && slice_is(command, row->rules[next_rule].command))
        return row->rules[next_rule++].reply;
    for (size_t i = 0; i < COUNT(common); i++)
        if (slice_is(command, common[i].command))
            return common[i].reply;
    fprintf(stderr, "%s: unexpected command %.*s\n", row->title, SLICE_ARG(command));
    CU_FAIL("unexpected command");
    return "~ BAD\r\n";
}

static void answer_commands(const struct row *row)
{
    struct slice rest = buf_slice(&remote.out), line;
    while (rest.len != 0 && !dies && slice_split(&rest, '\n', &line)) {
        ptrdiff_t blank = slice_find(line, ' ');
        CU_ASSERT_FATAL(blank > 1 && slice_ends_with(line, "\r"));
        const char *reply = find_reply(row, slice_part(line, (size_t)blank + 1, line.len - (size_t)blank - 2));
        dies = reply == NULL;
        for (; reply != NULL && *reply != '\0'; reply++)
            if (*reply == '~')
                buf_append(&speech, slice_part(line, 0, (size_t)blank));
            else
                buf_append_byte(&speech, *reply);
    }
    buf_clear(&remote.out);
}

static void say(size_t len)
{
    len = len < speech.len ? len : speech.len;
    buf_append(&remote.in, slice_part(buf_slice(&speech), 0, len));
    buf_consume(&speech, len);
    fake_run();
}

static void begin(const char *capability)
{
    fake_start();
    fake_sent();
    remote = (struct remote){ .in_limit = 16384 };
    buf_append_text(&remote.capability, capability);
    fake.remote = &remote;
    next_rule = 0;
    dies = false;
    buf_clear(&speech);
}

static void end(void)
{
    fake_stop();
    buf_fini(&remote.in);
    buf_fini(&remote.out);
    buf_fini(&remote.capability);
    buf_fini(&speech);
}

/* The POA's octets come in pieces: `first`, and then `piece` at a time. Returns how many it said. */
static size_t converse(const struct row *row, size_t first, size_t piece)
{
    size_t said = 0;
    begin(row->capability);
    fake_feed_text(row->in);
    for (;;) {
        answer_commands(row);
        if (speech.len == 0 || fake.closed)
            break;
        size_t len = said < first && first - said < speech.len ? first - said : piece < speech.len ? piece : speech.len;
        say(len);
        said += len;
    }
    remote.eof = true;
    if (!fake.closed)
        fake_run();
    return said;
}

/* What the client heard, without the farewell of a POA that is away at the end of all. */
static bool heard(const struct row *row)
{
    const char *got = fake_sent();
    size_t wanted = strlen(row->out);
    bool right = strncmp(got, row->out, wanted) == 0 && (got[wanted] == '\0' || strcmp(got + wanted, LOST) == 0);
    if (!right)
        fprintf(stderr, "%s: got\n%s\ninstead of\n%s\n", row->title, got, row->out);
    return right && fake.closed;
}

static bool try_row(const struct row *row, size_t first, size_t piece, size_t *said_out)
{
    *said_out = converse(row, first, piece);
    bool right = heard(row) && (next_rule == RULES || row->rules[next_rule].command == NULL);
    if (!right)
        fprintf(stderr, "%s: first %zu, then %zu; %zu rules asked\n", row->title, first, piece, next_rule);
    end();
    return right;
}

static void test_rows(void)
{
    size_t said, ignored;
    for (size_t i = 0; i < COUNT(rows); i++) {
        bool right = try_row(&rows[i], 0, 1000000, &said) && try_row(&rows[i], 0, 1, &ignored);
        for (size_t first = 1; right && first < said; first++)
            right = try_row(&rows[i], first, 1000000, &ignored);
        CU_ASSERT(right);
    }
}

/* --- big things -------------------------------------------------------------------------------------------------------------------- */

static const struct row plain_row = { "plain", "UIDPLUS", LOGIN, LOGGED, { { 0 } } };

static void log_in(void)
{
    begin("UIDPLUS");
    fake_feed_text(LOGIN);
    answer_commands(&plain_row);
    say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
}

/* A line that is too long ends it, before it is in memory. */
static void test_long_line(void)
{
    char junk[1024];
    memset(junk, 'x', sizeof(junk));
    log_in();
    buf_append_text(&speech, "* OK ");
    say(speech.len);
    for (int i = 0; i < 63; i++) {
        buf_append(&speech, (struct slice){ junk, sizeof(junk) });
        say(speech.len);
    }
    CU_ASSERT(!fake.closed);
    for (int i = 0; i < 2 && !fake.closed; i++) {
        buf_append(&speech, (struct slice){ junk, sizeof(junk) });
        say(speech.len);
    }
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOST);
    end();
}

static void test_too_many_messages(void)
{
    begin("UIDPLUS");
    fake_feed_text(LOGIN);
    buf_clear(&remote.out);
    buf_append_text(&speech, "* OK [UIDVALIDITY 1]\r\np1 OK\r\n");
    say(speech.len);
    for (unsigned uid = 1; uid <= 1000001 && !fake.closed; uid++) {
        buf_printf(&speech, "* %u FETCH (UID %u FLAGS () RFC822.SIZE 1)\r\n", uid, uid);
        if (uid % 1000 == 0 || uid > 1000000)
            say(speech.len);
        CU_ASSERT_FATAL(uid == 1000001 || !fake.closed);
    }
    CU_ASSERT(fake.closed);
    CU_ASSERT_STRING_EQUAL(fake_sent(), ASKED LOST);
    end();
}

/* TOP asks for more as long as there is more and the lines are not there. */
static void test_big_top(void)
{
    log_in();
    fake_feed_text("TOP 1 70000\r\n");
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p3 UID FETCH 5 (UID BODY.PEEK[]<0.65536>)\r\n"));
    buf_clear(&remote.out);
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[]<0> {65536}\r\na: b\r\n\r\n");
    for (int i = 0; i < 65528; i++)
        buf_append_byte(&speech, i % 2 ? '\n' : '.');
    buf_append_text(&speech, ")\r\np3 OK\r\n");
    while (speech.len != 0)
        say(10000);
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p4 UID FETCH 5 (UID BODY.PEEK[]<65536.65536>)\r\n"));
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[]<65536> {3}\r\nend)\r\np4 OK\r\n");
    say(speech.len);
    struct slice sent = buf_slice(&fake.sent);
    CU_ASSERT(slice_starts_with(sent, "+OK\r\na: b\r\n\r\n..\r\n") && slice_ends_with(sent, "..\r\nend\r\n.\r\n"));
    CU_ASSERT_EQUAL(sent.len, 5 + 8 + 65528 / 2 * 4 + 5 + 3);
    CU_ASSERT(!fake.closed);
    end();
}

/* What the client has not asked for stays unread; and nothing is read for a client that does not read. */
static void test_backpressure(void)
{
    log_in();
    fake_feed_text("RETR 1\r\n");
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p3 " FETCH(5) "\r\n"));
    answer_commands(&plain_row);
    say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 29 octets\r\n" ONE_SENT);
    CU_ASSERT(slice_is(buf_slice(&remote.out), "p4 " FETCH(7) "\r\n"));
    answer_commands(&plain_row);
    say(speech.len);
    CU_ASSERT(remote.in.len > 60);
    fake.session.out_full = true;
    fake_feed_text("RETR 2\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), "");
    fake.session.out_full = false;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 22 octets\r\n" TWO "\r\n.\r\n");
    CU_ASSERT_EQUAL(remote.in.len, 0);
    end();
}

/* Before anything was said of the mailbox, another way to it may be taken; later not. */
static void test_lost_and_direct(void)
{
    begin("UIDPLUS");
    remote.direct_too = true;
    fake_feed_text(LOGIN);
    say(0);
    remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
    fake_feed_text("STAT\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 3 77\r\n");
    CU_ASSERT(fake.session.fallback && !fake.closed);
    end();
    log_in();
    remote.direct_too = remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOST);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    end();
}

/* POA and path were not found to show the same mailboxes. */
static void test_lost_and_not_compared(void)
{
    begin("UIDPLUS");
    remote.direct_too = fake.uncompared = true;
    fake_feed_text(LOGIN);
    say(0);
    remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), ASKED LOST);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    end();
}

/* --- views in the state directory ------------------------------------------------------------------------------------------------------ */

#define SEEN(uid) { "UID STORE " #uid " +FLAGS.SILENT (\\Seen)", "~ OK\r\n" }

static char state_dir[64];

/* The record's file, as a new session finds it. */
static void put_record(const char *name, const char *text)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/pop3-views/%s", state_dir, name);
    FILE *file = fopen(path, "w");
    CU_ASSERT_FATAL(file != NULL);
    fputs(text, file);
    fclose(file);
}

static bool has_record(const char *name, const char *text)
{
    char path[160], got[256] = "";
    snprintf(path, sizeof(path), "%s/pop3-views/%s", state_dir, name);
    FILE *file = fopen(path, "r");
    bool right = file != NULL && fgets(got, sizeof(got), file) != NULL && strcmp(got, text) == 0;
    if (file != NULL)
        fclose(file);
    return right;
}

static void forget_record(const char *name)
{
    char path[160];
    snprintf(path, sizeof(path), "%s/pop3-views/%s", state_dir, name);
    CU_ASSERT_EQUAL(unlink(path), 0);
}

static bool try_kept(const struct row *row)
{
    size_t ignored;
    return try_row(row, 0, 1000000, &ignored);
}

static void test_kept_views(void)
{
    static const struct row first = { "first", "IMAP4rev1", LOGIN_AS("joe:v=2") "RETR 1\r\nQUIT\r\n", LOGGED "+OK 29 octets\r\n" ONE_SENT BYE,
                                      { SEEN(5) } };
    static const struct row second = { "second", "IMAP4rev1", LOGIN_AS("joe:v=2") "UIDL\r\nRETR 1\r\nQUIT\r\n",
                                       LOGGED "+OK\r\n1 000000076b03e470\r\n2 000000096b03e470\r\n.\r\n+OK 22 octets\r\n" TWO "\r\n.\r\n" BYE,
                                       { SEEN(7) } };
    static const struct row other = { "another view", "IMAP4rev1", LOGIN_AS("joe:v=3") "STAT\r\nQUIT\r\n", LOGGED "+OK 3 75\r\n" BYE, { { 0 } } };
    static const struct row both = { "both places, and it refuses", "METADATA", LOGIN_AS("joe:v=2") "UIDL\r\nRETR 1\r\nQUIT\r\n",
                                     LOGGED "+OK\r\n1 000000056b03e470\r\n.\r\n+OK 29 octets\r\n" ONE_SENT BYE,
                                     { { GET(2), "* METADATA INBOX (" VIEW(2) " \"1 V1795417200 7\")\r\n~ OK\r\n" }, SEEN(5),
                                       { SET(2, "5,7,9"), "~ NO [METADATA MAXSIZE 9] x\r\n" } } };
    static const struct row refused = { "not read, not written", "METADATA", LOGIN_AS("joe:v=2") "RETR 1\r\nQUIT\r\n",
                                        LOGGED "+OK 29 octets\r\n" ONE_SENT BYE, { { GET(2), "~ NO x\r\n" }, SEEN(5) } };
    static const struct row broken = { "broken", "IMAP4rev1", LOGIN_AS("joe:v=2") "STAT\r\nQUIT\r\n", LOGGED "+OK 3 75\r\n" BYE, { { 0 } } };
    CU_ASSERT(try_kept(&first) && has_record("i-joe.2", "1 V1795417200 5\n"));
    CU_ASSERT(try_kept(&second) && has_record("i-joe.2", "1 V1795417200 5,7\n"));
    CU_ASSERT(try_kept(&other));
    put_record("i-joe.2", "1 V1795417200 9\n");
    CU_ASSERT(try_kept(&both) && has_record("i-joe.2", "1 V1795417200 5,7,9\n"));
    put_record("i-joe.2", "1 V1795417201 5:9\n");
    CU_ASSERT(try_kept(&refused) && has_record("i-joe.2", "1 V1795417200 5\n"));
    put_record("i-joe.2", "1 V1795417200 5:9");    /* torn */
    CU_ASSERT(try_kept(&broken));
}

/* A step that was never run, and a directory that cannot be read: nothing is listed that may have been downloaded, nothing is removed. */
static void test_views_out_of_reach(void)
{
    char path[160];
    static const struct row row = { "out of reach", "IMAP4rev1", LOGIN_AS("joe:v=2"), ASKED NOT_OPENED, { { 0 } } };
    put_record("i-joe.2", "1 V1795417200 5\n");
    forget_record("i-joe.2");
    snprintf(path, sizeof(path), "%s/pop3-views", state_dir);
    CU_ASSERT_EQUAL(rmdir(path), 0);
    FILE *file = fopen(path, "w");
    CU_ASSERT_FATAL(file != NULL);
    fclose(file);
    CU_ASSERT(try_kept(&row));
    unlink(path);
    begin("IMAP4rev1");
    fake_feed_text("USER joe:v=2\r\n");
    fake.step_fails = true;
    fake_feed_text("PASS secret\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), ASKED NOT_OPENED);
    end();
}

static void test_views(void)
{
    char path[160];
    snprintf(state_dir, sizeof(state_dir), "/tmp/pop3-views-XXXXXX");
    CU_ASSERT_FATAL(mkdtemp(state_dir) != NULL);
    pop3_configure(state_dir);
    test_kept_views();
    test_views_out_of_reach();
    pop3_configure(NULL);
    snprintf(path, sizeof(path), "%s/pop3-views", state_dir);
    CU_ASSERT(rmdir(path) == 0 || access(path, F_OK) != 0);
    CU_ASSERT_EQUAL(rmdir(state_dir), 0);
}

/* A long record goes as a literal that asks nobody, or not at all. */
static void test_long_record_is_sent(void)
{
    struct buf text = { 0 };
    begin("METADATA LITERAL+");
    fake_feed_text(LOGIN_AS("joe:v=1"));
    buf_append_text(&speech, SELECTED_AS("p1") LISTED_AS("p2") "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 10");
    for (int uid = 12; uid < 5000; uid += 2)
        buf_printf(&speech, ",%d", uid);
    buf_append_text(&speech, "\")\r\np3 OK\r\n");
    buf_clear(&remote.out);
    say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
    fake_feed_text("RETR 1\r\nQUIT\r\n");
    buf_clear(&remote.out);
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE ")\r\np4 OK x\r\n");
    say(speech.len);
    buf_append_text(&speech, "p5 OK x\r\n");    /* of what was asked for ahead */
    say(speech.len);
    buf_append_text(&speech, "p6 OK x\r\n");
    buf_clear(&remote.out);
    say(speech.len);
    buf_append(&text, buf_slice(&remote.out));
    CU_ASSERT(slice_find_text_nocase(buf_slice(&text), SLICE_LITERAL("+}\r\n1 V1795417200 5,10,12,14")) > 0);
    buf_fini(&text);
    end();
}

static void test_options_that_need_the_direct_way(void)
{
    begin("UIDPLUS");
    remote.direct_too = true;
    fake_feed_text(LOGIN_AS("joe:v=1") "STAT\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED "+OK 3 77\r\n");
    end();
    begin("UIDPLUS");
    fake.user.pop3.plain = true;    /* a class of service that says so does not keep anybody out */
    fake_feed_text(LOGIN);
    answer_commands(&plain_row);
    say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
    end();
}

/* Where a path is, too, but POA and path were not found to show the same mailboxes, it is as if there was none. */
static void test_options_and_not_compared(void)
{
    static const struct { struct row row; bool plain_class; } uncompared[] = {
        { { "option v", "METADATA", LOGIN_AS("joe:v=1"), LOGGED, { { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 5\")\r\n~ OK\r\n" } } }, false },
        { { "option v, class n", "METADATA", LOGIN_AS("joe:v=1"), LOGGED, { { GET(1), "* METADATA INBOX (" VIEW(1) " NIL)\r\n~ OK\r\n" } } }, true },
        { { "option n", "UIDPLUS", LOGIN_AS("joe:n"),
            ASKED "-ERR [SYS/TEMP] Login option n cannot be used now: this mailbox is behind a post office agent.\r\n", { { 0 } } }, false },
        { { "class n", "UIDPLUS", LOGIN, LOGGED, { { 0 } } }, true },
    };
    for (size_t i = 0; i < COUNT(uncompared); i++) {
        const struct row *row = &uncompared[i].row;
        begin(row->capability);
        remote.direct_too = fake.uncompared = true;
        fake.user.pop3.plain = uncompared[i].plain_class;
        fake_feed_text(row->in);
        answer_commands(row);
        say(speech.len);
        CU_ASSERT_STRING_EQUAL(fake_sent(), row->out);
        CU_ASSERT(!fake.session.fallback && (next_rule == RULES || row->rules[next_rule].command == NULL));
        end();
    }
}

/* The gateway's wish to end waits for the answer that is under way; so does the client's end of input. */
static void test_endings(void)
{
    log_in();
    fake_feed_text("RETR 1\r\n");
    remote.end_wanted = true;
    remote.end_reason = CLOSE_SHUTDOWN;
    fake_run();
    CU_ASSERT(!fake.closed);
    answer_commands(&plain_row);
    say(speech.len);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_SHUTDOWN);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 29 octets\r\n" ONE_SENT);
    end();
    log_in();
    fake_feed_text("DELE 1\r\nQUIT\r\n");
    fake_eof();
    CU_ASSERT(!fake.closed);
    buf_append_text(&speech, "p3 OK\r\np4 OK\r\n");
    buf_clear(&remote.out);
    say(speech.len);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_LOGOUT);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK Deleted.\r\n" BYE);
    CU_ASSERT(fake.wakes != 0);
    end();
}

static const struct unit_test tests[] = {
    { "conversations", test_rows },
    { "a line that is too long", test_long_line },
    { "too many messages", test_too_many_messages },
    { "a big TOP", test_big_top },
    { "backpressure", test_backpressure },
    { "lost, and directly on", test_lost_and_direct }, { "lost and not compared", test_lost_and_not_compared },
    { "views in the state directory", test_views }, { "a long record is sent", test_long_record_is_sent },
    { "options that need the direct way", test_options_that_need_the_direct_way },
    { "options, POA and path not compared", test_options_and_not_compared },
    { "endings", test_endings },
};

UNIT_MAIN("pop3_remote", tests)
