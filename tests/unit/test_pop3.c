/* Unit tests of src/pop3: login options, conversations as rows (each also split at every byte), and what QUIT leaves in the store. */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "options.h"
#include "pop3_fake.h"
#include "postern/pop3/pop3.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOGIN "USER joe\r\nPASS secret\r\n"
#define LOGGED "+OK Send your password.\r\n+OK Logged in.\r\n"
#define NO_MESSAGE "-ERR There is no such message.\r\n"
#define UNKNOWN "-ERR Unknown command.\r\n"

/* --- options -------------------------------------------------------------------------------------------------------------- */

struct options_row {
    const char *login;
    const char *name;       /* NULL: refused */
    struct pop3_options options;
};

static const struct options_row options_rows[] = {
    { "joe", "joe", { 0 } },
    { "joe:", "joe", { 0 } },
    { "joe@example.com:v=1", "joe@example.com", { .view = 1 } },
    { "joe:v=31", "joe", { .view = 31 } },
    { "joe:v=007", "joe", { .view = 7 } },
    { "joe:v=0", NULL, { 0 } },
    { "joe:v=32", NULL, { 0 } },
    { "joe:v=4294967297", NULL, { 0 } },
    { "joe:v=99999999999999999999999", NULL, { 0 } },
    { "joe:v=", NULL, { 0 } },
    { "joe:v", NULL, { 0 } },
    { "joe:v1", NULL, { 0 } },
    { "joe:v=-1", NULL, { 0 } },
    { "joe:v=+1", NULL, { 0 } },
    { "joe:l=1", "joe", { .limit = 1 } },
    { "joe:l=1000", "joe", { .limit = 1000 } },
    { "joe:l=0", NULL, { 0 } },
    { "joe:l=1001", NULL, { 0 } },
    { "joe:t=1", "joe", { .days = 1 } },
    { "joe:t=1000", "joe", { .days = 1000 } },
    { "joe:t=0", NULL, { 0 } },
    { "joe:t=1001", NULL, { 0 } },
    { "joe:d", "joe", { .removal = POP3_DELETE } },
    { "joe:p", "joe", { .removal = POP3_PURGE } },
    { "joe:m", "joe", { .mime = true } },
    { "joe:n", "joe", { .plain = true } },
    { "joe:s", "joe", { .small_sizes = true } },
    { "joe:v=1sdl=10", "joe", { .view = 1, .small_sizes = true, .removal = POP3_DELETE, .limit = 10 } },
    { "joe:V=2L=3T=4PNS", "joe",
      { .view = 2, .limit = 3, .days = 4, .removal = POP3_PURGE, .plain = true, .small_sizes = true } },
    { "joe:dp", NULL, { 0 } },
    { "joe:nm", NULL, { 0 } },
    { "joe:dd", NULL, { 0 } },
    { "joe:sS", NULL, { 0 } },
    { "joe:v=1v=2", NULL, { 0 } },
    { "joe:v=1v=1", NULL, { 0 } },
    { "joe:x", NULL, { 0 } },
    { "joe:s=1", NULL, { 0 } },
    { "joe:s d", NULL, { 0 } },
    { "joe: s", NULL, { 0 } },
    { "joe:v= 1", NULL, { 0 } },
    { "joe:s:d", NULL, { 0 } },
    { "joe::", NULL, { 0 } },
    { "joe:\xc3\xa4", NULL, { 0 } },
    { ":v=1", NULL, { 0 } },
    { "", NULL, { 0 } },
};

static bool options_equal(const struct pop3_options *a, const struct pop3_options *b)
{
    return a->view == b->view && a->limit == b->limit && a->days == b->days && a->removal == b->removal && a->mime == b->mime &&
           a->plain == b->plain && a->small_sizes == b->small_sizes;
}

static void test_options(void)
{
    for (size_t i = 0; i < COUNT(options_rows); i++) {
        const struct options_row *row = &options_rows[i];
        struct pop3_options options;
        struct slice name;
        const char *error = pop3_options_parse(slice_from_string(row->login), &name, &options);
        bool right = row->name == NULL ? error != NULL
                                       : error == NULL && slice_is(name, row->name) && options_equal(&options, &row->options);
        if (!right)
            fprintf(stderr, "options row '%s': %s\n", row->login, error ? error : "accepted");
        CU_ASSERT(right);
    }
}

