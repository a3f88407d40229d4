/* STARTTLS, LOGIN and AUTHENTICATE (RFC 3501 6.2, RFC 4959). The service verifies; a name and a password live no longer than the command. */
#include "handlers.h"

#include "postern/base/log.h"
#include "postern/session/exchange.h"
#include "relay.h"

enum { LOGIN_FAILURES_MAX = 3 };
enum { STAGE_BEGIN, STAGE_ANSWER, STAGE_LOGIN, STAGE_OPEN };

bool starttls_run(struct imap *imap, struct command *command)
{
    struct session *session = imap->session;
    if (!session->tls_offered) {
        imap_reply(command, session->tls ? REPLY_BAD : REPLY_NO, session->tls ? "TLS is on already." : "[CANNOT] TLS is not offered.");
        return true;
    }
    imap_reply(command, REPLY_OK, "Begin TLS negotiation now.");
    imap->start_tls = true;
    return true;
}

/* --- after the service's verdict: the account is opened before OK is said ------------------------------------------------ */

static struct account_where account_of(const struct user *user)
{
    const struct post_office *office = user->post_office;
    return (struct account_where){
        .path = slice_from_string(office->path), .uuid = slice_from_string(office->uuid),
        .mailbox_dir = slice_from_string(user->mailbox_dir), .control_dir = slice_from_string(office->control_dir),
        .prefix = slice_from_string(office->prefix), .separator = office->separator,
    };
}

struct account *imap_find_account(const struct user *user)
{
    struct account_where where = account_of(user);
    return account_find(&where);
}

enum step_result imap_open_account_work(struct imap *imap, struct command *command)
{
    const struct user *user = imap->session->user;
    struct account_where where = account_of(user);
    struct fault fault;
    (void)command;
    /* What stands in for the POA creates no mailboxes. */
    if (account_open(&where, !imap->session->fallback, &imap->account, &fault) == 0)
        return STEP_DONE;
    if (fault.class == FAULT_BUSY)
        return STEP_AGAIN;
    log_warning("imap", "session %llu: the mailbox of %s cannot be opened: %s", (unsigned long long)imap->session->id, user->id,
                fault.text);
    return STEP_DONE;
}

static bool unavailable(struct imap *imap, struct command *command)
{
    counter_add(imap->session->counters, COUNTER_STORE_LOGIN_ERROR, 1);
    imap_reply(command, REPLY_NO, "[UNAVAILABLE] The mailbox is not reachable at the moment.");
    return true;
}

static bool logged_in(struct imap *imap, struct command *command)
{
    struct buf text;
    imap->state = STATE_AUTHENTICATED;
    imap->bad_commands = 0;
    imap->session->idle_seconds = (unsigned)imap->session->snapshot->agent.imap4_idle_minutes * 60;
    buf_init(&text, 0);
    if (imap->session->remote != NULL)
        relay_begin(imap, &text);
    else {
        buf_append_text(&text, "[");
        imap_write_capability(imap, &text);
        buf_append_text(&text, "] Logged in.");
    }
    imap_replyf(command, REPLY_OK, "%s", buf_text(&text));
    buf_fini(&text);
    return true;
}

static bool begin_login(struct imap *imap, struct command *command, struct slice name, struct slice password)
{
    command->stage = STAGE_LOGIN;
    imap->await = AWAIT_LOGIN;
    session_login(imap->session, name, password);
    return false;
}

static bool refuse_login(struct imap *imap, struct command *command)
{
    if (++imap->login_failures >= LOGIN_FAILURES_MAX)
        imap_close_after(imap, CLOSE_TOO_MANY_LOGINS);
    imap_reply(command, REPLY_NO, "[AUTHENTICATIONFAILED] Authentication failed.");
    return true;
}

/* The service has answered. */
static bool end_login(struct imap *imap, struct command *command)
{
    const struct user *user = imap->session->user;
    switch (imap->result) {
    case ACTION_OK:
        if (imap->session->remote != NULL)
            return logged_in(imap, command);
        if (user->post_office == NULL || user->post_office->path == NULL)
            return unavailable(imap, command);
        imap->account = imap_find_account(user);
        if (imap->account != NULL)
            return logged_in(imap, command);
        command->stage = STAGE_OPEN;
        return imap_step(imap, imap_open_account_work);
    case ACTION_UNAVAILABLE:
        imap_reply(command, REPLY_NO, "[UNAVAILABLE] Logins cannot be verified at the moment.");
        return true;
    default:
        return refuse_login(imap, command);
    }
}

