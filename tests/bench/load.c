/* load: a client that loads a mail server; bench.py runs it against posternd and Dovecot alike. Each connection is a thread with a
 * blocking socket. Prints "COUNT SECONDS BYTES" of what was completed. USERS is N for u0..uN-1, or FIRST:N for N users from uFIRST on;
 * the password is secret.
 *
 * load login PROTOCOL PORT USERS CONNECTIONS SECONDS      connect, log in, log out, again and again
 * load session PORT USERS CONNECTIONS SECONDS             POP3: log in, STAT, RETR of all messages, QUIT
 * load imap PORT USER ROUNDS COMMAND...                   log in, run the commands once but for the last, print "ready", wait for a
 *                                                        line of input, then run the last one ROUNDS times, timed
 * load append PORT USERS CONNECTIONS ROUNDS SIZE          IMAP APPEND
 * load deliver PROTOCOL PORT USERS CONNECTIONS ROUNDS SIZE    SMTP or LMTP, one recipient each, connections kept
 * load idle PORT USERS CONNECTIONS                        log in, SELECT, IDLE; prints "ready", ends at the end of standard input
 * load noop PORT USERS CONNECTIONS SECONDS                IMAP: log in, SELECT, print "ready", wait for a line of input, then NOOP after NOOP on
 *                                                        all of them at once
 * load raw DIR CONNECTIONS ROUNDS SIZE                    the system calls of a safe delivery without a server
 * load tls ...                                           the same with TLS from the first byte, every certificate taken */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct client {
    int fd;
    SSL *ssl;
    size_t from, until;
    unsigned long long bytes;
    char buffer[65536];
};

struct job {
    pthread_t thread;
    int number;
    unsigned long count;
    unsigned long long bytes;
};

static const char *protocol = "imap";
static int port, first_user, users, connections, rounds, message_size;
static double seconds;
static const char *raw_dir;
static char *message_text;
static _Atomic int next_user;
static SSL_CTX *tls;

static _Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));
static _Noreturn void die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void client_open(struct client *c)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM, 0);
    c->from = c->until = 0;
    if (c->fd < 0 || connect(c->fd, (struct sockaddr *)&address, sizeof(address)) != 0)
        die("connect: %s", strerror(errno));
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    c->ssl = tls != NULL ? SSL_new(tls) : NULL;
    if (c->ssl != NULL && (SSL_set_fd(c->ssl, c->fd) != 1 || SSL_connect(c->ssl) != 1))
        die("the TLS handshake failed");
}

static void client_close(struct client *c)
{
    SSL_free(c->ssl);
    close(c->fd);
}

static void client_send(struct client *c, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t put = c->ssl != NULL ? SSL_write(c->ssl, data, (int)len) : write(c->fd, data, len);
        if (put <= 0)
            die("write: %s", strerror(errno));
        data += put;
        len -= (size_t)put;
    }
}

static void client_fill(struct client *c)
{
    if (c->from > 0) {
        memmove(c->buffer, c->buffer + c->from, c->until - c->from);
        c->until -= c->from;
        c->from = 0;
    }
    size_t room = sizeof(c->buffer) - c->until;
    ssize_t got = c->ssl != NULL ? SSL_read(c->ssl, c->buffer + c->until, (int)room) : read(c->fd, c->buffer + c->until, room);
    if (got <= 0)
        die("the server closed the connection");
    c->until += (size_t)got;
    c->bytes += (unsigned long long)got;
}

/* A line without its end, NUL-terminated inside the buffer; long lines are cut. */
static char *client_line(struct client *c)
{
    for (;;) {
        char *at = memchr(c->buffer + c->from, '\n', c->until - c->from);
        if (at != NULL) {
            char *line = c->buffer + c->from;
            *at = '\0';
            c->from = (size_t)(at - c->buffer) + 1;
            return line;
        }
        if (c->until - c->from == sizeof(c->buffer))
            c->from = c->until - 100;
        client_fill(c);
    }
}

static void client_skip(struct client *c, unsigned long count)
{
    while (count > 0) {
        if (c->from == c->until) {
            c->from = c->until = 0;
            client_fill(c);
        }
        size_t part = c->until - c->from < count ? c->until - c->from : count;
        c->from += part;
        count -= part;
    }
}

