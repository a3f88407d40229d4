/* RETR and TOP over a Post Office Agent. With the option n a message is read whole, and then its text is sent; without, it is sent as it comes. A client that retrieves one message after the other finds the next ones under way: several are asked for by one
 * command, and each ends at the end of its own response. Called by remote.c. It must never give the client a text that it did not ask for, nor say that
 * one is whole that is not; and what the client has not asked for stays with the network: nothing is read on while a text waits for it. */
#include <stddef.h>

#include "conversation.h"
#include "plain.h"
#include "postern/base/clock.h"

enum {
    PART_OCTETS = 65536,           /* asked for at once, of a message in parts */
    WRITE_OCTETS = 16384,          /* of a text in memory, before looking whether the client keeps up */
    WINDOW_OCTETS = 256 * 1024,    /* under way and not wanted yet: that many, or one larger message; */
    WINDOW_MESSAGES = 200,         /* and no more than that: the line stays short */
};

/* --- what is under way -------------------------------------------------------------------------------------------------------------- */

static uint32_t index_of(const struct conversation *c, const struct entry *entry)
{
    return (uint32_t)(entry - c->drop.entries);
}

/* With the option s nobody has asked for sizes: each may be a large one. */
static uint64_t octets_of(const struct conversation *c, const struct entry *entry)
{
    if (c->drop.options.small_sizes)
        return WINDOW_OCTETS;
    return c->link->octets != NULL ? c->link->octets[index_of(c, entry)] : entry->size;
}

static void add_asked(struct conversation *c, struct entry *entry)
{
    entry->flags |= ENTRY_ASKED;
    c->link->asked += octets_of(c, entry);
    c->link->asked_count++;
}

/* Its text has begun, or will not come. */
static void remove_asked(struct conversation *c, struct entry *entry)
{
    if (!(entry->flags & ENTRY_ASKED))
        return;
    entry->flags &= ~(unsigned)ENTRY_ASKED;
    c->link->asked -= octets_of(c, entry);
    c->link->asked_count--;
}

static void remove_all_asked(struct conversation *c, const struct remote_command *command)
{
    for (uint32_t i = command->first; i < command->end; i++)
        remove_asked(c, &c->drop.entries[i]);
}

void remote_body_give_up(struct conversation *c)
{
    struct remote_drop *link = c->link;
    if (link->asked_count != 0)
        link->window = 0;
    for (unsigned i = 0; i < link->count; i++) {
        link->commands[i].in_vain = true;
        remove_all_asked(c, &link->commands[i]);
    }
    link->ahead_end = 0;
}

static uint64_t part_octets(const struct remote_drop *link)
{
    uint64_t most = link->beginning ? REMOTE_PLAIN_BEGINNING : PART_OCTETS;
    return link->left < most ? link->left : most;
}

static void ask_alone(struct session *session)
{
    struct conversation *c = session->state;
    uint32_t index = index_of(c, c->wanted);
    struct buf *out = &session->remote->out;
    remote_command(session, REMOTE_BODY, index, index + 1);
    add_asked(c, c->wanted);
    c->link->alone = true;
    buf_printf(out, "UID FETCH %u (UID BODY.PEEK[]", c->wanted->uid);
    if (c->link->in_parts)
        buf_printf(out, "<%llu.%llu>", (unsigned long long)c->link->from, (unsigned long long)part_octets(c->link));
    buf_append_text(out, ")\r\n");
}

/* For the option n: of a big message mostly the beginning is enough. */
static bool is_big(const struct conversation *c, const struct entry *entry)
{
    return c->drop.options.plain && octets_of(c, entry) > REMOTE_PLAIN_BEGINNING;
}

/* The entries that come next, as many as may be under way. Returns the one behind them. */
static uint32_t choose_ahead(struct conversation *c, uint32_t first, struct uidset *uids)
{
    const struct remote_drop *link = c->link;
    uint32_t at = first;
    for (; at < c->drop.count && link->asked_count < link->window; at++) {
        struct entry *entry = &c->drop.entries[at];
        if (entry->flags & ENTRY_DELETED)
            continue;
        if (is_big(c, entry) || (link->asked != 0 && link->asked + octets_of(c, entry) > WINDOW_OCTETS))
            break;
        add_asked(c, entry);
        uidset_add(uids, entry->uid);
    }
    return at;
}

/* A client that looks at the top of each message before it retrieves it has all asked for in vain: little is, then. */
static void open_window(struct remote_drop *link)
{
    link->window = link->window == 0 ? 1 : link->window * 2;
    if (link->window > WINDOW_MESSAGES)
        link->window = WINDOW_MESSAGES;
}