static void test_options_and_class(void)
{
    struct pop3_rights rights = { .delete_after_download = true, .high_performance_size = true, .days = 3, .max_messages = 5 };
    struct pop3_options options = { 0 };
    pop3_options_apply(&options, &rights);
    CU_ASSERT(options.removal == POP3_DELETE && options.small_sizes && options.days == 3 && options.limit == 5);
    options = (struct pop3_options){ .removal = POP3_PURGE, .days = 9, .limit = 7 };
    pop3_options_apply(&options, &rights);
    CU_ASSERT(options.removal == POP3_PURGE && options.days == 9 && options.limit == 7);
    rights = (struct pop3_rights){ .purge_after_download = true };
    options = (struct pop3_options){ 0 };
    pop3_options_apply(&options, &rights);
    CU_ASSERT(options.removal == POP3_PURGE && !options.small_sizes && !options.plain);
    rights = (struct pop3_rights){ .plain = true };
    options = (struct pop3_options){ 0 };
    pop3_options_apply(&options, &rights);
    CU_ASSERT(options.plain);
    options = (struct pop3_options){ .mime = true };
    pop3_options_apply(&options, &rights);
    CU_ASSERT(!options.plain);
}

/* --- conversations --------------------------------------------------------------------------------------------------------- */

struct conversation_row {
    const char *title;
    const char *in;
    const char *out;
};

