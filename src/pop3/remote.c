/* A POP3 session over a Post Office Agent: the list of messages, and what the agent says; remote_body.c does RETR and TOP, remote_update.c QUIT. Called by pop3.c and auth.c on the
 * loop. It must never take what the POA says for more than it is: every answer is held against what was asked. */
#include "remote.h"

#include <stdlib.h>

#include "conversation.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"

enum {
    IN_LIMIT = 64 * 1024,
    MESSAGES_MAX = 1000 * 1000,
    TEXTS_MAX = 2 * MESSAGES_MAX + 1000,    /* lines without an answer */
    PATIENCE_MS = 60 * 1000,                /* a POA that says nothing is lost, */
    GRACE_MS = 10 * 1000,                   /* not at once */
    PAUSE_MS = 60 * 1000,                   /* a client that asks for nothing so long does without what it finds: the POA would not wait much longer */
};

static struct remote_drop *link_of(const struct session *session)
{
    return ((const struct conversation *)session->state)->link;
}

void remote_free(struct remote_drop **link)
{
    if (*link == NULL)
        return;
    remote_reader_fini(&(*link)->reader);
    uidset_fini(&(*link)->uids);
    buf_fini(&(*link)->held);
    buf_fini(&(*link)->sink);
    remote_plain_free(&(*link)->reading);
    mem_free(&(*link)->octets);
    buf_fini(&(*link)->view_text);
    view_record_fini(&(*link)->view);
    mem_free(link);
}

/* --- commands ------------------------------------------------------------------------------------------------------------------- */

void remote_command(struct session *session, enum remote_kind kind, uint32_t first, uint32_t end)
{
    struct remote_drop *link = link_of(session);
    CHECK(link->count < REMOTE_COMMANDS);
    link->commands[link->count++] = (struct remote_command){ .kind = kind, .tag = ++link->tag, .first = first, .end = end };
    buf_printf(&session->remote->out, "p%u ", link->tag);
    link->news_ms = clock_monotonic_ms();
}

static void take_capabilities(struct remote_drop *link, struct slice words)
{
    struct slice word;
    while (slice_split(&words, ' ', &word)) {
        link->has_uidplus |= slice_is_nocase(word, "UIDPLUS");
        link->has_move |= slice_is_nocase(word, "MOVE");
        link->has_metadata |= slice_is_nocase(word, "METADATA");
        link->has_literals |= slice_is_nocase(word, "LITERAL+");
        if (slice_is_nocase(word, "IMAP4rev2"))    /* both are part of it: RFC 9051 appendix E */
            link->has_uidplus = link->has_move = true;
    }
}

static void ask_list(struct session *session)
{
    struct conversation *c = session->state;
    struct buf *out = &session->remote->out;
    remote_command(session, REMOTE_SELECT, 0, 0);
    buf_append_text(out, "SELECT INBOX\r\n");
    remote_command(session, REMOTE_LIST, 0, 0);
    buf_printf(out, "UID FETCH 1:* (UID FLAGS%s%s)\r\n", c->drop.options.small_sizes ? "" : " RFC822.SIZE",
               c->drop.options.days != 0 ? " INTERNALDATE" : "");
    if (c->drop.options.days != 0)
        maildrop_set_oldest(&c->drop);
}

/* Where the mailbox may be opened directly, too, its own file has the view: the POA is only asked what it knows from another time. */
void remote_begin(struct session *session)
{
    struct conversation *c = session->state;
    struct remote *remote = session->remote;
    struct remote_drop *link = c->link = MEM_NEW(struct remote_drop);
    bool viewed = c->drop.options.view != 0;
    remote->in_limit = IN_LIMIT;
    link->window = REMOTE_WINDOW;
    link->only_view = viewed && session_may_go_directly(session);
    take_capabilities(link, buf_slice(&remote->capability));
    if (remote->capability.len == 0) {
        remote_command(session, REMOTE_CAPABILITY, 0, 0);
        buf_append_text(&remote->out, "CAPABILITY\r\n");
    }
    buf_fini(&remote->capability);
    if (!link->only_view)
        ask_list(session);
    if (viewed && link->has_metadata)
        remote_view_ask(session);
    if (viewed && !link->only_view)
        c->activity = ACTIVITY_RECORD;
}

