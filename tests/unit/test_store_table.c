/* Unit tests of how src/store finds things: messages by base name, files of big scans, mailboxes by folder and name, and whom an event wakes. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "../../src/store/filename.h"
#include "../../src/store/state.h"
#include "postern/base/memory.h"
#include "run.h"
#include "store_fixture.h"

static struct slice numbered(char *room, size_t size, unsigned number, const char *end)
{
    int len = snprintf(room, size, "16000%u.M%uP1.host%s", number, number, end);
    return slice_make(room, (size_t)len);
}

/* What was put in with flags is found by its base name, in whichever table it stands; a name's beginning is another name. */
static void test_look_up(void)
{
    enum { NAMES = 5000 };
    struct table tables[3] = { { 0 }, { 0 }, { 0 } };
    struct name_index index;
    char room[128];
    name_index_init(&index, &tables[0], &tables[1], &tables[2]);
    for (unsigned i = 0; i < NAMES; i++) {
        table_append(&tables[i % 3], i + 1, numbered(room, sizeof(room), i, i % 2 ? ",S=5:2,S" : ",S=5"));
        name_index_add(&index, (int)(i % 3), tables[i % 3].count - 1);
    }
    for (unsigned i = 0; i < NAMES; i++) {
        struct slice base = numbered(room, sizeof(room), i, ",S=5");
        name_index_prefetch(&index, &base, 1);
        struct name_hit hit = name_index_find(&index, base);
        CU_ASSERT_EQUAL(hit.table, (int)(i % 3));
        CU_ASSERT_EQUAL(tables[i % 3].records[hit.number].uid, i + 1);
        CU_ASSERT_EQUAL(name_index_find(&index, slice_part(base, 0, base.len - 1)).table, -1);
        CU_ASSERT_EQUAL(name_index_find(&index, numbered(room, sizeof(room), i, ",S=55")).table, -1);
    }
    /* The same name twice is that of the higher UID, whichever came first. */
    table_append(&tables[2], NAMES + 1, numbered(room, sizeof(room), 7, ",S=5:2,T"));
    name_index_add(&index, 2, tables[2].count - 1);
    table_append(&tables[0], 1, numbered(room, sizeof(room), 8, ",S=5"));
    name_index_add(&index, 0, tables[0].count - 1);
    struct name_hit seventh = name_index_find(&index, numbered(room, sizeof(room), 7, ",S=5"));
    CU_ASSERT(seventh.table == 2 && seventh.number == tables[2].count - 1);
    CU_ASSERT_EQUAL(name_index_find(&index, numbered(room, sizeof(room), 8, ",S=5")).table, 2);
    name_index_fini(&index);
    for (size_t i = 0; i < 3; i++)
        table_fini(&tables[i]);
}

/* Names that differ in any one byte have different hashes, whatever their length. */
static void test_hash(void)
{
    char bytes[40] = { 0 };
    for (size_t len = 1; len <= sizeof(bytes); len++)
        for (size_t at = 0; at < len; at++) {
            uint64_t before = table_hash(1, bytes, len);
            bytes[at] = 1;
            CU_ASSERT_NOT_EQUAL(table_hash(1, bytes, len), before);
            CU_ASSERT_NOT_EQUAL(table_hash(2, bytes, len), table_hash(1, bytes, len));
            bytes[at] = 0;
        }
}

/* Names that others outgrew or that went are given back, and all others stay what they are; also by way of the index file. */
static void test_waste(void)
{
    enum { FILES = 1500 };
    struct maildir maildir;
    char room[128], path[160];
    maildir_make(&maildir);
    for (unsigned i = 0; i < FILES; i++) {
        numbered(room, sizeof(room), i, ",S=0,W=0:2,");
        snprintf(path, sizeof(path), "cur/%s", room);
        maildir_write(&maildir, path, "");
    }
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT_EQUAL(maildir.mailbox->live.count, FILES);
    struct uidset most = { 0 };
    uidset_add_range(&most, 1, FILES / 4);
    CU_ASSERT_EQUAL(mailbox_expunge(maildir.mailbox, &most, true, NULL, NULL), 0);
    uidset_fini(&most);
    size_t wasted = maildir.mailbox->live.names_dead;
    CU_ASSERT(wasted > 0);
    CU_ASSERT_EQUAL(mailbox_lock(maildir.mailbox, NULL), 0);
    index_save(maildir.mailbox);
    mailbox_unlock(maildir.mailbox);
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT(index_load(maildir.mailbox));
    CU_ASSERT_EQUAL(maildir.mailbox->live.names_dead, wasted);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT_EQUAL(maildir.mailbox->live.count, FILES - FILES / 4);
    /* The scan finds everything under the names that the index file said, or these would be other messages with other UIDs. */
    maildir_close(&maildir);
    CU_ASSERT_EQUAL(unlinkat(maildir.fd, NAME_INDEX, 0), 0);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    const struct table *live = &maildir.mailbox->live;
    CU_ASSERT_EQUAL(live->count, FILES - FILES / 4);
    for (uint32_t i = 0; i < live->count; i++) {
        CU_ASSERT_EQUAL(live->records[i].uid, FILES / 4 + i + 1);
        snprintf(path, sizeof(path), "cur/%.*s", SLICE_ARG(table_name(live, &live->records[i])));
        CU_ASSERT(maildir_has(&maildir, path));
    }
    maildir_end(&maildir);
}

