/* Unit tests of src/pop3 over the real store: what a session leaves on the disk. */
#include "run.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pop3_fake.h"
#include "postern/base/check.h"
#include "postern/store/account.h"

#define LOGIN "USER joe\r\nPASS secret\r\n"
#define AS(options) "USER joe:" options "\r\nPASS secret\r\n"
#define LOGGED "+OK Send your password.\r\n+OK Logged in.\r\n"
#define UUID "5d1e6c0a-0001-4000-8000-00805f9b34fb"

static char root[64];

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

static void write_message(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/joe/Maildir/new/%s", root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static void make_directory(const char *below)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, below);
    CHECK(mkdir(path, 0700) == 0 || errno == EEXIST);
}

static void set_up(void)
{
    struct fault fault;
    snprintf(root, sizeof(root), "/tmp/pop3-store-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    CHECK(postoffice_init(root, SLICE_LITERAL(UUID), &fault) == 0);
    make_directory("joe");
    make_directory("joe/Maildir");
    make_directory("joe/Maildir/new");
    make_directory("joe/Maildir/cur");
    make_directory("joe/Maildir/tmp");
    write_message("1000.M1.host", "Subject: one\n\nHello\n.dot\n");
    write_message("1001.M2.host", "Subject: two\n\nno end");
    write_message("1002.M3.host", "Subject: three\r\n\r\nCRLF\r\n");
}

static void tear_down(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void start(void)
{
    static char prefix[] = "";
    fake_start();
    fake.office.path = root;
    fake.office.prefix = prefix;
    snprintf(fake.office.uuid, sizeof(fake.office.uuid), "%s", UUID);
    fake_sent();
}

/* One whole session; returns what was sent. */
static const char *session(const char *input)
{
    start();
    fake_feed_text(input);
    if (!fake.closed)
        fake_eof();
    static char sent[8192];
    snprintf(sent, sizeof(sent), "%s", fake_sent());
    fake_stop();
    return sent;
}

static void expect(const char *input, const char *expected)
{
    const char *sent = session(input);
    if (strcmp(sent, expected) != 0)
        fprintf(stderr, "%sgot\n%sinstead of\n%s", input, sent, expected);
    CU_ASSERT_STRING_EQUAL(sent, expected);
}

/* Messages in new/ and cur/ of a folder whose names hold `part`. */
static unsigned count_files(const char *folder, const char *part)
{
    static const char *const places[] = { "new", "cur" };
    unsigned count = 0;
    for (size_t i = 0; i < 2; i++) {
        char path[256];
        snprintf(path, sizeof(path), "%s/joe/Maildir/%s/%s", root, folder, places[i]);
        DIR *dir = opendir(path);
        for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
            count += entry->d_name[0] != '.' && strstr(entry->d_name, part) != NULL;
        if (dir != NULL)
            closedir(dir);
    }
    return count;
}

static void test_session(void)
{
    set_up();
    expect(LOGIN "LIST\r\nRETR 1\r\nRETR 2\r\nTOP 3 0\r\nDELE 2\r\n",
           LOGGED "+OK 3 messages (77 octets)\r\n1 29\r\n2 24\r\n3 24\r\n.\r\n"
                  "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK 24 octets\r\nSubject: two\r\n\r\nno end\r\n.\r\n"
                  "+OK\r\nSubject: three\r\n\r\n.\r\n+OK Deleted.\r\n");
    CU_ASSERT_EQUAL(count_files("", "host"), 3);
    CU_ASSERT_EQUAL(count_files("", ":2,S"), 0);
    expect(LOGIN "RETR 1\r\nDELE 2\r\nQUIT\r\n",
           LOGGED "+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK Deleted.\r\n+OK Bye.\r\n");
    CU_ASSERT_EQUAL(count_files("", "host"), 2);
    CU_ASSERT_EQUAL(count_files("", "M2.host"), 0);
    CU_ASSERT_EQUAL(count_files("", ":2,S"), 1);
    expect(LOGIN "LIST\r\nQUIT\r\n", LOGGED "+OK 2 messages (53 octets)\r\n1 29\r\n2 24\r\n.\r\n+OK Bye.\r\n");
    tear_down();
}

static void test_unique_ids(void)
{
    char first[256];
    set_up();
    snprintf(first, sizeof(first), "%s", session(LOGIN "UIDL\r\nQUIT\r\n"));
    CU_ASSERT_PTR_NOT_NULL(strstr(first, "\r\n1 00000001"));
    CU_ASSERT_PTR_NOT_NULL(strstr(first, "\r\n3 00000003"));
    CU_ASSERT_STRING_EQUAL(session(LOGIN "UIDL\r\nQUIT\r\n"), first);
    tear_down();
}

static void test_views(void)
{
    set_up();
    session(AS("v=3") "RETR 1\r\nRETR 2\r\n");
    expect(AS("v=3") "STAT\r\nRETR 1\r\nQUIT\r\n",
           LOGGED "+OK 3 77\r\n+OK 29 octets\r\nSubject: one\r\n\r\nHello\r\n..dot\r\n.\r\n+OK Bye.\r\n");
    expect(AS("v=3") "STAT\r\nQUIT\r\n", LOGGED "+OK 2 48\r\n+OK Bye.\r\n");
    expect(AS("v=4") "STAT\r\nQUIT\r\n", LOGGED "+OK 3 77\r\n+OK Bye.\r\n");
    expect(LOGIN "STAT\r\nQUIT\r\n", LOGGED "+OK 3 77\r\n+OK Bye.\r\n");
    tear_down();
}

static void test_trash_and_purge(void)
{
    set_up();
    session(AS("d") "RETR 1\r\nTOP 2 5\r\nQUIT\r\n");
    CU_ASSERT_EQUAL(count_files("", "host"), 2);
    CU_ASSERT_EQUAL(count_files(".Trash", ":2,S"), 1);
    session(AS("p") "RETR 1\r\nQUIT\r\n");
    CU_ASSERT_EQUAL(count_files("", "host"), 1);
    session(AS("d") "RETR 1\r\nQUIT\r\n");
    CU_ASSERT_EQUAL(count_files("", "host"), 0);
    CU_ASSERT_EQUAL(count_files(".Trash", ":2,S"), 2);
    tear_down();
}

/* An unmounted post office is a temporary failure, and nothing is made in it. */
static void test_not_a_post_office(void)
{
    char path[256];
    set_up();
    snprintf(path, sizeof(path), "%s/postern-postoffice", root);
    CU_ASSERT_EQUAL(unlink(path), 0);
    expect(LOGIN "STAT\r\n", "+OK Send your password.\r\n-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
    tear_down();
}

static void test_first_login(void)
{
    struct fault fault;
    snprintf(root, sizeof(root), "/tmp/pop3-store-XXXXXX");
    CHECK(mkdtemp(root) != NULL);
    CHECK(postoffice_init(root, SLICE_LITERAL(UUID), &fault) == 0);
    expect(LOGIN "STAT\r\nLIST\r\nUIDL\r\nRETR 1\r\nQUIT\r\n",
           LOGGED "+OK 0 0\r\n+OK 0 messages (0 octets)\r\n.\r\n+OK\r\n.\r\n-ERR There is no such message.\r\n+OK Bye.\r\n");
    tear_down();
}

static const struct unit_test tests[] = {
    { "session", test_session },
    { "unique ids", test_unique_ids },
    { "views", test_views },
    { "trash and purge", test_trash_and_purge },
    { "not a post office", test_not_a_post_office },
    { "first login", test_first_login },
};

UNIT_MAIN("pop3_store", tests)
