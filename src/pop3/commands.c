/* The table of POP3's commands, and the handlers of the TRANSACTION state (RFC 1939 sections 5 to 7, CAPA: RFC 2449). Called by pop3.c, on the
 * loop or in a step as the table says. It must never remove anything: that is maildrop_update's. */
#include "conversation.h"

#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include "postern/base/log.h"
#include "postern/config/snapshot.h"

enum { ERRORS_MAX = 10 };

static const char no_message[] = "-ERR There is no such message.\r\n";

void conversation_end(struct conversation *c, enum close_reason reason)
{
    c->state = POP3_OVER;
    c->activity = ACTIVITY_NONE;
    c->ending = reason;
}

void conversation_refuse(struct session *session, const char *reply)
{
    struct conversation *c = session->state;
    buf_append_text(&session->out, reply);
    if (++c->errors >= ERRORS_MAX)
        conversation_end(c, CLOSE_PROTOCOL_ERRORS);
}

/* The message that the argument names; NULL after an answer. */
static struct entry *find_entry(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    uint64_t number;
    struct entry *entry = NULL;
    if (!slice_to_number(argument, UINT32_MAX, &number))
        conversation_refuse(session, "-ERR A message number is needed.\r\n");
    else if ((entry = maildrop_find(&c->drop, number)) == NULL)
        buf_append_text(&session->out, no_message);
    return entry;
}

static void handle_stat(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    (void)argument;
    buf_printf(&session->out, "+OK %u %llu\r\n", c->drop.left, (unsigned long long)c->drop.left_size);
}

/* The unique-id is the UID and then UIDVALIDITY, as Dovecot's default pop3_uidl_format writes it. */
static void write_entry(struct session *session, const struct entry *entry, bool uids)
{
    struct conversation *c = session->state;
    unsigned number = (unsigned)(entry - c->drop.entries) + 1;
    if (uids)
        buf_printf(&session->out, "%u %08x%08x\r\n", number, entry->uid, c->drop.uid_validity);
    else
        buf_printf(&session->out, "%u %llu\r\n", number, (unsigned long long)entry->size);
}

void command_continue_listing(struct session *session)
{
    struct conversation *c = session->state;
    for (; c->listing_at < c->drop.count; c->listing_at++) {
        if (!session_out_has_room(session))
            return;
        if (!(c->drop.entries[c->listing_at].flags & ENTRY_DELETED))
            write_entry(session, &c->drop.entries[c->listing_at], c->listing_uids);
    }
    buf_append_text(&session->out, ".\r\n");
    c->activity = ACTIVITY_NONE;
}

static void list(struct session *session, struct slice argument, bool uids)
{
    struct conversation *c = session->state;
    if (argument.len != 0) {
        const struct entry *entry = find_entry(session, argument);
        if (entry != NULL) {
            buf_append_text(&session->out, "+OK ");
            write_entry(session, entry, uids);
        }
        return;
    }
    if (uids)
        buf_append_text(&session->out, "+OK\r\n");
    else
        buf_printf(&session->out, "+OK %u messages (%llu octets)\r\n", c->drop.left, (unsigned long long)c->drop.left_size);
    c->listing_at = 0;
    c->listing_uids = uids;
    c->activity = ACTIVITY_LISTING;
    command_continue_listing(session);
}

static void handle_list(struct session *session, struct slice argument)
{
    list(session, argument, false);
}

static void handle_uidl(struct session *session, struct slice argument)
{
    list(session, argument, true);
}

/* RFC 3206: whether it is worth while to come again. */
static const char *unreadable_reply(const struct fault *fault)
{
    switch (fault->class) {
    case FAULT_GONE:
    case FAULT_NOT_FOUND: return "-ERR The message was removed by somebody else.\r\n";
    case FAULT_DENIED:
    case FAULT_CORRUPT: return "-ERR [SYS/PERM] The message cannot be read.\r\n";
    default: return "-ERR [SYS/TEMP] The message cannot be read at the moment.\r\n";
    }
}

static void answer_retr(struct session *session, const struct entry *entry)
{
    const struct conversation *c = session->state;
    if (c->drop.options.small_sizes)
        buf_append_text(&session->out, "+OK\r\n");
    else
        buf_printf(&session->out, "+OK %llu octets\r\n", (unsigned long long)entry->size);
}

void command_answer_retrieval(struct session *session)
{
    const struct conversation *c = session->state;
    if (c->wanted_top)
        buf_append_text(&session->out, "+OK\r\n");
    else
        answer_retr(session, c->wanted);
}

bool command_begin_retrieval(struct session *session)
{
    struct conversation *c = session->state;
    struct fault fault;
    if (retrieve_begin(&c->retrieval, &c->drop, c->wanted, conversation_scratch(c), &fault) < 0) {
        if (fault.class == FAULT_BUSY)
            return false;
        log_warning("pop3", "session %llu: message %u: %s", (unsigned long long)c->id, c->wanted->uid, fault.text);
        if (fault.class != FAULT_GONE)
            counter_add(c->counters, COUNTER_STORE_RETRIEVAL_ERROR, 1);
        buf_append_text(&session->out, unreadable_reply(&fault));
        c->activity = ACTIVITY_NONE;
        return true;
    }
    c->activity = ACTIVITY_RETRIEVING;
    command_answer_retrieval(session);
    if (c->wanted_top)
        retrieve_only_top(&c->retrieval, c->wanted_lines);
    else
        ahead_note(&c->ahead, (uint32_t)(c->wanted - c->drop.entries));
    return true;
}