/* Only of an agent that says which message it is before the message. */
static void ask_ahead(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct uidset uids = { 0 };
    if (!c->ahead.wanted || c->wanted_top || link->in_parts || !link->uid_first)
        return;
    open_window(link);
    if (link->count == REMOTE_COMMANDS || link->asked > WINDOW_OCTETS / 2 || link->asked_count > link->window / 2)
        return;
    uint32_t first = link->ahead_end > c->ahead.next ? link->ahead_end : c->ahead.next;
    link->ahead_end = choose_ahead(c, first, &uids);
    if (uids.count != 0) {
        remote_command(session, REMOTE_AHEAD, first, link->ahead_end);
        buf_append_text(&session->remote->out, "UID FETCH ");
        uidset_write(&uids, &session->remote->out);
        buf_append_text(&session->remote->out, " (UID BODY.PEEK[])\r\n");
    }
    uidset_fini(&uids);
}

/* What was asked for in vain passes first: no text can be taken for another then. */
void remote_body_request(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    bool whole = !c->wanted_top || c->drop.options.plain, is_there = whole && (c->wanted->flags & ENTRY_ASKED);
    if (!is_there && link->count != 0) {
        remote_body_give_up(c);
        return;
    }
    link->requested = true;
    link->answered = link->came = link->alone = false;
    link->beginning = is_big(c, c->wanted);
    link->in_parts = !whole || link->beginning;
    link->from = link->got = link->measured = 0;
    link->left = link->beginning ? REMOTE_PLAIN_BEGINNING : UINT64_MAX;
    link->news_ms = clock_monotonic_ms();
    if (!is_there)
        ask_alone(session);
    if (!c->wanted_top)
        ahead_note(&c->ahead, index_of(c, c->wanted));
}

/* --- texts ---------------------------------------------------------------------------------------------------------------------------- */

static bool is_measuring(const struct conversation *c)
{
    return c->activity == ACTIVITY_MEASURING;
}

/* Or the end (NULL data). */
static void write_text(struct session *session, struct slice stored)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct buf *out = is_measuring(c) ? &link->sink : &session->out;
    retrieve_write(&c->retrieval, stored, out);
    if (stored.data == NULL)
        wire_end(&c->retrieval.wire, out);
    link->measured += link->sink.len;
    buf_clear(&link->sink);
}

void remote_body_write(struct session *session, struct slice piece)
{
    struct conversation *c = session->state;
    c->link->got += piece.len;
    if (c->link->reading != NULL)
        remote_plain_feed(c->link->reading, piece);
    else if (piece.len != 0)
        write_text(session, piece);
}

static void write_quoted(struct session *session, struct slice quoted)
{
    for (size_t i = 0; i < quoted.len; i++) {
        if (quoted.data[i] == '\\' && i + 1 < quoted.len)
            i++;
        remote_body_write(session, slice_part(quoted, i, 1));
    }
}

static void begin_answer(struct session *session)
{
    struct conversation *c = session->state;
    bool measuring = is_measuring(c);
    c->link->answered = true;
    c->retrieval = (struct retrieval){ .entry = c->wanted, .wire = { .is_measured = measuring } };
    if (c->wanted_top)
        retrieve_only_top(&c->retrieval, c->wanted_lines);
    if (measuring)
        return;
    c->activity = ACTIVITY_RETRIEVING;
    command_answer_retrieval(session);
}

/* Whose text it is: without its UID it is only known where one message alone is asked for. */
static struct entry *find_owner(struct conversation *c, const struct fetched *fetched)
{
    const struct remote_drop *link = c->link;
    if (fetched->has_uid)
        return maildrop_find_uid(&c->drop, fetched->uid);
    return link->count == 1 && link->commands[0].kind == REMOTE_BODY ? &c->drop.entries[link->commands[0].first] : NULL;
}

static bool is_any_in_vain(const struct remote_drop *link)
{
    for (unsigned i = 0; i < link->count; i++)
        if (link->commands[i].in_vain)
            return true;
    return false;
}

/* A text that nobody is waiting for passes unseen if somebody has asked for it. */
static void pass(struct conversation *c, struct entry *owner, const struct fetched *fetched)
{
    struct remote_drop *link = c->link;
    bool is_known = owner != NULL || fetched->has_uid || link->count == 0;
    if (owner != NULL && (owner->flags & ENTRY_ASKED))
        remove_asked(c, owner);
    else if (is_known && !is_any_in_vain(link))
        link->broken = true;
}

bool remote_body_begin(struct session *session, const struct fetched *fetched)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct entry *owner = find_owner(c, fetched);
    bool is_asked = owner != NULL && (owner->flags & ENTRY_ASKED);
    if (is_asked && !link->requested) {
        link->held_entry = owner;
        link->held_ms = clock_monotonic_ms();
        return false;
    }
    link->uid_first = fetched->has_uid;
    if (!is_asked || owner != c->wanted) {
        pass(c, owner, fetched);
        return true;
    }
    remove_asked(c, owner);
    link->came = link->in_message = true;
    link->in_body = fetched->body_is_literal;
    if (!link->answered && c->drop.options.plain)
        link->reading = remote_plain_new();
    else if (!link->answered)
        begin_answer(session);
    ask_ahead(session);
    write_quoted(session, fetched->body);
    return true;
}

bool remote_body_is_held(const struct conversation *c)
{
    const struct remote_drop *link = c->link;
    return link->held.len != 0 && !link->requested && (link->held_entry->flags & ENTRY_ASKED);
}

