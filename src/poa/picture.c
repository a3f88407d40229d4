/* Two views of one account in the same words. Called by the comparison; it must change nothing but what a reader of a Maildir changes. */
#include "picture.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"

enum { LOCK_MS = 5000, LOCK_AGAIN_US = 20000, LINES_MAX = 100000 };

/* --- lines ---------------------------------------------------------------------------------------------------------------------- */

static int compare_slices(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

static struct slice *lines_of(struct slice text, size_t *count_out)
{
    struct slice rest = text, line;
    size_t count = 0;
    while (slice_split(&rest, '\n', &line))
        count += line.len > 0;
    struct slice *lines = MEM_NEW_ARRAY(struct slice, count + 1);
    rest = text;
    for (size_t i = 0; slice_split(&rest, '\n', &line);)
        if (line.len > 0)
            lines[i++] = line;
    qsort(lines, count, sizeof(*lines), compare_slices);
    *count_out = count;
    return lines;
}

bool picture_is_same(struct slice poa, struct slice path, struct buf *difference_out)
{
    size_t poa_count, path_count, at = 0;
    struct slice *left = lines_of(poa, &poa_count), *right = lines_of(path, &path_count), none = SLICE_LITERAL("nothing");
    while (at < poa_count && at < path_count && slice_is_equal(left[at], right[at]))
        at++;
    bool same = at == poa_count && at == path_count;
    if (!same) {
        int order = at == poa_count ? 1 : at == path_count ? -1 : slice_compare(left[at], right[at]);
        /* The smaller one is missing on the other side, unless both begin with the same word: then it is the value that differs. */
        struct slice a = at < poa_count ? left[at] : none, b = at < path_count ? right[at] : none;
        bool one_thing = at < poa_count && at < path_count && slice_find(a, ':') > 0 && slice_find(a, ':') == slice_find(b, ':') &&
                         slice_is_equal(slice_part(a, 0, (size_t)slice_find(a, ':')), slice_part(b, 0, (size_t)slice_find(a, ':')));
        if (!one_thing && order < 0)
            b = none;
        if (!one_thing && order > 0)
            a = none;
        buf_printf(difference_out, "the POA shows %.*s, the path %.*s", (int)(a.len < 80 ? a.len : 80), a.data, (int)(b.len < 80 ? b.len : 80), b.data);
    }
    mem_free(&left);
    mem_free(&right);
    return same;
}

static int compare_words(const void *a, const void *b)
{
    return slice_compare(*(const struct slice *)a, *(const struct slice *)b);
}

/* Flags without \Recent, in lower case, sorted. */
static void append_flags(struct buf *out, struct slice flags)
{
    struct slice words[64], word;
    size_t count = 0;
    struct buf lower = { .cap = 0 };
    for (size_t i = 0; i < flags.len; i++)
        buf_append_byte(&lower, ascii_lower(flags.data[i]));
    struct slice rest = buf_slice(&lower);
    while (count < 64 && slice_split(&rest, ' ', &word))
        if (word.len > 0 && !slice_is(word, "\\recent"))
            words[count++] = word;
    qsort(words, count, sizeof(*words), compare_words);
    for (size_t i = 0; i < count; i++) {
        buf_append_byte(out, ' ');
        buf_append(out, words[i]);
    }
    buf_fini(&lower);
}

static void append_folder(struct buf *out, struct slice name)
{
    buf_append_text(out, "folder ");
    buf_append(out, slice_is_nocase(name, "INBOX") ? SLICE_LITERAL("INBOX") : name);
    buf_append_byte(out, '\n');
}

/* --- the POA's answers ------------------------------------------------------------------------------------------------------------ */

/* A quoted string or an atom from the front of *rest. */
static bool take_string(struct slice *rest, struct buf *out)
{
    *rest = slice_trim(*rest);
    buf_clear(out);
    if (rest->len == 0)
        return false;
    if (rest->data[0] != '"') {
        size_t end = 0;
        while (end < rest->len && rest->data[end] != ' ' && rest->data[end] != ')')
            end++;
        buf_append(out, slice_part(*rest, 0, end));
        *rest = slice_from(*rest, end);
        return out->len > 0 && out->data[0] != '{';
    }
    size_t at = 1;
    for (; at < rest->len && rest->data[at] != '"'; at++) {
        if (rest->data[at] == '\\')
            at++;
        if (at < rest->len)
            buf_append_byte(out, rest->data[at]);
    }
    if (at >= rest->len)
        return false;
    *rest = slice_from(*rest, at + 1);
    return true;
}

static bool take_namespace(struct slice rest, struct buf *out)
{
    struct buf word = { .cap = 0 };
    bool good = slice_starts_with(rest, "((");
    rest = slice_from(rest, 2);
    good = good && take_string(&rest, &word);
    if (good)
        buf_printf(out, "prefix: \"%.*s\"\n", SLICE_ARG(buf_slice(&word)));
    good = good && take_string(&rest, &word);
    if (good)
        buf_printf(out, "separator: \"%.*s\"\n", SLICE_ARG(buf_slice(&word)));
    buf_fini(&word);
    return good;
}

static bool take_folder(struct slice rest, struct buf *out)
{
    struct buf word = { .cap = 0 };
    ptrdiff_t end = slice_find(rest, ')');
    if (end < 0)
        return false;
    struct slice attributes = slice_part(rest, 0, (size_t)end);
    bool there = slice_find_text_nocase(attributes, SLICE_LITERAL("\\NoSelect")) < 0 && slice_find_text_nocase(attributes, SLICE_LITERAL("\\NonExistent")) < 0;
    rest = slice_from(rest, (size_t)end + 1);
    bool good = take_string(&rest, &word) && take_string(&rest, &word);
    if (good && there)
        append_folder(out, buf_slice(&word));
    buf_fini(&word);
    return good;
}

/* The number that follows `word`. */
static bool number_after(struct slice text, const char *word, uint64_t *out)
{
    ptrdiff_t at = slice_find_text_nocase(text, slice_from_string(word));
    if (at < 0)
        return false;
    struct slice digits = slice_from(text, (size_t)at + strlen(word));
    size_t len = 0;
    while (len < digits.len && ascii_is_digit(digits.data[len]))
        len++;
    return len > 0 && slice_to_number(slice_part(digits, 0, len), UINT64_MAX / 2, out);
}

static bool take_message(struct slice line, struct buf *out)
{
    uint64_t uid, size;
    ptrdiff_t flags = slice_find_text_nocase(line, SLICE_LITERAL("FLAGS ("));
    if (!number_after(line, "UID ", &uid) || !number_after(line, "RFC822.SIZE ", &size) || flags < 0)
        return false;
    struct slice words = slice_from(line, (size_t)flags + 7);
    ptrdiff_t end = slice_find(words, ')');
    if (end < 0)
        return false;
    buf_printf(out, "message %" PRIu64 ": %" PRIu64 " octets", uid, size);
    append_flags(out, slice_part(words, 0, (size_t)end));
    buf_append_byte(out, '\n');
    return true;
}

static bool take_line(struct slice line, struct buf *out)
{
    uint64_t number;
    if (slice_starts_with_nocase(line, "* NAMESPACE "))
        return take_namespace(slice_from(line, 12), out);
    if (slice_starts_with_nocase(line, "* LIST ("))
        return take_folder(slice_from(line, 8), out);
    if (number_after(line, "[UIDVALIDITY ", &number))
        buf_printf(out, "uidvalidity: %" PRIu64 "\n", number);
    else if (number_after(line, "[UIDNEXT ", &number))
        buf_printf(out, "uidnext: %" PRIu64 "\n", number);
    else if (slice_starts_with(line, "* ") && slice_find_text_nocase(line, SLICE_LITERAL(" FETCH (")) > 0)
        return take_message(line, out);
    return true;
}

int picture_of_poa(struct slice said, struct buf *out, struct fault *fault)
{
    struct slice line;
    for (size_t count = 0; slice_split(&said, '\n', &line); count++) {
        line = slice_trim(line);
        if (count > LINES_MAX || !take_line(line, out))
            return fault_set(fault, FAULT_PROTOCOL, 0, "the answer of the POA cannot be compared: %.*s", (int)(line.len < 100 ? line.len : 100), line.data);
    }
    return 0;
}

uint64_t picture_exists(struct slice said)
{
    struct slice line;
    uint64_t found = 0, number;
    while (slice_split(&said, '\n', &line)) {
        ptrdiff_t end = slice_find_text_nocase(line, SLICE_LITERAL(" EXISTS"));
        if (slice_starts_with(line, "* ") && end > 2 && slice_to_number(slice_part(line, 2, (size_t)end - 2), UINT32_MAX, &number))
            found = number;
    }
    return found;
}

/* --- the path ---------------------------------------------------------------------------------------------------------------------- */

static bool wait_for_lock(uint64_t until_ms, const struct fault *fault)
{
    if (fault->class != FAULT_BUSY || clock_monotonic_ms() >= until_ms)
        return false;
    usleep(LOCK_AGAIN_US);
    return true;
}

static int append_folders(struct account *account, struct buf *out, struct fault *fault)
{
    struct arena arena;
    struct folder *folders;
    size_t count;
    arena_init(&arena);
    int rc = account_list(account, &arena, &folders, &count, fault);
    for (size_t i = 0; rc == 0 && i < count; i++)
        if (folders[i].exists)
            append_folder(out, folders[i].name);
    arena_clear(&arena);
    return rc;
}

static void append_message(struct mailbox *mailbox, const struct message *m, struct buf *out)
{
    static const struct { uint8_t flag; const char *word; } words[] = {
        { MESSAGE_SEEN, "\\seen" }, { MESSAGE_ANSWERED, "\\answered" }, { MESSAGE_FLAGGED, "\\flagged" }, { MESSAGE_DELETED, "\\deleted" }, { MESSAGE_DRAFT, "\\draft" },
    };
    char name[KEYWORD_LENGTH_MAX + 1];
    struct buf flags = { .cap = 0 };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (m->flags & words[i].flag)
            buf_printf(&flags, "%s ", words[i].word);
    for (unsigned i = 0; i < KEYWORDS_MAX; i++)
        if (m->keywords >> i & 1 && mailbox_keyword_name(mailbox, i, name))
            buf_printf(&flags, "%s ", name);
    buf_printf(out, "message %" PRIu32 ": %" PRIu64 " octets", m->uid, m->size);
    append_flags(out, buf_slice(&flags));
    buf_append_byte(out, '\n');
    buf_fini(&flags);
}

static void ignore(void *context)
{
    (void)context;
}

static int append_messages(struct mailbox *mailbox, struct buf *out, struct fault *fault)
{
    struct message messages[PICTURE_MESSAGES];
    struct view *view = view_open(mailbox, true, ignore, NULL);
    uint32_t count = view_count(view), first = count > PICTURE_MESSAGES ? count - PICTURE_MESSAGES + 1 : 1;
    struct uidset uids = { .count = 0 };
    size_t got = view_read(view, first, messages, PICTURE_MESSAGES);
    for (size_t i = 0; i < got; i++)
        uidset_add(&uids, messages[i].uid);
    int rc = got > 0 ? mailbox_load(mailbox, &uids, fault) : 0;
    got = rc == 0 ? view_read(view, first, messages, PICTURE_MESSAGES) : 0;
    for (size_t i = 0; i < got; i++)
        append_message(mailbox, &messages[i], out);
    uidset_fini(&uids);
    view_close(&view);
    return rc;
}

static int append_inbox(struct account *account, uint64_t until_ms, struct buf *out, struct fault *fault)
{
    struct mailbox *mailbox = NULL;
    struct mailbox_status status;
    if (account_mailbox(account, SLICE_LITERAL("INBOX"), &mailbox, fault) < 0)
        return -1;
    int rc;
    do
        rc = mailbox_sync(mailbox, fault);
    while (rc < 0 && wait_for_lock(until_ms, fault));
    if (rc == 0) {
        mailbox_get_status(mailbox, &status);
        buf_printf(out, "uidvalidity: %" PRIu32 "\nuidnext: %" PRIu32 "\n", status.uid_validity, status.uid_next);
        rc = append_messages(mailbox, out, fault);
    }
    mailbox_unref(&mailbox);
    return rc;
}

int picture_of_path(const struct post_office *office, const char *mailbox_dir, struct buf *out, struct fault *fault)
{
    struct account_where where = { .path = slice_from_string(office->path), .uuid = slice_from_string(office->uuid), .mailbox_dir = slice_from_string(mailbox_dir),
                                   .control_dir = slice_from_string(office->control_dir), .prefix = slice_from_string(office->prefix),
                                   .separator = office->separator };
    struct account *account = NULL;
    uint64_t until_ms = clock_monotonic_ms() + LOCK_MS;
    int rc;
    do
        rc = account_open(&where, false, &account, fault);
    while (rc < 0 && wait_for_lock(until_ms, fault));
    if (rc < 0)
        return -1;
    buf_printf(out, "prefix: \"%s\"\nseparator: \"%c\"\n", office->prefix, office->separator);
    rc = append_folders(account, out, fault);
    if (rc == 0)
        rc = append_inbox(account, until_ms, out, fault);
    account_unref(&account);
    return rc;
}
