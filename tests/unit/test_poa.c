/* Unit tests of src/poa: the dialogue with every answer split at every byte, the circuits, and what two views of an account have in common. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/found.h"
#include "run.h"
#include "src/poa/accepted.h"
#include "src/poa/circuit.h"
#include "src/poa/dialogue.h"
#include "src/poa/picture.h"

/* --- the dialogue ---------------------------------------------------------------------------------------------------------------- */

struct row {
    const char *name;
    struct post_office_agent agent;
    const char *password;
    bool token;             /* it is one */
    bool probe;
    bool told;              /* the client's address */
    const char *said;       /* by the POA */
    enum dialogue_result result;
    const char *wanted;     /* what we say */
    const char *fault;      /* a part of its text */
    bool of_user;
};

#define GREETING "* OK [CAPABILITY IMAP4rev1 SASL-IR ID AUTH=PLAIN] ready\r\n"
#define OPENED "a OK [CAPABILITY IMAP4rev1 MOVE] in\r\n"
static char gateway[] = "gate", gateway_secret[] = "s3";

static const struct row rows[] = {
    { .name = "sasl-ir", .said = GREETING OPENED, .result = DIALOGUE_OPEN, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n" },
    { .name = "id", .told = true, .said = GREETING "* ID (\"name\" {7}\r\nDovecot)\r\ni OK\r\n" OPENED, .result = DIALOGUE_OPEN,
      .wanted = "i ID (\"x-originating-ip\" \"10.1.2.3\" \"x-originating-port\" \"4567\" \"x-connected-ip\" \"10.1.2.4\" \"x-connected-port\" \"143\" "
                "\"x-session-id\" \"postern-9\" \"x-proxy-ttl\" \"4\")\r\na AUTHENTICATE PLAIN AGpvZQBwdw==\r\n" },
    { .name = "capability asked before and after", .said = "* OK hello\r\n* CAPABILITY IMAP4rev1\r\nc OK\r\na OK in\r\n* CAPABILITY IMAP4rev1  MOVE\r\nb OK\r\n",
      .result = DIALOGUE_OPEN, .wanted = "c CAPABILITY\r\na LOGIN \"joe\" \"pw\"\r\nb CAPABILITY\r\n" },
    { .name = "without SASL-IR", .said = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] x\r\n+ \r\n" OPENED, .result = DIALOGUE_OPEN,
      .wanted = "a AUTHENTICATE PLAIN\r\nAGpvZQBwdw==\r\n" },
    { .name = "quoting", .password = "a\"b\\c d", .said = "* OK [CAPABILITY IMAP4rev1] x\r\n" OPENED, .result = DIALOGUE_OPEN,
      .wanted = "a LOGIN \"joe\" \"a\\\"b\\\\c d\"\r\n" },
    { .name = "literals", .password = "p\xc3\xa4\r\n", .said = "* OK [CAPABILITY IMAP4rev1] x\r\n+ go\r\n+ go\r\n" OPENED, .result = DIALOGUE_OPEN,
      .wanted = "a LOGIN {3}\r\njoe {5}\r\np\xc3\xa4\r\n\r\n" },
    { .name = "authorization", .agent = { .login = POA_LOGIN_AUTHORIZATION }, .said = GREETING OPENED, .result = DIALOGUE_OPEN,
      .wanted = "a AUTHENTICATE PLAIN am9lAGdhdGUAczM=\r\n" },
    { .name = "master user", .agent = { .login = POA_LOGIN_MASTER_USER }, .said = "* OK [CAPABILITY IMAP4rev1] x\r\n" OPENED, .result = DIALOGUE_OPEN,
      .wanted = "a LOGIN \"joe*gate\" \"s3\"\r\n" },
    { .name = "external", .agent = { .login = POA_LOGIN_EXTERNAL }, .said = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=EXTERNAL] x\r\n" OPENED, .result = DIALOGUE_OPEN,
      .wanted = "a AUTHENTICATE EXTERNAL am9l\r\n" },
    { .name = "external not offered", .agent = { .login = POA_LOGIN_EXTERNAL }, .said = GREETING, .result = DIALOGUE_FAILED, .wanted = "", .fault = "mechanism" },
    { .name = "token", .password = "t.o.k", .token = true, .said = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN AUTH=XOAUTH2 AUTH=OAUTHBEARER] x\r\n" OPENED,
      .result = DIALOGUE_OPEN, .wanted = "a AUTHENTICATE OAUTHBEARER bixhPWpvZSwBYXV0aD1CZWFyZXIgdC5vLmsBAQ==\r\n" },
    { .name = "token, the old form", .password = "t.o.k", .token = true, .said = "* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=XOAUTH2] x\r\n+ \r\n" OPENED,
      .result = DIALOGUE_OPEN, .wanted = "a AUTHENTICATE XOAUTH2\r\ndXNlcj1qb2UBYXV0aD1CZWFyZXIgdC5vLmsBAQ==\r\n" },
    { .name = "token refused", .password = "t.o.k", .token = true, .said = "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=OAUTHBEARER] x\r\n+ eyJzdGF0dXMiOiJ4In0=\r\na NO no\r\n",
      .result = DIALOGUE_REFUSED, .wanted = "a AUTHENTICATE OAUTHBEARER bixhPWpvZSwBYXV0aD1CZWFyZXIgdC5vLmsBAQ==\r\nAQ==\r\n", .fault = "refuses", .of_user = true },
    { .name = "token without a mechanism for it", .password = "t.o.k", .token = true, .said = GREETING, .result = DIALOGUE_FAILED, .wanted = "",
      .fault = "no bearer tokens", .of_user = true },
    { .name = "token, and the gateway's own credentials", .agent = { .login = POA_LOGIN_AUTHORIZATION }, .password = "t.o.k", .token = true, .said = GREETING OPENED,
      .result = DIALOGUE_OPEN, .wanted = "a AUTHENTICATE PLAIN am9lAGdhdGUAczM=\r\n" },
    { .name = "probe", .probe = true, .said = GREETING "+ \r\n", .result = DIALOGUE_OPEN, .wanted = "a AUTHENTICATE PLAIN\r\n*\r\nl LOGOUT\r\n" },
    { .name = "probe without a mechanism", .probe = true, .said = "* OK [CAPABILITY IMAP4rev1] x\r\n+ go\r\n", .result = DIALOGUE_OPEN,
      .wanted = "a LOGIN {1}\r\n*\r\nl LOGOUT\r\n" },
    { .name = "probe of one that takes no logins in clear text", .probe = true, .said = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n", .result = DIALOGUE_OPEN,
      .wanted = "l LOGOUT\r\n" },
    { .name = "probe that is refused", .probe = true, .said = GREETING "a NO no\r\n", .result = DIALOGUE_OPEN, .wanted = "a AUTHENTICATE PLAIN\r\nl LOGOUT\r\n" },
    { .name = "probe, and the passwords are away", .probe = true, .said = GREETING "a NO [UNAVAILABLE] x\r\n", .result = DIALOGUE_FAILED,
      .wanted = "a AUTHENTICATE PLAIN\r\n", .fault = "takes no logins" },
    { .name = "probe that logs in", .probe = true, .said = GREETING "a OK x\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN\r\n", .fault = "not asked" },
    { .name = "starttls", .agent = { .tls = POA_TLS_REQUIRED }, .said = "* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] x\r\ns OK go\r\n",
      .result = DIALOGUE_START_TLS, .wanted = "s STARTTLS\r\n" },
    { .name = "starttls with more behind it", .agent = { .tls = POA_TLS_ENABLED }, .said = "* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\ns OK go\r\na OK in\r\n",
      .result = DIALOGUE_FAILED, .wanted = "s STARTTLS\r\n", .fault = "clear text" },
    { .name = "starttls not offered", .agent = { .tls = POA_TLS_REQUIRED }, .said = GREETING, .result = DIALOGUE_FAILED, .wanted = "", .fault = "STARTTLS" },
    { .name = "starttls refused", .agent = { .tls = POA_TLS_ENABLED }, .said = "* OK [CAPABILITY IMAP4rev1 STARTTLS] x\r\ns NO\r\n", .result = DIALOGUE_FAILED,
      .wanted = "s STARTTLS\r\n", .fault = "refuses STARTTLS" },
    { .name = "no login in clear text", .said = "* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] x\r\n", .result = DIALOGUE_FAILED, .wanted = "", .fault = "LOGINDISABLED" },
    { .name = "bye at once", .said = "* BYE overloaded\r\n", .result = DIALOGUE_FAILED, .wanted = "", .fault = "overloaded" },
    { .name = "preauth", .said = "* PREAUTH hello\r\n", .result = DIALOGUE_FAILED, .wanted = "", .fault = "PREAUTH" },
    { .name = "not imap", .said = "220 smtp ready\r\n", .result = DIALOGUE_FAILED, .wanted = "", .fault = "not IMAP" },
    { .name = "garbage later", .said = GREETING "\1\2\3\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n", .fault = "does not speak IMAP" },
    { .name = "an answer to nothing", .said = GREETING "z OK\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n", .fault = "not asked" },
    { .name = "bye in the login", .said = GREETING "* BYE dying\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n", .fault = "dying" },
    { .name = "refused", .said = GREETING "a NO [AUTHENTICATIONFAILED] no\r\n", .result = DIALOGUE_REFUSED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n",
      .fault = "refuses", .of_user = true },
    { .name = "refused without a code", .said = GREETING "a NO no\r\n", .result = DIALOGUE_REFUSED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n", .fault = "refuses",
      .of_user = true },
    { .name = "unavailable", .said = GREETING "a NO [UNAVAILABLE] later\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n",
      .fault = "cannot serve", .of_user = true },
    { .name = "in use", .said = GREETING "a NO [INUSE] later\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n", .fault = "cannot serve",
      .of_user = true },
    { .name = "bad", .said = GREETING "a BAD what\r\n", .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN AGpvZQBwdw==\r\n", .fault = "does not understand" },
    { .name = "the gateway is refused", .agent = { .login = POA_LOGIN_AUTHORIZATION }, .said = GREETING "a NO [AUTHENTICATIONFAILED] no\r\n",
      .result = DIALOGUE_FAILED, .wanted = "a AUTHENTICATE PLAIN am9lAGdhdGUAczM=\r\n", .fault = "refuses", .of_user = true },
    { .name = "no password", .password = "", .said = GREETING, .result = DIALOGUE_FAILED, .wanted = "", .fault = "no password", .of_user = true },
};

