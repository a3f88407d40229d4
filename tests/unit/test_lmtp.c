/* Unit tests of src/smtp as an LMTP server: who is heard, an answer for each recipient, and what is left out of SMTP. */
#include <stdio.h>
#include <string.h>

#include "run.h"
#include "postern/base/clock.h"
#include "smtp_fake.h"
#include "../../src/smtp/state.h"

static char poa_host[] = "poa.example.com";
static struct post_office_agent poa = { .host = poa_host };
static struct post_office elsewhere = { .path = path_text, .agents = &poa, .agent_count = 1 };

/* The codes of the replies, "250 354". */
static bool is_heard(const char *codes)
{
    struct buf got = { .cap = 0 };
    struct slice rest = buf_slice(&fake.session.out), line;
    while (slice_split(&rest, '\n', &line))
        if (line.len > 4 && line.data[3] == ' ')
            buf_printf(&got, "%s%.3s", got.len ? " " : "", line.data);
    bool good = slice_is(buf_slice(&got), codes);
    if (!good)
        fprintf(stderr, "wanted %s, heard %.*s\n", codes, SLICE_ARG(buf_slice(&fake.session.out)));
    buf_fini(&got);
    return good;
}

static bool talk(const char *text, const char *codes)
{
    buf_clear(&fake.session.out);
    give(slice_from_string(text));
    return is_heard(codes);
}

static bool says(const char *text)
{
    return slice_find_text(buf_slice(&fake.session.out), slice_from_string(text)) >= 0;
}

static void begin_here(enum listener_kind listener)
{
    trusted = "192.0.2.1";
    begin(listener);
    trusted = NULL;
}

#define ENVELOPE "LHLO gate.example.com\r\nMAIL FROM:<bob@example.org> SIZE=100 BODY=8BITMIME\r\n"
#define MESSAGE "Subject: x\r\n\r\n..dot\r\n.\r\n"

static void test_delivery(void)
{
    begin_here(LISTENER_LMTP);
    CU_ASSERT(says("220 mx.example.com LMTP"));
    CU_ASSERT(talk("LHLO gate.example.com\r\n", "250"));
    CU_ASSERT(says("250-PIPELINING\r\n") && says("250-8BITMIME\r\n") && says("250-SIZE 1000000\r\n") && says("ENHANCEDSTATUSCODES\r\n") && says("250-STARTTLS\r\n"));
    CU_ASSERT(!says("AUTH") && !says("CHUNKING"));
    CU_ASSERT(talk("MAIL FROM:<bob@example.org>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<nobody@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n",
                   "250 250 550 250 354"));
    CU_ASSERT(talk(MESSAGE, "250 250"));
    CU_ASSERT_EQUAL(world.inbox_count, 2);
    CU_ASSERT_STRING_EQUAL(world.inboxes[0], "joe");
    CU_ASSERT_STRING_EQUAL(world.inboxes[1], "ann");
    struct slice mail = buf_slice(&world.mail);
    CU_ASSERT(slice_starts_with(mail, "Return-Path: <bob@example.org>\r\nReceived: from gate.example.com ([192.0.2.1])\r\n\tby mx.example.com with LMTP id "));
    CU_ASSERT(slice_ends_with(mail, "\r\nSubject: x\r\n\r\n.dot\r\n"));
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_MESSAGES_IN), 1);
    /* The connection is used again. */
    CU_ASSERT(talk("MAIL FROM:<>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n" MESSAGE "QUIT\r\n", "250 250 354 250 221"));
    CU_ASSERT_EQUAL(world.inbox_count, 3);
    end();
}

/* Every split, and all at once: a client that pipelines (RFC 2920) hears the same. */
static void test_every_split(void)
{
    static const char text[] = ENVELOPE "RCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n" MESSAGE
                                        "MAIL FROM:<>\r\nRCPT TO:<x@example.com>\r\nDATA\r\nRSET\r\nQUIT\r\n";
    for (size_t split = 0; split < sizeof(text); split++) {
        begin_here(LISTENER_LMTP);
        buf_clear(&fake.session.out);
        give(slice_make(text, split));
        give(slice_make(text + split, sizeof(text) - 1 - split));
        CU_ASSERT(is_heard("250 250 250 250 250 354 250 250 250 250 550 503 250 221"));
        CU_ASSERT_EQUAL(world.inbox_count, 2);   /* twice the same mailbox is one copy and two answers */
        end();
    }
}

static void test_order(void)
{
    begin_here(LISTENER_LMTP);
    CU_ASSERT(talk("EHLO c.example.org\r\nHELO c.example.org\r\nMAIL FROM:<a@b.example>\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", "500 500 503 500"));
    CU_ASSERT(talk("LHLO\r\n", "501"));
    CU_ASSERT(talk("LHLO c\r\nDATA\r\nRCPT TO:<joe@example.com>\r\nBDAT 3 LAST\r\nHELP\r\n", "250 503 503 500 214"));
    CU_ASSERT(!says("AUTH"));
    end();
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("LHLO c\r\n", "500"));
    end();
}

