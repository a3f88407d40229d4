/* Unit tests of accounts: post office marker, opening, folder names, folders, subscriptions and POP3 views, in a directory of their own. */
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/memory.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"
#include "run.h"

#define UUID "5b2f9c1e-7d0a-4b7e-9d55-0a1b2c3d4e5f"

/* --- a post office for one test ----------------------------------------------------------------------------------------- */

static char root[256];
static char office[320];
static struct fault fault;

static const char *at(const char *format, ...) __attribute__((format(printf, 1, 2)));
static const char *at(const char *format, ...)
{
    static char paths[4][1024];
    static unsigned next;
    char *out = paths[next++ % 4];
    va_list args;
    va_start(args, format);
    int len = snprintf(out, sizeof(paths[0]), "%s/", office);
    vsnprintf(out + len, sizeof(paths[0]) - (size_t)len, format, args);
    va_end(args);
    return out;
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(root, sizeof(root), "%s/account.XXXXXX", tmp != NULL ? tmp : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(root));
    snprintf(office, sizeof(office), "%s/office", root);
    CU_ASSERT_EQUAL_FATAL(mkdir(office, 0750), 0);
    CU_ASSERT_EQUAL_FATAL(postoffice_init(office, SLICE_LITERAL(UUID), &fault), 0);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void end(void)
{
    CU_ASSERT_EQUAL(nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static struct account_where where_of(char separator, const char *prefix)
{
    return (struct account_where){
        .path = slice_from_string(office), .uuid = SLICE_LITERAL(UUID), .mailbox_dir = SLICE_LITERAL("joe/Maildir"),
        .control_dir = SLICE_LITERAL(""), .prefix = slice_from_string(prefix), .separator = separator,
    };
}

static struct account *open_with(char separator, const char *prefix)
{
    struct account_where where = where_of(separator, prefix);
    struct account *account = NULL;
    CU_ASSERT_EQUAL_FATAL(account_open(&where, true, &account, &fault), 0);
    return account;
}

static bool is_there(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void write_file(const char *path, const char *text)
{
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static const char *file_text(const char *path)
{
    static char text[65536];
    FILE *file = fopen(path, "r");
    size_t len = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
    text[len] = '\0';
    if (file != NULL)
        fclose(file);
    return file != NULL ? text : "(no file)";
}

static struct slice text(const char *name)
{
    return slice_from_string(name);
}

static int class_of(int result)
{
    return result == 0 ? FAULT_NONE : (int)fault.class;
}

static void deliver(struct account *account, const char *folder, const char *subject)
{
    struct mailbox *mailbox;
    struct message_writer *writer;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text(folder), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL_FATAL(message_writer_open(mailbox, &writer, &fault), 0);
    CU_ASSERT_EQUAL(message_writer_write(writer, SLICE_LITERAL("Subject: "), &fault), 0);
    CU_ASSERT_EQUAL(message_writer_write(writer, text(subject), &fault), 0);
    CU_ASSERT_EQUAL(message_writer_write(writer, SLICE_LITERAL("\r\n\r\nbody\r\n"), &fault), 0);
    CU_ASSERT_EQUAL(message_writer_deliver(writer, &fault), 0);
    message_writer_free(&writer);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    mailbox_unref(&mailbox);
}

static struct mailbox_status status_of(struct account *account, const char *folder)
{
    struct mailbox *mailbox;
    struct mailbox_status status = { 0 };
    if (account_mailbox(account, text(folder), &mailbox, &fault) != 0)
        return status;
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    mailbox_get_status(mailbox, &status);
    mailbox_unref(&mailbox);
    return status;
}

/* "INBOX+ a(s) a.b*": '+' has children, '(' ')' does not exist, '*' subscribed. */
static const char *listing_of(struct account *account)
{
    static char out[4096];
    struct arena arena = { 0 };
    struct folder *folders;
    size_t count, len = 0;
    out[0] = '\0';
    CU_ASSERT_EQUAL_FATAL(account_list(account, &arena, &folders, &count, &fault), 0);
    for (size_t i = 0; i < count; i++)
        len += (size_t)snprintf(out + len, sizeof(out) - len, "%s%s%.*s%s%s%s", i > 0 ? " " : "", folders[i].exists ? "" : "(",
                                SLICE_ARG(folders[i].name), folders[i].exists ? "" : ")", folders[i].has_children ? "+" : "",
                                folders[i].subscribed ? "*" : "");
    arena_clear(&arena);
    return out;
}

/* --- post office ------------------------------------------------------------------------------------------------------------ */

static void test_marker(void)
{
    begin();
    CU_ASSERT_STRING_EQUAL(file_text(at("postern-postoffice")), UUID "\n");
    CU_ASSERT_EQUAL(class_of(postoffice_init(office, SLICE_LITERAL(UUID), &fault)), FAULT_NONE);
    CU_ASSERT_EQUAL(class_of(postoffice_init(office, SLICE_LITERAL("other-1"), &fault)), FAULT_EXISTS);
    CU_ASSERT_STRING_EQUAL(file_text(at("postern-postoffice")), UUID "\n");
    CU_ASSERT_EQUAL(class_of(postoffice_init(office, SLICE_LITERAL("no\nuuid"), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(postoffice_init(office, SLICE_LITERAL(""), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(postoffice_init(at("missing"), SLICE_LITERAL(UUID), &fault)), FAULT_UNREACHABLE);
    end();
}

static void test_unmarked(void)
{
    begin();
    struct account_where where = where_of('.', "");
    struct account *account;
    where.uuid = SLICE_LITERAL("00000000-0000-0000-0000-000000000000");
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    CU_ASSERT_PTR_NULL(account);
    where = where_of('.', "");
    write_file(at("postern-postoffice"), "");
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    unlink(at("postern-postoffice"));
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    write_file(at("elsewhere"), UUID "\n");
    CU_ASSERT_EQUAL_FATAL(symlink("elsewhere", at("postern-postoffice")), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    unlink(at("postern-postoffice"));
    CU_ASSERT_EQUAL_FATAL(mkfifo(at("postern-postoffice"), 0600), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    CU_ASSERT_FALSE(is_there(at("joe")));
    where.path = SLICE_LITERAL("/nonexistent/office");
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    where.path = SLICE_LITERAL("office");
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_INVALID);
    end();
}

static void no_notice(void *context)
{
    (void)context;
}

/* What nobody has open is found again while it is kept, and is looked at again when it is not. */
static void test_kept(void)
{
    begin();
    struct account_where where = where_of('.', "");
    store_keep_idle(60000);
    struct account *account = open_with('.', ""), *first = account;
    struct mailbox *mailbox, *again;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("INBOX"), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    struct mailbox *kept = mailbox;
    /* Changes are noticed without a view, too. */
    struct view *view = view_open(mailbox, false, no_notice, NULL);
    view_close(&view);
    store_watch_read();
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    mailbox_unref(&mailbox);
    deliver(account, "INBOX", "one");
    store_watch_read();
    CU_ASSERT(mailbox_is_dirty(kept));
    account_unref(&account);
    account = account_find(&where);
    CU_ASSERT_PTR_EQUAL_FATAL(account, first);
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("INBOX"), &again, &fault), 0);
    CU_ASSERT_PTR_EQUAL(again, kept);
    struct mailbox_status status;
    CU_ASSERT_EQUAL(mailbox_sync(again, &fault), 0);
    mailbox_get_status(again, &status);
    CU_ASSERT_EQUAL(status.messages, 1);
    mailbox_unref(&again);
    /* A folder that was deleted meanwhile is another one. */
    CU_ASSERT_EQUAL(account_create(account, text("Other"), &fault), 0);
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("Other"), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    mailbox_unref(&mailbox);
    CU_ASSERT_EQUAL(account_delete(account, text("Other"), &fault), 0);
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text("Other"), &mailbox, &fault)), FAULT_NOT_FOUND);
    account_unref(&account);
    where.prefix = SLICE_LITERAL("INBOX.");
    CU_ASSERT_PTR_NULL(account_find(&where));
    where.prefix = SLICE_NONE;
    store_keep_idle(0);
    CU_ASSERT_PTR_NULL(account_find(&where));
    end();
}

/* --- mailboxes that need no look at the disk ---------------------------------------------------------------------------------- */

static bool is_found(struct account *account, const char *folder)
{
    struct mailbox *mailbox = account_mailbox_settled(account, text(folder));
    bool found = mailbox != NULL;
    mailbox_unref(&mailbox);
    return found;
}

static void stranger_appends(const char *path)
{
    FILE *file = fopen(path, "a");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs("# a stranger\n", file);
    fclose(file);
}

/* What a stranger may do between two looks, and whether the next one must go to the disk. */
static void stranger_delivers(void) { write_file(at("joe/Maildir/.A/new/9.stranger"), "Subject: x\n\n"); }
static void stranger_flags(void) { CU_ASSERT_EQUAL(rename(at("joe/Maildir/.A/cur/9.stranger:2,"), at("joe/Maildir/.A/cur/9.stranger:2,S")), 0); }
static void stranger_removes(void) { CU_ASSERT_EQUAL(unlink(at("joe/Maildir/.A/cur/9.stranger:2,S")), 0); }
static void list_grows(void) { stranger_appends(at("joe/Maildir/.A/dovecot-uidlist")); }
static void keywords_come(void) { write_file(at("joe/Maildir/.A/dovecot-keywords"), "0 $Work\n"); }
static void list_goes(void) { CU_ASSERT_EQUAL(unlink(at("joe/Maildir/.A/dovecot-uidlist")), 0); }
static void index_is_written(void) { stranger_appends(at("joe/Maildir/.A/dovecot.index.log")); }
static void temporary_file(void) { write_file(at("joe/Maildir/.A/tmp/9.stranger"), "x"); }
static void sibling_comes(void) { CU_ASSERT_EQUAL(mkdir(at("joe/Maildir/.A.B"), 0700), 0); }

static const struct { const char *name; void (*change)(void); bool settled; } strange_rows[] = {
    { "nothing", NULL, true },          { "index", index_is_written, true },   { "temporary", temporary_file, true },
    { "sibling", sibling_comes, true }, { "delivery", stranger_delivers, false }, { "flags", stranger_flags, false },
    { "removal", stranger_removes, false }, { "list", list_grows, false },      { "keywords", keywords_come, false },
    { "list removed", list_goes, false },
};

/* Known by name after a view was opened and a sync has found nothing under the watch. */
static struct view *settle(struct account *account, const char *folder)
{
    struct mailbox *mailbox;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text(folder), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    struct view *view = view_open(mailbox, false, no_notice, NULL);
    CU_ASSERT_FALSE(mailbox_is_settled(mailbox));
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    mailbox_unref(&mailbox);
    return view;
}

static void test_settled(void)
{
    begin();
    struct account *account = open_with('.', "");
    CU_ASSERT_EQUAL(account_create(account, text("A"), &fault), 0);
    CU_ASSERT_FALSE(is_found(account, "A"));
    struct view *view = settle(account, "A");
    struct mailbox *mailbox = view_mailbox(view);
    for (size_t i = 0; i < sizeof(strange_rows) / sizeof(strange_rows[0]); i++) {
        if (strange_rows[i].change != NULL)
            strange_rows[i].change();
        bool right = mailbox_is_settled(mailbox) == strange_rows[i].settled && is_found(account, "A") == strange_rows[i].settled;
        CU_ASSERT(right);
        if (!right)
            fprintf(stderr, "%s: wrong\n", strange_rows[i].name);
        /* Its own work makes events, too: they end. */
        for (int more = 0; more < 5 && !mailbox_is_settled(mailbox); more++)
            CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
        CU_ASSERT(mailbox_is_settled(mailbox));
    }
    CU_ASSERT_FALSE(is_found(account, "B"));
    /* Another folder under the name: the object is no longer what the name leads to, whatever happens to it. */
    CU_ASSERT_EQUAL(rename(at("joe/Maildir/.A"), at("joe/Maildir/.C")), 0);
    CU_ASSERT_EQUAL(account_create(account, text("A"), &fault), 0);
    CU_ASSERT_FALSE(is_found(account, "A"));
    for (int more = 0; more < 5 && !mailbox_is_settled(mailbox); more++)
        CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    CU_ASSERT_FALSE(is_found(account, "A"));
    CU_ASSERT_FALSE(is_found(account, "C"));
    view_close(&view);
    account_unref(&account);
    end();
}

/* The name was given to another folder before the watch began. */
static void test_settled_name(void)
{
    begin();
    struct account *account = open_with('.', "");
    CU_ASSERT_EQUAL(account_create(account, text("A"), &fault), 0);
    struct mailbox *mailbox;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("A"), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL(rename(at("joe/Maildir/.A"), at("joe/Maildir/.C")), 0);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    struct view *view = view_open(mailbox, false, no_notice, NULL);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    CU_ASSERT(mailbox_is_settled(mailbox));
    CU_ASSERT_FALSE(is_found(account, "A"));
    view_close(&view);
    mailbox_unref(&mailbox);
    view = settle(account, "INBOX");
    CU_ASSERT(is_found(account, "INBOX"));
    view_close(&view);
    account_unref(&account);
    end();
}

/* A directory unmounted and another mounted under the same path while an account is open. */
static void test_remounted(void)
{
    begin();
    struct account_where where = where_of('.', "");
    struct account *first = open_with('.', ""), *second = NULL;
    char moved[400];
    snprintf(moved, sizeof(moved), "%s/moved", root);
    CU_ASSERT_EQUAL_FATAL(rename(office, moved), 0);
    CU_ASSERT_EQUAL_FATAL(mkdir(office, 0750), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &second, &fault)), FAULT_UNREACHABLE);
    CU_ASSERT_FALSE(is_there(at("joe")));
    CU_ASSERT_EQUAL_FATAL(postoffice_init(office, SLICE_LITERAL(UUID), &fault), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &second, &fault)), FAULT_NONE);
    CU_ASSERT_PTR_NOT_EQUAL(first, second);
    CU_ASSERT(is_there(at("joe/Maildir/cur")));
    account_unref(&first);
    account_unref(&second);
    end();
}

static void test_owner(void)
{
    if (geteuid() != 0)
        return;
    begin();
    struct account_where where = where_of('.', "");
    struct account *account = open_with('.', "");
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    CU_ASSERT_EQUAL_FATAL(chown(at("joe/Maildir/.a"), 12345, 0), 0);
    struct mailbox *mailbox;
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text("a"), &mailbox, &fault)), FAULT_DENIED);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, ".a"));
    account_unref(&account);
    CU_ASSERT_EQUAL_FATAL(chown(at("joe/Maildir"), 0, 12345), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, false, &account, &fault)), FAULT_DENIED);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "joe/Maildir"));
    CU_ASSERT_EQUAL_FATAL(chown(office, 12345, 0), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, false, &account, &fault)), FAULT_DENIED);
    end();
}

