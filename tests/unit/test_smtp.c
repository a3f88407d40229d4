/* Unit tests of src/smtp: the parsers, and whole conversations with a fake service, fake mailboxes and a fake queue. */
#include <stdio.h>
#include <string.h>

#include "../../src/smtp/address.h"
#include "../../src/smtp/data.h"
#include "../../src/smtp/header.h"
#include "run.h"
#include "smtp_fake.h"

/* --- addresses ---------------------------------------------------------------------------------------------------------- */

static void test_paths(void)
{
    static const struct { const char *in, *text, *rest; bool good; } rows[] = {
        { "<>", "", "", true }, { "<> SIZE=1", "", " SIZE=1", true }, { "<joe@example.com>", "joe@example.com", "", true },
        { "<joe@example.com> BODY=7BIT", "joe@example.com", " BODY=7BIT", true }, { "<Postmaster>", "Postmaster", "", true },
        { "<\"joe\"@example.com>", "joe@example.com", "", true }, { "<\"j e\"@example.com>", "\"j e\"@example.com", "", true },
        { "<\"a\\\"b\"@example.com>", "\"a\\\"b\"@example.com", "", true }, { "<\"a>b\"@example.com>", "\"a>b\"@example.com", "", true },
        { "<@a.example,@b.example:joe@example.com>", "joe@example.com", "", true }, { "<@a.example:>", "", "", false },
        { "<@a.example joe@example.com>", "", "", false }, { "<joe@[127.0.0.1]>", "joe@[127.0.0.1]", "", true },
        { "<joe@[IPv6:::1]>", "joe@[IPv6:::1]", "", true }, { "<joe@[::1]>", "", "", false }, { "<joe@[1.2.3]>", "", "", false },
        { "<joe@[>", "", "", false }, { "<joe@>", "", "", false }, { "<@example.com>", "", "", false }, { "<joe", "", "", false },
        { "<joe@example.com", "", "", false }, { "joe@example.com", "", "", false }, { "<.joe@example.com>", "", "", false },
        { "<joe.@example.com>", "", "", false }, { "<jo..e@example.com>", "", "", false }, { "<joe@exa mple.com>", "", "", false },
        { "<joe@example..com>", "", "", false }, { "<joe@-a.com>", "", "", false }, { "<j\xc3\xb6@example.com>", "", "", false },
        { "<joe@ex\xc3\xa4mple.com>", "", "", false }, { "<\"joe@example.com>", "", "", false }, { "<a@b@c>", "", "", false },
        { "<", "", "", false }, { "", "", "", false }, { "<a+b=c@example.com>", "a+b=c@example.com", "", true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct slice rest = slice_from_string(rows[i].in);
        struct mail_path path;
        bool good = address_parse_path(&rest, &path);
        if (good != rows[i].good)
            fprintf(stderr, "row %s\n", rows[i].in);
        CU_ASSERT_EQUAL(good, rows[i].good);
        if (good && rows[i].good) {
            CU_ASSERT(slice_is(mail_path_text(&path), rows[i].text));
            CU_ASSERT(slice_is(rest, rows[i].rest));
        }
    }
}

static void test_path_limits(void)
{
    struct buf b = { 0 };
    struct mail_path path;
    for (size_t local = 254; local <= 256; local++) {
        buf_clear(&b);
        buf_append_byte(&b, '<');
        for (size_t i = 0; i < local; i++)
            buf_append_byte(&b, 'a');
        buf_append_text(&b, "@example.com>");
        struct slice rest = buf_slice(&b);
        CU_ASSERT_EQUAL(address_parse_path(&rest, &path), local <= MAIL_LOCAL_MAX);
    }
    buf_clear(&b);
    buf_append_text(&b, "<\"");
    for (size_t i = 0; i < MAIL_LOCAL_MAX; i++)
        buf_append_text(&b, "\\\"");
    buf_append_text(&b, "\"@example.com>");
    struct slice rest = buf_slice(&b);
    CU_ASSERT(address_parse_path(&rest, &path));
    CU_ASSERT_EQUAL(path.len, 2 * MAIL_LOCAL_MAX + 2 + 12);
    buf_fini(&b);
}

static bool collect(const struct mail_path *mailbox, void *context)
{
    struct buf *out = context;
    buf_append(out, mail_path_text(mailbox));
    buf_append_byte(out, ';');
    return true;
}

static void test_from(void)
{
    static const struct { const char *in, *out; bool good; } rows[] = {
        { " joe@example.com\r\n", "joe@example.com;", true }, { " Joe Doe <joe@example.com>\r\n", "joe@example.com;", true },
        { " \"Doe, Joe\" <joe@example.com>", "joe@example.com;", true }, { "a@b.c, d@e.f", "a@b.c;d@e.f;", true },
        { " =?utf-8?q?J=C3=B6?= <joe@example.com> (home)", "joe@example.com;", true }, { "(ann@x.y) joe@example.com", "joe@example.com;", true },
        { "joe (a (b) \\) c) @ example.com", "joe@example.com;", true }, { "john . doe @ example.com", "john.doe@example.com;", true },
        { "group: a@b.c, d@e.f;", "a@b.c;d@e.f;", true }, { "ann@x.y <joe@example.com>", "", false }, { "nobody: ;", "", false },
        { "", "", false }, { "joe", "", false }, { "jo e@example.com", "", false }, { "<joe@example.com", "", false },
        { "<a@b.c> <d@e.f>", "", false }, { "<a@b.c> d@e.f", "", false }, { "\"ann@x.y joe@example.com", "", false },
        { "a@b.c\r\n , d@e.f", "a@b.c;d@e.f;", true }, { "<@x.y:joe@example.com>", "", false }, { "a@b.c; d@e.f", "", false },
        { "\xc3\xb6 <joe@example.com>", "joe@example.com;", true }, { "(unclosed joe@example.com", "", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct buf out = { 0 };
        bool good = address_list_for_each(slice_from_string(rows[i].in), collect, &out);
        if (good != rows[i].good || (good && !slice_is(buf_slice(&out), rows[i].out)))
            fprintf(stderr, "row %s: %.*s\n", rows[i].in, SLICE_ARG(buf_slice(&out)));
        CU_ASSERT_EQUAL(good, rows[i].good);
        if (good)
            CU_ASSERT(slice_is(buf_slice(&out), rows[i].out));
        buf_fini(&out);
    }
}

/* --- data --------------------------------------------------------------------------------------------------------------- */

struct data_row {
    const char *in, *out, *left;
    bool done, bare;
};

static void run_data_row(const struct data_row *row, size_t split)
{
    struct data_reader reader = { 0 };
    struct buf out = { 0 };
    struct slice all = slice_from_string(row->in), first = slice_part(all, 0, split), second = slice_from(all, split);
    data_read(&reader, &first, &out);
    data_read(&reader, &second, &out);
    CU_ASSERT_EQUAL(reader.state == DATA_DONE, row->done);
    CU_ASSERT_EQUAL(reader.bare, row->bare);
    CU_ASSERT(slice_is(buf_slice(&out), row->out));
    CU_ASSERT_EQUAL(first.len + second.len, strlen(row->left));
    buf_fini(&out);
}

static void test_data(void)
{
    static const struct data_row rows[] = {
        { ".\r\n", "", "", true, false }, { "a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n", true, false },
        { "..\r\n.\r\n", ".\r\n", "", true, false }, { "...a\r\n.b\r\n.\r\n", "..a\r\nb\r\n", "", true, false },
        { "a.\r\nb\r\n.\r\n", "a.\r\nb\r\n", "", true, false }, { "\r\n\r\n.\r\n", "\r\n\r\n", "", true, false },
        /* Every mixture that some server takes for the end of the data, followed by the real one. */
        { "a\n.\nMAIL\r\n.\r\n", "a\n.\nMAIL\r\n", "", true, true }, { "a\n.\r\nMAIL\r\n.\r\n", "a\n.\r\nMAIL\r\n", "", true, true },
        { "a\r\n.\nMAIL\r\n.\r\n", "a\r\n\nMAIL\r\n", "", true, true }, { "a\r.\rMAIL\r\n.\r\n", "a\r.\rMAIL\r\n", "", true, true },
        { "a\r\n.\rMAIL\r\n.\r\n", "a\r\n\rMAIL\r\n", "", true, true }, { "a\r.\r\nMAIL\r\n.\r\n", "a\r.\r\nMAIL\r\n", "", true, true },
        { "a\r\r\n.\r\n", "a\r\r\n", "", true, true }, { "a\rb\r\n.\r\n", "a\rb\r\n", "", true, true },
        { ".\r\r\nx\r\n.\r\n", "\r\r\nx\r\n", "", true, true }, { "\n.\r\nb", "\n.\r\nb", "", false, true },
        { "a\r\n.\r", "a\r\n", "", false, false }, { "a\r\n..\n.\r\n", "a\r\n.\n.\r\n", "", false, true },
        { ".\rx", "\rx", "", false, true }, { "a\r\n\n.\r\n", "a\r\n\n.\r\n", "", false, true },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t split = 0; split <= strlen(rows[i].in); split++)
            run_data_row(&rows[i], split);
}

static void test_header(void)
{
    static const char text[] = "Received: a\r\nRECEIVED : b\r\n\tReceived: c\r\nX-From: x\r\nno field\r\nFrom  : a@b.c,\r\n d@e.f\r\n"
                               "Subject: From: no\r\nDate: x\r\nMessage-Id: y\r\nReceived-From-Somewhere-Long: z\r\n\r\nFrom: body\r\nReceived: d\r\n";
    for (size_t split = 0; split < sizeof(text); split++) {
        struct header_watch watch;
        header_watch_init(&watch);
        header_watch_read(&watch, slice_make(text, split));
        header_watch_read(&watch, slice_make(text + split, sizeof(text) - 1 - split));
        CU_ASSERT_EQUAL(watch.received, 2);
        CU_ASSERT_EQUAL(watch.from_count, 1);
        CU_ASSERT(slice_is(buf_slice(&watch.from), " a@b.c,\r\n d@e.f\r\n"));
        CU_ASSERT(watch.has_date && watch.has_message_id);
        CU_ASSERT_EQUAL(watch.place, HEADER_DONE);
        header_watch_fini(&watch);
    }
}

/* Gives a text and compares what came back, by the codes of its lines: "250 354". */
static bool talk(const char *text, const char *codes)
{
    struct session *s = &fake.session;
    struct buf got = { 0 };
    struct slice rest, line;
    buf_clear(&s->out);
    give(slice_from_string(text));
    rest = buf_slice(&s->out);
    while (slice_split(&rest, '\n', &line)) {
        if (line.len > 4 && line.data[3] == ' ')
            buf_printf(&got, "%s%.3s", got.len ? " " : "", line.data);
        CU_ASSERT(line.len == 0 || line.data[line.len - 1] == '\r');
    }
    bool good = slice_is(buf_slice(&got), codes);
    if (!good)
        fprintf(stderr, "said %s\nwanted %s, heard %.*s\n", text, codes, SLICE_ARG(buf_slice(&s->out)));
    buf_fini(&got);
    return good;
}

static bool heard(const char *text)
{
    return slice_find_text(buf_slice(&fake.session.out), slice_from_string(text)) >= 0;
}

static void log_in(void)
{
    fake.session.tls = fake.session.clear_login = true;
    CU_ASSERT(talk("EHLO c.example.org\r\n", "250"));
    CU_ASSERT(heard("AUTH PLAIN LOGIN"));
    CU_ASSERT(talk("AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", "235"));
}

/* --- conversations ------------------------------------------------------------------------------------------------------ */

static void test_delivery(void)
{
    begin(LISTENER_PLAIN);
    CU_ASSERT(heard("220 mx.example.com ESMTP"));
    CU_ASSERT(talk("EHLO c.example.org\r\nMAIL FROM:<bob@example.org> SIZE=100 BODY=8BITMIME\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n", "250 250 250 354"));
    CU_ASSERT_EQUAL(fake.session.idle_seconds, 180);
    CU_ASSERT(talk("Subject: x\r\n\r\n..hello\r\n.\r\nNOOP\r\n", "250 250"));
    struct slice mail = buf_slice(&world.mail);
    CU_ASSERT(slice_starts_with(mail, "Return-Path: <bob@example.org>\r\nReceived: from c.example.org ([192.0.2.1])\r\n\tby mx.example.com with ESMTP id "));
    CU_ASSERT(slice_ends_with(mail, " +0000\r\nSubject: x\r\n\r\n.hello\r\n"));
    CU_ASSERT(slice_find_text(mail, SLICE_LITERAL("Date:")) < 0);
    CU_ASSERT_EQUAL(world.inbox_count, 1);
    CU_ASSERT_PTR_EQUAL(fake.fair_key_seen, &office);
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_MESSAGES_IN), 1);
    CU_ASSERT(talk("QUIT\r\n", "221"));
    CU_ASSERT_EQUAL(fake.reason, CLOSE_LOGOUT);
    end();
}

