/* Unit tests of src/queue: envelopes, the spool after crashes, the schedule, and the whole queue against a small SMTP server, with a fake
 * configuration and a fake store. */
#include "queue_world.h"

static char relay_text[64];

/* --- envelopes and files ------------------------------------------------------------------------------------------------ */

static const char good_envelope[] = "postern-queue 1\nsender ann@example.com\narrived 5\nattempts 2\nnext 7\nbody 8bit\n"
                                    "recipient joe@example.com\nrecipient \"a b\"@example.org\nend\n";

static void test_envelope(void)
{
    struct envelope envelope = { .sender = NULL };
    struct buf text = { 0 };
    CU_ASSERT_EQUAL(queue_envelope_parse(slice_from_string(good_envelope), &envelope, NULL), 0);
    CU_ASSERT_STRING_EQUAL(envelope.sender, "ann@example.com");
    CU_ASSERT(envelope.arrived == 5 && envelope.attempts == 2 && envelope.next == 7 && envelope.eight_bit);
    CU_ASSERT_EQUAL_FATAL(envelope.count, 2);
    CU_ASSERT_STRING_EQUAL(envelope.recipients[1].address, "\"a b\"@example.org");
    queue_envelope_write(&envelope, &text);
    CU_ASSERT(slice_is(buf_slice(&text), good_envelope));
    CU_ASSERT_FALSE(queue_envelope_add(&envelope, SLICE_LITERAL("a\nrecipient b")));
    CU_ASSERT_FALSE(queue_envelope_add(&envelope, SLICE_NONE));
    queue_envelope_fini(&envelope);
    buf_fini(&text);
    /* Cut anywhere it is not whole, and nothing leaks. */
    for (size_t len = 0; len < sizeof(good_envelope) - 1; len++) {
        struct fault fault;
        struct envelope cut = { .sender = NULL };
        CU_ASSERT_EQUAL(queue_envelope_parse(slice_make(good_envelope, len), &cut, &fault), -1);
        CU_ASSERT_EQUAL(fault.class, FAULT_CORRUPT);
        CU_ASSERT_PTR_NULL(cut.recipients);
    }
}

static void test_schedule(void)
{
    struct schedule schedule = { .count = 0 };
    char id[SPOOL_ID_MAX];
    for (int i = 0; i < 100; i++) {
        snprintf(id, sizeof(id), "%d", i * 37 % 100);
        schedule_put(&schedule, id, (uint32_t)(i * 37 % 100 == 70), i * 37 % 100);
    }
    for (int i = 0; i < 50; i++) {
        CU_ASSERT_EQUAL(schedule_first(&schedule)->due, i);
        CU_ASSERT_EQUAL(strtol(schedule_first(&schedule)->id, NULL, 10), i);
        schedule_remove_first(&schedule);
    }
    schedule_hurry_marked(&schedule, 1, 40);
    CU_ASSERT_STRING_EQUAL(schedule_first(&schedule)->id, "70");
    CU_ASSERT_EQUAL(schedule_first(&schedule)->due, 40);
    schedule_remove_first(&schedule);
    schedule_put(&schedule, "70", 1, 70);
    schedule_hurry(&schedule, 60);
    schedule_put(&schedule, "late", 0, 61);
    for (int i = 50; i < 100; i++) {
        CU_ASSERT_EQUAL(schedule_first(&schedule)->due, i < 60 ? i : 60);
        schedule_remove_first(&schedule);
    }
    CU_ASSERT_STRING_EQUAL(schedule_first(&schedule)->id, "late");
    schedule_remove_first(&schedule);
    CU_ASSERT_PTR_NULL(schedule_first(&schedule));
    schedule_fini(&schedule);
}

