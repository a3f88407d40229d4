/* A SASL exchange between a session's client and the service that verifies. Called by the protocols on the loop. What passes here is secret: nothing of
 * it is logged, and it lives no longer than the exchange. */
#include "postern/session/exchange.h"

/* Clear text as the session says it now; the rest is known to the service. */
static struct sasl_offer offer_of(const struct session *session)
{
    struct sasl_offer offer = session->sasl;
    offer.clear = session->clear_login;
    return offer;
}

bool exchange_write_mechanisms(const struct session *session, struct buf *out)
{
    struct sasl_offer offer = offer_of(session);
    size_t before = out->len;
    sasl_write_mechanisms(&offer, out);
    return out->len > before;
}

bool exchange_begin(struct exchange *exchange, const struct session *session, struct slice mechanism)
{
    struct sasl_offer offer = offer_of(session);
    exchange_end(exchange);
    exchange->sasl = sasl_server_new(mechanism, &offer);
    return exchange->sasl != NULL;
}

static void ask_for_gateway(struct exchange *exchange, struct session *session, struct slice user)
{
    struct slice name = sasl_server_name(exchange->sasl), password = sasl_server_password(exchange->sasl);
    struct buf secret = { .cap = 0 };
    buf_reserve(&secret, name.len + 1 + password.len);
    buf_append(&secret, name);
    buf_append_byte(&secret, '\0');
    buf_append(&secret, password);
    session_authenticate(session, PROOF_GATEWAY, user, buf_slice(&secret));
    buf_wipe(&secret);
}

static enum exchange_result ask(struct exchange *exchange, struct session *session, enum session_proof proof)
{
    struct slice acts_as = sasl_server_acts_as(exchange->sasl), name = acts_as.len > 0 ? acts_as : sasl_server_name(exchange->sasl);
    if (exchange->take_name != NULL && !exchange->take_name(session, name, &name)) {
        exchange_end(exchange);
        return EXCHANGE_NAME;
    }
    exchange->keys_wanted = proof == PROOF_KEYS;
    exchange->proven = proof == PROOF_SHOWN;
    if (acts_as.len > 0)
        ask_for_gateway(exchange, session, name);
    else if (proof == PROOF_PASSWORD)
        session_login(session, name, sasl_server_password(exchange->sasl));
    else
        session_authenticate(session, proof, name, sasl_server_password(exchange->sasl));
    if (!exchange->keys_wanted && !exchange->proven)
        exchange_end(exchange);
    return EXCHANGE_WAIT;
}

static enum session_proof proof_of(const struct sasl_server *sasl)
{
    static const enum session_proof proofs[] = {
        [SASL_PASSWORD] = PROOF_PASSWORD, [SASL_TOKEN] = PROOF_TOKEN, [SASL_CERTIFICATE] = PROOF_CERTIFICATE,
    };
    return proofs[sasl_server_proof(sasl)];
}

static enum exchange_result go_on(struct exchange *exchange, struct session *session, enum sasl_result result)
{
    switch (result) {
    case SASL_MORE:
        return EXCHANGE_CHALLENGE;
    case SASL_KEYS:
        return ask(exchange, session, PROOF_KEYS);
    case SASL_PROVEN:
        return ask(exchange, session, PROOF_SHOWN);
    case SASL_DONE:
        return ask(exchange, session, proof_of(exchange->sasl));
    case SASL_REFUSED:
        /* Answered like a wrong password, and counted as one where it was one. */
        return ask(exchange, session, sasl_server_proof(exchange->sasl) == SASL_SHOWN ? PROOF_WRONG : PROOF_PASSWORD);
    default:
        exchange_end(exchange);
        return EXCHANGE_BAD;
    }
}

/* The login is let in: all that is left is that the client takes our proof. One that does not has a session of no use to anybody. */
static enum exchange_result end_let_in(struct exchange *exchange, struct session *session, struct slice line)
{
    bool taken = sasl_server_step(exchange->sasl, line, &exchange->challenge) == SASL_DONE;
    exchange_end(exchange);
    if (taken)
        return EXCHANGE_LOGIN;
    session_close(session, CLOSE_PROTOCOL_ERRORS);
    return slice_is(line, "*") ? EXCHANGE_CANCELLED : EXCHANGE_BAD;
}

enum exchange_result exchange_line(struct exchange *exchange, struct session *session, struct slice line)
{
    if (exchange->let_in)
        return end_let_in(exchange, session, line);
    if (slice_is(line, "*")) {
        exchange_end(exchange);
        return EXCHANGE_CANCELLED;
    }
    return go_on(exchange, session, sasl_server_step(exchange->sasl, line, &exchange->challenge));
}

enum exchange_result exchange_resume(struct exchange *exchange, struct session *session, enum action_result result)
{
    if (exchange->sasl == NULL)
        return EXCHANGE_LOGIN;
    if (exchange->proven && result == ACTION_OK) {
        exchange->proven = false;
        exchange->let_in = true;
        return EXCHANGE_CHALLENGE;
    }
    bool keys = exchange->keys_wanted && result == ACTION_OK && session->keys != NULL;
    exchange->keys_wanted = false;
    if (keys)
        return go_on(exchange, session, sasl_server_give_keys(exchange->sasl, session->keys, &exchange->challenge));
    exchange_end(exchange);
    return EXCHANGE_LOGIN;
}

void exchange_end(struct exchange *exchange)
{
    sasl_server_free(&exchange->sasl);
    buf_wipe(&exchange->challenge);
    exchange->keys_wanted = exchange->proven = exchange->let_in = false;
}