/* --- ends ----------------------------------------------------------------------------------------------------------------------------- */

/* What cannot be measured has no octets, as directly. */
static void finish(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    link->requested = false;
    if (!is_measuring(c)) {
        conversation_finish_retrieval(c);
        return;
    }
    retrieve_end(&c->retrieval);
    c->wanted->size = link->measured;
    link->measure_at++;
}

static void refuse_message(struct session *session, bool ok)
{
    struct conversation *c = session->state;
    if (is_measuring(c)) {
        finish(session);
        return;
    }
    if (!ok)
        counter_add(c->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
    buf_append_text(&session->out, ok ? "-ERR The message was removed by somebody else.\r\n"
                                      : "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n");
    c->activity = ACTIVITY_NONE;
    c->link->requested = false;
}

/* The beginning was not enough. */
static void read_whole(struct session *session)
{
    struct remote_drop *link = ((struct conversation *)session->state)->link;
    remote_plain_free(&link->reading);
    link->in_parts = link->beginning = link->came = false;
    link->got = 0;
    ask_alone(session);
}

/* What of it is to be sent is known now; if it is not in memory, it is asked for in parts. */
static void end_reading(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct plain *plain = remote_plain_finish(link->reading);
    if (link->beginning && link->got == REMOTE_PLAIN_BEGINNING && !remote_plain_is_sure(link->reading, plain)) {
        plain_free(&plain);
        read_whole(session);
        return;
    }
    begin_answer(session);
    c->retrieval.plain = plain;
    if (remote_plain_has(link->reading, plain, &link->text))
        return;
    remote_plain_free(&link->reading);
    link->in_parts = true;
    link->beginning = link->alone = link->came = false;
    link->from = plain->offset;
    link->left = plain->length;
    link->got = 0;
}

static void end_text(struct session *session)
{
    if (((struct conversation *)session->state)->link->reading != NULL) {
        end_reading(session);
        remote_body_continue(session);
    } else {
        write_text(session, SLICE_NONE);
        finish(session);
    }
}

void remote_body_continue(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (!link->answered || !link->requested)
        return;
    if (link->reading == NULL) {
        bool waits = link->in_parts && !link->alone;
        if (waits && link->count != 0)
            remote_body_give_up(c);
        else if (waits)
            ask_alone(session);
        return;
    }
    while (link->text.len != 0 && !c->retrieval.wire.full && session_out_has_room(session)) {
        size_t len = link->text.len < WRITE_OCTETS ? link->text.len : WRITE_OCTETS;
        write_text(session, slice_part(link->text, 0, len));
        link->text = slice_from(link->text, len);
    }
    if (link->text.len != 0 && !c->retrieval.wire.full)
        return;
    link->text = SLICE_NONE;
    remote_plain_free(&link->reading);
    end_text(session);
}

void remote_body_measure(struct session *session)
{
    struct conversation *c = session->state;
    if (c->link->measure_at < c->drop.count) {
        c->wanted = &c->drop.entries[c->link->measure_at];
        c->wanted_top = false;
        remote_body_request(session);
        return;
    }
    c->ahead = (struct ahead){ 0 };
    c->link->ahead_end = 0;
    remote_opened(session);
}

void remote_body_end(struct session *session, const struct fetched *fetched)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (!link->in_message)
        return;
    link->in_message = false;
    if (!fetched->has_uid || fetched->uid != c->wanted->uid)
        link->broken = true;
    else if (!link->alone)
        end_text(session);
}

/* More of a message in parts: not behind its end, nor behind what is wanted of it. False: that was all. */
static bool ask_more(struct session *session)
{
    const struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (!link->in_parts || link->got < part_octets(link) || link->got == link->left || c->retrieval.wire.full)
        return false;
    link->from += link->got;
    link->left -= link->got;
    link->got = 0;
    link->came = false;
    ask_alone(session);
    return true;
}

/* A part is as long as it was asked for; one of TOP may be the last. */
static bool is_possible(const struct conversation *c)
{
    const struct remote_drop *link = c->link;
    uint64_t asked = part_octets(link);
    return !link->in_parts || link->got == asked || (link->got < asked && (c->retrieval.plain == NULL || c->retrieval.wire.full));
}

/* Asked for alone: the agent's verdict is waited for. In the midst of the reply only closing is honest. */
static void end_alone(struct session *session, bool ok)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (!link->answered && (!ok || !link->came)) {
        remote_plain_free(&link->reading);
        refuse_message(session, ok);
    } else if (!ok || !link->came || !is_possible(c)) {
        link->broken = true;
    } else if (!ask_more(session)) {
        end_text(session);
    }
}

void remote_body_take(struct session *session, const struct remote_command *command, bool ok)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (command->in_vain)
        return;
    bool missed = link->requested && (c->wanted->flags & ENTRY_ASKED);
    remove_all_asked(c, command);
    if (command->kind == REMOTE_BODY)
        end_alone(session, ok);
    else if (missed && !(c->wanted->flags & ENTRY_ASKED))
        link->requested = false;    /* it did not come: it is asked for alone, and the client hears why */
}
