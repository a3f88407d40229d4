/* Unit tests of what lies between a client and its POA: conversations, each fed as a whole, byte by byte, and cut at every byte. */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "../../src/imap/relay_scan.h"

enum { STEPS = 8 };

struct step {
    char from;             /* C: client, P: POA */
    const char *in;
    const char *out;       /* all that comes out on the other side */
    const char *left;      /* what is not taken yet; NULL: nothing */
};

struct row {
    const char *name;
    struct step steps[STEPS];
};

static const struct row rows[] = {
    { "plain", { { 'C', "a NOOP\r\nb FETCH 1 FLAGS\r\n", "a NOOP\r\nb FETCH 1 FLAGS\r\n", NULL },
                 { 'P', "a OK x\r\n* 1 FETCH (FLAGS ())\r\nb OK y\r\n", "a OK x\r\n* 1 FETCH (FLAGS ())\r\nb OK y\r\n", NULL } } },
    { "a line's end is waited for", { { 'C', "a NOOP", "", "a NOOP" }, { 'C', "\r\nb", "a NOOP\r\n", "b" } } },
    { "literal to the client", { { 'P', "* 1 FETCH (BODY[] {12}\r\na OK {3}\r\n\r\n UID 4)\r\na OK done\r\n",
                                   "* 1 FETCH (BODY[] {12}\r\na OK {3}\r\n\r\n UID 4)\r\na OK done\r\n", NULL } } },
    { "literal8 to the client", { { 'P', "* 1 FETCH (BINARY[1] ~{15}\r\n* CAPABILITY X\n)\r\n",
                                    "* 1 FETCH (BINARY[1] ~{15}\r\n* CAPABILITY X\n)\r\n", NULL } } },
    { "empty literal", { { 'P', "* 1 FETCH (BODY[] {0}\r\n)\r\n* CAPABILITY AUTH=PLAIN\r\n",
                           "* 1 FETCH (BODY[] {0}\r\n)\r\n* CAPABILITY APPENDLIMIT=100\r\n", NULL } } },
    { "words end in braces", { { 'P', "* OK hello {5}\r\n* CAPABILITY AUTH=PLAIN\r\n", "* OK hello {5}\r\n* CAPABILITY APPENDLIMIT=100\r\n", NULL } } },
    { "capabilities", { { 'C', "a CAPABILITY\r\n", "a CAPABILITY\r\n", NULL },
                        { 'P', "* CAPABILITY IMAP4rev1 LITERAL+ SASL-IR LOGIN-REFERRALS MAILBOX-REFERRALS STARTTLS AUTH=PLAIN COMPRESS=DEFLATE CONDSTORE "
                               "QRESYNC UIDPLUS LOGINDISABLED\r\na OK [CAPABILITY IMAP4rev1 AUTH=X condstore MOVE] x {9}\r\n",
                          "* CAPABILITY IMAP4rev1 LITERAL+ UIDPLUS APPENDLIMIT=100\r\n"
                          "a OK [CAPABILITY IMAP4rev1 MOVE APPENDLIMIT=100] x {9}\r\n", NULL } } },
    { "their limit is smaller", { { 'P', "* CAPABILITY APPENDLIMIT=50 X\r\n", "* CAPABILITY X APPENDLIMIT=50\r\n", NULL } } },
    { "their limit is larger", { { 'P', "* CAPABILITY APPENDLIMIT=500\r\n* CAPABILITY APPENDLIMIT\r\n",
                                   "* CAPABILITY APPENDLIMIT=100\r\n* CAPABILITY APPENDLIMIT=100\r\n", NULL } } },
    { "no capability", { { 'P', "* CAPABILITYX AUTH=A\r\n* OKAY AUTH=A\r\n", "* CAPABILITYX AUTH=A\r\n* OKAY AUTH=A\r\n", NULL } } },
    { "refused", { { 'C', "a COMPRESS DEFLATE\r\nb starttls\r\nc LOGIN joe x\r\nd NOOP\r\n", "a NOOP\r\nb NOOP\r\nc NOOP\r\nd NOOP\r\n", NULL },
                   { 'P', "* 2 EXISTS\r\na OK Done\r\nb OK Done\r\nc OK Done\r\nd OK Done\r\n",
                     "* 2 EXISTS\r\na NO [CANNOT] Compression is not offered.\r\nb BAD You are logged in already.\r\n"
                     "c BAD You are logged in already.\r\nd OK Done\r\n", NULL } } },
    { "refused with literals", { { 'C', "a LOGIN {3+}\r\njoe {4+}\r\na {9\r\nb NOOP\r\n", "a NOOP\r\nb NOOP\r\n", NULL },
                                 { 'P', "a OK Done\r\nb OK\r\n", "a BAD You are logged in already.\r\nb OK\r\n", NULL } } },
    { "refused, no literal", { { 'C', "a LOGIN {1+}\r\nx {2+}\r\r\nb NOOP\r\n", "a NOOP\r\nb NOOP\r\n", NULL } } },
    { "refused with one to wait for", { { 'C', "a LOGIN {3}\r\nb NOOP\r\n", "a NOOP\r\nb NOOP\r\n", NULL } } },
    { "refused without a tag", { { 'C', "+ UNAUTHENTICATE\r\n", "postern NOOP\r\n", NULL },
                                 { 'P', "postern OK Done\r\n", "* BAD Unknown command.\r\n", NULL } } },
    { "enable", { { 'C', "a ENABLE CONDSTORE UTF8=ACCEPT QRESYNC\r\nb ENABLE X\r\n", "a ENABLE UTF8=ACCEPT\r\nb ENABLE X\r\n", NULL } } },
    { "enable nothing", { { 'C', "a enable QRESYNC\r\n", "a NOOP\r\n", NULL }, { 'P', "a OK x\r\n", "* ENABLED\r\na OK Completed.\r\n", NULL } } },
    { "literal to the POA", { { 'C', "a APPEND x {4}\r\nb NO\r\nc NOOP\r\n", "a APPEND x {4}\r\n", "b NO\r\nc NOOP\r\n" },
                              { 'P', "+ go {3}\r\n", "+ go {3}\r\n", NULL },
                              { 'C', "", "b NO\r\nc NOOP\r\n", NULL } } },
    { "literal that the POA refuses", { { 'C', "a APPEND x {4}\r\nb LOGIN x y\r\n", "a APPEND x {4}\r\n", "b LOGIN x y\r\n" },
                                        { 'P', "a NO [TRYCREATE] x\r\n", "a NO [TRYCREATE] x\r\n", NULL },
                                        { 'C', "", "b NOOP\r\n", NULL } } },
    { "unasked literals", { { 'C', "a APPEND {1+}\r\nx {8+}\r\n {9+}\r\n\r\r\nb COMPRESS X\r\n", "a APPEND {1+}\r\nx {8+}\r\n {9+}\r\n\r\r\nb NOOP\r\n",
                              NULL } } },
    { "literal8 to the POA", { { 'C', "a APPEND x ~{3+}\r\n\r\n{\r\n", "a APPEND x ~{3+}\r\n\r\n{\r\n", NULL } } },
    { "too large, to wait for", { { 'C', "a APPEND x {101}\r\nb NOOP\r\n", "a NOOP\r\nb NOOP\r\n", NULL },
                                  { 'P', "a OK\r\n", "a NO [TOOBIG] The message is larger than allowed.\r\n", NULL } } },
    { "too large, unasked", { { 'C', "a APPEND x {101+}\r\n"
                                     "0123456789012345678901234567890123456789012345678\r\n01234567890123456789012345678901234567890123456789"
                                     "\r\nb NOOP\r\n", "a NOOP\r\nb NOOP\r\n", NULL } } },
    { "the second is too large", { { 'C', "a APPEND x {1+}\r\ny {99999999999999999999}\r\nb NOOP\r\n", "a APPEND x {1+}\r\ny)\r\nb NOOP\r\n", NULL },
                                   { 'P', "a BAD x\r\nb OK\r\n", "a NO [TOOBIG] The message is larger than allowed.\r\nb OK\r\n", NULL } } },
    { "idle", { { 'C', "a IDLE\r\nDONE\r\nb NOOP\r\n", "a IDLE\r\n", "DONE\r\nb NOOP\r\n" },
                { 'P', "* 1 EXISTS\r\n+ idling\r\n", "* 1 EXISTS\r\n+ idling\r\n", NULL },
                { 'C', "", "DONE\r\nb NOOP\r\n", NULL } } },
    { "idle refused", { { 'C', "a IDLE\r\nLOGIN LOGIN\r\n", "a IDLE\r\n", "LOGIN LOGIN\r\n" },
                        { 'P', "a BAD no\r\n", "a BAD no\r\n", NULL },
                        { 'C', "", "LOGIN NOOP\r\n", NULL } } },
    { "logout", { { 'C', "a LOGOUT\r\nb NOOP\r\n", "a LOGOUT\r\n", "b NOOP\r\n" },
                  { 'P', "* BYE x\r\na OK y\r\n", "* BYE x\r\na OK y\r\n", NULL } } },
    { "the POA's own BYE is kept back", { { 'P', "* BYE shutting down\r\n", "", NULL } } },
    { "bare LF", { { 'C', "a COMPRESS X\nb NOOP\n", "a NOOP\r\nb NOOP\n", NULL }, { 'P', "a OK\n* BYE x\n", "a NO [CANNOT] Compression is not offered.\r\n", NULL } } },
    { "empty lines", { { 'C', "\r\n\r\na NOOP\r\n", "\r\n\r\na NOOP\r\n", NULL } } },
};