/* --- opening ----------------------------------------------------------------------------------------------------------------- */

static void test_open(void)
{
    begin();
    struct account_where where = where_of('.', "INBOX.");
    struct account *account, *again;
    CU_ASSERT_EQUAL(class_of(account_open(&where, false, &account, &fault)), FAULT_NOT_FOUND);
    CU_ASSERT_FALSE(is_there(at("joe")));
    CU_ASSERT_EQUAL_FATAL(account_open(&where, true, &account, &fault), 0);
    struct stat st;
    CU_ASSERT_EQUAL_FATAL(stat(at("joe/Maildir/cur"), &st), 0);
    CU_ASSERT_EQUAL(st.st_mode & 07777, 0700);
    CU_ASSERT(is_there(at("joe/Maildir/new")) && is_there(at("joe/Maildir/tmp")));
    CU_ASSERT_FALSE(is_there(at("joe/Maildir/maildirfolder")));
    CU_ASSERT_EQUAL(account_separator(account), '.');
    CU_ASSERT(slice_is(account_prefix(account), "INBOX."));
    CU_ASSERT_EQUAL_FATAL(account_open(&where, false, &again, &fault), 0);
    CU_ASSERT_PTR_EQUAL(account, again);
    struct account *third = account_ref(account);
    account_unref(&again);
    account_unref(&third);
    CU_ASSERT_PTR_NULL(third);
    struct account *other = open_with('/', "");
    CU_ASSERT_PTR_NOT_EQUAL(account, other);
    account_unref(&other);
    account_unref(&account);
    account_unref(&account);
    /* Something that is no Maildir is not made one by a session that may not create. */
    CU_ASSERT_EQUAL_FATAL(rmdir(at("joe/Maildir/cur")), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, false, &account, &fault)), FAULT_NOT_FOUND);
    CU_ASSERT_EQUAL_FATAL(account_open(&where, true, &account, &fault), 0);
    CU_ASSERT(is_there(at("joe/Maildir/cur")));
    account_unref(&account);
    end();
}