static void test_every_split(void)
{
    static const char text[] = "EHLO c\r\nMAIL FROM:<b@example.org>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\na\r\n..b\r\n.\r\nRSET\r\nQUIT\r\n";
    for (size_t split = 0; split < sizeof(text); split++) {
        begin(LISTENER_PLAIN);
        give(slice_make(text, split));
        give(slice_make(text + split, sizeof(text) - 1 - split));
        CU_ASSERT(slice_ends_with(buf_slice(&world.mail), "\r\na\r\n.b\r\n"));
        CU_ASSERT_EQUAL(fake.reason, CLOSE_LOGOUT);
        CU_ASSERT(heard("\r\n250 2.0.0 Forgotten\r\n221 "));
        end();
    }
}

static void test_order(void)
{
    static const struct { const char *line, *codes; } rows[] = {
        { "MAIL FROM:<a@b.c>\r\n", "503" }, { "RCPT TO:<joe@example.com>\r\n", "503" }, { "EHLO\r\n", "501" }, { "EHLO a b(\r\n", "501" },
        { "HELO c\r\n", "250" }, { "DATA\r\n", "503" }, { "RCPT TO:<joe@example.com>\r\n", "503" }, { "MAIL FROM: <a@b.c>\r\n", "250" },
        { "MAIL FROM:<a@b.c>\r\n", "503" }, { "DATA\r\n", "554" }, { "DATA x\r\n", "501" }, { "RSET\r\n", "250" }, { "DATA\r\n", "503" },
        { "VRFY joe\r\n", "252" }, { "EXPN x\r\n", "502" }, { "HELP\r\n", "214" }, { "NOOP x\r\n", "250" }, { "WHAT\r\n", "500" },
        { "QUIT now\r\n", "501" }, { "MAIL FROM:<joe>\r\n", "553" }, { "MAIL FROM:a@b.c\r\n", "501" }, 
    };
    begin(LISTENER_PLAIN);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT(talk(rows[i].line, rows[i].codes));
    end();
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c> SIZE=1000001\r\n", "250 552"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c> SIZE=99999999999999999999\r\n", "552"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c> SIZE=-1\r\n", "501"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c> BODY=X\r\n", "501"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c> RET=FULL\r\n", "555"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c>SIZE=1\r\n", "501"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c> SIZE=1\r\nRCPT TO:<joe@example.com> NOTIFY=NEVER\r\n", "250 555"));
    CU_ASSERT(talk("EHLO c\r\nDATA\r\n", "250 503"));
    end();
}

