/* From the first address to a session that is logged in, host after host, within the time that there is. Called by connections on their loops and by the
 * prober on its own; must never wait, and never leave a password behind. */
#include "opening.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "accepted.h"
#include "circuit.h"
#include "dialogue.h"
#include "material.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/net/connector.h"

enum { MATERIAL_AGAIN_MS = 10, DOUBT_PART = 4 };   /* the first quarter of the time for a login to be served */

struct poa_opening {
    struct waiter waiter;
    struct poa_open_request request;       /* its texts are owned */
    void (*probed)(void *context, bool well, const struct fault *fault);   /* of a probe */
    size_t agent;                          /* the host that is asked */
    bool listed;                           /* with the circuit */
    uint64_t ready_ms;                     /* when a login must have been sent */
    uint64_t tag;                          /* of the login that was sent */
    bool accepted;                         /* the host has accepted it lately */
    bool hurried;                          /* the answer is not waited for as long as for a slow refusal */
    struct poa_keys material;
    struct connector *connector;
    struct stream stream;
    struct buf in, out;
    struct dialogue dialogue;
    struct dialogue_who who;
    struct loop_timer limit;
    struct loop_timer again;               /* the files are not read yet */
    struct loop_timer doubt;               /* no answer to the login yet: is the POA well? */
    struct loop_timer end;                 /* the answer is given from the loop, not from within a callback */
    enum poa_result result;
    struct fault fault;                    /* of the last host */
    bool asked;                            /* some host was */
    enum circuit_outcome outcome;          /* of a failure that is acted on from the loop */
    bool failing;                          /* it is waiting for that */
    bool ended;
    bool cancelled;
    _Atomic unsigned holds;                /* messages under way, and one for itself */
};

void (*opening_observer)(const struct poa_open_request *request, size_t agent);

static const struct post_office_agent *agent_of(const struct poa_opening *o)
{
    return &o->request.post_office->agents[o->agent];
}

static void release(struct poa_opening *o)
{
    if (--o->holds > 0)
        return;
    mem_release((char *)(uintptr_t)o->request.user);
    mem_release((char *)(uintptr_t)o->request.client);
    mem_release((char *)(uintptr_t)o->request.local);
    mem_release((char *)(uintptr_t)o->request.mailbox_dir);
    snapshot_unref(&o->request.snapshot);
    mem_release(o);
}

static void wipe_password(struct poa_opening *o)
{
    if (o->request.password.data != NULL) {
        secret_wipe((char *)(uintptr_t)o->request.password.data, o->request.password.len);
        mem_release((char *)(uintptr_t)o->request.password.data);
    }
    o->request.password = SLICE_NONE;
}

/* Whatever belongs to the host that was asked. */
static void close_host(struct poa_opening *o)
{
    connector_cancel(&o->connector);
    stream_fini(&o->stream);
    buf_wipe(&o->out);
    buf_fini(&o->in);
    dialogue_fini(&o->dialogue);
    poa_keys_fini(&o->material);
    loop_timer_cancel(&o->limit);
    loop_timer_cancel(&o->again);
    loop_timer_cancel(&o->doubt);
}

static void leave_circuit(struct poa_opening *o, enum circuit_outcome outcome)
{
    if (o->listed)
        circuit_ended(o->request.post_office, o->agent, &o->waiter, outcome, slice_from_string(o->request.user), &o->fault);
    o->listed = false;
}

static void end_with(struct poa_opening *o, enum poa_result result)
{
    o->result = result;
    o->ended = true;
    loop_timer_cancel(&o->limit);
    loop_timer_cancel(&o->again);
    loop_timer_cancel(&o->doubt);
    if (o->stream.loop != NULL)
        stream_want_input(&o->stream, false);
    loop_timer_set(&o->end, 0);
}

static void give_answer(void *arg)
{
    struct poa_opening *o = arg;
    if (o->result == POA_OPEN && o->probed == NULL && opening_observer != NULL)
        opening_observer(&o->request, o->agent);
    wipe_password(o);
    if (o->probed != NULL)
        o->probed(o->request.context, o->result == POA_OPEN, &o->fault);
    else
        o->request.answered(o->request.context, o->result, &o->fault);
    close_host(o);
    loop_timer_cancel(&o->end);
    release(o);
}

/* --- one host after the other --------------------------------------------------------------------------------------------------- */

static void ask_host(void *arg);

static void next_host(struct poa_opening *o)
{
    close_host(o);
    o->agent++;
    ask_host(o);
}

static void host_failed(struct poa_opening *o, enum circuit_outcome outcome)
{
    bool sent = o->waiter.phase == PHASE_LOGIN;
    o->failing = false;
    leave_circuit(o, outcome);
    /* What may be the user's own trouble, or may have been a login, is not tried elsewhere. */
    if (o->probed != NULL || outcome == OUTCOME_OF_USER || sent) {
        close_host(o);
        end_with(o, POA_FAILED);
    } else
        next_host(o);
}

