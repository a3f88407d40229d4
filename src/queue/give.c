/* One mail transaction as the client. Whatever the peer says, each recipient ends as sent, failed or waiting; a message that an LMTP server may have, and has not
 * answered for, is marked unknown (RFC 1047). Called by the queue's threads. */
#include "give.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"

enum { WINDOW = 50, PIECE = 32 * 1024 };

/* Of a Post Office Agent these say that it does not do its work now, not that the mail is wrong: so the mail may go another way. */
static bool is_failed_access(int code)
{
    static const int codes[] = { 0, 421, 500, 502, 503, 504, 530 };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (codes[i] == code)
            return true;
    return false;
}

void give_set_outcome(const struct talk *t, struct envelope_recipient *to)
{
    const struct talk_reply *reply = &t->reply;
    to->other_way = t->lmtp && is_failed_access(reply->code);
    to->outcome = reply->code >= 500 && !to->other_way ? OUTCOME_FAILED : OUTCOME_WAITING;
    to->answered = reply->code != 0;
    snprintf(to->status, sizeof(to->status), "%s", reply->status);
    if (reply->code != 0)
        snprintf(to->text, sizeof(to->text), "%d %.240s", reply->code, reply->text);
    else
        snprintf(to->text, sizeof(to->text), "%s", reply->text);
}

/* --- MAIL and RCPT ------------------------------------------------------------------------------------------------------ */

static void put_mail(struct talk *t, const struct give_job *job)
{
    const struct envelope *envelope = job->envelope;
    char size[40] = "";
    if (t->size)
        snprintf(size, sizeof(size), " SIZE=%lld", (long long)lseek(job->message, 0, SEEK_END));
    /* RFC 6152 section 3 wants a conversion where 8BITMIME is missing; the hosts without it that cannot carry 8 bits are gone. */
    talk_put(t, "MAIL FROM:<%s>%s%s", envelope->sender, size, envelope->eight_bit && t->eight_bit_mime ? " BODY=8BITMIME" : "");
}

static void put_recipients(struct talk *t, const struct give_job *job, size_t from, size_t end)
{
    for (size_t i = from; i < end; i++)
        talk_put(t, "RCPT TO:<%s>", job->recipients[i]->address);
}

static size_t end_of_window(const struct talk *t, const struct give_job *job, size_t from)
{
    size_t window = t->pipelining ? WINDOW : 1;
    return job->count - from < window ? job->count : from + window;
}

/* MAIL was refused: so were the RCPTs that went with it, if any did (RFC 2920 3.1). */
static void refuse_all(struct talk *t, struct give_job *job, size_t unheard)
{
    job->unheard = t->reply.code == 0 || t->reply.code == 421;
    for (size_t i = 0; i < job->count; i++)
        give_set_outcome(t, job->recipients[i]);
    for (size_t i = 0; i < unheard; i++)
        talk_hear(t);
}

/* False: the connection is lost. */
static bool hear_recipient(struct talk *t, struct give_job *job, size_t at, bool *accepted, size_t *accepted_count)
{
    struct envelope_recipient *to = job->recipients[at];
    int code = talk_hear(t);
    give_set_outcome(t, to);
    accepted[at] = code / 100 == 2;
    *accepted_count += accepted[at];
    if ((code == 452 || code == 552) && !t->lmtp && *accepted_count != 0) {
        to->outcome = OUTCOME_WAITING;
        job->try_again_soon = true;
    }
    return code != 0;
}

/* An agent need not know the other addresses of a user, but the ID that the user logs in by. */
static bool is_to_be_named(const struct envelope_recipient *to)
{
    struct slice id = slice_from_string(to->user_id);
    bool plain = id.len != 0 && to->outcome == OUTCOME_FAILED && slice_starts_with(slice_from_string(to->text), "55") &&
                 (strncmp(to->status, "5.1.", 4) == 0 || strcmp(to->status, "5.0.0") == 0);
    for (size_t i = 0; plain && i < id.len; i++)
        plain = (unsigned char)id.data[i] > ' ' && (unsigned char)id.data[i] < 127 && strchr("<>()[]\\,;:\"", id.data[i]) == NULL;
    return plain;
}

/* The replies after the data come in the order in which the recipients were accepted (RFC 2033 4.2). */
static void move_last(struct give_job *job, bool *accepted, size_t at)
{
    struct envelope_recipient *to = job->recipients[at];
    for (; at + 1 < job->count; at++) {
        job->recipients[at] = job->recipients[at + 1];
        accepted[at] = accepted[at + 1];
    }
    job->recipients[at] = to;
    accepted[at] = true;
}

/* Those whose address is not known. */
static void name_by_id(struct talk *t, struct give_job *job, bool *accepted, size_t *count)
{
    for (size_t i = 0, left = job->count; i < left && t->client != NULL;) {
        bool named = is_to_be_named(job->recipients[i]);
        if (named) {
            talk_put(t, "RCPT TO:<%s>", job->recipients[i]->user_id);
            hear_recipient(t, job, i, accepted, count);
        }
        if (named && accepted[i]) {
            move_last(job, accepted, i);
            left--;
        } else {
            i++;
        }
    }
}

/* Nor is one returned that was not named by ID yet. */
static void forget_all(const struct talk *t, struct give_job *job, const bool *accepted, size_t from)
{
    for (size_t i = 0; i < job->count; i++)
        if (accepted[i] || i >= from || is_to_be_named(job->recipients[i]))
            give_set_outcome(t, job->recipients[i]);
}