/* Nothing goes elsewhere, not even the postmaster's mail; user IDs are taken. */
static void test_no_relay(void)
{
    static char postmaster[] = "chief@elsewhere.example";
    begin_here(LISTENER_LMTP);
    snapshot.agent.relay_host = relay_text;
    snapshot.agent.postmaster = postmaster;
    CU_ASSERT(talk(ENVELOPE "RCPT TO:<x@elsewhere.example>\r\nRCPT TO:<postmaster>\r\nRCPT TO:<joe>\r\nRCPT TO:<nowhere@example.com>\r\nRCPT TO:<gone@example.com>\r\nDATA\r\n",
                   "250 250 550 550 550 451 550 503"));
    CU_ASSERT(fake.session.closing == false && world.queue_open == 0);
    end();
}

/* A gateway that has much mail for people who have left keeps its connection. */
static void test_many_refused(void)
{
    begin_here(LISTENER_LMTP);
    CU_ASSERT(talk(ENVELOPE, "250 250"));
    for (int i = 0; i < 500; i++)
        CU_ASSERT(talk("RCPT TO:<nobody@example.com>\r\n", "550"));
    CU_ASSERT_FALSE(fake.session.closing);
    end();
}

static void test_who_may(void)
{
    static const struct { const char *trusted; bool loopback, welcome; } rows[] = {
        { NULL, false, false }, { "192.0.2.2", false, false }, { "192.0.2.1", false, true }, { NULL, true, true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        here_is_loopback = rows[i].loopback;
        trusted = rows[i].trusted;
        begin(LISTENER_LMTP);
        trusted = NULL;
        CU_ASSERT(says(rows[i].welcome ? "220 " : "554 5.7.1 "));
        CU_ASSERT(talk(ENVELOPE "RCPT TO:<joe@example.com>\r\nDATA\r\n", rows[i].welcome ? "250 250 250 354" : "503 503 503 503"));
        CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_ACCESS_DENIED), rows[i].welcome ? 0 : 1);
        end();
    }
    here_is_loopback = false;
    /* No longer, while the connection lasts. */
    begin_here(LISTENER_LMTP);
    CU_ASSERT(talk(ENVELOPE "RSET\r\n", "250 250 250"));
    world.trusted = NULL;
    CU_ASSERT(talk("MAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n", "554 503 503"));
    end();
}

