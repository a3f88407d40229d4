/* Unit tests of POP3 over a Post Office Agent, all but RETR and TOP: the client and the POA are both the test; what the POA says is split at every octet. */
#include "run.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "pop3_poa.h"
#include "postern/base/memory.h"
#include "postern/pop3/pop3.h"

static const struct row rows[] = {
    { "from memory", "UIDPLUS MOVE", LOGIN "STAT\r\nLIST\r\nUIDL\r\nNOOP\r\nDELE 1\r\nLIST 2\r\nRSET\r\nQUIT\r\n",
      LOGGED "+OK 3 75\r\n+OK 3 messages (75 octets)\r\n1 29\r\n2 22\r\n3 24\r\n.\r\n"
      "+OK\r\n1 000000056b03e470\r\n2 000000076b03e470\r\n3 000000096b03e470\r\n.\r\n+OK\r\n+OK Deleted.\r\n+OK 2 22\r\n+OK\r\n" BYE, { { 0 } } },
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
};

static void test_rows(void)
{
    poa_try_rows(rows, COUNT(rows));
}

/* A line that is too long ends it, before it is in memory. */
static void test_long_line(void)
{
    char junk[1024];
    memset(junk, 'x', sizeof(junk));
    poa_log_in();
    buf_append_text(&speech, "* OK ");
    poa_say(speech.len);
    for (int i = 0; i < 63; i++) {
        buf_append(&speech, (struct slice){ junk, sizeof(junk) });
        poa_say(speech.len);
    }
    CU_ASSERT(!fake.closed);
    for (int i = 0; i < 2 && !fake.closed; i++) {
        buf_append(&speech, (struct slice){ junk, sizeof(junk) });
        poa_say(speech.len);
    }
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOST);
    poa_end();
}

static void test_too_many_messages(void)
{
    poa_begin("UIDPLUS");
    fake_feed_text(LOGIN);
    buf_clear(&remote.out);
    buf_append_text(&speech, "* OK [UIDVALIDITY 1]\r\np1 OK\r\n");
    poa_say(speech.len);
    for (unsigned uid = 1; uid <= 1000001 && !fake.closed; uid++) {
        buf_printf(&speech, "* %u FETCH (UID %u FLAGS () RFC822.SIZE 1)\r\n", uid, uid);
        if (uid % 1000 == 0 || uid > 1000000)
            poa_say(speech.len);
        CU_ASSERT_FATAL(uid == 1000001 || !fake.closed);
    }
    CU_ASSERT(fake.closed);
    CU_ASSERT_STRING_EQUAL(fake_sent(), ASKED LOST);
    poa_end();
}

/* Before anything was said of the mailbox, another way to it may be taken; later not. */
static void test_lost_and_direct(void)
{
    poa_begin("UIDPLUS");
    remote.direct_too = true;
    fake_feed_text(LOGIN);
    poa_say(0);
    remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
    fake_feed_text("STAT\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 3 77\r\n");
    CU_ASSERT(fake.session.fallback && !fake.closed);
    poa_end();
    poa_log_in();
    remote.direct_too = remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOST);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    poa_end();
}

/* POA and path were not found to show the same mailboxes. */
static void test_lost_and_not_compared(void)
{
    poa_begin("UIDPLUS");
    remote.direct_too = fake.uncompared = true;
    fake_feed_text(LOGIN);
    poa_say(0);
    remote.eof = true;
    fake_run();
    CU_ASSERT_STRING_EQUAL(fake_sent(), ASKED LOST);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_POA_LOST);
    poa_end();
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

