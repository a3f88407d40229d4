/* Unit tests of what src/queue writes down before and after an agent may have a message, and of the look into the mailbox before a second try (RFC 1047). */
#include "agent_world.h"
#include "../../src/queue/give.h"

/* While it is under way, those who are refused stay on disk: nobody has been told of them. */
static void test_written_down(void)
{
    static const char *const to[] = { "no@example.com", "joe@example.com" };
    struct fault fault;
    begin_agent();
    host.hang = true;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("", to, 2, a_message), 0);
    CU_ASSERT(until(&host.messages, 1));
    CU_ASSERT(envelope_holds("\nrecipient no@example.com\ngiven ") && envelope_holds("\nunknown joe@example.com\nend\n"));
    let_go();
    CU_ASSERT(until_length(0));
    queue_stop();
    end_agent();
}

/* Who has it is known on disk before the agent is waited for again. */
static void test_written_down_at_once(void)
{
    static const char *const to[] = { "joe@example.com", "amy@example.com" };
    struct fault fault;
    begin_agent();
    host.hang_second = true;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("", to, 2, a_message), 0);
    CU_ASSERT(until(&host.messages, 1));
    bool written = false;
    for (uint64_t deadline = clock_monotonic_ms() + 5000; !written && clock_monotonic_ms() < deadline; poll(NULL, 0, 2))
        written = !envelope_holds("joe@");
    CU_ASSERT(written && envelope_holds("\nunknown amy@example.com\nend\n"));
    let_go();
    CU_ASSERT(until_length(0));
    queue_stop();
    end_agent();
}

/* One that says nothing for as long as it may is told from one that is gone. */
static void test_silent(void)
{
    for (int hangs = 0; hangs < 2; hangs++) {
        static char address[] = "joe@example.com";
        struct envelope_recipient joe_here = { .address = address }, *to = &joe_here;
        struct envelope envelope = { .sender = empty };
        struct give_job job = { .envelope = &envelope, .recipients = &to, .count = 1 };
        struct talk talk;
        struct spool spool;
        struct fault fault;
        atomic_bool stopping = false;
        begin_agent();
        CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
        host.hang = hangs;
        host.end = NULL;
        struct talk_peer peer = { .host = host.agent.host, .port = host.agent.lmtp_port, .helo = "c", .lmtp = true, .connect_ms = 5000, .greeting_ms = 5000,
                                  .reply_ms = 5000, .end_ms = hangs ? 100 : 5000 };
        FILE *file = tmpfile();
        CU_ASSERT(file != NULL && fputs(a_message, file) >= 0 && fflush(file) == 0);
        job.message = fileno(file);
        CU_ASSERT(talk_open(&talk, &peer, &stopping));
        give(&talk, &job);
        CU_ASSERT(joe_here.outcome == OUTCOME_WAITING && !joe_here.other_way && joe_here.unknown);
        CU_ASSERT_EQUAL(joe_here.silent, hangs);
        talk_close(&talk);
        fclose(file);
        spool_fini(&spool);
        let_go();
        end_agent();
    }
}

/* It may be at work for as long as RFC 5321 allows: until then it is only looked for. */
static void test_second_try_of_a_silent_one(void)
{
    static const struct { unsigned seconds_ago; bool given; } rows[] = { { 30, false }, { 590, false }, { 601, true } };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spool spool;
        struct buf text = { .cap = 0 };
        atomic_bool stopping = false;
        struct attempt_result result = { .away = true };
        time_t now = clock_wall().tv_sec;
        begin_agent();
        world.looked = POA_LOOK_ABSENT;
        world.compared = false;
        CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
        buf_printf(&text, "postern-queue 1\nsender \narrived %lld\nattempts 1\nnext 7\nbody 7bit\ngiven %lld\nsilent joe@example.com\nend\n", (long long)now - 1,
                   (long long)now - rows[i].seconds_ago);
        put_file("1.envelope", buf_text(&text));
        put_file("1.message", a_message);
        attempt_run(&spool, "1", &snapshot, &stopping, &result);
        CU_ASSERT_EQUAL(world.looks, 1);
        CU_ASSERT_EQUAL(count_of(&host.messages), rows[i].given);
        CU_ASSERT(rows[i].given || (envelope_holds("\nsilent joe@example.com\n") && envelope_holds("\nattempts 1\n") && result.next > now && result.next <= now + 22));
        spool_fini(&spool);
        gate_clear();
        buf_fini(&text);
        end_agent();
    }
}