static void want(struct conversation *c, struct entry *entry, bool top, uint64_t lines)
{
    c->wanted = entry;
    c->wanted_top = top;
    c->wanted_lines = lines;
    c->activity = ACTIVITY_FINDING;
}

static void handle_retr(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    struct entry *entry = find_entry(session, argument);
    if (entry == NULL)
        return;
    uint32_t index = (uint32_t)(entry - c->drop.entries);
    if (!ahead_has(&c->ahead, index)) {
        want(c, entry, false, 0);
        return;
    }
    ahead_note(&c->ahead, index);
    answer_retr(session, entry);
    ahead_take(&c->ahead, index, &session->out);
    entry->flags |= ENTRY_RETRIEVED;
    counter_add(c->counters, COUNTER_MESSAGES_OUT, 1);
}

bool command_is_ready(struct conversation *c, const struct command *command, struct slice argument)
{
    uint64_t number;
    return command->handle == handle_retr && c->state == POP3_TRANSACTION && slice_to_number(argument, UINT32_MAX, &number) && number != 0 &&
           ahead_has(&c->ahead, (uint32_t)number - 1);
}

static void handle_top(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    uint64_t lines;
    ptrdiff_t blank = slice_find(argument, ' ');
    if (blank < 0 || !slice_to_number(slice_trim(slice_from(argument, (size_t)blank)), UINT32_MAX, &lines)) {
        conversation_refuse(session, "-ERR A message number and a number of lines are needed.\r\n");
        return;
    }
    struct entry *entry = find_entry(session, slice_part(argument, 0, (size_t)blank));
    if (entry != NULL)
        want(c, entry, true, lines);
}

static void handle_dele(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    struct entry *entry = find_entry(session, argument);
    if (entry == NULL)
        return;
    maildrop_delete(&c->drop, entry);
    buf_append_text(&session->out, "+OK Deleted.\r\n");
}

static void handle_rset(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    (void)argument;
    maildrop_undelete_all(&c->drop);
    buf_append_text(&session->out, "+OK\r\n");
}

static void handle_noop(struct session *session, struct slice argument)
{
    (void)argument;
    buf_append_text(&session->out, "+OK\r\n");
}

static void handle_quit(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    (void)argument;
    if (c->state == POP3_TRANSACTION && maildrop_needs_update(&c->drop)) {
        c->activity = ACTIVITY_UPDATING;
        return;
    }
    buf_append_text(&session->out, "+OK Bye.\r\n");
    conversation_end(c, CLOSE_LOGOUT);
}

/* RFC 2449 section 6.7: EXPIRE 0 says that what is retrieved is removed at QUIT. Before login it may be so for some users. */
static const char *expire_line(const struct conversation *c)
{
    if (c->state == POP3_AUTHORIZATION)
        return "EXPIRE 0 USER\r\n";
    return c->drop.options.removal == POP3_KEEP ? "EXPIRE NEVER\r\n" : "EXPIRE 0\r\n";
}

/* RFC 2449 section 5: what is announced in AUTHORIZATION is announced in both states; but nothing that could not be used. */
static void handle_capa(struct session *session, struct slice argument)
{
    struct buf *out = &session->out;
    (void)argument;
    buf_append_text(out, "+OK Capability list follows.\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\n");
    buf_append_text(out, expire_line(session->state));
    if (session->clear_login)
        buf_append_text(out, "USER\r\n");
    struct buf mechanisms = { .cap = 0 };
    if (exchange_write_mechanisms(session, &mechanisms))
        buf_printf(out, "SASL %.*s\r\n", SLICE_ARG(buf_slice(&mechanisms)));
    buf_fini(&mechanisms);
    if (session->tls_offered && !session->tls)
        buf_append_text(out, "STLS\r\n");
#ifdef PACKAGE_VERSION
    if (!session->snapshot->agent.pop3_hide_version)
        buf_append_text(out, "IMPLEMENTATION Postern-" PACKAGE_VERSION "\r\n");
#endif
    buf_append_text(out, ".\r\n");
}

static const struct command commands[] = {
    { "USER", COMMAND_AUTHORIZATION | COMMAND_ON_LOOP, auth_handle_user },
    { "PASS", COMMAND_AUTHORIZATION | COMMAND_ON_LOOP | COMMAND_SECRET, auth_handle_pass },
    { "AUTH", COMMAND_AUTHORIZATION | COMMAND_ON_LOOP | COMMAND_SECRET, auth_handle_auth },
    { "STLS", COMMAND_AUTHORIZATION | COMMAND_ON_LOOP | COMMAND_BARE, auth_handle_stls },
    { "CAPA", COMMAND_AUTHORIZATION | COMMAND_TRANSACTION | COMMAND_ON_LOOP, handle_capa },
    { "QUIT", COMMAND_AUTHORIZATION | COMMAND_TRANSACTION | COMMAND_BARE, handle_quit },
    { "STAT", COMMAND_TRANSACTION | COMMAND_BARE, handle_stat },
    { "LIST", COMMAND_TRANSACTION, handle_list },
    { "UIDL", COMMAND_TRANSACTION, handle_uidl },
    { "RETR", COMMAND_TRANSACTION | COMMAND_IN_STEP, handle_retr },
    { "TOP", COMMAND_TRANSACTION | COMMAND_IN_STEP, handle_top },
    { "DELE", COMMAND_TRANSACTION, handle_dele },
    { "RSET", COMMAND_TRANSACTION | COMMAND_BARE, handle_rset },
    { "NOOP", COMMAND_TRANSACTION | COMMAND_BARE, handle_noop },
};

const struct command *command_find(struct slice word)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (slice_is_nocase(word, commands[i].word))
            return &commands[i];
    return NULL;
}