static void test_delays(void)
{
    static char many[] = "1 2", last[] = "30 x";
    static char *values[] = { many, last };
    static const unsigned defaults[] = { 20, 20, 20, 240, 240 }, own[] = { 1, 2, 30, 30 };
    memset(&snapshot, 0, sizeof(snapshot));
    for (size_t i = 0; i < 5; i++)
        CU_ASSERT_EQUAL(attempt_delay_minutes(&snapshot, i + 1), defaults[i]);
    snapshot.agent.defer_minutes = (struct text_list){ values, 2 };
    for (size_t i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(attempt_delay_minutes(&snapshot, i + 1), own[i]);
}

static void test_host(void)
{
    static const struct { const char *text, *host; uint16_t port; } rows[] = {
        { "relay", "relay", 25 }, { "relay:2525", "relay", 2525 }, { "[::1]", "::1", 25 }, { "[::1]:26", "::1", 26 }, { "::1", "::1", 25 },
        { " relay ", "relay", 25 }, { "relay:", NULL, 0 }, { "relay:0", NULL, 0 }, { "relay:65536", NULL, 0 }, { "", NULL, 0 },
        { "[::1", NULL, 0 }, { "[::1]x", NULL, 0 }, { ":25", NULL, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char *host = NULL;
        uint16_t port = 0;
        CU_ASSERT_EQUAL(relay_parse_host(rows[i].text, &host, &port), rows[i].host != NULL);
        if (host != NULL && rows[i].host != NULL) {
            CU_ASSERT_STRING_EQUAL(host, rows[i].host);
            CU_ASSERT_EQUAL(port, rows[i].port);
        }
        mem_free(&host);
    }
}

static void count_visit(const char *id, void *context)
{
    CU_ASSERT(id[0] != '\0');
    ++*(int *)context;
}

/* What a kill -9 at any moment may leave behind. */
static void test_crash_states(void)
{
    struct spool spool;
    struct envelope envelope;
    struct fault fault;
    int count = 0;
    begin();
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    put_file("tmp/1.message", "x");
    put_file("tmp/2.envelope", "x");
    put_file("3.message", "not committed");
    put_file("4.message", "Subject: whole\r\n\r\n");
    put_file("4.envelope", good_envelope);
    put_file("tmp/4.envelope", "half of its next stat");
    put_file("5.envelope", "postern-queue 1\nsender x\n");
    put_file("5.message", "x");
    put_file("6.envelope", good_envelope);
    CU_ASSERT_EQUAL(spool_recover(&spool, count_visit, &count, &fault), 0);
    CU_ASSERT_EQUAL(count, 3);
    CU_ASSERT_EQUAL(count_files("/tmp"), 0);
    CU_ASSERT_EQUAL(count_files(""), 5);
    CU_ASSERT_EQUAL(spool_load(&spool, "4", &envelope, &fault), 0);
    queue_envelope_fini(&envelope);
    CU_ASSERT_EQUAL(spool_load(&spool, "5", &envelope, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_CORRUPT);
    spool_fini(&spool);

    /* The queue delivers the whole one here, gives it up for elsewhere (it is old), keeps the notice that nobody can have, and puts the
     * damaged ones aside. */
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT(until_length(0));
    queue_stop();
    CU_ASSERT_EQUAL(world.delivered, 1);
    CU_ASSERT(slice_is(buf_slice(&world.mail), "Return-Path: <ann@example.com>\r\nSubject: whole\r\n\r\n"));
    CU_ASSERT_EQUAL(count_files("/bad"), 5);
    CU_ASSERT_EQUAL(count_files(""), 0);
    end();
}

static DIR *opendir_queue(void)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/queue", state_dir);
    return opendir(path);
}

/* What failed in another attempt of the same number, which does not rise while the result of one is awaited, is not replaced. */
static void test_kept(void)
{
    struct spool spool;
    struct fault fault;
    begin();
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    put_file("7.message", "x\r\n");
    for (int i = 0; i < 2; i++) {
        struct envelope envelope = { .id = "7", .sender = slice_to_string(SLICE_NONE), .attempts = 1 };
        CU_ASSERT(queue_envelope_add(&envelope, slice_from_string(i == 0 ? "a@example.org" : "b@example.org")));
        envelope.recipients[0].outcome = OUTCOME_FAILED;
        CU_ASSERT_EQUAL(spool_keep_failed(&spool, &envelope, &fault), 0);
        queue_envelope_fini(&envelope);
    }
    CU_ASSERT_EQUAL(count_files("/bad"), 4);
    spool_fini(&spool);
    end();
}

static void test_message(void)
{
    struct queue_message *message;
    struct fault fault;
    static const char *const bad[] = { "a\nb@example.org" }, *const good[] = { "bob@example.org" };
    begin();
    CU_ASSERT_EQUAL(put_message("", good, 1, "x\r\n"), -1);   /* not started */
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), -1);
    CU_ASSERT_EQUAL(queue_message_open(SLICE_LITERAL("a@b.c"), NULL, 0, false, &message, &fault), 0);
    CU_ASSERT_EQUAL(count_files("/tmp"), 1);
    queue_message_free(&message);
    CU_ASSERT_EQUAL(count_files("/tmp"), 0);
    CU_ASSERT_EQUAL(put_message("a@b.c", bad, 1, "x\r\n"), -1);
    CU_ASSERT_EQUAL(put_message("a@b.c", bad, 0, "x\r\n"), -1);
    CU_ASSERT_EQUAL(queue_length(), 0);
    CU_ASSERT_EQUAL(put_message("a@b.c", good, 1, "x\r\n"), 0);
    CU_ASSERT_EQUAL(queue_length(), 1);
    queue_stop();
    CU_ASSERT_EQUAL(count_files(""), 2);
    /* Two messages of one second with one ID would be one: 64 random bits. */
    DIR *list = opendir_queue();
    for (struct dirent *at = readdir(list); at != NULL; at = readdir(list))
        CU_ASSERT(strstr(at->d_name, ".envelope") == NULL || strlen(at->d_name) == 8 + 16 + strlen(".envelope"));
    closedir(list);
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(queue_length(), 1);
    queue_stop();
    end();
}

