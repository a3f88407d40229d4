/* Unit tests of src/imap: conversations over a fake session and the real store. */
#include "imap_fake.h"
#include "postern/imap/imap.h"
#include "run.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct row {
    const char *name;
    const char *in;
    const char *out;
};

/* Says where they differ: a conversation is long. */
static void expect(const char *name, const char *heard, const char *wanted)
{
    bool equal = strcmp(heard, wanted) == 0;
    CU_ASSERT(equal);
    if (!equal)
        printf("\n--- %s: heard\n%s--- wanted\n%s---\n", name, heard, wanted);
}

#define BEFORE_CAPABILITY "CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE IDLE SASL-IR AUTH=PLAIN AUTH=LOGIN"
#define AFTER_CAPABILITY "CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN SPECIAL-USE MOVE STATUS=SIZE " \
                         "APPENDLIMIT=100000"
#define LOGIN "L LOGIN joe \"se\\\"cret\"\r\n"
#define LOGGED "L OK [" AFTER_CAPABILITY "] Logged in.\r\n"

/* --- before login: every row also cut at every byte --------------------------------------------------------------------- */

static const struct row before_login[] = {
    { "capability", "a CAPABILITY\r\n", "* " BEFORE_CAPABILITY "\r\na OK Completed.\r\n" },
    { "noop, any case, bare LF", "a nOoP\nb noop\r\n", "a OK Completed.\r\nb OK Completed.\r\n" },
    { "logout", "a LOGOUT\r\nb NOOP\r\n", "* BYE Logging out.\r\na OK Completed.\r\n" },
    { "unknown", "a FROB\r\n", "a BAD Unknown command.\r\n" },
    { "empty line", "\r\n", "* BAD Invalid tag.\r\n" },
    { "no tag", " NOOP\r\n", "* BAD Invalid tag.\r\n" },
    { "plus in tag", "a+ NOOP\r\n", "* BAD Invalid tag.\r\n" },
    { "quoted tag", "\"a\" NOOP\r\n", "* BAD Invalid tag.\r\n" },
    { "8-bit tag", "\xc3\xa4 NOOP\r\n", "* BAD Invalid tag.\r\n" },
    { "tag only", "a\r\n", "a BAD Unknown command.\r\n" },
    { "two blanks", "a  NOOP\r\n", "a BAD Unknown command.\r\n" },
    { "more than it takes", "a NOOP x\r\n", "a BAD Invalid arguments.\r\n" },
    { "blank at the end", "a NOOP \r\n", "a BAD Invalid arguments.\r\n" },
    { "bare CR", "a NOOP\rb NOOP\r\n", "a BAD Invalid arguments.\r\n" },
    { "8-bit atom", "a LOGIN j\xc3\xb6 x\r\n", "a BAD Invalid arguments.\r\n" },
    { "UID alone", "a UID\r\n", "a BAD Unknown command.\r\n" },
    { "UID of another", "a UID NOOP\r\n", "a BAD Unknown command.\r\n" },
    { "state", "a SELECT INBOX\r\nb FETCH 1 FLAGS\r\nc UID FETCH 1 FLAGS\r\n",
      "a BAD Log in first.\r\nb BAD Log in first.\r\nc BAD Log in first.\r\n" },
    { "login refused", "a LOGIN joe wrong\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "login unavailable", "a LOGIN down x\r\n", "a NO [UNAVAILABLE] Logins cannot be verified at the moment.\r\n" },
    { "login malformed", "a LOGIN\r\nb LOGIN joe\r\nc LOGIN joe x y\r\nd LOGIN (joe) x\r\n",
      "a BAD Invalid arguments.\r\nb BAD Invalid arguments.\r\nc BAD Invalid arguments.\r\nd BAD Invalid arguments.\r\n" },
    { "three refusals", "a LOGIN joe a\r\nb LOGIN joe b\r\nc LOGIN joe c\r\nd NOOP\r\n",
      "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\nb NO [AUTHENTICATIONFAILED] Authentication failed.\r\n"
      "c NO [AUTHENTICATIONFAILED] Authentication failed.\r\n* BYE Too many failed logins.\r\n" },
    { "ten times nonsense", "GET / HTTP/1.1\nb\nc\nd\ne\nf\ng\nh\ni\nj\nk NOOP\n",
      "GET BAD Unknown command.\r\nb BAD Unknown command.\r\nc BAD Unknown command.\r\nd BAD Unknown command.\r\n"
      "e BAD Unknown command.\r\nf BAD Unknown command.\r\ng BAD Unknown command.\r\nh BAD Unknown command.\r\n"
      "i BAD Unknown command.\r\nj BAD Unknown command.\r\n* BYE Too many invalid commands, or one too large.\r\n" },
    { "literals", "a LOGIN {3}\r\njoe {5}\r\nwrong\r\n", "+ OK\r\n+ OK\r\na NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "unasked literals", "a LOGIN {3+}\r\njoe {5+}\r\nwrong\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "literal that looks like one", "a LOGIN {3+}\r\n{3} {5+}\r\n{5+}\r\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "line ends in a literal", "a LOGIN {4+}\r\n\r\n\r\n {1+}\nx\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "literal after nothing", "a NOOP {3}\r\nabc\r\nb NOOP\r\n", "+ OK\r\na BAD Invalid arguments.\r\nb OK Completed.\r\n" },
    { "literal too large", "a LOGIN {9000}\r\nb NOOP\r\n", "a BAD [TOOBIG] Literal too large.\r\nb OK Completed.\r\n" },
    { "literal of 2^64", "a LOGIN {18446744073709551617}\r\nb NOOP\r\n", "a BAD [TOOBIG] Literal too large.\r\nb OK Completed.\r\n" },
    { "unasked literal beyond all numbers", "a LOGIN {99999999999999999999+}\r\nb NOOP\r\n",
      "a BAD [TOOBIG] Literal too large.\r\n* BYE Too many invalid commands, or one too large.\r\n" },
    { "unasked literal too large", "a LOGIN {9000+}\r\nb NOOP\r\n",
      "a BAD [TOOBIG] Literal too large.\r\n* BYE Too many invalid commands, or one too large.\r\n" },
    { "plain", "a AUTHENTICATE PLAIN\r\nAGpvZQB3cm9uZw==\r\n", "+ \r\na NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "plain at once", "a AUTHENTICATE plain AGpvZQB3cm9uZw==\r\n", "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "other identity", "a AUTHENTICATE PLAIN YW5uAGpvZQBzZWNyZXQ=\r\nb NOOP\r\n",
      "a NO [AUTHENTICATIONFAILED] Authentication failed.\r\nb OK Completed.\r\n" },
    { "cancelled", "a AUTHENTICATE PLAIN\r\n*\r\nb NOOP\r\n", "+ \r\na BAD Authentication cancelled.\r\nb OK Completed.\r\n" },
    { "not base64", "a AUTHENTICATE PLAIN\r\n!!\r\nb NOOP\r\n", "+ \r\na BAD Invalid answer.\r\nb OK Completed.\r\n" },
    { "sasl login", "a AUTHENTICATE LOGIN\r\nam9l\r\nd3Jvbmc=\r\n",
      "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\na NO [AUTHENTICATIONFAILED] Authentication failed.\r\n" },
    { "unknown mechanism", "a AUTHENTICATE GSSAPI\r\n", "a NO [CANNOT] This mechanism is not offered.\r\n" },
    { "no mechanism", "a AUTHENTICATE\r\nb AUTHENTICATE PLAIN \r\n", "a BAD Invalid arguments.\r\nb BAD Invalid arguments.\r\n" },
    { "starttls not offered", "a STARTTLS\r\n", "a NO [CANNOT] TLS is not offered.\r\n" },
    { "id", "a ID NIL\r\nb ID (\"name\" \"x\" \"os\" NIL)\r\nc ID ()\r\nd ID (\"name\")\r\ne ID\r\n",
      "* ID (\"name\" \"Postern\" \"version\" \"0.1.0\")\r\na OK Completed.\r\n"
      "* ID (\"name\" \"Postern\" \"version\" \"0.1.0\")\r\nb OK Completed.\r\n"
      "* ID (\"name\" \"Postern\" \"version\" \"0.1.0\")\r\nc OK Completed.\r\n"
      "d BAD Invalid arguments.\r\ne BAD Invalid arguments.\r\n" },
};

static void converse(const struct row *row, size_t first, bool bytewise)
{
    struct client client;
    size_t len = strlen(row->in);
    client_init(&client);
    client_pump(&client);
    client_heard(&client);
    client_feed(&client, row->in, first);
    for (size_t i = first; i < len && bytewise; i++)
        client_feed(&client, row->in + i, 1);
    if (!bytewise)
        client_feed(&client, row->in + first, len - first);
    expect(row->name, client_heard(&client), row->out);
    client_fini(&client);
}

static void test_before_login(void)
{
    fake_set_up();
    for (size_t i = 0; i < sizeof(before_login) / sizeof(before_login[0]); i++) {
        for (size_t cut = 0; cut < strlen(before_login[i].in); cut++)
            converse(&before_login[i], cut, false);
        converse(&before_login[i], 0, true);
    }
    fake_tear_down();
}

static void test_nul(void)
{
    static const char nul[] = "a NO\0OP\r\nb NOOP\r\n", literal[] = "a LOGIN {3+}\r\nj\0e x\r\nb NOOP\r\n";
    struct client client;
    fake_set_up();
    client_init(&client);
    client_pump(&client);
    client_heard(&client);
    client_feed(&client, nul, sizeof(nul) - 1);
    expect("NUL in a name", client_heard(&client), "a BAD Unknown command.\r\nb OK Completed.\r\n");
    client_feed(&client, literal, sizeof(literal) - 1);
    expect("NUL in a literal", client_heard(&client), "a BAD Invalid arguments.\r\nb OK Completed.\r\n");
    client_fini(&client);
    fake_tear_down();
}

static void test_too_long(void)
{
    static const struct { const char *end; const char *out; } ends[] = {
        { "\r\nb NOOP\r\n", "a BAD [TOOBIG] Command too long.\r\nb OK Completed.\r\n" },
        { " {5+}\r\nc NO\n x {3+}\r\nc N y\r\nb NOOP\r\n", "a BAD [TOOBIG] Command too long.\r\nb OK Completed.\r\n" },
        { " {5}\r\nb NOOP\r\n", "a BAD [TOOBIG] Command too long.\r\nb OK Completed.\r\n" },
    };
    static const size_t lengths[] = { 8189, 8190, 8191, 8192, 8193, 8194, 8195, 9000, 40000 };
    fake_set_up();
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        for (size_t j = 0; j < sizeof(lengths) / sizeof(lengths[0]); j++) {
            for (size_t chunk = 1; chunk < 70000; chunk = chunk * 8 + 1) {
                struct client client;
                struct buf text;
                buf_init(&text, 0);
                buf_append_text(&text, "a LOGIN ");
                while (text.len < lengths[j])
                    buf_append_byte(&text, 'x');
                buf_append_text(&text, ends[i].end);
                client_init(&client);
                client_pump(&client);
                client_heard(&client);
                for (size_t at = 0; at < text.len; at += chunk)
                    client_feed(&client, text.data + at, text.len - at < chunk ? text.len - at : chunk);
                if (lengths[j] + strcspn(ends[i].end, "\r\n") > 8193)
                    expect("too long", client_heard(&client), ends[i].out);
                CU_ASSERT(client.session.in.len == 0);
                client_fini(&client);
                buf_fini(&text);
            }
        }
    }
    fake_tear_down();
}

