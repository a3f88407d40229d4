/* What a protocol may ask of its connection: session_ops. Called by protocols on the loop, from within init and run (wake: from any
 * thread); only notes what is wanted, the connection acts when the protocol has returned. */
#include "conn.h"

#include "claims.h"
#include "mechanisms.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "reach.h"

enum { NAME_MAX_OCTETS = 320, PASSWORD_MAX_OCTETS = 1000, TOKEN_MAX_OCTETS = 9216 };

static struct conn *conn_of(struct session *session)
{
    return LIST_ITEM(session, struct conn, session);
}

static void ask(struct conn *c, enum conn_action action)
{
    CHECK(c->in_run && !c->session.busy && c->action == CONN_NO_ACTION);
    c->action = action;
    c->session.busy = true;
}

static void op_step(struct session *session, enum step_result (*work)(struct session *))
{
    struct conn *c = conn_of(session);
    ask(c, CONN_STEP);
    c->work = work;
}

/* Names and passwords that are too long are looked up as empty: they are refused in the same way as wrong ones. */
static void ask_look_up(struct conn *c, enum conn_action action, enum session_proof proof, struct slice name, struct slice password)
{
    size_t most = proof == PROOF_TOKEN ? TOKEN_MAX_OCTETS : PASSWORD_MAX_OCTETS;
    struct look_up *before = c->look_up;
    ask(c, action);
    c->look_up = MEM_NEW(struct look_up);
    c->look_up->proof = proof;
    if (before != NULL && proof == PROOF_SHOWN && slice_is_equal(buf_slice(&before->name), name)) {
        c->look_up->keys_dn = before->keys_dn;
        before->keys_dn = NULL;
    }
    look_up_free(&before);
    c->session.keys = NULL;
    c->arrived_ms = clock_monotonic_ms();
    if (name.len > NAME_MAX_OCTETS || password.len > most)
        return;
    if (proof == PROOF_GATEWAY) {
        ptrdiff_t end = slice_find(password, '\0');
        buf_append(&c->look_up->gateway, slice_part(password, 0, end < 0 ? 0 : (size_t)end));
        password = slice_from(password, end < 0 ? 0 : (size_t)end + 1);
    }
    /* Room at once: a buffer that grows leaves unwiped copies behind. */
    buf_reserve(&c->look_up->password, most);
    buf_append(&c->look_up->name, name);
    buf_append(&c->look_up->password, password);
}

static void op_close(struct session *session, enum close_reason reason)
{
    struct conn *c = conn_of(session);
    if (session->closing)
        return;
    if (c->in_run) {
        session->closing = true;
        c->reason = reason;
    } else
        conn_close(c, reason);
}

/* Nobody logs in twice: what belongs to the first user would be the second one's. */
static void op_authenticate(struct session *session, enum session_proof proof, struct slice name, struct slice secret)
{
    ask_look_up(conn_of(session), CONN_LOGIN, proof, name, secret);
    if (session->user != NULL)
        op_close(session, CLOSE_PROTOCOL_ERRORS);
}

static void op_login(struct session *session, struct slice name, struct slice password)
{
    op_authenticate(session, PROOF_PASSWORD, name, password);
}

static void op_resolve(struct session *session, struct slice address)
{
    ask_look_up(conn_of(session), CONN_RESOLVE, PROOF_PASSWORD, address, SLICE_NONE);
}

static void op_start_tls(struct session *session)
{
    ask(conn_of(session), CONN_START_TLS);
}

static void woken(void *arg)
{
    struct conn *c = arg;
    atomic_store(&c->woken, false);
    if (conn_take(c))
        conn_run(c);
}

static void op_wake(struct session *session)
{
    struct conn *c = conn_of(session);
    if (!atomic_exchange(&c->woken, true))
        conn_post(c, woken);
}

static void op_wake_after(struct session *session, unsigned milliseconds)
{
    struct conn *c = conn_of(session);
    if (milliseconds == 0)
        loop_timer_cancel(&c->later);
    else
        loop_timer_set(&c->later, milliseconds);
}

static bool may_log_in(const struct session *s, enum tls_mode mode)
{
    if (s->tls)
        return true;
    if (mode == TLS_REQUIRED)
        return false;
    int clear = s->snapshot->agent.clear_text_login;
    return clear == CLEAR_TEXT_ALWAYS || (clear == CLEAR_TEXT_LOOPBACK && s->loopback);
}

static void op_refresh(struct session *session)
{
    struct conn *c = conn_of(session);
    if (snapshot_current_serial() != session->snapshot->serial) {
        struct snapshot *newest = snapshot_current();
        if (newest != NULL) {
            snapshot_unref(&session->snapshot);
            session->snapshot = newest;
        }
    } else if (session->remote != NULL)
        return;   /* neither TLS nor another login is offered behind a POA */
    struct service_settings settings;
    service_settings_of(session->snapshot, c->room->service, &settings);
    session->tls_offered = !session->tls && settings.tls != TLS_DISABLED && atomic_load(&c->gateway->tls_ready);
    session->clear_login = may_log_in(session, settings.tls);
    mechanisms_refresh(c, settings.tls);
}

const struct session_ops conn_ops = {
    .step = op_step,
    .login = op_login,
    .authenticate = op_authenticate,
    .resolve = op_resolve,
    .start_tls = op_start_tls,
    .close = op_close,
    .wake = op_wake,
    .wake_after = op_wake_after,
    .refresh = op_refresh,
    .drop_remote = reach_drop,
    .claim_peer = claims_take,
    .may_go_directly = reach_may_go_directly,
};
