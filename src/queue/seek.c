/* The look into the mailbox before a second try. What tells one message from all others is the Received field that this gateway put on top of it: it holds the queue ID,
 * the time and the client. It has to be on top there, too: further down it is the trace of a message that somebody forwarded. Called by attempt.c. */
#include "seek.h"

#include <unistd.h>

#include "postern/base/log.h"
#include "postern/mime/header.h"
#include "postern/poa/poa.h"
#include "postern/queue/inbox.h"

enum { HEAD = 32 * 1024, EARLIER_S = 300 };   /* clocks of two machines may differ */

/* Blanks and line ends in a row become one blank. */
static void append_words(struct slice value, struct buf *out)
{
    bool blank = false;
    value = slice_trim(value);
    for (size_t i = 0; i < value.len; i++) {
        char c = value.data[i];
        if (c == ' ' || c == '\t' || c == '\r' || c == '\n') {
            blank = true;
            continue;
        }
        if (blank)
            buf_append_byte(out, ' ');
        blank = false;
        buf_append_byte(out, c);
    }
}

bool seek_read_received(struct slice head, struct buf *out)
{
    struct header_field field;
    buf_clear(out);
    if (!header_find(head, "Received", &field))
        return false;
    append_words(field.value, out);
    return out->len != 0;
}

/* RFC 3848: LMTP, LMTPA, LMTPS, LMTPSA. */
static bool is_by_lmtp(struct slice received)
{
    ptrdiff_t at = slice_find_text_nocase(received, SLICE_LITERAL(" with LMTP"));
    char next = at >= 0 && (size_t)at + 10 < received.len ? received.data[at + 10] : ' ';
    return at >= 0 && (next == ' ' || next == ';' || ascii_lower(next) == 'a' || ascii_lower(next) == 's');
}

bool seek_is_on_top(struct slice head, struct slice received)
{
    struct header_field field;
    struct buf words = { .cap = 0 };
    bool found = false, above = true;
    while (!found && above && header_next(&head, &field)) {
        if (!slice_is_nocase(field.name, "Received"))
            continue;
        buf_clear(&words);
        append_words(field.value, &words);
        found = slice_is_equal(buf_slice(&words), received);
        above = is_by_lmtp(buf_slice(&words));
    }
    buf_fini(&words);
    return found;
}

static bool read_own(int message, struct buf *out)
{
    char head[HEAD];
    ssize_t got = pread(message, head, sizeof(head), 0);
    return got > 0 && seek_read_received(slice_make(head, (size_t)got), out);
}

static enum seek_result look_directly(const struct user *user, const struct inbox_search *search)
{
    struct fault fault;
    int found = inbox_search(user, search, &fault);
    if (found < 0)
        log_warning("queue", "looking into the mailbox of %s: %s", user->id, fault.text);
    return found < 0 ? SEEK_LATER : found ? SEEK_FOUND : SEEK_ABSENT;
}

static enum seek_result look_through_agent(const struct user *user, const struct inbox_search *search)
{
    struct poa_look look = {
        .snapshot = user->snapshot, .post_office = user->post_office, .user = user->id, .since = search->since, .wanted = search->wanted, .is_it = search->is_it,
    };
    switch (poa_look_for(&look)) {
    case POA_LOOK_FOUND: return SEEK_FOUND;
    case POA_LOOK_ABSENT: return SEEK_ABSENT;
    case POA_LOOK_FAILED: return SEEK_LATER;
    default: return SEEK_NO_WAY;
    }
}

enum seek_result seek_message(const struct user *user, const struct envelope *envelope, int message)
{
    struct buf own = { .cap = 0 };
    enum seek_result result = SEEK_NO_WAY;
    if (user->post_office != NULL && read_own(message, &own)) {
        struct inbox_search search = { .since = envelope->arrived - EARLIER_S, .wanted = buf_slice(&own), .is_it = seek_is_on_top };
        if (user->post_office->path != NULL && poa_fallback(user->post_office) == PATH_DIRECT)
            result = look_directly(user, &search);
        if (result == SEEK_NO_WAY || result == SEEK_LATER) {
            enum seek_result other = look_through_agent(user, &search);
            result = other == SEEK_NO_WAY ? result : other;
        }
    }
    buf_fini(&own);
    return result;
}
