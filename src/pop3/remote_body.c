/* RETR and TOP over a Post Office Agent. A client that retrieves one message after the other finds the next ones under way: several are asked for by one
 * command, and each ends at the end of its own response. Called by remote.c. It must never give the client a text that it did not ask for, nor say that
 * one is whole that is not; and what the client has not asked for stays with the network: nothing is read on while a text waits for it. */
#include <stddef.h>

#include "conversation.h"
#include "postern/base/clock.h"

enum {
    TOP_OCTETS = 65536,            /* asked for at once */
    AHEAD_OCTETS = 256 * 1024,     /* under way and not wanted yet: that many, or one larger message */
    AHEAD_AT_ONCE = 100,           /* messages of one command: its line stays short */
};

/* --- what is under way -------------------------------------------------------------------------------------------------------------- */

/* With the option s nobody has asked for sizes: each may be a large one. */
static uint64_t octets_of(const struct conversation *c, const struct entry *entry)
{
    return c->drop.options.small_sizes ? AHEAD_OCTETS : entry->size;
}

static void add_asked(struct conversation *c, struct entry *entry)
{
    entry->flags |= ENTRY_ASKED;
    c->link->asked += octets_of(c, entry);
}

/* Its text has begun, or will not come. */
static void remove_asked(struct conversation *c, struct entry *entry)
{
    if (entry->flags & ENTRY_ASKED)
        c->link->asked -= octets_of(c, entry);
    entry->flags &= ~(unsigned)ENTRY_ASKED;
}

static void remove_all_asked(struct conversation *c, const struct remote_command *command)
{
    for (uint32_t i = command->first; i < command->end; i++)
        remove_asked(c, &c->drop.entries[i]);
}

void remote_body_give_up(struct conversation *c)
{
    struct remote_drop *link = c->link;
    for (unsigned i = 0; i < link->count; i++) {
        link->commands[i].in_vain = true;
        remove_all_asked(c, &link->commands[i]);
    }
    link->ahead_end = 0;
}

static uint32_t index_of(const struct conversation *c, const struct entry *entry)
{
    return (uint32_t)(entry - c->drop.entries);
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
    if (c->wanted_top)
        buf_printf(out, "<%llu.%d>", (unsigned long long)c->link->from, TOP_OCTETS);
    buf_append_text(out, ")\r\n");
}

/* The entries that come next, as many as may be under way. Returns the one behind them. */
static uint32_t choose_ahead(struct conversation *c, uint32_t first, struct uidset *uids)
{
    struct remote_drop *link = c->link;
    unsigned chosen = 0;
    uint32_t at = first;
    for (; at < c->drop.count && chosen < AHEAD_AT_ONCE; at++) {
        struct entry *entry = &c->drop.entries[at];
        if (entry->flags & ENTRY_DELETED)
            continue;
        if (link->asked != 0 && link->asked + octets_of(c, entry) > AHEAD_OCTETS)
            break;
        add_asked(c, entry);
        uidset_add(uids, entry->uid);
        chosen++;
    }
    return at;
}

/* Only of an agent that says which message it is before the message. */
static void ask_ahead(struct session *session)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    struct uidset uids = { 0 };
    if (!c->ahead.wanted || c->wanted_top || !link->uid_first || link->count == REMOTE_COMMANDS || link->asked > AHEAD_OCTETS / 2)
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
    bool is_there = !c->wanted_top && (c->wanted->flags & ENTRY_ASKED);
    if (!is_there && link->count != 0) {
        remote_body_give_up(c);
        return;
    }
    link->requested = true;
    link->answered = link->came = false;
    link->from = link->got = 0;
    link->alone = false;
    link->news_ms = clock_monotonic_ms();
    if (!is_there)
        ask_alone(session);
    if (!c->wanted_top)
        ahead_note(&c->ahead, index_of(c, c->wanted));
}

/* --- texts ---------------------------------------------------------------------------------------------------------------------------- */

void remote_body_write(struct session *session, struct slice piece)
{
    struct conversation *c = session->state;
    c->link->got += piece.len;
    wire_write(&c->retrieval.wire, piece, &session->out);
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
    c->link->answered = true;
    c->activity = ACTIVITY_RETRIEVING;
    c->retrieval = (struct retrieval){ .entry = c->wanted };
    if (c->wanted_top)
        retrieve_only_top(&c->retrieval, c->wanted_lines);
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
    if (!link->answered)
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

static void refuse_message(struct session *session, const char *reply)
{
    struct conversation *c = session->state;
    buf_append_text(&session->out, reply);
    c->activity = ACTIVITY_NONE;
    c->link->requested = false;
}

static void finish(struct session *session)
{
    struct conversation *c = session->state;
    wire_end(&c->retrieval.wire, &session->out);
    conversation_finish_retrieval(c);
    c->link->requested = false;
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
        finish(session);
}

/* Asked for alone: the agent's verdict is waited for. */
static void end_alone(struct session *session, bool ok)
{
    struct conversation *c = session->state;
    struct remote_drop *link = c->link;
    if (!link->answered) {
        if (!ok)
            counter_add(c->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
        refuse_message(session, ok ? "-ERR The message was removed by somebody else.\r\n"
                                   : "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n");
    } else if (!ok || !link->came) {
        link->broken = true;    /* in the midst of the reply only closing is honest */
    } else if (c->wanted_top && !c->retrieval.wire.full && link->got == TOP_OCTETS) {
        link->from += TOP_OCTETS;
        link->got = 0;
        link->came = false;
        ask_alone(session);
    } else {
        finish(session);
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