/* The stream may not be freed from within its own callback. */
static void fail_soon(struct poa_opening *o, enum circuit_outcome outcome)
{
    o->failing = true;
    o->outcome = outcome;
    stream_want_input(&o->stream, false);
    loop_timer_cancel(&o->limit);
    loop_timer_set(&o->again, 0);
}

static void too_late(void *arg)
{
    struct poa_opening *o = arg;
    static const char *const waited_for[] = { [PHASE_GREETING] = "connection and greeting", [PHASE_PREPARING] = "capabilities or TLS", [PHASE_LOGIN] = "the answer to the login" };
    fault_set(&o->fault, FAULT_TIMEOUT, 0, "%s port %u: %s did not come in time", agent_of(o)->host, agent_of(o)->port, waited_for[o->waiter.phase]);
    /* That the host does not know this user may be what it takes its time to say. */
    bool of_user = o->waiter.phase == PHASE_LOGIN && o->hurried && !o->accepted;
    host_failed(o, of_user ? OUTCOME_OF_USER : OUTCOME_FAILED);
}

/* --- another one found that the POA is away --------------------------------------------------------------------------------------- */

static void take_news_of_others(void *arg)
{
    struct poa_opening *o = arg;
    if (!o->cancelled && !o->ended && !o->failing && o->listed) {
        fault_set(&o->fault, FAULT_UNREACHABLE, 0, "%s port %u: another login found the POA away", agent_of(o)->host, agent_of(o)->port);
        host_failed(o, OUTCOME_NONE);
    }
    release(o);
}

static void gone(struct waiter *waiter)
{
    struct poa_opening *o = LIST_ITEM(waiter, struct poa_opening, waiter);
    o->holds++;
    loop_post(o->request.loop, take_news_of_others, o);
}

/* --- the conversation ---------------------------------------------------------------------------------------------------------- */

static void send_out(struct poa_opening *o)
{
    stream_send(&o->stream, &o->out);
}

static void describe(struct poa_opening *o, const struct fault *fault)
{
    fault_set(&o->fault, fault->class, fault->error, "%s port %u: %s", agent_of(o)->host, agent_of(o)->port, fault->text);
}

static unsigned longer(unsigned a, unsigned b)
{
    return a > b ? a : b;
}

/* A POA that is well may take its time, to refuse a password for one; one that hangs is found by a probe, before the time for a login is over. */
static void doubt(void *arg)
{
    struct poa_opening *o = arg;
    unsigned part = agent_of(o)->timeout_ms / DOUBT_PART;
    if (!o->listed || o->ended || o->failing)
        return;
    circuit_doubt(o->request.post_office, o->agent, clock_monotonic_ms() - part);
    if (poa_fallback(o->request.post_office) == PATH_DIRECT && circuit_is_silent(o->request.post_office, o->agent, longer(agent_of(o)->timeout_ms, agent_of(o)->login_timeout_ms / 2))) {
        fault_set(&o->fault, FAULT_TIMEOUT, 0, "%s port %u: the logins of several users are not answered", agent_of(o)->host, agent_of(o)->port);
        host_failed(o, OUTCOME_FAILED);
        return;
    }
    loop_timer_set(&o->doubt, part);   /* what it has shown by then counts for no longer */
}

/* Silence may be a password's slow refusal, which is no reason to go directly. It is none with the gateway's own credentials, and none of a password that this host has
 * accepted lately: then the login is to be served within the time for all of it, if there is a way to do so. */
static unsigned patience(struct poa_opening *o)
{
    uint64_t now = clock_monotonic_ms();
    unsigned all = agent_of(o)->timeout_ms, left = now < o->ready_ms ? (unsigned)(o->ready_ms - now) : 0, most = agent_of(o)->login_timeout_ms;
    o->tag = accepted_tag(agent_of(o), &o->who);
    o->accepted = accepted_is(o->tag);
    bool known = o->accepted || agent_of(o)->login != POA_LOGIN_PASS_THROUGH;
    left = longer(left, all / 2);   /* a host that needed all of it until here is not given up at once */
    o->hurried = known && left < most && poa_fallback(o->request.post_office) == PATH_DIRECT;
    return o->hurried ? left : most;
}

/* One that takes its time for this, too, is not hurried the next time. */
static void note_accepted(struct poa_opening *o)
{
    bool quick = clock_monotonic_ms() - o->waiter.login_ms <= agent_of(o)->timeout_ms / 2;
    if (o->probed == NULL && quick)
        accepted_note(o->tag);
    else if (o->probed == NULL)
        accepted_forget(o->tag);
}

