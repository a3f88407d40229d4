/* Unit tests of a mailbox of src/store: writing, syncing, changing, and strangers in the same folder. */
#include <errno.h>
#include <fcntl.h>
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

static void test_uidset(void)
{
    static const struct { uint32_t adds[6][2]; const char *text; uint64_t size; } rows[] = {
        { { { 1, 1 }, { 2, 2 }, { 3, 3 } }, "1:3", 3 }, { { { 5, 5 }, { 1, 1 }, { 3, 3 } }, "1,3,5", 3 },
        { { { 1, 3 }, { 5, 9 }, { 4, 4 } }, "1:9", 9 }, { { { 1, 2 }, { 4, 5 }, { 7, 8 }, { 2, 7 } }, "1:8", 8 },
        { { { 10, 20 }, { 12, 13 } }, "10:20", 11 }, { { { 10, 20 }, { 1, 30 } }, "1:30", 30 },
        { { { 4294967295u, 4294967295u }, { 4294967294u, 4294967294u } }, "4294967294:4294967295", 2 }, { { { 0 } }, "", 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct uidset set = { 0 };
        struct buf text = { 0 };
        for (size_t k = 0; k < 6 && rows[i].adds[k][0] != 0; k++)
            uidset_add_range(&set, rows[i].adds[k][0], rows[i].adds[k][1]);
        uidset_write(&set, &text);
        CU_ASSERT_STRING_EQUAL(buf_text(&text), rows[i].text);
        CU_ASSERT_EQUAL(uidset_size(&set), rows[i].size);
        for (size_t k = 0; k < 6 && rows[i].adds[k][0] != 0; k++)
            CU_ASSERT(uidset_has(&set, rows[i].adds[k][0]) && uidset_has(&set, rows[i].adds[k][1]));
        CU_ASSERT_FALSE(uidset_has(&set, 100));
        buf_fini(&text);
        uidset_fini(&set);
    }
}

static void test_file_names(void)
{
    static const struct { const char *name; uint8_t flags; uint32_t keywords; const char *as_seen; } rows[] = {
        { "1.a", 0, 0, "1.a:2,S" }, { "1.a:2,", 0, 0, "1.a:2,S" }, { "1.a:2,FR", MESSAGE_FLAGGED | MESSAGE_ANSWERED, 0, "1.a:2,FRS" },
        { "1.a:2,SRac", MESSAGE_SEEN | MESSAGE_ANSWERED, 5, "1.a:2,RSac" }, { "1.a:2,PX", 0, 0, "1.a:2,PSX" },
        { "1.a:2,T,more,2", MESSAGE_DELETED, 0, "1.a:2,ST,more,2" }, { "1.a,S=3,W=4:2,Dz", MESSAGE_DRAFT, 1u << 25, "1.a,S=3,W=4:2,DSz" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint8_t flags;
        uint32_t keywords;
        struct buf made = { 0 };
        filename_parse(slice_from_string(rows[i].name), &flags, &keywords);
        CU_ASSERT_EQUAL(flags, rows[i].flags);
        CU_ASSERT_EQUAL(keywords, rows[i].keywords);
        filename_make(slice_from_string(rows[i].name), flags | MESSAGE_SEEN, keywords, &made);
        CU_ASSERT_STRING_EQUAL(buf_text(&made), rows[i].as_seen);
        buf_fini(&made);
    }
    CU_ASSERT_EQUAL(filename_size(SLICE_LITERAL("1.a,S=3,W=42:2,S")), 42);
    CU_ASSERT_EQUAL(filename_size(SLICE_LITERAL("1.a,S=3:2,W=42")), 0);
    CU_ASSERT(filename_compare(SLICE_LITERAL("9.M5P1.h"), SLICE_LITERAL("10.M1P1.h")) < 0);
    CU_ASSERT(filename_compare(SLICE_LITERAL("9.M50P1.h"), SLICE_LITERAL("9.M6P1.h")) > 0);
    CU_ASSERT(filename_compare(SLICE_LITERAL("9.a"), SLICE_LITERAL("9.b")) < 0);
    CU_ASSERT_FALSE(filename_is_usable(SLICE_LITERAL(".x")));
    CU_ASSERT_FALSE(filename_is_usable(SLICE_LITERAL("a\rb")));
}

/* The bytes of a message as stored, and its size, whatever the pieces it came in. */
static void test_writer_split(void)
{
    static const struct { const char *wire; const char *stored; uint64_t size; } rows[] = {
        { "a: b\r\n\r\nx\r\n", "a: b\n\nx\n", 11 }, { "a\rb\nc\r", "a\rb\nc\r", 7 }, { "\r\n\r\r\n", "\n\r\n", 4 }, { "\r\r", "\r\r", 2 },
    };
    struct maildir maildir;
    struct fault fault;
    maildir_make(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t cut = 0; cut <= strlen(rows[i].wire); cut++) {
            struct slice wire = slice_from_string(rows[i].wire);
            struct message_writer *writer;
            uint32_t uid, validity;
            int fd;
            uint64_t size = 0;
            char stored[64] = "";
            CU_ASSERT_EQUAL(message_writer_open(maildir.mailbox, &writer, &fault), 0);
            CU_ASSERT_EQUAL(message_writer_write(writer, slice_part(wire, 0, cut), &fault), 0);
            CU_ASSERT_EQUAL(message_writer_write(writer, slice_from(wire, cut), &fault), 0);
            CU_ASSERT_EQUAL(message_writer_append(writer, 0, NULL, 0, 0, &uid, &validity, &fault), 0);
            message_writer_free(&writer);
            CU_ASSERT_EQUAL_FATAL(mailbox_open_message(maildir.mailbox, uid, &fd, &size, &fault), 0);
            CU_ASSERT_EQUAL(read(fd, stored, sizeof(stored) - 1), (ssize_t)strlen(rows[i].stored));
            CU_ASSERT_STRING_EQUAL(stored, rows[i].stored);
            close(fd);
            struct mailbox_status before, after;
            struct uidset one = { 0 };
            uidset_add(&one, uid);
            mailbox_get_status(maildir.mailbox, &before);
            CU_ASSERT_EQUAL(mailbox_expunge(maildir.mailbox, &one, true, NULL, &fault), 0);
            mailbox_get_status(maildir.mailbox, &after);
            CU_ASSERT_EQUAL(before.size - after.size, rows[i].size);
            uidset_fini(&one);
        }
    CU_ASSERT_EQUAL(maildir_count(&maildir, "tmp"), 0);
    maildir_end(&maildir);
}

static void test_delivery(void)
{
    struct maildir maildir;
    struct mailbox_status status;
    maildir_make(&maildir);
    maildir_deliver(&maildir, "first\r\n");
    maildir_deliver(&maildir, "second\r\n");
    CU_ASSERT_EQUAL(maildir_count(&maildir, "new"), 2);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT_EQUAL(maildir_count(&maildir, "new"), 0);
    CU_ASSERT_EQUAL(maildir_count(&maildir, "cur"), 2);
    mailbox_get_status(maildir.mailbox, &status);
    CU_ASSERT_EQUAL(status.uid_next, 3);
    CU_ASSERT_EQUAL(status.recent, 2);
    CU_ASSERT_EQUAL(status.unseen, 2);
    CU_ASSERT_EQUAL(status.size, 7 + 8);
    int fd;
    uint64_t size;
    char text[16] = "";
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(mailbox_open_message(maildir.mailbox, 1, &fd, &size, &fault), 0);
    CU_ASSERT_EQUAL(read(fd, text, sizeof(text) - 1), 6);
    CU_ASSERT_STRING_EQUAL(text, "first\n");
    close(fd);
    CU_ASSERT_FALSE(maildir_has(&maildir, NAME_UIDLIST_LOCK));
    /* The same UIDs for the next process. */
    maildir_deliver(&maildir, "third\r\n");
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DESCRIBES(&maildir, "1: 2: 3:");
    CU_ASSERT_EQUAL(mailbox_uid_validity(maildir.mailbox), status.uid_validity);
    maildir_end(&maildir);
}

static void test_flags_and_keywords(void)
{
    struct maildir maildir;
    struct fault fault;
    struct uidset all = { 0 };
    maildir_make(&maildir);
    uidset_add_range(&all, 1, UINT32_MAX);
    CU_ASSERT_EQUAL(maildir_append(&maildir, "a\r\n", MESSAGE_SEEN | MESSAGE_DRAFT, "Work"), 1);
    CU_ASSERT_EQUAL(maildir_append(&maildir, "b\r\n", 0, NULL), 2);
    ASSERT_DESCRIBES(&maildir, "1:SDa 2:");
    struct slice names[] = { SLICE_LITERAL("work"), SLICE_LITERAL("Other") };
    struct flag_update update = { .change = FLAGS_ADD, .flags = MESSAGE_FLAGGED, .keywords = names, .keyword_count = 2 };
    CU_ASSERT_EQUAL(mailbox_update_flags(maildir.mailbox, &all, &update, &fault), 0);
    ASSERT_DESCRIBES(&maildir, "1:SFDab 2:Fab");
    char *text = maildir_read(&maildir, NAME_KEYWORDS, NULL);
    CU_ASSERT_STRING_EQUAL(text, "0 Work\n1 Other\n");
    mem_free(&text);
    update = (struct flag_update){ .change = FLAGS_REMOVE, .flags = MESSAGE_DRAFT, .keywords = names, .keyword_count = 1 };
    CU_ASSERT_EQUAL(mailbox_update_flags(maildir.mailbox, &all, &update, &fault), 0);
    update = (struct flag_update){ .change = FLAGS_REPLACE, .flags = MESSAGE_DELETED };
    uidset_clear(&all);
    uidset_add(&all, 2);
    CU_ASSERT_EQUAL(mailbox_update_flags(maildir.mailbox, &all, &update, &fault), 0);
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    ASSERT_DESCRIBES(&maildir, "1:SFb 2:T");
    CU_ASSERT_EQUAL(mailbox_keyword_number(maildir.mailbox, SLICE_LITERAL("OTHER")), 1);
    char name[KEYWORD_LENGTH_MAX + 1];
    CU_ASSERT(mailbox_keyword_name(maildir.mailbox, 0, name));
    CU_ASSERT_STRING_EQUAL(name, "Work");
    for (char c = 'c'; c <= 'z'; c++) {
        CU_ASSERT(mailbox_has_keyword_room(maildir.mailbox));
        char one[2] = { c, 0 };
        struct slice word = slice_from_string(one);
        update = (struct flag_update){ .change = FLAGS_ADD, .keywords = &word, .keyword_count = 1 };
        CU_ASSERT_EQUAL(mailbox_update_flags(maildir.mailbox, &all, &update, &fault), 0);
    }
    CU_ASSERT_FALSE(mailbox_has_keyword_room(maildir.mailbox));
    struct slice more = SLICE_LITERAL("onemore");
    update.keywords = &more;
    CU_ASSERT_EQUAL(mailbox_update_flags(maildir.mailbox, &all, &update, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_LIMIT);
    uidset_fini(&all);
    maildir_end(&maildir);
}

static void test_expunge(void)
{
    struct maildir maildir;
    struct fault fault;
    struct uidset some = { 0 }, gone = { 0 };
    maildir_make(&maildir);
    for (int i = 0; i < 4; i++)
        maildir_append(&maildir, "x\r\n", i % 2 ? MESSAGE_DELETED : 0, NULL);
    uidset_add_range(&some, 1, 3);
    CU_ASSERT_EQUAL(mailbox_expunge(maildir.mailbox, &some, false, &gone, &fault), 0);
    CU_ASSERT(uidset_size(&gone) == 1 && uidset_has(&gone, 2));
    ASSERT_DESCRIBES(&maildir, "1: 3: 4:T");
    CU_ASSERT_EQUAL(mailbox_expunge(maildir.mailbox, NULL, false, &gone, &fault), 0);
    ASSERT_DESCRIBES(&maildir, "1: 3:");
    CU_ASSERT_EQUAL(maildir_count(&maildir, "cur"), 2);
    int fd;
    uint64_t size;
    CU_ASSERT_EQUAL(mailbox_open_message(maildir.mailbox, 2, &fd, &size, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_GONE);
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_append(&maildir, "y\r\n", 0, NULL), 5);
    uidset_fini(&some);
    uidset_fini(&gone);
    maildir_end(&maildir);
}

static void check_copy(bool move)
{
    struct maildir from, to;
    struct fault fault;
    struct uidset some = { 0 }, sources = { 0 }, targets = { 0 };
    maildir_make(&from);
    maildir_make(&to);
    maildir_append(&to, "old\r\n", 0, "first");
    maildir_append(&from, "a\r\n", MESSAGE_SEEN, "second");
    maildir_append(&from, "b\r\n", 0, NULL);
    maildir_append(&from, "c\r\n", MESSAGE_FLAGGED, NULL);
    uidset_add(&some, 1);
    uidset_add_range(&some, 3, 9);
    CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &some, to.mailbox, move, &sources, &targets, &fault), 0);
    ASSERT_DESCRIBES(&to, "1:a 2:Sb 3:F");
    ASSERT_DESCRIBES(&from, move ? "2:" : "1:Sa 2: 3:F");
    CU_ASSERT(uidset_has(&sources, 1) && uidset_has(&sources, 3) && uidset_size(&sources) == 2);
    CU_ASSERT(uidset_has(&targets, 2) && uidset_has(&targets, 3) && uidset_size(&targets) == 2);
    struct view *view = view_open(to.mailbox, false, NULL, NULL);
    struct message message;
    CU_ASSERT_EQUAL(view_read(view, 2, &message, 1), 1);
    CU_ASSERT_EQUAL(message.internal_date, 1000000000);
    CU_ASSERT_EQUAL(message.size, 3);
    view_close(&view);
    CU_ASSERT_EQUAL(maildir_count(&to, "tmp"), 0);
    CU_ASSERT_EQUAL(maildir_count(&from, "cur"), move ? 1 : 3);
    uidset_fini(&some);
    uidset_fini(&sources);
    uidset_fini(&targets);
    maildir_end(&from);
    maildir_end(&to);
}

static void test_copy(void)
{
    check_copy(false);
}

static void test_move(void)
{
    check_copy(true);
}

static void test_copy_busy(void)
{
    struct maildir from, to;
    struct fault fault;
    struct uidset all = { 0 }, sources = { 0 }, targets = { 0 };
    maildir_make(&from);
    maildir_make(&to);
    maildir_append(&from, "a\r\n", 0, NULL);
    uidset_add(&all, 1);
    maildir_write(&to, NAME_UIDLIST_LOCK, "1:elsewhere");
    CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &all, to.mailbox, true, &sources, &targets, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_BUSY);
    CU_ASSERT_EQUAL(maildir_count(&to, "tmp") + maildir_count(&to, "cur"), 0);
    ASSERT_DESCRIBES(&from, "1:");
    unlinkat(to.fd, NAME_UIDLIST_LOCK, 0);
    CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &all, to.mailbox, true, &sources, &targets, &fault), 0);
    ASSERT_DESCRIBES(&from, "");
    ASSERT_DESCRIBES(&to, "1:");
    uidset_fini(&all);
    uidset_fini(&sources);
    uidset_fini(&targets);
    maildir_end(&from);
    maildir_end(&to);
}