/* --- a small relay host ------------------------------------------------------------------------------------------------- */

static struct {
    pthread_mutex_t lock;
    pthread_t thread;
    int listener;
    bool old;                 /* knows no EHLO */
    const char *data_reply;   /* to the end of the data; NULL: hangs up */
    const char *mail_reply;
    int connections;
    struct buf seen;          /* all lines of all connections */
} host = { .lock = PTHREAD_MUTEX_INITIALIZER };

static const char *reply_to(const char *line)
{
    if (strncmp(line, "EHLO", 4) == 0)
        return host.old ? "502 what" : "250-relay\r\n250-8BITMIME\r\n250 SIZE 1000000";
    if (strncmp(line, "MAIL", 4) == 0)
        return host.mail_reply;
    if (strncmp(line, "RCPT", 4) == 0)
        return strstr(line, "<no@") ? "550 5.1.1 no such user" : strstr(line, "<later@") ? "450 4.2.1 later" : "250 ok";
    if (strncmp(line, "DATA", 4) == 0)
        return "354 go";
    return strncmp(line, "QUIT", 4) == 0 ? "221 bye" : "250 ok";
}

static void serve(FILE *in, FILE *out)
{
    char line[4096];
    bool data = false;
    fputs("220-relay\r\n220 ready\r\n", out);
    fflush(out);
    while (fgets(line, sizeof(line), in) != NULL) {
        pthread_mutex_lock(&host.lock);
        buf_append_text(&host.seen, line);
        bool end_of_data = data && strcmp(line, ".\r\n") == 0;
        const char *reply = end_of_data ? host.data_reply : reply_to(line);
        pthread_mutex_unlock(&host.lock);
        if (data && !end_of_data)
            continue;
        if (reply == NULL)
            return;
        data = !end_of_data && strncmp(reply, "354", 3) == 0;
        fprintf(out, "%s\r\n", reply);
        fflush(out);
    }
}

static void *run_host(void *unused)
{
    (void)unused;
    for (;;) {
        int fd = accept(host.listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        pthread_mutex_lock(&host.lock);
        host.connections++;
        pthread_mutex_unlock(&host.lock);
        FILE *in = fdopen(fd, "r"), *out = fdopen(dup(fd), "w");
        serve(in, out);
        fclose(in);
        fclose(out);
    }
}

static void begin_host(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    begin();
    host.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(host.listener, (struct sockaddr *)&address, len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(host.listener, 8), 0);
    getsockname(host.listener, (struct sockaddr *)&address, &len);
    snprintf(relay_text, sizeof(relay_text), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    snapshot.agent.relay_host = relay_text;
    host.old = false;
    host.data_reply = host.mail_reply = "250 2.0.0 ok";
    host.connections = 0;
    pthread_create(&host.thread, NULL, run_host, NULL);
}

static void end_host(void)
{
    shutdown(host.listener, SHUT_RDWR);
    pthread_join(host.thread, NULL);
    close(host.listener);
    buf_fini(&host.seen);
    end();
}

static bool host_saw(const char *text)
{
    pthread_mutex_lock(&host.lock);
    bool saw = slice_find_text(buf_slice(&host.seen), slice_from_string(text)) >= 0;
    pthread_mutex_unlock(&host.lock);
    return saw;
}

static bool until_connections(int count)
{
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2)) {
        pthread_mutex_lock(&host.lock);
        bool there = host.connections >= count;
        pthread_mutex_unlock(&host.lock);
        if (there)
            return true;
    }
    return false;
}

