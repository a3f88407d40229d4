/* The fake Post Office Agent of the POP3 tests. */
#include "pop3_poa.h"

#include <CUnit/CUnit.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/memory.h"

static const struct rule common[] = {
    { "SELECT INBOX", SELECTED },
    { LIST, "* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 29)\r\n* 3 FETCH (FLAGS (\\Answered \\Seen) RFC822.SIZE 24 UID 9)\r\n"
            "* 2 FETCH (UID 7 RFC822.SIZE 22 FLAGS (x))\r\n* 2 FETCH (FLAGS (\\Seen) UID 7)\r\n~ OK x\r\n" },
    { FETCH(5), "* 1 FETCH (UID 5 BODY[] {29}\r\n" ONE ")\r\n~ OK x\r\n" },
    { FETCH(7), "* 4 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (BODY[] {22}\r\n" TWO " UID 7)\r\n~ OK x\r\n" },    /* its UID late */
    { FETCH(9), "* 3 FETCH (UID 9 BODY[] \"a \\\"b\\\\\")\r\n~ OK x\r\n" },
    { FETCH(7,9), AHEAD_7 AHEAD_9 "~ OK x\r\n" },
    { "UID FETCH 5 (UID BODY.PEEK[]<0.65536>)", "* 1 FETCH (UID 5 BODY[]<0> {29}\r\n" ONE ")\r\n~ OK x\r\n" },
};

struct remote remote;
struct buf speech;
size_t next_rule;
static bool dies;

static const char *find_reply(const struct row *row, struct slice command)
{
    if (next_rule < RULES && row->rules[next_rule].command != NULL && slice_is(command, row->rules[next_rule].command))
        return row->rules[next_rule++].reply;
    for (size_t i = 0; i < COUNT(common); i++)
        if (slice_is(command, common[i].command))
            return common[i].reply;
    fprintf(stderr, "%s: unexpected command %.*s\n", row->title, SLICE_ARG(command));
    CU_FAIL("unexpected command");
    return "~ BAD\r\n";
}

void poa_answer(const struct row *row)
{
    struct slice rest = buf_slice(&remote.out), line;
    while (rest.len != 0 && !dies && slice_split(&rest, '\n', &line)) {
        ptrdiff_t blank = slice_find(line, ' ');
        CU_ASSERT_FATAL(blank > 1 && slice_ends_with(line, "\r"));
        const char *reply = find_reply(row, slice_part(line, (size_t)blank + 1, line.len - (size_t)blank - 2));
        dies = reply == NULL;
        for (; reply != NULL && *reply != '\0'; reply++)
            if (*reply == '~')
                buf_append(&speech, slice_part(line, 0, (size_t)blank));
            else
                buf_append_byte(&speech, *reply);
    }
    buf_clear(&remote.out);
}

void poa_say(size_t len)
{
    len = len < speech.len ? len : speech.len;
    buf_append(&remote.in, slice_part(buf_slice(&speech), 0, len));
    buf_consume(&speech, len);
    fake_run();
}

void poa_begin(const char *capability)
{
    fake_start();
    fake_sent();
    remote = (struct remote){ .in_limit = 16384 };
    buf_append_text(&remote.capability, capability);
    fake.remote = &remote;
    next_rule = 0;
    dies = false;
    buf_clear(&speech);
}

void poa_end(void)
{
    fake_stop();
    buf_fini(&remote.in);
    buf_fini(&remote.out);
    buf_fini(&remote.capability);
    buf_fini(&speech);
}

void poa_talk(const struct row *row)
{
    do {
        poa_answer(row);
        poa_say(speech.len);
    } while (remote.out.len != 0 && !fake.closed);
}

/* The POA's octets come in pieces: `first`, and then `piece` at a time. Returns how many it said. */
static size_t converse(const struct row *row, size_t first, size_t piece)
{
    size_t said = 0;
    poa_begin(row->capability);
    fake_feed_text(row->in);
    for (;;) {
        poa_answer(row);
        if (speech.len == 0 || fake.closed)
            break;
        size_t len = said < first && first - said < speech.len ? first - said : piece < speech.len ? piece : speech.len;
        poa_say(len);
        said += len;
    }
    remote.eof = true;
    if (!fake.closed)
        fake_run();
    return said;
}

/* What the client heard, without the farewell of a POA that is away at the end of all. */
static bool heard(const struct row *row)
{
    const char *got = fake_sent();
    size_t wanted = strlen(row->out);
    bool right = strncmp(got, row->out, wanted) == 0 && (got[wanted] == '\0' || strcmp(got + wanted, LOST) == 0);
    if (!right)
        fprintf(stderr, "%s: got\n%s\ninstead of\n%s\n", row->title, got, row->out);
    return right && fake.closed;
}

bool poa_try(const struct row *row, size_t first, size_t piece, size_t *said_out)
{
    *said_out = converse(row, first, piece);
    bool right = heard(row) && (next_rule == RULES || row->rules[next_rule].command == NULL);
    if (!right)
        fprintf(stderr, "%s: first %zu, then %zu; %zu rules asked\n", row->title, first, piece, next_rule);
    poa_end();
    return right;
}

void poa_try_rows(const struct row *rows, size_t count)
{
    size_t said, ignored;
    for (size_t i = 0; i < count; i++) {
        bool right = poa_try(&rows[i], 0, 1000000, &said) && poa_try(&rows[i], 0, 1, &ignored);
        for (size_t first = 1; right && first < said; first++)
            right = poa_try(&rows[i], first, 1000000, &ignored);
        CU_ASSERT(right);
    }
}

const struct row poa_plain_row = { "plain", "UIDPLUS", LOGIN, LOGGED, { { 0 } } };

void poa_log_in(void)
{
    poa_begin("UIDPLUS");
    fake_feed_text(LOGIN);
    poa_answer(&poa_plain_row);
    poa_say(speech.len);
    CU_ASSERT_STRING_EQUAL(fake_sent(), LOGGED);
}

/* A line that is too long ends it, before it is in memory. */
