/* Unit tests of FETCH and SEARCH, over a store faked in memory: messages are unlinked temporary files, the cache is a small table. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "../../src/imap/fetch_internal.h"
#include "../../src/imap/search_internal.h"
#include "postern/base/memory.h"
#include "postern/session/session.h"
#include "run.h"

#define ROWS(rows) (sizeof(rows) / sizeof((rows)[0]))

/* --- the fake store -------------------------------------------------------------------------------------------------- */

enum { MESSAGES = 8, CACHED = 64 };

struct mailbox {
    struct message messages[MESSAGES];
    int fds[MESSAGES];          /* -1: expunged by others */
    uint64_t sizes[MESSAGES];   /* in octets as sent, known after mailbox_load */
    uint32_t count;
    struct { uint32_t uid; enum cache_kind kind; struct buf value; } cache[CACHED];
    size_t cached;
    unsigned opened, loaded, forgotten;
    unsigned busy;              /* so many changes find the lock held */
};

struct view {
    struct mailbox *mailbox;
};

static struct mailbox box;
static struct view view = { &box };

struct mailbox *view_mailbox(struct view *v)
{
    return v->mailbox;
}

uint32_t view_count(struct view *v)
{
    return v->mailbox->count;
}

uint32_t view_sequence_at_or_above(struct view *v, uint32_t uid)
{
    uint32_t i = 0;
    while (i < v->mailbox->count && v->mailbox->messages[i].uid < uid)
        i++;
    return i + 1;
}

size_t view_read(struct view *v, uint32_t first, struct message *out, size_t most)
{
    size_t count = 0;
    for (uint32_t i = first - 1; i < v->mailbox->count && count < most; i++)
        out[count++] = v->mailbox->messages[i];
    return count;
}

void view_forget_flag_changes(struct view *v, const struct uidset *uids)
{
    v->mailbox->forgotten += (unsigned)uidset_size(uids);
}

static int index_of(const struct mailbox *m, uint32_t uid)
{
    for (uint32_t i = 0; i < m->count; i++)
        if (m->messages[i].uid == uid)
            return (int)i;
    return -1;
}

int mailbox_load(struct mailbox *m, const struct uidset *uids, struct fault *fault)
{
    (void)fault;
    m->loaded++;
    for (uint32_t i = 0; i < m->count; i++) {
        if (uidset_has(uids, m->messages[i].uid) && m->fds[i] >= 0) {
            m->messages[i].size = m->sizes[i];
            m->messages[i].internal_date = 832560265;    /* Mon, 20 May 1996 02:44:25 UTC */
        }
    }
    return 0;
}

bool mailbox_keyword_name(struct mailbox *m, unsigned number, char *name_out)
{
    (void)m;
    if (number != 2)
        return false;
    memcpy(name_out, "$Forwarded", sizeof("$Forwarded"));
    return true;
}

int mailbox_keyword_number(struct mailbox *m, struct slice name)
{
    (void)m;
    return slice_is_nocase(name, "$Forwarded") ? 2 : -1;
}

uint64_t mailbox_keywords_version(struct mailbox *m)
{
    (void)m;
    return 1;
}

int mailbox_update_flags(struct mailbox *m, const struct uidset *uids, const struct flag_update *update, struct fault *fault)
{
    if (m->busy > 0) {
        m->busy--;
        return fault_set(fault, FAULT_BUSY, 0, "locked");
    }
    for (uint32_t i = 0; i < m->count; i++)
        if (uidset_has(uids, m->messages[i].uid))
            m->messages[i].flags |= update->flags;
    return 0;
}

int mailbox_open_message(struct mailbox *m, uint32_t uid, int *fd_out, uint64_t *size_out, struct fault *fault)
{
    int i = index_of(m, uid);
    if (i < 0 || m->fds[i] < 0)
        return fault_set(fault, FAULT_GONE, 0, "expunged");
    m->opened++;
    *fd_out = dup(m->fds[i]);
    *size_out = (uint64_t)lseek(m->fds[i], 0, SEEK_END);
    return 0;
}