/* The source's lock is held by another program when the target is safe already. The caller comes back, or leaves the rest to the next sync. */
static void check_busy_source(bool comes_back)
{
    struct maildir from, to;
    struct fault fault;
    struct uidset all = { 0 }, sources = { 0 }, targets = { 0 };
    maildir_make(&from);
    maildir_make(&to);
    maildir_append(&from, "a\r\n", 0, NULL);
    maildir_append(&from, "b\r\n", 0, NULL);
    uidset_add(&all, 1);
    maildir_write(&from, NAME_UIDLIST_LOCK, "1:elsewhere");
    uint64_t start = clock_monotonic_ms();
    CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &all, to.mailbox, true, &sources, &targets, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_BUSY);
    CU_ASSERT(clock_monotonic_ms() - start < 900);
    ASSERT_DESCRIBES(&to, "1:");
    CU_ASSERT_EQUAL(maildir_count(&from, "cur"), 2);
    CU_ASSERT(uidset_has(&sources, 1) && uidset_has(&targets, 1));
    CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &all, to.mailbox, true, &sources, &targets, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_BUSY);
    CU_ASSERT_EQUAL(unlinkat(from.fd, NAME_UIDLIST_LOCK, 0), 0);
    if (comes_back)
        CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &all, to.mailbox, true, &sources, &targets, &fault), 0)
    else
        CU_ASSERT_EQUAL(maildir_sync(&from), 0);
    ASSERT_DESCRIBES(&to, "1:");
    ASSERT_DESCRIBES(&from, "2:");
    CU_ASSERT_EQUAL(maildir_count(&from, "cur"), 1);
    uidset_fini(&all);
    uidset_fini(&sources);
    uidset_fini(&targets);
    maildir_end(&from);
    maildir_end(&to);
}

