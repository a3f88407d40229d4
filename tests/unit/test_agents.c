/* Unit tests of src/queue's way to Post Office Agents, against a small LMTP server: results by recipient, back-off, connections that are used again, and turns. */
#include "agent_world.h"

/* --- results ------------------------------------------------------------------------------------------------------------ */

/* An agent that takes, refuses or hangs up, before and after the end of the data: only before it the mailbox is opened directly, and only where the path may stand in. */
static void test_outcomes(void)
{
    static const struct { const char *greeting, *lhlo, *mail, *data, *end; bool path; size_t left; int delivered; size_t bad; const char *kept; } rows[] = {
        { "220 hi", full, "250 ok", "354 go", "250 2.0.0 saved", true, 0, 0, 0, NULL },
        { "220 hi", plain, "250 ok", "354 go", "250 2.0.0 saved", true, 0, 0, 0, NULL },
        { "220 hi", pipelining, "250 ok", "354 go", "250 2.0.0 saved", true, 0, 0, 0, NULL },
        { "220 hi", full, "451 later", "354 go", "250 ok", true, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "220 hi", full, "421 4.3.2 closing", "354 go", "250 ok", true, 0, 1, 0, NULL },
        { "220 hi", full, "530 5.7.0 TLS first", "354 go", "250 ok", true, 0, 1, 0, NULL },
        { "220 hi", full, "530 5.7.0 TLS first", "354 go", "250 ok", false, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "220 hi", full, NULL, "354 go", "250 ok", true, 0, 1, 0, NULL },
        { "220 hi", full, NULL, "354 go", "250 ok", false, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "220 hi", full, "552 5.3.4 too big", "354 go", "250 ok", true, 0, 0, 2, NULL },
        { "421 busy", full, "250 ok", "354 go", "250 ok", true, 0, 1, 0, NULL },
        { "554 no", full, "250 ok", "354 go", "250 ok", false, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "* OK this is IMAP", full, "250 ok", "354 go", "250 ok", true, 0, 1, 0, NULL },
        { "220 hi", "500 what", "250 ok", "354 go", "250 ok", true, 0, 1, 0, NULL },
        { "220 hi", plain, "250 ok", "451 4.3.0 no", "250 ok", true, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "220 hi", plain, "250 ok", "554 5.6.0 no", "250 ok", true, 0, 0, 2, NULL },
        { "220 hi", plain, "250 ok", NULL, "250 ok", true, 0, 1, 0, NULL },
        { "220 hi", full, "250 ok", "354 go", "450 4.2.0 later", true, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "220 hi", plain, "250 ok", "354 go", "421 4.2.0 later", true, 2, 0, 0, "\nrecipient joe@example.com\n" },
        { "220 hi", full, "250 ok", "354 go", NULL, true, 2, 0, 0, "\nunknown joe@example.com\n" },
        { "220 hi", plain, "250 ok", "354 go", NULL, true, 2, 0, 0, "\nunknown joe@example.com\n" },
        { "220 hi", full, "250 ok", "354 go", "552 5.2.2 full", true, 0, 0, 2, NULL },
    };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_agent();
        host.greeting = rows[i].greeting;
        host.lhlo = rows[i].lhlo;
        host.mail = rows[i].mail;
        host.data = rows[i].data;
        host.end = rows[i].end;
        world.compared = rows[i].path;
        world.stored = "Subject: another\n\n----\n";
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
        CU_ASSERT(rows[i].left != 0 ? until_tried() : until_length(0));
        queue_stop();
        CU_ASSERT_EQUAL(count_files(""), rows[i].left);
        CU_ASSERT_EQUAL(count_files("/bad"), rows[i].bad);
        CU_ASSERT_EQUAL(world.delivered, rows[i].delivered);
        CU_ASSERT(rows[i].kept == NULL || envelope_holds(rows[i].kept));
        end_agent();
        CU_ASSERT(host.messages == 0 || host.written);
    }
}

