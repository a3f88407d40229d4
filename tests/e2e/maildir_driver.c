/* maildir_driver: src/store behind a line protocol, for referee.py: one command a line on standard input, data lines and then "OK" or
 * "NO <fault class> <text>" on standard output. A command whose step finds a lock held is tried again, as a session would.
 *
 *   maildir_driver OFFICE UUID MAILBOX_DIR CONTROL_DIR|- SEPARATOR */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "postern/base/arena.h"
#include "postern/base/clock.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"

enum { WORDS_MAX = 8, BUSY_LIMIT_MS = 60000 };

static struct account *account;
static struct fault fault;
static struct slice words[WORDS_MAX];

typedef int step_fn(void);

static bool parse_uids(struct slice text, struct uidset *out)
{
    struct slice part;
    while (slice_split(&text, ',', &part)) {
        struct slice first, rest = part;
        uint64_t from, to;
        if (!slice_split(&rest, ':', &first) || !slice_to_number(first, UINT32_MAX, &from))
            return false;
        to = from;
        if (rest.data != NULL && !slice_to_number(rest, UINT32_MAX, &to))
            return false;
        uidset_add_range(out, (uint32_t)from, (uint32_t)to);
    }
    return true;
}

static const struct { char letter; uint8_t flag; } letters[] = {
    { 'D', MESSAGE_DRAFT }, { 'F', MESSAGE_FLAGGED }, { 'R', MESSAGE_ANSWERED }, { 'S', MESSAGE_SEEN }, { 'T', MESSAGE_DELETED },
};
enum { LETTERS = sizeof(letters) / sizeof(letters[0]) };

static uint8_t flags_of(struct slice text)
{
    uint8_t flags = 0;
    for (size_t i = 0; i < LETTERS; i++)
        if (slice_find(text, letters[i].letter) >= 0)
            flags |= letters[i].flag;
    return flags;
}

static size_t keywords_of(struct slice text, struct slice *out, size_t most)
{
    size_t count = 0;
    while (!slice_is(text, "-") && count < most && slice_split(&text, ',', &out[count]))
        count++;
    return count;
}

static int with_mailbox(struct slice name, int (*run)(struct mailbox *mailbox))
{
    struct mailbox *mailbox;
    if (account_mailbox(account, name, &mailbox, &fault) != 0)
        return -1;
    int result = mailbox_sync(mailbox, &fault);
    if (result == 0)
        result = run(mailbox);
    mailbox_unref(&mailbox);
    return result;
}

/* The Message-ID, without brackets, out of the first 4 KiB. */
static void print_marker(struct mailbox *mailbox, uint32_t uid)
{
    static const char field[] = "Message-ID: <";
    char head[4096];
    int fd;
    uint64_t size;
    if (mailbox_open_message(mailbox, uid, &fd, &size, NULL) != 0) {
        printf(" -");
        return;
    }
    ssize_t len = read(fd, head, sizeof(head));
    close(fd);
    struct slice text = slice_make(head, len > 0 ? (size_t)len : 0);
    ptrdiff_t start = slice_find_text_nocase(text, slice_from_string(field));
    struct slice marker = slice_from(text, start < 0 ? text.len : (size_t)start + sizeof(field) - 1);
    ptrdiff_t end = slice_find(marker, '>');
    printf(" %.*s", SLICE_ARG(end > 0 ? slice_part(marker, 0, (size_t)end) : SLICE_LITERAL("-")));
}

static void print_message(struct mailbox *mailbox, const struct message *message)
{
    char name[KEYWORD_LENGTH_MAX + 1];
    printf("M %u %llu ", (unsigned)message->uid, (unsigned long long)message->size);
    for (size_t i = 0; i < LETTERS; i++)
        if (message->flags & letters[i].flag)
            putchar(letters[i].letter);
    printf("- ");
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        if ((message->keywords >> i & 1) != 0 && mailbox_keyword_name(mailbox, i, name))
            printf("%s,", name);
    printf("-");
    print_marker(mailbox, message->uid);
    putchar('\n');
}

static int load_all(struct mailbox *mailbox)
{
    struct uidset all = { 0 };
    uidset_add_range(&all, 1, UINT32_MAX);
    int result = mailbox_load(mailbox, &all, &fault);
    uidset_fini(&all);
    return result;
}