static const struct conversation_row conversations[] = {
    { "login and stat", LOGIN "STAT\r\nQUIT\r\n", LOGGED "+OK 3 77\r\n+OK Bye.\r\n" },
    { "bare LF ends a line too", "USER joe\nPASS secret\nSTAT\nQUIT\n", LOGGED "+OK 3 77\r\n+OK Bye.\r\n" },
    { "case of commands", "user joe\r\nPaSs secret\r\nstat \r\nquit\r\n", LOGGED "+OK 3 77\r\n+OK Bye.\r\n" },
    { "list", LOGIN "LIST\r\nLIST 2\r\nLIST 4\r\nLIST 0\r\nLIST x\r\nLIST 1 2\r\nQUIT\r\n",
      LOGGED "+OK 3 messages (77 octets)\r\n1 29\r\n2 24\r\n3 24\r\n.\r\n+OK 2 24\r\n" NO_MESSAGE NO_MESSAGE
      "-ERR A message number is needed.\r\n-ERR A message number is needed.\r\n+OK Bye.\r\n" },
    { "uidl as Dovecot writes it", LOGIN "UIDL\r\nUIDL 3\r\nUIDL 99999999999999999999\r\nQUIT\r\n",
      LOGGED "+OK\r\n1 000000056b03e470\r\n2 000000076b03e470\r\n3 000000096b03e470\r\n.\r\n+OK 3 000000096b03e470\r\n"
      "-ERR A message number is needed.\r\n+OK Bye.\r\n" },
    { "retr", LOGIN "RETR 1\r\nRETR 2\r\nRETR 3\r\nRETR 4\r\nQUIT\r\n",
      LOGGED "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK 24 octets\r\nSubject: two\r\n\r\nno end\r\n.\r\n"
      "+OK 24 octets\r\nSubject: three\r\n\r\nCRLF\r\n.\r\n" NO_MESSAGE "+OK Bye.\r\n" },
    { "top", LOGIN "TOP 1 0\r\nTOP 1 1\r\nTOP 1 99\r\nTOP 1\r\nTOP 9 1\r\nTOP 1 x\r\nTOP\r\nQUIT\r\n",
      LOGGED "+OK\r\nSubject: one\r\n\r\n.\r\n+OK\r\nSubject: one\r\n\r\nHello\r\n.\r\n"
      "+OK\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n-ERR A message number and a number of lines are needed.\r\n" NO_MESSAGE
      "-ERR A message number and a number of lines are needed.\r\n"
      "-ERR A message number and a number of lines are needed.\r\n+OK Bye.\r\n" },
    { "dele and rset", LOGIN "DELE 1\r\nDELE 1\r\nSTAT\r\nLIST\r\nUIDL 1\r\nRETR 1\r\nRSET\r\nSTAT\r\nNOOP\r\nQUIT\r\n",
      LOGGED "+OK Deleted.\r\n" NO_MESSAGE "+OK 2 48\r\n+OK 2 messages (48 octets)\r\n2 24\r\n3 24\r\n.\r\n" NO_MESSAGE NO_MESSAGE
      "+OK\r\n+OK 3 77\r\n+OK\r\n+OK Bye.\r\n" },
    { "wrong state", "STAT\r\nRETR 1\r\n" LOGIN "USER joe\r\nSTLS\r\nQUIT\r\n",
      "-ERR Log in first.\r\n-ERR Log in first.\r\n" LOGGED
      "-ERR You are logged in already.\r\n-ERR You are logged in already.\r\n+OK Bye.\r\n" },
    { "unknown", "FOO\r\n\r\n STAT\r\nSTATS\r\nQUIT\r\n", UNKNOWN UNKNOWN UNKNOWN UNKNOWN "+OK Bye.\r\n" },
    { "arguments where none belong", "QUIT now\r\n" LOGIN "STAT 1\r\nQUIT\r\n",
      "-ERR This command takes no argument.\r\n" LOGGED "-ERR This command takes no argument.\r\n+OK Bye.\r\n" },
    { "too many errors", "A\r\nB\r\nC\r\nD\r\nE\r\nF\r\nG\r\nH\r\nI\r\nJ\r\nQUIT\r\n",
      UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN UNKNOWN },
    { "wrong password, then right", "USER joe\r\nPASS wrong\r\nPASS secret\r\n" LOGIN "QUIT\r\n",
      "+OK Send your password.\r\n-ERR [AUTH] Authentication failed.\r\n-ERR Send USER first.\r\n" LOGGED "+OK Bye.\r\n" },
    { "blanks of a password count", "USER joe\r\nPASS secret \r\nUSER joe\r\nPASS  secret\r\nQUIT\r\n",
      "+OK Send your password.\r\n-ERR [AUTH] Authentication failed.\r\n"
      "+OK Send your password.\r\n-ERR [AUTH] Authentication failed.\r\n+OK Bye.\r\n" },
    { "directory away", "USER down\r\nPASS secret\r\nQUIT\r\n",
      "+OK Send your password.\r\n-ERR [SYS/TEMP] Login is not possible at the moment.\r\n+OK Bye.\r\n" },
    { "options refused at USER", "USER joe:x\r\nPASS secret\r\nUSER\r\nQUIT\r\n",
      "-ERR Unknown login option: after the colon v=, l=, t=, d, p, m, n and s are known.\r\n-ERR Send USER first.\r\n"
      "-ERR User ID missing.\r\n+OK Bye.\r\n" },
    { "small sizes", "USER joe:s\r\nPASS secret\r\nSTAT\r\nLIST 1\r\nTOP 1 0\r\nQUIT\r\n",
      LOGGED "+OK 3 3072\r\n+OK 1 1024\r\n+OK\r\nSubject: one\r\n\r\n.\r\n+OK Bye.\r\n" },
    { "limit: the newest", "USER joe:l=2\r\nPASS secret\r\nUIDL\r\nQUIT\r\n",
      LOGGED "+OK\r\n1 000000076b03e470\r\n2 000000096b03e470\r\n.\r\n+OK Bye.\r\n" },
    { "auth plain, initial", "AUTH PLAIN AGpvZQBzZWNyZXQ=\r\nSTAT\r\nQUIT\r\n", "+OK Logged in.\r\n+OK 3 77\r\n+OK Bye.\r\n" },
    { "auth plain", "AUTH plain\r\nAGpvZQBzZWNyZXQ=\r\nSTAT\r\nQUIT\r\n", "+ \r\n+OK Logged in.\r\n+OK 3 77\r\n+OK Bye.\r\n" },
    /* joe:s */
    { "auth login with options", "AUTH LOGIN\r\nam9lOnM=\r\nc2VjcmV0\r\nSTAT\r\nQUIT\r\n",
      "+ VXNlcm5hbWU6\r\n+ UGFzc3dvcmQ6\r\n+OK Logged in.\r\n+OK 3 3072\r\n+OK Bye.\r\n" },
    /* joe:q */
    { "auth login with a wrong option", "AUTH LOGIN am9lOnE=\r\nc2VjcmV0\r\nQUIT\r\n",
      "+ UGFzc3dvcmQ6\r\n-ERR Unknown login option: after the colon v=, l=, t=, d, p, m, n and s are known.\r\n+OK Bye.\r\n" },
    { "auth cancelled", "AUTH PLAIN\r\n*\r\nAUTH LOGIN am9l\r\n*\r\nQUIT\r\n",
      "+ \r\n-ERR Authentication cancelled.\r\n+ UGFzc3dvcmQ6\r\n-ERR Authentication cancelled.\r\n+OK Bye.\r\n" },
    { "auth malformed", "AUTH PLAIN =\r\nAUTH PLAIN !!\r\nAUTH CRAM-MD5\r\nQUIT\r\n",
      "-ERR Malformed authentication data.\r\n-ERR Malformed authentication data.\r\n"
      "-ERR Authentication mechanism not supported.\r\n+OK Bye.\r\n" },
    { "auth as somebody else", "AUTH PLAIN YW5uAGpvZQBzZWNyZXQ=\r\nQUIT\r\n", "-ERR [AUTH] Authentication failed.\r\n+OK Bye.\r\n" },
    { "auth alone", "AUTH\r\nQUIT\r\n", "+OK Mechanisms follow.\r\nPLAIN\r\nLOGIN\r\n.\r\n+OK Bye.\r\n" },
    { "capa", "CAPA\r\n" LOGIN "CAPA\r\nQUIT\r\n",
      "+OK Capability list follows.\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE 0 USER\r\nUSER\r\n"
      "SASL PLAIN LOGIN\r\n.\r\n" LOGGED
      "+OK Capability list follows.\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\nUSER\r\n"
      "SASL PLAIN LOGIN\r\n.\r\n+OK Bye.\r\n" },
};

