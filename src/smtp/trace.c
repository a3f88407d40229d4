/* What is put before a message: Return-Path and Received (RFC 5321 4.4), and Date and Message-ID that a user's client left out (RFC 6409
 * 8.2, 8.3). Called by deliver.c. The message itself is never changed. */
#include <string.h>

#include "postern/base/clock.h"
#include "state.h"

void trace_write_date(struct buf *out, time_t when)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    gmtime_r(&when, &tm);
    buf_printf(out, "%.3s, %d %.3s %d %02d:%02d:%02d +0000", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
               tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

const char *trace_protocol(const struct session *session)
{
    const struct smtp *st = session->state;
    return smtp_is_lmtp(session) ? "LMTP" : st->extended ? "ESMTP" : "SMTP";
}

/* RFC 3848; HELO knows no extensions. */
static void write_protocol(struct buf *out, const struct session *session)
{
    const struct smtp *st = session->state;
    buf_append_text(out, trace_protocol(session));
    if (st->extended && session->tls)
        buf_append_byte(out, 'S');
    if (st->extended && session->user != NULL)
        buf_append_byte(out, 'A');
}

static void write_received(struct buf *out, const struct session *session, time_t now)
{
    const struct smtp *st = session->state;
    const char *family = strchr(session->peer, ':') != NULL ? "IPv6:" : "";
    buf_printf(out, "Received: from %s ([%s%s])\r\n\tby %s with ", st->helo, family, session->peer, st->host);
    write_protocol(out, session);
    buf_printf(out, " id %s;\r\n\t", st->transaction.id);
    trace_write_date(out, now);
    buf_append_text(out, "\r\n");
}

void trace_write(struct session *session)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    time_t now = clock_wall().tv_sec;
    buf_clear(&t->return_path);
    buf_clear(&t->trace);
    buf_printf(&t->return_path, "Return-Path: <%.*s>\r\n", SLICE_ARG(mail_path_text(&t->sender)));
    write_received(&t->trace, session, now);
    if (session->user != NULL && !t->header.has_message_id)
        buf_printf(&t->trace, "Message-ID: <%s@%s>\r\n", t->id, st->host);
    if (session->user != NULL && !t->header.has_date) {
        buf_append_text(&t->trace, "Date: ");
        trace_write_date(&t->trace, now);
        buf_append_text(&t->trace, "\r\n");
    }
}