/* --- the second try ------------------------------------------------------------------------------------------------------ */

#define OURS "Received: from c by mx.example.com with ESMTP id abc;\n Mon, 1 Jan 2024 00:00:00 +0000\n"
#define BY_AGENT "Return-Path: <>\nReceived: from mx (mx [127.0.0.1]) by agent with LMTP\n id x; Mon, 1 Jan 2024 00:00:01 +0000\n"

static void test_received(void)
{
    static const struct { const char *head; bool on_top; } rows[] = {
        { OURS "\n", true },
        { "Return-Path: <a@b.c>\r\nreceived: from c by mx.example.com\r\n with ESMTP   id abc;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\n\r\n", true },
        { BY_AGENT OURS "\n", true },
        { BY_AGENT BY_AGENT OURS "\n", true },
        { "Received: from x by y with LMTPSA id 1; z\n" OURS "\n", true },
        { "Received: from x by y with ESMTP id 1; z\n" OURS "\n", false },     /* forwarded */
        { BY_AGENT "Received: from x by y with ESMTP id 1; z\n" OURS "\n", false },
        { "Received: from x by y with LMTPX id 1; z\n" OURS "\n", false },
        { "Subject: x\n\n" OURS, false },
        { "Received: from c by mx.example.com with ESMTP id abd;\n Mon, 1 Jan 2024 00:00:00 +0000\n\n", false },
        { "", false },
    };
    struct buf own = { .cap = 0 };
    CU_ASSERT(seek_read_received(slice_from_string(a_message), &own));
    CU_ASSERT(slice_is(buf_slice(&own), "from c by mx.example.com with ESMTP id abc; Mon, 1 Jan 2024 00:00:00 +0000"));
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        CU_ASSERT_EQUAL(seek_is_on_top(slice_from_string(rows[i].head), buf_slice(&own)), rows[i].on_top);
    CU_ASSERT_FALSE(seek_read_received(SLICE_LITERAL("Subject: x\r\n\r\nReceived: y\r\n"), &own));
    buf_fini(&own);
}

enum ending { ENDED, GIVEN, WAITS };

static void test_second_try(void)
{
    static const struct { bool compared; const char *stored; enum poa_looked looked; unsigned attempts; int seconds_ago; enum ending ending; int looks; bool unknown; } rows[] = {
        { true, BY_AGENT OURS "\n----\nSubject: newer\n\n----\ngone\n----\n", POA_LOOK_NO_WAY, 1, 21, ENDED, 0, false },
        { true, BY_AGENT OURS "\n----\n", POA_LOOK_NO_WAY, 0, 0, ENDED, 0, false },
        { true, "Subject: another\n\n----\n", POA_LOOK_NO_WAY, 1, 21, GIVEN, 0, false },
        { true, "", POA_LOOK_NO_WAY, 1, 21, GIVEN, 0, false },
        { true, "", POA_LOOK_NO_WAY, 0, 0, WAITS, 0, true },
        { false, BY_AGENT OURS "\n----\n", POA_LOOK_FOUND, 1, 21, ENDED, 1, false },
        { false, "", POA_LOOK_ABSENT, 1, 21, GIVEN, 1, false },
        { false, "", POA_LOOK_ABSENT, 1, 0, WAITS, 1, true },
        { false, "", POA_LOOK_FAILED, 1, 21, WAITS, 1, true },
        { false, "", POA_LOOK_FAILED, 5, 0, WAITS, 1, true },
        { false, "", POA_LOOK_NO_WAY, 0, 0, WAITS, 1, true },
        { false, "", POA_LOOK_FAILED, 5, 601, GIVEN, 1, false },
        { false, BY_AGENT OURS "\n----\n", POA_LOOK_NO_WAY, 1, 21, GIVEN, 1, false },
    };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct spool spool;
        struct buf text = { .cap = 0 };
        atomic_bool stopping = false;
        struct attempt_result result = { .away = true };
        time_t now = clock_wall().tv_sec;
        begin_agent();
        world.compared = rows[i].compared;
        world.stored = rows[i].stored;
        world.stored_at = now;
        world.looked = rows[i].looked;
        CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
        buf_printf(&text, "postern-queue 1\nsender \narrived %lld\nattempts %u\nnext 7\nbody 7bit\ngiven %lld\nunknown joe@example.com\nend\n",
                   (long long)now - 1, rows[i].attempts, (long long)(now - rows[i].seconds_ago));
        put_file("1.envelope", buf_text(&text));
        put_file("1.message", a_message);
        attempt_run(&spool, "1", &snapshot, &stopping, &result);
        CU_ASSERT_EQUAL(count_of(&host.messages), rows[i].ending == GIVEN);
        CU_ASSERT_EQUAL(world.looks, rows[i].looks);
        CU_ASSERT_EQUAL(count_files(""), rows[i].ending == WAITS ? 2 : 0);
        CU_ASSERT_EQUAL(envelope_holds("\nunknown joe@example.com\n"), rows[i].unknown);
        CU_ASSERT_EQUAL(world.delivered, 0);
        if (rows[i].ending == WAITS)
            CU_ASSERT(rows[i].seconds_ago < 20 ? result.next >= now + 3 && result.next <= now + 5 : result.next >= now + 10 && result.next <= now + 41);
        spool_fini(&spool);
        gate_clear();
        buf_fini(&text);
        end_agent();
    }
}