static bool check_sent(const char *title, const char *expected)
{
    const char *sent = fake_sent();
    if (strcmp(sent, expected) == 0)
        return true;
    fprintf(stderr, "%s: got\n%s\ninstead of\n%s\n", title, sent, expected);
    return false;
}

/* In pieces of `first` bytes and then the rest; 0: byte by byte. */
static bool converse(const struct conversation_row *row, size_t first)
{
    size_t len = strlen(row->in);
    fake_start();
    fake_sent();
    if (first != 0) {
        fake_feed(row->in, first);
        fake_feed(row->in + first, len - first);
    } else {
        for (size_t i = 0; i < len; i++)
            fake_feed(row->in + i, 1);
    }
    bool right = check_sent(row->title, row->out) && fake.closed;
    fake_stop();
    return right;
}

static void test_conversations(void)
{
    for (size_t i = 0; i < COUNT(conversations); i++)
        for (size_t first = 0; first <= strlen(conversations[i].in); first++)
            if (!converse(&conversations[i], first)) {
                CU_FAIL("conversation");
                fprintf(stderr, "split at %zu\n", first);
                break;
            } else {
                CU_PASS("conversation");
            }
}

static void start_with(const char *input, const char *expected)
{
    fake_sent();
    fake_feed_text(input);
    CU_ASSERT(check_sent(input, expected));
}

/* --- limits of lines --------------------------------------------------------------------------------------------------------- */

static void test_long_lines(void)
{
    static char line[40000];
    memset(line, 'x', sizeof(line));
    memcpy(line, "NOOP ", 5);
    for (int over = 0; over <= 1; over++) {
        fake_start();
        fake_sent();
        fake_feed(line, (size_t)(253 + over));
        fake_feed_text("\r\nQUIT\r\n");
        CU_ASSERT(check_sent("255 octets", over ? "-ERR The line is too long.\r\n+OK Bye.\r\n" : "-ERR Log in first.\r\n+OK Bye.\r\n"));
        fake_stop();
    }
    fake_start();
    fake_sent();
    fake_feed(line, sizeof(line));
    CU_ASSERT(check_sent("no end yet", ""));
    CU_ASSERT_EQUAL(fake.session.in.len, 0);
    fake_feed_text("\r\nQUIT\r\n");
    CU_ASSERT(check_sent("long line", "-ERR The line is too long.\r\n+OK Bye.\r\n"));
    fake_stop();
}