static void test_lines(void)
{
    struct buf b = { 0 };
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("NOOP\n", "500"));
    CU_ASSERT(talk("QUIT\n", ""));
    CU_ASSERT(talk("QUIT\r\nNOOP\r\n", "250"));
    CU_ASSERT(talk("NO\rOP\r\nNOOP\r\n", "500 250"));
    for (size_t i = 0; i < 5000; i++)
        buf_append_byte(&b, 'x');
    CU_ASSERT(talk(buf_text(&b), "500"));
    CU_ASSERT(talk(buf_text(&b), ""));
    CU_ASSERT(talk("\r\nNOOP\r\n", "250"));
    buf_append_text(&b, "\r\nNOOP\r\n");
    CU_ASSERT(talk(buf_text(&b), "500 250"));
    for (int i = 0; i < 16 && !fake.session.closing; i++)
        talk("WHAT\r\n", "500");
    CU_ASSERT(fake.session.closing);
    CU_ASSERT_EQUAL(fake.reason, CLOSE_PROTOCOL_ERRORS);
    CU_ASSERT(slice_starts_with(smtp_protocol.farewell(&fake.session, CLOSE_PROTOCOL_ERRORS), "421 "));
    buf_fini(&b);
    end();
}

static void test_recipients(void)
{
    static const struct { const char *to, *codes; } rows[] = {
        { "joe@example.com", "250" }, { "JOE@EXAMPLE.COM", "250" }, { "nobody@example.com", "550" }, { "bob@example.org", "550" },
        { "gone@example.com", "550" }, { "deaf@example.com", "550" }, { "nowhere@example.com", "451" }, { "joe@[192.0.2.9]", "250" },
        { "joe@[192.0.2.8]", "550" }, { "joe", "553" }, { "", "501" },
    };
    char line[100];
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<>\r\n", "250 250"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(line, sizeof(line), "RCPT TO:<%s>\r\n", rows[i].to);
        CU_ASSERT(talk(line, rows[i].codes));
    }
    fake.directory_down = true;
    CU_ASSERT(talk("RCPT TO:<joe@example.com>\r\n", "451"));
    fake.directory_down = false;
    CU_ASSERT(talk("RCPT TO:<postmaster>\r\n", "550"));
    snapshot.agent.postmaster = ann_address;
    CU_ASSERT(talk("RCPT TO:<postmaster>\r\nRCPT TO:<Postmaster@example.com>\r\n", "250 250"));
    snapshot.agent.smtp_max_recipients = 5;
    CU_ASSERT(talk("RCPT TO:<ann@example.com>\r\n", "452"));
    CU_ASSERT(talk("DATA\r\nx\r\n.\r\n", "354 250"));
    CU_ASSERT_EQUAL(world.inbox_count, 2);   /* joe and ann once each */
    end();
}