static void test_move_with_busy_source(void)
{
    check_busy_source(true);
    check_busy_source(false);
}

/* A source that cannot be unlinked is in one place after a refused MOVE: where it was. */
static void test_move_refused(void)
{
    struct maildir from, to;
    struct fault fault;
    struct uidset all = { 0 }, sources = { 0 }, targets = { 0 };
    if (geteuid() == 0)
        return;
    maildir_make(&from);
    maildir_make(&to);
    maildir_append(&from, "a\r\n", 0, NULL);
    uidset_add(&all, 1);
    CU_ASSERT_EQUAL(fchmodat(from.fd, "cur", 0500, 0), 0);
    CU_ASSERT_EQUAL(mailbox_copy(from.mailbox, &all, to.mailbox, true, &sources, &targets, &fault), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_DENIED);
    ASSERT_DESCRIBES(&from, "1:");
    ASSERT_DESCRIBES(&to, "");
    CU_ASSERT_EQUAL(fchmodat(from.fd, "cur", 0700, 0), 0);
    uidset_fini(&all);
    uidset_fini(&sources);
    uidset_fini(&targets);
    maildir_end(&from);
    maildir_end(&to);
}

static void test_index_survives_bytes(void)
{
    struct maildir maildir;
    maildir_make(&maildir);
    char name[64];
    for (int i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "cur/10%02d.x:2,%s", i, i % 2 ? "S" : "");
        maildir_write(&maildir, name, "text\n");
    }
    maildir_age(&maildir, "cur", 60);
    maildir_age(&maildir, "new", 60);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    char expected[4096], now[4096];
    maildir_describe(&maildir, expected, sizeof(expected));
    size_t len;
    char *index = maildir_read(&maildir, NAME_INDEX, &len);
    CU_ASSERT_FATAL(len > 1000);
    for (size_t at = 0; at < len; at += at < 400 ? 1 : 97) {
        maildir_close(&maildir);
        int fd = openat(maildir.fd, NAME_INDEX, O_WRONLY | O_TRUNC);
        index[at] ^= 0x41;
        CU_ASSERT_EQUAL(write(fd, index, at % 2 ? len : at), (ssize_t)(at % 2 ? len : at));
        index[at] ^= 0x41;
        close(fd);
        maildir_open(&maildir);
        CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
        maildir_describe(&maildir, now, sizeof(now));
        CU_ASSERT_STRING_EQUAL(now, expected);
    }
    mem_free(&index);
    maildir_end(&maildir);
}

