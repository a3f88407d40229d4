/* Unit tests of src/poa's look into an INBOX, against a small IMAP server that sends byte by byte, says no, and hangs up. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "run.h"
#include "src/poa/circuit.h"
#include "src/poa/look.h"

enum deed { WELL, NO_EXAMINE, NO_FETCH, HANGS_UP_IN_FETCH, HANGS_UP_IN_EXAMINE };

static struct {
    int listener;
    unsigned messages, wanted, old_up_to;   /* sequence numbers; wanted 0: it is not there */
    enum deed deed;
    bool slowly;                            /* byte by byte */
    unsigned fetches;
    unsigned first;                         /* the oldest that was asked for */
} server;

static void say(int fd, const struct buf *text)
{
    for (size_t at = 0; at < text->len;) {
        ssize_t sent = send(fd, text->data + at, server.slowly ? 1 : text->len - at, MSG_NOSIGNAL);
        if (sent < 0)
            return;
        at += (size_t)sent;
    }
}

static void say_messages(struct buf *out, unsigned first, unsigned last)
{
    server.fetches++;
    server.first = first;
    for (unsigned i = first; i <= last; i++) {
        const char *head = i == server.wanted ? "Received: the wanted one {9}\r\n\r\n" : "Received: another m OK\r\n\r\n";
        buf_printf(out, "* %u FETCH (INTERNALDATE \"%s-Jul-2024 12:00:00 +0200\" BODY[HEADER.FIELDS (RECEIVED)] {%zu}\r\n%s)\r\n", i,
                   i <= server.old_up_to ? " 1" : "17", strlen(head), head);
        if (server.deed == HANGS_UP_IN_FETCH)
            return;
    }
    buf_printf(out, "* 1 EXPUNGE\r\nm %s done\r\n", server.deed == NO_FETCH ? "NO" : "OK");
}

/* False: hang up. */
static bool answer(const char *line, struct buf *out)
{
    buf_clear(out);
    if (line[0] == 'a')
        buf_append_text(out, "a OK [CAPABILITY IMAP4rev1] in\r\n");
    if (strcmp(line, "e EXAMINE INBOX\r\n") == 0)
        buf_printf(out, "* FLAGS ()\r\n* %u EXISTS\r\n* OK [UIDNEXT 7] x\r\ne %s x\r\n", server.messages, server.deed == NO_EXAMINE ? "NO" : "OK [READ-ONLY]");
    if (strncmp(line, "m FETCH ", 8) == 0) {
        char *colon;
        unsigned first = (unsigned)strtoul(line + 8, &colon, 10);
        CU_ASSERT(strstr(line, " (INTERNALDATE BODY.PEEK[HEADER.FIELDS (RECEIVED)])\r\n") != NULL);
        say_messages(out, first, (unsigned)strtoul(colon + 1, NULL, 10));
    }
    return out->len != 0 && !(server.deed == HANGS_UP_IN_EXAMINE && line[0] == 'e');
}

static void *serve(void *unused)
{
    (void)unused;
    int fd = accept(server.listener, NULL, NULL);
    FILE *in = fdopen(dup(fd), "r");
    struct buf out = { .cap = 0 };
    char line[1024];
    buf_append_text(&out, "* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=EXTERNAL] hello\r\n");
    do
        say(fd, &out);
    while (fgets(line, sizeof(line), in) != NULL && answer(line, &out) && (server.deed != HANGS_UP_IN_FETCH || line[0] != 'm' || (say(fd, &out), false)));
    fclose(in);
    close(fd);
    buf_fini(&out);
    return NULL;
}

static void *run(void *loop)
{
    loop_run(loop);
    return NULL;
}

static bool is_it(struct slice received, struct slice wanted)
{
    return slice_find_text(received, wanted) >= 0;
}

static char address[] = "127.0.0.1", name[] = "office", empty[] = "";
static struct post_office_agent agent = { .host = address, .login = POA_LOGIN_EXTERNAL, .timeout_ms = 5000, .login_timeout_ms = 5000 };
static struct post_office office = { .name = name, .uuid = "u-9", .agents = &agent, .agent_count = 1, .prefix = empty, .control_dir = empty };
static struct snapshot snapshot = { .references = 1 };

/* 10 July 2024: messages of the 1st are older, those of the 17th younger. */
static enum poa_looked look(struct loop *loop)
{
    struct poa_look asked = { .snapshot = &snapshot, .post_office = &office, .user = "joe", .since = 1720569600, .wanted = SLICE_LITERAL("the wanted one"), .is_it = is_it };
    return look_for(loop, &asked);
}