static struct dialogue_who who_of(const struct row *row)
{
    struct dialogue_who who = { .user = SLICE_LITERAL("joe"), .password = slice_from_string(row->password != NULL ? row->password : "pw"),
                                .name = slice_from_string(gateway), .secret = slice_from_string(gateway_secret), .session_id = 9 };
    who.token = row->token;
    if (row->told) {
        who.client = "10.1.2.3";
        who.client_port = 4567;
        who.local = "10.1.2.4";
        who.local_port = 143;
    }
    return who;
}

static enum dialogue_result feed(struct dialogue *d, struct buf *in, struct buf *out, const char *bytes, size_t len)
{
    buf_append(in, slice_make(bytes, len));
    return dialogue_run(d, in, out);
}

static void test_dialogue(void)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct row *row = &rows[i];
        size_t len = strlen(row->said);
        for (size_t split = 0; split < len; split++) {
            struct dialogue_who who = who_of(row);
            struct dialogue d;
            struct buf in = { .cap = 0 }, out = { .cap = 0 };
            dialogue_init(&d, &row->agent, &who, row->probe);
            enum dialogue_result result = feed(&d, &in, &out, row->said, split);
            if (result == DIALOGUE_MORE)
                result = feed(&d, &in, &out, row->said + split, len - split);
            /* What comes behind STARTTLS in another packet is TLS' own affair. */
            bool told_apart = row->result == DIALOGUE_FAILED && result == DIALOGUE_START_TLS;
            if (!told_apart && result != row->result)
                printf("\n%s, split at %zu: %s\n", row->name, split, d.fault.text);
            CU_ASSERT(told_apart || result == row->result);
            CU_ASSERT(slice_is(buf_slice(&out), row->wanted));
            CU_ASSERT(told_apart || row->fault == NULL || strstr(d.fault.text, row->fault) != NULL);
            CU_ASSERT_EQUAL(d.of_user, row->of_user);
            if (row->result == DIALOGUE_OPEN && !row->probe)
                CU_ASSERT(slice_is(buf_slice(&d.capability), "IMAP4rev1 MOVE"));
            buf_fini(&in);
            buf_fini(&out);
            dialogue_fini(&d);
        }
    }
}