/* RFC 3207 4.2: what is known from before TLS is forgotten; who is logged in does not start it. */
static void test_login_before_tls(void)
{
    begin(LISTENER_SUBMISSION);
    fake.session.clear_login = true;
    CU_ASSERT(talk("EHLO c\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nSTARTTLS\r\n", "250 235 503"));
    CU_ASSERT(!fake.tls_started);
    end();
}

static void test_submission(void)
{
    begin(LISTENER_SUBMISSION);
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<joe@example.com>\r\n", "250 530"));
    CU_ASSERT(heard("STARTTLS") && !heard("AUTH "));
    CU_ASSERT(talk("AUTH PLAIN AGpvZQBzZWNyZXQ=\r\n", "538"));
    CU_ASSERT(talk("STARTTLS\r\nNOOP\r\n", "220"));
    CU_ASSERT(fake.tls_started);
    CU_ASSERT(talk("MAIL FROM:<joe@example.com>\r\n", "503"));
    CU_ASSERT(talk("EHLO c\r\nAUTH NTLM\r\nAUTH PLAIN AGpvZQB3cm9uZw==\r\nSTARTTLS\r\n", "250 504 535 503"));
    CU_ASSERT(talk("AUTH LOGIN\r\nam9l\r\n*\r\n", "334 334 501"));
    CU_ASSERT(talk("AUTH PLAIN YW5uAGpvZQBzZWNyZXQ=\r\n", "535"));   /* as ann, by joe's password */
    fake.directory_down = true;
    CU_ASSERT(talk("AUTH PLAIN\r\nAGpvZQBzZWNyZXQ=\r\n", "334 454"));
    fake.directory_down = false;
    CU_ASSERT(talk("AUTH LOGIN\r\nam9l\r\nc2VjcmV0\r\nAUTH PLAIN\r\n", "334 334 235 503"));
    CU_ASSERT(talk("MAIL FROM:<ann@example.com>\r\nMAIL FROM:<Joseph@Example.COM> AUTH=<>\r\nRSET\r\n", "550 250 250"));
    CU_ASSERT(talk("MAIL FROM:<Joseph@Example.COM>\r\nRCPT TO:<bob@example.org>\r\n", "250 550"));
    CU_ASSERT(heard("5.4.4"));
    snapshot.agent.relay_host = relay_text;
    joe.smtp_outgoing_allowed = false;
    CU_ASSERT(talk("RCPT TO:<bob@example.org>\r\n", "550"));
    joe.smtp_outgoing_allowed = true;
    CU_ASSERT(talk("RCPT TO:<bob@example.org>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\nFrom: Joe <JOE@example.com>\r\n\r\nx\r\n.\r\n", "250 250 354 250"));
    CU_ASSERT(slice_is(buf_slice(&world.queued_recipients), "bob@example.org "));
    CU_ASSERT(slice_starts_with(buf_slice(&world.queued), "Received: from c "));
    CU_ASSERT(slice_find_text(buf_slice(&world.queued), SLICE_LITERAL("with ESMTPSA id")) > 0);
    CU_ASSERT(slice_find_text(buf_slice(&world.queued), SLICE_LITERAL("\r\nMessage-ID: <")) > 0);
    CU_ASSERT(slice_find_text(buf_slice(&world.queued), SLICE_LITERAL("\r\nDate: ")) > 0);
    CU_ASSERT(slice_ends_with(buf_slice(&world.queued), "\r\nFrom: Joe <JOE@example.com>\r\n\r\nx\r\n"));
    CU_ASSERT_EQUAL(world.inbox_count, 1);
    end();
}