static void test_look(void)
{
    static const struct { unsigned messages, wanted, old_up_to; enum deed deed; enum poa_looked result; unsigned fetches, first; } rows[] = {
        { 0, 0, 0, WELL, POA_LOOK_ABSENT, 0, 0 },
        { 1, 1, 0, WELL, POA_LOOK_FOUND, 1, 1 },
        { 3, 1, 0, WELL, POA_LOOK_FOUND, 1, 1 },
        { 3, 0, 3, WELL, POA_LOOK_ABSENT, 1, 1 },
        { 350, 251, 0, WELL, POA_LOOK_FOUND, 1, 251 },
        { 350, 60, 0, WELL, POA_LOOK_FOUND, 3, 51 },
        { 350, 0, 0, WELL, POA_LOOK_ABSENT, 4, 1 },
        { 350, 60, 160, WELL, POA_LOOK_ABSENT, 2, 151 },      /* too old to be it */
        { 350, 260, 350, WELL, POA_LOOK_FOUND, 1, 251 },      /* however old: among the newest */
        { 3, 1, 0, NO_EXAMINE, POA_LOOK_FAILED, 0, 0 },
        { 3, 0, 0, NO_FETCH, POA_LOOK_FAILED, 1, 1 },
        { 3, 3, 0, HANGS_UP_IN_FETCH, POA_LOOK_FAILED, 1, 1 },
        { 3, 3, 0, HANGS_UP_IN_EXAMINE, POA_LOOK_FAILED, 0, 0 },
    };
    struct sockaddr_in any = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(any);
    struct loop *loop = loop_new();
    pthread_t loop_thread, thread;
    pthread_create(&loop_thread, NULL, run, loop);
    server.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CU_ASSERT_EQUAL_FATAL(bind(server.listener, (struct sockaddr *)&any, len), 0);
    CU_ASSERT_EQUAL_FATAL(listen(server.listener, 8), 0);
    getsockname(server.listener, (struct sockaddr *)&any, &len);
    agent.port = ntohs(any.sin_port);
    for (size_t i = 0; i < 2 * sizeof(rows) / sizeof(rows[0]); i++) {
        size_t at = i / 2;
        server.messages = rows[at].messages;
        server.wanted = rows[at].wanted;
        server.old_up_to = rows[at].old_up_to;
        server.deed = rows[at].deed;
        server.slowly = i % 2 != 0;
        server.fetches = server.first = 0;
        pthread_create(&thread, NULL, serve, NULL);
        CU_ASSERT_EQUAL(look(loop), rows[at].result);
        pthread_join(thread, NULL);
        CU_ASSERT_EQUAL(server.fetches, rows[at].fetches);
        CU_ASSERT_EQUAL(server.first, rows[at].first);
    }
    /* Nobody listens any more; no credentials; poa does not run. */
    close(server.listener);
    CU_ASSERT_EQUAL(look(loop), POA_LOOK_FAILED);
    agent.login = POA_LOGIN_AUTHORIZATION;
    CU_ASSERT_EQUAL(look(loop), POA_LOOK_NO_WAY);
    agent.login = POA_LOGIN_PASS_THROUGH;
    CU_ASSERT_EQUAL(look(loop), POA_LOOK_NO_WAY);
    agent.login = POA_LOGIN_EXTERNAL;
    CU_ASSERT_EQUAL(look(NULL), POA_LOOK_NO_WAY);
    loop_stop(loop);
    pthread_join(loop_thread, NULL);
    loop_free(&loop);
    circuit_clear();
    CU_ASSERT_EQUAL(snapshot.references, 1);
}

static void test_dates(void)
{
    static const struct { const char *text; int64_t seconds; } dates[] = {
        { "* 1 FETCH (INTERNALDATE \"17-Jul-1996 02:44:25 -0700\" X", 837596665 }, { "* 1 FETCH (internaldate \" 1-JAN-1970 00:00:00 +0000\")", 0 },
        { "INTERNALDATE \"01-Mar-2024 00:30:00 +0130\"", 1709247600 }, { "INTERNALDATE \"1-Mar-2024 00:30:00 +0130\"", -1 },
        { "INTERNALDATE \"17-Xyz-1996 02:44:25 -0700\"", -1 }, { "INTERNALDATE \"17-Jul-1996 02:4x:25 -0700\"", -1 }, { "INTERNALDATE \"17-Jul", -1 }, { "", -1 },
    };
    for (size_t i = 0; i < sizeof(dates) / sizeof(dates[0]); i++)
        CU_ASSERT_EQUAL(look_read_date(slice_from_string(dates[i].text)), dates[i].seconds);
}

static const struct unit_test tests[] = { { "look", test_look }, { "dates", test_dates } };
UNIT_MAIN("poa look", tests)
