/* The SMTP client towards the relay host. Every answer is read in its turn; what is not understood defers the message and never loses it.
 * TLS is used when offered, unverified (RFC 7435); if its handshake fails the message goes in clear text over a new connection. */
#include "relay.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/net/client.h"

enum { REPLY_LINES_MAX = 128, STOP_PATIENCE_MS = 3000, SLICE_MS = 1000 };

struct reply {
    int code;             /* 0: none, the connection is of no more use */
    char text[256];       /* of the last line */
    char status[12];
};

struct relay {
    struct relay_job *job;
    struct client *client;
    struct buf line;
    struct reply reply;
    bool starttls, eight_bit_mime, size;
};

bool relay_parse_host(const char *text, char **host_out, uint16_t *port_out)
{
    struct slice s = slice_trim(slice_from_string(text)), host = s, port = SLICE_NONE;
    ptrdiff_t end = slice_starts_with(s, "[") ? slice_find(s, ']') : slice_find_last(s, ':');
    uint64_t number = 25;
    if (slice_starts_with(s, "[")) {
        if (end < 0)
            return false;
        host = slice_part(s, 1, (size_t)end - 1);
        port = slice_from(s, (size_t)end + 1);
        if (port.len != 0 && port.data[0] != ':')
            return false;
        port = port.len != 0 ? slice_from(port, 1) : SLICE_NONE;
    } else if (end >= 0 && slice_find(s, ':') == end) {
        host = slice_part(s, 0, (size_t)end);
        port = slice_from(s, (size_t)end + 1);
    }
    if (host.len == 0 || host.len > 255 || slice_has_nul(host))
        return false;
    if (port.data != NULL && (!slice_to_number(port, 65535, &number) || number == 0))
        return false;
    *host_out = slice_to_string(host);
    *port_out = (uint16_t)number;
    return true;
}

/* RFC 2034: "x.y.z " before the text, of the class of the code. */
static void take_status(struct reply *reply)
{
    struct slice text = slice_from_string(reply->text), word, rest = text, part;
    uint64_t number;
    size_t parts = 0;
    snprintf(reply->status, sizeof(reply->status), "%c.0.0", '0' + reply->code / 100);
    if (!slice_split(&text, ' ', &word) || word.len >= sizeof(reply->status) || word.len < 5 || word.data[0] != '0' + reply->code / 100)
        return;
    rest = word;
    while (slice_split(&rest, '.', &part) && slice_to_number(part, 999, &number))
        parts++;
    if (parts == 3 && rest.data == NULL)
        snprintf(reply->status, sizeof(reply->status), "%.*s", SLICE_ARG(word));
}

static void lose(struct relay *r, const char *text)
{
    r->reply.code = 0;
    snprintf(r->reply.text, sizeof(r->reply.text), "%s", text);
    snprintf(r->reply.status, sizeof(r->reply.status), "4.4.2");
    client_free(&r->client);
}

/* One line, waiting in slices so that a stop of the queue is seen; patient: after the end of the data, when the answer decides. */
static bool read_line(struct relay *r, unsigned timeout_ms, bool patient)
{
    struct fault fault;
    uint64_t deadline = clock_monotonic_ms() + timeout_ms;
    bool told = false;
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        if (!told && atomic_load(r->job->stopping)) {
            told = true;
            deadline = patient && deadline > now + STOP_PATIENCE_MS ? now + STOP_PATIENCE_MS : patient ? deadline : now;
        }
        uint64_t left = deadline > now ? deadline - now : 1;
        if (client_read_line(r->client, &r->line, left < SLICE_MS ? (unsigned)left : SLICE_MS, &fault) == 0)
            return true;
        if (fault.class != FAULT_TIMEOUT || clock_monotonic_ms() >= deadline)
            break;
    }
    lose(r, fault.text);
    return false;
}

static void note_extension(struct relay *r, struct slice text)
{
    r->starttls = r->starttls || slice_is_nocase(text, "STARTTLS");
    r->eight_bit_mime = r->eight_bit_mime || slice_is_nocase(text, "8BITMIME");
    r->size = r->size || slice_is_nocase(text, "SIZE") || slice_starts_with_nocase(text, "SIZE ");
}

