/* Delivery to a post office by LMTP: its agents are asked in turn, over a connection that is still free if there is one. Called by attempt.c. What may have been given
 * to one agent is given to no other. */
#include "agents.h"

#include <poll.h>
#include <stdio.h>

#include "gate.h"
#include "give.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/poa/poa.h"

enum { END_MS = 60000, FILES_AGAIN_MS = 10 };

/* The files of the first delivery after a start may not be read yet: that is done by another thread. */
static int get_tls(const struct agents_job *job, const struct post_office_agent *agent, struct tls_client **out, struct fault *fault)
{
    uint64_t until = clock_monotonic_ms() + agent->timeout_ms;
    while (poa_tls(agent, out, fault) < 0) {
        if (fault->class != FAULT_BUSY || clock_monotonic_ms() >= until || atomic_load(job->stopping))
            return -1;
        poll(NULL, 0, FILES_AGAIN_MS);
    }
    return 0;
}

static bool open_talk(const struct agents_job *job, const struct post_office_agent *agent, struct talk *talk)
{
    static const enum talk_tls modes[] = {
        [POA_TLS_DISABLED] = TALK_TLS_NONE, [POA_TLS_ENABLED] = TALK_TLS_OFFERED, [POA_TLS_REQUIRED] = TALK_TLS_REQUIRED, [POA_TLS_IMPLICIT] = TALK_TLS_IMPLICIT,
    };
    struct fault fault;
    struct talk_peer peer = {
        .host = agent->host, .port = agent->lmtp_port, .helo = job->helo, .lmtp = true, .tls = modes[agent->tls],
        .connect_ms = agent->timeout_ms, .greeting_ms = agent->timeout_ms, .reply_ms = agent->login_timeout_ms, .end_ms = END_MS,
    };
    if (get_tls(job, agent, &peer.tls_client, &fault) < 0) {
        talk_lose(talk, fault.text);
        return false;
    }
    bool open = talk_open(talk, &peer, job->stopping);
    tls_client_unref(&peer.tls_client);
    return open;
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
    bool kept = talk->client != NULL;
    if (kept)
        give(talk, &give_job);
    if (kept && give_job.unheard)
        talk_close(talk);   /* it was closed while it was free: that says nothing */
    if (kept && !give_job.unheard)
        return;
    if (open_talk(job, agent, talk))
        give(talk, &give_job);
    else
        defer(job, count, talk);
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
