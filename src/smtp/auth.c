/* AUTH (RFC 4954) over src/sasl: an exchange of lines that ends in a login. Called by commands.c and smtp.c. What passes here is secret:
 * nothing of it is logged, kept or echoed. */
#include "postern/base/log.h"
#include "state.h"

bool smtp_auth_is_offered(const struct session *session)
{
    bool forced = !session->tls && session->snapshot->agent.smtp_tls == TLS_REQUIRED;
    struct buf mechanisms = { .cap = 0 };
    bool any = exchange_write_mechanisms(session, &mechanisms);
    buf_fini(&mechanisms);
    return any && !forced && session->user == NULL && !smtp_is_lmtp(session);
}

static void refuse(struct session *session)
{
    struct smtp *st = session->state;
    smtp_reply(session, "535 5.7.8 Authentication failed");
    if (++st->failed_logins >= SMTP_LOGINS_MAX)
        session_close(session, CLOSE_TOO_MANY_LOGINS);
}

static void after_login(struct session *session, enum action_result result)
{
    if (result == ACTION_OK)
        smtp_reply(session, "235 2.7.0 Authenticated");
    else if (result == ACTION_UNAVAILABLE)
        smtp_reply(session, "454 4.7.0 Cannot verify now, try again later");
    else
        refuse(session);
}

static void go_on(struct session *session, enum exchange_result result, enum action_result action);

static void after_action(struct session *session, enum action_result action)
{
    struct smtp *st = session->state;
    go_on(session, exchange_resume(&st->exchange, session, action), action);
}

static void go_on(struct session *session, enum exchange_result result, enum action_result action)
{
    struct smtp *st = session->state;
    st->phase = result == EXCHANGE_CHALLENGE ? SMTP_AUTH : SMTP_COMMAND;
    if (result == EXCHANGE_CHALLENGE)
        smtp_reply(session, "334 %.*s", SLICE_ARG(buf_slice(&st->exchange.challenge)));
    else if (result == EXCHANGE_WAIT)
        st->after = after_action;
    else if (result == EXCHANGE_LOGIN)
        after_login(session, action);
    else
        smtp_error(session, result == EXCHANGE_CANCELLED ? "501 5.7.0 Authentication cancelled" : "501 5.5.2 Cannot decode that");
}

void smtp_auth_line(struct session *session, struct slice line)
{
    struct smtp *st = session->state;
    go_on(session, exchange_line(&st->exchange, session, line), ACTION_OK);
}

static const char *find_problem(const struct session *session)
{
    const struct smtp *st = session->state;
    if (session->user != NULL)
        return "503 5.5.1 Already authenticated";
    if (!st->extended || st->transaction.open)
        return "503 5.5.1 AUTH comes after EHLO and before MAIL";
    return NULL;
}

void smtp_auth_run(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    const char *problem = find_problem(session);
    if (problem != NULL) {
        smtp_error(session, "%s", problem);
        return;
    }
    struct slice rest = slice_trim(arguments), mechanism = SLICE_NONE;
    slice_split(&rest, ' ', &mechanism);
    if (exchange_begin(&st->exchange, session, mechanism))
        smtp_auth_line(session, rest);
    else if (!session->clear_login)
        smtp_error(session, "538 5.7.11 Encryption required for authentication");
    else
        smtp_error(session, "504 5.5.4 Mechanism not known");
}