static void client_expect(struct client *c, const char *start)
{
    char *line = client_line(c);
    if (strncmp(line, start, strlen(start)) != 0)
        die("expected \"%s\", got \"%s\"", start, line);
}

/* Reads until the tagged answer, stepping over literals. */
static void imap_answer(struct client *c, const char *tag)
{
    for (;;) {
        char *line = client_line(c);
        size_t len = strlen(line);
        if (strncmp(line, tag, strlen(tag)) == 0) {
            if (strncmp(line + strlen(tag), " OK", 3) != 0)
                die("%s", line);
            return;
        }
        if (len > 2 && line[len - 1] == '\r' && line[len - 2] == '}') {
            char *open = strrchr(line, '{');
            if (open != NULL)
                client_skip(c, strtoul(open + 1, NULL, 10));
        }
    }
}

static void imap_command(struct client *c, const char *command)
{
    char line[2000];
    int len = snprintf(line, sizeof(line), "t %s\r\n", command);
    client_send(c, line, (size_t)len);
    imap_answer(c, "t");
}

static void client_command(struct client *c, const char *expected, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void client_command(struct client *c, const char *expected, const char *format, ...)
{
    char line[2000];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    client_send(c, line, (size_t)len);
    client_expect(c, expected);
}

static void imap_login(struct client *c, int user)
{
    char line[100];
    client_open(c);
    client_expect(c, "* OK");
    snprintf(line, sizeof(line), "LOGIN u%d secret", user);
    imap_command(c, line);
}

static void pop3_login(struct client *c, int user)
{
    client_open(c);
    client_expect(c, "+OK");
    client_command(c, "+OK", "USER u%d\r\n", user);
    client_command(c, "+OK", "PASS secret\r\n");
}

static int some_user(void)
{
    return first_user + next_user++ % users;
}

static void *run_login(void *context)
{
    struct job *job = context;
    struct client *c = calloc(1, sizeof(*c));
    double end = now() + seconds;
    while (now() < end) {
        if (protocol[0] == 'i') {
            imap_login(c, some_user());
            imap_command(c, "LOGOUT");
        } else {
            pop3_login(c, some_user());
            client_command(c, "+OK", "QUIT\r\n");
        }
        client_close(c);
        job->count++;
    }
    free(c);
    return NULL;
}

static void *run_session(void *context)
{
    struct job *job = context;
    struct client *c = calloc(1, sizeof(*c));
    double end = now() + seconds;
    while (now() < end) {
        unsigned long messages;
        pop3_login(c, some_user());
        client_send(c, "STAT\r\n", 6);
        messages = strtoul(client_line(c) + 4, NULL, 10);
        for (unsigned long i = 1; i <= messages; i++) {
            client_command(c, "+OK", "RETR %lu\r\n", i);
            while (strcmp(client_line(c), ".\r") != 0)
                ;
        }
        client_command(c, "+OK", "QUIT\r\n");
        client_close(c);
        job->count++;
    }
    job->bytes = c->bytes;
    free(c);
    return NULL;
}

static void *run_append(void *context)
{
    struct job *job = context;
    struct client *c = calloc(1, sizeof(*c));
    imap_login(c, first_user + job->number % users);
    for (int i = 0; i < rounds; i++) {
        client_command(c, "+", "t APPEND INBOX {%d}\r\n", message_size);
        client_send(c, message_text, (size_t)message_size);
        client_send(c, "\r\n", 2);
        imap_answer(c, "t");
        job->count++;
    }
    imap_command(c, "LOGOUT");
    client_close(c);
    free(c);
    return NULL;
}

static void *run_deliver(void *context)
{
    struct job *job = context;
    struct client *c = calloc(1, sizeof(*c));
    client_open(c);
    client_expect(c, "220");
    client_send(c, protocol[0] == 'l' ? "LHLO load\r\n" : "EHLO load\r\n", 11);
    while (client_line(c)[3] == '-')
        ;
    for (int i = 0; i < rounds; i++) {
        client_command(c, "250", "MAIL FROM:<a@elsewhere.example>\r\n");
        client_command(c, "250", "RCPT TO:<u%d@example.org>\r\n", first_user + job->number % users);
        client_command(c, "354", "DATA\r\n");
        client_send(c, message_text, (size_t)message_size);
        client_send(c, ".\r\n", 3);
        client_expect(c, "250");
        job->count++;
    }
    client_close(c);
    free(c);
    return NULL;
}

static void *run_raw(void *context)
{
    struct job *job = context;
    char dir[4000], from[4096], to[4096];
    snprintf(dir, sizeof(dir), "%s/raw%d", raw_dir, job->number);
    mkdir(dir, 0700);
    int dirfd = open(dir, O_RDONLY | O_DIRECTORY);
    for (int i = 0; i < rounds; i++) {
        snprintf(from, sizeof(from), "%s/tmp%d", dir, i);
        snprintf(to, sizeof(to), "%s/new%d", dir, i);
        int fd = open(from, O_WRONLY | O_CREAT | O_EXCL, 0600);
        if (dirfd < 0 || fd < 0 || write(fd, message_text, (size_t)message_size) != message_size || fsync(fd) != 0 || close(fd) != 0 ||
            rename(from, to) != 0 || fsync(dirfd) != 0)
            die("raw: %s", strerror(errno));
        job->count++;
    }
    close(dirfd);
    return NULL;
}

static void run_threads(void *(*run)(void *))
{
    struct job *jobs = calloc((size_t)connections, sizeof(*jobs));
    unsigned long count = 0;
    unsigned long long bytes = 0;
    double began = now();
    for (int i = 0; i < connections; i++) {
        jobs[i].number = i;
        if (pthread_create(&jobs[i].thread, NULL, run, &jobs[i]) != 0)
            die("pthread_create failed");
    }
    for (int i = 0; i < connections; i++) {
        pthread_join(jobs[i].thread, NULL);
        count += jobs[i].count;
        bytes += jobs[i].bytes;
    }
    printf("%lu %.6f %llu\n", count, now() - began, bytes);
    free(jobs);
}

static void run_imap(char **commands, int command_count, const char *user)
{
    struct client *c = calloc(1, sizeof(*c));
    char line[200];
    client_open(c);
    client_expect(c, "* OK");
    snprintf(line, sizeof(line), "LOGIN %s secret", user);
    imap_command(c, line);
    for (int i = 0; i + 1 < command_count; i++)
        imap_command(c, commands[i]);
    puts("ready");
    fflush(stdout);
    getchar();
    unsigned long long before = c->bytes;
    double began = now();
    for (int i = 0; i < rounds; i++)
        imap_command(c, commands[command_count - 1]);
    printf("%d %.6f %llu\n", rounds, now() - began, c->bytes - before);
    client_close(c);
    free(c);
}

static void run_idle(void)
{
    struct client *c = calloc(1, sizeof(*c));
    int *fds = calloc((size_t)connections, sizeof(*fds));
    for (int i = 0; i < connections; i++) {
        imap_login(c, first_user + i % users);
        imap_command(c, "SELECT INBOX");
        client_command(c, "+", "t IDLE\r\n");
        fds[i] = c->fd;
    }
    puts("ready");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    for (int i = 0; i < connections; i++)
        close(fds[i]);
    free(fds);
    free(c);
}

static const char noop[] = "t NOOP\r\n";

/* All of them by one thread: the client is not what fills the machine. */
static void noop_all(struct client **all, unsigned long *count)
{
    struct epoll_event events[64];
    int epoll = epoll_create1(0);
    double end = now() + seconds;
    for (int i = 0; i < connections; i++) {
        struct epoll_event event = { .events = EPOLLIN, .data.ptr = all[i] };
        epoll_ctl(epoll, EPOLL_CTL_ADD, all[i]->fd, &event);
        client_send(all[i], noop, sizeof(noop) - 1);
    }
    while (now() < end) {
        int ready = epoll_wait(epoll, events, 64, 1000);
        for (int i = 0; i < ready; i++) {
            struct client *c = events[i].data.ptr;
            imap_answer(c, "t");
            *count += 1;
            client_send(c, noop, sizeof(noop) - 1);
        }
    }
    close(epoll);
}

static void run_noop(void)
{
    struct client **all = calloc((size_t)connections, sizeof(struct client *));
    unsigned long count = 0;
    for (int i = 0; i < connections; i++) {
        all[i] = calloc(1, sizeof(*all[i]));
        imap_login(all[i], first_user + i % users);
        imap_command(all[i], "SELECT INBOX");
    }
    puts("ready");
    fflush(stdout);
    getchar();
    double began = now();
    noop_all(all, &count);
    printf("%lu %.6f 0\n", count, now() - began);
    for (int i = 0; i < connections; i++) {
        client_close(all[i]);
        free(all[i]);
    }
    free(all);
}

static void make_message(void)
{
    static const char head[] = "From: a@elsewhere.example\r\nTo: b@example.org\r\nSubject: a message of a benchmark\r\n"
                               "Date: Mon, 23 Nov 2026 12:00:00 +0000\r\nMessage-ID: <benchmark@elsewhere.example>\r\n\r\n";
    static const char text[] = "The quick brown fox jumps over the lazy dog, again and again.\r\n";
    size_t len = sizeof(head) - 1;
    message_text = malloc((size_t)message_size + sizeof(head) + sizeof(text));
    memcpy(message_text, head, len);
    while (len < (size_t)message_size) {
        memcpy(message_text + len, text, sizeof(text) - 1);
        len += sizeof(text) - 1;
    }
    message_text[message_size - 2] = '\r';
    message_text[message_size - 1] = '\n';
}

static int number(const char *text)
{
    return (int)strtol(text, NULL, 10);
}

static void take_users(const char *text)
{
    const char *colon = strchr(text, ':');
    first_user = colon != NULL ? number(text) : 0;
    users = number(colon != NULL ? colon + 1 : text);
}

int main(int argc, char **argv)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (argc > 1 && strcmp(argv[1], "tls") == 0) {
        tls = SSL_CTX_new(TLS_client_method());
        argv++, argc--;
    }
    const char *mode = argc > 1 ? argv[1] : "";
    message_size = 4096;
    if (strcmp(mode, "login") == 0 && argc == 7) {
        protocol = argv[2], port = number(argv[3]), take_users(argv[4]), connections = number(argv[5]), seconds = strtod(argv[6], NULL);
        run_threads(run_login);
    } else if (strcmp(mode, "session") == 0 && argc == 6) {
        port = number(argv[2]), take_users(argv[3]), connections = number(argv[4]), seconds = strtod(argv[5], NULL);
        run_threads(run_session);
    } else if (strcmp(mode, "imap") == 0 && argc >= 6) {
        port = number(argv[2]), rounds = number(argv[4]);
        run_imap(argv + 5, argc - 5, argv[3]);
    } else if (strcmp(mode, "append") == 0 && argc == 7) {
        port = number(argv[2]), take_users(argv[3]), connections = number(argv[4]), rounds = number(argv[5]), message_size = number(argv[6]);
        make_message();
        run_threads(run_append);
    } else if (strcmp(mode, "deliver") == 0 && argc == 8) {
        protocol = argv[2], port = number(argv[3]), take_users(argv[4]), connections = number(argv[5]), rounds = number(argv[6]),
        message_size = number(argv[7]);
        make_message();
        run_threads(run_deliver);
    } else if (strcmp(mode, "idle") == 0 && argc == 5) {
        port = number(argv[2]), take_users(argv[3]), connections = number(argv[4]);
        run_idle();
    } else if (strcmp(mode, "noop") == 0 && argc == 6) {
        port = number(argv[2]), take_users(argv[3]), connections = number(argv[4]), seconds = strtod(argv[5], NULL);
        run_noop();
    } else if (strcmp(mode, "raw") == 0 && argc == 6) {
        raw_dir = argv[2], connections = number(argv[3]), rounds = number(argv[4]), message_size = number(argv[5]);
        make_message();
        run_threads(run_raw);
    } else {
        die("usage: see the head of load.c");
    }
    return 0;
}