static void test_greeting(void)
{
    static char host[] = "mail.example.com";
    struct client client;
    fake_set_up();
    fake_agent()->host_name = host;
    client_init(&client);
    client_pump(&client);
    expect("greeting", client_heard(&client), "* OK [" BEFORE_CAPABILITY "] mail.example.com Postern 0.1.0 IMAP4 ready.\r\n");
    CU_ASSERT_EQUAL(client.session.idle_seconds, 60);
    client_fini(&client);
    fake_agent()->imap4_hide_version = true;
    client_init(&client);
    client_say(&client, "a ID NIL\r\n");
    expect("hidden", client_heard(&client),
           "* OK [" BEFORE_CAPABILITY "] mail.example.com IMAP4 ready.\r\n* ID NIL\r\na OK Completed.\r\n");
    client_fini(&client);
    fake_tear_down();
}

static void test_starttls(void)
{
    struct client client;
    fake_set_up();
    client_init(&client);
    client.session.clear_login = false;
    client.session.tls_offered = true;
    client_pump(&client);
    client_heard(&client);
    client_say(&client, "a CAPABILITY\r\n" LOGIN "b AUTHENTICATE PLAIN\r\n");
    expect("before", client_heard(&client),
           "* CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE IDLE SASL-IR STARTTLS LOGINDISABLED\r\na OK Completed.\r\n"
           "L NO [PRIVACYREQUIRED] Logins need TLS here.\r\nb NO [PRIVACYREQUIRED] Logins need TLS here.\r\n");
    /* What stands behind STARTTLS in the clear is dropped. */
    client_say(&client, "c STARTTLS\r\nd NOOP\r\n");
    expect("starttls", client_heard(&client), "c OK Begin TLS negotiation now.\r\n");
    CU_ASSERT(client.session.tls);
    client_say(&client, "e STARTTLS\r\nf CAPABILITY\r\n" LOGIN);
    expect("after", client_heard(&client), "e BAD TLS is on already.\r\n* " BEFORE_CAPABILITY "\r\nf OK Completed.\r\n" LOGGED);
    client_fini(&client);
    fake_tear_down();
}