/* The first scan of a folder: lines whose file is not there stay lines, and what has no line comes behind the highest. */
static void test_first_scan(void)
{
    struct maildir maildir;
    struct buf list = { 0 };
    char room[128], path[160];
    maildir_make(&maildir);
    buf_append_text(&list, "3 V1700000000 N201 G0123456789abcdef0123456789abcdef\n");
    for (unsigned i = 0; i < 200; i++) {
        struct slice name = numbered(room, sizeof(room), i, "");
        buf_printf(&list, "%u W7 :%.*s\n", i + 1, SLICE_ARG(name));
        snprintf(path, sizeof(path), "cur/%s:2,FS", room);
        if (i % 10 != 3)
            maildir_write(&maildir, path, "a\n");
    }
    maildir_write(&maildir, NAME_UIDLIST, buf_text(&list));
    maildir_write(&maildir, "cur/9.stranger:2,", "b\n");
    maildir_close(&maildir);
    maildir_open(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    const struct table *live = &maildir.mailbox->live;
    CU_ASSERT_EQUAL(live->count, 181);
    CU_ASSERT_EQUAL(maildir.mailbox->orphans.count, 20);
    for (uint32_t i = 0; i + 1 < live->count; i++)
        CU_ASSERT(live->records[i].uid % 10 != 4 && live->records[i].size == 7 && live->records[i].flags == (MESSAGE_FLAGGED | MESSAGE_SEEN) &&
                  live->records[i].marks == 0);
    CU_ASSERT_EQUAL(live->records[180].uid, 201);
    for (uint32_t i = 0; i < maildir.mailbox->orphans.count; i++)
        CU_ASSERT(maildir.mailbox->orphans.records[i].uid == i * 10 + 4 && maildir.mailbox->orphans.records[i].size == 7);
    /* One of them comes back, in time. */
    maildir_write(&maildir, "cur/16003.M3P1.host:2,", "a\n");
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    CU_ASSERT_EQUAL(maildir.mailbox->live.count, 182);
    buf_fini(&list);
    maildir_end(&maildir);
}

static void count_call(void *context)
{
    ++*(int *)context;
}

static void read_events(void)
{
    struct pollfd wait = { .fd = store_watch_fd(), .events = POLLIN };
    while (poll(&wait, 1, 0) > 0)
        store_watch_read();
}

/* A change wakes the sessions of its own folder only; after others were opened and closed too. */
static void test_who_is_woken(void)
{
    enum { MAILBOXES = 5 };
    struct maildir maildirs[MAILBOXES];
    struct view *views[MAILBOXES];
    int calls[MAILBOXES] = { 0 };
    for (int i = 0; i < MAILBOXES; i++) {
        maildir_make(&maildirs[i]);
        CU_ASSERT_EQUAL(maildir_sync(&maildirs[i]), 0);
        views[i] = view_open(maildirs[i].mailbox, false, count_call, &calls[i]);
    }
    view_close(&views[1]);
    maildir_end(&maildirs[1]);
    read_events();
    memset(calls, 0, sizeof(calls));
    maildir_write(&maildirs[3], "new/1.a", "x\n");
    read_events();
    CU_ASSERT(calls[0] == 0 && calls[2] == 0 && calls[3] == 1 && calls[4] == 0);
    for (int i = 0; i < MAILBOXES; i++)
        if (i != 1) {
            view_close(&views[i]);
            maildir_end(&maildirs[i]);
        }
}

/* The folder as it is after a new UIDVALIDITY is another object; the old one's end must not make it deaf. */
static void test_watch_changes_hands(void)
{
    struct maildir maildir;
    int old_calls = 0, calls = 0;
    maildir_make(&maildir);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    struct mailbox *old = maildir.mailbox;
    struct view *old_view = view_open(old, false, count_call, &old_calls);
    mailbox_mark_gone(mailbox_folder_fd(old));
    maildir_open(&maildir);
    CU_ASSERT_PTR_NOT_EQUAL(maildir.mailbox, old);
    CU_ASSERT_EQUAL(maildir_sync(&maildir), 0);
    struct view *view = view_open(maildir.mailbox, false, count_call, &calls);
    view_close(&old_view);
    mailbox_unref(&old);
    read_events();
    calls = 0;
    maildir_write(&maildir, "new/1.a", "x\n");
    read_events();
    CU_ASSERT_EQUAL(calls, 1);
    /* And it is still the one that is found. */
    struct mailbox *first = maildir.mailbox;
    maildir_open(&maildir);
    CU_ASSERT_PTR_EQUAL(maildir.mailbox, first);
    maildir_close(&maildir);
    maildir.mailbox = first;
    view_close(&view);
    maildir_end(&maildir);
}

static const struct unit_test tests[] = {
    { "look-up", test_look_up }, { "hash", test_hash }, { "waste", test_waste }, { "first scan", test_first_scan },
    { "who is woken", test_who_is_woken }, { "watch changes hands", test_watch_changes_hands },
};
UNIT_MAIN("store finding", tests)