static void test_dialogue_limits(void)
{
    struct row row = { .name = "" };
    struct dialogue_who who = who_of(&row);
    struct dialogue d;
    struct buf in = { .cap = 0 }, out = { .cap = 0 };
    dialogue_init(&d, &row.agent, &who, false);
    for (size_t i = 0; i < DIALOGUE_IN_MAX - 1; i++)
        buf_append_byte(&in, 'x');
    CU_ASSERT_EQUAL(dialogue_run(&d, &in, &out), DIALOGUE_MORE);
    CU_ASSERT_EQUAL(feed(&d, &in, &out, "x", 1), DIALOGUE_FAILED);
    dialogue_fini(&d);
    buf_clear(&in);
    dialogue_init(&d, &row.agent, &who, false);
    enum dialogue_result result = feed(&d, &in, &out, GREETING, strlen(GREETING));
    unsigned lines = 0;
    for (; result == DIALOGUE_MORE && lines < 1000; lines++)
        result = feed(&d, &in, &out, "* OK still there\r\n", 18);
    CU_ASSERT_EQUAL(result, DIALOGUE_FAILED);
    CU_ASSERT(lines < 100);
    CU_ASSERT_EQUAL(dialogue_phase(&d), PHASE_LOGIN);
    dialogue_fini(&d);
    buf_fini(&in);
    buf_fini(&out);
}