/* --- logged in ----------------------------------------------------------------------------------------------------------- */

#define FLAGS "\\Seen \\Answered \\Flagged \\Deleted \\Draft"
#define OPENED(exists, recent, unseen, next) \
    "* FLAGS (" FLAGS ")\r\n* OK [PERMANENTFLAGS (" FLAGS " \\*)] Flags permitted.\r\n* " exists " EXISTS\r\n* " recent " RECENT\r\n" unseen \
    "* OK [UIDVALIDITY V] UIDs valid.\r\n* OK [UIDNEXT " next "] Next UID.\r\n"
#define SELECT "S SELECT inbox\r\n"
#define SELECTED OPENED("3", "1", "* OK [UNSEEN 2] First unseen.\r\n", "4") "S OK [READ-WRITE] Opened.\r\n"
#define EXAMINED \
    "* FLAGS (" FLAGS ")\r\n* OK [PERMANENTFLAGS ()] Flags permitted.\r\n* 3 EXISTS\r\n* 1 RECENT\r\n* OK [UNSEEN 2] First unseen.\r\n" \
    "* OK [UIDVALIDITY V] UIDs valid.\r\n* OK [UIDNEXT 4] Next UID.\r\nS OK [READ-ONLY] Opened.\r\n"
#define BAD(tag) tag " BAD Invalid arguments.\r\n"
#define OK(tag) tag " OK Completed.\r\n"