static void feed(struct relay_scan *scan, struct buf *in, struct buf *heard, char from, const char *bytes, size_t len)
{
    struct buf out = { .cap = 0 };
    buf_append(in, slice_make(bytes, len));
    if (from == 'C')
        relay_scan_client(scan, in, &out);
    else
        CU_ASSERT(relay_scan_poa(scan, in, &out) == 0);
    buf_append(heard, buf_slice(&out));
    buf_fini(&out);
}

/* What may pass unseen does not come to the scan. */
static void feed_rest(struct relay_scan *scan, struct buf *in, struct buf *heard, char from, const char *bytes, size_t len)
{
    uint64_t bulk = from == 'P' && in->len == 0 ? relay_scan_bulk(scan) : 0;
    size_t passed = bulk < len ? (size_t)bulk : len;
    buf_append(heard, slice_make(bytes, passed));
    relay_scan_passed(scan, passed);
    feed(scan, in, heard, from, bytes + passed, len - passed);
}

/* cut 0: whole; 1: every byte by itself; else one cut in each step. */
static void play(const struct row *row, size_t cut, void (*feed_all)(struct relay_scan *, struct buf *, struct buf *, char, const char *, size_t))
{
    struct relay_scan scan;
    struct buf client = { .cap = 0 }, poa = { .cap = 0 };
    relay_scan_init(&scan, (struct relay_rules){ true, 100 });
    for (size_t i = 0; i < STEPS && row->steps[i].in != NULL; i++) {
        const struct step *step = &row->steps[i];
        struct buf heard = { .cap = 0 }, *in = step->from == 'C' ? &client : &poa;
        size_t len = strlen(step->in), at = 0;
        if (cut == 1)
            for (; at < len; at++)
                feed_all(&scan, in, &heard, step->from, step->in + at, 1);
        else if (cut < len && cut > 0) {
            feed_all(&scan, in, &heard, step->from, step->in, cut);
            at = cut;
        }
        feed_all(&scan, in, &heard, step->from, step->in + at, len - at);
        bool good = slice_is(buf_slice(&heard), step->out) && slice_is(buf_slice(in), step->left != NULL ? step->left : "");
        CU_ASSERT(good);
        if (!good)
            printf("\n%s, step %zu, cut %zu: heard\n%.*s--- left\n%.*s\n", row->name, i, cut, SLICE_ARG(buf_slice(&heard)),
                   SLICE_ARG(buf_slice(in)));
        buf_fini(&heard);
    }
    relay_scan_fini(&scan);
    buf_fini(&client);
    buf_fini(&poa);
}