/* As in index.c: the rest of the header comes behind, and the tables behind that. */
struct index_start {
    char magic[8];
    uint32_t version, record_size;
    uint64_t checksum, device, inode;
    struct uidlist list;
    struct file_state cur, new;
    uint32_t settled, recent_from, counts[2];
    uint64_t names[2], names_dead[2];
};

/* Puts an index there that its owner has changed, with the checksum that it should have. */
static void forge_index(struct maildir *maildir, char *bytes, size_t len)
{
    struct index_start start;
    memcpy(&start, bytes, sizeof(start));
    size_t behind = offsetof(struct index_start, device), at = sizeof(start);
    uint64_t sum = table_hash(1, bytes + behind, sizeof(start) - behind);
    for (int i = 0; i < 2; i++) {
        sum = table_hash(sum, bytes + at, start.counts[i] * sizeof(struct record));
        at += start.counts[i] * sizeof(struct record);
        sum = table_hash(sum, bytes + at, start.names[i]);
        at += start.names[i];
    }
    CU_ASSERT_EQUAL(at, len);
    memcpy(bytes + offsetof(struct index_start, checksum), &sum, sizeof(sum));
    int file = openat(maildir->fd, NAME_INDEX, O_WRONLY | O_TRUNC);
    CU_ASSERT_EQUAL(write(file, bytes, len), (ssize_t)len);
    close(file);
}