static void test_hostile_directories(void)
{
    static const char *const rows[] = { "../x", "a/../b", "", ".", "..", "/etc", "a//b", "a/", "a/./b" };
    begin();
    struct account_where where = where_of('.', "");
    struct account *account;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        where.mailbox_dir = text(rows[i]);
        CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_INVALID);
    }
    where.mailbox_dir = slice_make("a\0b", 3);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_INVALID);
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    where.mailbox_dir = text(name);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_INVALID);
    where = where_of(',', "");
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_INVALID);
    where = where_of('.', "");
    where.control_dir = SLICE_LITERAL("relative");
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_INVALID);
    CU_ASSERT_FALSE(is_there(at("a")));
    end();
}

static void test_symbolic_links(void)
{
    begin();
    struct account *account = open_with('.', "");
    struct account_where where = where_of('.', "");
    struct mailbox *mailbox;
    struct account *other;
    where.mailbox_dir = SLICE_LITERAL("eve/Maildir");
    CU_ASSERT_EQUAL_FATAL(symlink("joe", at("eve")), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, false, &other, &fault)), FAULT_DENIED);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &other, &fault)), FAULT_DENIED);
    unlink(at("eve"));
    CU_ASSERT_EQUAL_FATAL(mkdir(at("eve"), 0700), 0);
    CU_ASSERT_EQUAL_FATAL(symlink("../joe/Maildir", at("eve/Maildir")), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &other, &fault)), FAULT_DENIED);
    CU_ASSERT_EQUAL_FATAL(symlink("/etc", at("joe/Maildir/.etc")), 0);
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text("etc"), &mailbox, &fault)), FAULT_DENIED);
    CU_ASSERT_EQUAL(class_of(account_create(account, text("etc"), &fault)), FAULT_EXISTS);
    CU_ASSERT_EQUAL(class_of(account_delete(account, text("etc"), &fault)), FAULT_DENIED);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX");
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    CU_ASSERT_EQUAL_FATAL(rmdir(at("joe/Maildir/.a/new")), 0);
    CU_ASSERT_EQUAL_FATAL(symlink("../new", at("joe/Maildir/.a/new")), 0);
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text("a"), &mailbox, &fault)), FAULT_DENIED);
    CU_ASSERT(is_there("/etc/passwd"));
    account_unref(&account);
    end();
}