static void test_long_auth_line(void)
{
    static char line[40000];
    memset(line, 'A', sizeof(line));
    fake_start();
    start_with("AUTH PLAIN\r\n", "+ \r\n");
    fake_feed(line, 12286);
    fake_feed_text("\r\n");
    CU_ASSERT(check_sent("auth line", "-ERR Malformed authentication data.\r\n"));
    start_with("AUTH PLAIN\r\n", "+ \r\n");
    fake_feed(line, sizeof(line));
    fake_feed_text("\r\nQUIT\r\n");
    CU_ASSERT(check_sent("long auth line", "-ERR The line is too long.\r\n+OK Bye.\r\n"));
    fake_stop();
}

/* --- TLS and clear text --------------------------------------------------------------------------------------------------------- */

static void test_stls(void)
{
    fake_start();
    fake.session.clear_login = false;
    fake.session.tls_offered = true;
    start_with("CAPA\r\n", "+OK Capability list follows.\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
                           "EXPIRE 0 USER\r\nSTLS\r\n.\r\n");
    start_with("USER joe\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nAUTH\r\n",
               "-ERR [SYS/PERM] Login is not allowed on an unencrypted connection.\r\n"
               "-ERR [SYS/PERM] Login is not allowed on an unencrypted connection.\r\n"
               "-ERR [SYS/PERM] Login is not allowed on an unencrypted connection.\r\n");
    start_with("STLS\r\nUSER joe\r\nPASS secret\r\n", "+OK Begin TLS negotiation.\r\n");
    CU_ASSERT_EQUAL(fake.tls_starts, 1);
    start_with("PASS secret\r\nSTLS\r\n" LOGIN "QUIT\r\n",
               "-ERR Send USER first.\r\n-ERR TLS is on already.\r\n" LOGGED "+OK Bye.\r\n");
    fake_stop();
}

/* RFC 2595 section 4: what was learned before TLS is forgotten. */
static void test_stls_forgets(void)
{
    fake_start();
    fake.session.tls_offered = true;
    start_with("USER joe\r\nSTLS\r\n", "+OK Send your password.\r\n+OK Begin TLS negotiation.\r\n");
    start_with("PASS secret\r\n", "-ERR Send USER first.\r\n");
    fake_stop();
}

static void test_failed_logins(void)
{
    fake_start();
    fake_sent();
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_FALSE(fake.closed);
        fake_feed_text("USER joe\r\nPASS wrong\r\n");
    }
    CU_ASSERT(fake.closed);
    CU_ASSERT_EQUAL(fake.reason, CLOSE_TOO_MANY_LOGINS);
    fake_stop();
}

/* --- QUIT ---------------------------------------------------------------------------------------------------------------------- */

struct quit_row {
    const char *title;
    const char *in;
    const char *kept;      /* per message: K there, S there and seen, X expunged, T in Trash */
    const char *view1;     /* UIDs of view 1 */
};

#define AS(options) "USER joe:" options "\r\nPASS secret\r\n"

static const struct quit_row quit_rows[] = {
    { "nothing done", LOGIN "QUIT\r\n", "KKK", "" },
    { "no QUIT", LOGIN "RETR 1\r\nDELE 2\r\n", "KKK", "" },
    { "no QUIT, with options", AS("v=1p") "RETR 1\r\nDELE 2\r\n", "KKK", "" },
    { "deleted", LOGIN "DELE 2\r\nQUIT\r\n", "KXK", "" },
    { "deleted and taken back", LOGIN "DELE 2\r\nRSET\r\nDELE 3\r\nQUIT\r\n", "KKX", "" },
    { "retrieved is seen", LOGIN "RETR 1\r\nTOP 2 10\r\nQUIT\r\n", "SKK", "" },
    { "retrieved and deleted", LOGIN "RETR 1\r\nDELE 1\r\nQUIT\r\n", "XKK", "" },
    { "view", AS("v=1") "RETR 1\r\nRETR 3\r\nTOP 2 0\r\nQUIT\r\n", "SKS", "5,9" },
    { "view, one deleted", AS("v=1") "RETR 1\r\nRETR 3\r\nDELE 3\r\nQUIT\r\n", "SKX", "5" },
    { "to Trash", AS("d") "RETR 1\r\nTOP 2 0\r\nQUIT\r\n", "TKK", "" },
    { "to Trash, one deleted", AS("d") "RETR 1\r\nRETR 2\r\nDELE 2\r\nQUIT\r\n", "TXK", "" },
    { "purge", AS("p") "RETR 1\r\nTOP 2 0\r\nDELE 3\r\nQUIT\r\n", "XKX", "" },
};