static void test_relay(void)
{
    static const char *const to[] = { "bob@example.org", "eve@example.net" };
    struct fault fault;
    for (int old = 0; old < 2; old++) {
        begin_host();
        host.old = old;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("joe@example.com", to, 2, "Subject: x\r\n\r\n.\r\n..dots\r\nend\r\n"), 0);
        CU_ASSERT(until_length(0));
        queue_stop();
        CU_ASSERT(host_saw("EHLO mx.example.com\r\n"));
        CU_ASSERT(host_saw(old ? "HELO mx.example.com\r\nMAIL FROM:<joe@example.com>\r\n" : "MAIL FROM:<joe@example.com> SIZE=30\r\n"));
        CU_ASSERT(host_saw("RCPT TO:<bob@example.org>\r\nRCPT TO:<eve@example.net>\r\nDATA\r\nSubject: x\r\n\r\n..\r\n...dots\r\nend\r\n.\r\nQUIT\r\n"));
        CU_ASSERT_EQUAL(count_files(""), 0);
        CU_ASSERT_EQUAL(count_files("/bad"), 0);
        end_host();
    }
}

static bool until_delivered(int count)
{
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2)) {
        pthread_mutex_lock(&world.lock);
        bool there = world.delivered >= count;
        pthread_mutex_unlock(&world.lock);
        if (there)
            return true;
    }
    return false;
}

/* One taken, one refused (the sender hears of it), one deferred and tried again only when something changed. */
static void test_mixed(void)
{
    static const char *const to[] = { "bob@example.org", "no@example.org", "later@example.org" };
    struct fault fault;
    begin_host();
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("joe@example.com", to, 3, "Subject: original\r\nX: y\r\n\r\nsecret body\r\n"), 0);
    CU_ASSERT(until_tried());
    CU_ASSERT(until_delivered(1));
    CU_ASSERT(until_length(1));
    queue_stop();
    CU_ASSERT_EQUAL(world.delivered, 1);
    struct slice notice = buf_slice(&world.mail);
    CU_ASSERT(slice_starts_with(notice, "Return-Path: <>\r\nReceived: by mx.example.com id "));
    CU_ASSERT(slice_find_text(notice, SLICE_LITERAL("+0000\r\nFrom: Mail Delivery System <postmaster@mx.example.com>\r\nTo: <joe@example.com>\r\n")) > 0);
    CU_ASSERT(slice_find_text(notice, SLICE_LITERAL("Content-Type: multipart/report; report-type=delivery-status;")) > 0);
    CU_ASSERT(slice_find_text(notice, SLICE_LITERAL("\r\nFinal-Recipient: rfc822; no@example.org\r\nAction: failed\r\nStatus: 5.1.1\r\n"
                                                    "Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n")) > 0);
    CU_ASSERT(slice_find_text(notice, SLICE_LITERAL("Subject: original\r\nX: y\r\n")) > 0);
    CU_ASSERT(slice_find_text(notice, SLICE_LITERAL("secret body")) < 0);
    CU_ASSERT(slice_find_text(notice, SLICE_LITERAL("later@")) < 0);
    CU_ASSERT_EQUAL(host.connections, 1);

    /* After a restart only the deferred one is left, and it keeps its time. */
    CU_ASSERT_EQUAL(count_files(""), 2);
    struct spool spool;
    CU_ASSERT_EQUAL(spool_init(&spool, state_dir, &fault), 0);
    int count = 0;
    CU_ASSERT_EQUAL(spool_recover(&spool, count_visit, &count, &fault), 0);
    CU_ASSERT_EQUAL(count, 1);
    spool_fini(&spool);
    end_host();
}

/* A relay host that hangs up, or says 4yz or 5yz, at each place. */
static void test_refusals(void)
{
    static const struct { const char *mail, *data; bool waits; } rows[] = {
        { "250 ok", "450 later", true }, { "250 ok", NULL, true }, { "250 ok", "554 5.6.0 spam", false }, { "451 later", NULL, true },
        { "550 no", NULL, false }, { "250 ok", "what is this", true }, { "250 ok", "354 again", true },
    };
    static const char *const to[] = { "bob@example.org" };
    struct fault fault;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        begin_host();
        host.mail_reply = rows[i].mail;
        host.data_reply = rows[i].data;
        CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
        CU_ASSERT_EQUAL(put_message("joe@example.com", to, 1, "x\r\n"), 0);
        CU_ASSERT(until_connections(1));
        CU_ASSERT(rows[i].waits ? until_tried() : until_length(0));
        queue_stop();
        CU_ASSERT_EQUAL(count_files(""), rows[i].waits ? 2 : 0);
        CU_ASSERT_EQUAL(world.delivered, rows[i].waits ? 0 : 1);
        end_host();
    }
}

