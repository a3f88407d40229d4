/* The client's side of SMTP and LMTP. Every answer is read in its turn; what is not understood ends the conversation, so that mail waits and is never lost. Called
 * by the queue's threads. */
#include "introduce.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/clock.h"

enum { REPLY_LINES_MAX = 128, STOP_PATIENCE_MS = 3000, SLICE_MS = 1000, LINE_MAX_OCTETS = 4096, QUIT_MS = 100 };

/* RFC 2034: "x.y.z " before the text, of the class of the code. */
static void take_status(struct talk_reply *reply)
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

void talk_lose(struct talk *t, const char *why)
{
    t->reply.code = 0;
    snprintf(t->reply.text, sizeof(t->reply.text), "%s", why);
    snprintf(t->reply.status, sizeof(t->reply.status), "4.4.2");
    client_free(&t->client);
}

/* One line, waiting in slices so that a stop of the queue is seen; patient: after the end of the data, when the answer decides. */
static bool read_line(struct talk *t, unsigned timeout_ms, bool patient)
{
    struct fault fault;
    uint64_t deadline = clock_monotonic_ms() + timeout_ms;
    bool told = false;
    for (;;) {
        uint64_t now = clock_monotonic_ms();
        if (!told && atomic_load(t->stopping)) {
            told = true;
            deadline = patient && deadline > now + STOP_PATIENCE_MS ? now + STOP_PATIENCE_MS : patient ? deadline : now;
        }
        uint64_t left = deadline > now ? deadline - now : 1;
        if (client_read_line(t->client, &t->line, left < SLICE_MS ? (unsigned)left : SLICE_MS, &fault) == 0)
            return true;
        if (fault.class != FAULT_TIMEOUT || clock_monotonic_ms() >= deadline)
            break;
    }
    t->silent = fault.class == FAULT_TIMEOUT && !told;
    talk_lose(t, fault.text);
    return false;
}

static void note_extension(struct talk *t, struct slice text)
{
    t->starttls = t->starttls || slice_is_nocase(text, "STARTTLS");
    t->eight_bit_mime = t->eight_bit_mime || slice_is_nocase(text, "8BITMIME");
    t->size = t->size || slice_is_nocase(text, "SIZE") || slice_starts_with_nocase(text, "SIZE ");
    t->pipelining = t->pipelining || slice_is_nocase(text, "PIPELINING");
    t->chunking = t->chunking || slice_is_nocase(text, "CHUNKING");
    introduce_note_extension(t, text);
}

static void forget_extensions(struct talk *t)
{
    t->starttls = t->eight_bit_mime = t->size = t->pipelining = t->chunking = t->auth_plain = t->auth_external = false;
    t->xclient = 0;
}

/* RFC 5321 4.2.1. The code; 0 if the connection is lost. */
static int read_reply(struct talk *t, unsigned timeout_ms, bool patient, bool extensions)
{
    for (size_t lines = 0; lines < REPLY_LINES_MAX; lines++) {
        uint64_t code;
        if (!read_line(t, timeout_ms, patient))
            return 0;
        struct slice line = buf_slice(&t->line);
        if (!slice_to_number(slice_part(line, 0, 3), 599, &code) || line.len < 3 || code < 200 ||
            (line.len > 3 && line.data[3] != ' ' && line.data[3] != '-'))
            break;
        struct slice text = slice_from(line, 4);
        t->reply.code = (int)code;
        snprintf(t->reply.text, sizeof(t->reply.text), "%.*s", text.len < 255 ? (int)text.len : 255, text.data ? text.data : "");
        if (extensions && lines > 0)
            note_extension(t, slice_trim(text));
        if (line.len > 3 && line.data[3] == '-')
            continue;
        take_status(&t->reply);
        return t->reply.code;
    }
    talk_lose(t, "the host's reply is not SMTP");
    return 0;
}

bool talk_send(struct talk *t, struct slice bytes)
{
    struct fault fault;
    if (t->client == NULL)
        return false;
    if (t->out.len != 0) {
        buf_append(&t->out, bytes);
        bytes = buf_slice(&t->out);
    }
    bool sent = client_write(t->client, bytes, t->reply_ms, &fault) == 0;
    buf_clear(&t->out);
    if (!sent)
        talk_lose(t, fault.text);
    return sent;
}

