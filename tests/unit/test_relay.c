/* Unit tests of relayed sessions: the client and the POA are both the test. */
#include "imap_fake.h"
#include "postern/imap/imap.h"
#include "run.h"

#include <stdio.h>
#include <string.h>

#define LOGIN "L LOGIN joe \"se\\\"cret\"\r\n"

static struct client client;
static struct remote remote;
static bool short_way;     /* as the service does it: what comes while nothing is kept is not kept either */

static void begin(void)
{
    fake_set_up();
    remote = (struct remote){ .in_limit = 16384 };
    buf_append_text(&remote.capability, "IMAP4rev1 AUTH=PLAIN IDLE");
    client_init(&client);
    client_pump(&client);
    client_heard(&client);
    client.session.remote = &remote;
}

static void end(void)
{
    client_fini(&client);
    buf_fini(&remote.in);
    buf_fini(&remote.out);
    buf_fini(&remote.capability);
    fake_tear_down();
}

static void client_hears(const char *wanted)
{
    const char *heard = client_heard(&client);
    bool equal = strcmp(heard, wanted) == 0;
    CU_ASSERT(equal);
    if (!equal)
        printf("\n--- client heard\n%s--- wanted\n%s---\n", heard, wanted);
}

static void poa_hears(const char *wanted)
{
    bool equal = slice_is(buf_slice(&remote.out), wanted);
    CU_ASSERT(equal);
    if (!equal)
        printf("\n--- POA heard\n%.*s--- wanted\n%s---\n", SLICE_ARG(buf_slice(&remote.out)), wanted);
    buf_clear(&remote.out);
}

/* True if nothing is left to do. */
static bool pass(bool from_client, const char *text)
{
    char copy[256];
    size_t len = strlen(text);
    struct session *s = &client.session;
    struct buf *in = from_client || s->remote == NULL ? &s->in : &remote.in, lent = { .data = copy, .len = len, .size = len }, onward = { .cap = 0 };
    CU_ASSERT_FATAL(len < sizeof(copy));
    memcpy(copy, text, len);
    bool kept = s->in.len + s->out.len + remote.in.len > 0 || s->eof || client.stuck || client.closed || remote.eof || remote.end_wanted || remote.out_full;
    bool done = short_way && !kept && s->remote != NULL && imap_protocol.pass(s, from_client, &lent, &onward);
    buf_append(from_client ? &remote.out : &client.sent, buf_slice(&onward));
    if (onward.data != copy)
        buf_fini(&onward);
    else
        CU_ASSERT_PTR_NULL(lent.data);
    buf_append(in, buf_slice(&lent));
    return done;
}

static void says(const char *text)
{
    if (!pass(true, text))
        client_pump(&client);
}

static void poa_says(const char *text)
{
    if (!pass(false, text))
        client_pump(&client);
}

static void poa_dies(void)
{
    remote.eof = true;
    client_pump(&client);
}

static void log_in(void)
{
    begin();
    says(LOGIN);
    client_hears("L OK [CAPABILITY IMAP4rev1 IDLE APPENDLIMIT=100000] Logged in.\r\n");
}

static void test_login(void)
{
    log_in();
    CU_ASSERT_PTR_NULL(remote.capability.data);
    says("a NOOP\r\nb LOGIN x y\r\n");
    poa_hears("a NOOP\r\nb NOOP\r\n");
    poa_says("a OK\r\nb OK\r\n");
    client_hears("a OK\r\nb BAD You are logged in already.\r\n");
    CU_ASSERT_PTR_NULL(client.session.in.data);
    CU_ASSERT_PTR_NULL(remote.in.data);
    says("c LOGOUT\r\nd NOOP\r\n");
    poa_hears("c LOGOUT\r\n");
    poa_says("* BYE x\r\nc OK y\r\n");
    client_hears("* BYE x\r\nc OK y\r\n");
    CU_ASSERT(client.closed && client.reason == CLOSE_LOGOUT);
    end();
}