/* An index that its owner made: a name in it must not lead out of the folder. */
static void test_forged_index(void)
{
    static const char good[] = "1.aaaaaaaaaaaaaaaaaa", bad[] = "../secretaaaaaaaaaaa";
    struct maildir maildir;
    size_t len;
    int fd = -1;
    uint64_t size;
    struct fault fault;
    maildir_make(&maildir);
    maildir_write(&maildir, "cur/1.aaaaaaaaaaaaaaaaaa", "mine\n");
    maildir_write(&maildir, "secretaaaaaaaaaaa", "of others\n");
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    index_save(maildir.mailbox);
    maildir_close(&maildir);
    char *bytes = maildir_read(&maildir, NAME_INDEX, &len);
    char *name = memmem(bytes, len, good, strlen(good));
    CU_ASSERT_PTR_NOT_NULL_FATAL(name);
    memcpy(name, bad, strlen(bad));
    forge_index(&maildir, bytes, len);
    mem_free(&bytes);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT_EQUAL_FATAL(mailbox_open_message(maildir.mailbox, 1, &fd, &size, &fault), 0);
    CU_ASSERT_EQUAL(size, 5);
    close(fd);
    maildir_end(&maildir);
}

/* One that lies about its pool: all of it is waste, or all messages have one place in it. What the names of messages that go give back is never more than there is. */
static void forge_waste(bool one_name)
{
    enum { FILES = 700, LETTERS = 120 };
    struct maildir maildir;
    struct index_start start;
    struct record record;
    char path[LETTERS + 32];
    size_t len;
    maildir_make(&maildir);
    for (int i = 0; i < FILES; i++) {
        snprintf(path, sizeof(path), "cur/%d.%0*d:2,", i, LETTERS, 0);
        maildir_write(&maildir, path, "");
    }
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    index_save(maildir.mailbox);
    maildir_close(&maildir);
    char *bytes = maildir_read(&maildir, NAME_INDEX, &len);
    memcpy(&start, bytes, sizeof(start));
    CU_ASSERT_EQUAL_FATAL(start.counts[0], FILES);
    if (!one_name)
        start.names_dead[0] = start.names[0];
    for (int i = 1; one_name && i < FILES; i++) {
        char *at = bytes + sizeof(start) + (size_t)i * sizeof(record);
        memcpy(&record, at, sizeof(record));
        uint32_t uid = record.uid;
        memcpy(&record, bytes + sizeof(start), sizeof(record));
        record.uid = uid;
        memcpy(at, &record, sizeof(record));
    }
    if (one_name) {
        size_t names = sizeof(start) + FILES * sizeof(record);
        memmove(bytes + names + LETTERS + 32, bytes + names + start.names[0], len - names - start.names[0]);
        len -= start.names[0] - (LETTERS + 32);
        start.names[0] = LETTERS + 32;
    }
    memcpy(bytes, &start, sizeof(start));
    forge_index(&maildir, bytes, len);
    mem_free(&bytes);
    maildir_age(&maildir, "cur", 60);
    maildir_age(&maildir, "new", 60);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT_EQUAL(mailbox_expunge(maildir.mailbox, NULL, true, NULL, NULL), 0);
    CU_ASSERT_EQUAL(maildir.mailbox->live.count, 0);
    CU_ASSERT_EQUAL(maildir_count(&maildir, "cur"), 0);
    maildir_end(&maildir);
}