/* --- the list of messages --------------------------------------------------------------------------------------------------------- */

/* A FETCH response without all that was asked for is news of a change, not part of the list. */
static void list_entry(struct conversation *c)
{
    struct remote_drop *link = c->link;
    const struct fetched *f = &link->fetched;
    const struct pop3_options *options = &c->drop.options;
    if (!f->has_uid || !f->has_flags || (!options->small_sizes && !f->has_size) || (options->days != 0 && !f->has_date))
        return;
    if (options->days != 0 && f->date < c->drop.oldest)
        return;
    if (c->drop.count == MESSAGES_MAX) {
        link->broken = true;
        return;
    }
    if (c->drop.count == link->room) {
        link->room = link->room == 0 ? 64 : link->room * 2;
        c->drop.entries = mem_resize(c->drop.entries, link->room * sizeof(struct entry));
    }
    c->drop.entries[c->drop.count++] = (struct entry){
        .uid = f->uid, .size = options->small_sizes ? MAILDROP_SMALL_SIZE : f->size, .flags = f->seen ? ENTRY_SEEN : 0,
    };
}

static int compare_uids(const void *a, const void *b)
{
    uint32_t left = ((const struct entry *)a)->uid, right = ((const struct entry *)b)->uid;
    return (left > right) - (left < right);
}

/* In the order of UIDs, each once. */
static void sort_entries(struct maildrop *drop)
{
    uint32_t kept = 0;
    if (drop->count != 0)
        qsort(drop->entries, drop->count, sizeof(struct entry), compare_uids);
    for (uint32_t i = 0; i < drop->count; i++)
        if (kept == 0 || drop->entries[kept - 1].uid != drop->entries[i].uid)
            drop->entries[kept++] = drop->entries[i];
    drop->count = kept;
}

static void refuse_opening(struct session *session)
{
    struct conversation *c = session->state;
    counter_add(c->counters, COUNTER_STORE_LOGIN_ERROR, 1);
    buf_append_text(&session->out, "-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n");
    conversation_end(c, CLOSE_STALLED);
}

void remote_opened(struct session *session)
{
    struct conversation *c = session->state;
    maildrop_undelete_all(&c->drop);
    c->state = POP3_TRANSACTION;
    c->activity = ACTIVITY_NONE;
    buf_append_text(&session->out, "+OK Logged in.\r\n");
}

/* With the option n the agent's sizes are not those of what is sent. */
static void begin_measuring(struct conversation *c)
{
    c->activity = ACTIVITY_MEASURING;
    c->link->octets = MEM_NEW_ARRAY(uint64_t, c->drop.count);
    for (uint32_t i = 0; i < c->drop.count; i++)
        c->link->octets[i] = c->drop.entries[i].size;
}

static void finish_opening(struct session *session)
{
    struct conversation *c = session->state;
    sort_entries(&c->drop);
    if (c->drop.options.view != 0)
        remote_view_filter(session);
    maildrop_finish_opening(&c->drop);
    if (c->drop.options.plain && !c->drop.options.small_sizes && c->drop.count != 0)
        begin_measuring(c);
    else
        remote_opened(session);
}

/* An empty mailbox may not know the UIDs 1:*. */
static void take_opening(struct session *session, enum remote_kind kind, bool ok)
{
    const struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (kind == REMOTE_VIEW)
        link->has_metadata = link->has_metadata && ok;
    else if (kind == REMOTE_SELECT ? !ok || c->drop.uid_validity == 0 : !ok && link->exists != 0)
        refuse_opening(session);
    else if (kind == REMOTE_CAPABILITY && c->drop.options.view != 0 && link->has_metadata)
        remote_view_ask(session);
    if (c->state != POP3_OVER && link->count == 0 && !link->only_view)
        finish_opening(session);
}