static void test_author(void)
{
    static const struct { const char *head, *codes; } rows[] = {
        { "From: ann@example.com\r\n", "550" }, { "From: joe@example.com, ann@example.com\r\n", "550" }, { "From: joe@example.com\r\n", "250" },
        { "From: joe@example.com\r\nfrom: joe@example.com\r\n", "550" }, { "X: y\r\n", "250" }, { "From:\r\n", "550" },
        { "From: joe@example.com <ann@example.com>\r\n", "550" }, { "bad line\r\nFrom: ann@example.com\r\n", "550" },
        { "From : ann@example.com\r\n", "550" }, { "From: x <joseph@example.com>\r\nDate: d\r\nMessage-ID: m\r\n", "250" },
    };
    char line[300];
    begin(LISTENER_SUBMISSIONS);
    log_in();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        CU_ASSERT(talk("MAIL FROM:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n", "250 250 354"));
        snprintf(line, sizeof(line), "%s\r\nx\r\n.\r\n", rows[i].head);
        CU_ASSERT(talk(line, rows[i].codes));
    }
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL("+0000\r\nFrom: x <joseph")) > 0);
    joe.smtp_outgoing_max_size = 10;
    CU_ASSERT(talk("MAIL FROM:<joe@example.com> SIZE=11\r\nMAIL FROM:<>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n", "552 250 250 354"));
    CU_ASSERT(talk("X: 1234567890\r\n\r\nx\r\n.\r\nNOOP\r\n", "552 250"));
    end();
}