static bool end_open(struct imap *imap, struct command *command)
{
    return imap->account != NULL ? logged_in(imap, command) : unavailable(imap, command);
}

/* --- LOGIN --------------------------------------------------------------------------------------------------------------- */

struct login {
    struct slice name;
    struct slice password;
};

bool login_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct login *login = ARENA_NEW(&command->arena, struct login);
    command->data = login;
    return parse_space(p) && parse_astring(p, &login->name) && parse_space(p) && parse_astring(p, &login->password) && parse_end(p);
}

static bool refuse_clear(struct command *command)
{
    imap_reply(command, REPLY_NO, "[PRIVACYREQUIRED] Logins need TLS here.");
    return true;
}

bool login_run(struct imap *imap, struct command *command)
{
    const struct login *login = command->data;
    if (command->stage == STAGE_LOGIN)
        return end_login(imap, command);
    if (command->stage == STAGE_OPEN)
        return end_open(imap, command);
    if (!imap->session->clear_login)
        return refuse_clear(command);
    return begin_login(imap, command, login->name, login->password);
}

/* --- AUTHENTICATE -------------------------------------------------------------------------------------------------------- */

struct authenticate {
    struct slice mechanism;
    struct slice initial;
    struct exchange exchange;
};

static void release_exchange(struct command *command)
{
    struct authenticate *auth = command->data;
    exchange_end(&auth->exchange);
}

/* SP auth-type [SP (base64 / "=")] (RFC 4959 section 3) */
bool authenticate_parse(struct imap *imap, struct command *command)
{
    (void)imap;
    struct imap_parser *p = &command->parser;
    struct authenticate *auth = ARENA_NEW(&command->arena, struct authenticate);
    command->data = auth;
    command->release = release_exchange;
    if (!parse_space(p) || !parse_atom(p, &auth->mechanism))
        return false;
    return parse_end(p) || (parse_space(p) && parse_atom(p, &auth->initial) && parse_end(p));
}

static bool go_on(struct imap *imap, struct command *command, enum exchange_result result)
{
    const struct authenticate *auth = command->data;
    struct buf *out = &imap->session->out;
    switch (result) {
    case EXCHANGE_CHALLENGE:
        buf_append_text(out, "+ ");
        buf_append(out, buf_slice(&auth->exchange.challenge));
        buf_append_text(out, "\r\n");
        command->stage = STAGE_ANSWER;
        return true;
    case EXCHANGE_WAIT:
        command->stage = STAGE_LOGIN;
        imap->await = AWAIT_LOGIN;
        return false;
    case EXCHANGE_LOGIN:
        return end_login(imap, command);
    default:
        imap_reply(command, REPLY_BAD, result == EXCHANGE_CANCELLED ? "Authentication cancelled." : "Invalid answer.");
        return true;
    }
}

static bool take_line(struct imap *imap, struct command *command, struct slice line)
{
    struct authenticate *auth = command->data;
    imap->result = ACTION_OK;   /* of a login that ends here */
    return go_on(imap, command, exchange_line(&auth->exchange, imap->session, line));
}

static bool take_answer(struct imap *imap, struct command *command)
{
    struct slice line;
    size_t total;
    switch (reader_line(&imap->session->in, SASL_LINE_MAX, &line, &total)) {
    case LINE_MORE:
        return imap_wait_input(imap);
    case LINE_TOO_LONG:
        imap_reply(command, REPLY_BAD, "[TOOBIG] Answer too long.");
        imap_close_after(imap, CLOSE_PROTOCOL_ERRORS);
        return true;
    default:
        break;
    }
    line = arena_copy(&command->arena, line);
    buf_consume(&imap->session->in, total);
    return take_line(imap, command, line);
}

static bool begin_authenticate(struct imap *imap, struct command *command)
{
    struct authenticate *auth = command->data;
    if (exchange_begin(&auth->exchange, imap->session, auth->mechanism))
        return take_line(imap, command, auth->initial);
    if (!imap->session->clear_login)
        return refuse_clear(command);
    imap_reply(command, REPLY_NO, "[CANNOT] This mechanism is not offered.");
    return true;
}

bool authenticate_run(struct imap *imap, struct command *command)
{
    struct authenticate *auth = command->data;
    switch (command->stage) {
    case STAGE_LOGIN:
        return go_on(imap, command, exchange_resume(&auth->exchange, imap->session, imap->result));
    case STAGE_OPEN:
        return end_open(imap, command);
    case STAGE_ANSWER:
        return take_answer(imap, command);
    default:
        return begin_authenticate(imap, command);
    }
}