/* The way has changed meanwhile: the path is the only one now, and there may be a copy in it. */
static void test_second_try_directly(void)
{
    static const struct { const char *stored; int delivered; } rows[] = { { BY_AGENT OURS "\n----\n", 0 }, { "Subject: another\n\n----\n", 1 } };
    struct fault fault;
    for (size_t i = 0; i < 2; i++) {
        struct spool spool;
        atomic_bool stopping = false;
        struct attempt_result result = { .away = true };
        begin_agent();
        office.agent_count = 0;
        world.stored = rows[i].stored;
        CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
        put_file("1.envelope", "postern-queue 1\nsender \narrived 9999999999\nattempts 1\nnext 7\nbody 7bit\ngiven 5\nunknown joe@example.com\nend\n");
        put_file("1.message", a_message);
        attempt_run(&spool, "1", &snapshot, &stopping, &result);
        CU_ASSERT_EQUAL(result.next, 0);
        CU_ASSERT_EQUAL(world.delivered, rows[i].delivered);
        CU_ASSERT_EQUAL(count_files(""), 0);
        spool_fini(&spool);
        end_agent();
    }
}

/* One recipient is still to be looked for, and another one is given again: that does not begin the first one's time anew. */
static void test_second_try_of_one(void)
{
    static const char amy[] = "recipient amy@example.com\n";
    struct fault fault;
    for (int first = 0; first < 2; first++) {
        struct spool spool;
        struct buf text = { .cap = 0 }, kept = { .cap = 0 };
        atomic_bool stopping = false;
        struct attempt_result result = { .away = true };
        long long given = (long long)clock_wall().tv_sec - 12;
        begin_agent();
        host.end = "452 4.2.2 full";
        CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
        buf_printf(&text, "postern-queue 1\nsender \narrived %lld\nattempts 1\nnext 7\nbody 7bit\n", given);
        for (int i = 0; i < 2; i++)
            if (i == first)
                buf_printf(&text, "given %lld\nunknown joe@example.com\n", given);
            else
                buf_append_text(&text, amy);
        buf_append_text(&text, "end\n");
        buf_printf(&kept, "given %lld\nunknown joe@example.com\n", given);
        put_file("1.envelope", buf_text(&text));
        put_file("1.message", a_message);
        attempt_run(&spool, "1", &snapshot, &stopping, &result);
        CU_ASSERT_EQUAL(count_of(&host.messages), 1);
        CU_ASSERT(envelope_holds(buf_text(&kept)) && envelope_holds(amy));
        spool_fini(&spool);
        gate_clear();
        buf_fini(&text);
        buf_fini(&kept);
        end_agent();
    }
}

/* The clock was set back since: the time begins now, and is not waited for until the clock is there again. */
static void test_second_try_in_the_past(void)
{
    struct fault fault;
    struct spool spool;
    atomic_bool stopping = false;
    struct attempt_result result = { .away = true };
    begin_agent();
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    put_file("1.envelope", "postern-queue 1\nsender \narrived 5\nattempts 1\nnext 7\nbody 7bit\ngiven 9999999999\nunknown joe@example.com\nend\n");
    put_file("1.message", a_message);
    snapshot.agent.defer_hours = 1000000;
    attempt_run(&spool, "1", &snapshot, &stopping, &result);
    CU_ASSERT(envelope_holds("\ngiven ") && envelope_holds("\nunknown joe@example.com\nend\n"));
    CU_ASSERT_FALSE(envelope_holds("\ngiven 9999999999\n"));
    spool_fini(&spool);
    end_agent();
}