/* What was known in clear text is asked again; the PROXY header goes first. */
static void test_tls_and_proxy(void)
{
    struct row row = { .agent = { .tls = POA_TLS_REQUIRED, .proxy_header = true }, .told = true };
    struct dialogue_who who = who_of(&row);
    struct dialogue d;
    struct buf in = { .cap = 0 }, out = { .cap = 0 };
    static const char header[] = "\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\x01\x02\x03\x0a\x01\x02\x04\x11\xd7\0\x8f";
    dialogue_init(&d, &row.agent, &who, false);
    dialogue_begin(&d, &out);
    CU_ASSERT(slice_is_equal(buf_slice(&out), slice_make(header, sizeof(header) - 1)));
    buf_clear(&out);
    CU_ASSERT_EQUAL(feed(&d, &in, &out, "* OK [CAPABILITY STARTTLS AUTH=PLAIN SASL-IR] x\r\ns OK\r\n", 55), DIALOGUE_START_TLS);
    buf_clear(&out);
    dialogue_tls_up(&d, &out);
    CU_ASSERT(slice_is(buf_slice(&out), "c CAPABILITY\r\n"));
    buf_clear(&out);
    CU_ASSERT_EQUAL(feed(&d, &in, &out, "* CAPABILITY IMAP4rev1\r\nc OK\r\n", 30), DIALOGUE_MORE);
    CU_ASSERT(slice_is(buf_slice(&out), "a LOGIN \"joe\" \"pw\"\r\n"));
    dialogue_fini(&d);
    buf_clear(&in);
    buf_clear(&out);
    dialogue_init(&d, &row.agent, &who, true);
    dialogue_begin(&d, &out);
    CU_ASSERT(slice_ends_with(slice_part(buf_slice(&out), 0, 13), "\x20") && out.len == 16);
    dialogue_fini(&d);
    buf_fini(&in);
    buf_fini(&out);
}

/* --- circuits ----------------------------------------------------------------------------------------------------------------------- */

static char path_text[] = "/mail", host_text[] = "poa", other_text[] = "other", name_text[] = "office";
static struct post_office_agent two[2] = { { .host = host_text, .port = 143 }, { .host = other_text, .port = 143 } };
static struct post_office office = { .name = name_text, .uuid = "u-1", .path = path_text, .agents = two, .agent_count = 1 };

struct test_waiter {
    struct waiter waiter;
    int gone;
};

static void note_gone(struct waiter *waiter)
{
    LIST_ITEM(waiter, struct test_waiter, waiter)->gone++;
}

static enum circuit_answer begin(struct test_waiter *w, int phase)
{
    *w = (struct test_waiter){ .waiter = { .gone = note_gone } };
    w->waiter.phase = phase;
    return circuit_begin(&office, 0, &w->waiter);
}

static void end(struct test_waiter *w, enum circuit_outcome outcome, const char *user)
{
    struct fault fault;
    fault_set(&fault, FAULT_UNREACHABLE, 0, "it failed");
    circuit_ended(&office, 0, &w->waiter, outcome, slice_from_string(user), &fault);
}

static void keep_report(const struct poa_report *report, void *context)
{
    struct poa_report *out = context;
    *out = *report;
    CU_ASSERT(report->failures == 0 || strcmp(report->failure, "it failed") == 0);
}

static struct poa_report report(void)
{
    struct poa_report out;
    memset(&out, 0, sizeof(out));
    poa_describe(&office, keep_report, &out);
    return out;
}

static bool was_doubted;

static void count_due(const struct post_office *po, size_t agent, bool doubted, void *context)
{
    was_doubted = doubted;
    CU_ASSERT(po == &office && agent == 0);
    ++*(int *)context;
}

static int due(void)
{
    struct snapshot snapshot = { .post_offices = &(const struct post_office *){ &office }, .post_office_count = 1 };
    int count = 0;
    circuit_for_each_due(&snapshot, count_due, &count);
    return count;
}

static int due_by(uint64_t until_ms)
{
    while (clock_monotonic_ms() < until_ms) {
        if (due() == 1)
            return 1;
        usleep(5000);
    }
    return 0;
}