static void check_kept(const struct quit_row *row)
{
    for (size_t i = 0; i < fake.count; i++) {
        const struct fake_message *m = &fake.messages[i];
        char is = m->expunged ? 'X' : m->trashed ? 'T' : m->flags & MESSAGE_SEEN ? 'S' : 'K';
        if (is != row->kept[i])
            fprintf(stderr, "%s: message %zu is %c\n", row->title, i + 1, is);
        CU_ASSERT_EQUAL(is, row->kept[i]);
        if (is == 'T')
            CU_ASSERT(m->flags & MESSAGE_SEEN);
    }
    struct buf view = { 0 };
    uidset_write(&fake.views[1], &view);
    CU_ASSERT(slice_is(buf_slice(&view), row->view1));
    buf_fini(&view);
}

/* Each also with a lock that is held at first, so that every kind of step is run again. */
static void test_quit(void)
{
    for (size_t i = 0; i < COUNT(quit_rows); i++)
        for (unsigned busy = 0; busy < 8; busy++) {
            fake_start();
            fake.busy = busy;
            fake_feed_text(quit_rows[i].in);
            if (!fake.closed)
                fake_eof();
            CU_ASSERT(fake.closed);
            check_kept(&quit_rows[i]);
            fake_stop();
        }
}

static void test_quit_when_busy(void)
{
    fake_start();
    fake.busy = 3;
    start_with(AS("v=1d") "RETR 1\r\nDELE 2\r\n", LOGGED "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK Deleted.\r\n");
    CU_ASSERT_EQUAL(fake.busy, 0);
    fake.busy = 4;
    start_with("QUIT\r\n", "+OK Bye.\r\n");
    CU_ASSERT_EQUAL(fake.busy, 0);
    CU_ASSERT(fake.messages[0].trashed && fake.messages[1].expunged);
    fake_stop();
}

/* A message that others rename at this moment is found again once the lock is free: no error for the client. */
static void test_retrieve_when_busy(void)
{
    fake_start();
    start_with(LOGIN, LOGGED);
    fake.busy_reads = 3;
    start_with("RETR 1\r\nTOP 1 0\r\n", "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK\r\nSubject: one\r\n\r\n.\r\n");
    CU_ASSERT_EQUAL(fake.busy_reads, 0);
    fake_stop();
}

