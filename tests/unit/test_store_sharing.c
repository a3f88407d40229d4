/* Unit tests of a mailbox of src/store that others share: sessions with views, threads, Dovecot's lock and list, programs without a lock. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/store/filename.h"
#include "../../src/store/state.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "run.h"
#include "store_fixture.h"

/* Everything that a view says, as text: "X3 E5 R1 F2:S". */
static void drain(struct view *view, bool expunges, char *out, size_t size)
{
    struct buf text = { 0 };
    struct view_change change;
    while (view_next_change(view, expunges, &change)) {
        buf_printf(&text, "%s%c%u", text.len > 0 ? " " : "", "XERF"[change.kind], change.number);
        if (change.kind == VIEW_FLAGS)
            buf_printf(&text, ":%u", change.message.flags & MESSAGE_STORED_FLAGS);
    }
    snprintf(out, size, "%s", buf_text(&text));
    buf_fini(&text);
}

#define ASSERT_DRAINS(view, expunges, expected) \
    do { \
        char said[512]; \
        drain((view), (expunges), said, sizeof(said)); \
        CU_ASSERT_STRING_EQUAL(said, (expected)); \
        if (strcmp(said, (expected)) != 0) \
            fprintf(stderr, "%s:%d: says \"%s\", not \"%s\"\n", __FILE__, __LINE__, said, (expected)); \
    } while (0)

static int expunge(struct maildir *maildir, uint32_t first, uint32_t last)
{
    struct uidset set = { 0 };
    struct fault fault;
    uidset_add_range(&set, first, last);
    int result = mailbox_expunge(maildir->mailbox, &set, true, NULL, &fault);
    uidset_fini(&set);
    return result;
}

static int flag(struct maildir *maildir, uint32_t uid, uint8_t flags)
{
    struct uidset set = { 0 };
    struct fault fault;
    struct flag_update update = { .change = FLAGS_REPLACE, .flags = flags };
    uidset_add(&set, uid);
    int result = mailbox_update_flags(maildir->mailbox, &set, &update, &fault);
    uidset_fini(&set);
    return result;
}

static void test_views(void)
{
    struct maildir maildir;
    maildir_make(&maildir);
    for (int i = 0; i < 5; i++)
        maildir_append(&maildir, "x\r\n", 0, NULL);
    struct view *first = view_open(maildir.mailbox, false, NULL, NULL), *second = view_open(maildir.mailbox, false, NULL, NULL);
    CU_ASSERT_EQUAL(view_count(first), 5);
    CU_ASSERT_EQUAL(view_recent(first), 5);
    CU_ASSERT_EQUAL(view_recent(second), 0);
    ASSERT_DRAINS(first, true, "");
    CU_ASSERT_EQUAL(expunge(&maildir, 2, 3), 0);
    CU_ASSERT_EQUAL(flag(&maildir, 4, MESSAGE_SEEN), 0);
    maildir_append(&maildir, "y\r\n", 0, NULL);
    CU_ASSERT(view_has_news(second));
    ASSERT_DRAINS(first, true, "X3 X2 E4 R4 F2:1");
    ASSERT_DRAINS(first, true, "");
    CU_ASSERT_FALSE(view_has_news(first));
    /* The second may not be told of expunges yet: its numbers stay. */
    ASSERT_DRAINS(second, false, "E6 F4:1");
    struct message messages[8];
    CU_ASSERT_EQUAL(view_read(second, 1, messages, 8), 6);
    for (uint32_t i = 0; i < 6; i++) {
        CU_ASSERT_EQUAL(messages[i].uid, i + 1);
        CU_ASSERT_EQUAL(view_sequence_of(second, i + 1), i + 1);
    }
    CU_ASSERT_EQUAL(view_read(second, 3, messages, 2), 2);
    CU_ASSERT_EQUAL(messages[0].uid, 3);
    CU_ASSERT_EQUAL(view_sequence_of(first, 2), 0);
    CU_ASSERT_EQUAL(view_sequence_of(first, 4), 2);
    CU_ASSERT_EQUAL(view_sequence_at_or_above(first, 2), 2);
    CU_ASSERT_EQUAL(view_sequence_at_or_above(first, 100), 5);
    CU_ASSERT_EQUAL(expunge(&maildir, 5, 5), 0);
    ASSERT_DRAINS(second, true, "X5 X3 X2");
    ASSERT_DRAINS(first, true, "X3");
    CU_ASSERT_EQUAL(view_count(second), 3);
    CU_ASSERT_EQUAL(view_first_unseen(second), 1);
    view_close(&first);
    view_close(&second);
    maildir_end(&maildir);
}