/* --- names --------------------------------------------------------------------------------------------------------------------- */

static void test_hostile_names(void)
{
    static const struct { char separator; const char *prefix; const char *name; } rows[] = {
        { '.', "", "../x" }, { '.', "", "a/../b" }, { '.', "", "" }, { '.', "", "." }, { '.', "", ".." }, { '.', "", "a..b" },
        { '.', "", ".a" }, { '.', "", "a.." }, { '.', "", "a/b" }, { '.', "", "/" }, { '.', "", "~a" }, { '.', "", "a\r\nb" },
        { '.', "", "t\303\251st" }, { '.', "", "a\177" }, { '/', "", "a.b" }, { '/', "", "../x" }, { '/', "", "a/../b" },
        { '/', "", "a//b" }, { '/', "", "/a" }, { '/', "", "." }, { '/', "", "a/./b" }, { '/', "", "" }, { '/', "", "/" },
        /* RFC 3501 5.1.3: unfinished, not base64, US-ASCII encoded, superfluous shift, half a pair, padding, null */
        { '.', "", "a&b" }, { '.', "", "&" }, { '.', "", "&Jjo" }, { '.', "", "&Jj!-" }, { '.', "", "&AGE-" }, { '.', "", "&AOk-&AOk-" },
        { '.', "", "&2D0-" }, { '.', "", "&3gA-" }, { '.', "", "&AOl-" }, { '.', "", "&AOkA-" }, { '.', "", "&AAA-" }, { '.', "", "&A-" },
        { '.', "INBOX.", "a" }, { '.', "INBOX.", "INBOX." "." }, { '.', "INBOX.", "INBOXa" }, { '.', "INBOX.", "INBOX.inbox" },
        { '/', "Mail/", "mail/a" }, { '/', "Mail/", "Mail/a.b" }, { '/', "Mail/", "a" },
    };
    begin();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct account *account = open_with(rows[i].separator, rows[i].prefix);
        int class = class_of(account_create(account, text(rows[i].name), &fault));
        if (class != FAULT_INVALID)
            printf("\n  %s gave %d\n", rows[i].name, class);
        CU_ASSERT_EQUAL(class, FAULT_INVALID);
        CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX");
        account_unref(&account);
    }
    struct account *account = open_with('.', "");
    struct mailbox *mailbox;
    char name[301];
    memset(name, 'n', 300);
    name[300] = '\0';
    CU_ASSERT_EQUAL(class_of(account_create(account, slice_make("a\0b", 3), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(account_create(account, text(name), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(account_create(account, slice_make(name, 255), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text(name), &mailbox, &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text("../joe"), &mailbox, &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(account_delete(account, text(".."), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, text("a\nb"), true, &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(account_create(account, slice_make(name, 254), &fault), 0);
    CU_ASSERT_EQUAL(class_of(account_rename(account, slice_make(name, 254), text("x/y"), &fault)), FAULT_INVALID);
    account_unref(&account);
    end();
}

static void test_names_on_disk(void)
{
    static const struct { char separator; const char *prefix; const char *name; const char *disk; } rows[] = {
        { '.', "", "a", ".a" }, { '.', "", "a.b", ".a.b" }, { '.', "", "a.b.", ".a.b" }, { '/', "", "a/b", ".a.b" },
        { '/', "", "a/b/", ".a.b" }, { '.', "INBOX.", "INBOX.a", ".a" }, { '.', "INBOX.", "inbox.a.b", ".a.b" },
        { '/', "Mail/", "Mail/a/b", ".a.b" }, { '.', "", "&AOk-", ".&AOk-" }, { '.', "", "R&-D", ".R&-D" },
        { '.', "", "&2D3eAA-x", ".&2D3eAA-x" }, { '.', "", "inbox.x", ".INBOX.x" }, { '.', "", "a b*%", ".a b*%" },
        { '.', "", "&ZeVnLIqe-", ".&ZeVnLIqe-" },
    };
    begin();
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct account *account = open_with(rows[i].separator, rows[i].prefix);
        CU_ASSERT_EQUAL(class_of(account_create(account, text(rows[i].name), &fault)), FAULT_NONE);
        CU_ASSERT(is_there(at("joe/Maildir/%s/maildirfolder", rows[i].disk)));
        CU_ASSERT(is_there(at("joe/Maildir/%s/cur", rows[i].disk)) && is_there(at("joe/Maildir/%s/tmp", rows[i].disk)));
        CU_ASSERT_EQUAL(class_of(account_create(account, text(rows[i].name), &fault)), FAULT_EXISTS);
        CU_ASSERT_EQUAL(class_of(account_delete(account, text(rows[i].name), &fault)), FAULT_NONE);
        CU_ASSERT_FALSE(is_there(at("joe/Maildir/%s", rows[i].disk)));
        CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX");
        account_unref(&account);
    }
    end();
}

/* --- folders ----------------------------------------------------------------------------------------------------------------- */

static void test_list(void)
{
    begin();
    struct account *account = open_with('.', "");
    static const char *const odd[] = { "..DOVECOT-TRASHED", ".a..b", ".bad&name", "postern-aside.1", ".INBOX", ".inbox.low", "plain" };
    for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
        CU_ASSERT_EQUAL(mkdir(at("joe/Maildir/%s", odd[i]), 0700), 0);
    write_file(at("joe/Maildir/.file"), "");
    CU_ASSERT_EQUAL(mkdir(at("joe/Maildir/.half"), 0700), 0);
    CU_ASSERT_EQUAL(account_create(account, text("a.b.c"), &fault), 0);
    CU_ASSERT_EQUAL(account_create(account, text("Z"), &fault), 0);
    CU_ASSERT_EQUAL(account_subscribe(account, text("Z"), true, &fault), 0);
    CU_ASSERT_EQUAL(account_subscribe(account, text("gone.x"), true, &fault), 0);
    CU_ASSERT_EQUAL(account_subscribe(account, text("inbox"), true, &fault), 0);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX* Z* (a)+ (a.b)+ a.b.c (gone.x)* half");
    account_unref(&account);
    account = open_with('/', "Mail/");
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX* (Mail)+ Mail/Z* (Mail/a)+ (Mail/a/b)+ Mail/a/b/c (Mail/gone/x)* "
                                                "Mail/half (Mail/inbox)+ Mail/inbox/low");
    account_unref(&account);
    end();
}

static void test_special_use(void)
{
    begin();
    struct account *account = open_with('.', "INBOX.");
    static const struct { const char *name; enum folder_use use; } rows[] = {
        { "INBOX.Archive", FOLDER_ARCHIVE }, { "INBOX.Drafts", FOLDER_DRAFTS }, { "INBOX.Junk", FOLDER_JUNK },
        { "INBOX.Sent", FOLDER_SENT }, { "INBOX.Spam", FOLDER_JUNK }, { "INBOX.trash", FOLDER_TRASH }, { "INBOX.x.Trash", FOLDER_PLAIN },
    };
    size_t rows_count = sizeof(rows) / sizeof(rows[0]), count = 0;
    for (size_t i = 0; i < rows_count; i++)
        CU_ASSERT_EQUAL(account_create(account, text(rows[i].name), &fault), 0);
    struct arena arena = { 0 };
    struct folder *folders;
    CU_ASSERT_EQUAL_FATAL(account_list(account, &arena, &folders, &count, &fault), 0);
    size_t found = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t j = 0; j < rows_count; j++)
            if (slice_is(folders[i].name, rows[j].name)) {
                CU_ASSERT_EQUAL(folders[i].use, rows[j].use);
                found++;
            }
    CU_ASSERT_EQUAL(found, rows_count);
    CU_ASSERT(slice_is(folders[0].name, "INBOX") && folders[0].has_children && folders[0].use == FOLDER_PLAIN);
    arena_clear(&arena);
    account_unref(&account);
    end();
}

static void test_modes(void)
{
    begin();
    struct account *account = open_with('.', "");
    account_unref(&account);
    CU_ASSERT_EQUAL_FATAL(chmod(at("joe/Maildir"), 02770), 0);
    account = open_with('.', "");
    mode_t old = umask(077);
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    CU_ASSERT_EQUAL(account_subscribe(account, text("a"), true, &fault), 0);
    umask(old);
    struct stat st;
    CU_ASSERT(stat(at("joe/Maildir/.a/cur"), &st) == 0 && (st.st_mode & 07777) == 02770);
    CU_ASSERT(stat(at("joe/Maildir/.a/maildirfolder"), &st) == 0 && (st.st_mode & 07777) == 0660);
    CU_ASSERT(stat(at("joe/Maildir/subscriptions"), &st) == 0 && (st.st_mode & 07777) == 0660);
    account_unref(&account);
    end();
}

static void test_delete(void)
{
    begin();
    struct account *account = open_with('.', "");
    struct mailbox *mailbox;
    CU_ASSERT_EQUAL(class_of(account_delete(account, text("a"), &fault)), FAULT_NOT_FOUND);
    CU_ASSERT_EQUAL(class_of(account_delete(account, text("inbox"), &fault)), FAULT_DENIED);
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    CU_ASSERT_EQUAL(account_create(account, text("a.b"), &fault), 0);
    deliver(account, "a", "one");
    struct mailbox_status before = status_of(account, "a");
    CU_ASSERT_EQUAL(before.messages, 1);
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("a"), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    CU_ASSERT_EQUAL(class_of(account_delete(account, text("a"), &fault)), FAULT_NONE);
    CU_ASSERT_EQUAL(class_of(mailbox_sync(mailbox, &fault)), FAULT_GONE);
    mailbox_unref(&mailbox);
    CU_ASSERT_EQUAL(class_of(account_mailbox(account, text("a"), &mailbox, &fault)), FAULT_NOT_FOUND);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX (a)+ a.b");
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    struct mailbox_status after = status_of(account, "a");
    CU_ASSERT_EQUAL(after.messages, 0);
    CU_ASSERT_NOT_EQUAL(after.uid_validity, before.uid_validity);
    /* Somebody else's lock: nothing has changed. */
    char host[256], lock[400];
    gethostname(host, sizeof(host));
    snprintf(lock, sizeof(lock), "%d:%s", (int)getppid(), host);
    write_file(at("joe/Maildir/.a/dovecot-uidlist.lock"), lock);
    CU_ASSERT_EQUAL(class_of(account_delete(account, text("a"), &fault)), FAULT_BUSY);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("c"), &fault)), FAULT_BUSY);
    CU_ASSERT(is_there(at("joe/Maildir/.a/cur")) && !is_there(at("joe/Maildir/.c")));
    account_unref(&account);
    end();
}

/* A folder moved below itself whose lock is taken after its child was moved: the call repeated moves no child twice. */
static void test_rename_below_itself_busy(void)
{
    begin();
    struct account *account = open_with('.', "");
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    CU_ASSERT_EQUAL(account_create(account, text("a.c"), &fault), 0);
    char host[256], lock[400];
    gethostname(host, sizeof(host));
    snprintf(lock, sizeof(lock), "%d:%s", (int)getppid(), host);
    write_file(at("joe/Maildir/.a/dovecot-uidlist.lock"), lock);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("a.b"), &fault)), FAULT_BUSY);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("a.b"), &fault)), FAULT_BUSY);
    CU_ASSERT_EQUAL(unlink(at("joe/Maildir/.a/dovecot-uidlist.lock")), 0);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("a.b"), &fault)), FAULT_NONE);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX (a)+ a.b+ a.b.c");
    account_unref(&account);
    end();
}