/* The bytes that go out, in each way. */
static void test_bytes(void)
{
    static const struct { const char *lhlo, *seen; } rows[] = {
        { plain, "LHLO mx.example.com\r\nMAIL FROM:<>\r\nRCPT TO:<joe@example.com>\r\nDATA\r\nReceived: from c by mx.example.com\r\n" },
        { plain, "\r\nSubject: x\r\n\r\n..\r\n...dots\r\nend\r\n.\r\n" },
        { full, "LHLO mx.example.com\r\nMAIL FROM:<> SIZE=120\r\nRCPT TO:<joe@example.com>\r\nBDAT 120 LAST\r\nReceived: from c by mx.example.com\r\n" },
        { full, "\r\nSubject: x\r\n\r\n.\r\n..dots\r\nend\r\n" },
    };
    struct fault fault;
    CU_ASSERT_EQUAL(sizeof(a_message) - 1, 120);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_agent();
        host.lhlo = rows[i].lhlo;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
        CU_ASSERT(until_length(0));
        queue_stop();
        CU_ASSERT(host_saw(rows[i].seen));
        end_agent();
    }
}

/* More than one piece, and more recipients than one window. */
static void test_big(void)
{
    enum { RECIPIENTS = 120 };
    static const char *to[RECIPIENTS];
    struct buf text = { .cap = 0 };
    struct fault fault;
    buf_append_text(&text, a_message);
    for (int i = 0; i < 8000; i++)
        buf_printf(&text, "%s line %d\r\n", i % 2 ? "." : "", i);
    for (int lines = 0; lines < 3; lines++) {
        begin_agent();
        host.lhlo = lines == 0 ? full : lines == 1 ? pipelining : plain;
        for (int i = 0; i < RECIPIENTS; i++)
            to[i] = i % 3 == 0 ? "no@example.com" : "joe@example.com";
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        struct queue_message *message = NULL;
        CU_ASSERT_EQUAL(queue_message_open(SLICE_NONE, NULL, 0, false, &message, &fault), 0);
        for (int i = 0; i < RECIPIENTS; i++)
            queue_message_add(message, slice_from_string(to[i]));
        CU_ASSERT_EQUAL(queue_message_write(message, buf_slice(&text), &fault), 0);
        CU_ASSERT_EQUAL(queue_message_commit(message, &fault), 0);
        queue_message_free(&message);
        CU_ASSERT(until_length(0));
        queue_stop();
        CU_ASSERT(host_saw(lines == 0 ? " line 7998\r\n. line 7999\r\n" : " line 7998\r\n.. line 7999\r\n.\r\n"));
        CU_ASSERT_EQUAL(host.connections, 1);
        CU_ASSERT_EQUAL(count_files("/bad"), 2);   /* the null sender cannot be told of those who were refused */
        end_agent();
    }
    buf_fini(&text);
}

/* One transaction, results by recipient. */
static void test_recipients(void)
{
    static const char *const to[] = { "joe@example.com", "no@example.com", "later@example.com", "amy@example.com" };
    static const char *const hellos[] = { full, pipelining, plain };
    struct fault fault;
    for (size_t i = 0; i < 3; i++) {
        begin_agent();
        host.lhlo = hellos[i];
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("", to, 4, a_message), 0);
        CU_ASSERT(until_tried());
        queue_stop();
        CU_ASSERT_EQUAL(host.messages, 1);
        CU_ASSERT(envelope_holds("\nbody 7bit\nrecipient later@example.com\nend\n"));
        CU_ASSERT_EQUAL(world.delivered, 0);
        CU_ASSERT_EQUAL(count_files("/bad"), 2);
        end_agent();
    }
}

/* An address that the agent does not know: the user ID is tried. */
static void test_user_id(void)
{
    static const char *const to[] = { "no@example.com", "amy@example.com" };
    static const struct { const char *by_id, *lhlo; size_t left, bad; int messages; } rows[] = {
        { "250 ok", full, 0, 0, 1 }, { "250 ok", plain, 0, 0, 1 }, { "550 5.1.1 nobody", full, 0, 2, 1 }, { "450 4.2.1 later", full, 2, 0, 1 },
        { NULL, full, 2, 0, 0 },
    };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_agent();
        world.compared = false;
        host.by_id = rows[i].by_id;
        host.lhlo = rows[i].lhlo;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("", to, 2, a_message), 0);
        CU_ASSERT(rows[i].left != 0 ? until_tried() : until_length(0));
        queue_stop();
        CU_ASSERT(host_saw("RCPT TO:<amy@example.com>\r\nRCPT TO:<joe>\r\n"));
        CU_ASSERT_EQUAL(count_files(""), rows[i].left);
        CU_ASSERT_EQUAL(count_files("/bad"), rows[i].bad);
        CU_ASSERT_EQUAL(host.messages, rows[i].messages);
        end_agent();
    }
}