/* The newest two, and what comes later; what is hidden changes no number. */
static void test_limited_view(void)
{
    struct maildir maildir;
    struct message messages[8];
    maildir_make(&maildir);
    for (int i = 0; i < 5; i++)
        maildir_append(&maildir, "x\r\n", i == 3 ? MESSAGE_SEEN : 0, NULL);
    struct view *view = view_open(maildir.mailbox, false, NULL, NULL), *all = view_open(maildir.mailbox, false, NULL, NULL);
    view_limit(view, 2);
    view_limit(all, 0);
    CU_ASSERT_EQUAL(view_count(all), 5);
    CU_ASSERT_EQUAL(view_count(view), 2);
    CU_ASSERT_EQUAL(view_recent(view), 2);
    CU_ASSERT_EQUAL(view_first_unseen(view), 2);
    ASSERT_DRAINS(view, true, "");
    CU_ASSERT_EQUAL(view_read(view, 1, messages, 8), 2);
    CU_ASSERT(messages[0].uid == 4 && messages[1].uid == 5);
    CU_ASSERT_EQUAL(view_sequence_of(view, 3), 0);
    CU_ASSERT_EQUAL(view_sequence_of(view, 4), 1);
    CU_ASSERT_EQUAL(view_sequence_at_or_above(view, 1), 1);
    CU_ASSERT_EQUAL(view_sequence_at_or_above(view, 5), 2);
    /* Changes of hidden messages are no news. */
    CU_ASSERT_EQUAL(flag(&maildir, 2, MESSAGE_SEEN), 0);
    CU_ASSERT_EQUAL(flag(&maildir, 5, MESSAGE_SEEN), 0);
    CU_ASSERT_EQUAL(expunge(&maildir, 1, 2), 0);
    CU_ASSERT_EQUAL(expunge(&maildir, 4, 4), 0);
    maildir_append(&maildir, "y\r\n", 0, NULL);
    CU_ASSERT_EQUAL(view_sequence_of(view, 4), 1);
    ASSERT_DRAINS(view, false, "E3 R3 F2:1");
    CU_ASSERT_EQUAL(view_read(view, 1, messages, 8), 3);
    CU_ASSERT(messages[0].uid == 4 && messages[1].uid == 5 && messages[2].uid == 6);
    CU_ASSERT_EQUAL(view_read(view, 2, messages, 8), 2);
    CU_ASSERT_EQUAL(messages[0].uid, 5);
    ASSERT_DRAINS(view, true, "X1");
    CU_ASSERT_EQUAL(view_count(view), 2);
    CU_ASSERT_EQUAL(view_recent(view), 2);
    ASSERT_DRAINS(all, true, "X4 X2 X1 E3 F2:1");
    view_close(&view);
    view_close(&all);
    maildir_end(&maildir);
}

static void test_silent_changes(void)
{
    struct maildir maildir;
    struct uidset set = { 0 };
    maildir_make(&maildir);
    maildir_append(&maildir, "x\r\n", 0, NULL);
    maildir_append(&maildir, "x\r\n", 0, NULL);
    struct view *view = view_open(maildir.mailbox, false, NULL, NULL);
    uidset_add(&set, 1);
    flag(&maildir, 1, MESSAGE_SEEN);
    flag(&maildir, 2, MESSAGE_SEEN);
    view_forget_flag_changes(view, &set);
    ASSERT_DRAINS(view, true, "F2:1");
    flag(&maildir, 1, MESSAGE_SEEN | MESSAGE_DELETED);
    view_forget_flag_changes(view, &set);
    flag(&maildir, 1, 0);
    uidset_clear(&set);
    uidset_add(&set, 2);
    view_forget_flag_changes(view, &set);
    ASSERT_DRAINS(view, true, "F1:0");
    uidset_fini(&set);
    view_close(&view);
    maildir_end(&maildir);
}

/* Another thread comes to work while very many messages are changed; everything is done in the end. */
struct part { struct maildir *maildir; _Atomic bool over; };

