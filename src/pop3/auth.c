/* AUTHORIZATION state: USER and PASS (RFC 1939 section 7), AUTH (RFC 5034), STLS (RFC 2595 section 4). Called by pop3.c on the loop. It must
 * never keep or log a password, nor tell why a login was refused. */
#include "conversation.h"

#include "postern/base/memory.h"
#include "postern/config/user.h"
#include "postern/sasl/sasl.h"

enum { FAILED_LOGINS_MAX = 5 };

static const char clear_refused[] = "-ERR [SYS/PERM] Login is not allowed on an unencrypted connection.\r\n";

void auth_forget(struct conversation *c)
{
    mem_free(&c->login);
    sasl_server_free(&c->sasl);
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
static void finish_exchange(struct session *session)
{
    struct conversation *c = session->state;
    struct slice name;
    const char *error = pop3_options_parse(sasl_server_name(c->sasl), &name, &c->options);
    if (error == NULL) {
        begin_login(session, name, sasl_server_password(c->sasl));
        sasl_server_free(&c->sasl);
        return;
    }
    buf_printf(&session->out, "-ERR %s\r\n", error);
    auth_forget(c);
}

static void step_exchange(struct session *session, struct slice line)
{
    struct conversation *c = session->state;
    struct buf challenge = { 0 };
    c->activity = ACTIVITY_NONE;
    enum sasl_result result = sasl_server_step(c->sasl, line, &challenge);
    if (result == SASL_MORE) {
        c->activity = ACTIVITY_SASL;
        buf_append_text(&session->out, "+ ");
        buf_append(&session->out, buf_slice(&challenge));
        buf_append_text(&session->out, "\r\n");
    } else if (result == SASL_DONE) {
        finish_exchange(session);
    } else if (result == SASL_REFUSED) {
        auth_forget(c);
        refuse_login(session);
    } else {
        auth_forget(c);
        conversation_refuse(session, "-ERR Malformed authentication data.\r\n");
    }
    buf_fini(&challenge);
}

void auth_take_line(struct session *session, struct slice line)
{
    struct conversation *c = session->state;
    if (!slice_is(line, "*")) {
        step_exchange(session, line);
        return;
    }
    c->activity = ACTIVITY_NONE;
    auth_forget(c);
    buf_append_text(&session->out, "-ERR Authentication cancelled.\r\n");
}

/* AUTH alone lists the mechanisms, as clients from before RFC 5034 expect. */
static void list_mechanisms(struct session *session)
{
    struct slice rest = slice_from_string(sasl_mechanisms());
    struct slice word;
    buf_append_text(&session->out, "+OK Mechanisms follow.\r\n");
    while (slice_split(&rest, ' ', &word)) {
        buf_append(&session->out, word);
        buf_append_text(&session->out, "\r\n");
    }
    buf_append_text(&session->out, ".\r\n");
}

void auth_handle_auth(struct session *session, struct slice argument)
{
    struct conversation *c = session->state;
    struct slice rest = slice_trim(argument);
    struct slice mechanism = SLICE_NONE;
    auth_forget(c);
    if (!session->clear_login) {
        buf_append_text(&session->out, clear_refused);
        return;
    }
    if (rest.len == 0) {
        list_mechanisms(session);
        return;
    }
    slice_split(&rest, ' ', &mechanism);
    c->sasl = sasl_server_new(mechanism);
    if (c->sasl == NULL)
        conversation_refuse(session, "-ERR Authentication mechanism not supported.\r\n");
    else
        step_exchange(session, rest);
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

void auth_take_result(struct session *session, enum action_result result)
{
    struct conversation *c = session->state;
    struct pop3_options options = c->options;
    auth_forget(c);
    c->activity = ACTIVITY_NONE;
    if (result == ACTION_OK) {
        pop3_options_apply(&options, &session->user->pop3);
        c->drop.options = options;
        c->activity = ACTIVITY_OPENING;
    } else if (result == ACTION_REFUSED) {
        refuse_login(session);
    } else {
        buf_append_text(&session->out, "-ERR [SYS/TEMP] Login is not possible at the moment.\r\n");
    }
}