static void test_quit_fails(void)
{
    fake_start();
    fake.expunge_fails = true;
    start_with(LOGIN "DELE 1\r\nQUIT\r\n", LOGGED "+OK Deleted.\r\n-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
    CU_ASSERT(fake.closed);
    fake_stop();
    fake_start();
    start_with(LOGIN "DELE 1\r\n", LOGGED "+OK Deleted.\r\n");
    fake.step_fails = true;
    start_with("QUIT\r\n", "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
    CU_ASSERT_FALSE(fake.messages[0].expunged);
    fake_stop();
}

/* --- views, days, class ------------------------------------------------------------------------------------------------------------ */

static void test_view_hides(void)
{
    fake_start();
    uidset_add(&fake.views[2], 7);
    start_with(AS("v=2") "UIDL\r\nRETR 1\r\nQUIT\r\n",
               LOGGED "+OK\r\n1 000000056b03e470\r\n2 000000096b03e470\r\n.\r\n"
                      "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK Bye.\r\n");
    CU_ASSERT(uidset_has(&fake.views[2], 5) && uidset_has(&fake.views[2], 7) && !uidset_has(&fake.views[2], 9));
    fake_stop();
}

static void test_days(void)
{
    static const struct { const char *login; const char *stat; } rows[] = {
        { AS("t=1"), LOGGED "+OK 2 48\r\n" },
        { AS("t=4"), LOGGED "+OK 3 77\r\n" },
        { AS("t=1l=1"), LOGGED "+OK 1 24\r\n" },
        { AS("t=1s"), LOGGED "+OK 2 2048\r\n" },
        { LOGIN, LOGGED "+OK 2 48\r\n" },
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        fake_start();
        fake.messages[0].date -= 3 * 86400;
        fake.user.pop3.days = 2;
        fake_sent();
        fake_feed_text(rows[i].login);
        fake_feed_text("STAT\r\n");
        CU_ASSERT(check_sent(rows[i].login, rows[i].stat));
        fake_stop();
    }
}

static void test_class_of_service(void)
{
    fake_start();
    fake.user.pop3 = (struct pop3_rights){ .purge_after_download = true, .max_messages = 1 };
    start_with(LOGIN "STAT\r\nCAPA\r\nRETR 1\r\nQUIT\r\n",
               LOGGED "+OK 1 24\r\n+OK Capability list follows.\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n"
                      "EXPIRE 0\r\nUSER\r\nSASL PLAIN LOGIN\r\n.\r\n"
                      "+OK 24 octets\r\nSubject: three\r\n\r\nCRLF\r\n.\r\n+OK Bye.\r\n");
    CU_ASSERT(fake.messages[2].expunged && !fake.messages[0].expunged);
    fake_stop();
}

/* --- faults ------------------------------------------------------------------------------------------------------------------------- */

static void test_account_faults(void)
{
    fake_start();
    fake.account_fails = true;
    start_with(LOGIN "STAT\r\n", "+OK Send your password.\r\n-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
    CU_ASSERT(fake.closed);
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_STORE_LOGIN_ERROR), 1);
    fake_stop();
    fake_start();
    fake.user.post_office = NULL;
    start_with(LOGIN, "+OK Send your password.\r\n-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
    fake_stop();
    fake_start();
    fake.step_fails = true;
    start_with(LOGIN, "+OK Send your password.\r\n-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
    CU_ASSERT(fake.closed);
    fake_stop();
}

static void test_message_faults(void)
{
    fake_start();
    start_with(LOGIN, LOGGED);
    fake.messages[0].gone = true;
    fake.messages[1].unreadable = true;
    start_with("RETR 1\r\nRETR 2\r\nTOP 1 1\r\nNOOP\r\n",
               "-ERR The message was removed by somebody else.\r\n-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n"
               "-ERR The message was removed by somebody else.\r\n+OK\r\n");
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_STORE_RETRIEVAL_ERROR), 1);
    fake.step_fails = true;
    start_with("RETR 3\r\nNOOP\r\n", "-ERR [SYS/TEMP] The post office does not answer.\r\n+OK\r\n");
    fake.messages[2].shrunk = 3;
    start_with("RETR 3\r\nNOOP\r\n", "+OK 24 octets\r\nSubject: three\r\n\r\nCRL");
    CU_ASSERT(fake.closed);
    CU_ASSERT(slice_is_equal(fake.session.protocol->farewell(&fake.session, CLOSE_SHUTDOWN), SLICE_NONE));
    fake_stop();
    CU_ASSERT_FALSE(fake.messages[2].expunged);
}

static void test_eof(void)
{
    fake_start();
    fake_sent();
    fake.session.eof = true;
    fake_feed_text(LOGIN "DELE 1\r\nQUIT\r\n");
    CU_ASSERT(check_sent("all that came before the end is done", LOGGED "+OK Deleted.\r\n+OK Bye.\r\n"));
    CU_ASSERT(fake.messages[0].expunged);
    fake_stop();
    fake_start();
    fake_eof();
    CU_ASSERT(fake.closed);
    CU_ASSERT_EQUAL(fake.reason, CLOSE_CLIENT);
    fake_stop();
}

/* --- steps ------------------------------------------------------------------------------------------------------------------ */

static void test_few_steps(void)
{
    fake_start();
    fake_sent();
    fake_feed_text(LOGIN "STAT\r\nUIDL\r\nLIST\r\nRETR 1\r\nRETR 2\r\nRETR 3\r\nDELE 1\r\nDELE 2\r\nDELE 3\r\nQUIT\r\n");
    CU_ASSERT_EQUAL(fake.steps, 1);
    CU_ASSERT(fake.closed);
    CU_ASSERT_EQUAL(fake.reason, CLOSE_LOGOUT);
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_MESSAGES_OUT), 3);
    fake_stop();
}