/* Commands that came with the login, and a POA that says nothing of its capabilities. */
static void test_pipelined_login(void)
{
    begin();
    buf_clear(&remote.capability);
    says(LOGIN "a SELECT INBOX\r\n");
    client_hears("L OK Logged in.\r\n");
    poa_hears("a SELECT INBOX\r\n");
    end();
}

/* The gateway may send the middle of a literal on by itself; what follows is read again, and an end waits for it. */
static void test_bulk(void)
{
    log_in();
    says("a FETCH 1 BODY[]\r\n");
    poa_hears("a FETCH 1 BODY[]\r\n");
    poa_says("* 1 FETCH (BODY[] {100000}\r\nabc");
    client_hears("* 1 FETCH (BODY[] {100000}\r\nabc");
    CU_ASSERT_EQUAL(remote.bulk, 99997);
    remote.bulk -= 90000;
    client_pump(&client);
    CU_ASSERT_EQUAL(remote.bulk, 9997);
    poa_says("read");    /* nor does it have to */
    client_hears("read");
    CU_ASSERT_EQUAL(remote.bulk, 9993);
    remote.bulk = 0;
    remote.end_wanted = true;
    remote.end_reason = CLOSE_SHUTDOWN;
    client_pump(&client);
    CU_ASSERT(!client.closed);
    poa_says(" UID 7)\r\na OK\r\n");
    CU_ASSERT_EQUAL(remote.bulk, 0);
    client_hears(" UID 7)\r\na OK\r\n* BYE [UNAVAILABLE] The server is shutting down.\r\n");
    CU_ASSERT(client.closed && client.reason == CLOSE_SHUTDOWN);
    end();
}

static void test_append_limit(void)
{
    log_in();
    says("a APPEND x {100000}\r\n");
    poa_hears("a APPEND x {100000}\r\n");
    poa_says("a NO x\r\n");
    fake_agent()->imap4_max_append_size = 5;
    says("b APPEND x {6}\r\n");
    poa_hears("b NOOP\r\n");
    end();
}