static const struct row logged_in[] = {
    { "capability", "a CAPABILITY\r\n", "* " AFTER_CAPABILITY "\r\na OK Completed.\r\n" },
    { "login again", LOGIN "a STARTTLS\r\n",
      "L BAD You are logged in already.\r\na BAD You are logged in already.\r\n" },
    { "nothing selected", "a CLOSE\r\nb UID FETCH 1 FLAGS\r\nc CHECK\r\n",
      "a BAD Select a mailbox first.\r\n"
      "b BAD Select a mailbox first.\r\n"
      "c BAD Select a mailbox first.\r\n" },
    { "namespace", "a NAMESPACE\r\n", "* NAMESPACE ((\"\" \".\")) NIL NIL\r\na OK Completed.\r\n" },
    { "enable", "a ENABLE CONDSTORE X\r\nb ENABLE\r\n", "* ENABLED\r\na OK Completed.\r\n" BAD("b") },
    { "select", SELECT, SELECTED },
    { "examine", "S EXAMINE INBOX\r\n", EXAMINED },
    { "select none", SELECT "a SELECT nothing\r\nb CHECK\r\n",
      SELECTED "a NO [NONEXISTENT] No such mailbox.\r\nb BAD Select a mailbox first.\r\n" },
    { "select malformed", "a SELECT\r\nb SELECT a b\r\nc SELECT %\r\n", BAD("a") BAD("b") BAD("c") },
    { "create, list", "a CREATE Work\r\nb CREATE Work.Old\r\nc CREATE Sent.\r\nd LIST \"\" *\r\ne LIST \"\" %\r\nf LIST Work. %\r\ng LIST \"\" \"\"\r\n",
      OK("a") OK("b") OK("c")
      "* LIST (\\HasNoChildren) \".\" \"INBOX\"\r\n* LIST (\\HasNoChildren \\Sent) \".\" \"Sent\"\r\n"
      "* LIST (\\HasChildren) \".\" \"Work\"\r\n* LIST (\\HasNoChildren) \".\" \"Work.Old\"\r\n" OK("d")
      "* LIST (\\HasNoChildren) \".\" \"INBOX\"\r\n* LIST (\\HasNoChildren \\Sent) \".\" \"Sent\"\r\n"
      "* LIST (\\HasChildren) \".\" \"Work\"\r\n" OK("e")
      "* LIST (\\HasNoChildren) \".\" \"Work.Old\"\r\n" OK("f") "* LIST (\\Noselect) \".\" \"\"\r\n" OK("g") },
    { "parent without folder", "a CREATE A.B\r\nb LIST \"\" %\r\nc LIST \"\" inbox\r\n",
      OK("a") "* LIST (\\HasNoChildren) \".\" \"INBOX\"\r\n* LIST (\\HasChildren \\Noselect) \".\" \"A\"\r\n" OK("b")
      "* LIST (\\HasNoChildren) \".\" \"INBOX\"\r\n" OK("c") },
    { "list malformed", "a LIST\r\nb LIST \"\"\r\nc LIST \"\" * x\r\nd LIST \"\" * RETURN\r\ne LSUB \"\" * RETURN ()\r\n",
      BAD("a") BAD("b") BAD("c") BAD("d") BAD("e") },
    { "subscribe", "a CREATE A.B\r\nb SUBSCRIBE A.B\r\nc SUBSCRIBE INBOX\r\nd LSUB \"\" *\r\ne LSUB \"\" %\r\nf LIST \"\" A* RETURN (SUBSCRIBED CHILDREN)\r\n"
      "g UNSUBSCRIBE A.B\r\nh LSUB \"\" *\r\n",
      OK("a") OK("b") OK("c") "* LSUB () \".\" \"INBOX\"\r\n* LSUB () \".\" \"A.B\"\r\n" OK("d")
      "* LSUB () \".\" \"INBOX\"\r\n* LSUB (\\Noselect) \".\" \"A\"\r\n" OK("e")
      "* LIST (\\HasChildren \\Noselect) \".\" \"A\"\r\n* LIST (\\HasNoChildren \\Subscribed) \".\" \"A.B\"\r\n" OK("f")
      OK("g") "* LSUB () \".\" \"INBOX\"\r\n" OK("h") },
    { "create again, delete, rename", "a CREATE A\r\nb CREATE A\r\nc RENAME A B\r\nd DELETE A\r\ne DELETE B\r\nf DELETE INBOX\r\ng CREATE INBOX\r\nh RENAME X\r\n"
      "i CREATE a..b\r\n",
      OK("a") "b NO [ALREADYEXISTS] The mailbox is there already.\r\n" OK("c") "d NO [NONEXISTENT] No such mailbox.\r\n" OK("e")
      "f NO [CANNOT] INBOX cannot be deleted.\r\ng NO [ALREADYEXISTS] The mailbox is there already.\r\n" BAD("h")
      "i NO [CANNOT] This name or value cannot be used.\r\n" },
    { "status", "a STATUS inbox (MESSAGES RECENT UIDNEXT UIDVALIDITY UNSEEN SIZE APPENDLIMIT)\r\nb STATUS none (MESSAGES)\r\nc STATUS INBOX ()\r\nd STATUS INBOX (X)\r\n",
      "* STATUS \"INBOX\" (MESSAGES 3 RECENT 1 UIDNEXT 4 UIDVALIDITY V UNSEEN 2 SIZE 69 APPENDLIMIT 100000)\r\n" OK("a")
      "b NO [NONEXISTENT] No such mailbox.\r\n" BAD("c") BAD("d") },
    { "fetch", SELECT "a FETCH 1:* FLAGS\r\nb UID FETCH 2:* (FLAGS)\r\nc FETCH 4 FLAGS\r\nd FETCH 1 (\r\ne UID FETCH 99 FLAGS\r\n",
      SELECTED "* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (FLAGS ())\r\n* 3 FETCH (FLAGS (\\Recent))\r\n" OK("a")
      "* 2 FETCH (UID 2 FLAGS ())\r\n* 3 FETCH (UID 3 FLAGS (\\Recent))\r\n" OK("b") "c BAD No such message number.\r\n" BAD("d") OK("e") },
    { "search", SELECT "a SEARCH UNSEEN\r\nb UID SEARCH ALL\r\nc SEARCH CHARSET x ALL\r\nd SEARCH FOO\r\n",
      SELECTED "* SEARCH 2 3\r\n" OK("a") "* SEARCH 1 2 3\r\n" OK("b")
      "c NO [BADCHARSET (US-ASCII UTF-8)] Unknown charset.\r\n" BAD("d") },
    { "store", SELECT "a STORE 2:3 +FLAGS (\\Deleted)\r\nb UID STORE 1 FLAGS \\Flagged\r\nc STORE 1 -FLAGS.SILENT (\\Flagged)\r\nd FETCH 1 FLAGS\r\n"
      "e STORE 1 FLAGS (\\Recent)\r\nf STORE 1 FLAGS\r\ng STORE 9 FLAGS ()\r\nh STORE 1 FLAGS ()\r\n",
      SELECTED "* 2 FETCH (FLAGS (\\Deleted))\r\n* 3 FETCH (FLAGS (\\Deleted \\Recent))\r\n" OK("a")
      "* 1 FETCH (UID 1 FLAGS (\\Flagged))\r\n" OK("b") OK("c") "* 1 FETCH (FLAGS ())\r\n" OK("d")
      BAD("e") BAD("f") "g BAD No such message number.\r\n* 1 FETCH (FLAGS ())\r\n" OK("h") },
    { "keyword", SELECT "a STORE 1 +FLAGS (Work)\r\n",
      SELECTED "* FLAGS (" FLAGS " Work)\r\n* OK [PERMANENTFLAGS (" FLAGS " Work \\*)] Flags permitted.\r\n"
      "* 1 FETCH (FLAGS (\\Seen Work))\r\n" OK("a") },
    { "expunge", SELECT "a STORE 1,3 +FLAGS.SILENT \\Deleted\r\nb UID EXPUNGE 2:3\r\nc EXPUNGE\r\nd EXPUNGE\r\n",
      SELECTED OK("a") "* 3 EXPUNGE\r\n" OK("b") "* 1 EXPUNGE\r\n" OK("c") OK("d") },
    { "close", SELECT "a STORE 1 +FLAGS.SILENT \\Deleted\r\nb CLOSE\r\nc STATUS INBOX (MESSAGES)\r\n",
      SELECTED OK("a") OK("b") "* STATUS \"INBOX\" (MESSAGES 2)\r\n" OK("c") },
    { "unselect", SELECT "a STORE 1 +FLAGS.SILENT \\Deleted\r\nb UNSELECT\r\nc STATUS INBOX (MESSAGES)\r\n",
      SELECTED OK("a") OK("b") "* STATUS \"INBOX\" (MESSAGES 3)\r\n" OK("c") },
    { "read-only", "S EXAMINE INBOX\r\na STORE 1 FLAGS ()\r\nb EXPUNGE\r\nc UID MOVE 1 A\r\nd CLOSE\r\n",
      EXAMINED "a NO [READ-ONLY] The mailbox was opened for reading only.\r\nb NO [READ-ONLY] The mailbox was opened for reading only.\r\n"
      "c NO [READ-ONLY] The mailbox was opened for reading only.\r\n" OK("d") },
    { "copy", "a CREATE A\r\n" SELECT "b COPY 1:2 A\r\nc UID COPY 3,99 A\r\nd COPY 1 None\r\ne COPY 9 A\r\nf UID COPY 99 A\r\ng STATUS A (MESSAGES UNSEEN)\r\n",
      OK("a") SELECTED "b OK [COPYUID V 1:2 1:2] Completed.\r\nc OK [COPYUID V 3 3] Completed.\r\n"
      "d NO [TRYCREATE] No such mailbox.\r\ne BAD No such message number.\r\nf OK Nothing to do.\r\n"
      "* STATUS \"A\" (MESSAGES 3 UNSEEN 2)\r\n" OK("g") },
    { "copy to itself", SELECT "a COPY 1 INBOX\r\nb MOVE 1 INBOX\r\n",
      SELECTED "* 4 EXISTS\r\n* 2 RECENT\r\na OK [COPYUID V 1 4] Completed.\r\nb NO [CANNOT] The messages are there already.\r\n" },
    { "move", "a CREATE A\r\n" SELECT "b MOVE 1:2 A\r\nc UID MOVE 3 A\r\n",
      OK("a") SELECTED "* OK [COPYUID V 1:2 1:2] Moved.\r\n* 2 EXPUNGE\r\n* 1 EXPUNGE\r\n" OK("b")
      "* OK [COPYUID V 3 3] Moved.\r\n* 1 EXPUNGE\r\n" OK("c") },
    { "delete the selected", "a CREATE A\r\nb SELECT A\r\nc DELETE A\r\nd CHECK\r\n",
      OK("a") OPENED("0", "0", "", "1") "b OK [READ-WRITE] Opened.\r\n" OK("c")
      "d BAD Select a mailbox first.\r\n" },
    { "empty mailbox", "a CREATE A\r\nb SELECT A\r\nc FETCH 1:* FLAGS\r\nd FETCH 1 FLAGS\r\ne UID FETCH 1:* FLAGS\r\n",
      OK("a") OPENED("0", "0", "", "1") "b OK [READ-WRITE] Opened.\r\n" OK("c") "d BAD No such message number.\r\n" OK("e") },
    { "append", "a CREATE A\r\nb APPEND A (\\Seen Work) \"17-Jul-1996 02:44:25 -0700\" {15}\r\nSubject: x\r\n\r\ny\r\nc SELECT A\r\nd FETCH 1 (FLAGS INTERNALDATE RFC822.SIZE)\r\n",
      OK("a") "+ OK\r\nb OK [APPENDUID V 1] Completed.\r\n"
      "* FLAGS (" FLAGS " Work)\r\n* OK [PERMANENTFLAGS (" FLAGS " Work \\*)] Flags permitted.\r\n* 1 EXISTS\r\n* 0 RECENT\r\n"
      "* OK [UIDVALIDITY V] UIDs valid.\r\n* OK [UIDNEXT 2] Next UID.\r\nc OK [READ-WRITE] Opened.\r\n"
      "* 1 FETCH (FLAGS (\\Seen Work) INTERNALDATE \"17-Jul-1996 09:44:25 +0000\" RFC822.SIZE 15)\r\n" OK("d") },
    { "append to the selected", SELECT "a APPEND {5+}\r\nINBOX {3+}\r\nx\r\n\r\n", SELECTED "* 4 EXISTS\r\n* 2 RECENT\r\na OK [APPENDUID V 4] Completed.\r\n" },
    { "append nowhere", "a APPEND None {3}\r\nb APPEND None {3+}\r\nabc\r\nc NOOP\r\n",
      "a NO [TRYCREATE] No such mailbox.\r\nb NO [TRYCREATE] No such mailbox.\r\n" OK("c") },
    { "append far too large", "a APPEND INBOX {99999999999999999999}\r\nb NOOP\r\n", "a NO [TOOBIG] The message is too large.\r\n" OK("b") },
    { "append unasked and beyond 32 bits", "a APPEND INBOX {4294967296+}\r\nb DELETE Box\r\n", "" },
    { "append too large", "a APPEND INBOX {100001}\r\nb NOOP\r\n", "a NO [TOOBIG] The message is too large.\r\n" OK("b") },
    { "append and more", "a APPEND INBOX {3+}\r\nabc x\r\nb NOOP\r\nc STATUS INBOX (MESSAGES)\r\n",
      "a BAD Only one message, and nothing after it.\r\n" OK("b") "* STATUS \"INBOX\" (MESSAGES 3)\r\n" OK("c") },
    { "append malformed", "a APPEND INBOX\r\nb APPEND INBOX (\\Foo) {1+}\r\nx\r\nc APPEND INBOX \"x\" {1+}\r\nx\r\nd APPEND {1+}\r\nx\r\ne NOOP\r\n",
      BAD("a") BAD("b") BAD("c") BAD("d") OK("e") },
    { "idle", SELECT "a IDLE\r\nDONE\r\nb IDLE\r\nnoop\r\nc NOOP\r\n",
      SELECTED "+ idling\r\na OK Completed.\r\n+ idling\r\nb BAD Only DONE ends IDLE.\r\n" OK("c") },
    { "too large a command", "a LIST \"\" {70000}\r\nb NOOP\r\n", "a BAD [TOOBIG] Literal too large.\r\n" OK("b") },
};