/* A client that waits for each answer: the messages behind the first are read in its step, and the others need none. */
static void test_reading_ahead(void)
{
    fake_start();
    start_with(LOGIN, LOGGED);
    unsigned before = fake.steps;
    start_with("RETR 1\r\n", "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n");
    CU_ASSERT_EQUAL(fake.steps, before + 1);
    start_with("DELE 2\r\nRETR 2\r\nRSET\r\n", "+OK Deleted.\r\n-ERR There is no such message.\r\n+OK\r\n");
    struct buf first = { 0 };
    fake_sent();
    fake_feed_text("RETR 2\r\n");
    buf_append(&first, buf_slice(&fake.sent));
    fake_sent();
    fake_feed_text("RETR 3\r\n");
    CU_ASSERT_EQUAL(fake.steps, before + 1);
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_MESSAGES_OUT), 3);
    /* The same again is read again, and is the same. */
    fake_sent();
    fake_feed_text("RETR 2\r\n");
    CU_ASSERT_EQUAL(fake.steps, before + 2);
    CU_ASSERT(first.len > 5 && slice_is_equal(buf_slice(&first), buf_slice(&fake.sent)));
    buf_fini(&first);
    start_with("QUIT\r\n", "+OK Bye.\r\n");
    fake_stop();
}

/* More answers than a step may put into the output: lists and messages stop midway and go on when it has drained. */
static void test_full_output(void)
{
    static const char answer[] = "+OK\r\n1 000000056b03e470\r\n2 000000076b03e470\r\n3 000000096b03e470\r\n.\r\n"
                                 "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n";
    static char commands[1000 * 14 + 1];
    for (size_t i = 0; i < 1000; i++)
        memcpy(commands + i * 14, "UIDL\r\nRETR 1\r\n", 15);
    fake_start();
    start_with(LOGIN, LOGGED);
    fake_feed_text(commands);
    CU_ASSERT_EQUAL(fake.sent.len, 1000 * (sizeof(answer) - 1));
    for (size_t at = 0; at + sizeof(answer) - 1 <= fake.sent.len; at += sizeof(answer) - 1)
        CU_ASSERT_FATAL(memcmp(fake.sent.data + at, answer, sizeof(answer) - 1) == 0);
    CU_ASSERT(fake.most_out > SESSION_OUT_CHUNK / 2 && fake.most_out < SESSION_OUT_CHUNK + 4096);
    fake_stop();
}

/* A client that does not read hears nothing new, and loses nothing. */
static void test_slow_client(void)
{
    fake_start();
    start_with(LOGIN, LOGGED);
    fake.session.out_full = true;
    start_with("STAT\r\nNOOP\r\n", "");
    fake.session.out_full = false;
    start_with("RSET\r\n", "+OK 3 77\r\n+OK\r\n+OK\r\n");
    fake_stop();
}

static void test_farewell(void)
{
    fake_start();
    CU_ASSERT(slice_starts_with(pop3_protocol.farewell(&fake.session, CLOSE_SHUTDOWN), "-ERR [SYS/TEMP] "));
    CU_ASSERT_EQUAL(pop3_protocol.farewell(&fake.session, CLOSE_IDLE).len, 0);   /* RFC 1939 section 3 */
    struct session unborn = { 0 };
    CU_ASSERT(slice_ends_with(pop3_protocol.farewell(&unborn, CLOSE_TOO_MANY_CONNECTIONS), "\r\n"));
    pop3_protocol.fini(&unborn);
    fake_stop();
}

static const struct unit_test tests[] = {
    { "login options", test_options },
    { "login options and class of service", test_options_and_class },
    { "conversations", test_conversations },
    { "long lines", test_long_lines },
    { "long AUTH lines", test_long_auth_line },
    { "STLS", test_stls },
    { "STLS forgets", test_stls_forgets },
    { "failed logins", test_failed_logins },
    { "QUIT", test_quit },
    { "QUIT when busy", test_quit_when_busy },
    { "RETR when busy", test_retrieve_when_busy },
    { "QUIT fails", test_quit_fails },
    { "a view hides", test_view_hides },
    { "days", test_days },
    { "class of service", test_class_of_service },
    { "account faults", test_account_faults },
    { "message faults", test_message_faults },
    { "end of input", test_eof },
    { "few steps", test_few_steps },
    { "reading ahead", test_reading_ahead },
    { "full output", test_full_output },
    { "slow client", test_slow_client },
    { "farewell", test_farewell },
};

UNIT_MAIN("pop3", tests)
