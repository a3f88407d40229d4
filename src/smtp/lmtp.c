/* LMTP (RFC 2033): SMTP between servers of one site, with an answer for each recipient after the data. Who may connect takes the place of who may relay:
 * everybody else hears no more than a refusal. Called by the other files of src/smtp. */
#include <stdio.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/config/gateways.h"
#include "postern/net/endpoint.h"
#include "state.h"

enum { LATE_MS = 50000 };   /* a gateway waits for a minute */

bool smtp_is_lmtp(const struct session *session)
{
    return session->listener == LISTENER_LMTP || session->listener == LISTENER_LMTPS;
}

/* Of the connection itself, whoever it speaks for. */
static const char *address_of(const struct session *session)
{
    const struct smtp *st = session->state;
    return st->gateway[0] != '\0' ? st->gateway : session->peer;
}

bool lmtp_may_speak_for_others(const struct session *session)
{
    return agent_trusts_address(&session->snapshot->agent, slice_from_string(address_of(session)));
}

bool lmtp_is_welcome(const struct session *session)
{
    return session->loopback || lmtp_may_speak_for_others(session);
}

/* --- XCLIENT -------------------------------------------------------------------------------------------------------------- */

struct xclient {
    struct endpoint address;
    bool has_address;
    uint16_t port;
    char helo[SMTP_NAME_MAX + 1], login[SMTP_NAME_MAX + 1];
};

static int hex_digit(char c)
{
    return ascii_is_digit(c) ? c - '0' : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* xtext (RFC 3461 section 4). False: it is none, or holds what can stand in no log. */
static bool decode(struct slice text, struct buf *out)
{
    for (size_t i = 0; i < text.len; i++) {
        char c = text.data[i];
        if (c == '+') {
            if (text.len - i < 3 || hex_digit(text.data[i + 1]) < 0 || hex_digit(text.data[i + 2]) < 0)
                return false;
            c = (char)(hex_digit(text.data[i + 1]) * 16 + hex_digit(text.data[i + 2]));
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 127)
            return false;
        buf_append_byte(out, c);
    }
    return true;
}

static bool take_address(struct slice value, struct xclient *out)
{
    if (slice_starts_with_nocase(value, "IPV6:"))
        value = slice_from(value, 5);
    out->has_address = value.len != 0 && !slice_is(value, "*") && endpoint_parse(value, 0, &out->address);
    return out->has_address;
}

static bool take_value(struct slice name, struct slice value, struct xclient *out)
{
    uint64_t number;
    bool known = !slice_is_nocase(value, "[UNAVAILABLE]") && !slice_is_nocase(value, "[TEMPUNAVAIL]");
    if (slice_is_nocase(name, "ADDR"))
        return !known || take_address(value, out);
    if (slice_is_nocase(name, "PORT")) {
        if (known && !slice_to_number(value, 65535, &number))
            return false;
        out->port = known ? (uint16_t)number : 0;
        return true;
    }
    if (slice_is_nocase(name, "HELO")) {
        if (known && smtp_command_is_helo_name(value))
            snprintf(out->helo, sizeof(out->helo), "%.*s", SLICE_ARG(value));
        return true;
    }
    if (slice_is_nocase(name, "LOGIN") && known)
        snprintf(out->login, sizeof(out->login), "%.*s", value.len < SMTP_NAME_MAX ? (int)value.len : SMTP_NAME_MAX, value.data);
    return slice_is_nocase(name, "LOGIN") || slice_is_nocase(name, "NAME") || slice_is_nocase(name, "PROTO") || slice_is_nocase(name, "SESSION");
}

static bool parse_xclient(struct slice text, struct xclient *out)
{
    struct slice word;
    bool good = true;
    *out = (struct xclient){ .has_address = false };
    while (good && slice_split(&text, ' ', &word)) {
        ptrdiff_t at = slice_find(word, '=');
        struct buf value = { .cap = 0 };
        good = at > 0 && decode(slice_from(word, (size_t)at + 1), &value) && take_value(slice_part(word, 0, (size_t)at), buf_slice(&value), out);
        buf_fini(&value);
    }
    return good;
}

void lmtp_forget_client(struct session *session)
{
    struct smtp *st = session->state;
    st->told_helo[0] = '\0';
    if (st->gateway[0] == '\0')
        return;
    snprintf(session->peer, sizeof(session->peer), "%s", st->gateway);
    session->peer_port = st->gateway_port;
    st->gateway[0] = '\0';
}

static void believe(struct session *session, const struct xclient *x)
{
    struct smtp *st = session->state;
    lmtp_forget_client(session);
    snprintf(st->told_helo, sizeof(st->told_helo), "%s", x->helo);
    if (!x->has_address)
        return;
    snprintf(st->gateway, sizeof(st->gateway), "%s", session->peer);
    st->gateway_port = session->peer_port;
    endpoint_format(&x->address, session->peer);
    session->peer_port = x->port;
    log_verbose("smtp", "session %llu from %s speaks for a client at %s port %u%s%s", (unsigned long long)session->id, st->gateway, session->peer, session->peer_port,
                x->login[0] != '\0' ? ", user " : "", x->login);
}

/* All begins anew: the client greets again. */
void lmtp_xclient_run(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    struct xclient x;
    if (!lmtp_may_speak_for_others(session)) {
        smtp_error(session, "550 5.7.0 Not from your address");
    } else if (st->transaction.open) {
        smtp_error(session, "503 5.5.1 A transaction is open, RSET ends it");
    } else if (!parse_xclient(slice_trim(arguments), &x)) {
        smtp_error(session, "501 5.5.4 XCLIENT takes ADDR PORT NAME HELO PROTO LOGIN SESSION, each NAME=value");
    } else {
        believe(session, &x);
        st->helo[0] = '\0';
        st->extended = false;
        smtp_welcome(session);
    }
}

/* --- answers --------------------------------------------------------------------------------------------------------------- */

/* A process that was frozen, or whose disk was, does not know what became of its client. What it has not answered for is the client's still: so it takes nothing then. */
bool lmtp_is_too_late(const struct session *session)
{
    const struct smtp *st = session->state;
    return smtp_is_lmtp(session) && clock_monotonic_ms() - st->transaction.whole_ms >= LATE_MS;
}

void smtp_answer_data(struct session *session, const char *text)
{
    const struct smtp *st = session->state;
    size_t count = smtp_is_lmtp(session) ? st->transaction.recipient_count : 1;
    for (size_t i = 0; i < count; i++)
        smtp_reply(session, "%s", text);
}

void lmtp_answer_each(struct session *session)
{
    const struct smtp *st = session->state;
    const struct transaction *t = &st->transaction;
    for (size_t i = 0; i < t->recipient_count; i++) {
        if (t->recipients[i].state == RECIPIENT_SAFE)
            smtp_reply(session, "250 2.0.0 Delivered as %s", t->id);
        else
            smtp_reply(session, "451 4.3.0 Cannot deliver now, try again later");
    }
}