static void set_age(const char *name, int days)
{
    char path[160];
    struct timespec times[2] = { { .tv_nsec = UTIME_NOW }, { .tv_sec = time(NULL) - days * 86400L } };
    snprintf(path, sizeof(path), "%s/pop3-views/%s", state_dir, name);
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, path, times, 0), 0);
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
    return poa_try(row, 0, 1000000, &ignored);
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
    static const struct row taken = { "both places, and it takes it", "METADATA", LOGIN_AS("joe:v=2") "UIDL\r\nRETR 1\r\nQUIT\r\n",
                                      LOGGED "+OK\r\n1 000000056b03e470\r\n.\r\n+OK 29 octets\r\n" ONE_SENT BYE,
                                      { { GET(2), "* METADATA INBOX (" VIEW(2) " \"1 V1795417200 7\")\r\n~ OK\r\n" }, SEEN(5),
                                        { SET(2, "5,7,9"), "~ OK x\r\n" } } };
    static const struct row refused = { "not read, not written", "METADATA", LOGIN_AS("joe:v=2") "RETR 1\r\nQUIT\r\n",
                                        LOGGED "+OK 29 octets\r\n" ONE_SENT BYE, { { GET(2), "~ NO x\r\n" }, SEEN(5) } };
    static const struct row broken = { "broken", "IMAP4rev1", LOGIN_AS("joe:v=2") "STAT\r\nQUIT\r\n", LOGGED "+OK 3 75\r\n" BYE, { { 0 } } };
    CU_ASSERT(try_kept(&first) && has_record("i-joe.2", "1 V1795417200 5\n"));
    CU_ASSERT(try_kept(&second) && has_record("i-joe.2", "1 V1795417200 5,7\n"));
    CU_ASSERT(try_kept(&other));
    put_record("i-joe.2", "1 V1795417200 9\n");
    CU_ASSERT(try_kept(&both) && has_record("i-joe.2", "1 V1795417200 5,7,9\n"));
    put_record("i-joe.2", "1 V1795417200 9\n");
    CU_ASSERT(try_kept(&taken) && has_record("i-joe.2", "1 V1795417200 5,7,9\n"));
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
    poa_begin("IMAP4rev1");
    fake_feed_text("USER joe:v=2\r\n");
    fake.step_fails = true;
    fake_feed_text("PASS secret\r\n");
    CU_ASSERT_STRING_EQUAL(fake_sent(), ASKED NOT_OPENED);
    poa_end();
}

/* What nobody has asked for in a year goes; a login keeps it. */
static void test_old_records(void)
{
    static const struct row row = { "old", "IMAP4rev1", LOGIN_AS("joe:v=2") "UIDL\r\nRETR 1\r\nQUIT\r\n",
                                    LOGGED "+OK\r\n1 000000056b03e470\r\n2 000000076b03e470\r\n.\r\n" ONE_GOT BYE, { SEEN(5) } };
    static const char *const names[] = { "i-joe.2", "i-joe.3", "i-gone.1", "i-gone.1.tmp", "i-away.1" };
    for (size_t i = 0; i < COUNT(names); i++) {
        put_record(names[i], "1 V1795417200 9\n");
        set_age(names[i], i == 4 ? 364 : 366);
    }
    fake_start();
    fake_feed_text(LOGIN_AS("joe:v=3") "QUIT\r\n");    /* nothing is written, but it was asked for */
    fake_stop();
    pop3_configure(state_dir);
    CU_ASSERT(try_kept(&row));
    CU_ASSERT(has_record("i-joe.2", "1 V1795417200 5,9\n") && has_record("i-joe.3", "1 V1795417200 9\n") && has_record("i-away.1", "1 V1795417200 9\n"));
    CU_ASSERT(!has_record("i-gone.1", "1 V1795417200 9\n") && !has_record("i-gone.1.tmp", "1 V1795417200 9\n"));
    forget_record("i-joe.2");
    forget_record("i-joe.3");
    forget_record("i-away.1");
}

/* Where both ways lead to the mailbox its own file has the view: what the POA knows is added, and a copy is kept for a time without the path. */
static void test_views_of_both_ways(void)
{
    static const struct row said = { "said", "METADATA", "", "", { { GET(2), "* METADATA INBOX (" VIEW(2) " \"1 V1795417200 5\")\r\n~ OK\r\n" } } };
    static const struct row cut = { "cut off", "METADATA", "", "", { { GET(2), "* METADATA INBOX (" VIEW(2) " {19}\r\n1 V1795417200 5" } } };
    static const struct row nothing = { "nothing", "METADATA", "", "", { { GET(2), "~ NO x\r\n" } } };
    static const struct { const struct row *row; bool eof; const char *out; const char *copy; } ways[] = {
        { &said, false, LOGGED "+OK 2 48\r\n", "1 V1795417200 5,7\n" },
        { &cut, true, LOGGED "+OK 3 77\r\n", "1 V1795417200 5\n" },
        { &nothing, false, LOGGED "+OK 3 77\r\n", "1 V1795417200 5\n" },
    };
    for (size_t i = 0; i < COUNT(ways); i++) {
        poa_begin(ways[i].row->capability);
        remote.direct_too = true;
        fake.office.agent_count = 1;
        fake_feed_text(LOGIN_AS("joe:v=2") "STAT\r\n");
        poa_answer(ways[i].row);
        poa_say(speech.len);
        remote.eof = ways[i].eof;
        fake_run();
        CU_ASSERT_STRING_EQUAL(fake_sent(), ways[i].out);
        CU_ASSERT(fake.session.fallback && fake.session.remote == NULL && next_rule == 1);
        fake_feed_text("RETR 1\r\nQUIT\r\n");
        CU_ASSERT(fake.closed && fake.reason == CLOSE_LOGOUT);
        CU_ASSERT(uidset_has(&fake.views[2], i == 0 ? 7 : 5) && uidset_has(&fake.views[2], 5) && !uidset_has(&fake.views[2], 9));
        CU_ASSERT(has_record("i-joe.2", ways[i].copy));
        forget_record("i-joe.2");
        poa_end();
    }
}