bool mailbox_cache_get(struct mailbox *m, uint32_t uid, enum cache_kind kind, struct buf *out)
{
    for (size_t i = 0; i < m->cached; i++)
        if (m->cache[i].uid == uid && m->cache[i].kind == kind)
            return buf_append(out, buf_slice(&m->cache[i].value));
    return false;
}

void mailbox_cache_put(struct mailbox *m, uint32_t uid, enum cache_kind kind, struct slice value)
{
    CU_ASSERT_FATAL(m->cached < CACHED);
    m->cache[m->cached].uid = uid;
    m->cache[m->cached].kind = kind;
    buf_append(&m->cache[m->cached++].value, value);
}

void mailbox_cache_rest(struct mailbox *m)
{
    (void)m;
}

static uint64_t sent_size(struct slice text)
{
    uint64_t size = text.len;
    for (size_t i = 0; i < text.len; i++)
        size += text.data[i] == '\n' && (i == 0 || text.data[i - 1] != '\r');
    return size;
}

static void add_message(uint32_t uid, uint8_t flags, struct slice text)
{
    FILE *file = tmpfile();
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    box.fds[box.count] = dup(fileno(file));
    fclose(file);
    CU_ASSERT_EQUAL_FATAL(write(box.fds[box.count], text.data, text.len), (ssize_t)text.len);
    box.messages[box.count] = (struct message){ .uid = uid, .flags = flags };
    box.sizes[box.count++] = sent_size(text);
}

static void clear_box(void)
{
    for (uint32_t i = 0; i < box.count; i++)
        if (box.fds[i] >= 0)
            close(box.fds[i]);
    for (size_t i = 0; i < box.cached; i++)
        buf_fini(&box.cache[i].value);
    memset(&box, 0, sizeof(box));
}

static const char plain[] =
    "From: A <a@b.c>\nTo: d@e\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nDate: Wed, 17 Jul 1996 02:44:25 -0700\n"
    "Received: somewhere\n\nline 1\nline 2\n";
static const char multi[] =
    "From: A <a@b.c>\nDate: 1 Feb 1994 00:00:00 +0000\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=b\n\n"
    "--b\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: base64\n\ncMRz\n"
    "--b\nContent-Type: message/rfc822\n\nSubject: inner\nContent-Type: multipart/alternative; boundary=c\n\n--c\n\nfirst\n--c\n\nsecond\n--c--\n"
    "--b--\n";

static void fill_box(void)
{
    clear_box();
    add_message(10, MESSAGE_SEEN, slice_from_string(plain));
    add_message(20, 0, slice_from_string(multi));
    add_message(30, MESSAGE_RECENT | MESSAGE_DELETED, SLICE_LITERAL("Subject: x\0y\r\n\r\na\0b\r\n"));
    box.messages[2].keywords = 1u << 2;
}

/* --- FETCH ----------------------------------------------------------------------------------------------------------- */

struct run {
    struct arena arena;
    struct uidset uids;
    struct fetch *fetch;
    struct buf out;
};

static bool run_begin(struct run *r, const char *arguments, uint32_t first, uint32_t last, bool with_uid, bool read_only)
{
    *r = (struct run){ 0 };
    struct imap_parser p = { slice_from_string(arguments), &r->arena };
    uidset_add_range(&r->uids, first, last);
    r->fetch = fetch_parse(&p, with_uid);
    if (r->fetch != NULL)
        fetch_begin(r->fetch, &view, &r->uids, read_only);
    return r->fetch != NULL;
}

static void run_end(struct run *r)
{
    fetch_end(r->fetch);
    uidset_fini(&r->uids);
    buf_fini(&r->out);
    arena_clear(&r->arena);
}

static void check_text(struct slice got, struct slice want)
{
    if (!slice_is_equal(got, want))
        fprintf(stderr, "got \"%.*s\"\nwant \"%.*s\"\n", SLICE_ARG(got), SLICE_ARG(want));
    CU_ASSERT(slice_is_equal(got, want));
}