static void *lock_now_and_then(void *context)
{
    struct part *part = context;
    while (!part->over) {
        if (mailbox_lock(part->maildir->mailbox, NULL) == 0) {
            poll(NULL, 0, 5);
            mailbox_unlock(part->maildir->mailbox);
        }
        poll(NULL, 0, 1);
    }
    return NULL;
}

enum { VERY_MANY = 6000 };

static void test_parts(void)
{
    struct maildir maildir;
    struct uidset all = { 0 }, gone = { 0 };
    struct fault fault = { 0 };
    struct flag_update update = { .change = FLAGS_ADD, .flags = MESSAGE_SEEN };
    struct mailbox_status status;
    maildir_make(&maildir);
    for (int i = 0; i < VERY_MANY; i++) {
        char name[64];
        snprintf(name, sizeof(name), "cur/%d.a:2,", i);
        int fd = openat(maildir.fd, name, O_WRONLY | O_CREAT, 0600);
        close(fd);
    }
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    uidset_add_range(&all, 1, VERY_MANY);
    for (int round = 0; round < 2; round++) {
        struct part part = { .maildir = &maildir };
        pthread_t thread;
        CU_ASSERT_EQUAL(pthread_create(&thread, NULL, lock_now_and_then, &part), 0);
        while ((round == 0 ? mailbox_update_flags(maildir.mailbox, &all, &update, &fault)
                           : mailbox_expunge(maildir.mailbox, &all, true, &gone, &fault)) != 0 && fault.class == FAULT_BUSY)
            poll(NULL, 0, 2);
        part.over = true;
        pthread_join(thread, NULL);
        mailbox_get_status(maildir.mailbox, &status);
        CU_ASSERT_EQUAL(status.unseen, 0);
        CU_ASSERT_EQUAL(status.messages, round == 0 ? VERY_MANY : 0);
    }
    CU_ASSERT_EQUAL(uidset_size(&gone), VERY_MANY);
    uidset_fini(&all);
    uidset_fini(&gone);
    maildir_end(&maildir);
}

static void age_all(struct maildir *maildir)
{
    maildir_age(maildir, "new", 30);
    maildir_age(maildir, "cur", 30);
}

/* Syncs until the description is as expected, since others' changes may need a second look. */
static void expect_soon(struct maildir *maildir, const char *expected)
{
    char now[4096];
    uint64_t end = clock_monotonic_ms() + 8000;
    do {
        CU_ASSERT_EQUAL(maildir_sync(maildir), 0);
        maildir_describe(maildir, now, sizeof(now));
        poll(NULL, 0, strcmp(now, expected) == 0 ? 0 : 20);
    } while (strcmp(now, expected) != 0 && clock_monotonic_ms() < end);
    CU_ASSERT_STRING_EQUAL(now, expected);
}

static void test_strangers(void)
{
    struct maildir maildir;
    maildir_make(&maildir);
    maildir_write(&maildir, "cur/100.b:2,S", "b\n");
    maildir_write(&maildir, "cur/99.a:2,", "a\n");
    maildir_write(&maildir, "new/101.c", "c\n");
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DESCRIBES(&maildir, "1: 2:S 3:");
    struct view *view = view_open(maildir.mailbox, false, NULL, NULL);
    CU_ASSERT_EQUAL(renameat(maildir.fd, "cur/99.a:2,", maildir.fd, "cur/99.a:2,FS"), 0);
    expect_soon(&maildir, "1:SF 2:S 3:");
    ASSERT_DRAINS(view, true, "F1:5");
    CU_ASSERT_EQUAL(unlinkat(maildir.fd, "cur/100.b:2,S", 0), 0);
    expect_soon(&maildir, "1:SF 3:");
    ASSERT_DRAINS(view, true, "X2");
    /* It comes back: another message for those who were told that it went. */
    maildir_write(&maildir, "cur/100.b:2,S", "b\n");
    expect_soon(&maildir, "1:SF 3: 4:S");
    /* A file that a stranger renamed is found when it is read. */
    CU_ASSERT_EQUAL(renameat(maildir.fd, "cur/101.c:2,", maildir.fd, "cur/101.c:2,T"), 0);
    int fd = -1;
    uint64_t size;
    struct fault fault;
    CU_ASSERT_EQUAL(mailbox_open_message(maildir.mailbox, 3, &fd, &size, &fault), 0);
    close(fd);
    CU_ASSERT_EQUAL(renameat(maildir.fd, "cur/101.c:2,T", maildir.fd, "cur/101.c:2,"), 0);
    CU_ASSERT_EQUAL(flag(&maildir, 3, MESSAGE_ANSWERED), 0);
    CU_ASSERT(maildir_has(&maildir, "cur/101.c:2,R"));
    view_close(&view);
    maildir_end(&maildir);
}

