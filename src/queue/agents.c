/* Delivery to a post office by LMTP: its agents are asked in turn, over a connection that is still free if there is one. Called by attempt.c. What may have been given
 * to one agent is given to no other. */
#include "agents.h"

#include <poll.h>
#include <stdio.h>

#include "gate.h"
#include "give.h"
#include "introduce.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/poa/poa.h"

enum { END_MS = 60000, FILES_AGAIN_MS = 10 };

/* The files of the first delivery after a start may not be read yet: that is done by another thread. */
static int get_keys(const struct agents_job *job, const struct post_office_agent *agent, struct poa_keys *out, struct fault *fault)
{
    uint64_t until = clock_monotonic_ms() + agent->timeout_ms;
    while (poa_keys_get(agent, out, fault) < 0) {
        if (fault->class != FAULT_BUSY || clock_monotonic_ms() >= until || atomic_load(job->stopping))
            return -1;
        poll(NULL, 0, FILES_AGAIN_MS);
    }
    return 0;
}

static int prepare_peer(const struct agents_job *job, const struct post_office_agent *agent, struct talk_peer *peer, struct poa_keys *keys, struct fault *fault)
{
    static const enum talk_tls modes[] = {
        [POA_TLS_DISABLED] = TALK_TLS_NONE, [POA_TLS_ENABLED] = TALK_TLS_OFFERED, [POA_TLS_REQUIRED] = TALK_TLS_REQUIRED, [POA_TLS_IMPLICIT] = TALK_TLS_IMPLICIT,
    };
    *peer = (struct talk_peer){
        .host = agent->host, .port = agent->lmtp_port, .helo = job->helo, .lmtp = true, .tls = modes[agent->tls],
        .connect_ms = agent->timeout_ms, .greeting_ms = agent->timeout_ms, .reply_ms = agent->login_timeout_ms, .end_ms = END_MS,
        .client = &job->envelope->client, .session = job->envelope->id, .proxy_header = agent->proxy_header, .external = agent->login == POA_LOGIN_EXTERNAL,
    };
    if (get_keys(job, agent, keys, fault) < 0)
        return -1;
    peer->tls_client = keys->tls;
    peer->name = keys->name;
    peer->secret = keys->secret;
    return 0;
}

/* Those that wait and may go another way come first; how many. */
static size_t sort_waiting(struct agents_job *job)
{
    size_t count = 0;
    for (size_t i = 0; i < job->count; i++) {
        struct envelope_recipient *to = job->recipients[i];
        if (to->outcome != OUTCOME_WAITING || !to->other_way)
            continue;
        job->recipients[i] = job->recipients[count];
        job->recipients[count++] = to;
    }
    return count;
}

static void defer(struct agents_job *job, size_t count, const struct talk *talk)
{
    for (size_t i = 0; i < count; i++) {
        struct envelope_recipient *to = job->recipients[i];
        give_set_outcome(talk, to);
        to->outcome = OUTCOME_WAITING;
        to->other_way = true;
    }
}

static void converse(struct agents_job *job, size_t count, const struct post_office_agent *agent, struct talk *talk)
{
    struct give_job give_job = {
        .envelope = job->envelope, .message = job->message, .recipients = job->recipients, .count = count, .before_end = job->before_end, .answered = job->answered, .context = job->context,
    };
    struct talk_peer peer;
    struct poa_keys keys = { .tls = NULL };
    struct fault fault;
    if (prepare_peer(job, agent, &peer, &keys, &fault) < 0) {
        talk_lose(talk, fault.text);
        defer(job, count, talk);
        return;
    }
    bool kept = talk->client != NULL, spoke = kept && introduce_again(talk, &peer);
    if (spoke)
        give(talk, &give_job);
    if (kept && (!spoke || give_job.unheard))
        talk_close(talk);   /* it was closed while it was free, or speaks for others: that says nothing */
    if (!spoke || give_job.unheard) {
        if (talk_open(talk, &peer, job->stopping))
            give(talk, &give_job);
        else
            defer(job, count, talk);
    }
    if (talk->refused)
        log_error("queue", "post office %s: LMTP at %s port %u: the credentials of the gateway are refused: %d %s", job->office->name, agent->host, agent->lmtp_port, talk->reply.code,
                  talk->reply.text);
    poa_keys_fini(&keys);
}

/* Why, if it was a failed access; else NULL. */
static const char *failure_of(const struct agents_job *job, size_t count, const struct talk *talk)
{
    for (size_t i = 0; i < count; i++)
        if (job->recipients[i]->outcome == OUTCOME_WAITING && (job->recipients[i]->other_way || talk->client == NULL))
            return job->recipients[i]->text;
    return talk->client == NULL ? talk->reply.text : NULL;
}

static void ask(struct agents_job *job, size_t count, const struct post_office_agent *agent)
{
    struct talk talk;
    if (!gate_enter(agent, &talk)) {
        snprintf(talk.reply.text, sizeof(talk.reply.text), "the post office's agent is away and is not asked for now");
        snprintf(talk.reply.status, sizeof(talk.reply.status), "4.4.1");
        defer(job, count, &talk);
        return;
    }
    converse(job, count, agent, &talk);
    const char *failure = failure_of(job, count, &talk);
    if (failure == NULL)
        job->came_back = gate_well(agent, job->office->name, &talk) || job->came_back;
    else if (atomic_load(job->stopping))
        gate_unknown(agent);
    else
        gate_failed(agent, job->office->name, failure);
    talk_close(&talk);
}

void agents_give(struct agents_job *job)
{
    size_t count = job->count;
    for (size_t i = 0; i < count; i++)
        job->recipients[i]->other_way = true;
    for (size_t i = 0; i < job->office->agent_count && count != 0 && !atomic_load(job->stopping); i++) {
        ask(job, count, &job->office->agents[i]);
        count = sort_waiting(job);
    }
}