static void test_conversations(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t cut = 0; cut < 250; cut++) {
            play(&rows[i], cut, feed);
            play(&rows[i], cut, feed_rest);
        }
}

/* --- one scan, its state ---------------------------------------------------------------------------------------------------- */

static struct relay_scan scan;
static struct buf up, down, heard;

static void begin(void)
{
    relay_scan_init(&scan, (struct relay_rules){ false, UINT64_MAX });
}

static void end(void)
{
    relay_scan_fini(&scan);
    buf_fini(&up);
    buf_fini(&down);
    buf_fini(&heard);
}

static void client(const char *text)
{
    feed(&scan, &up, &heard, 'C', text, strlen(text));
}

static void poa(const char *text)
{
    feed(&scan, &down, &heard, 'P', text, strlen(text));
}

static void test_selected(void)
{
    static const struct { const char *command, *answer; bool selected; } steps[] = {
        { "a SELECT x\r\n", "a OK [READ-WRITE] x\r\n", true }, { "a SELECT\r\n", "a BAD x\r\n", true },
        { "a EXAMINE y\r\n", "a NO x\r\n", false },            { "b EXAMINE x\r\n", "b ok x\r\n", true },
        { "c CLOSE\r\n", "c NO x\r\n", true },                 { "c UNSELECT\r\n", "c OK x\r\n", false },
        { "d select {1+}\r\nx\r\n", "d OK x\r\n", true },      { "e CLOSE\r\n", "e OK x\r\n", false },
    };
    begin();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        client(steps[i].command);
        CU_ASSERT(!relay_scan_is_quiet(&scan));
        poa(steps[i].answer);
        CU_ASSERT(relay_scan_is_quiet(&scan));
        CU_ASSERT_EQUAL(scan.selected, steps[i].selected);
    }
    end();
}