static void test_forged_waste(void)
{
    forge_waste(false);
    forge_waste(true);
}

static void test_cache(void)
{
    struct maildir maildir;
    struct buf value = { 0 };
    maildir_make(&maildir);
    maildir_append(&maildir, "a\r\n", 0, NULL);
    CU_ASSERT_FALSE(mailbox_cache_get(maildir.mailbox, 1, CACHE_BODY, &value));
    mailbox_cache_put(maildir.mailbox, 1, CACHE_BODY, SLICE_LITERAL("the body"));
    mailbox_cache_put(maildir.mailbox, 1, CACHE_ENVELOPE, SLICE_LITERAL("the envelope"));
    CU_ASSERT(mailbox_cache_get(maildir.mailbox, 1, CACHE_BODY, &value));
    maildir_append(&maildir, "b\r\n", 0, NULL);
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT(mailbox_cache_get(maildir.mailbox, 1, CACHE_ENVELOPE, &value));
    CU_ASSERT_STRING_EQUAL(buf_text(&value), "the bodythe envelope");
    size_t len;
    char *bytes = maildir_read(&maildir, NAME_CACHE, &len);
    for (size_t at = 0; at < len; at++) {
        maildir_close(&maildir);
        int fd = openat(maildir.fd, NAME_CACHE, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        bytes[at] ^= 0x21;
        CU_ASSERT_EQUAL(write(fd, bytes, len), (ssize_t)len);
        bytes[at] ^= 0x21;
        close(fd);
        maildir_open(&maildir);
        maildir_sync(&maildir);
        buf_clear(&value);
        if (mailbox_cache_get(maildir.mailbox, 1, CACHE_BODY, &value))
            CU_ASSERT_STRING_EQUAL(buf_text(&value), "the body");
    }
    mem_free(&bytes);
    buf_fini(&value);
    maildir_end(&maildir);
}

static const struct unit_test tests[] = {
    { "uidset", test_uidset }, { "file names", test_file_names }, { "writer split", test_writer_split }, { "delivery", test_delivery },
    { "flags and keywords", test_flags_and_keywords }, { "expunge", test_expunge }, { "copy", test_copy }, { "move", test_move },
    { "copy busy", test_copy_busy }, { "move with busy source", test_move_with_busy_source },
    { "move refused", test_move_refused }, { "index survives bytes", test_index_survives_bytes }, { "forged index", test_forged_index },
    { "forged waste", test_forged_waste },
    { "cache", test_cache },
};

UNIT_MAIN("store", tests)