/* The exceptions of classes of service: a client, a sender or a recipient that is not taken, as early as it is known. */
static void test_exceptions(void)
{
    refused_client = "192.0.2.1";
    begin(LISTENER_PLAIN);
    CU_ASSERT(heard("554 5.7.1 "));
    CU_ASSERT(talk("EHLO c\r\nNOOP\r\nQUIT\r\n", "503 503 221"));
    end();
    begin(LISTENER_SUBMISSION);
    CU_ASSERT(talk("EHLO c\r\n", "250"));
    end();
    refused_client = "c";
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c>\r\nEHLO d\r\nMAIL FROM:<a@b.c>\r\n", "250 550 250 250"));
    end();
    refused_client = NULL;
    begin(LISTENER_PLAIN);
    world.refused_party = "a@b.c";
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\n", "250 250 550"));
    CU_ASSERT(talk("RSET\r\nMAIL FROM:<x@b.c>\r\nRCPT TO:<joe@example.com>\r\n", "250 250 250"));
    world.refused_party = "192.0.2.1";
    CU_ASSERT(talk("RCPT TO:<ann@example.com>\r\n", "550"));
    end();
    begin(LISTENER_SUBMISSIONS);
    log_in();
    snapshot.agent.relay_host = relay_text;
    world.refused_party = "bob@example.org";
    CU_ASSERT(talk("MAIL FROM:<joe@example.com>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<bill@example.org>\r\n", "250 550 250"));
    world.refused_party = "10.1.1.1";
    CU_ASSERT(talk("RCPT TO:<bob@[10.1.1.1]>\r\nRCPT TO:<bob@[10.1.1.2]>\r\n", "550 250"));
    world.refused_party = "::1";
    CU_ASSERT(talk("RCPT TO:<bob@[IPv6:::1]>\r\n", "550"));
    CU_ASSERT_EQUAL(counter_get(&fake.counters, COUNTER_ACCESS_DENIED), 3);
    end();
}