/* One copy that may be there already, and nobody can look: not even an agent that is away makes a second way safe. */
static void test_second_try_not_elsewhere(void)
{
    struct fault fault;
    struct spool spool;
    atomic_bool stopping = false;
    struct attempt_result result = { .away = true };
    begin_agent();
    host.greeting = "421 busy";
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    put_file("1.envelope", "postern-queue 1\nsender \narrived 9999999999\nattempts 1\nnext 7\nbody 7bit\ngiven 5\nunknown joe@example.com\nend\n");
    put_file("1.message", "Subject: without a trace\r\n\r\n");
    attempt_run(&spool, "1", &snapshot, &stopping, &result);
    CU_ASSERT_EQUAL(count_of(&host.connections), 1);
    CU_ASSERT_EQUAL(world.delivered, 0);
    CU_ASSERT(envelope_holds("\nunknown joe@example.com\n"));
    spool_fini(&spool);
    gate_clear();
    end_agent();
}

/* Meanwhile the post office is no longer known: there is nothing to look into, and it waits. */
static void test_second_try_without_office(void)
{
    struct fault fault;
    struct spool spool;
    atomic_bool stopping = false;
    struct attempt_result result = { .away = true };
    begin_agent();
    joe.post_office = NULL;
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    put_file("1.envelope", "postern-queue 1\nsender \narrived 9999999999\nattempts 1\nnext 7\nbody 7bit\ngiven 5\nunknown joe@example.com\nend\n");
    put_file("1.message", a_message);
    attempt_run(&spool, "1", &snapshot, &stopping, &result);
    CU_ASSERT(result.next != 0);
    CU_ASSERT(envelope_holds("\nunknown joe@example.com\n"));
    joe.post_office = &office;
    spool_fini(&spool);
    end_agent();
}

/* Who has it from an agent that has answered is not asked again when the process ends while a relay host hangs. */
static void test_written_down_before_relay(void)
{
    static const char *const to[] = { "joe@example.com", "bob@example.org" };
    struct fault fault;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    char relay[40];
    begin_agent();
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(silent, (struct sockaddr *)&address, len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(silent, 8), 0);
    getsockname(silent, (struct sockaddr *)&address, &len);
    snprintf(relay, sizeof(relay), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    snapshot.agent.relay_host = relay;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("", to, 2, a_message), 0);
    int relayed = accept(silent, NULL, NULL);
    CU_ASSERT_EQUAL(count_of(&host.messages), 1);
    CU_ASSERT(envelope_holds("\nrecipient bob@example.org\nend\n"));
    CU_ASSERT_FALSE(envelope_holds("joe@example.com"));
    close(relayed);
    close(silent);
    queue_stop();
    end_agent();
}

/* What lies far back is looked at only as long as it is younger than the message. */
static void test_search_ends(void)
{
    struct fault fault;
    struct buf stored = { .cap = 0 }, own = { .cap = 0 };
    struct inbox_search search = { .since = 1000, .is_it = seek_is_on_top };
    begin();
    CU_ASSERT(seek_read_received(slice_from_string(a_message), &own));
    search.wanted = buf_slice(&own);
    buf_append_text(&stored, OURS "\n----\n");
    for (int i = 0; i < 100; i++)
        buf_append_text(&stored, "Subject: x\n\n----\n");
    world.stored = buf_text(&stored);
    world.stored_at = 999;
    CU_ASSERT_EQUAL(inbox_search(&joe, &search, &fault), 0);
    world.stored_at = 1000;
    CU_ASSERT_EQUAL(inbox_search(&joe, &search, &fault), 1);
    world.office_down = true;
    CU_ASSERT_EQUAL(inbox_search(&joe, &search, &fault), -1);
    buf_fini(&stored);
    buf_fini(&own);
    end();
}

static const struct unit_test tests[] = {
    { "written down", test_written_down }, { "written down at once", test_written_down_at_once }, { "silent", test_silent },
    { "second try of a silent one", test_second_try_of_a_silent_one }, { "second try of one", test_second_try_of_one },
    { "second try in the past", test_second_try_in_the_past }, { "not elsewhere", test_second_try_not_elsewhere },
    { "without office", test_second_try_without_office }, { "before relay", test_written_down_before_relay }, { "received", test_received },
    { "second try", test_second_try }, { "second try directly", test_second_try_directly }, { "search ends", test_search_ends },
};

UNIT_MAIN("second_try", tests)
