/* Unit tests of src/queue's way to Post Office Agents, against a small LMTP server: results by recipient, what is written down before the end of the data, the look into
 * the mailbox before a second try, back-off, connections that are used again, and turns. */
#include "queue_world.h"

/* --- a small agent ------------------------------------------------------------------------------------------------------ */

enum { CONNECTIONS_MAX = 32 };

static struct {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_t thread;
    int listener, fds[CONNECTIONS_MAX];
    int connections, active;
    const char *greeting, *lhlo, *mail, *data;
    const char *by_id;        /* to RCPT with the user ID alone */
    const char *end;          /* to the end of the data, once for each recipient; NULL: hangs up */
    const char *end_others;   /* to all but the first of them; NULL: the same */
    bool hang;                /* at the end of the data, until it is cleared */
    bool one_each;            /* closes after a message */
    bool one_each_421;        /* likewise, but says so when there is another one */
    bool written;             /* at the end of the data the envelope said that the outcome is unknown */
    int messages;
    struct buf seen;
    struct post_office_agent agent;
} host = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static const char full[] = "250-agent\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 SIZE";
static const char plain[] = "250 agent";
static const char pipelining[] = "250-agent\r\n250 PIPELINING";

static const char *reply_to(const char *line)
{
    if (strncmp(line, "LHLO", 4) == 0)
        return host.lhlo;
    if (strncmp(line, "MAIL", 4) == 0)
        return host.mail;
    if (strncmp(line, "RCPT", 4) == 0)
        return strstr(line, "<joe>") ? host.by_id : strstr(line, "<no@") ? "550 5.1.1 no such user" : strstr(line, "<later@") ? "450 4.2.1 later" : strstr(line, "<hangup@") ? NULL : "250 ok";
    if (strncmp(line, "DATA", 4) == 0)
        return host.data;
    return strncmp(line, "QUIT", 4) == 0 ? "221 bye" : "250 ok";
}

/* The bytes of a message in one of the two ways; false: hung up. */
static bool take_message(FILE *in, const char *line)
{
    char text[4096];
    unsigned long size = strncmp(line, "BDAT ", 5) == 0 ? strtoul(line + 5, NULL, 10) : 0;
    for (unsigned long at = 0; at < size; at++) {
        int c = fgetc(in);
        if (c == EOF)
            return false;
        pthread_mutex_lock(&host.lock);
        buf_append_byte(&host.seen, (char)c);
        pthread_mutex_unlock(&host.lock);
    }
    while (size == 0) {
        if (fgets(text, sizeof(text), in) == NULL)
            return false;
        pthread_mutex_lock(&host.lock);
        buf_append_text(&host.seen, text);
        pthread_mutex_unlock(&host.lock);
        if (strcmp(text, ".\r\n") == 0)
            break;
    }
    return true;
}

static bool end_message(FILE *out, int accepted)
{
    bool written = envelope_holds("\nunknown ");
    pthread_mutex_lock(&host.lock);
    host.written = written;
    host.messages++;
    pthread_cond_broadcast(&host.changed);
    while (host.hang)
        pthread_cond_wait(&host.changed, &host.lock);
    const char *reply = host.end, *others = host.end_others != NULL ? host.end_others : reply;
    bool last = host.one_each;
    pthread_mutex_unlock(&host.lock);
    for (int i = 0; reply != NULL && i < accepted; i++)
        fprintf(out, "%s\r\n", i == 0 ? reply : others);
    fflush(out);
    return reply != NULL && !last;
}

static void serve(FILE *in, FILE *out)
{
    char line[4096];
    int accepted = 0;
    bool used = false;
    fprintf(out, "%s\r\n", host.greeting);
    fflush(out);
    while (fgets(line, sizeof(line), in) != NULL) {
        pthread_mutex_lock(&host.lock);
        buf_append_text(&host.seen, line);
        const char *reply = reply_to(line);
        pthread_mutex_unlock(&host.lock);
        bool chunk = strncmp(line, "BDAT", 4) == 0;
        if (used && host.one_each_421)
            fprintf(out, "421 4.4.2 you were silent\r\n");
        if (reply == NULL || (used && host.one_each_421))
            return;
        if (strncmp(line, "MAIL", 4) == 0)
            accepted = 0;
        accepted += strncmp(line, "RCPT", 4) == 0 && reply[0] == '2';
        if (!chunk)
            fprintf(out, "%s\r\n", reply);
        fflush(out);
        bool message = chunk || strncmp(reply, "354", 3) == 0;
        if (message && (!take_message(in, line) || !end_message(out, accepted)))
            return;
        used = used || message;
    }
}