/* The disk is full when the result is to be written down: who has the message gets no second one, whenever there is room again. */
static void test_unwritten(void)
{
    struct fault fault;
    struct spool spool;
    struct attempt_result result = { .away = true };
    atomic_bool stopping = false;
    begin_host();
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    int tmp = spool.tmp;
    put_file("7.envelope", "postern-queue 1\nsender \narrived 9999999999\nattempts 0\nnext 7\nbody 7bit\nrecipient bob@example.org\nrecipient later@example.org\nend\n");
    put_file("7.message", "x\r\n");
    spool.tmp = -1;
    for (int i = 0; i < 3; i++) {
        attempt_run(&spool, "7", &snapshot, &stopping, &result);
        CU_ASSERT(result.next >= clock_wall().tv_sec + 299);
        CU_ASSERT_EQUAL(host.connections, 1);
    }
    spool.tmp = tmp;
    attempt_run(&spool, "7", &snapshot, &stopping, &result);
    CU_ASSERT_EQUAL(host.connections, 1);
    CU_ASSERT(result.next != 0 && result.away);
    CU_ASSERT(envelope_holds("attempts 1\n") && envelope_holds("\nrecipient later@example.org\nend\n"));
    CU_ASSERT_FALSE(envelope_holds("bob@"));
    spool_fini(&spool);
    end_host();
}

/* Without a relay host mail waits; with a new one it goes at once. */
static void test_change(void)
{
    static const char *const to[] = { "bob@example.org" };
    struct fault fault;
    begin_host();
    snapshot.agent.relay_host = NULL;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("joe@example.com", to, 1, "x\r\n"), 0);
    snapshot.agent.relay_host = relay_text;
    queue_changed();
    CU_ASSERT(until_length(0));
    CU_ASSERT(host_saw("RCPT TO:<bob@example.org>"));
    snapshot.agent.smtp_send_threads = 5;
    queue_changed();
    queue_stop();
    end_host();
}

/* The relay host's port without anybody who answers. */
static int listen_again(void)
{
    uint64_t port = 0;
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT(slice_to_number(slice_from(slice_from_string(relay_text), sizeof("127.0.0.1:") - 1), 65535, &port));
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port) };
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CU_ASSERT_EQUAL(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    CU_ASSERT_EQUAL(listen(fd, 8), 0);
    return fd;
}

/* A relay host that is away is asked once, not by every message. */
static void test_away(void)
{
    static const char *const to[] = { "bob@example.org" };
    struct fault fault;
    begin_host();
    shutdown(host.listener, SHUT_RDWR);
    close(host.listener);
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("joe@example.com", to, 1, "x\r\n"), 0);
    CU_ASSERT(until_tried());
    atomic_bool stopping = false;
    const char *id = "00000001";
    put_file("00000001.envelope", "postern-queue 1\nsender a@b.c\narrived 9999999999\nattempts 0\nnext 7\nbody 7bit\nrecipient bob@example.org\nend\n");
    put_file("00000001.message", "x\r\n");
    struct spool spool;
    struct envelope envelope;
    int back = listen_again();
    CU_ASSERT_EQUAL(spool_init(&spool, state_dir, &fault), 0);
    struct attempt_result result = { .away = false };
    attempt_run(&spool, id, &snapshot, &stopping, &result);
    CU_ASSERT(result.next >= clock_wall().tv_sec + 1199 && result.away);
    CU_ASSERT_EQUAL(spool_load(&spool, id, &envelope, &fault), 0);
    CU_ASSERT_EQUAL(envelope.attempts, 1);
    queue_envelope_fini(&envelope);
    spool_fini(&spool);
    queue_stop();
    struct pollfd waiting = { .fd = back, .events = POLLIN };
    CU_ASSERT_EQUAL(poll(&waiting, 1, 0), 0);   /* nobody came */
    close(back);
    CU_ASSERT_EQUAL(count_files(""), 4);
    host.listener = -1;
    end_host();
}