static void converse_logged_in(const struct row *row, bool bytewise)
{
    struct client client;
    fake_set_up();
    client_init(&client);
    client_say(&client, LOGIN);
    client_heard(&client);
    for (size_t i = 0; i < strlen(row->in); i++)
        client_feed(&client, row->in + i, bytewise ? 1 : (i == 0 ? strlen(row->in) : 0));
    expect(row->name, client_heard(&client), row->out);
    CU_ASSERT_FALSE(client.closed);
    client_fini(&client);
    fake_tear_down();
}

static void test_logged_in(void)
{
    for (size_t i = 0; i < sizeof(logged_in) / sizeof(logged_in[0]); i++) {
        converse_logged_in(&logged_in[i], false);
        converse_logged_in(&logged_in[i], true);
    }
}

/* --- several things at once ---------------------------------------------------------------------------------------------- */

static void start(struct client *client)
{
    client_init(client);
    client_say(client, LOGIN SELECT);
    client_heard(client);
}

/* What one session does the other hears: at once in IDLE, at a command's end otherwise, but no EXPUNGE after FETCH. */
static void test_two_sessions(void)
{
    struct client a, b;
    fake_set_up();
    start(&a);
    start(&b);
    client_say(&b, "i IDLE\r\n");
    expect("idling", client_heard(&b), "+ idling\r\n");
    client_say(&a, "1 STORE 1 +FLAGS.SILENT (\\Deleted)\r\n2 EXPUNGE\r\n");
    expect("first", client_heard(&a), OK("1") "* 1 EXPUNGE\r\n" OK("2"));
    client_pump(&b);
    expect("told in IDLE", client_heard(&b), "* 1 EXPUNGE\r\n");
    client_say(&b, "DONE\r\n1 STORE 1 +FLAGS.SILENT (\\Deleted Work)\r\n2 EXPUNGE\r\n");
    expect("second", client_heard(&b),
           OK("i") "* FLAGS (" FLAGS " Work)\r\n* OK [PERMANENTFLAGS (" FLAGS " Work \\*)] Flags permitted.\r\n" OK("1")
           "* 1 EXPUNGE\r\n" OK("2"));
    client_say(&a, "3 FETCH 1 UID\r\n");
    expect("no EXPUNGE after FETCH", client_heard(&a),
           "* 1 FETCH (UID 2)\r\n* FLAGS (" FLAGS " Work)\r\n* OK [PERMANENTFLAGS (" FLAGS " Work \\*)] Flags permitted.\r\n" OK("3"));
    client_say(&a, "4 FETCH 1 BODY.PEEK[]\r\n");
    expect("gone", client_heard(&a), "4 NO [EXPUNGEISSUED] Some of the messages have been expunged.\r\n");
    client_say(&a, "5 NOOP\r\n");
    expect("EXPUNGE after NOOP", client_heard(&a), "* 1 EXPUNGE\r\n" OK("5"));
    client_fini(&a);
    client_fini(&b);
    fake_tear_down();
}