static void *run_connection(void *arg)
{
    int at = (int)(intptr_t)arg;
    FILE *in = fdopen(dup(host.fds[at]), "r"), *out = fdopen(dup(host.fds[at]), "w");
    serve(in, out);
    fclose(in);
    fclose(out);
    shutdown(host.fds[at], SHUT_RDWR);
    pthread_mutex_lock(&host.lock);
    host.active--;
    pthread_cond_broadcast(&host.changed);
    pthread_mutex_unlock(&host.lock);
    return NULL;
}

static void *run_host(void *unused)
{
    (void)unused;
    for (;;) {
        pthread_t thread;
        int fd = accept(host.listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        pthread_mutex_lock(&host.lock);
        host.fds[host.connections] = fd;
        host.active++;
        pthread_create(&thread, NULL, run_connection, (void *)(intptr_t)host.connections++);
        pthread_detach(thread);
        pthread_mutex_unlock(&host.lock);
    }
}

static void listen_at(uint16_t port)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(port) };
    socklen_t len = sizeof(address);
    int on = 1;
    host.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    setsockopt(host.listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    CU_ASSERT_EQUAL_FATAL(bind(host.listener, (struct sockaddr *)&address, len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(host.listener, 8), 0);
    getsockname(host.listener, (struct sockaddr *)&address, &len);
    if (port == 0)
        host.agent.lmtp_port = ntohs(address.sin_port);
    pthread_create(&host.thread, NULL, run_host, NULL);
}

static void stop_listening(void)
{
    shutdown(host.listener, SHUT_RDWR);
    pthread_join(host.thread, NULL);
    close(host.listener);
}

static void begin_agent(void)
{
    static char address[] = "127.0.0.1", office_name[] = "sales";
    begin();
    host.agent = (struct post_office_agent){ .host = address, .timeout_ms = 5000, .login_timeout_ms = 5000 };
    listen_at(0);
    host.greeting = "220 agent";
    host.lhlo = full;
    host.mail = "250 ok";
    host.by_id = "550 5.1.1 nobody";
    host.data = "354 go";
    host.end = "250 2.0.0 saved";
    host.end_others = NULL;
    host.connections = host.messages = 0;
    host.hang = host.one_each = host.one_each_421 = host.written = false;
    office.name = office_name;
    snprintf(office.uuid, sizeof(office.uuid), "00000000-0000-0000-0000-000000000001");
    office.agents = &host.agent;
    office.agent_count = 1;
}

static void end_agent(void)
{
    stop_listening();
    pthread_mutex_lock(&host.lock);
    for (int i = 0; i < host.connections; i++)
        shutdown(host.fds[i], SHUT_RDWR);
    while (host.active != 0)
        pthread_cond_wait(&host.changed, &host.lock);
    for (int i = 0; i < host.connections; i++)
        close(host.fds[i]);
    buf_fini(&host.seen);
    pthread_mutex_unlock(&host.lock);
    office.agents = NULL;
    office.agent_count = 0;
    office.path = path_text;
    end();
}

static bool host_saw(const char *text)
{
    pthread_mutex_lock(&host.lock);
    bool saw = slice_find_text(buf_slice(&host.seen), slice_from_string(text)) >= 0;
    pthread_mutex_unlock(&host.lock);
    return saw;
}

static int count_of(const int *number)
{
    pthread_mutex_lock(&host.lock);
    int value = *number;
    pthread_mutex_unlock(&host.lock);
    return value;
}

static bool until(const int *number, int wanted)
{
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2))
        if (count_of(number) >= wanted)
            return true;
    return false;
}

static void let_go(void)
{
    pthread_mutex_lock(&host.lock);
    host.hang = false;
    pthread_cond_broadcast(&host.changed);
    pthread_mutex_unlock(&host.lock);
}

static const char *const to_joe[] = { "joe@example.com" };
static const char a_message[] = "Received: from c by mx.example.com\r\n\twith ESMTP id abc;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\nSubject: x\r\n\r\n.\r\n..dots\r\nend\r\n";

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

static const struct unit_test tests[] = {
    { "outcomes", test_outcomes }, { "bytes", test_bytes }, { "big", test_big }, { "recipients", test_recipients }, { "written down", test_written_down }, { "user ID", test_user_id },
    { "user ID, order", test_user_id_order }, { "user ID, unheard", test_user_id_unheard }, { "second try of one", test_second_try_of_one }, { "second try in the past", test_second_try_in_the_past }, { "not elsewhere", test_second_try_not_elsewhere },
    { "without office", test_second_try_without_office }, { "before relay", test_written_down_before_relay }, { "turn and away", test_turn_and_away },
    { "received", test_received }, { "second try", test_second_try }, { "second try directly", test_second_try_directly }, { "search ends", test_search_ends }, { "reuse", test_reuse }, { "idle", test_idle },
    { "turns", test_turns }, { "lanes", test_lanes }, { "all lanes", test_all_lanes }, { "two hang", test_two_hang }, { "away", test_away }, { "gate", test_gate },
};

UNIT_MAIN("agents", tests)
