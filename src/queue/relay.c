/* Mail for elsewhere goes to the relay host, a new connection for each message. TLS is used when offered, unverified (RFC 7435). Called by attempt.c; must not
 * ask a host again and again that is away. */
#include "relay.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/snapshot.h"

enum { DOWN_MS = 10000 };   /* a relay host that cannot be reached is left alone */

static struct {
    pthread_mutex_t lock;
    char *host;              /* as the directory writes it */
    uint64_t until;
} down = { .lock = PTHREAD_MUTEX_INITIALIZER };

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

static bool is_known_down(const char *host)
{
    pthread_mutex_lock(&down.lock);
    bool known = down.host != NULL && strcmp(down.host, host) == 0 && clock_monotonic_ms() < down.until;
    pthread_mutex_unlock(&down.lock);
    return known;
}

static void note_down(const char *host)
{
    pthread_mutex_lock(&down.lock);
    mem_free(&down.host);
    down.host = mem_strdup(host);
    down.until = clock_monotonic_ms() + DOWN_MS;
    pthread_mutex_unlock(&down.lock);
}

static void defer(struct give_job *job, const char *text)
{
    for (size_t i = 0; i < job->count; i++) {
        struct envelope_recipient *to = job->recipients[i];
        to->outcome = OUTCOME_WAITING;
        snprintf(to->status, sizeof(to->status), "4.4.1");
        snprintf(to->text, sizeof(to->text), "%s", text);
    }
}

/* A failing greeting defers, even with 5yz: the relay host is the administrator's choice, and mail is not returned because it was misconfigured
 * for an hour. */
static void defer_all(const struct talk *t, struct give_job *job)
{
    for (size_t i = 0; i < job->count; i++) {
        give_set_outcome(t, job->recipients[i]);
        job->recipients[i]->outcome = OUTCOME_WAITING;
    }
}

static void send_to(const struct talk_peer *peer, const char *name, struct give_job *job, const atomic_bool *stopping)
{
    struct talk talk;
    if (talk_open(&talk, peer, stopping)) {
        give(&talk, job);
    } else {
        if (talk.reply.code == 0)
            note_down(name);
        defer_all(&talk, job);
    }
    talk_close(&talk);
}

void relay_send(const struct agent_settings *agent, const char *helo, struct give_job *job, const atomic_bool *stopping)
{
    char *host = NULL;
    struct fault fault;
    unsigned read_ms = (unsigned)agent->smtp_read_minutes * 60000;
    struct talk_peer peer = {
        .helo = helo, .tls = TALK_TLS_OPPORTUNE, .connect_ms = (unsigned)agent->smtp_connect_minutes * 60000,
        .greeting_ms = (unsigned)agent->smtp_greeting_minutes * 60000, .reply_ms = read_ms, .end_ms = read_ms,
    };
    if (agent->relay_host == NULL || !relay_parse_host(agent->relay_host, &host, &peer.port)) {
        defer(job, "there is no relay host");
    } else if (is_known_down(agent->relay_host)) {
        defer(job, "the relay host could not be reached a moment ago");
    } else if (tls_client_new(NULL, false, NULL, NULL, &peer.tls_client, &fault) < 0) {
        defer(job, fault.text);
    } else {
        peer.host = host;
        send_to(&peer, agent->relay_host, job, stopping);
    }
    tls_client_unref(&peer.tls_client);
    mem_free(&host);
}