static void test_duplicates(void)
{
    struct maildir maildir;
    maildir_make(&maildir);
    maildir_write(&maildir, "cur/1.a:2,S", "one\n");
    maildir_write(&maildir, "cur/1.a:2,T", "two\n");
    maildir_write(&maildir, "new/2.b", "three\n");
    CU_ASSERT_EQUAL(linkat(maildir.fd, "new/2.b", maildir.fd, "cur/2.b:2,F", 0), 0);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    struct mailbox_status status;
    mailbox_get_status(maildir.mailbox, &status);
    CU_ASSERT_EQUAL(status.messages, 3);
    /* Two young names of one file may be one that is being renamed back and forth: both stay. */
    CU_ASSERT_EQUAL(maildir_count(&maildir, "cur") + maildir_count(&maildir, "new"), 4);
    maildir_end(&maildir);
}

/* Whoever can write into the Maildir can put a FIFO, a directory or a link where a file belongs: nothing waits, nothing is followed. */
static void test_no_plain_files(void)
{
    static const char *const names[] = {
        NAME_UIDLIST_TMP, "dovecot-keywords.tmp", "postern-index.tmp", "dovecot.index", "dovecot-uidvalidity", NAME_INDEX, NAME_CACHE,
        "postern-pop3views.tmp", "postern-pop3views", "cur/7.fifo:2,", "new/8.fifo",
    };
    alarm(60);
    for (size_t i = 0; i < 2 * sizeof(names) / sizeof(names[0]); i++) {
        const char *name = names[i / 2];
        struct maildir maildir;
        struct uidset set = { 0 };
        struct fault fault;
        maildir_make(&maildir);
        CU_ASSERT_EQUAL(i % 2 == 0 ? mkfifoat(maildir.fd, name, 0600) : symlinkat("/dev/tty", maildir.fd, name), 0);
        for (int k = 0; k < 40; k++)
            maildir_append(&maildir, "x\r\n", 0, k % 20 == 0 ? (k == 0 ? "one" : "two") : NULL);
        uidset_add_range(&set, 1, UINT32_MAX - 1);
        CU_ASSERT_EQUAL(mailbox_load(maildir.mailbox, &set, &fault), 0);
        mailbox_cache_put(maildir.mailbox, 1, CACHE_BODY, SLICE_LITERAL("body"));
        pop3view_add(maildir.mailbox, 1, &set, &fault);
        CU_ASSERT_EQUAL(expunge(&maildir, 1, 1), 0);
        maildir_close(&maildir);
        maildir_open(&maildir);
        CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
        struct mailbox_status status;
        mailbox_get_status(maildir.mailbox, &status);
        CU_ASSERT(status.messages >= 39);
        uidset_fini(&set);
        maildir_end(&maildir);
    }
    alarm(0);
}