static void test_poa_dies_selected(void)
{
    log_in();
    says("a SELECT INBOX\r\n");
    poa_says("* 1 EXISTS\r\na OK x\r\n");
    client_hears("* 1 EXISTS\r\na OK x\r\n");
    remote.direct_too = true;
    poa_dies();
    client_hears("* BYE [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
    CU_ASSERT(client.closed && client.reason == CLOSE_POA_LOST);
    end();
}

static void test_poa_dies_in_a_literal(void)
{
    log_in();
    says("a FETCH 1 BODY[]\r\n");
    poa_says("* 1 FETCH (BODY[] {100}\r\nxyz\r\n");
    client_hears("* 1 FETCH (BODY[] {100}\r\nxyz\r\n");
    poa_dies();
    client_hears("");
    CU_ASSERT(client.closed && client.reason == CLOSE_POA_LOST);
    end();
}

static void test_poa_dies_client_server_only(void)
{
    log_in();
    poa_dies();
    client_hears("* BYE [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
    CU_ASSERT(client.closed);
    end();
}

static void test_poa_speaks_nonsense(void)
{
    log_in();
    for (int i = 0; i < 3000; i++)
        buf_append_text(&remote.in, "HTTP/1.1");
    client_pump(&client);
    client_hears("* BYE [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
    CU_ASSERT(client.closed);
    end();
}

#define DIRECT "* CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE IDLE NAMESPACE UIDPLUS UNSELECT CHILDREN SPECIAL-USE MOVE STATUS=SIZE " \
               "APPENDLIMIT=100000\r\n"

static bool has_gone_on(void)
{
    CU_ASSERT_PTR_NULL(client.session.remote);
    says("z STATUS INBOX (MESSAGES)\r\n");
    return strstr(client_heard(&client), "(MESSAGES 3)\r\nz OK Completed.\r\n") != NULL;
}

static void test_goes_on_directly(void)
{
    log_in();
    remote.direct_too = true;
    says("a SELECT x\r\n");
    poa_says("a OK x\r\n");
    says("b UNSELECT\r\n");
    poa_says("b OK x\r\n* BYE shutting down\r\n");
    client_heard(&client);
    says("c NO");
    poa_dies();
    client_hears(DIRECT);
    says("OP\r\n");
    client_hears("c OK Completed.\r\n");
    CU_ASSERT(has_gone_on());
    end();
}

/* POA and path were not found to show the same mailboxes, or not any more. */
static void test_not_compared(void)
{
    log_in();
    remote.direct_too = true;
    client.uncompared = true;
    poa_dies();
    client_hears("* BYE [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
    CU_ASSERT(client.closed && client.reason == CLOSE_POA_LOST);
    end();
}

static void test_cannot_go_on(void)
{
    static const char *const commands[] = { "a LIST \"\" *\r\n", "a IDLE\r\n", "a APPEND x {4}\r\n", "a APPEND x {4+}\r\nab", "a ENABLE X\r\n" };
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        log_in();
        remote.direct_too = true;
        says(commands[i]);
        if (strstr(commands[i], "ENABLE") != NULL)
            poa_says("a OK x\r\n");
        poa_dies();
        CU_ASSERT(client.closed && client.reason == CLOSE_POA_LOST);
        end();
    }
}

static void test_direct_fails_too(void)
{
    log_in();
    remote.direct_too = true;
    fake_remove("cur");
    fake_remove("new");
    fake_remove("tmp");
    fake_remove(".");
    fake_time_passes(60000);
    poa_dies();
    client_hears("* BYE [UNAVAILABLE] The mailbox is not reachable at the moment.\r\n");
    CU_ASSERT(client.closed);
    end();
}

static void want_end(void)
{
    remote.end_wanted = true;
    remote.end_reason = CLOSE_SHUTDOWN;
    client_pump(&client);
}

static void test_polite_end(void)
{
    static const struct { const char *before, *poa; bool at_once; } rows[] = {
        { NULL, NULL, true }, { "a IDLE\r\n", "+ \r\n", true }, { "a NO", NULL, true },
        { "a FETCH 1 BODY[]\r\n", "* 1 FETCH (BODY[] {3}\r\nx", false },
        { "a NOOP\r\n", NULL, false }, { "a APPEND x {3+}\r\na", NULL, false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        log_in();
        if (rows[i].before != NULL)
            says(rows[i].before);
        if (rows[i].poa != NULL)
            poa_says(rows[i].poa);
        client_heard(&client);
        want_end();
        CU_ASSERT_EQUAL(client.closed, rows[i].at_once);
        if (rows[i].at_once)
            client_hears("* BYE [UNAVAILABLE] The server is shutting down.\r\n");
        end();
    }
}

static void test_end_waits_for_the_command(void)
{
    log_in();
    says("a FETCH 1 BODY[]\r\n");
    poa_says("* 1 FETCH (BODY[] {3}\r\nx");
    client_heard(&client);
    want_end();
    CU_ASSERT(client.wake_after > 0);
    buf_clear(&remote.out);
    says("b NOOP\r\n");
    poa_hears("");
    poa_says("yz)\r\n");
    CU_ASSERT_FALSE(client.closed);
    poa_says("a OK x\r\n");
    client_hears("yz)\r\na OK x\r\n* BYE [UNAVAILABLE] The server is shutting down.\r\n");
    CU_ASSERT(client.closed);
    end();
    log_in();
    says("a SEARCH x\r\n");
    want_end();
    fake_time_passes(client.wake_after);
    client_pump(&client);
    client_hears("* BYE [UNAVAILABLE] The server is shutting down.\r\n");
    end();
}

static void test_client_leaves(void)
{
    log_in();
    says("a NOOP\r\n");
    client.session.eof = true;
    client_pump(&client);
    CU_ASSERT_FALSE(client.closed);
    poa_says("a OK x\r\n");
    client_hears("a OK x\r\n");
    CU_ASSERT(client.closed && client.reason == CLOSE_CLIENT);
    end();
    log_in();
    says("a APPEND x {3+}\r\na");
    client.session.eof = true;
    client_pump(&client);
    CU_ASSERT(client.closed);
    end();
}

/* Who does not read is not read from. */
static void test_backpressure(void)
{
    log_in();
    remote.out_full = true;
    says("a NOOP\r\n");
    poa_hears("");
    CU_ASSERT_EQUAL(client.session.in.len, 8);
    remote.out_full = false;
    client_pump(&client);
    poa_hears("a NOOP\r\n");
    client.stuck = true;
    for (int i = 0; i < 5000; i++)
        buf_append_text(&remote.in, "* LIST () NIL \"one of many folders with long names\"\r\n");
    client_pump(&client);
    client_pump(&client);
    poa_says("* 1 EXISTS\r\n");
    CU_ASSERT_EQUAL(remote.in.len, 12);
    client.stuck = false;
    client_pump(&client);
    CU_ASSERT_EQUAL(remote.in.len, 0);
    end();
}

/* Nothing of what goes on at once is kept, and what must be kept is. */
static void test_short_way(void)
{
    short_way = true;
    log_in();
    CU_ASSERT(pass(true, "a NOOP\r\nb NOOP\r\n"));
    CU_ASSERT_FALSE(pass(false, "* 1 EXISTS\r\na OK x\r\nb OK"));
    CU_ASSERT_FALSE(pass(false, " x\r\n"));
    client_hears("* 1 EXISTS\r\na OK x\r\n");
    CU_ASSERT(slice_is(buf_slice(&remote.in), "b OK x\r\n"));
    poa_says("");
    client_hears("b OK x\r\n");
    poa_hears("a NOOP\r\nb NOOP\r\n");
    CU_ASSERT_FALSE(pass(true, "c NO"));
    CU_ASSERT_FALSE(pass(true, "OP\r\n"));
    says("");
    poa_hears("c NOOP\r\n");
    CU_ASSERT(remote.waiting);
    CU_ASSERT(pass(false, "c OK x\r\n"));
    CU_ASSERT_FALSE(remote.waiting);
    CU_ASSERT_FALSE(pass(true, "d APPEND x {3}\r\nabc"));
    poa_hears("d APPEND x {3}\r\n");
    CU_ASSERT(slice_is(buf_slice(&client.session.in), "abc"));
    CU_ASSERT_FALSE(pass(false, "HTTP/1.1 400\r\n"));
    end();
}

#define TESTS(way) \
    { way "login", test_login }, \
    { way "pipelined login", test_pipelined_login }, \
    { way "bulk", test_bulk }, \
    { way "append limit", test_append_limit }, \
    { way "POA dies, selected", test_poa_dies_selected }, \
    { way "POA dies in a literal", test_poa_dies_in_a_literal }, \
    { way "POA dies, client/server only", test_poa_dies_client_server_only }, \
    { way "POA speaks nonsense", test_poa_speaks_nonsense }, \
    { way "goes on directly", test_goes_on_directly }, \
    { way "not compared", test_not_compared }, \
    { way "cannot go on", test_cannot_go_on }, \
    { way "direct fails too", test_direct_fails_too }, \
    { way "polite end", test_polite_end }, \
    { way "end waits for the command", test_end_waits_for_the_command }, \
    { way "client leaves", test_client_leaves }, \
    { way "backpressure", test_backpressure }

static const struct unit_test tests[] = { TESTS(""), { "short way", test_short_way }, TESTS("short way: ") };

UNIT_MAIN("relay", tests)