/* Whose turn is it? */
static void test_owed(void)
{
    static const struct { char from; const char *bytes; bool owed; } steps[] = {
        { 'C', "a NOO", false },    { 'C', "P\r\n", true },       { 'P', "a OK\r\n", false },     { 'C', "b IDLE\r\n", true },
        { 'P', "+ \r\n", false },   { 'C', "DONE\r\n", true },    { 'P', "b OK\r\n", false },     { 'C', "c APPEND x {3}\r\n", true },
        { 'P', "+ \r\n", false },   { 'C', "ab", false },         { 'C', "c\r\n", true },         { 'P', "c OK\r\n", false },
        { 'C', "d FETCH 1 BODY[]\r\ne APPEND x {3+}\r\na", true }, { 'P', "* 1 FETCH (BODY[] {2}\r\nx", true },
        { 'P', "y)\r\nd OK\r\n", false }, { 'C', "bc\r\n", true }, { 'P', "* 1 EXISTS\r\n", true }, { 'P', "e NO\r\n", false },
        { 'P', "* 2 EXISTS\r\n", false },   { 'P', "* 2 EXI", true }, { 'P', "STS\r\n", false },
    };
    begin();
    for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        (steps[i].from == 'C' ? client : poa)(steps[i].bytes);
        CU_ASSERT_EQUAL(relay_scan_is_owed(&scan), steps[i].owed);
        if (relay_scan_is_owed(&scan) != steps[i].owed)
            printf("\nstep %zu\n", i);
    }
    end();
}

static void test_boundaries(void)
{
    begin();
    client("a FETCH 1:* BODY[]\r\n");
    CU_ASSERT(relay_scan_is_between_responses(&scan));
    poa("* 1 FETCH (BODY[] {10}\r\n12345");
    CU_ASSERT_FALSE(relay_scan_is_between_responses(&scan));
    poa("678\r\n");
    CU_ASSERT_FALSE(relay_scan_is_between_responses(&scan));
    poa(")\r\n");
    CU_ASSERT(relay_scan_is_between_responses(&scan));
    poa("a OK do");
    CU_ASSERT(relay_scan_is_between_responses(&scan));   /* held until it is whole */
    CU_ASSERT_FALSE(relay_scan_is_quiet(&scan));
    poa("ne\r\n");
    CU_ASSERT(relay_scan_is_quiet(&scan));
    client("b IDLE\r\n");
    CU_ASSERT_FALSE(relay_scan_is_idling(&scan));
    poa("+ \r\n");
    CU_ASSERT(relay_scan_is_idling(&scan));
    client("DONE\r\n");
    CU_ASSERT_FALSE(relay_scan_is_idling(&scan));
    poa("b OK\r\n");
    CU_ASSERT(relay_scan_is_quiet(&scan));
    client("c APPEND x {3+}\r\nab");
    poa("c NO early\r\n");
    CU_ASSERT_FALSE(relay_scan_is_quiet(&scan));
    client("c\r\n");
    CU_ASSERT(relay_scan_is_quiet(&scan));
    poa("* BYE\r\n");
    CU_ASSERT(scan.bye);
    end();
}

