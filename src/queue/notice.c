/* Delivery status notifications (RFC 3464 in RFC 6522's multipart/report): a message to the sender that says what was not delivered and
 * why, with the header of the original. It goes into the queue like any other, from the null path, and its envelope names what it tells of. Called by attempt.c. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "attempt.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/config/snapshot.h"

enum { HEADER_RETURNED_MAX = 64 * 1024 };

static void write_date(struct buf *out, time_t when)
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct tm tm;
    gmtime_r(&when, &tm);
    buf_printf(out, "%.3s, %d %.3s %d %02d:%02d:%02d +0000\r\n", days + 3 * tm.tm_wday, tm.tm_mday, months + 3 * tm.tm_mon,
               tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

static void write_head(struct buf *out, const struct envelope *envelope, const struct snapshot *snapshot, const char *host, const char *boundary)
{
    const char *postmaster = snapshot->agent.postmaster;
    /* RFC 5321 4.4 wants none of a message's author; it is what tells this one from all others (seek.h). */
    buf_printf(out, "Received: by %s id %s;\r\n\t", host, boundary);
    write_date(out, clock_wall().tv_sec);
    buf_printf(out, "From: Mail Delivery System <%s%s>\r\n", postmaster != NULL ? postmaster : "postmaster@", postmaster != NULL ? "" : host);
    buf_printf(out, "To: <%s>\r\nSubject: Undelivered mail returned to sender\r\nDate: ", envelope->sender);
    write_date(out, clock_wall().tv_sec);
    buf_printf(out, "Message-ID: <%s@%s>\r\nAuto-Submitted: auto-replied\r\nMIME-Version: 1.0\r\n", boundary, host);
    /* The original's header may hold 8-bit bytes, though it should not. */
    buf_append_text(out, "Content-Transfer-Encoding: 8bit\r\n");
    buf_printf(out, "Content-Type: multipart/report; report-type=delivery-status;\r\n\tboundary=\"%s\"\r\n\r\n", boundary);
}

/* What a peer said, printable only. */
static void write_text(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++)
        buf_append_byte(out, *text >= ' ' && *text <= '~' ? *text : '?');
    buf_append_text(out, "\r\n");
}

static void write_explanation(struct buf *out, const struct envelope *envelope, const char *host, const char *boundary)
{
    buf_printf(out, "--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n", boundary);
    buf_printf(out, "This is the mail system at %s.\r\n\r\nYour message could not be delivered to:\r\n\r\n", host);
    for (size_t i = 0; i < envelope->count; i++) {
        const struct envelope_recipient *to = &envelope->recipients[i];
        if (to->outcome != OUTCOME_FAILED)
            continue;
        buf_printf(out, "<%s>: ", to->address);
        write_text(out, to->text);
    }
    buf_append_text(out, "\r\n");
}

/* RFC 3464 2.2, 2.3. */
static void write_status(struct buf *out, const struct envelope *envelope, const char *host, const char *boundary)
{
    buf_printf(out, "--%s\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; %s\r\nArrival-Date: ", boundary, host);
    write_date(out, envelope->arrived);
    for (size_t i = 0; i < envelope->count; i++) {
        const struct envelope_recipient *to = &envelope->recipients[i];
        if (to->outcome != OUTCOME_FAILED)
            continue;
        buf_printf(out, "\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: %s\r\n", to->address, to->status[0] ? to->status : "5.0.0");
        buf_append_text(out, to->answered ? "Diagnostic-Code: smtp; " : "Diagnostic-Code: x-postern; ");
        write_text(out, to->text);
    }
    buf_append_text(out, "\r\n");
}

/* The original's header, whole lines only. */
static int write_header(struct buf *out, int message, const char *boundary, struct fault *fault)
{
    struct buf head = { 0 };
    char *room = buf_reserve(&head, HEADER_RETURNED_MAX);
    ssize_t got = pread(message, room, HEADER_RETURNED_MAX, 0);
    if (got < 0) {
        buf_fini(&head);
        return fault_set_errno(fault, errno, "reading the message");
    }
    buf_extend(&head, (size_t)got);
    struct slice text = buf_slice(&head);
    ptrdiff_t end = slice_find_text(text, SLICE_LITERAL("\r\n\r\n"));
    if (end < 0)
        end = slice_find_last(text, '\n') - 1;
    buf_printf(out, "--%s\r\nContent-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: 8bit\r\n\r\n", boundary);
    if (end > 0)
        buf_append(out, slice_part(text, 0, (size_t)end + 2));
    buf_printf(out, "\r\n--%s--\r\n", boundary);
    buf_fini(&head);
    return 0;
}

static void fill_envelope(const struct envelope *envelope, struct envelope *notice)
{
    *notice = (struct envelope){ .sender = mem_strdup(""), .eight_bit = true };
    spool_make_id(notice->id);
    notice->arrived = notice->next = clock_wall().tv_sec;
    snprintf(notice->of, sizeof(notice->of), "%s", envelope->id);
    for (size_t i = 0; i < envelope->count; i++)
        if (envelope->recipients[i].outcome == OUTCOME_FAILED)
            queue_envelope_tell(notice, envelope->recipients[i].address);
}

static int put(struct spool *spool, const struct envelope *notice, struct slice text, struct fault *fault)
{
    int fd;
    if (spool_create_message(spool, notice->id, &fd, fault) < 0)
        return -1;
    int result = spool_write_message(fd, text, fault);
    if (result == 0)
        result = spool_commit_message(spool, notice, fd, fault);
    close(fd);
    if (result < 0)
        spool_discard_message(spool, notice->id);
    return result;
}

int notice_write(struct spool *spool, const struct envelope *envelope, int message, const struct snapshot *snapshot, const char *host, struct envelope *notice_out,
                 struct fault *fault)
{
    struct buf out = { 0 };
    uint64_t random[2];
    struct buf boundary = { 0 };
    secret_random(random, sizeof(random));
    buf_printf(&boundary, "%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
    write_head(&out, envelope, snapshot, host, buf_text(&boundary));
    write_explanation(&out, envelope, host, buf_text(&boundary));
    write_status(&out, envelope, host, buf_text(&boundary));
    fill_envelope(envelope, notice_out);
    int result = write_header(&out, message, buf_text(&boundary), fault);
    if (result == 0 && !queue_envelope_add(notice_out, slice_from_string(envelope->sender)))
        result = fault_set(fault, FAULT_INVALID, 0, "the sender is not an address");
    if (result == 0)
        result = put(spool, notice_out, buf_slice(&out), fault);
    if (result < 0)
        queue_envelope_fini(notice_out);
    buf_fini(&out);
    buf_fini(&boundary);
    return result;
}