void talk_put(struct talk *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_vprintf(&t->out, format, args);
    va_end(args);
    buf_append_text(&t->out, "\r\n");
}

static int hear(struct talk *t, unsigned timeout_ms, bool patient, bool extensions)
{
    if (t->client == NULL || (t->out.len != 0 && !talk_send(t, SLICE_NONE)))
        return 0;
    return read_reply(t, timeout_ms, patient, extensions);
}

int talk_hear(struct talk *t)
{
    return hear(t, t->reply_ms, false, false);
}

int talk_hear_end(struct talk *t)
{
    int code = hear(t, t->end_ms, true, false);
    if (code / 100 == 3)
        talk_lose(t, "the host's reply is not SMTP");
    return t->reply.code;
}

bool talk_would_wait(const struct talk *t)
{
    return t->client != NULL && client_is_quiet(t->client);
}

/* --- opening ------------------------------------------------------------------------------------------------------------ */

static bool start_tls(struct talk *t, const struct talk_peer *peer)
{
    struct fault fault;
    if (client_start_tls(t->client, peer->tls_client, peer->host, peer->greeting_ms, &fault) == 0)
        return true;
    talk_lose(t, fault.text);
    return false;
}

static bool connect_host(struct talk *t, const struct talk_peer *peer)
{
    struct fault fault;
    forget_extensions(t);
    if (client_connect(peer->host, peer->port, peer->connect_ms, &t->client, &fault) < 0) {
        talk_lose(t, fault.text);
        return false;
    }
    if (!introduce_connection(t, peer) || (peer->tls == TALK_TLS_IMPLICIT && !start_tls(t, peer)))
        return false;
    return read_reply(t, peer->greeting_ms, false, false) == 220;
}

bool talk_greet(struct talk *t, const struct talk_peer *peer)
{
    forget_extensions(t);
    talk_put(t, peer->lmtp ? "LHLO %s" : "EHLO %s", peer->helo);
    int code = hear(t, t->reply_ms, false, true);
    if (code >= 500 && !peer->lmtp) {
        forget_extensions(t);
        talk_put(t, "HELO %s", peer->helo);
        code = talk_hear(t);
    }
    return code == 250;
}

/* RFC 3207. Opportune: if the handshake fails, the mail goes in clear text over a new connection. */
static bool turn_to_tls(struct talk *t, const struct talk_peer *peer)
{
    talk_put(t, "STARTTLS");
    if (talk_hear(t) != 220)
        return peer->tls == TALK_TLS_OPPORTUNE && t->client != NULL;
    if (start_tls(t, peer))
        return talk_greet(t, peer);
    return peer->tls == TALK_TLS_OPPORTUNE && connect_host(t, peer) && talk_greet(t, peer);
}

static bool open_conversation(struct talk *t, const struct talk_peer *peer)
{
    if (!connect_host(t, peer) || !talk_greet(t, peer))
        return false;
    bool up = peer->tls == TALK_TLS_IMPLICIT;
    if (!up && peer->tls == TALK_TLS_REQUIRED && !t->starttls) {
        talk_lose(t, "STARTTLS is not offered, and is required");
        return false;
    }
    return up || peer->tls == TALK_TLS_NONE || !t->starttls || turn_to_tls(t, peer);
}

bool talk_open(struct talk *t, const struct talk_peer *peer, const atomic_bool *stopping)
{
    memset(t, 0, sizeof(*t));
    buf_init(&t->line, LINE_MAX_OCTETS);
    t->stopping = stopping;
    t->lmtp = peer->lmtp;
    t->reply_ms = peer->reply_ms;
    t->end_ms = peer->end_ms;
    return open_conversation(t, peer) && (!peer->lmtp || introduce(t, peer));
}

void talk_close(struct talk *t)
{
    struct fault fault;
    if (t->client != NULL)
        client_write(t->client, SLICE_LITERAL("QUIT\r\n"), QUIT_MS, &fault);
    client_free(&t->client);
    buf_fini(&t->line);
    buf_fini(&t->out);
    buf_fini(&t->told);
}
