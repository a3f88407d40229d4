/* The limit of logins: simple binds at a directory and nothing else, one thread, each connection with one bind in flight. Names are uid=u0,BASE to
 * uid=uN,BASE in turn.
 * usage: binds URI BASE PASSWORD CONNECTIONS USERS SECONDS      prints: binds seconds */
#include <ldap.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { CONNECTIONS_MAX = 64 };

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static _Noreturn void fail(const char *what, int code)
{
    fprintf(stderr, "binds: %s: %s\n", what, ldap_err2string(code));
    exit(1);
}

struct client {
    LDAP *ld;
    int id;
};

static const char *base;
static struct berval password;
static unsigned users, next_user;

static void send_bind(struct client *c)
{
    char dn[512];
    snprintf(dn, sizeof(dn), "uid=u%u,%s", next_user++ % users, base);
    int rc = ldap_sasl_bind(c->ld, dn, LDAP_SASL_SIMPLE, &password, NULL, NULL, &c->id);
    if (rc != LDAP_SUCCESS)
        fail(dn, rc);
}

static int open_client(struct client *c, const char *uri)
{
    int version = LDAP_VERSION3, fd = -1;
    if (ldap_initialize(&c->ld, uri) != LDAP_SUCCESS)
        fail(uri, LDAP_CONNECT_ERROR);
    ldap_set_option(c->ld, LDAP_OPT_PROTOCOL_VERSION, &version);
    send_bind(c);
    ldap_get_option(c->ld, LDAP_OPT_DESC, &fd);
    return fd;
}

/* 1 if an answer was there. */
static unsigned take(struct client *c)
{
    struct timeval at_once = { 0, 0 };
    LDAPMessage *message = NULL;
    int code = LDAP_OTHER;
    if (ldap_result(c->ld, c->id, LDAP_MSG_ALL, &at_once, &message) <= 0)
        return 0;
    if (ldap_parse_result(c->ld, message, &code, NULL, NULL, NULL, NULL, 1) != LDAP_SUCCESS || code != LDAP_SUCCESS)
        fail("bind", code);
    return 1;
}

int main(int argc, char **argv)
{
    static struct client clients[CONNECTIONS_MAX];
    static struct pollfd fds[CONNECTIONS_MAX];
    if (argc != 7)
        return 2;
    signal(SIGPIPE, SIG_IGN);
    base = argv[2];
    password = (struct berval){ strlen(argv[3]), argv[3] };
    unsigned long count = strtoul(argv[4], NULL, 10), binds = 0;
    users = (unsigned)strtoul(argv[5], NULL, 10);
    double seconds = strtod(argv[6], NULL);
    if (count == 0 || count > CONNECTIONS_MAX || users == 0)
        return 2;
    for (unsigned long i = 0; i < count; i++)
        fds[i] = (struct pollfd){ .fd = open_client(&clients[i], argv[1]), .events = POLLIN };
    double start = now(), end = start;
    while (end - start < seconds) {
        poll(fds, count, 1000);
        for (unsigned long i = 0; i < count; i++) {
            if (fds[i].revents == 0 || take(&clients[i]) == 0)
                continue;
            binds++;
            send_bind(&clients[i]);
        }
        end = now();
    }
    printf("%lu %.3f\n", binds, end - start);
    return 0;
}
