/* A small LMTP server in the place of a Post Office Agent, for the unit tests of src/queue's way to one. */
#ifndef TESTS_UNIT_AGENT_WORLD_H
#define TESTS_UNIT_AGENT_WORLD_H

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
    const char *xclient, *auth;
    const char *end;          /* to the end of the data, once for each recipient; NULL: hangs up */
    const char *end_others;   /* to all but the first of them; NULL: the same */
    bool hang;                /* at the end of the data, until it is cleared */
    bool hang_second;         /* after the first of its replies at the end, until it is cleared */
    bool one_each;            /* closes after a message */
    bool one_each_421;        /* likewise, but says so when there is another one */
    bool written;             /* at the end of the data the envelope said that the outcome is unknown */
    int messages;
    struct buf seen;
    struct post_office_agent agent;
} host = { .lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER };

static const char full[] __attribute__((unused)) = "250-agent\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-8BITMIME\r\n250 SIZE";
static const char plain[] __attribute__((unused)) = "250 agent";
static const char pipelining[] __attribute__((unused)) = "250-agent\r\n250 PIPELINING";

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
    if (strncmp(line, "XCLIENT", 7) == 0)
        return host.xclient;
    if (strncmp(line, "AUTH", 4) == 0)
        return host.auth;
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

static void wait_for_second(FILE *out)
{
    pthread_mutex_lock(&host.lock);
    if (host.hang_second)
        fflush(out);
    while (host.hang_second)
        pthread_cond_wait(&host.changed, &host.lock);
    pthread_mutex_unlock(&host.lock);
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
    for (int i = 0; reply != NULL && i < accepted; i++) {
        fprintf(out, "%s\r\n", i == 0 ? reply : others);
        wait_for_second(out);
    }
    fflush(out);
    return reply != NULL && !last;
}

/* The PROXY header: seen as a line with the client's address. */
static void take_header(FILE *in)
{
    unsigned char head[16], more[36] = { 0 };
    bool whole = fread(head, 1, sizeof(head), in) == sizeof(head) && head[15] <= sizeof(more) && fread(more, 1, head[15], in) == head[15];
    pthread_mutex_lock(&host.lock);
    buf_printf(&host.seen, "proxy %x %d.%d.%d.%d\r\n", whole ? head[12] : 0, more[0], more[1], more[2], more[3]);
    pthread_mutex_unlock(&host.lock);
}

static void serve(FILE *in, FILE *out)
{
    char line[4096];
    int accepted = 0;
    bool used = false;
    if (host.agent.proxy_header)
        take_header(in);
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

static inline void listen_at(uint16_t port)
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

static inline void stop_listening(void)
{
    shutdown(host.listener, SHUT_RDWR);
    pthread_join(host.thread, NULL);
    close(host.listener);
}

static inline void begin_agent(void)
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
    host.xclient = "220 agent";
    host.auth = "235 2.7.0 welcome";
    host.end = "250 2.0.0 saved";
    host.end_others = NULL;
    host.connections = host.messages = 0;
    host.hang = host.hang_second = host.one_each = host.one_each_421 = host.written = false;
    office.name = office_name;
    snprintf(office.uuid, sizeof(office.uuid), "00000000-0000-0000-0000-000000000001");
    office.agents = &host.agent;
    office.agent_count = 1;
}

static inline void end_agent(void)
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

static inline bool host_saw(const char *text)
{
    pthread_mutex_lock(&host.lock);
    bool saw = slice_find_text(buf_slice(&host.seen), slice_from_string(text)) >= 0;
    pthread_mutex_unlock(&host.lock);
    return saw;
}

static inline int count_of(const int *number)
{
    pthread_mutex_lock(&host.lock);
    int value = *number;
    pthread_mutex_unlock(&host.lock);
    return value;
}

static inline bool until(const int *number, int wanted)
{
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2))
        if (count_of(number) >= wanted)
            return true;
    return false;
}

static inline void let_go(void)
{
    pthread_mutex_lock(&host.lock);
    host.hang = host.hang_second = false;
    pthread_cond_broadcast(&host.changed);
    pthread_mutex_unlock(&host.lock);
}

static const char *const to_joe[] __attribute__((unused)) = { "joe@example.com" };
static const char a_message[] __attribute__((unused)) = "Received: from c by mx.example.com\r\n\twith ESMTP id abc;\r\n\tMon, 1 Jan 2024 00:00:00 +0000\r\nSubject: x\r\n\r\n.\r\n..dots\r\nend\r\n";

#endif