/* --- what the POA says ------------------------------------------------------------------------------------------------------------ */

/* The items of a FETCH response; false: they must be taken again later. */
static bool take_fetch(struct session *session, struct slice items)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct fetched fetched = link->fetched;
    if (!fetched_take(&fetched, items, link->reader.literal_follows)) {
        link->broken = true;
        return true;
    }
    if (fetched.has_body && !link->fetched.has_body && !remote_body_begin(session, &fetched))
        return false;
    link->fetched = fetched;
    if (link->reader.literal_follows || link->broken)
        return true;
    link->in_fetch = false;
    if (c->activity == ACTIVITY_OPENING)
        list_entry(c);
    else
        remote_body_end(session, &fetched);
    return true;
}

/* "* 5 EXISTS", "* 5 FETCH (...". False: later again. */
static bool take_numbered(struct session *session, struct slice text)
{
    struct remote_drop *link = link_of(session);
    uint64_t number;
    ptrdiff_t blank = slice_find(text, ' ');
    if (blank < 0 || !slice_to_number(slice_part(text, 0, (size_t)blank), UINT32_MAX, &number)) {
        link->broken = true;
        return true;
    }
    text = slice_from(text, (size_t)blank + 1);
    if (slice_is_nocase(text, "EXISTS")) {
        link->exists = (uint32_t)number;
    } else if (slice_starts_with_nocase(text, "FETCH (")) {
        link->fetched = (struct fetched){ 0 };
        link->in_fetch = true;
        return take_fetch(session, slice_from(text, 7));
    }
    return true;
}

static bool take_untagged(struct session *session, struct slice text)
{
    static const struct slice validity = SLICE_LITERAL("OK [UIDVALIDITY ");
    struct conversation *c = session->state;
    uint64_t number;
    if (text.len != 0 && ascii_is_digit(text.data[0])) {
        return take_numbered(session, text);
    } else if (slice_starts_with_nocase(text, validity.data)) {
        text = slice_from(text, validity.len);
        ptrdiff_t end = slice_find(text, ']');
        if (end < 0 || !slice_to_number(slice_part(text, 0, (size_t)end), UINT32_MAX, &number))
            c->link->broken = true;
        else if (c->activity == ACTIVITY_OPENING)
            c->drop.uid_validity = (uint32_t)number;
        else if (c->drop.uid_validity != number)
            c->link->broken = true;    /* other messages than those that the client knows */
    } else if (slice_starts_with_nocase(text, "CAPABILITY ")) {
        take_capabilities(c->link, slice_from(text, 11));
    } else if (slice_starts_with_nocase(text, "METADATA ")) {
        if (c->activity == ACTIVITY_OPENING)
            remote_view_take(session, slice_from(text, 9));
    } else if (slice_starts_with_nocase(text, "SEARCH")) {
        remote_update_found(c->link, slice_from(text, 6));
    } else if (slice_starts_with_nocase(text, "BYE")) {
        c->link->broken = true;
    }
    return true;
}

/* The first command, or one that may be answered while another is under way (RFC 9051 section 5.5): for the view's record, or for messages. */
static bool find_command(const struct remote_drop *link, uint64_t tag, unsigned *at_out)
{
    for (unsigned i = 0; i < link->count; i++)
        if (link->commands[i].tag == tag) {
            *at_out = i;
            return i == 0 || link->commands[i].kind == REMOTE_VIEW || link->commands[i].kind == REMOTE_AHEAD;
        }
    return false;
}