static void test_rename(void)
{
    begin();
    struct account *account = open_with('/', "");
    struct mailbox *mailbox;
    static const char *const names[] = { "a", "a/b", "a/b/c", "ab", "x" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        CU_ASSERT_EQUAL(account_create(account, text(names[i]), &fault), 0);
    deliver(account, "a/b", "one");
    struct mailbox_status before = status_of(account, "a/b");
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("a/b"), &mailbox, &fault), 0);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("x"), &fault)), FAULT_EXISTS);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("INBOX"), &fault)), FAULT_EXISTS);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("none"), text("y"), &fault)), FAULT_NOT_FOUND);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("a"), text("q/r"), &fault)), FAULT_NONE);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX ab (q)+ q/r+ q/r/b+ q/r/b/c x");
    struct mailbox_status after = status_of(account, "q/r/b");
    CU_ASSERT_EQUAL(after.uid_validity, before.uid_validity);
    CU_ASSERT_EQUAL(after.messages, 1);
    CU_ASSERT_EQUAL(mailbox_sync(mailbox, &fault), 0);
    mailbox_unref(&mailbox);
    /* A name that is only a parent moves what is below it; and a folder may move below itself. */
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("q"), text("z"), &fault)), FAULT_NONE);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("z/r"), text("z/r/new"), &fault)), FAULT_NONE);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX ab x (z)+ (z/r)+ z/r/new+ z/r/new/b+ z/r/new/b/c");
    CU_ASSERT_EQUAL(status_of(account, "z/r/new/b").uid_validity, before.uid_validity);
    char name[260];
    memset(name, 'n', 252);
    name[252] = '\0';
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("z"), text(name), &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(status_of(account, "z/r/new/b").messages, 1);
    account_unref(&account);
    end();
}