/* The time for the answer begins when the login is sent. */
static void note_phase(struct poa_opening *o)
{
    enum dialogue_phase phase = dialogue_phase(&o->dialogue);
    if (phase == PHASE_LOGIN && o->waiter.phase != PHASE_LOGIN && o->probed == NULL) {
        loop_timer_set(&o->limit, patience(o));
        o->waiter.login_ms = clock_monotonic_ms();
        loop_timer_set(&o->doubt, agent_of(o)->timeout_ms / DOUBT_PART);
    }
    o->waiter.phase = (int)phase;
}

static void converse(struct poa_opening *o)
{
    enum dialogue_result result = dialogue_run(&o->dialogue, &o->in, &o->out);
    note_phase(o);
    send_out(o);
    switch (result) {
    case DIALOGUE_MORE:
        stream_want_input(&o->stream, true);
        break;
    case DIALOGUE_START_TLS:
        stream_start_tls_client(&o->stream, o->material.tls, agent_of(o)->host);
        break;
    case DIALOGUE_OPEN:
        note_accepted(o);
        leave_circuit(o, OUTCOME_OPEN);
        end_with(o, POA_OPEN);
        break;
    case DIALOGUE_REFUSED:
        describe(o, &o->dialogue.fault);
        accepted_forget(o->tag);
        leave_circuit(o, OUTCOME_REFUSED);
        end_with(o, POA_REFUSED);
        break;
    default:
        describe(o, &o->dialogue.fault);
        if (o->dialogue.fault.class == FAULT_AUTHENTICATION)
            accepted_forget(o->tag);
        if (o->dialogue.fault.class == FAULT_AUTHENTICATION)
            log_error("poa", "post office %s: %s: the credentials of the gateway are refused for %s", o->request.post_office->name, o->fault.text, o->request.user);
        fail_soon(o, o->dialogue.of_user ? OUTCOME_OF_USER : OUTCOME_FAILED);
    }
}

static void stream_news(struct stream *stream, enum stream_event event, void *context)
{
    struct poa_opening *o = context;
    if (o->ended || o->failing)
        return;
    switch (event) {
    case STREAM_INPUT:
        converse(o);
        break;
    case STREAM_TLS_UP:
        if (o->dialogue.tls)
            stream_want_input(&o->stream, true);   /* from the first byte: the greeting comes */
        else {
            dialogue_tls_up(&o->dialogue, &o->out);
            send_out(o);
            stream_want_input(&o->stream, true);
        }
        break;
    case STREAM_WRITTEN:
        break;
    default:
        if (event == STREAM_FAILED && stream->failure == STREAM_TLS_FAILED) {
            struct fault fault;
            stream_tls_fault(stream, &fault);
            describe(o, &fault);
        } else
            fault_set(&o->fault, FAULT_UNREACHABLE, 0, "%s port %u: the POA closed the connection", agent_of(o)->host, agent_of(o)->port);
        fail_soon(o, OUTCOME_FAILED);
    }
}

/* A host that vanished says nothing, not even that it is gone: idle sessions find out by this, in minutes. */
static void notice_vanished(int fd)
{
    const int on = 1, idle = 60, interval = 15, probes = 4, unacknowledged_ms = 60 * 1000;
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
    setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes));
    setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &unacknowledged_ms, sizeof(unacknowledged_ms));
}

/* --- connecting ---------------------------------------------------------------------------------------------------------------- */

static void connected(void *context, int fd, const struct fault *fault)
{
    struct poa_opening *o = context;
    o->connector = NULL;
    if (fd < 0) {
        o->fault = *fault;
        host_failed(o, OUTCOME_FAILED);
        return;
    }
    notice_vanished(fd);
    o->who = (struct dialogue_who){
        .user = slice_from_string(o->request.user), .password = o->request.password, .token = o->request.token, .name = slice_from_string(o->material.name),
        .secret = slice_from_string(o->material.secret), .client = o->request.client, .client_port = o->request.client_port, .local = o->request.local,
        .local_port = o->request.local_port, .session_id = o->request.session_id,
    };
    stream_init(&o->stream, o->request.loop, fd, &o->in, DIALOGUE_IN_MAX, stream_news, o);
    dialogue_init(&o->dialogue, agent_of(o), &o->who, o->probed != NULL);
    dialogue_begin(&o->dialogue, &o->out);
    send_out(o);
    if (o->dialogue.tls)
        stream_start_tls_client(&o->stream, o->material.tls, agent_of(o)->host);
    else
        stream_want_input(&o->stream, true);
}