static void test_circuit(void)
{
    struct test_waiter a, b, c;
    struct fault fault;
    fault_set(&fault, FAULT_UNREACHABLE, 0, "it failed");
    circuit_set_prober(true);
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    CU_ASSERT_EQUAL(poa_fallback(&office), PATH_NONE);
    circuit_set_compared(&office, circuit_fingerprint(&office), "");
    CU_ASSERT_EQUAL(poa_fallback(&office), PATH_DIRECT);
    office.separator = '/';   /* something else than what was compared */
    CU_ASSERT_EQUAL(poa_fallback(&office), PATH_NONE);
    CU_ASSERT(circuit_wants_comparison(&office) && !circuit_wants_comparison(&office));
    /* What was compared when POA or path were others neither counts, nor ends the comparison that does. */
    struct post_office before = office;
    office.prefix = (char *)"INBOX.";
    CU_ASSERT(circuit_wants_comparison(&office) && circuit_is_compared(&office) && !circuit_is_compared(&before));
    circuit_comparison_ended(&before);
    circuit_set_compared(&before, circuit_fingerprint(&before), "");   /* as a new snapshot does */
    CU_ASSERT(circuit_is_compared(&office) && !circuit_wants_comparison(&office));
    circuit_comparison_ended(&office);
    CU_ASSERT(!circuit_is_compared(&office) && circuit_wants_comparison(&office));
    circuit_comparison_ended(&office);
    office = before;
    office.separator = '\0';
    circuit_set_compared(&office, circuit_fingerprint(&office), "");
    CU_ASSERT_EQUAL(poa_fallback(&office), PATH_DIRECT);
    /* One finds it away: who has come no further ends with it, who has goes on. */
    CU_ASSERT_EQUAL(begin(&a, PHASE_GREETING), CIRCUIT_GO);
    CU_ASSERT_EQUAL(begin(&b, PHASE_GREETING), CIRCUIT_GO);
    CU_ASSERT_EQUAL(begin(&c, PHASE_LOGIN), CIRCUIT_GO);
    end(&a, OUTCOME_FAILED, "joe");
    CU_ASSERT(b.gone == 1 && c.gone == 0);
    end(&b, OUTCOME_NONE, "ann");
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_DIRECT);
    CU_ASSERT_EQUAL(begin(&a, PHASE_GREETING), CIRCUIT_AWAY);
    CU_ASSERT(report().switches == 1 && report().failures == 1 && report().now == PATH_DIRECT && report().host == NULL);
    /* A login that began before it went away does not bring it back. */
    end(&c, OUTCOME_OPEN, "bob");
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_DIRECT);
    CU_ASSERT_EQUAL(due(), 0);
    CU_ASSERT_EQUAL(due_by(clock_monotonic_ms() + 3000), 1);
    CU_ASSERT_EQUAL(due(), 0);   /* one probe, not one for each who asks */
    circuit_probed(&office, 0, false, &fault);
    uint64_t failed_ms = clock_monotonic_ms();
    CU_ASSERT_EQUAL(due_by(failed_ms + 5000), 1);
    CU_ASSERT(clock_monotonic_ms() - failed_ms >= 1900);   /* twice as long as before */
    /* Well again: one login is let through, and decides. */
    circuit_probed(&office, 0, true, NULL);
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    CU_ASSERT_EQUAL(report().switches, 1);
    CU_ASSERT_EQUAL(begin(&a, PHASE_GREETING), CIRCUIT_GO);
    CU_ASSERT_EQUAL(begin(&b, PHASE_GREETING), CIRCUIT_AWAY);
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_DIRECT);
    end(&a, OUTCOME_OPEN, "joe");
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    CU_ASSERT(report().switches == 2 && report().opened == 2 && strcmp(report().host, "poa") == 0);
    circuit_clear();
}