static void check_fetch(const char *arguments, uint32_t first, uint32_t last, const char *want)
{
    struct run r;
    struct fault fault = { 0 };
    bool parsed = run_begin(&r, arguments, first, last, false, true);
    CU_ASSERT(parsed);
    if (parsed) {
        CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
        check_text(buf_slice(&r.out), slice_from_string(want));
    }
    run_end(&r);
}

static void test_parse(void)
{
    static const char *const good[] = {
        "ALL", "fast", "FULL", "FLAGS", "(FLAGS)", "(UID FLAGS RFC822.SIZE INTERNALDATE ENVELOPE BODY BODYSTRUCTURE)", "BODY[]", "body.peek[]",
        "BODY[]<0.1>", "BODY[1.2.3]", "BODY[1.MIME]", "BODY[1.TEXT]<5.7>", "BODY[HEADER.FIELDS (To \"From\")]",
        "(RFC822 RFC822.HEADER RFC822.TEXT)", "BODY.PEEK[2.HEADER.FIELDS.NOT (X)]",
    };
    static const char *const bad[] = {
        "", "()", "FLAGS ", "(FLAGS", "FLAGS UID", "(FLAGS  UID)", "(ALL)", "BODY[", "BODY[]<", "BODY[]<1>", "BODY[]<0.0>", "BODY[0]", "BODY[1.]",
        "BODY[.1]", "BODY[MIME]", "BODY[FOO]", "BODY[HEADER.FIELDS]", "BODY[HEADER.FIELDS ()]", "BODY.PEEK", "NOSUCH", "BODY[HEADER.FIELDS(A)]",
        "BODY[1.2.TEXT.3]", "BODY[99999999999]", "BODY[]<99999999999.1>",
    };
    struct run r;
    for (size_t i = 0; i < ROWS(good); i++) {
        CU_ASSERT(run_begin(&r, good[i], 1, 1, false, true));
        run_end(&r);
    }
    for (size_t i = 0; i < ROWS(bad); i++) {
        if (run_begin(&r, bad[i], 1, 1, false, true))
            CU_FAIL(bad[i]);
        run_end(&r);
    }
}

static void test_memory_items(void)
{
    struct run r;
    struct fault fault = { 0 };
    fill_box();
    setenv("TZ", "UTC0", 1);
    tzset();
    check_fetch("FAST", 10, 10, "* 1 FETCH (FLAGS (\\Seen) INTERNALDATE \"20-May-1996 02:44:25 +0000\" RFC822.SIZE 142)\r\n");
    setenv("TZ", "XXX+7:30", 1);
    tzset();
    check_fetch("INTERNALDATE", 10, 10, "* 1 FETCH (INTERNALDATE \"19-May-1996 19:14:25 -0730\")\r\n");
    check_fetch("(FLAGS FLAGS)", 1, 100,
                "* 1 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (FLAGS ())\r\n* 3 FETCH (FLAGS (\\Deleted \\Recent $Forwarded))\r\n");
    CU_ASSERT(run_begin(&r, "FLAGS", 15, 25, true, true));
    CU_ASSERT(fetch_is_in_memory(r.fetch));
    CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
    check_text(buf_slice(&r.out), SLICE_LITERAL("* 2 FETCH (UID 20 FLAGS ())\r\n"));
    run_end(&r);
    CU_ASSERT(run_begin(&r, "RFC822.SIZE", 30, 30, true, true));
    CU_ASSERT_FALSE(fetch_is_in_memory(r.fetch));
    CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
    CU_ASSERT(fetch_is_in_memory(r.fetch));
    run_end(&r);
    struct buf flags = { 0 };
    fetch_write_flags(&flags, &box, &box.messages[2]);
    check_text(buf_slice(&flags), SLICE_LITERAL("FLAGS (\\Deleted \\Recent $Forwarded)"));
    buf_fini(&flags);
    clear_box();
}

#define INNER "Subject: inner\r\nContent-Type: multipart/alternative; boundary=c\r\n\r\n"
#define INNER_BODY "--c\r\n\r\nfirst\r\n--c\r\n\r\nsecond\r\n--c--\r\n"