/* Messages of rules, to elsewhere: forwards are refused unless allowed, replies allowed unless prevented. */
static void test_rules(void)
{
    static const struct { const char *sender, *to, *head, *codes; bool forwards, replies; } rows[] = {
        { "joe@example.com", "b@c.org", "Auto-Submitted: auto-forwarded\r\n", "550", false, true },
        { "joe@example.com", "b@c.org", "Auto-Submitted: auto-forwarded\r\n", "250", true, false },
        { "joe@example.com", "b@c.org", "auto-submitted:\r\n (a (b) c)\r\n Auto-Forwarded; x=y\r\n", "550", false, true },
        { "joe@example.com", "b@c.org", "Auto-Submitted: no\r\nX: y\r\nAuto-Submitted: auto-forwarded\r\n", "550", false, true },
        { "joe@example.com", "b@c.org", "Auto-Submitted: no\r\nX: auto-forwarded\r\n", "250", false, false },
        { "joe@example.com", "b@c.org", "Auto-Submitted: auto-forwardedly\r\n", "250", false, false },
        { "joe@example.com", "ann@example.com", "Auto-Submitted: auto-forwarded\r\n", "250", false, false },
        { "joe@example.com", "b@c.org", "Auto-Submitted: auto-replied\r\n", "250", false, true },
        { "joe@example.com", "b@c.org", "Auto-Submitted: auto-replied (vacation)\r\n", "550", true, false },
        { "joe@example.com", "b@c.org", "Auto-Submitted: auto-generated\r\n", "250", false, false },
        { "", "b@c.org", "X: y\r\n", "550", true, false },
        { "", "b@c.org", "X: y\r\n", "250", false, true },
        { "", "b@c.org", "Auto-Submitted: auto-forwarded\r\n", "550", false, true },
        { "joe@example.com", "b@c.org", "X: y\r\n\r\nAuto-Submitted: auto-forwarded\r\n", "250", false, true },
    };
    char line[300];
    begin(LISTENER_SUBMISSIONS);
    log_in();
    snapshot.agent.relay_host = relay_text;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        joe.smtp_outgoing_forwards = rows[i].forwards;
        joe.smtp_outgoing_replies = rows[i].replies;
        snprintf(line, sizeof(line), "MAIL FROM:<%s>\r\nRCPT TO:<%s>\r\nDATA\r\n", rows[i].sender, rows[i].to);
        CU_ASSERT(talk(line, "250 250 354"));
        snprintf(line, sizeof(line), "%s\r\nx\r\n.\r\n", rows[i].head);
        CU_ASSERT(talk(line, rows[i].codes));
    }
    end();
}