/* What one mailbox cannot take, another one can; a message that is refused is refused for each. */
static void test_answers(void)
{
    static const struct { int fails; bool all; const char *data; const char *codes; int delivered; } rows[] = {
        { 1, false, MESSAGE, "451 250", 1 }, { 2, false, MESSAGE, "250 451", 1 }, { 3, false, MESSAGE, "451 451", 0 }, { 0, true, MESSAGE, "451 451", 0 },
        { 0, false, "a\nb\r\n.\r\n", "550 550", 0 }, { 0, false, MESSAGE, "250 250", 2 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_here(LISTENER_LMTP);
        world.inbox_fails = rows[i].fails;
        world.deliver_fails = rows[i].all;
        CU_ASSERT(talk(ENVELOPE "RCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n", "250 250 250 250 354"));
        CU_ASSERT(talk(rows[i].data, rows[i].codes));
        CU_ASSERT(world.inbox_count == rows[i].delivered && world.committed == 0);
        CU_ASSERT(talk("MAIL FROM:<>\r\nQUIT\r\n", "250 221"));
        end();
    }
}

/* Of an Internet Agent: mailboxes behind a Post Office Agent are the queue's, and have its answer. */
static void test_with_queue(void)
{
    static const struct { bool open_fails, commit_fails; int fails; const char *codes; const char *queued; } rows[] = {
        { false, false, 0, "250 250 250", "joe@example.com " }, { true, false, 0, "451 250 451", "" }, { false, true, 0, "451 250 451", "" },
        { false, false, 1, "250 451 250", "joe@example.com " }, { true, false, 1, "451 451 451", "" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_here(LISTENER_LMTP);
        joe.post_office = &elsewhere;
        world.queue_open_fails = rows[i].open_fails;
        world.queue_commit_fails = rows[i].commit_fails;
        world.inbox_fails = rows[i].fails;
        CU_ASSERT(talk(ENVELOPE "RCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nRCPT TO:<joseph@example.com>\r\nDATA\r\n", "250 250 250 250 250 354"));
        CU_ASSERT(talk(MESSAGE, rows[i].codes));
        CU_ASSERT(slice_is(buf_slice(&world.queued_recipients), rows[i].queued));
        CU_ASSERT_EQUAL(world.inbox_count, rows[i].fails == 0 ? 1 : 0);
        joe.post_office = &office;
        end();
    }
}

/* A gateway that is trusted says for whom it speaks, for one message after the other; nobody else does. */
static void test_xclient(void)
{
    begin_here(LISTENER_LMTP);
    world.trusted = "192.0.2.1";
    CU_ASSERT(talk("XCLIENT ADDR=203.0.113.5\r\nLHLO gate.example.com\r\n", "503 250"));
    CU_ASSERT(says("250-XCLIENT ADDR PORT NAME HELO PROTO LOGIN SESSION\r\n"));
    CU_ASSERT(talk("XCLIENT ADDR=203.0.113.5 PORT=4567 NAME=[UNAVAILABLE] HELO=pc+2Eexample.org PROTO=ESMTP LOGIN=j+C3+B6 SESSION=1\r\n", "220"));
    CU_ASSERT_STRING_EQUAL(fake.session.peer, "203.0.113.5");
    CU_ASSERT_EQUAL(fake.session.peer_port, 4567);
    CU_ASSERT(talk("MAIL FROM:<>\r\n" ENVELOPE "XCLIENT ADDR=203.0.113.6\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n" MESSAGE, "503 250 250 503 250 354 250"));
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL("Received: from pc.example.org ([203.0.113.5])\r\n\tby mx.example.com with LMTP id ")) > 0);
    CU_ASSERT(talk("XCLIENT ADDR=IPV6:2001:db8::1 HELO=[UNAVAILABLE]\r\n" ENVELOPE "RCPT TO:<joe@example.com>\r\nDATA\r\n" MESSAGE, "220 250 250 250 354 250"));
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL("Received: from gate.example.com ([IPv6:2001:db8::1])\r\n")) > 0);
    static const char *const bad[] = { "ADDR", "ADDR=", "ADDR=x", "ADDR=*", "PORT=65536", "=1", "WHAT=1", "HELO=+1", "LOGIN=+0A", "ADDR=1.2.3.4 PORT" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char line[100];
        snprintf(line, sizeof(line), "XCLIENT %s\r\n", bad[i]);
        CU_ASSERT(talk(line, "501"));
        CU_ASSERT_STRING_EQUAL(fake.session.peer, "2001:db8::1");
    }
    /* It speaks for itself again. */
    CU_ASSERT(talk("XCLIENT ADDR=[UNAVAILABLE]\r\nLHLO c\r\n", "220 250"));
    CU_ASSERT_STRING_EQUAL(fake.session.peer, "192.0.2.1");
    CU_ASSERT(talk("XCLIENT ADDR=203.0.113.5\r\nLHLO c\r\nSTARTTLS\r\n", "220 250 220"));
    CU_ASSERT_STRING_EQUAL(fake.session.peer, "192.0.2.1");
    end();
    here_is_loopback = true;
    begin(LISTENER_LMTP);
    CU_ASSERT(talk("LHLO c\r\nXCLIENT ADDR=203.0.113.5\r\n", "250 550"));
    CU_ASSERT(!says("XCLIENT") && strcmp(fake.session.peer, "192.0.2.1") == 0);
    here_is_loopback = false;
    end();
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("EHLO c\r\nXCLIENT ADDR=203.0.113.5\r\n", "250 500"));
    end();
}

/* As if the process had been stopped, or its disk, while the copy for the second one was written. */
static void pass_time(void)
{
    struct smtp *st = fake.session.state;
    if (world.inbox_opened == 2)
        st->transaction.whole_ms = clock_monotonic_ms() - 50000;
}

/* A client that may have given up is not promised anything, and what is not promised is not kept. SMTP's clients wait for longer. */
static void test_too_late(void)
{
    begin_here(LISTENER_LMTP);
    world.slow = pass_time;
    CU_ASSERT(talk(ENVELOPE "RCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n", "250 250 250 250 354"));
    CU_ASSERT(talk(MESSAGE, "250 451"));
    CU_ASSERT_EQUAL(world.inbox_count, 1);
    end();
    begin(LISTENER_PLAIN);
    world.slow = pass_time;
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<bob@example.org>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n", "250 250 250 250 354"));
    CU_ASSERT(talk(MESSAGE, "250"));
    CU_ASSERT_EQUAL(world.inbox_count, 2);
    world.slow = NULL;
    end();
}

static void test_tls_required(void)
{
    begin_here(LISTENER_LMTP);
    snapshot.agent.smtp_tls = TLS_REQUIRED;
    CU_ASSERT(talk(ENVELOPE, "250 530"));
    CU_ASSERT(talk("STARTTLS\r\n", "220"));
    CU_ASSERT(fake.tls_started);
    CU_ASSERT(talk("MAIL FROM:<>\r\n", "503"));
    CU_ASSERT(talk(ENVELOPE "RCPT TO:<joe@example.com>\r\nDATA\r\n" MESSAGE, "250 250 250 354 250"));
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL(" with LMTPS id ")) > 0);
    end();
    begin_here(LISTENER_LMTPS);
    CU_ASSERT(says("220 mx.example.com LMTP"));
    end();
}

static const struct unit_test tests[] = {
    { "delivery", test_delivery }, { "every split", test_every_split }, { "order", test_order }, { "no relay", test_no_relay },
    { "many refused", test_many_refused }, { "who may", test_who_may }, { "answers", test_answers }, { "with queue", test_with_queue },
    { "tls required", test_tls_required }, { "too late", test_too_late }, { "xclient", test_xclient },
};

UNIT_MAIN("lmtp", tests)