/* RFC 2033 4.2: the replies after the data come in the order in which the recipients were accepted, and one that was named by ID was so last. */
static void test_user_id_order(void)
{
    static const char *const to[] = { "no@example.com", "amy@example.com" };
    static const char *const hellos[] = { full, pipelining, plain };
    struct fault fault;
    for (size_t i = 0; i < 3; i++) {
        begin_agent();
        world.compared = false;
        host.lhlo = hellos[i];
        host.by_id = "250 ok";
        host.end_others = "452 4.2.2 full";
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("", to, 2, a_message), 0);
        CU_ASSERT(until_tried());
        queue_stop();
        CU_ASSERT(envelope_holds("\nrecipient no@example.com\nend\n"));
        end_agent();
    }
}

/* An agent that goes away before all have been named by ID: nobody is returned whom it may know. */
static void test_user_id_unheard(void)
{
    static const char *const rows[][2] = { { "no@example.com", "no@example.com" }, { "no@example.com", "hangup@example.com" } };
    struct fault fault;
    for (size_t i = 0; i < 2; i++) {
        begin_agent();
        world.compared = false;
        host.lhlo = plain;
        host.by_id = NULL;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("", rows[i], 2, a_message), 0);
        CU_ASSERT(until_tried());
        queue_stop();
        CU_ASSERT_EQUAL(count_files("/bad"), 0);
        CU_ASSERT_EQUAL(count_files(""), 2);
        end_agent();
    }
}

/* --- connections and turns ------------------------------------------------------------------------------------------------ */

/* One connection for message after message; one that was closed meanwhile costs nothing. */
static void test_reuse(void)
{
    struct fault fault;
    for (int closes = 0; closes < 3; closes++) {
        begin_agent();
        host.one_each = closes == 1;
        host.one_each_421 = closes == 2;
        world.compared = false;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        for (int i = 0; i < 4; i++) {
            CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
            CU_ASSERT(until_length(0));
        }
        CU_ASSERT_EQUAL(count_of(&host.messages), 4);
        CU_ASSERT_EQUAL(count_of(&host.connections), closes ? 4 : 1);
        CU_ASSERT_FALSE(gate_any_is_away());
        queue_stop();
        CU_ASSERT_EQUAL(world.delivered, 0);
        end_agent();
    }
}

/* A free connection is closed after a few seconds. */
static void test_idle(void)
{
    struct fault fault;
    begin_agent();
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
    CU_ASSERT(until_length(0));
    CU_ASSERT_EQUAL(count_of(&host.active), 1);
    bool closed = false;
    for (uint64_t deadline = clock_monotonic_ms() + 3 * GATE_IDLE_MS; !closed && clock_monotonic_ms() < deadline; poll(NULL, 0, 20))
        closed = count_of(&host.active) == 0;
    CU_ASSERT(closed);
    CU_ASSERT(host_saw("QUIT\r\n"));
    queue_stop();
    end_agent();
}

/* An agent that hangs has half of the threads; the others wait for their turn and get it, over the same connections. */
static void test_turns(void)
{
    static const char *const elsewhere[] = { "bob@example.org" };
    struct fault fault;
    begin_agent();
    snapshot.agent.smtp_send_threads = 4;
    host.hang = true;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    for (int i = 0; i < 6; i++)
        CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
    CU_ASSERT(until(&host.messages, 2));
    CU_ASSERT_EQUAL(put_message("", elsewhere, 1, a_message), 0);
    CU_ASSERT(until_tried());
    CU_ASSERT_EQUAL(queue_length(), 7);
    CU_ASSERT_EQUAL(count_of(&host.connections), 2);
    let_go();
    CU_ASSERT(until_length(1));
    CU_ASSERT_EQUAL(count_of(&host.messages), 6);
    CU_ASSERT_EQUAL(count_of(&host.connections), 2);
    queue_stop();
    end_agent();
}