/* Who waits for an answer has the POA probed, once for all who wait, and ends when it is not well. */
static void test_doubt(void)
{
    struct test_waiter a, b;
    struct fault fault;
    uint64_t begun = clock_monotonic_ms();
    fault_set(&fault, FAULT_UNREACHABLE, 0, "it failed");
    circuit_set_compared(&office, circuit_fingerprint(&office), "");
    CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
    CU_ASSERT_EQUAL(begin(&b, PHASE_LOGIN), CIRCUIT_GO);
    CU_ASSERT_EQUAL(due(), 0);
    CU_ASSERT(!circuit_doubt(&office, 0, begun) && !circuit_doubt(&office, 0, begun));
    CU_ASSERT(due() == 1 && was_doubted && due() == 0);
    circuit_probed(&office, 0, true, NULL);
    CU_ASSERT(a.gone == 0 && poa_choose(&office) == PATH_POA && report().failures == 0);
    /* It has shown that it is well since then; for one who waits since later that is no news. */
    CU_ASSERT(!poa_is_away(&office, 0, begun) && due() == 0);
    CU_ASSERT(!poa_is_away(&office, 0, clock_monotonic_ms() + 1) && due() == 1);
    circuit_probed(&office, 0, false, &fault);
    CU_ASSERT(a.gone == 1 && b.gone == 1 && poa_choose(&office) == PATH_DIRECT && report().failures == 1);
    CU_ASSERT(poa_is_away(&office, 0, clock_monotonic_ms() + 1));
    /* Doubted while it is away: no sooner on trial for that. */
    CU_ASSERT_EQUAL(due(), 1);
    circuit_probed(&office, 0, true, NULL);
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_DIRECT);
    end(&a, OUTCOME_NONE, "joe");
    end(&b, OUTCOME_NONE, "ann");
    circuit_clear();
    /* A probe that fails while logins succeed says nothing. */
    CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
    CU_ASSERT(!circuit_doubt(&office, 0, clock_monotonic_ms()) && due() == 1);
    end(&a, OUTCOME_OPEN, "joe");
    circuit_probed(&office, 0, false, &fault);
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    circuit_clear();
}

/* Two users who wait for as long, and nobody was answered meanwhile: not one with two clients, and not one who has just come. */
static void test_silence(void)
{
    struct test_waiter a, b;
    CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
    CU_ASSERT_EQUAL(begin(&b, PHASE_LOGIN), CIRCUIT_GO);
    uint64_t begun = clock_monotonic_ms();
    while (clock_monotonic_ms() < begun + 30)
        usleep(1000);
    a.waiter.user = b.waiter.user = "joe";
    a.waiter.login_ms = b.waiter.login_ms = begun;
    CU_ASSERT_FALSE(circuit_is_silent(&office, 0, 20));
    b.waiter.user = "ann";
    CU_ASSERT_FALSE(circuit_is_silent(&office, 0, 20000));
    CU_ASSERT(circuit_is_silent(&office, 0, 20));
    b.waiter.login_ms = 0;
    CU_ASSERT_FALSE(circuit_is_silent(&office, 0, 20));
    b.waiter.login_ms = clock_monotonic_ms();
    CU_ASSERT_FALSE(circuit_is_silent(&office, 0, 20));
    b.waiter.login_ms = begun;
    struct test_waiter c;
    CU_ASSERT_EQUAL(begin(&c, PHASE_LOGIN), CIRCUIT_GO);
    end(&c, OUTCOME_REFUSED, "bob");
    CU_ASSERT_FALSE(circuit_is_silent(&office, 0, 20));
    end(&a, OUTCOME_NONE, "joe");
    end(&b, OUTCOME_NONE, "ann");
    circuit_clear();
}

/* Who is served directly meanwhile loses nothing by a long one; who is not does. */
static void test_back_off(void)
{
    static const unsigned with[] = { 1, 2, 4, 8, 16, 30, 30 }, without[] = { 1, 2, 4, 5, 5, 5, 5 };
    for (unsigned i = 0, a = 0, b = 0; i < 7; i++) {
        CU_ASSERT_EQUAL(a = circuit_back_off(a, true), with[i]);
        CU_ASSERT_EQUAL(b = circuit_back_off(b, false), without[i]);
    }
    CU_ASSERT_EQUAL(circuit_back_off(30, false), 5);
}

static void test_accepted(void)
{
    struct post_office_agent agent = { .host = host_text, .port = 143 }, other = agent, own = agent;
    struct dialogue_who who = { .user = SLICE_LITERAL("joe"), .password = SLICE_LITERAL("pw"), .name = SLICE_LITERAL("gate"), .secret = SLICE_LITERAL("s3") };
    struct dialogue_who changed = who, split = who;
    other.port = 144;
    own.login = POA_LOGIN_MASTER_USER;
    changed.password = SLICE_LITERAL("new");
    split.user = SLICE_LITERAL("joep");
    split.password = SLICE_LITERAL("w");
    uint64_t tag = accepted_tag(&agent, &who);
    CU_ASSERT_FALSE(accepted_is(tag));
    accepted_note(tag);
    CU_ASSERT(accepted_is(accepted_tag(&agent, &who)));
    CU_ASSERT_FALSE(accepted_is(accepted_tag(&agent, &changed)));
    CU_ASSERT_FALSE(accepted_is(accepted_tag(&agent, &split)));
    CU_ASSERT_FALSE(accepted_is(accepted_tag(&other, &who)));
    CU_ASSERT_FALSE(accepted_is(accepted_tag(&own, &who)));
    /* The user's password does not matter to the gateway's own login. */
    CU_ASSERT_EQUAL(accepted_tag(&own, &who), accepted_tag(&own, &changed));
    accepted_forget(accepted_tag(&agent, &changed));
    CU_ASSERT(accepted_is(tag));
    accepted_forget(tag);
    CU_ASSERT_FALSE(accepted_is(tag));
}

