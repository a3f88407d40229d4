/* AUTH (RFC 4954) over src/sasl: an exchange of lines that ends in a login. Called by commands.c and smtp.c. What passes here is secret:
 * nothing of it is logged, kept or echoed. */
#include "postern/base/log.h"
#include "state.h"

enum { CHALLENGE_MAX = 4096 };

bool smtp_auth_is_offered(const struct session *session)
{
    bool forced = !session->tls && session->snapshot->agent.smtp_tls == TLS_REQUIRED;
    return session->clear_login && !forced && session->user == NULL;
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
    if (result == ACTION_OK) {
        smtp_reply(session, "235 2.7.0 Authenticated");
        return;
    }
    if (result == ACTION_UNAVAILABLE) {
        smtp_reply(session, "454 4.7.0 Cannot verify now, try again later");
        return;
    }
    refuse(session);
}

static void finish(struct session *session)
{
    struct smtp *st = session->state;
    st->after = after_login;
    session_login(session, sasl_server_name(st->sasl), sasl_server_password(st->sasl));
    sasl_server_free(&st->sasl);
}

static void step(struct session *session, struct slice base64)
{
    struct smtp *st = session->state;
    struct buf challenge;
    buf_init(&challenge, CHALLENGE_MAX);
    enum sasl_result result = sasl_server_step(st->sasl, base64, &challenge);
    st->phase = result == SASL_MORE ? SMTP_AUTH : SMTP_COMMAND;
    if (result == SASL_MORE) {
        smtp_reply(session, "334 %.*s", SLICE_ARG(buf_slice(&challenge)));
    } else if (result == SASL_DONE) {
        finish(session);
    } else if (result == SASL_REFUSED) {
        sasl_server_free(&st->sasl);
        refuse(session);
    } else {
        sasl_server_free(&st->sasl);
        smtp_error(session, "501 5.5.2 Cannot decode that");
    }
    buf_wipe(&challenge);
}

void smtp_auth_line(struct session *session, struct slice line)
{
    struct smtp *st = session->state;
    if (!slice_is(line, "*")) {
        step(session, line);
        return;
    }
    sasl_server_free(&st->sasl);
    st->phase = SMTP_COMMAND;
    smtp_error(session, "501 5.7.0 Authentication cancelled");
}

static const char *find_problem(const struct session *session)
{
    const struct smtp *st = session->state;
    if (session->user != NULL)
        return "503 5.5.1 Already authenticated";
    if (!st->extended || st->transaction.open)
        return "503 5.5.1 AUTH comes after EHLO and before MAIL";
    if (!session->clear_login)
        return "538 5.7.11 Encryption required for authentication";
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
    st->sasl = sasl_server_new(mechanism);
    if (st->sasl == NULL)
        smtp_error(session, "504 5.5.4 Mechanism not known");
    else
        step(session, rest);
}