static void test_views(void)
{
    char path[160];
    snprintf(state_dir, sizeof(state_dir), "/tmp/pop3-views-XXXXXX");
    CU_ASSERT_FATAL(mkdtemp(state_dir) != NULL);
    pop3_configure(state_dir);
    test_kept_views();
    test_old_records();
    test_views_of_both_ways();
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
    poa_begin("METADATA LITERAL+");
    fake_feed_text(LOGIN_AS("joe:v=1"));
    buf_append_text(&speech, SELECTED_AS("p1") LISTED_AS("p2") "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 10");
    for (int uid = 12; uid < 5000; uid += 2)
        buf_printf(&speech, ",%d", uid);
    buf_append_text(&speech, "\")\r\np3 OK\r\n");
    buf_clear(&remote.out);
    poa_say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
    fake_feed_text("RETR 1\r\nQUIT\r\n");
    buf_clear(&remote.out);
    buf_append_text(&speech, "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE ")\r\np4 OK x\r\n");
    poa_say(speech.len);
    buf_append_text(&speech, AHEAD_7 "p5 OK x\r\n");
    poa_say(speech.len);
    buf_append_text(&speech, "p6 OK x\r\n");
    buf_clear(&remote.out);
    poa_say(speech.len);
    buf_append(&text, buf_slice(&remote.out));
    CU_ASSERT(slice_find_text_nocase(buf_slice(&text), SLICE_LITERAL("+}\r\n1 V1795417200 5,10,12,14")) > 0);
    buf_fini(&text);
    poa_end();
}

/* Where a path is, too, but POA and path were not found to show the same mailboxes, it is as if there was none. */
static void test_options_and_not_compared(void)
{
    static const struct row rules[] = {
        { "option v", "METADATA", LOGIN_AS("joe:v=1"), LOGGED, { { GET(1), "* METADATA INBOX (" VIEW(1) " \"1 V1795417200 5\")\r\n~ OK\r\n" } } },
        { "option n", "UIDPLUS", LOGIN_AS("joe:n"), LOGGED, { { 0 } } },
    };
    static const char *const direct[] = { LOGIN_AS("joe:v=1"), LOGIN_AS("joe:n") };
    for (size_t i = 0; i < COUNT(rules); i++) {
        poa_begin(rules[i].capability);
        remote.direct_too = fake.uncompared = true;
        fake_feed_text(rules[i].in);
        poa_talk(&rules[i]);
        CU_ASSERT_STRING_EQUAL(fake_sent(), rules[i].out);
        CU_ASSERT(!fake.session.fallback && (next_rule == RULES || rules[i].rules[next_rule].command == NULL));
        poa_end();
        poa_begin("UIDPLUS");
        remote.direct_too = true;
        fake_feed_text(direct[i]);
        CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
        CU_ASSERT(fake.session.fallback && remote.out.len == 0);
        poa_end();
    }
}

/* The gateway's wish to end waits for the answer that is under way; so does the client's end of input. */
static void test_endings(void)
{
    poa_log_in();
    fake_feed_text("RETR 1\r\n");
    remote.end_wanted = true;
    remote.end_reason = CLOSE_SHUTDOWN;
    fake_run();
    CU_ASSERT(!fake.closed);
    poa_answer(&poa_plain_row);
    poa_say(speech.len);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_SHUTDOWN);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK 29 octets\r\n" ONE_SENT);
    poa_end();
    poa_log_in();
    fake_feed_text("DELE 1\r\nQUIT\r\n");
    fake_eof();
    CU_ASSERT(!fake.closed);
    buf_append_text(&speech, "p3 OK\r\np4 OK\r\n");
    buf_clear(&remote.out);
    poa_say(speech.len);
    CU_ASSERT(fake.closed && fake.reason == CLOSE_LOGOUT);
    CU_ASSERT_STRING_EQUAL(fake_sent(), "+OK Deleted.\r\n" BYE);
    CU_ASSERT(fake.wakes != 0);
    poa_end();
}

static const struct unit_test tests[] = {
    { "conversations", test_rows },
    { "a line that is too long", test_long_line },
    { "too many messages", test_too_many_messages },
    { "lost, and directly on", test_lost_and_direct }, { "lost and not compared", test_lost_and_not_compared },
    { "views in the state directory", test_views }, { "a long record is sent", test_long_record_is_sent },
    { "options, POA and path not compared", test_options_and_not_compared },
    { "endings", test_endings },
};

UNIT_MAIN("pop3_remote", tests)