/* One recipient waits for a turn, the other one for an agent that is away: it is not tried again and again meanwhile. */
static void test_turn_and_away(void)
{
    static const char *const to[] = { "joe@example.com", "far@example.com" };
    struct fault fault;
    begin_agent();
    host.hang = true;
    snapshot.agent.smtp_send_threads = 4;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
    CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
    CU_ASSERT(until(&host.messages, 2));
    CU_ASSERT_EQUAL(put_message("", to, 2, a_message), 0);
    CU_ASSERT(until_tried());
    bool again = false;
    for (uint64_t deadline = clock_monotonic_ms() + 500; !again && clock_monotonic_ms() < deadline; poll(NULL, 0, 2))
        again = !envelope_holds("attempts 1\n");
    CU_ASSERT_FALSE(again);
    let_go();
    CU_ASSERT(until(&host.messages, 3));
    CU_ASSERT(until_length(1));
    queue_stop();
    CU_ASSERT(envelope_holds("\nrecipient far@example.com\nend\n") && !envelope_holds("joe@example.com"));
    end_agent();
}

static void test_lanes(void)
{
    char id[SPOOL_ID_MAX];
    CU_ASSERT(lane_enter("u", 1, 4));
    CU_ASSERT_FALSE(lane_enter("u", 1, 4));
    CU_ASSERT(lane_enter("v", 0, 4));   /* one at least */
    CU_ASSERT_FALSE(lane_wait("u", 2, 4, "c"));
    CU_ASSERT(lane_wait("u", 1, 4, "a"));
    CU_ASSERT(lane_wait("u", 1, 4, "b"));
    CU_ASSERT_EQUAL(lane_count(), 2);
    CU_ASSERT_FALSE(lane_take_ready(id));
    lane_leave("u");
    CU_ASSERT(lane_take_ready(id) && strcmp(id, "a") == 0);
    /* "a" had no need of it: nobody is in it and leaves. */
    CU_ASSERT_FALSE(lane_take_ready(id));
    lane_wake();
    CU_ASSERT(lane_take_ready(id) && strcmp(id, "b") == 0);
    CU_ASSERT_FALSE(lane_take_ready(id));
    lane_leave("v");
    CU_ASSERT_EQUAL(lane_count(), 0);
    lane_clear();
}

static void check_report(const char *wanted)
{
    static char dn[] = "cn=sales";
    static const struct post_office *offices[] = { &office };
    struct buf report = { .cap = 0 }, line = { .cap = 0 };
    office.dn = dn;
    snapshot.post_offices = offices;
    snapshot.post_office_count = 1;
    queue_report_links(&snapshot, &report, NULL);
    if (*wanted != '\0')
        buf_printf(&line, "%.28s%u%s", wanted, host.agent.lmtp_port, wanted + 30);
    CU_ASSERT(slice_is_equal(buf_slice(&report), buf_slice(&line)));
    buf_fini(&report);
    buf_fini(&line);
}

/* All post offices together: mail for elsewhere keeps a thread. Who has waited for longest comes first. */
static void test_all_lanes(void)
{
    char id[SPOOL_ID_MAX];
    CU_ASSERT(lane_enter("u", 2, 3) && lane_enter("u", 2, 3) && lane_enter("v", 2, 3));
    CU_ASSERT_FALSE(lane_enter("v", 2, 3));
    CU_ASSERT_FALSE(lane_enter("w", 2, 3));
    CU_ASSERT(lane_wait("w", 2, 3, "a"));
    CU_ASSERT(lane_wait("u", 2, 3, "b"));
    CU_ASSERT(lane_wait("v", 2, 3, "c"));
    lane_wake();
    CU_ASSERT_FALSE(lane_take_ready(id));
    lane_leave("u");
    CU_ASSERT(lane_take_ready(id) && strcmp(id, "a") == 0);
    CU_ASSERT(lane_enter("w", 2, 3));
    lane_wake();
    CU_ASSERT_FALSE(lane_take_ready(id));
    lane_leave("v");
    CU_ASSERT(lane_take_ready(id) && strcmp(id, "b") == 0);
    CU_ASSERT(lane_enter("u", 2, 3));
    lane_wake();
    CU_ASSERT_FALSE(lane_take_ready(id));
    lane_leave("w");
    CU_ASSERT(lane_take_ready(id) && strcmp(id, "c") == 0);
    lane_leave("u");
    lane_leave("u");
    CU_ASSERT_FALSE(lane_wait("w", 2, 3, "d"));
    CU_ASSERT_EQUAL(lane_count(), 0);
    lane_clear();
}

