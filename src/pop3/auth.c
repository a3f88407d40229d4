/* AUTHORIZATION state: USER and PASS (RFC 1939 section 7), AUTH (RFC 5034), STLS (RFC 2595 section 4). Called by pop3.c on the loop. It must
 * never keep or log a password, nor tell why a login was refused. */
#include "conversation.h"

#include "postern/base/memory.h"
#include "postern/config/user.h"

enum { FAILED_LOGINS_MAX = 5 };

static const char clear_refused[] = "-ERR [SYS/PERM] Login is not allowed on an unencrypted connection.\r\n";

void auth_forget(struct conversation *c)
{
    mem_free(&c->login);
    exchange_end(&c->exchange);
    c->options = (struct pop3_options){ 0 };
}

void auth_handle_user(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    struct slice name;
    auth_forget(c);
    if (!session->clear_login) {
        buf_append_text(&session->out, clear_refused);
        return;
    }
    const char *error = pop3_options_parse(argument, &name, &c->options);
    if (error != NULL) {
        buf_printf(&session->out, "-ERR %s\r\n", error);
        return;
    }
    c->login = slice_to_string(name);
    buf_append_text(&session->out, "+OK Send your password.\r\n");
}

static void refuse_login(struct session *session)
{
    struct conversation *c = session->state;
    buf_append_text(&session->out, "-ERR [AUTH] Authentication failed.\r\n");
    if (++c->failed_logins >= FAILED_LOGINS_MAX)
        conversation_end(c, CLOSE_TOO_MANY_LOGINS);
}

static void begin_login(struct session *session, struct slice name, struct slice password)
{
    struct conversation *c = session->state;
    c->activity = ACTIVITY_LOGIN;
    session_login(session, name, password);
}

void auth_handle_pass(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    if (c->login == NULL)
        buf_append_text(&session->out, "-ERR Send USER first.\r\n");
    else if (!session->clear_login)
        buf_append_text(&session->out, clear_refused);
    else
        begin_login(session, slice_from_string(c->login), argument);
}

/* The name carries login options here too. */
static bool take_name(struct session *session, struct slice full, struct slice *name_out)
{
    struct conversation *c = session->state;
    *name_out = full;
    c->name_error = full.len > 0 ? pop3_options_parse(full, name_out, &c->options) : NULL;
    return c->name_error == NULL;
}

static void end_login(struct session *session, enum action_result result);

static void go_on(struct session *session, enum exchange_result result, enum action_result action)
{
    struct conversation *c = session->state;
    c->activity = result == EXCHANGE_CHALLENGE ? ACTIVITY_SASL : result == EXCHANGE_WAIT ? ACTIVITY_LOGIN : ACTIVITY_NONE;
    if (result == EXCHANGE_WAIT)
        return;
    if (result == EXCHANGE_LOGIN) {
        end_login(session, action);
        return;
    }
    if (result == EXCHANGE_CHALLENGE) {
        buf_append_text(&session->out, "+ ");
        buf_append(&session->out, buf_slice(&c->exchange.challenge));
        buf_append_text(&session->out, "\r\n");
        return;
    }
    auth_forget(c);
    if (result == EXCHANGE_CANCELLED)
        buf_append_text(&session->out, "-ERR Authentication cancelled.\r\n");
    else if (result == EXCHANGE_NAME)
        buf_printf(&session->out, "-ERR %s\r\n", c->name_error);
    else
        conversation_refuse(session, "-ERR Malformed authentication data.\r\n");
}

void auth_take_line(struct session *session, struct slice line)
{
    struct conversation *c = session->state;
    go_on(session, exchange_line(&c->exchange, session, line), ACTION_OK);
}

/* AUTH alone lists the mechanisms, as clients from before RFC 5034 expect. */
static void list_mechanisms(struct session *session)
{
    struct buf mechanisms = { .cap = 0 };
    exchange_write_mechanisms(session, &mechanisms);
    struct slice rest = buf_slice(&mechanisms), word;
    buf_append_text(&session->out, "+OK Mechanisms follow.\r\n");
    while (slice_split(&rest, ' ', &word)) {
        buf_append(&session->out, word);
        buf_append_text(&session->out, "\r\n");
    }
    buf_append_text(&session->out, ".\r\n");
    buf_fini(&mechanisms);
}

void auth_handle_auth(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    struct slice rest = slice_trim(argument);
    struct slice mechanism = SLICE_NONE;
    auth_forget(c);
    if (rest.len == 0 && session->clear_login) {
        list_mechanisms(session);
        return;
    }
    slice_split(&rest, ' ', &mechanism);
    c->exchange.take_name = take_name;
    if (exchange_begin(&c->exchange, session, mechanism))
        auth_take_line(session, rest);
    else if (!session->clear_login)
        buf_append_text(&session->out, clear_refused);
    else
        conversation_refuse(session, "-ERR Authentication mechanism not supported.\r\n");
}

void auth_handle_stls(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    (void)argument;
    if (session->tls || !session->tls_offered) {
        conversation_refuse(session, session->tls ? "-ERR TLS is on already.\r\n" : "-ERR TLS is not available.\r\n");
        return;
    }
    auth_forget(c);
    buf_append_text(&session->out, "+OK Begin TLS negotiation.\r\n");
    session_start_tls(session);
}

/* Where the mailbox may be opened directly, too, that is done for the option n: over a POA each message comes whole. A view asks the POA first. */
static void begin_opening(struct session *session, const struct pop3_options *options)
{
    struct conversation *c = session->state;
    c->drop.options = *options;
    pop3_options_apply(&c->drop.options, &session->user->pop3);
    c->activity = ACTIVITY_OPENING;
    if (session->remote != NULL && c->drop.options.plain && c->drop.options.view == 0 && session_may_go_directly(session))
        session_drop_remote(session);
    if (session->remote != NULL)
        remote_begin(session);
}

static void end_login(struct session *session, enum action_result result)
{
    struct conversation *c = session->state;
    struct pop3_options options = c->options;
    auth_forget(c);
    c->activity = ACTIVITY_NONE;
    if (result == ACTION_OK) {
        begin_opening(session, &options);
    } else if (result == ACTION_REFUSED) {
        refuse_login(session);
    } else {
        buf_append_text(&session->out, "-ERR [SYS/TEMP] Login is not possible at the moment.\r\n");
    }
}

void auth_take_result(struct session *session, enum action_result result)
{
    struct conversation *c = session->state;
    go_on(session, exchange_resume(&c->exchange, session, result), result);
}