/* How many were accepted, and which. */
static size_t say_envelope(struct talk *t, struct give_job *job, bool *accepted)
{
    size_t count = 0, end = end_of_window(t, job, 0);
    put_mail(t, job);
    if (t->pipelining)
        put_recipients(t, job, 0, end);
    if (talk_hear(t) / 100 != 2) {
        refuse_all(t, job, t->pipelining ? end : 0);
        return 0;
    }
    for (size_t at = 0; at < job->count; at = end) {
        end = end_of_window(t, job, at);
        if (at > 0 || !t->pipelining)
            put_recipients(t, job, at, end);
        for (size_t i = at; i < end; i++)
            if (!hear_recipient(t, job, i, accepted, &count)) {
                forget_all(t, job, accepted, i + 1);
                return 0;
            }
    }
    name_by_id(t, job, accepted, &count);
    if (t->client == NULL)
        forget_all(t, job, accepted, job->count);
    return t->client != NULL ? count : 0;
}

/* --- the message -------------------------------------------------------------------------------------------------------- */

/* From here on the server may have it. */
static bool begin_end(struct talk *t, struct give_job *job, const bool *accepted)
{
    if (job->before_end == NULL)
        return true;
    time_t now = clock_wall().tv_sec;
    for (size_t i = 0; i < job->count; i++)
        if (accepted[i]) {
            job->recipients[i]->unknown = true;
            job->recipients[i]->silent = false;
            job->recipients[i]->given = now;
        }
    if (job->before_end(job->context))
        return true;
    talk_lose(t, "the queue cannot write");
    return false;
}

/* RFC 5321 4.5.2: a dot at a line's start is doubled. */
static void stuff(struct slice bytes, bool *line_start, struct buf *out)
{
    while (bytes.len != 0) {
        if (*line_start && bytes.data[0] == '.')
            buf_append_byte(out, '.');
        ptrdiff_t end = slice_find(bytes, '\n');
        size_t len = end < 0 ? bytes.len : (size_t)end + 1;
        buf_append(out, slice_part(bytes, 0, len));
        *line_start = end >= 0;
        bytes = slice_from(bytes, len);
    }
}

/* The next piece; 0: that was all; -1: the host drops what it has, for the data has not ended. */
static ssize_t read_piece(struct talk *t, const struct give_job *job, off_t at, char *piece)
{
    ssize_t got = pread(job->message, piece, PIECE, at);
    if (got < 0)
        talk_lose(t, strerror(errno));
    return got;
}

/* True: the final dot was about to go out. */
static bool say_lines(struct talk *t, struct give_job *job, const bool *accepted)
{
    char piece[PIECE];
    struct buf out = { 0 };
    bool line_start = true;
    ssize_t got;
    for (off_t at = 0; (got = read_piece(t, job, at, piece)) > 0; at += got) {
        buf_clear(&out);
        stuff(slice_make(piece, (size_t)got), &line_start, &out);
        if (!talk_send(t, buf_slice(&out)))
            break;
    }
    buf_fini(&out);
    if (t->client == NULL || !begin_end(t, job, accepted))
        return false;
    talk_send(t, line_start ? SLICE_LITERAL(".\r\n") : SLICE_LITERAL("\r\n.\r\n"));
    return true;
}

/* RFC 3030, as one chunk. True: the last piece was about to go out. */
static bool say_chunk(struct talk *t, struct give_job *job, const bool *accepted)
{
    char piece[PIECE];
    off_t size = lseek(job->message, 0, SEEK_END);
    ssize_t got;
    if (size <= 0) {
        talk_lose(t, "the message's file cannot be read");
        return false;
    }
    talk_put(t, "BDAT %lld LAST", (long long)size);
    for (off_t at = 0; (got = read_piece(t, job, at, piece)) > 0; at += got) {
        if (at + got >= size) {
            bool begun = begin_end(t, job, accepted);
            return begun && (talk_send(t, slice_make(piece, (size_t)(size - at))), true);
        }
        if (!talk_send(t, slice_make(piece, (size_t)got)))
            return false;
    }
    if (t->client != NULL)
        talk_lose(t, "the message's file is cut");
    return false;
}

/* True: the message may be with the host, which has a reply to give. */
static bool say_message(struct talk *t, struct give_job *job, const bool *accepted)
{
    if (t->chunking && t->lmtp)
        return say_chunk(t, job, accepted);
    talk_put(t, "DATA");
    int code = talk_hear(t);
    if (code == 354)
        return say_lines(t, job, accepted);
    if (code != 0 && code < 400)
        talk_lose(t, "the host's reply is not SMTP");
    return false;
}

static void finish(struct talk *t, struct give_job *job, const bool *accepted, bool given)
{
    bool first = true, news = false;
    for (size_t i = 0; i < job->count; i++) {
        struct envelope_recipient *to = job->recipients[i];
        if (!accepted[i])
            continue;
        if (news && talk_would_wait(t)) {
            job->answered(job->context);
            news = false;
        }
        /* RFC 2033 4.2: after the end, each that was accepted has a reply of its own. */
        if (given && (first || t->lmtp))
            talk_hear_end(t);
        first = false;
        give_set_outcome(t, to);
        if (given && t->reply.code / 100 == 2) {
            to->outcome = OUTCOME_SENT;
            news = true;
        }
        if (given) {
            to->unknown = t->lmtp && t->reply.code == 0;
            to->silent = to->unknown && t->silent;
            to->other_way = false;
        }
    }
    if (news)
        job->answered(job->context);
}

void give(struct talk *t, struct give_job *job)
{
    bool *accepted = MEM_NEW_ARRAY(bool, job->count);
    bool given = false;
    if (say_envelope(t, job, accepted) != 0) {
        given = say_message(t, job, accepted);
        finish(t, job, accepted, given);
    }
    mem_release(accepted);
    if (given || t->client == NULL)
        return;
    talk_put(t, "RSET");
    if (talk_hear(t) != 250)
        talk_lose(t, "the host does not take RSET");
}