static void take_tagged(struct session *session, struct slice text)
{
    struct remote_drop *link = link_of(session);
    uint64_t tag;
    unsigned at;
    ptrdiff_t blank = slice_find(text, ' ');
    if (blank < 2 || text.data[0] != 'p' || !slice_to_number(slice_part(text, 1, (size_t)blank - 1), UINT32_MAX, &tag) ||
        !find_command(link, tag, &at)) {
        link->broken = true;
        return;
    }
    struct remote_command command = link->commands[at];
    text = slice_from(text, (size_t)blank + 1);
    bool ok = slice_is_nocase(text, "OK") || slice_starts_with_nocase(text, "OK ");
    link->texts = 0;
    link->count--;
    for (; at < link->count; at++)
        link->commands[at] = link->commands[at + 1];
    if (command.kind == REMOTE_UPDATE)
        remote_update_take(session, ok, text);
    else if (command.kind == REMOTE_BODY || command.kind == REMOTE_AHEAD)
        remote_body_take(session, &command, ok);
    else
        take_opening(session, command.kind, ok);
}

static bool take_line(struct session *session, struct slice text)
{
    struct remote_drop *link = link_of(session);
    if (!link->reader.begins)
        return !link->in_fetch || take_fetch(session, text);
    link->in_fetch = false;
    if (slice_starts_with(text, "* "))
        return take_untagged(session, slice_from(text, 2));
    take_tagged(session, text);
    return true;
}

/* A text that comes before its time is kept: what is behind it is left to the network. */
static void take_text(struct session *session, struct slice text)
{
    struct remote_drop *link = link_of(session);
    link->in_body = link->in_view = false;
    if (++link->texts > TEXTS_MAX)
        link->broken = true;
    else if (!take_line(session, text))
        buf_append(&link->held, text);
}

static void take_held(struct session *session)
{
    struct remote_drop *link = link_of(session);
    struct buf text = { 0 };
    if (link->held.len == 0 || remote_body_is_held(session->state))
        return;
    buf_swap(&text, &link->held);
    take_text(session, buf_slice(&text));
    buf_fini(&text);
}

static bool may_read(const struct conversation *c)
{
    return !c->link->broken && c->state != POP3_OVER && c->link->held.len == 0;
}

static void read_news(struct session *session)
{
    struct conversation *c = session->state;
    struct buf *in = &session->remote->in;
    struct slice rest = buf_slice(in), piece;
    enum remote_event event = REMOTE_TEXT;
    if (rest.len != 0) {
        c->link->news_ms = clock_monotonic_ms();
        c->link->doubted = false;
    }
    take_held(session);
    while (may_read(c) && event != REMOTE_MORE) {
        event = remote_reader_next(&c->link->reader, &rest, &piece);
        if (event == REMOTE_TEXT)
            take_text(session, piece);
        else if (event == REMOTE_LITERAL && c->link->in_body)
            remote_body_write(session, piece);
        else if (event == REMOTE_LITERAL && c->link->in_view)
            buf_append(&c->link->view_text, piece);
        else if (event == REMOTE_BROKEN)
            c->link->broken = true;
    }
    buf_consume(in, in->len - rest.len);
    buf_shrink(in);
}

/* --- the end ---------------------------------------------------------------------------------------------------------------------- */

static bool is_waiting(const struct conversation *c)
{
    return c->state != POP3_OVER && (c->activity == ACTIVITY_OPENING || c->activity == ACTIVITY_MEASURING || c->activity == ACTIVITY_FINDING ||
                                     c->activity == ACTIVITY_RETRIEVING || c->activity == ACTIVITY_UPDATING);
}

/* Nothing was said of the mailbox yet: it is opened directly. A record that was cut off counts for nothing: its last UID may be another. */
static void go_direct(struct session *session)
{
    struct conversation *c = session->state;
    struct maildrop drop = { .options = c->drop.options };
    if (c->link->only_view && c->link->count == 0)
        remote_view_read(session, &drop.known);
    session_drop_remote(session);
    remote_free(&c->link);
    retrieve_end(&c->retrieval);
    ahead_fini(&c->ahead);
    c->ahead = (struct ahead){ 0 };
    maildrop_close(&c->drop);
    c->drop = drop;
    c->activity = ACTIVITY_OPENING;
}