/* Mail from others: NOOP looks on disk even where nothing tells of news. */
static void test_new_mail(void)
{
    struct client a;
    fake_set_up();
    start(&a);
    fake_write("new/2000.M9.host", "Subject: new\n\n");
    client_say(&a, "1 NOOP\r\n2 NOOP\r\n");
    expect("new mail", client_heard(&a), "* 4 EXISTS\r\n* 2 RECENT\r\n" OK("1") OK("2"));
    client_fini(&a);
    fake_tear_down();
}

/* IDLE gives a sign of life every two minutes, and looks on disk from time to time by itself. */
static void test_idle_time(void)
{
    struct client a;
    fake_set_up();
    start(&a);
    client_say(&a, "1 IDLE\r\n");
    fake_time_passes(1000);
    client_pump(&a);
    expect("nothing yet", client_heard(&a), "+ idling\r\n");
    fake_write("new/2000.M9.host", "Subject: new\n\n");
    CU_ASSERT(a.wake_after <= 60000);
    fake_time_passes(a.wake_after);
    client_pump(&a);
    expect("new mail", client_heard(&a), "* 4 EXISTS\r\n* 2 RECENT\r\n");
    fake_time_passes(120000);
    client_pump(&a);
    expect("still here", client_heard(&a), "* OK Still here\r\n");
    client_say(&a, "done\r\n");
    expect("done", client_heard(&a), OK("1"));
    client_fini(&a);
    fake_tear_down();
}

static void test_mailbox_gone(void)
{
    struct client a, b;
    fake_set_up();
    start(&b);
    client_init(&a);
    client_say(&a, LOGIN "1 CREATE A\r\n2 SELECT A\r\n");
    client_heard(&a);
    client_say(&b, "1 DELETE A\r\n");
    expect("deleted", client_heard(&b), OK("1"));
    client_say(&a, "3 NOOP\r\n");
    CU_ASSERT(a.closed);
    CU_ASSERT_EQUAL(a.reason, CLOSE_MAILBOX_GONE);
    expect("gone", client_heard(&a), "* BYE The selected mailbox was removed or renumbered.\r\n");
    client_fini(&a);
    client_init(&a);
    client_say(&a, LOGIN "1 CREATE A\r\n2 SELECT A\r\n3 IDLE\r\n");
    client_heard(&a);
    client_say(&b, "2 DELETE A\r\n");
    fake_time_passes(60000);
    client_pump(&a);
    CU_ASSERT(a.closed);
    expect("gone in IDLE", client_heard(&a), "* BYE The selected mailbox was removed or renumbered.\r\n");
    client_fini(&a);
    client_fini(&b);
    fake_tear_down();
}