static const struct { const char *arguments; uint32_t uid; const char *want; } sections[] = {
    { "ENVELOPE", 10, "* 1 FETCH (ENVELOPE (\"Wed, 17 Jul 1996 02:44:25 -0700\" \"=?utf-8?q?Gr=C3=BC=C3=9Fe?=\" ((\"A\" NIL \"a\" \"b.c\")) "
      "((\"A\" NIL \"a\" \"b.c\")) ((\"A\" NIL \"a\" \"b.c\")) ((NIL NIL \"d\" \"e\")) NIL NIL NIL NIL))\r\n" },
    { "BODY", 10, "* 1 FETCH (BODY (\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 16 2))\r\n" },
    { "BODYSTRUCTURE", 20, "* 2 FETCH (BODYSTRUCTURE ((\"text\" \"plain\" (\"charset\" \"iso-8859-1\") NIL NIL \"base64\" 4 0 NIL NIL NIL NIL)"
      "(\"message\" \"rfc822\" NIL NIL NIL \"7bit\" 103 (NIL \"inner\" NIL NIL NIL NIL NIL NIL NIL NIL) ((\"text\" \"plain\" (\"charset\" "
      "\"us-ascii\") NIL NIL \"7bit\" 5 0 NIL NIL NIL NIL)(\"text\" \"plain\" (\"charset\" \"us-ascii\") NIL NIL \"7bit\" 6 0 NIL NIL NIL NIL) "
      "\"alternative\" (\"boundary\" \"c\") NIL NIL NIL) 10 NIL NIL NIL NIL) \"mixed\" (\"boundary\" \"b\") NIL NIL NIL))\r\n" },
    { "BODY.PEEK[TEXT]", 10, "* 1 FETCH (BODY[TEXT] {16}\r\nline 1\r\nline 2\r\n)\r\n" },
    { "BODY.PEEK[1]", 10, "* 1 FETCH (BODY[1] {16}\r\nline 1\r\nline 2\r\n)\r\n" },
    { "BODY.PEEK[1.1]", 10, "* 1 FETCH (BODY[1.1] NIL)\r\n" },
    { "BODY.PEEK[2]", 10, "* 1 FETCH (BODY[2] NIL)\r\n" },
    { "body.peek[text]<3.5>", 10, "* 1 FETCH (BODY[TEXT]<3> {5}\r\ne 1\r\n)\r\n" },
    { "BODY.PEEK[TEXT]<8.100>", 10, "* 1 FETCH (BODY[TEXT]<8> {8}\r\nline 2\r\n)\r\n" },
    { "BODY.PEEK[TEXT]<100.5>", 10, "* 1 FETCH (BODY[TEXT]<100> {0}\r\n)\r\n" },
    { "BODY.PEEK[HEADER.FIELDS (to Received X-None)]", 10,
      "* 1 FETCH (BODY[HEADER.FIELDS (to Received X-None)] {32}\r\nTo: d@e\r\nReceived: somewhere\r\n\r\n)\r\n" },
    { "BODY.PEEK[HEADER.FIELDS.NOT (From Subject Date \"Received\")]", 10,
      "* 1 FETCH (BODY[HEADER.FIELDS.NOT (From Subject Date Received)] {11}\r\nTo: d@e\r\n\r\n)\r\n" },
    { "BODY.PEEK[HEADER.FIELDS (To)]<4.3>", 10, "* 1 FETCH (BODY[HEADER.FIELDS (To)]<4> {3}\r\nd@e)\r\n" },
    { "RFC822.TEXT", 10, "* 1 FETCH (RFC822.TEXT {16}\r\nline 1\r\nline 2\r\n)\r\n" },
    { "(UID BODY.PEEK[1] FLAGS)", 20, "* 2 FETCH (UID 20 BODY[1] {4}\r\ncMRz FLAGS ())\r\n" },
    { "BODY.PEEK[1.MIME]", 20,
      "* 2 FETCH (BODY[1.MIME] {83}\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: base64\r\n\r\n)\r\n" },
    { "BODY.PEEK[2.MIME]", 20, "* 2 FETCH (BODY[2.MIME] {32}\r\nContent-Type: message/rfc822\r\n\r\n)\r\n" },
    { "BODY.PEEK[2.HEADER]", 20, "* 2 FETCH (BODY[2.HEADER] {67}\r\n" INNER ")\r\n" },
    { "BODY.PEEK[2.HEADER.FIELDS (subject)]", 20, "* 2 FETCH (BODY[2.HEADER.FIELDS (subject)] {18}\r\nSubject: inner\r\n\r\n)\r\n" },
    { "BODY.PEEK[2.TEXT]", 20, "* 2 FETCH (BODY[2.TEXT] {36}\r\n" INNER_BODY ")\r\n" },
    { "BODY.PEEK[2]", 20, "* 2 FETCH (BODY[2] {103}\r\n" INNER INNER_BODY ")\r\n" },
    { "BODY.PEEK[2.2]", 20, "* 2 FETCH (BODY[2.2] {6}\r\nsecond)\r\n" },
    { "BODY.PEEK[2.2.1]", 20, "* 2 FETCH (BODY[2.2.1] {6}\r\nsecond)\r\n" },
    { "BODY.PEEK[1.TEXT]", 20, "* 2 FETCH (BODY[1.TEXT] NIL)\r\n" },
    { "BODY.PEEK[2.3]", 20, "* 2 FETCH (BODY[2.3] NIL)\r\n" },
    { "BODY.PEEK[]", 30, "* 3 FETCH (BODY[] {21}\r\nSubject: x\x80y\r\n\r\na\x80" "b\r\n)\r\n" },
    { "RFC822.HEADER", 30, "* 3 FETCH (RFC822.HEADER {16}\r\nSubject: x\x80y\r\n\r\n)\r\n" },
};