/* Two post offices whose agents hang leave a thread for elsewhere. */
static void test_two_hang(void)
{
    static const char *const to_far[] = { "far@example.com" }, *const elsewhere[] = { "bob@example.org" };
    struct fault fault;
    begin_agent();
    far_agent.lmtp_port = host.agent.lmtp_port;
    host.hang = true;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    for (int i = 0; i < 2; i++) {
        CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
        CU_ASSERT_EQUAL(put_message("", to_far, 1, a_message), 0);
    }
    CU_ASSERT(until(&host.messages, 1));
    CU_ASSERT_EQUAL(put_message("", elsewhere, 1, a_message), 0);
    CU_ASSERT(until_tried());
    CU_ASSERT_EQUAL(count_of(&host.messages), 1);
    let_go();
    CU_ASSERT(until_length(1));
    CU_ASSERT_EQUAL(count_of(&host.messages), 4);
    queue_stop();
    far_agent.lmtp_port = 1;
    end_agent();
}

/* One that is away is not asked by every message; when it is back, what waits goes at once. */
static void test_away(void)
{
    struct fault fault;
    begin_agent();
    uint16_t port = host.agent.lmtp_port;
    int changes = atomic_load(&world.links_changed);
    stop_listening();
    world.compared = false;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
    CU_ASSERT(until_tried());
    listen_at(port);
    struct talk talk;
    CU_ASSERT_FALSE(gate_enter(&host.agent, &talk));
    check_report("cn=sales: LMTP at 127.0.0.1:%u is away\n");
    CU_ASSERT_EQUAL(atomic_load(&world.links_changed), changes + 1);
    bool delivered = false;
    for (uint64_t deadline = clock_monotonic_ms() + 10000; !delivered && clock_monotonic_ms() < deadline; poll(NULL, 0, 100)) {
        CU_ASSERT_EQUAL(put_message("", to_joe, 1, a_message), 0);
        delivered = count_of(&host.messages) != 0;
    }
    CU_ASSERT(delivered);
    CU_ASSERT(until_length(0));   /* the first ones have more than ten seconds of their own */
    CU_ASSERT_EQUAL(count_of(&host.connections), 1);
    check_report("");
    CU_ASSERT_EQUAL(atomic_load(&world.links_changed), changes + 2);
    queue_stop();
    snapshot.post_office_count = 0;
    end_agent();
}

static void test_gate(void)
{
    struct post_office_agent agent = { .host = path_text, .lmtp_port = 1 };
    struct talk talk;
    begin();
    CU_ASSERT(gate_enter(&agent, &talk));
    CU_ASSERT_PTR_NULL(talk.client);
    gate_failed(&agent, "o", "x");
    CU_ASSERT_FALSE(gate_enter(&agent, &talk));
    gate_failed(&agent, "o", "x");           /* one that began before: nothing new */
    uint64_t began = clock_monotonic_ms();
    while (!gate_enter(&agent, &talk) && clock_monotonic_ms() - began < 5000)
        poll(NULL, 0, 5);
    CU_ASSERT(clock_monotonic_ms() - began < 2000);
    CU_ASSERT_FALSE(gate_enter(&agent, &talk));   /* one tries */
    gate_unknown(&agent);
    CU_ASSERT(gate_enter(&agent, &talk));
    CU_ASSERT(gate_well(&agent, "o", &talk));
    CU_ASSERT(gate_enter(&agent, &talk) && gate_enter(&agent, &talk));
    CU_ASSERT_FALSE(gate_well(&agent, "o", &talk));
    gate_clear();
    end();
}

/* --- who speaks, and for whom ------------------------------------------------------------------------------------------------ */