static void test_rename_inbox(void)
{
    begin();
    struct account *account = open_with('.', "INBOX.");
    deliver(account, "INBOX", "one");
    deliver(account, "INBOX", "two");
    CU_ASSERT_EQUAL(account_create(account, text("INBOX.child"), &fault), 0);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("inbox"), text("INBOX.child"), &fault)), FAULT_EXISTS);
    struct mailbox_status before = status_of(account, "INBOX");
    CU_ASSERT_EQUAL(before.messages, 2);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("inbox"), text("INBOX.old"), &fault)), FAULT_NONE);
    CU_ASSERT_EQUAL(status_of(account, "INBOX.old").messages, 2);
    CU_ASSERT_EQUAL(status_of(account, "INBOX").messages, 0);
    CU_ASSERT_EQUAL(status_of(account, "INBOX").uid_validity, before.uid_validity);
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX+ INBOX.child INBOX.old");
    /* An empty INBOX too, and again after somebody held the lock of the first attempt. */
    char host[256], lock[400];
    gethostname(host, sizeof(host));
    snprintf(lock, sizeof(lock), "%d:%s", (int)getppid(), host);
    deliver(account, "INBOX", "three");
    write_file(at("joe/Maildir/dovecot-uidlist.lock"), lock);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("INBOX"), text("INBOX.new"), &fault)), FAULT_BUSY);
    CU_ASSERT_EQUAL(unlink(at("joe/Maildir/dovecot-uidlist.lock")), 0);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("INBOX"), text("INBOX.new"), &fault)), FAULT_NONE);
    CU_ASSERT_EQUAL(status_of(account, "INBOX.new").messages, 1);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("INBOX"), text("INBOX.new"), &fault)), FAULT_EXISTS);
    CU_ASSERT_EQUAL(class_of(account_rename(account, text("INBOX"), text("INBOX.empty"), &fault)), FAULT_NONE);
    account_unref(&account);
    end();
}

/* Dovecot's CONTROL=: a directory for each folder, for INBOX too. */
static void test_control(void)
{
    begin();
    struct account_where where = where_of('.', "");
    struct account *account;
    char control[400];
    snprintf(control, sizeof(control), "%s/office/control/joe", root);
    where.control_dir = text(control);
    CU_ASSERT_EQUAL_FATAL(account_open(&where, true, &account, &fault), 0);
    deliver(account, "INBOX", "one");
    CU_ASSERT(is_there(at("control/joe/.INBOX/dovecot-uidlist")));
    CU_ASSERT(is_there(at("control/joe/dovecot-uidvalidity")));
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    deliver(account, "a", "one");
    uint32_t validity = status_of(account, "a").uid_validity;
    CU_ASSERT(is_there(at("control/joe/.a/dovecot-uidlist")));
    CU_ASSERT_FALSE(is_there(at("joe/Maildir/.a/dovecot-uidlist")));
    CU_ASSERT_EQUAL(account_subscribe(account, text("a"), true, &fault), 0);
    CU_ASSERT(is_there(at("control/joe/subscriptions")));
    CU_ASSERT_EQUAL(account_rename(account, text("a"), text("b"), &fault), 0);
    CU_ASSERT(is_there(at("control/joe/.b/dovecot-uidlist")) && !is_there(at("control/joe/.a")));
    CU_ASSERT_FALSE(is_there(at("joe/Maildir/.b/postern-control-from")));
    CU_ASSERT_EQUAL(status_of(account, "b").uid_validity, validity);
    /* A crash between the two renames. */
    CU_ASSERT_EQUAL_FATAL(rename(at("joe/Maildir/.b"), at("joe/Maildir/.c")), 0);
    write_file(at("joe/Maildir/.c/postern-control-from"), ".b");
    CU_ASSERT_EQUAL(status_of(account, "c").uid_validity, validity);
    CU_ASSERT(is_there(at("control/joe/.c/dovecot-uidlist")) && !is_there(at("joe/Maildir/.c/postern-control-from")));
    CU_ASSERT_EQUAL(account_delete(account, text("c"), &fault), 0);
    CU_ASSERT_FALSE(is_there(at("control/joe/.c")));
    /* Left behind by a crash: not taken up by the next folder of that name. */
    CU_ASSERT_EQUAL_FATAL(mkdir(at("control/joe/.d"), 0700), 0);
    write_file(at("control/joe/.d/dovecot-uidlist"), "3 V77 N9 G00000000000000000000000000000001\n");
    CU_ASSERT_EQUAL(account_create(account, text("d"), &fault), 0);
    CU_ASSERT_NOT_EQUAL(status_of(account, "d").uid_validity, 77);
    account_unref(&account);
    /* A control directory that is missing for a mailbox with mail may be unmounted. */
    CU_ASSERT_EQUAL_FATAL(rename(at("control"), at("control.away")), 0);
    CU_ASSERT_EQUAL(class_of(account_open(&where, true, &account, &fault)), FAULT_UNREACHABLE);
    CU_ASSERT_FALSE(is_there(at("control")));
    end();
}

static void test_sweep(void)
{
    begin();
    struct account *account = open_with('.', "");
    /* Of this moment: somebody may be at work on it. */
    CU_ASSERT_EQUAL(mkdir(at("joe/Maildir/postern-aside.1"), 0700), 0);
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    CU_ASSERT(is_there(at("joe/Maildir/postern-aside.1")));
    account_unref(&account);
    end();
}

/* --- subscriptions -------------------------------------------------------------------------------------------------------------- */