/* A link in place of cur/ leads to the mail of others. */
static void test_linked_directory(void)
{
    struct maildir maildir;
    struct fault fault;
    int fd = -1;
    uint64_t size;
    maildir_make(&maildir);
    maildir_append(&maildir, "mine\r\n", 0, NULL);
    CU_ASSERT_EQUAL(renameat(maildir.fd, "cur", maildir.fd, "elsewhere"), 0);
    CU_ASSERT_EQUAL(symlinkat("elsewhere", maildir.fd, "cur"), 0);
    CU_ASSERT_EQUAL(mailbox_open_message(maildir.mailbox, 1, &fd, &size, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_DENIED);
    CU_ASSERT_EQUAL(expunge(&maildir, 1, 1), -1);
    CU_ASSERT_EQUAL(maildir_count(&maildir, "elsewhere"), 1);
    CU_ASSERT_EQUAL(flag(&maildir, 1, MESSAGE_SEEN), -1);
    maildir_end(&maildir);
}

/* Lists as others leave them: what is readable keeps its UID, the rest gets new ones above all; files 1.a 2.b 3.c are there. */
static void test_broken_lists(void)
{
    static const struct { const char *list; const char *expected; bool kept; uint32_t validity; } rows[] = {
        { "3 V77 N9 G0123456789abcdef0123456789abcdef\n3 :1.a\n5 :2.b\n8 :3.c\n", "3: 5: 8:", false, 77 },
        { "3 V77 N20 Gab Px\n3 W10 S9 :1.a\n5 Puidl :2.b\n8 Xyz :3.c\n", "3: 5: 8:", false, 77 },
        { "3 V77 N4\n1 :1.a\n2 :2.b\n", "1: 2: 4:", false, 77 },
        { "3 V77 N4\n1 :1.a\n2 :2.b\n3 :3.", "1: 2: 4:", false, 77 },
        { "3 V77 N9\n3 :1.a\nrubbish\n8 :3.c\n", "3: 8: 9:", true, 77 },
        { "3 V77 N9\n3 :1.a\n12 2.b\n", "3: 13: 14:", true, 77 },
        { "3 V77 N9\n8 :1.a\n5 :2.b\n9 :3.c\n", "8: 9: 10:", true, 77 },
        { "3 V77 N9\n3 :1.a\n4 :\n5 k :3.c\n", "3: 5: 9:", true, 77 },
        { "3 V77 N9\n3 :1.a\n99999999999 :2.b\n", "3: 9: 10:", true, 77 },
        { "3 V77 Nx\n3 :1.a\n", "3: 4: 5:", true, 77 },
        { "1 77 9\n3 1.a\n5 2.b\n", "3: 5: 9:", false, 77 },
        { "3 Vx N9\n3 :1.a\n", "3: 9: 10:", true, 0 }, { "garbage", "1: 2: 3:", true, 0 }, { "", "1: 2: 3:", false, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct maildir maildir;
        maildir_make(&maildir);
        maildir_write(&maildir, "cur/1.a:2,", "a\n");
        maildir_write(&maildir, "cur/2.b:2,", "b\n");
        maildir_write(&maildir, "cur/3.c:2,", "c\n");
        maildir_write(&maildir, NAME_UIDLIST, rows[i].list);
        unsigned before = maildir_count(&maildir, ".");
        CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
        char now[256];
        maildir_describe(&maildir, now, sizeof(now));
        if (rows[i].validity != 0 || !rows[i].kept)
            CU_ASSERT_STRING_EQUAL(now, rows[i].expected);
        if (rows[i].validity != 0 && strcmp(now, rows[i].expected) != 0)
            fprintf(stderr, "row %zu: is \"%s\"\n", i, now);
        if (rows[i].validity != 0)
            CU_ASSERT_EQUAL(mailbox_uid_validity(maildir.mailbox), rows[i].validity);
        unsigned added = maildir_count(&maildir, ".") - before;
        CU_ASSERT_EQUAL(added, (rows[i].kept ? 1u : 0u) + (rows[i].validity == 0 ? 2u : 0u));
        /* The next process reads what we wrote and changes nothing. */
        char *list = maildir_read(&maildir, NAME_UIDLIST, NULL);
        maildir_close(&maildir);
        maildir_open(&maildir);
        CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
        char again[256];
        maildir_describe(&maildir, again, sizeof(again));
        CU_ASSERT_STRING_EQUAL(again, now);
        char *list_again = maildir_read(&maildir, NAME_UIDLIST, NULL);
        CU_ASSERT_STRING_EQUAL(list_again, list);
        if (i == 1)
            CU_ASSERT_STRING_EQUAL(list, rows[1].list);
        mem_free(&list);
        mem_free(&list_again);
        maildir_end(&maildir);
    }
}

static void test_list_changed_by_others(void)
{
    struct maildir maildir;
    struct fault fault;
    maildir_make(&maildir);
    maildir_write(&maildir, "cur/1.a:2,", "a\n");
    maildir_write(&maildir, NAME_UIDLIST, "3 V77 N5 Gab\n4 :1.a\n");
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    int fd = openat(maildir.fd, NAME_UIDLIST, O_WRONLY | O_APPEND);
    maildir_write(&maildir, "cur/2.b:2,", "b\n");
    CU_ASSERT_EQUAL(write(fd, "9 :2.b\n", 7), 7);
    close(fd);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DESCRIBES(&maildir, "4: 9:");
    /* Removed: written again from memory. */
    CU_ASSERT_EQUAL(unlinkat(maildir.fd, NAME_UIDLIST, 0), 0);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DESCRIBES(&maildir, "4: 9:");
    CU_ASSERT_EQUAL(mailbox_uid_validity(maildir.mailbox), 77);
    /* Another UIDVALIDITY ends this object, not the folder. */
    maildir_write(&maildir, "other", "3 V78 N5 Gab\n4 :1.a\n");
    CU_ASSERT_EQUAL(renameat(maildir.fd, "other", maildir.fd, NAME_UIDLIST), 0);
    CU_ASSERT_EQUAL(mailbox_sync(maildir.mailbox, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_GONE);
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DESCRIBES(&maildir, "4: 5:");
    CU_ASSERT_EQUAL(unlinkat(maildir.fd, "cur/1.a:2,", 0) | unlinkat(maildir.fd, "cur/2.b:2,", 0), 0);
    CU_ASSERT_EQUAL(unlinkat(maildir.fd, "cur", AT_REMOVEDIR), 0);
    CU_ASSERT_EQUAL(mailbox_sync(maildir.mailbox, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_GONE);
    maildir_end(&maildir);
}

static long dead_pid(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    return child;
}

static void test_locks(void)
{
    struct { char text[128]; int age; int list_age; bool busy, watched; } rows[] = {
        { "", 0, 0, true, false }, { "1:elsewhere", 60, 60, true, false }, { "1:elsewhere", 130, 60, true, false }, { "1:elsewhere", 130, 130, false, true },
        { "", 130, 130, false, true }, { "dead", 0, 0, true, false }, { "dead", 5, 0, false, false }, { "own", 60, 60, true, false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct maildir maildir;
        struct fault fault;
        maildir_make(&maildir);
        CU_ASSERT_EQUAL(maildir_append(&maildir, "x\r\n", 0, NULL), 1);
        if (strcmp(rows[i].text, "dead") == 0 || strcmp(rows[i].text, "own") == 0)
            snprintf(rows[i].text, sizeof(rows[i].text), "%ld:%s", rows[i].text[0] == 'd' ? dead_pid() : (long)getpid(), filename_host());
        maildir_write(&maildir, NAME_UIDLIST_LOCK, rows[i].text);
        maildir_age(&maildir, NAME_UIDLIST_LOCK, rows[i].age);
        maildir_age(&maildir, NAME_UIDLIST, rows[i].list_age);
        int result = mailbox_lock(maildir.mailbox, &fault);
        /* Old by the clock alone: watched first, for clocks jump. */
        if (rows[i].watched) {
            CU_ASSERT_EQUAL(result, -1);
            uint64_t start = clock_monotonic_ms();
            while (result != 0 && clock_monotonic_ms() < start + 10000) {
                poll(NULL, 0, 20);
                result = mailbox_lock(maildir.mailbox, &fault);
            }
            CU_ASSERT(clock_monotonic_ms() - start > 1500);
        }
        CU_ASSERT_EQUAL(result, rows[i].busy ? -1 : 0);
        if (rows[i].busy)
            CU_ASSERT_EQUAL(fault.class, FAULT_BUSY);
        if (result == 0)
            mailbox_unlock(maildir.mailbox);
        CU_ASSERT_EQUAL(maildir_has(&maildir, NAME_UIDLIST_LOCK), rows[i].busy);
        maildir_end(&maildir);
    }
}

/* Somebody took the lock away while we held it: nothing is written, and his is left alone. */
static void test_lost_lock(void)
{
    struct maildir maildir;
    struct fault fault;
    maildir_make(&maildir);
    maildir_append(&maildir, "x\r\n", 0, NULL);
    CU_ASSERT_EQUAL(sync_begin(maildir.mailbox, &fault), 0);
    CU_ASSERT_EQUAL(unlinkat(maildir.fd, NAME_UIDLIST_LOCK, 0), 0);
    maildir_write(&maildir, NAME_UIDLIST_LOCK, "1:elsewhere");
    char *before = maildir_read(&maildir, NAME_UIDLIST, NULL);
    CU_ASSERT_EQUAL(sync_record(maildir.mailbox, SLICE_LITERAL("2 :2.b\n"), &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_BUSY);
    char *after = maildir_read(&maildir, NAME_UIDLIST, NULL);
    CU_ASSERT_STRING_EQUAL(before, after);
    sync_end(maildir.mailbox);
    CU_ASSERT(maildir_has(&maildir, NAME_UIDLIST_LOCK));
    mem_free(&before);
    mem_free(&after);
    maildir_end(&maildir);
}

/* --- waking and threads --- */

static void count_call(void *context)
{
    atomic_fetch_add((_Atomic int *)context, 1);
}

static void test_watch(void)
{
    struct maildir maildir;
    _Atomic int calls = 0;
    maildir_make(&maildir);
    age_all(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    struct view *view = view_open(maildir.mailbox, false, count_call, &calls);
    struct pollfd wait = { .fd = store_watch_fd(), .events = POLLIN };
    CU_ASSERT_FATAL(wait.fd >= 0);
    maildir_write(&maildir, "new/1.a", "x\n");
    for (uint64_t end = clock_monotonic_ms() + 5000; calls == 0 && clock_monotonic_ms() < end; ) {
        poll(&wait, 1, 1000);
        store_watch_read();
    }
    CU_ASSERT(calls > 0);
    CU_ASSERT(mailbox_is_dirty(maildir.mailbox));
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DRAINS(view, true, "E1 R1");
    /* Our own changes come to rest. */
    int turns = 0;
    for (uint64_t end = clock_monotonic_ms() + 12000; poll(&wait, 1, 2600) > 0 && clock_monotonic_ms() < end; turns++) {
        store_watch_read();
        CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    }
    CU_ASSERT(turns < 10);
    CU_ASSERT_FALSE(mailbox_is_dirty(maildir.mailbox));
    view_close(&view);
    maildir_end(&maildir);
}

enum { THREADS = 4, ROUNDS = 40 };

static void *work(void *context)
{
    struct maildir *maildir = context;
    struct view *view = view_open(maildir->mailbox, false, NULL, NULL);
    struct view_change change;
    struct message messages[32];
    for (int i = 0; i < ROUNDS; i++) {
        struct fault fault;
        struct message_writer *writer;
        uint32_t uid, validity;
        message_writer_open(maildir->mailbox, &writer, &fault);
        message_writer_write(writer, SLICE_LITERAL("hello\r\n"), &fault);
        if (i % 2 == 0)
            message_writer_deliver(writer, &fault);
        else
            while (message_writer_append(writer, 0, NULL, 0, 0, &uid, &validity, &fault) != 0 && fault.class == FAULT_BUSY)
                poll(NULL, 0, 1);
        message_writer_free(&writer);
        while (mailbox_sync(maildir->mailbox, &fault) != 0 && fault.class == FAULT_BUSY)
            poll(NULL, 0, 1);
        size_t count = view_read(view, 1, messages, 32);
        if (count > 0 && i % 4 == 0)
            flag(maildir, messages[i % (int)count].uid, (uint8_t)(i & MESSAGE_STORED_FLAGS));
        if (count > 0 && i % 8 == 7)
            mailbox_cache_put(maildir->mailbox, messages[0].uid, CACHE_BODY, SLICE_LITERAL("body"));
        while (view_next_change(view, true, &change))
            ;
    }
    view_close(&view);
    return NULL;
}

static void test_threads(void)
{
    struct maildir maildir;
    struct mailbox_status status;
    pthread_t threads[THREADS];
    maildir_make(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    for (int i = 0; i < THREADS; i++)
        CU_ASSERT_EQUAL(pthread_create(&threads[i], NULL, work, &maildir), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    mailbox_get_status(maildir.mailbox, &status);
    CU_ASSERT_EQUAL(status.messages, THREADS * ROUNDS);
    CU_ASSERT_EQUAL(status.uid_next, THREADS * ROUNDS + 1);
    maildir_end(&maildir);
}

static const struct unit_test tests[] = {
    { "views", test_views }, { "limited view", test_limited_view }, { "silent changes", test_silent_changes }, { "strangers", test_strangers }, { "duplicates", test_duplicates },
    { "broken lists", test_broken_lists }, { "list changed by others", test_list_changed_by_others }, { "locks", test_locks },
    { "lost lock", test_lost_lock },
    { "parts", test_parts }, { "watch", test_watch }, { "threads", test_threads }, { "no plain files", test_no_plain_files },
    { "linked directory", test_linked_directory },
};

UNIT_MAIN("store sharing", tests)
