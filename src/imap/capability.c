/* CAPABILITY, the greeting, ID (RFC 2971), ENABLE (RFC 5161), NAMESPACE (RFC 2342), NOOP, LOGOUT: answered from memory. */
#include "config.h"
#include "handlers.h"

#include "postern/session/exchange.h"

enum { ID_FIELDS_MAX = 30, ID_FIELD_LENGTH_MAX = 30, ID_VALUE_LENGTH_MAX = 1024 };   /* RFC 2971 section 3.3 */

static void write_before_login(const struct session *session, struct buf *out)
{
    buf_append_text(out, " SASL-IR");
    if (session->tls_offered)
        buf_append_text(out, " STARTTLS");
    if (!session->clear_login)
        buf_append_text(out, " LOGINDISABLED");
    struct buf words = { .cap = 0 };
    exchange_write_mechanisms(session, &words);
    struct slice rest = buf_slice(&words), mechanism;
    while (slice_split(&rest, ' ', &mechanism))
        buf_printf(out, " AUTH=%.*s", SLICE_ARG(mechanism));
    buf_fini(&words);
}

void imap_write_capability(const struct imap *imap, struct buf *out)
{
    const struct session *session = imap->session;
    buf_append_text(out, "CAPABILITY IMAP4rev1 LITERAL+ ID ENABLE IDLE");
    if (imap->state == STATE_NOT_AUTHENTICATED) {
        write_before_login(session, out);
        return;
    }
    buf_append_text(out, " NAMESPACE UIDPLUS UNSELECT CHILDREN SPECIAL-USE MOVE STATUS=SIZE");
    buf_printf(out, " APPENDLIMIT=%llu", (unsigned long long)imap_append_limit(session));
}

void imap_write_greeting(struct imap *imap)
{
    const struct agent_settings *agent = &imap->session->snapshot->agent;
    struct buf *out = &imap->session->out;
    buf_append_text(out, "* OK [");
    imap_write_capability(imap, out);
    buf_append_text(out, "]");
    if (agent->host_name != NULL)
        buf_printf(out, " %s", agent->host_name);
    buf_append_text(out, agent->imap4_hide_version ? " IMAP4 ready.\r\n" : " Postern " PACKAGE_VERSION " IMAP4 ready.\r\n");
}

bool capability_run(struct imap *imap, struct command *command)
{
    struct buf *out = &imap->session->out;
    buf_append_text(out, "* ");
    imap_write_capability(imap, out);
    buf_append_text(out, "\r\n");
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

bool noop_run(struct imap *imap, struct command *command)
{
    (void)imap;
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

bool logout_run(struct imap *imap, struct command *command)
{
    buf_append_text(&imap->session->out, "* BYE Logging out.\r\n");
    imap_reply(command, REPLY_OK, "Completed.");
    imap_close_after(imap, CLOSE_LOGOUT);
    return true;
}

/* For whom a proxy speaks, in the fields that Dovecot's sends. */
struct id {
    struct slice address;
    uint64_t port;
};

static bool parse_id_field(struct imap_parser *p, struct id *id)
{
    struct slice field, value;
    if (!parse_string(p, &field) || field.len > ID_FIELD_LENGTH_MAX || !parse_space(p) || !parse_nstring(p, &value) || value.len > ID_VALUE_LENGTH_MAX)
        return false;
    if (slice_is_nocase(field, "x-originating-ip"))
        id->address = value;
    else if (slice_is_nocase(field, "x-originating-port") && !slice_to_number(value, UINT16_MAX, &id->port))
        id->port = 0;
    return true;
}

bool id_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct id *id = ARENA_NEW(&command->arena, struct id);
    command->data = id;
    if (!parse_space(p))
        return false;
    if (parse_keyword(p, "NIL"))
        return parse_end(p);
    if (!parse_byte(p, '('))
        return false;
    for (unsigned i = 0; !parse_byte(p, ')'); i++)
        if (i >= ID_FIELDS_MAX || (i > 0 && !parse_space(p)) || !parse_id_field(p, id))
            return false;
    return parse_end(p);
}

bool id_run(struct imap *imap, struct command *command)
{
    const struct id *id = command->data;
    bool hidden = imap->session->snapshot->agent.imap4_hide_version;
    if (id->address.len > 0 && imap->state == STATE_NOT_AUTHENTICATED)
        session_claim_peer(imap->session, id->address, (uint16_t)id->port);
    buf_append_text(&imap->session->out,
                    hidden ? "* ID NIL\r\n" : "* ID (\"name\" \"Postern\" \"version\" \"" PACKAGE_VERSION "\")\r\n");
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

bool enable_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct slice name;
    do {
        if (!parse_space(p) || !parse_atom(p, &name))
            return false;
    } while (!parse_end(p));
    return true;
}

/* No extension of ours needs enabling: the list of those enabled is empty. */
bool enable_run(struct imap *imap, struct command *command)
{
    buf_append_text(&imap->session->out, "* ENABLED\r\n");
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}

bool namespace_run(struct imap *imap, struct command *command)
{
    struct buf *out = &imap->session->out;
    char separator = account_separator(imap->account);
    buf_append_text(out, "* NAMESPACE ((");
    imap_write_string(out, account_prefix(imap->account));
    buf_append_byte(out, ' ');
    imap_write_string(out, slice_make(&separator, 1));
    buf_append_text(out, ")) NIL NIL\r\n");
    imap_reply(command, REPLY_OK, "Completed.");
    return true;
}