static void test_sticky(void)
{
    begin();
    client("a ENABLE CONDSTORE\r\n");
    poa("a NO x\r\n");
    CU_ASSERT_FALSE(scan.sticky);
    client("b ENABLE CONDSTORE\r\n");
    CU_ASSERT(slice_ends_with(buf_slice(&heard), "b ENABLE CONDSTORE\r\n"));
    poa("b OK x\r\n");
    CU_ASSERT(scan.sticky);
    client("c LOGOUT now\r\n");
    poa("c BAD x\r\n");
    CU_ASSERT_FALSE(scan.logged_out);
    client("d LOGOUT\r\n");
    poa("* BYE\r\nd OK x\r\n");
    CU_ASSERT(scan.logged_out);
    end();
}

static void feed_many(char byte, size_t count)
{
    char bytes[1000];
    memset(bytes, byte, sizeof(bytes));
    for (; count > 0; count -= count < sizeof(bytes) ? count : sizeof(bytes))
        feed(&scan, &up, &heard, 'C', bytes, count < sizeof(bytes) ? count : sizeof(bytes));
}

static void test_long_lines(void)
{
    begin();
    client("a SEARCH ");
    feed_many('x', RELAY_LINE_MAX - 9);
    client("\r\n");
    CU_ASSERT_EQUAL(heard.len, RELAY_LINE_MAX + 2);
    buf_clear(&heard);
    client("b SEARCH ");
    feed_many('x', 3 * RELAY_LINE_MAX);
    client(" {7+}\r");
    client("\nc NOO\r\n\r\nd NOOP\r\n");
    CU_ASSERT(slice_is(buf_slice(&heard), "b NOOP\r\nd NOOP\r\n"));
    buf_clear(&heard);
    poa("a OK\r\nb OK\r\n");
    CU_ASSERT(slice_is(buf_slice(&heard), "a OK\r\nb BAD [TOOBIG] Command too long.\r\n"));
    buf_clear(&heard);
    client("e APPEND {1+}\r\nx");
    feed_many('x', 2 * RELAY_LINE_MAX);
    client("\r\nf NOOP\r\n");
    CU_ASSERT(slice_is(buf_slice(&heard), "e APPEND {1+}\r\nx)\r\nf NOOP\r\n"));
    end();
}

static void test_no_imap(void)
{
    struct buf in = { .cap = 0 }, out = { .cap = 0 };
    begin();
    while (in.len <= RELAY_IN_LIMIT - 8)
        buf_append_text(&in, "garbage.");
    CU_ASSERT(relay_scan_poa(&scan, &in, &out) < 0);
    CU_ASSERT(out.len == 0);
    static const char *const lines[] = { "HTTP/1.1 400 Bad\r\n", "\001\377\r\n", "a\r\n", "a OKAY x\r\n" };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        buf_clear(&in);
        buf_append_text(&in, lines[i]);
        CU_ASSERT(relay_scan_poa(&scan, &in, &out) < 0);
        CU_ASSERT(out.len == 0);
    }
    buf_fini(&in);
    buf_fini(&out);
    end();
}

static void test_long_responses(void)
{
    begin();
    poa("* SEARCH");
    for (int i = 0; i < 100000; i++)
        poa(" 123");
    poa("\r\na OK\r\n");
    CU_ASSERT_EQUAL(heard.len, 8 + 400000 + 8);
    end();
}

/* What waits is bounded: no more commands are taken than can be remembered. */
static void test_many_commands(void)
{
    begin();
    for (int i = 0; i < 1000; i++)
        client("a COMPRESS X\r\n");
    CU_ASSERT_EQUAL(heard.len, 256 * 8);
    CU_ASSERT_EQUAL(up.len, 744 * 14);
    buf_clear(&heard);
    for (int i = 0; i < 256; i++)
        poa("a OK\r\n");
    buf_clear(&heard);
    client("");
    CU_ASSERT_EQUAL(heard.len, 256 * 8);
    scan.stop = true;
    for (int i = 0; i < 256; i++)
        poa("a OK\r\n");
    buf_clear(&heard);
    client("");
    CU_ASSERT_EQUAL(heard.len, 0);
    end();
}

static const struct unit_test tests[] = {
    { "conversations", test_conversations }, { "selected", test_selected },   { "boundaries", test_boundaries }, { "owed", test_owed },
    { "sticky", test_sticky },               { "long lines", test_long_lines }, { "no imap", test_no_imap },
    { "long responses", test_long_responses }, { "many commands", test_many_commands },
};

UNIT_MAIN("relay scan", tests)