static void test_unavailable(void)
{
    struct client a;
    fake_set_up();
    start(&a);
    a.step_fails = true;
    client_say(&a, "1 STATUS INBOX (MESSAGES)\r\n");
    expect("step", client_heard(&a), "1 NO [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
    a.step_fails = true;
    client_say(&a, "2 SELECT INBOX\r\n3 CHECK\r\n" SELECT);
    client_heard(&a);
    a.step_fails = true;
    client_say(&a, "4 APPEND INBOX {3+}\r\nxyz\r\n5 NOOP\r\n");
    expect("append", client_heard(&a), "4 NO [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n" OK("5"));
    client_say(&a, "6 APPEND INBOX {3}\r\n");
    a.step_fails = true;
    client_say(&a, "xyz\r\n7 NOOP\r\n");
    expect("append midway", client_heard(&a), "+ OK\r\n6 NO [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n" OK("7"));
    a.step_fails = true;
    client_say(&a, "8 NOOP\r\n");
    expect("no news is no failure", client_heard(&a), OK("8"));
    client_fini(&a);
    fake_tear_down();
}

/* Somebody else holds the lock: each command fails as a whole, and works when the lock is free. */
static void test_locked(void)
{
    static const struct row rows[] = {
        { "store", "1 STORE 1 FLAGS (Work)\r\n", "* FLAGS (" FLAGS " Work)\r\n* OK [PERMANENTFLAGS (" FLAGS " Work \\*)] Flags permitted.\r\n"
          "* 1 FETCH (FLAGS (Work))\r\n" OK("1") },
        { "expunge", "1 EXPUNGE\r\n", OK("1") },
        { "append", "1 APPEND INBOX {3+}\r\nxyz\r\n", "* 4 EXISTS\r\n* 2 RECENT\r\n1 OK [APPENDUID V 4] Completed.\r\n" },
        { "copy", "1 COPY 1 INBOX\r\n", "* 4 EXISTS\r\n* 2 RECENT\r\n1 OK [COPYUID V 1 4] Completed.\r\n" },
        { "read", "1 FETCH 1 BODY[]<0.7>\r\n2 FETCH 2 BODY[]<0.7>\r\n", NULL },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct client a;
        fake_set_up();
        start(&a);
        fake_write("dovecot-uidlist.lock", "1:elsewhere.example.com");
        client_say(&a, rows[i].in);
        if (rows[i].out != NULL) {
            expect(rows[i].name, client_heard(&a), "1 NO [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
            CU_ASSERT(a.again > 0);
        } else {
            CU_ASSERT_PTR_NOT_NULL(strstr(client_heard(&a), "BODY[]<0> {7}\r\nSubject"));
        }
        fake_remove("dovecot-uidlist.lock");
        client_say(&a, rows[i].in);
        if (rows[i].out != NULL)
            expect(rows[i].name, client_heard(&a), rows[i].out);
        client_fini(&a);
        fake_tear_down();
    }
}

/* The post office is not there: login says so, and nothing is created. */
static void test_no_post_office(void)
{
    struct client a;
    fake_set_up();
    fake_tear_down();
    client_init(&a);
    client_pump(&a);
    client_heard(&a);
    client_say(&a, LOGIN "1 SELECT INBOX\r\n");
    expect("no post office", client_heard(&a),
           "L NO [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n1 BAD Log in first.\r\n");
    client_fini(&a);
}

/* The least of the gateway's and the user's own limit counts, and is what APPENDLIMIT says (RFC 7889). */
static void test_append_limit(void)
{
    struct client a;
    fake_set_up();
    fake_user()->imap4_append_size = 10;
    start(&a);
    client_say(&a, "1 APPEND INBOX {11}\r\n2 STATUS INBOX (APPENDLIMIT)\r\n");
    expect("own limit", client_heard(&a), "1 NO [TOOBIG] The message is too large.\r\n* STATUS \"INBOX\" (APPENDLIMIT 10)\r\n2 OK Completed.\r\n");
    fake_user()->imap4_append_size = 200000;
    client_say(&a, "1 APPEND INBOX {100001}\r\n2 CAPABILITY\r\n");
    struct slice heard = slice_from_string(client_heard(&a));
    CU_ASSERT(slice_starts_with(heard, "1 NO [TOOBIG]"));
    CU_ASSERT(slice_find_text(heard, SLICE_LITERAL("APPENDLIMIT=100000 ")) > 0 || slice_find_text(heard, SLICE_LITERAL("APPENDLIMIT=100000\r")) > 0);
    client_fini(&a);
    fake_tear_down();
}

static size_t count_files(const char *directory)
{
    char pattern[256];
    glob_t found = { 0 };
    snprintf(pattern, sizeof(pattern), "%s/joe/Maildir/%s/*", fake_root(), directory);
    size_t count = glob(pattern, 0, NULL, &found) == 0 ? found.gl_pathc : 0;
    globfree(&found);
    return count;
}

/* A small message waits for its last byte and is stored in one step; its mailbox may go while it is on its way. */
static void test_append_at_once(void)
{
    static const char message[] = "Subject: x\r\n\r\nbody\r\n";
    char from[256], to[256];
    struct client a;
    fake_set_up();
    start(&a);
    client_say(&a, "1 CREATE Box\r\n1 SELECT Box\r\n2 APPEND Box {20}\r\n");
    client_heard(&a);
    for (size_t at = 0; at < strlen(message); at++) {
        /* Nothing is in the mailbox, nor half of it in tmp/, while the message is not whole. */
        CU_ASSERT_EQUAL(count_files(".Box/tmp"), 0);
        client_feed(&a, message + at, 1);
    }
    client_feed(&a, "\r", 1);
    CU_ASSERT_EQUAL(count_files(".Box/cur"), 0);
    client_feed(&a, "\n", 1);
    expect("in pieces", client_heard(&a), "* 1 EXISTS\r\n* 1 RECENT\r\n2 OK [APPENDUID V 1] Completed.\r\n");
    CU_ASSERT_EQUAL(count_files(".Box/cur"), 1);
    client_say(&a, "3 APPEND Box {20}\r\n");
    client_heard(&a);
    snprintf(from, sizeof(from), "%s/joe/Maildir/.Box", fake_root());
    snprintf(to, sizeof(to), "%s/joe/Maildir/.Other", fake_root());
    CU_ASSERT_EQUAL(rename(from, to), 0);
    client_say(&a, message);
    client_say(&a, "\r\n");
    expect("gone meanwhile", client_heard(&a), "3 NO [TRYCREATE] No such mailbox.\r\n");
    CU_ASSERT_EQUAL(count_files(".Other/cur"), 1);
    client_fini(&a);
    fake_tear_down();
}

/* Memory stays bounded while the client reads nothing and while a large message comes in; both go on afterwards. */
static void test_bounded(void)
{
    struct client a;
    struct buf message;
    fake_set_up();
    fake_agent()->imap4_max_append_size = 5000000;
    start(&a);
    buf_init(&message, 0);
    buf_append_text(&message, "1 APPEND INBOX {3000000+}\r\n");
    size_t begin = message.len;
    while (message.len < begin + 3000000)
        buf_append_text(&message, "0123456789abcdef0123456789abcdef0123456789abcdef\r\n");
    buf_append_text(&message, "\r\n");
    CU_ASSERT_EQUAL(message.len, begin + 3000002);
    for (size_t at = 0; at < message.len; at += 60000) {
        client_feed(&a, message.data + at, message.len - at < 60000 ? message.len - at : 60000);
        CU_ASSERT(a.session.in.len < 100000);
    }
    expect("large", client_heard(&a), "* 4 EXISTS\r\n* 2 RECENT\r\n1 OK [APPENDUID V 4] Completed.\r\n");
    CU_ASSERT_EQUAL(a.session.in_limit, 16384);
    /* A message that is refused is read to its end too. */
    memcpy(message.data, "1 APPEND NONE1 ", 15);
    client_feed(&a, message.data, message.len);
    expect("refused", client_heard(&a), "1 NO [TRYCREATE] No such mailbox.\r\n");
    a.stuck = true;
    client_say(&a, "2 FETCH 4 BODY.PEEK[]\r\n3 NOOP\r\n");
    CU_ASSERT(a.session.out.len >= SESSION_OUT_CHUNK);
    CU_ASSERT_EQUAL(imap_protocol.farewell(&a.session, CLOSE_ACCESS_REVOKED).len, 0);   /* within a literal */
    a.stuck = false;
    client_pump(&a);
    CU_ASSERT(a.most_out < 3 * SESSION_OUT_CHUNK);
    CU_ASSERT(a.sent.len > 3000000);
    CU_ASSERT(imap_protocol.farewell(&a.session, CLOSE_ACCESS_REVOKED).len > 0);
    CU_ASSERT(slice_ends_with(buf_slice(&a.sent), ")\r\n2 OK Completed.\r\n3 OK Completed.\r\n"));
    buf_fini(&message);
    client_fini(&a);
    fake_tear_down();
}

/* The connection may end anywhere. */
static void test_ends(void)
{
    static const char *const texts[] = {
        "1 APPEND INBOX {100+}\r\nabc", "1 IDLE\r\n", "1 AUTH", "1 LOGIN {5}\r\nab", "1 FETCH 1:* BODY[]\r\n", "", "1 APPEND INBOX {1}\r\nx",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct client a;
        fake_set_up();
        start(&a);
        client_say(&a, texts[i]);
        a.session.eof = true;
        client_pump(&a);
        CU_ASSERT(a.closed);
        CU_ASSERT_EQUAL(a.reason, CLOSE_CLIENT);
        client_fini(&a);
        start(&a);
        client_say(&a, texts[i]);
        client_fini(&a);
        fake_tear_down();
    }
}

/* "IMAP4 read limit": the newest messages only, and what comes later; the others are as if they were not there. */
static void test_read_limit(void)
{
    struct client a;
    fake_set_up();
    fake_agent()->imap4_read_limit = 2;
    start(&a);
    client_say(&a, "S SELECT INBOX\r\n1 FETCH 1:* UID\r\n2 UID FETCH 1 FLAGS\r\n3 UID SEARCH ALL\r\n4 COPY 1 INBOX\r\n");
    expect("read limit", client_heard(&a), OPENED("2", "0", "* OK [UNSEEN 1] First unseen.\r\n", "4") "S OK [READ-WRITE] Opened.\r\n"
           "* 1 FETCH (UID 2)\r\n* 2 FETCH (UID 3)\r\n" OK("1") OK("2") "* SEARCH 2 3\r\n" OK("3")
           "* 3 EXISTS\r\n* 1 RECENT\r\n4 OK [COPYUID V 2 4] Completed.\r\n");
    client_fini(&a);
    fake_tear_down();
}

/* What comes unasked after an APPEND's message is never taken for commands. */
static void test_second_message(void)
{
    struct client a;
    fake_set_up();
    start(&a);
    client_say(&a, "1 APPEND INBOX {3+}\r\nabc {20+}\r\n2 DELETE INBOX\r\n");
    expect("second message", client_heard(&a),
           "1 BAD Only one message, and nothing after it.\r\n* BYE Too many invalid commands, or one too large.\r\n");
    client_fini(&a);
    fake_tear_down();
}

static void test_idle_memory(void)
{
    struct client a;
    fake_set_up();
    start(&a);
    client_say(&a, "1 FETCH 1:* (FLAGS BODY.PEEK[])\r\n");
    buf_shrink(&a.session.out);
    CU_ASSERT_EQUAL(a.session.in.size, 0);
    CU_ASSERT_EQUAL(a.session.out.size, 0);
    client_say(&a, "2 IDLE\r\n");
    CU_ASSERT(a.wake_after > 0 && a.wake_after <= 120000);
    CU_ASSERT_EQUAL(a.session.idle_seconds, 1800);
    CU_ASSERT_PTR_NOT_NULL(a.session.serial_key);
    client_say(&a, "DONE\r\n3 UNSELECT\r\n");
    CU_ASSERT_EQUAL(a.wake_after, 0);
    CU_ASSERT_PTR_NULL(a.session.serial_key);
    client_fini(&a);
    fake_tear_down();
}

/* The fields of a proxy count before the login only; what they are worth is the service's to say. */
static void test_id_of_a_proxy(void)
{
    static const struct { const char *line, *claimed; } rows[] = {
        { "a ID (\"x-originating-ip\" \"192.0.2.7\" \"x-originating-port\" \"4711\" \"x-session-id\" \"p-1\")\r\n", "192.0.2.7 4711" },
        { "a ID (\"X-Originating-Port\" \"99999\" \"X-ORIGINATING-IP\" \"2001:db8::1\")\r\n", "2001:db8::1 0" },
        { "a ID (\"x-originating-ip\" {9}\r\n192.0.2.7)\r\n", "192.0.2.7 0" },
        { "a ID (\"x-originating-ip\" NIL)\r\n", "" },
        { "a ID (\"x-originating-ip\" \"\")\r\n", "" },
        { "a ID (\"x-originating-ip\" \"192.0.2.7\" \"x\")\r\n", "" },
        { "a ID NIL\r\n", "" },
        { LOGIN "b ID (\"x-originating-ip\" \"192.0.2.7\")\r\n", "" },
    };
    fake_set_up();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t split = 0; split < strlen(rows[i].line); split++) {
            struct client client;
            client_init(&client);
            client_feed(&client, rows[i].line, split);
            client_say(&client, rows[i].line + split);
            expect(rows[i].line, client.claimed, rows[i].claimed);
            client_fini(&client);
        }
    fake_tear_down();
}

static const struct unit_test tests[] = {
    { "ID of a proxy", test_id_of_a_proxy }, { "before login", test_before_login }, { "NUL", test_nul }, { "too long", test_too_long }, { "greeting", test_greeting },
    { "STARTTLS", test_starttls }, { "logged in", test_logged_in }, { "two sessions", test_two_sessions }, { "new mail", test_new_mail },
    { "idle time", test_idle_time }, { "mailbox gone", test_mailbox_gone }, { "unavailable", test_unavailable }, { "no post office", test_no_post_office },
    { "locked", test_locked }, { "append at once", test_append_at_once }, { "bounded", test_bounded }, { "append limit", test_append_limit }, { "ends", test_ends }, { "second message", test_second_message }, { "idle memory", test_idle_memory },
    { "read limit", test_read_limit },
};

UNIT_MAIN("imap", tests)