static void test_sections(void)
{
    fill_box();
    for (size_t i = 0; i < ROWS(sections); i++) {
        check_fetch(sections[i].arguments, sections[i].uid, sections[i].uid, sections[i].want);
        /* And from the cache and what is remembered. */
        check_fetch(sections[i].arguments, sections[i].uid, sections[i].uid, sections[i].want);
    }
    clear_box();
}

/* Partial fetches one after the other, of any size and in any order, give the whole. */
static void test_partial_sequence(void)
{
    struct buf whole = { 0 };
    fill_box();
    for (const char *c = multi; *c != '\0'; c++) {
        if (*c == '\n')
            buf_append_byte(&whole, '\r');
        buf_append_byte(&whole, *c);
    }
    for (size_t size = 1; size < whole.len; size += 3) {
        for (size_t at = 0; at < whole.len; at += size) {
            char arguments[64];
            struct buf want = { 0 };
            struct slice part = slice_part(buf_slice(&whole), at, size);
            snprintf(arguments, sizeof(arguments), "BODY.PEEK[]<%zu.%zu>", at, size);
            buf_printf(&want, "* 2 FETCH (BODY[]<%zu> {%zu}\r\n%.*s)\r\n", at, part.len, SLICE_ARG(part));
            check_fetch(arguments, 20, 20, buf_text(&want));
            buf_fini(&want);
        }
    }
    struct extent extent;
    struct position position;
    CU_ASSERT(fetch_memory_get(box.fds[1], SLICE_LITERAL("BODY[]"), &extent, &position));
    CU_ASSERT(extent.sent == whole.len && position.sent == whole.len);
    check_fetch("BODY.PEEK[]<5.3>", 20, 20, "* 2 FETCH (BODY[]<5> {3}\r\n A )\r\n");
    buf_fini(&whole);
    clear_box();
}

