/* fetch_driver: works FETCH and SEARCH off over a real Maildir, for structure.py. Arguments: the post office's directory (marked by this program if
 * it is not yet) and the Maildir below it. Each line of standard input is "FETCH arguments" for all messages, or "SEARCH arguments"; both
 * answer with UIDs. The responses are written as IMAP would, then "END" LF. */
#include <stdio.h>
#include <string.h>

#include "../../src/imap/fetch.h"
#include "../../src/imap/search.h"
#include "postern/store/account.h"

static const struct slice uuid = SLICE_LITERAL("9a1c9a2e-7c1e-4d0a-9a43-2f3a5a1f0b11");

static int fail(const struct fault *fault)
{
    fprintf(stderr, "fetch_driver: %s\n", fault->text);
    return 1;
}

static void flush(struct buf *out)
{
    fwrite(out->data, 1, out->len, stdout);
    buf_clear(out);
}

static int run_fetch(struct imap_parser *p, struct view *view, struct fault *fault)
{
    struct uidset all = { 0 };
    struct buf out = { 0 };
    enum progress progress = PROGRESS_FAILED;
    uidset_add_range(&all, 1, UINT32_MAX);
    struct fetch *fetch = fetch_parse(p, true);
    if (fetch == NULL) {
        fault_set(fault, FAULT_INVALID, 0, "malformed FETCH");
    } else {
        fetch_begin(fetch, view, &all, true);
        while ((progress = fetch_step(fetch, &out, fault)) == PROGRESS_MORE)
            flush(&out);
        fetch_end(fetch);
    }
    flush(&out);
    buf_fini(&out);
    uidset_fini(&all);
    return progress == PROGRESS_DONE ? 0 : -1;
}

static int run_search(struct imap_parser *p, struct view *view, struct fault *fault)
{
    struct buf out = { 0 };
    bool bad_charset;
    enum progress progress = PROGRESS_FAILED;
    struct search *search = search_parse(p, true, &bad_charset);
    if (search == NULL) {
        fault_set(fault, FAULT_INVALID, 0, "malformed SEARCH");
    } else {
        search_begin(search, view);
        while ((progress = search_step(search, &out, fault)) == PROGRESS_MORE)
            continue;
        search_end(search);
    }
    flush(&out);
    buf_fini(&out);
    return progress == PROGRESS_DONE ? 0 : -1;
}

static int run_lines(struct view *view, struct fault *fault)
{
    char text[8192];
    while (fgets(text, sizeof(text), stdin) != NULL) {
        struct arena arena = { 0 };
        struct imap_parser p = { slice_trim(slice_from_string(text)), &arena };
        bool is_fetch = parse_keyword(&p, "FETCH"), is_search = !is_fetch && parse_keyword(&p, "SEARCH");
        int result = -1;
        if (!parse_space(&p) || (!is_fetch && !is_search))
            fault_set(fault, FAULT_INVALID, 0, "neither FETCH nor SEARCH");
        else
            result = is_fetch ? run_fetch(&p, view, fault) : run_search(&p, view, fault);
        arena_clear(&arena);
        if (result != 0)
            return -1;
        puts("END");
        fflush(stdout);
    }
    return 0;
}

static void no_news(void *context)
{
    (void)context;
}

int main(int argc, char **argv)
{
    struct fault fault = { 0 };
    struct account *account = NULL;
    struct mailbox *mailbox = NULL;
    if (argc != 3) {
        fprintf(stderr, "usage: fetch_driver POST-OFFICE MAILDIR\n");
        return 2;
    }
    struct account_where where = { .path = slice_from_string(argv[1]), .uuid = uuid, .mailbox_dir = slice_from_string(argv[2]),
                                   .control_dir = SLICE_LITERAL(""), .prefix = SLICE_LITERAL(""), .separator = '.' };
    if (postoffice_init(argv[1], uuid, &fault) != 0 || account_open(&where, false, &account, &fault) != 0)
        return fail(&fault);
    int result = account_mailbox(account, SLICE_LITERAL("INBOX"), &mailbox, &fault);
    if (result == 0)
        result = mailbox_sync(mailbox, &fault);
    if (result == 0) {
        struct view *view = view_open(mailbox, true, no_news, NULL);
        result = run_lines(view, &fault);
        view_close(&view);
    }
    if (mailbox != NULL)
        mailbox_unref(&mailbox);
    account_unref(&account);
    return result == 0 ? 0 : fail(&fault);
}
