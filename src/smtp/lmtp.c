/* LMTP (RFC 2033): SMTP between servers of one site, with an answer for each recipient after the data. Who may connect takes the place of who may relay:
 * everybody else hears no more than a refusal. Called by the other files of src/smtp. */
#include "postern/base/clock.h"
#include "postern/config/gateways.h"
#include "state.h"

enum { LATE_MS = 50000 };   /* a gateway waits for a minute */

bool smtp_is_lmtp(const struct session *session)
{
    return session->listener == LISTENER_LMTP || session->listener == LISTENER_LMTPS;
}

bool lmtp_is_welcome(const struct session *session)
{
    return session->loopback || agent_trusts_address(&session->snapshot->agent, slice_from_string(session->peer));
}

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