static void test_cache_opens_no_file(void)
{
    static const char items[] = "(ENVELOPE BODY BODYSTRUCTURE BODY.PEEK[HEADER.FIELDS (From Subject References)])";
    struct run r;
    struct fault fault = { 0 };
    struct buf first = { 0 };
    fill_box();
    for (int round = 0; round < 2; round++) {
        CU_ASSERT(run_begin(&r, items, 1, 100, true, true));
        CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
        CU_ASSERT_EQUAL(box.opened, 3);
        if (round == 0)
            buf_swap(&first, &r.out);
        else
            check_text(buf_slice(&r.out), buf_slice(&first));
        run_end(&r);
    }
    buf_fini(&first);
    clear_box();
}

/* A large body goes out in pieces, and what is promised is kept when the file becomes shorter. */
static void test_stream(void)
{
    enum { LINES = 100000 };
    for (int shrink = 0; shrink < 2; shrink++) {
        struct buf text = { 0 }, all = { 0 };
        struct run r;
        struct fault fault = { 0 };
        enum progress progress;
        unsigned pieces = 0;
        buf_append_text(&text, "Subject: large\n\n");
        for (int i = 0; i < LINES; i++)
            buf_append_text(&text, "0123456789\n");
        clear_box();
        add_message(1, 0, buf_slice(&text));
        CU_ASSERT(run_begin(&r, "BODY.PEEK[]", 1, 1, false, true));
        while ((progress = fetch_step(r.fetch, &r.out, &fault)) == PROGRESS_MORE) {
            CU_ASSERT(r.out.len < 2 * SESSION_OUT_CHUNK);
            buf_append(&all, buf_slice(&r.out));
            buf_clear(&r.out);
            if (shrink && pieces++ == 1)
                CU_ASSERT_EQUAL(ftruncate(box.fds[0], 300000), 0);
        }
        CU_ASSERT_EQUAL(progress, PROGRESS_DONE);
        buf_append(&all, buf_slice(&r.out));
        struct buf head = { 0 };
        buf_printf(&head, "* 1 FETCH (BODY[] {%llu}\r\nSubject: large\r\n\r\n01", (unsigned long long)box.sizes[0]);
        CU_ASSERT(slice_starts_with(buf_slice(&all), buf_text(&head)));
        CU_ASSERT(slice_ends_with(buf_slice(&all), shrink ? "      )\r\n" : "0123456789\r\n)\r\n"));
        CU_ASSERT_EQUAL(all.len, (size_t)slice_find(buf_slice(&all), '\n') + 1 + box.sizes[0] + 3);
        buf_fini(&head);
        buf_fini(&all);
        buf_fini(&text);
        run_end(&r);
    }
    clear_box();
}

static void test_seen(void)
{
    struct run r;
    struct fault fault = { 0 };
    fill_box();
    box.busy = 1;
    CU_ASSERT(run_begin(&r, "BODY[TEXT]", 10, 20, false, false));
    CU_ASSERT(fetch_sets_seen(r.fetch));
    CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_FAILED);
    CU_ASSERT(fault.class == FAULT_BUSY && r.out.len == 0);
    CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
    CU_ASSERT(slice_starts_with(buf_slice(&r.out), "* 1 FETCH (BODY[TEXT] {16}\r\n"));
    CU_ASSERT(slice_find_text(buf_slice(&r.out), SLICE_LITERAL("* 2 FETCH (FLAGS (\\Seen) BODY[TEXT] {")) > 0);
    CU_ASSERT_EQUAL(box.messages[1].flags, MESSAGE_SEEN);
    CU_ASSERT_EQUAL(box.forgotten, 1);
    run_end(&r);
    fill_box();
    CU_ASSERT(run_begin(&r, "BODY[TEXT]", 10, 20, false, true));
    CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
    CU_ASSERT_EQUAL(box.messages[1].flags, 0);
    run_end(&r);
    CU_ASSERT(run_begin(&r, "(BODY.PEEK[] RFC822.HEADER)", 1, 1, false, false));
    CU_ASSERT_FALSE(fetch_sets_seen(r.fetch));
    run_end(&r);
    clear_box();
}