static void test_subscriptions(void)
{
    static const struct { const char *before; const char *name; bool on; const char *after; } rows[] = {
        { "", "a/b", true, "a.b\n" },
        { "V\t2\n\n", "a/b", true, "V\t2\n\na\tb\n" },
        { "INBOX\na.b\n", "x", true, "INBOX\na.b\nx\n" },
        { "INBOX\na.b\n", "a/b", true, "INBOX\na.b\n" },
        { "INBOX\na.b\n", "inbox", false, "a.b\n" },
        { "INBOX\na.b", "x", true, "INBOX\na.b\nx\n" },
        { "INBOX\na.b", "a/b", false, "INBOX\n" },
        { "INBOX\n", "none", false, "INBOX\n" },
        { "V\t2\n\nINBOX\na\tb\nodd\001tname\n", "a/b", false, "V\t2\n\nINBOX\nodd\001tname\n" },
        { "V\t2\n\na\tb\n\nc\n", "d/e/f", true, "V\t2\n\na\tb\n\nc\nd\te\tf\n" },
        { "V\t2\n\na.b\n", "a/b", false, "V\t2\n\na.b\n" },
        { "R&-D\n", "R&-D", false, "" },
    };
    begin();
    struct account *account = open_with('/', "");
    CU_ASSERT_EQUAL(account_subscribe(account, text("first/one"), true, &fault), 0);
    CU_ASSERT_STRING_EQUAL(file_text(at("joe/Maildir/subscriptions")), "V\t2\n\nfirst\tone\n");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        write_file(at("joe/Maildir/subscriptions"), rows[i].before);
        CU_ASSERT_EQUAL(account_subscribe(account, text(rows[i].name), rows[i].on, &fault), 0);
        CU_ASSERT_STRING_EQUAL(file_text(at("joe/Maildir/subscriptions")), rows[i].after);
        CU_ASSERT_FALSE(is_there(at("joe/Maildir/subscriptions.lock")));
    }
    write_file(at("joe/Maildir/subscriptions"), "V\t2\n\nINBOX\na\tb\nbroken&\nodd\001tname\n\nlast");
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX* (a/b)* (last)*");
    account_unref(&account);
    account = open_with('.', "INBOX.");
    write_file(at("joe/Maildir/subscriptions"), "inbox\na.b\n");
    CU_ASSERT_EQUAL(account_subscribe(account, text("INBOX.c"), true, &fault), 0);
    CU_ASSERT_STRING_EQUAL(file_text(at("joe/Maildir/subscriptions")), "inbox\na.b\nc\n");
    CU_ASSERT_STRING_EQUAL(listing_of(account), "INBOX* (INBOX.a.b)* (INBOX.c)*");
    account_unref(&account);
    end();
}

static void test_subscriptions_lock(void)
{
    begin();
    struct account *account = open_with('.', "");
    write_file(at("joe/Maildir/subscriptions"), "a\n");
    write_file(at("joe/Maildir/subscriptions.lock"), "half writ");
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, text("b"), true, &fault)), FAULT_BUSY);
    CU_ASSERT_STRING_EQUAL(file_text(at("joe/Maildir/subscriptions")), "a\n");
    CU_ASSERT_STRING_EQUAL(file_text(at("joe/Maildir/subscriptions.lock")), "half writ");
    struct timespec now, times[2];
    clock_gettime(CLOCK_REALTIME, &now);
    times[0] = times[1] = (struct timespec){ now.tv_sec - 25, 0 };
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, at("joe/Maildir/subscriptions.lock"), times, 0), 0);
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, text("b"), true, &fault)), FAULT_BUSY);
    times[0] = times[1] = (struct timespec){ now.tv_sec - 40, 0 };
    CU_ASSERT_EQUAL(utimensat(AT_FDCWD, at("joe/Maildir/subscriptions.lock"), times, 0), 0);
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, text("b"), true, &fault)), FAULT_NONE);
    CU_ASSERT_STRING_EQUAL(file_text(at("joe/Maildir/subscriptions")), "a\nb\n");
    CU_ASSERT_FALSE(is_there(at("joe/Maildir/subscriptions.lock")));
    CU_ASSERT_EQUAL_FATAL(unlink(at("joe/Maildir/subscriptions")), 0);
    CU_ASSERT_EQUAL_FATAL(symlink("/etc/passwd", at("joe/Maildir/subscriptions")), 0);
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, text("b"), true, &fault)), FAULT_DENIED);
    CU_ASSERT_FALSE(is_there(at("joe/Maildir/subscriptions.lock")));
    account_unref(&account);
    end();
}

static void test_subscriptions_cap(void)
{
    begin();
    struct account *account = open_with('.', "");
    FILE *file = fopen(at("joe/Maildir/subscriptions"), "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    for (int i = 0; i < 1048574 / 10; i++)
        fprintf(file, "n%08d\n", i);
    fclose(file);
    char name[200];
    memset(name, 'x', sizeof(name));
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, slice_make(name, sizeof(name)), true, &fault)), FAULT_LIMIT);
    CU_ASSERT_EQUAL(class_of(account_subscribe(account, text("n00000000"), false, &fault)), FAULT_NONE);
    CU_ASSERT_FALSE(is_there(at("joe/Maildir/subscriptions.lock")));
    account_unref(&account);
    end();
}

/* --- POP3 views -------------------------------------------------------------------------------------------------------------------- */

static const char *view_text(struct mailbox *mailbox, unsigned view)
{
    static char out[256];
    struct uidset uids = { 0 };
    struct buf written = { 0 };
    CU_ASSERT_EQUAL(pop3view_load(mailbox, view, &uids, &fault), 0);
    uidset_write(&uids, &written);
    snprintf(out, sizeof(out), "%.*s", (int)written.len, written.len > 0 ? written.data : "");
    uidset_fini(&uids);
    buf_fini(&written);
    return out;
}

static void add_to_view(struct mailbox *mailbox, unsigned view, uint32_t first, uint32_t last)
{
    struct uidset uids = { 0 };
    uidset_add_range(&uids, first, last);
    CU_ASSERT_EQUAL(class_of(pop3view_add(mailbox, view, &uids, &fault)), FAULT_NONE);
    uidset_fini(&uids);
}