/* Recipients here: delivered, unknown, disabled, and not reachable now. */
static void test_local(void)
{
    static const char *const joe_only[] = { "joe@example.com" }, *const unknown[] = { "nobody@example.com", "gone@example.com" };
    struct fault fault;
    begin();
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT_EQUAL(put_message("joe@example.com", unknown, 2, "Subject: lost\r\n\r\n"), 0);
    CU_ASSERT(until_length(0));
    CU_ASSERT_EQUAL(world.delivered, 1);
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL("nobody@example.com\r\nAction: failed\r\nStatus: 5.1.1\r\n")) > 0);
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL("gone@example.com\r\nAction: failed\r\nStatus: 5.2.1\r\n")) > 0);
    /* A notice that cannot be delivered is kept, not sent round. */
    CU_ASSERT_EQUAL(put_message("", unknown, 1, "Subject: notice\r\n\r\n"), 0);
    CU_ASSERT(until_length(0));
    CU_ASSERT_EQUAL(count_files("/bad"), 2);
    set_flag(&world.office_down, true);
    CU_ASSERT_EQUAL(put_message("a@b.c", joe_only, 1, "x\r\n"), 0);
    CU_ASSERT(until_tried());
    set_flag(&world.directory_down, true);
    CU_ASSERT_EQUAL(put_message("a@b.c", joe_only, 1, "x\r\n"), 0);
    queue_stop();
    CU_ASSERT_EQUAL(count_files(""), 4);
    CU_ASSERT_EQUAL(world.delivered, 1);
    end();
}

/* A relay host that takes the connection and says no more has all its threads: mail for here is not held up. */
static void test_hanging(void)
{
    static const char *const away[] = { "bob@example.org" }, *const here[] = { "joe@example.com" };
    struct fault fault;
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(address);
    begin();
    int silent = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(silent, (struct sockaddr *)&address, len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(silent, 8), 0);
    getsockname(silent, (struct sockaddr *)&address, &len);
    snprintf(relay_text, sizeof(relay_text), "127.0.0.1:%u", (unsigned)ntohs(address.sin_port));
    snapshot.agent.relay_host = relay_text;
    snapshot.agent.smtp_greeting_minutes = 5;
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    for (int i = 0; i < 4; i++)
        CU_ASSERT_EQUAL(put_message("joe@example.com", away, 1, "x\r\n"), 0);
    int first = accept(silent, NULL, NULL), second = accept(silent, NULL, NULL);
    CU_ASSERT_EQUAL(put_message("a@b.c", here, 1, "Subject: here\r\n\r\n"), 0);
    CU_ASSERT(until_length(4));
    CU_ASSERT_EQUAL(world.delivered, 1);
    struct pollfd more = { .fd = silent, .events = POLLIN };
    CU_ASSERT_EQUAL(poll(&more, 1, 0), 0);   /* no more threads than wanted go there */
    /* Hung up on before a greeting: the others do not ask there for a while. */
    close(first);
    close(second);
    close(silent);
    queue_stop();
    CU_ASSERT_EQUAL(count_files(""), 8);
    end();
}

static void test_give_up(void)
{
    struct fault fault;
    struct spool spool;
    begin();
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    spool_fini(&spool);
    put_file("7.envelope", "postern-queue 1\nsender joe@example.com\narrived 5\nattempts 2\nnext 7\nbody 7bit\nrecipient bob@example.org\nend\n");
    put_file("7.message", "Subject: old\r\n\r\n");
    CU_ASSERT_EQUAL(queue_start(state_dir, &fault), 0);
    CU_ASSERT(until_length(0));
    queue_stop();
    CU_ASSERT_EQUAL(world.delivered, 1);
    CU_ASSERT(slice_find_text(buf_slice(&world.mail), SLICE_LITERAL("Status: 4.4.7\r\n")) > 0);
    CU_ASSERT_EQUAL(count_files(""), 0);
    end();
}

static const struct unit_test tests[] = {
    { "envelope", test_envelope }, { "schedule", test_schedule }, { "delays", test_delays }, { "host", test_host },
    { "crash states", test_crash_states }, { "kept", test_kept }, { "message", test_message }, { "relay", test_relay }, { "mixed", test_mixed },
    { "refusals", test_refusals }, { "unwritten", test_unwritten }, { "change", test_change }, { "away", test_away }, { "local", test_local },
    { "hanging", test_hanging }, { "give up", test_give_up },
};

UNIT_MAIN("queue", tests)