static void test_expunged(void)
{
    static const char *const arguments[] = { "BODY.PEEK[]", "ENVELOPE", "RFC822.SIZE" };
    for (size_t i = 0; i < ROWS(arguments); i++) {
        struct run r;
        struct fault fault = { 0 };
        fill_box();
        close(box.fds[1]);
        box.fds[1] = -1;
        CU_ASSERT(run_begin(&r, arguments[i], 1, 100, false, true));
        CU_ASSERT_EQUAL(fetch_step(r.fetch, &r.out, &fault), PROGRESS_DONE);
        CU_ASSERT(fetch_had_expunged(r.fetch));
        CU_ASSERT(slice_find_text(buf_slice(&r.out), SLICE_LITERAL("* 1 FETCH")) == 0);
        CU_ASSERT(slice_find_text(buf_slice(&r.out), SLICE_LITERAL("* 2 FETCH")) < 0);
        CU_ASSERT(slice_find_text(buf_slice(&r.out), SLICE_LITERAL("* 3 FETCH")) > 0);
        run_end(&r);
    }
    clear_box();
}

/* --- SEARCH ---------------------------------------------------------------------------------------------------------- */

/* NULL: malformed. */
static struct slice run_search(struct arena *arena, const char *arguments, bool *bad_charset)
{
    struct imap_parser p = { slice_from_string(arguments), arena };
    struct search *search = search_parse(&p, false, bad_charset);
    struct buf out = { 0 };
    struct fault fault = { 0 };
    enum progress progress;
    if (search == NULL)
        return SLICE_NONE;
    search_begin(search, &view);
    while ((progress = search_step(search, &out, &fault)) == PROGRESS_MORE)
        continue;
    CU_ASSERT_EQUAL(progress, PROGRESS_DONE);
    search_end(search);
    struct slice result = arena_copy(arena, buf_slice(&out));
    buf_fini(&out);
    return result;
}

static const struct { const char *arguments, *want; } searches[] = {
    { "ALL", " 1 2 3" }, { "SEEN", " 1" }, { "UNSEEN", " 2 3" }, { "DELETED", " 3" }, { "UNDELETED", " 1 2" }, { "ANSWERED", "" },
    { "UNANSWERED FLAGGED", "" }, { "UNDRAFT UNFLAGGED", " 1 2 3" }, { "DRAFT", "" }, { "NEW", " 3" }, { "RECENT", " 3" }, { "OLD", " 1 2" },
    { "KEYWORD $forwarded", " 3" }, { "UNKEYWORD $Forwarded", " 1 2" }, { "KEYWORD none", "" }, { "2:*", " 2 3" }, { "*:2", " 2 3" }, { "1,3", " 1 3" },
    { "*", " 3" }, { "UID 10,25:40", " 1 3" }, { "UID 100:*", " 3" }, { "NOT 2", " 1 3" }, { "OR SEEN DELETED", " 1 3" },
    { "NOT (OR SEEN DELETED)", " 2" }, { "(ALL) (2 ALL)", " 2" }, { "LARGER 100 SMALLER 200", " 1" },
    { "SINCE 20-May-1996", " 1 2 3" }, { "BEFORE 20-May-1996", "" }, { "ON \"20-may-1996\"", " 1 2 3" }, { "ON 21-May-1996", "" },
    { "SENTON 17-Jul-1996", " 1" }, { "SENTBEFORE 17-Jul-1996", " 2" }, { "SENTSINCE 1-Feb-1994", " 1 2" },
    { "FROM a@B.c", " 1 2" }, { "TO d@e", " 1" }, { "CC x", "" }, { "BCC x", "" }, { "SUBJECT inner", "" },
    { "CHARSET UTF-8 SUBJECT {9}\r\n\x47R\xC3\x9C\xC3\x9F\x45 ", NULL },
    { "CHARSET UTF-8 SUBJECT {7}\r\nGR\xC3\x9C\xC3\x9F\x45", " 1" }, { "CHARSET iso-8859-1 SUBJECT {5}\r\ngr\xFC\xDF\x65", " 1" },
    { "HEADER Received SOMEwhere", " 1" }, { "HEADER Received \"\"", " 1" }, { "HEADER X-None \"\"", "" }, { "HEADER MIME-Version 1.0", " 2" },
    { "BODY \"line 2\"", " 1" }, { "BODY \"1\r\nline\"", NULL }, { "BODY {5}\r\np\xC3\x84s", NULL }, { "CHARSET UTF-8 BODY {4}\r\np\xC3\xA4S", " 2" },
    { "BODY second", " 2" }, { "BODY \"Subject: inner\"", " 2" }, { "BODY a@b.c", "" }, { "TEXT a@b.c", " 1 2" }, { "TEXT FIRST", " 2" },
    { "NOT BODY second", " 1 3" }, { "SEEN BODY second", "" }, { "OR BODY second SEEN", " 1 2" },
    { "FOO", NULL }, { "", NULL }, { "()", NULL }, { "SEEN ", NULL }, { "SUBJECT", NULL }, { "OR SEEN", NULL }, { "(SEEN", NULL },
    { "SINCE 1-Foo-1996", NULL }, { "SINCE 32-May-1996", NULL }, { "LARGER -1", NULL }, { "CHARSET UTF-8", NULL }, { "UID x", NULL },
};