static int list_run(struct mailbox *mailbox)
{
    static struct message messages[4096];
    struct mailbox_status status;
    if (load_all(mailbox) != 0)
        return -1;
    mailbox_get_status(mailbox, &status);
    printf("S %u %u\n", (unsigned)status.uid_validity, (unsigned)status.uid_next);
    struct view *view = view_open(mailbox, true, NULL, NULL);
    size_t count = view_read(view, 1, messages, sizeof(messages) / sizeof(messages[0]));
    for (size_t i = 0; i < count; i++)
        print_message(mailbox, &messages[i]);
    view_close(&view);
    return 0;
}

static int do_list(void)
{
    return with_mailbox(words[1], list_run);
}

/* store FOLDER UIDS add|remove|replace FLAGS KEYWORDS */
static int store_run(struct mailbox *mailbox)
{
    struct uidset uids = { 0 };
    struct slice names[KEYWORDS_MAX];
    struct flag_update update = { .flags = flags_of(words[4]), .keywords = names };
    update.change = slice_is(words[3], "add") ? FLAGS_ADD : slice_is(words[3], "remove") ? FLAGS_REMOVE : FLAGS_REPLACE;
    update.keyword_count = keywords_of(words[5], names, KEYWORDS_MAX);
    int result = parse_uids(words[2], &uids) ? mailbox_update_flags(mailbox, &uids, &update, &fault)
                                             : fault_set(&fault, FAULT_INVALID, 0, "uids");
    uidset_fini(&uids);
    return result;
}

static int do_store(void)
{
    return with_mailbox(words[1], store_run);
}

static int expunge_run(struct mailbox *mailbox)
{
    struct uidset uids = { 0 }, gone = { 0 };
    int result = parse_uids(words[2], &uids) ? mailbox_expunge(mailbox, &uids, slice_is(words[3], "forced"), &gone, &fault)
                                             : fault_set(&fault, FAULT_INVALID, 0, "uids");
    if (result == 0)
        printf("E %llu\n", (unsigned long long)uidset_size(&gone));
    uidset_fini(&uids);
    uidset_fini(&gone);
    return result;
}

static int do_expunge(void)
{
    return with_mailbox(words[1], expunge_run);
}

static int copy_run(struct mailbox *from)
{
    struct uidset uids = { 0 }, sources = { 0 }, targets = { 0 };
    struct mailbox *to;
    if (account_mailbox(account, words[3], &to, &fault) != 0)
        return -1;
    uint64_t end = clock_monotonic_ms() + BUSY_LIMIT_MS;
    int result = parse_uids(words[2], &uids) ? 0 : fault_set(&fault, FAULT_INVALID, 0, "uids");
    bool move = slice_is(words[0], "move"), again = result == 0;
    while (again) {
        result = mailbox_copy(from, &uids, to, move, &sources, &targets, &fault);
        again = result != 0 && fault.class == FAULT_BUSY && clock_monotonic_ms() < end;
        if (again)
            nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    }
    if (result == 0)
        printf("C %llu %llu\n", (unsigned long long)uidset_size(&sources), (unsigned long long)uidset_size(&targets));
    mailbox_unref(&to);
    uidset_fini(&uids);
    uidset_fini(&sources);
    uidset_fini(&targets);
    return result;
}

static int do_copy(void)
{
    return with_mailbox(words[1], copy_run);
}

static int write_message(struct message_writer *writer, struct slice marker, uint64_t lines)
{
    char text[200];
    int len = snprintf(text, sizeof(text), "From: a@example.com\r\nMessage-ID: <%.*s>\r\nSubject: referee\r\n\r\n", SLICE_ARG(marker));
    int result = message_writer_write(writer, slice_make(text, (size_t)len), &fault);
    for (uint64_t i = 0; i < lines && result == 0; i++) {
        len = snprintf(text, sizeof(text), "line %llu of %.*s\r\n", (unsigned long long)i, SLICE_ARG(marker));
        result = message_writer_write(writer, slice_make(text, (size_t)len), &fault);
    }
    return result;
}

/* The same writer again after FAULT_BUSY, as the contract allows. */
static int append_until_done(struct message_writer *writer)
{
    struct slice names[KEYWORDS_MAX];
    size_t count = keywords_of(words[5], names, KEYWORDS_MAX);
    uint64_t end = clock_monotonic_ms() + BUSY_LIMIT_MS;
    uint32_t uid, uid_validity;
    int result;
    while ((result = message_writer_append(writer, flags_of(words[4]), names, count, 0, &uid, &uid_validity, &fault)) != 0 &&
           fault.class == FAULT_BUSY && clock_monotonic_ms() < end)
        nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
    if (result == 0)
        printf("A %u %u\n", (unsigned)uid, (unsigned)uid_validity);
    return result;
}