static void lose(struct session *session)
{
    struct conversation *c = session->state;
    if ((c->activity == ACTIVITY_OPENING || c->activity == ACTIVITY_MEASURING) && session_may_go_directly(session) && !session->remote->end_wanted) {
        log_verbose("pop3", "session %llu: the post office agent is lost: going on directly", (unsigned long long)c->id);
        go_direct(session);
        return;
    }
    log_normal("pop3", "session %llu: the post office agent is lost%s", (unsigned long long)c->id,
               c->link->broken ? ": it said BYE, or what is no answer" : "");
    counter_add(c->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
    if (c->activity == ACTIVITY_UPDATING)
        buf_append_text(&session->out, "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n");
    else if (c->activity != ACTIVITY_RETRIEVING)
        buf_append_text(&session->out, "-ERR [SYS/TEMP] The mailbox is not reachable at the moment.\r\n");
    conversation_end(c, CLOSE_POA_LOST);
}

static void wake_at(struct session *session, uint64_t now, uint64_t time)
{
    struct remote_drop *link = link_of(session);
    if (link->wake_ms > now && link->wake_ms <= time)
        return;
    link->wake_ms = time;
    session_wake_after(session, (unsigned)(time - now));
}

/* A POA that says nothing while it is waited for. */
static bool is_silent(struct session *session)
{
    struct remote_drop *link = link_of(session);
    uint64_t now = clock_monotonic_ms();
    if (now >= link->news_ms + PATIENCE_MS) {
        if (link->doubted)
            return true;
        link->doubted = true;    /* it may be the client that did not read: see what comes now */
        link->news_ms = now - PATIENCE_MS + GRACE_MS;
    }
    wake_at(session, now, link->news_ms + PATIENCE_MS);
    return false;
}

/* A client that does not go on: the POA is not kept waiting for it. */
static void end_pause(struct session *session)
{
    struct conversation *c = session->state;
    uint64_t now = clock_monotonic_ms(), end = c->link->held_ms + PAUSE_MS;
    if (is_waiting(c) || !remote_body_is_held(c))
        return;
    if (now < end) {
        wake_at(session, now, end);
        return;
    }
    remote_body_give_up(c);
    read_news(session);
}

static void begin(struct session *session)
{
    struct conversation *c = session->state;
    if (c->activity == ACTIVITY_FINDING && !c->link->requested)
        remote_body_request(session);
    else if (c->activity == ACTIVITY_MEASURING && !c->link->requested)
        remote_body_measure(session);
    else if (c->activity == ACTIVITY_RETRIEVING || c->activity == ACTIVITY_MEASURING)
        remote_body_continue(session);
    if (c->activity != ACTIVITY_UPDATING || (c->link->stage != STAGE_BEGIN && !c->link->stepped))
        return;
    remote_body_give_up(c);
    if (c->link->count != 0)
        return;
    c->link->stepped = false;
    remote_update_next(session);
}

bool remote_run(struct session *session)
{
    struct conversation *c = session->state;
    do {
        begin(session);
        read_news(session);
        begin(session);
    } while (c->activity == ACTIVITY_MEASURING && c->link->held.len != 0 && !remote_body_is_held(c));
    end_pause(session);
    /* Messages that came before the end of a POA are worth asking for. */
    bool ended = session->remote->eof && !remote_body_is_held(c);
    bool lost = c->state != POP3_OVER && (c->link->broken || ended || (is_waiting(c) && is_silent(session)));
    if (lost && c->activity != ACTIVITY_LISTING)
        lose(session);
    else if (c->link->only_view && c->link->count == 0)
        go_direct(session);
    else if (!is_waiting(c) && session->remote->end_wanted && c->activity == ACTIVITY_NONE && c->state != POP3_OVER)
        session_close(session, session->remote->end_reason);
    return c->link != NULL && is_waiting(c);
}