static const char telling[] = "250-agent\r\n250-PIPELINING\r\n250 XCLIENT ADDR PORT NAME HELO PROTO LOGIN SESSION TTL";
static const char little[] = "250-agent\r\n250 XCLIENT HELO ADDR";
static const char asking[] = "250-agent\r\n250 AUTH CRAM-MD5 PLAIN";
static const char certain[] = "250-agent\r\n250 AUTH EXTERNAL PLAIN";
static const char both[] = "250-agent\r\n250-XCLIENT ADDR\r\n250 AUTH PLAIN";

#define MAIL "MAIL FROM:<> "
#define TOLD "LHLO mx.example.com\r\nXCLIENT ADDR=192.0.2.7 PORT=4567 NAME=[UNAVAILABLE] PROTO=ESMTP SESSION="
#define AUTH "AUTH PLAIN AGdhdGUAczMgY3JldA==\r\n"

static void put_from(const char *address, const char *login)
{
    struct queue_message *message = NULL;
    struct queue_client client = { .address = address, .port = 4567, .local = "192.0.2.1", .helo = "pc+1", .protocol = "ESMTP", .login = login };
    struct fault fault;
    CU_ASSERT_EQUAL(queue_message_open(SLICE_NONE, &(struct slice){ "joe@example.com", 15 }, 1, false, &message, &fault), 0);
    if (address != NULL)
        queue_message_set_client(message, &client);
    CU_ASSERT_EQUAL(queue_message_write(message, slice_from_string(a_message), &fault), 0);
    CU_ASSERT_EQUAL(queue_message_commit(message, &fault), 0);
    queue_message_free(&message);
}

/* Everything that an agent heard of it, in order. */
static void test_introduction(void)
{
    static char credentials[] = "file";
    static const struct { const char *lhlo, *xclient, *auth, *address, *login; bool own, external; const char *seen[3]; bool waits; } rows[] = {
        { full, "220", "235", "192.0.2.7", NULL, true, false, { "LHLO mx.example.com\r\nMAIL FROM:<> ", "", "" }, false },
        { telling, "220", "235", "192.0.2.7", "j\xc3\xb6 e", false, false, { TOLD, " HELO=pc+2B1 LOGIN=j+C3+B6+20e\r\nLHLO mx.example.com\r\nMAIL ", "" }, false },
        { telling, "220", "235", "192.0.2.7", NULL, false, false, { TOLD, " LOGIN=[UNAVAILABLE]\r\nLHLO mx.example.com\r\n", "" }, false },
        { little, "220", "235", "2001:db8::1", NULL, false, false, { "LHLO mx.example.com\r\nXCLIENT ADDR=IPV6:2001:db8::1 HELO=pc+2B1\r\nLHLO mx.example.com\r\nMAIL ", "", "" }, false },
        { little, "550 5.7.0 not from you", "235", "192.0.2.7", NULL, false, false, { "XCLIENT ADDR=192.0.2.7 HELO=pc+2B1\r\nMAIL ", "", "" }, false },
        { little, "421 4.3.2 closing", "235", "192.0.2.7", NULL, false, false, { "XCLIENT ", "", "" }, true },
        { little, NULL, "235", "192.0.2.7", NULL, false, false, { "XCLIENT ", "", "" }, true },
        { little, "220", "235", NULL, NULL, false, false, { "LHLO mx.example.com\r\nMAIL ", "", "" }, false },
        { asking, "220", "235", NULL, NULL, true, false, { "LHLO mx.example.com\r\n" AUTH "MAIL ", "", "" }, false },
        { asking, "220", "235", NULL, NULL, false, false, { "LHLO mx.example.com\r\nMAIL ", "", "" }, false },
        { asking, "220", "535 5.7.8 no", NULL, NULL, true, false, { AUTH "QUIT\r\n", "", "" }, true },
        { asking, "220", "454 4.7.0 later", NULL, NULL, true, false, { AUTH "QUIT\r\n", "", "" }, true },
        { asking, "220", "334 what", NULL, NULL, true, false, { AUTH "QUIT\r\n", "", "" }, true },
        { certain, "220", "235", NULL, NULL, false, true, { "AUTH EXTERNAL =\r\nMAIL ", "", "" }, false },
        { both, "220", "235", "192.0.2.7", NULL, true, false, { "XCLIENT ADDR=192.0.2.7\r\nLHLO mx.example.com\r\n" AUTH "MAIL ", "", "" }, false },
    };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_agent();
        host.lhlo = rows[i].lhlo;
        host.xclient = rows[i].xclient;
        host.auth = rows[i].auth;
        host.agent.credentials = rows[i].own ? credentials : NULL;
        host.agent.login = rows[i].external ? POA_LOGIN_EXTERNAL : POA_LOGIN_PASS_THROUGH;
        world.compared = false;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        put_from(rows[i].address, rows[i].login);
        CU_ASSERT(rows[i].waits ? until_tried() : until_length(0));
        queue_stop();
        for (size_t j = 0; j < 3; j++)
            if (!host_saw(rows[i].seen[j])) {
                printf("\nrow %zu wanted %s, saw %.*s\n", i, rows[i].seen[j], SLICE_ARG(buf_slice(&host.seen)));
                CU_FAIL("not seen");
            }
        CU_ASSERT_EQUAL(count_of(&host.messages), !rows[i].waits);
        CU_ASSERT_EQUAL(count_files("/bad"), 0);
        CU_ASSERT_EQUAL(count_files(""), rows[i].waits ? 2 : 0);
        CU_ASSERT(!rows[i].waits || rows[i].address == NULL || envelope_holds("\nclient 192.0.2.7 4567 192.0.2.1\nhelo pc+1\nprotocol ESMTP\n"));
        end_agent();
    }
}