/* append FOLDER MARKER LINES FLAGS KEYWORDS; deliver FOLDER MARKER LINES */
static int do_write(void)
{
    struct mailbox *mailbox;
    struct message_writer *writer = NULL;
    uint64_t lines;
    if (account_mailbox(account, words[1], &mailbox, &fault) != 0)
        return -1;
    int result = message_writer_open(mailbox, &writer, &fault);
    if (result == 0)
        result = slice_to_number(words[3], 100000, &lines) ? write_message(writer, words[2], lines)
                                                           : fault_set(&fault, FAULT_INVALID, 0, "lines");
    if (result == 0)
        result = slice_is(words[0], "append") ? append_until_done(writer) : message_writer_deliver(writer, &fault);
    message_writer_free(&writer);
    mailbox_unref(&mailbox);
    return result;
}

static int do_folders(void)
{
    struct arena arena = { 0 };
    struct folder *folders;
    size_t count;
    int result = account_list(account, &arena, &folders, &count, &fault);
    for (size_t i = 0; result == 0 && i < count; i++)
        printf("F %.*s %d %d\n", SLICE_ARG(folders[i].name), folders[i].exists, folders[i].subscribed);
    arena_clear(&arena);
    return result;
}

static int do_create(void)
{
    return account_create(account, words[1], &fault);
}

static int do_delete(void)
{
    return account_delete(account, words[1], &fault);
}

static int do_rename(void)
{
    return account_rename(account, words[1], words[2], &fault);
}

static int do_subscribe(void)
{
    return account_subscribe(account, words[1], slice_is(words[0], "subscribe"), &fault);
}

static const struct { const char *name; size_t words; step_fn *step; } commands[] = {
    { "list", 2, do_list }, { "store", 6, do_store }, { "expunge", 4, do_expunge }, { "copy", 4, do_copy }, { "move", 4, do_copy },
    { "append", 6, do_write }, { "deliver", 4, do_write }, { "folders", 1, do_folders }, { "create", 2, do_create },
    { "delete", 2, do_delete }, { "rename", 3, do_rename }, { "subscribe", 2, do_subscribe }, { "unsubscribe", 2, do_subscribe },
};

static int run_command(size_t count)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (!slice_is(words[0], commands[i].name) || count != commands[i].words)
            continue;
        uint64_t end = clock_monotonic_ms() + BUSY_LIMIT_MS;
        int result;
        while ((result = commands[i].step()) != 0 && fault.class == FAULT_BUSY && clock_monotonic_ms() < end)
            nanosleep(&(struct timespec){ 0, 5000000 }, NULL);
        return result;
    }
    return fault_set(&fault, FAULT_INVALID, 0, "unknown command or wrong number of words");
}

static int open_account(char **argv)
{
    struct account_where where = {
        .path = slice_from_string(argv[1]), .uuid = slice_from_string(argv[2]), .mailbox_dir = slice_from_string(argv[3]),
        .control_dir = argv[4][0] == '-' ? SLICE_LITERAL("") : slice_from_string(argv[4]), .prefix = SLICE_LITERAL(""),
        .separator = argv[5][0],
    };
    return account_open(&where, true, &account, &fault);
}

static size_t split_words(char *line)
{
    struct slice rest = slice_trim(slice_from_string(line));
    size_t count = 0;
    while (count < WORDS_MAX && slice_split(&rest, ' ', &words[count]))
        count++;
    return count;
}

static void run_line(char *line)
{
    size_t count = split_words(line);
    if (run_command(count) == 0)
        puts("OK");
    else
        printf("NO %s %s\n", fault_class_word(fault.class), fault.text);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char line[4096];
    if (argc != 6)
        return 2;
    if (open_account(argv) != 0) {
        fprintf(stderr, "maildir_driver: %s\n", fault.text);
        return 1;
    }
    puts("OK");
    fflush(stdout);
    while (fgets(line, sizeof(line), stdin) != NULL)
        run_line(line);
    account_unref(&account);
    return 0;
}