/* What a recipient takes at most: by SIZE, by the bytes that came, and never at the cost of another recipient. */
static void test_incoming_sizes(void)
{
    begin(LISTENER_PLAIN);
    joe.smtp_incoming_max_size = 10;
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c> SIZE=11\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n", "250 250 552 250"));
    CU_ASSERT(talk("DATA\r\n0123456789\r\n.\r\n", "354 250"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<ann@example.com>\r\nRCPT TO:<joe@example.com>\r\nRSET\r\n", "250 250 452 250"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n", "250 250 452"));
    CU_ASSERT(talk("DATA\r\n012345678\r\n.\r\n", "354 552"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n01234567\r\n.\r\n", "250 250 354 250"));
    CU_ASSERT(talk("MAIL FROM:<a@b.c> SIZE=3\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n", "250 250 250"));
    CU_ASSERT(talk("DATA\r\n0123456789\r\n.\r\n", "354 552"));
    end();
    begin(LISTENER_SUBMISSIONS);
    log_in();
    ann.smtp_incoming_max_size = 10;
    CU_ASSERT(talk("MAIL FROM:<joe@example.com>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n", "250 250 250"));
    CU_ASSERT(talk("DATA\r\n0123456789\r\n.\r\n", "354 552"));
    end();
}

static void test_tls_required(void)
{
    begin(LISTENER_PLAIN);
    snapshot.agent.smtp_tls = TLS_REQUIRED;
    fake.session.clear_login = true;
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c>\r\nAUTH PLAIN AGpvZQBzZWNyZXQ=\r\nNOOP\r\nSTARTTLS\r\n", "250 530 530 250 220"));
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c>\r\n", "250 250"));
    CU_ASSERT(!heard("STARTTLS"));
    end();
}

static void test_failed_logins(void)
{
    begin(LISTENER_SUBMISSIONS);
    fake.session.tls = fake.session.clear_login = true;
    CU_ASSERT(talk("EHLO c\r\n", "250"));
    for (int i = 0; i < 5; i++)
        CU_ASSERT(talk("AUTH PLAIN AGpvZQB3cm9uZw==\r\n", "535"));
    CU_ASSERT_EQUAL(fake.reason, CLOSE_TOO_MANY_LOGINS);
    end();
}

static void test_refused_data(void)
{
    static const char *const bad[] = { "a\n.\nb\r\n.\r\n", "a\n.\r\nb\r\n.\r\n", "a\r\n.\nb\r\n.\r\n", "a\r.\rb\r\n.\r\n", "a\rb\r\n.\r\n" };
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("EHLO c\r\n", "250"));
    for (size_t i = 0; i < 5; i++) {
        CU_ASSERT(talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n", "250 250 354"));
        CU_ASSERT(talk(bad[i], "550"));
        CU_ASSERT(heard("5.6.0"));
    }
    struct buf loop = { 0 };
    for (int i = 0; i < 101; i++)
        buf_append_text(&loop, "Received: x\r\n");
    buf_append_text(&loop, "\r\n.\r\n");
    CU_ASSERT(talk("MAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\n", "250 250 354"));
    CU_ASSERT(talk(buf_text(&loop), "554"));
    CU_ASSERT_EQUAL(world.inbox_count, 0);
    buf_fini(&loop);
    end();
}

/* More than memory takes: through the file, whole and in order; and more than is allowed: read to the end and refused. */
static void test_big(void)
{
    struct buf text = { 0 };
    for (int i = 0; i < 40000; i++)
        buf_printf(&text, "line number %d\r\n", i);
    for (int i = 0; i < 2; i++) {
        begin(LISTENER_PLAIN);
        snapshot.agent.smtp_max_message_size = i == 0 ? text.len : text.len - 1;
        CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\nDATA\r\n", "250 250 250 250 354"));
        for (size_t at = 0; at < text.len; at += 30000)
            give(slice_part(buf_slice(&text), at, 30000));
        CU_ASSERT(talk(".\r\nNOOP\r\n", i == 0 ? "250 250" : "552 250"));
        CU_ASSERT_EQUAL(world.inbox_count, i == 0 ? 2 : 0);
        struct slice mail = buf_slice(&world.mail);
        CU_ASSERT(i != 0 || (mail.len > text.len && slice_is_equal(slice_from(mail, mail.len - text.len), buf_slice(&text))));
        end();
    }
    buf_fini(&text);
}

/* 250 only when everybody's copy is safe. */
static void test_partial_failures(void)
{
    static const struct { int inbox_fails; bool queue_open_fails, queue_commit_fails, remote; const char *codes, *queued; int inboxes; } rows[] = {
        { 0, true, true, false, "250", "", 2 }, { 1, false, false, false, "250", "joe@example.com ", 1 },
        { 2, false, false, false, "250", "ann@example.com ", 1 }, { 3, false, false, false, "451", "", 0 },
        { 1, true, false, false, "451", "", 1 }, { 1, false, true, false, "451", "", 1 },
        { 0, true, false, true, "451", "", 0 }, { 0, false, true, true, "451", "", 2 },
        { 3, false, false, true, "250", "joe@example.com ann@example.com bob@example.org ", 0 },
        { 0, false, false, true, "250", "bob@example.org ", 2 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin(LISTENER_SUBMISSIONS);
        log_in();
        snapshot.agent.relay_host = relay_text;
        world.inbox_fails = rows[i].inbox_fails;
        world.queue_open_fails = rows[i].queue_open_fails;
        world.queue_commit_fails = rows[i].queue_commit_fails;
        CU_ASSERT(talk("MAIL FROM:<joe@example.com>\r\nRCPT TO:<joe@example.com>\r\nRCPT TO:<ann@example.com>\r\n", "250 250 250"));
        if (rows[i].remote)
            CU_ASSERT(talk("RCPT TO:<bob@example.org>\r\n", "250"));
        CU_ASSERT(talk("DATA\r\n", "354"));
        CU_ASSERT(talk("x\r\n.\r\n", rows[i].codes));
        CU_ASSERT(slice_is(buf_slice(&world.queued_recipients), rows[i].queued));
        CU_ASSERT_EQUAL(world.inbox_count, rows[i].inboxes);
        end();
    }
}

static void test_broken_off(void)
{
    begin(LISTENER_PLAIN);
    CU_ASSERT(talk("EHLO c\r\nMAIL FROM:<a@b.c>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\nhalf a mess", "250 250 250 354"));
    fake.session.eof = true;
    pump();
    CU_ASSERT_EQUAL(fake.reason, CLOSE_CLIENT);
    CU_ASSERT(fake.session.closing);
    CU_ASSERT_EQUAL(world.inbox_count, 0);
    end();
}

static const struct unit_test tests[] = {
    { "paths", test_paths }, { "path limits", test_path_limits }, { "from", test_from }, { "data", test_data }, { "header", test_header },
    { "delivery", test_delivery }, { "every split", test_every_split }, { "order", test_order }, { "lines", test_lines },
    { "recipients", test_recipients }, { "submission", test_submission }, { "login before TLS", test_login_before_tls }, { "author", test_author }, { "exceptions", test_exceptions }, { "rules", test_rules }, { "incoming sizes", test_incoming_sizes }, { "tls required", test_tls_required },
    { "failed logins", test_failed_logins }, { "refused data", test_refused_data }, { "big", test_big },
    { "partial failures", test_partial_failures }, { "broken off", test_broken_off },
};

UNIT_MAIN("smtp", tests)