/* A connection that is used again speaks for the client of each message, and never for that of another. */
static void test_introduced_again(void)
{
    static const struct { const char *lhlo; bool proxy, deaf; const char *from[3]; int connections; const char *seen; } rows[] = {
        { little, false, false, { "192.0.2.7", "192.0.2.7", "192.0.2.8" }, 1, "RSET\r\n" },
        { little, false, false, { "192.0.2.7", "192.0.2.8", "192.0.2.7" }, 1, "XCLIENT ADDR=192.0.2.8 HELO=pc+2B1\r\nLHLO mx.example.com\r\nMAIL " },
        { little, false, false, { "192.0.2.7", NULL, NULL }, 2, "MAIL " },
        { little, false, true, { "192.0.2.7", "192.0.2.8", "192.0.2.9" }, 2, "XCLIENT ADDR=192.0.2.8 HELO=pc+2B1\r\n" },
        { full, false, false, { "192.0.2.7", "192.0.2.8", NULL }, 1, "MAIL " },
        { full, true, false, { "192.0.2.7", "192.0.2.7", "192.0.2.8" }, 2, "proxy 21 192.0.2.8\r\n" },
        { full, true, false, { NULL, NULL, "192.0.2.7" }, 2, "proxy 21 192.0.2.7\r\n" },
        { telling, true, false, { NULL, "192.0.2.7", "192.0.2.8" }, 1, "proxy 20 0.0.0.0\r\nLHLO " },
    };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_agent();
        host.lhlo = rows[i].lhlo;
        host.agent.proxy_header = rows[i].proxy;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        for (size_t j = 0; j < 3; j++) {
            put_from(rows[i].from[j], NULL);
            CU_ASSERT(until_length(0));
            if (rows[i].deaf) {
                pthread_mutex_lock(&host.lock);
                host.xclient = "550 5.7.0 no more";
                pthread_mutex_unlock(&host.lock);
            }
        }
        queue_stop();
        CU_ASSERT_EQUAL(count_of(&host.connections), rows[i].connections);
        CU_ASSERT_EQUAL(count_of(&host.messages), 3);
        CU_ASSERT(i == 0 || host_saw(rows[i].seen));
        end_agent();
    }
}

static const struct unit_test tests[] = {
    { "outcomes", test_outcomes }, { "bytes", test_bytes }, { "big", test_big }, { "recipients", test_recipients }, { "user ID", test_user_id },
    { "user ID, order", test_user_id_order }, { "user ID, unheard", test_user_id_unheard }, { "turn and away", test_turn_and_away },
    { "reuse", test_reuse }, { "idle", test_idle }, { "turns", test_turns }, { "lanes", test_lanes }, { "all lanes", test_all_lanes },
    { "two hang", test_two_hang }, { "away", test_away }, { "gate", test_gate },
    { "introduction", test_introduction }, { "introduced again", test_introduced_again },
};

UNIT_MAIN("agents", tests)