/* RFC 5321 4.2.1: all lines of a reply carry the same code. Returns the code, 0 if the connection is lost. */
static int read_reply(struct relay *r, unsigned timeout_ms, bool patient)
{
    for (size_t lines = 0; lines < REPLY_LINES_MAX; lines++) {
        uint64_t code;
        if (!read_line(r, timeout_ms, patient))
            return 0;
        struct slice line = buf_slice(&r->line);
        if (!slice_to_number(slice_part(line, 0, 3), 599, &code) || line.len < 3 || code < 200 ||
            (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-'))
            break;
        struct slice text = slice_from(line, 4);
        r->reply.code = (int)code;
        snprintf(r->reply.text, sizeof(r->reply.text), "%.*s", text.len < 255 ? (int)text.len : 255, text.data ? text.data : "");
        if (lines > 0)
            note_extension(r, slice_trim(text));
        if (line.len > 3 && line.data[3] == '-')
            continue;
        take_status(&r->reply);
        return r->reply.code;
    }
    lose(r, "the relay host's reply is not SMTP");
    return 0;
}

static bool say(struct relay *r, struct slice bytes)
{
    struct fault fault;
    if (client_write(r->client, bytes, r->job->read_ms, &fault) == 0)
        return true;
    lose(r, fault.text);
    return false;
}

static int command(struct relay *r, bool patient, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int command(struct relay *r, bool patient, const char *format, ...)
{
    struct buf line = { 0 };
    va_list args;
    va_start(args, format);
    buf_vprintf(&line, format, args);
    va_end(args);
    buf_append_text(&line, "\r\n");
    bool said = say(r, buf_slice(&line));
    buf_fini(&line);
    return said ? read_reply(r, r->job->read_ms, patient) : 0;
}

/* The reply as the outcome of one recipient. 4yz and a lost connection: not now. */
static void set_outcome(struct relay *r, struct envelope_recipient *to)
{
    const struct reply *reply = &r->reply;
    to->outcome = reply->code >= 500 ? OUTCOME_FAILED : OUTCOME_WAITING;
    to->answered = reply->code != 0;
    snprintf(to->status, sizeof(to->status), "%s", reply->status);
    if (reply->code != 0)
        snprintf(to->text, sizeof(to->text), "%d %.240s", reply->code, reply->text);
    else
        snprintf(to->text, sizeof(to->text), "%s", reply->text);
}

static void defer_all(struct relay *r)
{
    for (size_t i = 0; i < r->job->count; i++) {
        set_outcome(r, r->job->recipients[i]);
        r->job->recipients[i]->outcome = OUTCOME_WAITING;
        r->job->recipients[i]->other_way = true;
    }
}

static bool connect_host(struct relay *r)
{
    struct fault fault;
    struct relay_job *job = r->job;
    r->starttls = r->eight_bit_mime = r->size = false;
    if (client_connect(job->host, job->port, job->connect_ms, &r->client, &fault) < 0) {
        lose(r, fault.text);
        return false;
    }
    return read_reply(r, job->greeting_ms, false) == 220;
}

static bool greet(struct relay *r)
{
    r->starttls = r->eight_bit_mime = r->size = false;
    int code = command(r, false, r->job->lmtp ? "LHLO %s" : "EHLO %s", r->job->helo);
    if (code >= 500 && !r->job->lmtp)
        code = command(r, false, "HELO %s", r->job->helo);
    return code == 250;
}

/* Opens the conversation up to MAIL. A failing greeting defers, even with 5yz: the relay host is the administrator's choice, and mail is not
 * returned because it was misconfigured for an hour. */
static bool open_conversation(struct relay *r)
{
    struct fault fault;
    if (!connect_host(r) || !greet(r))
        return false;
    if (!r->starttls || r->job->clear_text)
        return true;
    if (command(r, false, "STARTTLS") != 220)
        return r->client != NULL;
    struct tls_client *tls = NULL;
    bool up = tls_client_new(NULL, false, NULL, NULL, &tls, &fault) == 0 && client_start_tls(r->client, tls, r->job->host, r->job->greeting_ms, &fault) == 0;
    tls_client_unref(&tls);
    if (up)
        return greet(r);
    client_free(&r->client);
    return connect_host(r) && greet(r);
}

static int say_mail(struct relay *r)
{
    const struct envelope *envelope = r->job->envelope;
    char size[40] = "";
    if (r->size)
        snprintf(size, sizeof(size), " SIZE=%lld", (long long)lseek(r->job->message, 0, SEEK_END));
    /* RFC 6152 section 3 wants a conversion where 8BITMIME is missing; the hosts without it that cannot carry 8 bits are gone. */
    return command(r, false, "MAIL FROM:<%s>%s%s", envelope->sender, size, envelope->eight_bit && r->eight_bit_mime ? " BODY=8BITMIME" : "");
}

/* Marks in accepted those that the host will take; false: the connection is lost. */
static bool say_recipients(struct relay *r, bool *accepted, size_t *accepted_count)
{
    for (size_t i = 0; i < r->job->count; i++) {
        struct envelope_recipient *to = r->job->recipients[i];
        int code = command(r, false, "RCPT TO:<%s>", to->address);
        if (code == 0)
            return false;
        accepted[i] = code / 100 == 2;
        *accepted_count += accepted[i];
        set_outcome(r, to);
        if ((code == 452 || code == 552) && *accepted_count != 0) {
            to->outcome = OUTCOME_WAITING;
            r->job->try_again_soon = true;
        }
    }
    return true;
}

/* RFC 5321 4.5.2: a dot at a line's start is doubled. */
static void stuff(struct slice bytes, bool *line_start, struct buf *out)
{
    for (size_t i = 0; i < bytes.len; i++) {
        if (*line_start && bytes.data[i] == '.')
            buf_append_byte(out, '.');
        buf_append_byte(out, bytes.data[i]);
        *line_start = bytes.data[i] == '\n';
    }
}

static void read_last_reply(struct relay *r)
{
    if (read_reply(r, r->job->read_ms, true) / 100 == 3)
        lose(r, "the relay host's reply is not SMTP");
}

static void refuse_mail(struct relay *r, struct envelope_recipient *to)
{
    set_outcome(r, to);
    to->other_way = to->outcome == OUTCOME_WAITING;
}

static bool say_message(struct relay *r)
{
    char piece[16 * 1024];
    struct buf out = { 0 };
    bool line_start = true, good = true;
    off_t at = 0;
    for (;;) {
        ssize_t got = pread(r->job->message, piece, sizeof(piece), at);
        if (got < 0)
            lose(r, strerror(errno));   /* the host drops what it has: the data has not ended */
        good = good && got >= 0;
        if (!good || got == 0)
            break;
        at += got;
        buf_clear(&out);
        stuff(slice_make(piece, (size_t)got), &line_start, &out);
        good = say(r, buf_slice(&out));
    }
    buf_fini(&out);
    return good && say(r, line_start ? SLICE_LITERAL(".\r\n") : SLICE_LITERAL("\r\n.\r\n"));
}

static void finish(struct relay *r, const bool *accepted, bool given)
{
    bool first = true;
    for (size_t i = 0; i < r->job->count; i++) {
        struct envelope_recipient *to = r->job->recipients[i];
        if (!accepted[i])
            continue;
        /* RFC 2033 4.2: after the dot, each that was accepted has a reply of its own. */
        if (r->job->lmtp && given && !first && r->client != NULL)
            read_last_reply(r);
        first = false;
        set_outcome(r, to);
        if (r->reply.code / 100 == 2)
            to->outcome = OUTCOME_SENT;
        to->other_way = !given && to->outcome == OUTCOME_WAITING;
        if (given)
            to->unknown = r->reply.code == 0;
    }
}

/* Leaves in reply what the host said of the message: 2yz only if all of it was given and taken. True: the final dot went out. */
static bool say_data(struct relay *r)
{
    bool given = false;
    int code = command(r, false, "DATA");
    if (code == 354) {
        given = say_message(r);
        if (given)
            read_last_reply(r);
    } else if (code != 0 && code < 400) {
        lose(r, "the relay host's reply is not SMTP");
    }
    return given;
}

static void converse(struct relay *r)
{
    size_t count = 0;
    if (!open_conversation(r)) {
        r->job->unreachable = r->reply.code == 0;
        defer_all(r);
        return;
    }
    bool *accepted = MEM_NEW_ARRAY(bool, r->job->count);
    int code = say_mail(r);
    if (code / 100 != 2) {
        for (size_t i = 0; i < r->job->count; i++)
            refuse_mail(r, r->job->recipients[i]);
    } else if (!say_recipients(r, accepted, &count)) {
        defer_all(r);
    } else if (count != 0) {
        bool given = say_data(r);
        finish(r, accepted, given);
    }
    mem_release(accepted);
    if (r->client != NULL)
        say(r, SLICE_LITERAL("QUIT\r\n"));
}

void relay_send(struct relay_job *job)
{
    struct relay r = { .job = job };
    buf_init(&r.line, 4096);
    converse(&r);
    client_free(&r.client);
    buf_fini(&r.line);
}