static void test_pop3views(void)
{
    begin();
    struct account *account = open_with('.', "");
    for (int i = 0; i < 5; i++)
        deliver(account, "INBOX", "one");
    struct mailbox *inbox;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("INBOX"), &inbox, &fault), 0);
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 1), "");
    add_to_view(inbox, 1, 1, 2);
    add_to_view(inbox, 1, 4, 4);
    add_to_view(inbox, 31, 5, 5);
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 1), "1:2,4");
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 2), "");
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 31), "5");
    struct uidset gone = { 0 };
    uidset_add(&gone, 1);
    CU_ASSERT_EQUAL(class_of(mailbox_expunge(inbox, &gone, true, NULL, &fault)), FAULT_NONE);
    CU_ASSERT_EQUAL(mailbox_sync(inbox, &fault), 0);
    add_to_view(inbox, 2, 1, 3);
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 1), "2,4");
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 2), "2:3");
    CU_ASSERT_EQUAL(class_of(pop3view_load(inbox, 0, &gone, &fault)), FAULT_INVALID);
    CU_ASSERT_EQUAL(class_of(pop3view_add(inbox, 32, &gone, &fault)), FAULT_INVALID);
    /* Another gateway has seen newer mail. */
    struct mailbox_status status = status_of(account, "INBOX");
    char file[200];
    snprintf(file, sizeof(file), "1 V%u\n3 1:2,90\n", (unsigned)status.uid_validity);
    write_file(at("joe/Maildir/postern-pop3views"), file);
    add_to_view(inbox, 3, 3, 3);
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 3), "2:3,90");
    /* Another UIDVALIDITY, and a broken file. */
    write_file(at("joe/Maildir/postern-pop3views"), "1 V1\n3 1:2\n");
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 3), "");
    static const char *const broken[] = { "junk", "1 Vx\n", "1 V%u\n3 2:1\n", "1 V%u\n3 0\n", "1 V%u\n32 2\n", "1 V%u\n3 2,\n", "1 V%u\n3\n" };
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
        const char *mark = strstr(broken[i], "%u");
        if (mark != NULL)
            snprintf(file, sizeof(file), "%.*s%u%s", (int)(mark - broken[i]), broken[i], (unsigned)status.uid_validity, mark + 2);
        else
            snprintf(file, sizeof(file), "%s", broken[i]);
        write_file(at("joe/Maildir/postern-pop3views"), file);
        CU_ASSERT_STRING_EQUAL(view_text(inbox, 3), "");
    }
    add_to_view(inbox, 3, 3, 3);
    CU_ASSERT_STRING_EQUAL(view_text(inbox, 3), "3");
    uidset_fini(&gone);
    mailbox_unref(&inbox);
    account_unref(&account);
    end();
}

/* --- moving -------------------------------------------------------------------------------------------------------------------------- */

/* Somebody holds the source's lock all the while, renames the message, and nobody keeps the mailbox open. */
static void test_move_from_busy(void)
{
    begin();
    struct account *account = open_with('.', "");
    CU_ASSERT_EQUAL(account_create(account, text("a"), &fault), 0);
    deliver(account, "INBOX", "one");
    struct mailbox *inbox, *target;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("INBOX"), &inbox, &fault), 0);
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("a"), &target, &fault), 0);
    CU_ASSERT_EQUAL(mailbox_sync(inbox, &fault), 0);
    char host[256], lock[400];
    gethostname(host, sizeof(host));
    snprintf(lock, sizeof(lock), "%d:%s", (int)getppid(), host);
    write_file(at("joe/Maildir/dovecot-uidlist.lock"), lock);
    struct uidset uids = { 0 }, sources = { 0 }, targets = { 0 };
    uidset_add(&uids, 1);
    CU_ASSERT_EQUAL(class_of(mailbox_copy(inbox, &uids, target, true, &sources, &targets, &fault)), FAULT_BUSY);
    CU_ASSERT(uidset_has(&sources, 1) && uidset_has(&targets, 1));
    mailbox_unref(&inbox);
    mailbox_unref(&target);
    char command[1200];
    snprintf(command, sizeof(command), "cd %s/joe/Maildir/cur && for f in *; do mv \"$f\" \"${f%%%%:2,*}:2,F\"; done", office);
    CU_ASSERT_EQUAL(system(command), 0);
    CU_ASSERT_EQUAL(unlink(at("joe/Maildir/dovecot-uidlist.lock")), 0);
    CU_ASSERT_EQUAL(status_of(account, "INBOX").messages, 0);
    CU_ASSERT_EQUAL(status_of(account, "a").messages, 1);
    uidset_fini(&uids);
    uidset_fini(&sources);
    uidset_fini(&targets);
    account_unref(&account);
    end();
}

/* --- */

static void test_mailbox_keeps_account(void)
{
    begin();
    struct account *account = open_with('.', "");
    struct mailbox *first, *second;
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("INBOX"), &first, &fault), 0);
    CU_ASSERT_EQUAL_FATAL(account_mailbox(account, text("inbox"), &second, &fault), 0);
    CU_ASSERT_PTR_EQUAL(first, second);
    account_unref(&account);
    CU_ASSERT_EQUAL(mailbox_sync(first, &fault), 0);
    mailbox_unref(&first);
    CU_ASSERT_EQUAL(mailbox_sync(second, &fault), 0);
    mailbox_unref(&second);
    end();
}

static const struct unit_test tests[] = {
    { "marker", test_marker },
    { "unmarked", test_unmarked },
    { "kept while nobody has it open", test_kept },
    { "settled", test_settled }, { "settled by name", test_settled_name },
    { "remounted", test_remounted },
    { "owner", test_owner },
    { "open", test_open },
    { "hostile directories", test_hostile_directories },
    { "symbolic links", test_symbolic_links },
    { "hostile names", test_hostile_names },
    { "names on disk", test_names_on_disk },
    { "list", test_list },
    { "special use", test_special_use },
    { "modes", test_modes },
    { "delete", test_delete },
    { "rename", test_rename }, { "rename below itself", test_rename_below_itself_busy },
    { "rename inbox", test_rename_inbox },
    { "control", test_control },
    { "sweep", test_sweep },
    { "subscriptions", test_subscriptions },
    { "subscriptions lock", test_subscriptions_lock },
    { "subscriptions cap", test_subscriptions_cap },
    { "pop3 views", test_pop3views },
    { "move from a busy folder", test_move_from_busy },
    { "mailbox keeps account", test_mailbox_keeps_account },
};

UNIT_MAIN("account", tests)