static void test_search(void)
{
    setenv("TZ", "UTC0", 1);
    tzset();
    fill_box();
    for (size_t i = 0; i < ROWS(searches); i++) {
        struct arena arena = { 0 };
        bool bad_charset;
        struct slice got = run_search(&arena, searches[i].arguments, &bad_charset);
        if (searches[i].want == NULL) {
            if (got.data != NULL)
                CU_FAIL(searches[i].arguments);
        } else if (got.data == NULL || !slice_is(got, arena_printf(&arena, "* SEARCH%s\r\n", searches[i].want))) {
            fprintf(stderr, "%s: %.*s\n", searches[i].arguments, SLICE_ARG(got));
            CU_FAIL(searches[i].arguments);
        }
        CU_ASSERT_FALSE(bad_charset);
        arena_clear(&arena);
    }
    struct arena arena = { 0 };
    bool bad_charset;
    CU_ASSERT_PTR_NULL(run_search(&arena, "CHARSET x-none SUBJECT a", &bad_charset).data);
    CU_ASSERT(bad_charset);
    arena_clear(&arena);
    clear_box();
}

static void test_search_expunged(void)
{
    struct arena arena = { 0 };
    bool bad_charset;
    fill_box();
    close(box.fds[1]);
    box.fds[1] = -1;
    CU_ASSERT(slice_is(run_search(&arena, "NOT BODY nothing", &bad_charset), "* SEARCH 1 3\r\n"));
    CU_ASSERT(slice_is(run_search(&arena, "ALL", &bad_charset), "* SEARCH 1 2 3\r\n"));
    arena_clear(&arena);
    clear_box();
}

static void test_search_caps(void)
{
    struct arena arena = { 0 };
    struct buf text = { 0 };
    bool bad_charset;
    for (int i = 0; i < 10000; i++)
        buf_append_text(&text, "NOT ");
    buf_append_text(&text, "ALL");
    CU_ASSERT_PTR_NULL(run_search(&arena, buf_text(&text), &bad_charset).data);
    buf_clear(&text);
    for (int i = 0; i < SEARCH_KEYS_MAX; i++)
        buf_append_text(&text, "ALL ");
    buf_append_text(&text, "ALL");
    CU_ASSERT_PTR_NULL(run_search(&arena, buf_text(&text), &bad_charset).data);
    buf_fini(&text);
    arena_clear(&arena);
}

static const struct unit_test tests[] = {
    { "parse", test_parse },
    { "memory items", test_memory_items },
    { "sections", test_sections },
    { "partial sequence", test_partial_sequence },
    { "cache opens no file", test_cache_opens_no_file },
    { "stream", test_stream },
    { "seen", test_seen },
    { "expunged", test_expunged },
    { "search", test_search },
    { "search expunged", test_search_expunged },
    { "search caps", test_search_caps },
};

UNIT_MAIN("imap fetch", tests)