static void test_one_users_failures(void)
{
    struct test_waiter a;
    circuit_set_compared(&office, circuit_fingerprint(&office), "");
    for (int i = 0; i < 5; i++) {
        CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
        end(&a, OUTCOME_OF_USER, "joe");
    }
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    /* A success in between says that it is joe's own trouble. */
    CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
    end(&a, OUTCOME_OPEN, "ann");
    CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
    end(&a, OUTCOME_OF_USER, "bob");
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    CU_ASSERT_EQUAL(begin(&a, PHASE_LOGIN), CIRCUIT_GO);
    end(&a, OUTCOME_OF_USER, "joe");
    CU_ASSERT_NOT_EQUAL(poa_choose(&office), PATH_POA);
    circuit_clear();
}

static bool links_say(const char *wanted)
{
    static char dn_text[] = "cn=o";
    struct snapshot snapshot = { .post_offices = &(const struct post_office *){ &office }, .post_office_count = 1 };
    struct buf out = { .cap = 0 };
    office.dn = dn_text;
    poa_report_links(&snapshot, &out, NULL);
    bool same = slice_is(buf_slice(&out), wanted);
    buf_fini(&out);
    return same;
}

static void test_lines(void)
{
    struct test_waiter a;
    CU_ASSERT(links_say("cn=o: client/server poa:143\n"));
    circuit_set_compared(&office, circuit_fingerprint(&office), "x and y");
    CU_ASSERT(links_say("cn=o: client/server poa:143; no fallback: x and y\n"));
    CU_ASSERT_EQUAL(begin(&a, PHASE_GREETING), CIRCUIT_GO);
    end(&a, OUTCOME_FAILED, "joe");
    CU_ASSERT(links_say("cn=o: not reachable, the Post Office Agent is away; no fallback: x and y\n"));
    circuit_set_compared(&office, circuit_fingerprint(&office), "");
    CU_ASSERT(links_say("cn=o: direct /mail, the Post Office Agent is away\n"));
    /* A path that cannot be used is no way, and stands in for nothing. */
    struct config_fault fault = { .dn = (char *)"cn=path", .attribute = (char *)"posternPath", .reason = (char *)"not marked" };
    office.path_from = fault.dn;
    CU_ASSERT_STRING_EQUAL(report().fallback, "ready");
    config_set_found(FOUND_BY_PATHS, &fault, 1);
    CU_ASSERT(links_say("cn=o: not reachable, the Post Office Agent is away\n"));
    CU_ASSERT_STRING_EQUAL(report().fallback, "off");
    office.agent_count = 0;
    CU_ASSERT(links_say("cn=o: not reachable\n"));
    config_set_found(FOUND_BY_PATHS, NULL, 0);
    office.path_from = NULL;
    CU_ASSERT(links_say("cn=o: direct /mail\n"));
    office.agent_count = 1;
    circuit_clear();
}

/* Which ways there are, by what the office has. */
static void test_choices(void)
{
    struct test_waiter a;
    struct post_office saved = office;
    office.path = NULL;
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    CU_ASSERT_EQUAL(begin(&a, PHASE_GREETING), CIRCUIT_GO);
    end(&a, OUTCOME_FAILED, "joe");
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_NONE);
    /* A second host is another way; a changed host begins anew. */
    office.agent_count = 2;
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    office.agent_count = 1;
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_NONE);
    two[0].port = 2143;
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    two[0].port = 143;
    office.agent_count = 0;
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_NONE);
    office.path = path_text;
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_DIRECT);
    /* Both, and they differ: the path does not stand in. */
    office = saved;
    circuit_set_compared(&office, circuit_fingerprint(&office), "something");
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_NONE);
    CU_ASSERT_STRING_EQUAL(report().fallback, "off");
    circuit_clear();
}