/* The files of the first login after a start may not be read yet: that is done in a thread. */
static void connect_host(struct poa_opening *o)
{
    uint64_t now = clock_monotonic_ms();
    unsigned left = now < o->ready_ms ? (unsigned)(o->ready_ms - now) : 1;
    size_t hosts = o->probed != NULL ? 1 : o->request.post_office->agent_count - o->agent;
    switch (material_get(agent_of(o), &o->material, &o->fault)) {
    case MATERIAL_UNKNOWN:
        loop_timer_set(&o->again, MATERIAL_AGAIN_MS);
        return;
    case MATERIAL_BROKEN:
        host_failed(o, OUTCOME_FAILED);
        return;
    default:
        break;
    }
    /* One dead host must not use up the time of those after it. */
    unsigned share = left / (unsigned)hosts > 0 ? left / (unsigned)hosts : 1;
    loop_timer_set(&o->limit, share);
    o->connector = connector_start(o->request.loop, agent_of(o)->host, agent_of(o)->port, share + 1000, connected, o);
}

static void ask_host(void *arg)
{
    struct poa_opening *o = arg;
    const struct post_office *office = o->request.post_office;
    o->waiter.phase = PHASE_GREETING;
    o->waiter.login_ms = 0;
    o->waiter.user = o->request.user;
    for (; o->probed == NULL && o->agent < office->agent_count; o->agent++)
        if (circuit_begin(office, o->agent, &o->waiter) == CIRCUIT_GO)
            break;
    if (o->agent == office->agent_count) {
        if (!o->asked)
            fault_set(&o->fault, FAULT_UNREACHABLE, 0, "the POA is away and is not asked for now");
        end_with(o, POA_FAILED);
        return;
    }
    o->asked = true;
    o->listed = o->probed == NULL;
    connect_host(o);
}

/* After a stream's failure, or to look for the files again. */
static void go_on(void *arg)
{
    struct poa_opening *o = arg;
    if (o->failing)
        host_failed(o, o->outcome);
    else if (clock_monotonic_ms() >= o->ready_ms) {
        fault_set(&o->fault, FAULT_TIMEOUT, 0, "CA file or credentials were not read in time");
        host_failed(o, OUTCOME_NONE);
    } else
        connect_host(o);
}

/* --- the contract -------------------------------------------------------------------------------------------------------------- */

static struct poa_opening *opening_new(const struct poa_open_request *request, size_t agent)
{
    struct poa_opening *o = MEM_NEW(struct poa_opening);
    CHECK(request->post_office->agent_count > agent);
    o->request = *request;
    o->request.snapshot = snapshot_ref(request->snapshot);
    o->request.user = mem_strdup(request->user);
    o->request.client = mem_strdup(request->client);
    o->request.local = mem_strdup(request->local);
    o->request.mailbox_dir = mem_strdup(request->mailbox_dir);
    o->request.password = request->password.data != NULL ? slice_make(slice_to_string(request->password), request->password.len) : SLICE_NONE;
    o->agent = agent;
    o->holds = 1;
    o->waiter.gone = gone;
    list_init(&o->waiter.link);
    o->ready_ms = clock_monotonic_ms() + request->post_office->agents[agent].timeout_ms;
    loop_timer_init(&o->limit, request->loop, too_late, o);
    loop_timer_init(&o->again, request->loop, go_on, o);
    loop_timer_init(&o->doubt, request->loop, doubt, o);
    loop_timer_init(&o->end, request->loop, give_answer, o);
    return o;
}

struct poa_opening *poa_open(const struct poa_open_request *request)
{
    struct poa_opening *o = opening_new(request, 0);
    ask_host(o);
    return o;
}

struct poa_opening *opening_probe(struct loop *loop, struct snapshot *snapshot, const struct post_office *office, size_t agent, bool hurry,
                                  void (*done)(void *context, bool well, const struct fault *fault), void *context)
{
    struct poa_open_request request = { .loop = loop, .snapshot = snapshot, .post_office = office, .user = "", .context = context };
    struct poa_opening *o = opening_new(&request, agent);
    o->probed = done;
    if (hurry)
        o->ready_ms -= agent_of(o)->timeout_ms / 10 * 3;
    ask_host(o);
    return o;
}

void poa_open_cancel(struct poa_opening **opening)
{
    struct poa_opening *o = *opening;
    *opening = NULL;
    if (o == NULL)
        return;
    o->cancelled = true;
    leave_circuit(o, OUTCOME_NONE);
    wipe_password(o);
    close_host(o);
    loop_timer_cancel(&o->end);
    release(o);
}

size_t poa_agent(const struct poa_opening *opening)
{
    return opening->agent;
}

void poa_take(struct poa_opening *opening, struct stream *stream, struct buf *in, struct buf *capability, stream_callback *callback, void *context)
{
    struct poa_opening *o = opening;
    CHECK(o->result == POA_OPEN && o->ended);
    buf_swap(capability, &o->dialogue.capability);
    buf_swap(in, &o->in);
    stream_move(stream, &o->stream, in, 16 * 1024, callback, context);
}