static void test_following(void)
{
    struct test_waiter a;
    struct snapshot with = { .post_offices = &(const struct post_office *){ &office }, .post_office_count = 1 }, without = { .post_office_count = 0 };
    circuit_set_compared(&office, circuit_fingerprint(&office), "");
    CU_ASSERT_EQUAL(begin(&a, PHASE_GREETING), CIRCUIT_GO);
    circuit_follow(&without);   /* somebody waits for it: it stays */
    end(&a, OUTCOME_FAILED, "joe");
    circuit_follow(&with);
    CU_ASSERT_EQUAL(report().failures, 1);
    circuit_follow(&without);
    CU_ASSERT_EQUAL(report().failures, 0);
    CU_ASSERT_EQUAL(poa_choose(&office), PATH_POA);
    circuit_set_prober(false);
    circuit_clear();
}

/* --- pictures ------------------------------------------------------------------------------------------------------------------------- */

#define SAID \
    "* NAMESPACE ((\"\" \".\")) NIL NIL\r\nn OK\r\n* LIST (\\HasNoChildren) \".\" INBOX\r\n* LIST (\\NoSelect) \".\" x\r\n* LIST () \".\" \"a \\\"b\"\r\nf OK\r\n" \
    "* 2 EXISTS\r\n* OK [UIDVALIDITY 77] x\r\n* OK [UIDNEXT 9] x\r\ne OK\r\n" \
    "* 1 FETCH (UID 3 FLAGS (\\Seen \\Recent work) RFC822.SIZE 120)\r\n* 2 FETCH (FLAGS () UID 8 RFC822.SIZE 5)\r\nm OK\r\n"

static void test_pictures(void)
{
    static const struct { const char *path; const char *difference; } path_rows[] = {
        { "separator: \".\"\nprefix: \"\"\nfolder a \"b\nfolder INBOX\nuidvalidity: 77\nuidnext: 9\nmessage 8: 5 octets\nmessage 3: 120 octets \\seen work\n", NULL },
        { "separator: \".\"\nprefix: \"\"\nfolder a \"b\nfolder INBOX\nuidvalidity: 78\nuidnext: 9\nmessage 8: 5 octets\nmessage 3: 120 octets \\seen work\n",
          "the POA shows uidvalidity: 77, the path uidvalidity: 78" },
        { "separator: \".\"\nprefix: \"\"\nfolder INBOX\nuidvalidity: 77\nuidnext: 9\nmessage 8: 5 octets\nmessage 3: 120 octets \\seen work\n",
          "the POA shows folder a \"b, the path nothing" },
        { "separator: \".\"\nprefix: \"\"\nfolder a \"b\nfolder INBOX\nuidvalidity: 77\nuidnext: 9\nmessage 8: 5 octets\nmessage 3: 120 octets work\n",
          "the POA shows message 3: 120 octets \\seen work, the path message 3: 120 octets work" },
        { "", "the POA shows folder INBOX, the path nothing" },
    };
    struct buf poa = { .cap = 0 }, difference = { .cap = 0 };
    struct fault fault;
    CU_ASSERT_EQUAL(picture_of_poa(SLICE_LITERAL(SAID), &poa, &fault), 0);
    CU_ASSERT_EQUAL(picture_exists(SLICE_LITERAL(SAID)), 2);
    for (size_t i = 0; i < sizeof(path_rows) / sizeof(path_rows[0]); i++) {
        bool same = picture_is_same(buf_slice(&poa), slice_from_string(path_rows[i].path), &difference);
        CU_ASSERT_EQUAL(same, path_rows[i].difference == NULL);
        CU_ASSERT(same || slice_is(buf_slice(&difference), path_rows[i].difference));
        buf_clear(&difference);
    }
    static const char *const bad[] = { "* LIST (\\x \".\" a\r\n", "* LIST () \".\" {3}\r\nabc\r\n", "* 1 FETCH (FLAGS (\\Seen))\r\n", "* NAMESPACE NIL NIL NIL\r\n" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        CU_ASSERT_EQUAL(picture_of_poa(slice_from_string(bad[i]), &poa, &fault), -1);
    buf_fini(&poa);
    buf_fini(&difference);
}

static const struct unit_test tests[] = {
    { "dialogue", test_dialogue }, { "dialogue limits", test_dialogue_limits }, { "TLS and PROXY", test_tls_and_proxy }, { "circuit", test_circuit },
    { "doubt", test_doubt }, { "silence", test_silence },
    { "back-off", test_back_off }, { "accepted", test_accepted }, { "one user's failures", test_one_users_failures }, { "choices", test_choices }, { "lines", test_lines }, { "following", test_following }, { "pictures", test_pictures },
};
UNIT_MAIN("poa", tests)
