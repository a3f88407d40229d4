/* The sessions of all loops for posternctl: listed or ended. Started by control.c on the first loop; goes from loop to loop by messages, a part at
 * a time, so that many sessions hold up nobody. */
#include <stdlib.h>
#include <string.h>

#include "conn.h"
#include "control.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"

enum { PART = 2000 };

struct session_row {
    uint64_t id;
    uint64_t began_ms;
    uint64_t active_ms;
    char *user;               /* NULL: not logged in */
    const char *state;
    const char *access;       /* how the mailbox is reached; NULL: there is none */
    enum service service;
    uint16_t port;
    bool tls;
    char peer[48];
};

struct sweep {
    struct question *question;
    unsigned home;            /* where it is now */
    uint64_t last_id;         /* of the last session seen there: they stand in the order of their numbers */
    struct session_row *rows;
    size_t count;
    size_t room;
    uint64_t id;              /* kick: this session; 0: those of the user */
    char *user;
    uint64_t kicked;
    struct timespec wall;
    uint64_t now_ms;
};

static const char *state_of(const struct conn *c)
{
    if (c->state == CONN_HANDSHAKE || (c->action == CONN_START_TLS && c->under_way))
        return "TLS handshake";
    if (c->state != CONN_OPEN)
        return "closing";
    if (c->failing || c->action == CONN_LOGIN)
        return "logging in";
    if (c->action == CONN_RESOLVE)
        return "looking up";
    if (c->action == CONN_STEP)
        return "at work";
    if (stream_pending(&c->stream) > 0)
        return "sending";
    return c->session.user == NULL && c->room->service != SERVICE_SMTP ? "not logged in" : "waiting";
}

static const char *access_of(const struct conn *c)
{
    const struct session *s = &c->session;
    if (s->user == NULL || c->room->service == SERVICE_SMTP)
        return NULL;
    return s->remote != NULL ? "client/server" : "direct";
}

static void add_row(struct sweep *sweep, const struct conn *c)
{
    if (sweep->count == sweep->room) {
        sweep->room = sweep->room > 0 ? sweep->room * 2 : 64;
        sweep->rows = mem_resize(sweep->rows, sweep->room * sizeof(*sweep->rows));
    }
    struct session_row *row = &sweep->rows[sweep->count++];
    const struct session *s = &c->session;
    *row = (struct session_row){
        .id = s->id, .began_ms = c->began_ms, .active_ms = c->input_ms, .state = state_of(c), .access = access_of(c), .service = c->room->service,
        .port = s->peer_port, .tls = s->tls, .user = s->user != NULL ? mem_strdup(s->user->id) : NULL,
    };
    memcpy(row->peer, s->peer, sizeof(row->peer));
}

static bool is_wanted(const struct sweep *sweep, const struct session *s)
{
    if (sweep->user == NULL)
        return s->id == sweep->id;
    if (s->user == NULL)
        return false;
    struct slice name = slice_from_string(sweep->user);
    bool found = slice_is_nocase(name, s->user->id);
    for (size_t i = 0; !found && i < s->user->addresses.count; i++)
        found = slice_is_nocase(name, s->user->addresses.values[i]);
    return found;
}

static void visit(struct sweep *sweep, struct conn *c)
{
    if (c->state == CONN_DEAD)
        return;
    if (sweep->id == 0 && sweep->user == NULL)
        add_row(sweep, c);
    else if ((c->state == CONN_OPEN || c->state == CONN_HANDSHAKE) && is_wanted(sweep, &c->session)) {
        sweep->kicked++;
        conn_close(c, CLOSE_KICKED);
    }
}

static void sweep_ended(void *arg);

/* On the loop of sweep->home. */
static void sweep_part(void *arg)
{
    struct sweep *sweep = arg;
    struct gateway *g = sweep->question->gateway;
    struct home *home = &g->homes[sweep->home];
    unsigned seen = 0;
    LIST_FOR_EACH (&home->conns, at) {
        struct conn *c = LIST_ITEM(at, struct conn, link);
        if (c->session.id <= sweep->last_id)
            continue;
        if (seen++ == PART) {
            loop_post(home->loop, sweep_part, sweep);
            return;
        }
        sweep->last_id = c->session.id;
        visit(sweep, c);
    }
    sweep->last_id = 0;
    if (++sweep->home < g->home_count)
        loop_post(g->homes[sweep->home].loop, sweep_part, sweep);
    else
        loop_post(g->homes[0].loop, sweep_ended, sweep);
}

static int compare_rows(const void *a, const void *b)
{
    const struct session_row *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int print_rows(struct question *q)
{
    struct sweep *sweep = q->sweep;
    struct answer a;
    int64_t wall_ms = (int64_t)sweep->wall.tv_sec * 1000 + sweep->wall.tv_nsec / 1000000;
    if (sweep->count > 1)
        qsort(sweep->rows, sweep->count, sizeof(*sweep->rows), compare_rows);
    answer_init(&a, &q->out, q->json, q->all);
    answer_table(&a, "sessions");
    for (size_t i = 0; i < sweep->count; i++) {
        const struct session_row *r = &sweep->rows[i];
        int64_t age = (int64_t)(sweep->now_ms - r->began_ms);
        answer_row(&a);
        answer_number(&a, "id", r->id);
        answer_text(&a, "service", service_word(r->service));
        answer_text(&a, "user", r->user);
        answer_text(&a, "peer", r->peer);
        answer_number(&a, "port", r->port);
        answer_flag(&a, "tls", r->tls);
        answer_text(&a, "access", r->access);
        answer_time(&a, "since", (wall_ms - age) / 1000);
        answer_number(&a, "idle seconds", sweep->now_ms > r->active_ms ? (sweep->now_ms - r->active_ms) / 1000 : 0);
        answer_text(&a, "state", r->state);
        answer_close(&a);
    }
    answer_fini(&a);
    return 0;
}

static enum step_result print_work(struct pool_task *task)
{
    struct question *q = LIST_ITEM(task, struct question, task);
    q->result = print_rows(q);
    return STEP_DONE;
}

static void printed_on_loop(void *arg)
{
    question_answered(arg);
}

static void print_done(struct pool_task *task, bool ran)
{
    struct question *q = LIST_ITEM(task, struct question, task);
    if (!ran)
        q->result = fault_set(&q->fault, FAULT_UNREACHABLE, 0, "the gateway is ending");
    loop_post(q->gateway->homes[0].loop, printed_on_loop, q);
}

static int say_kicked(struct question *q, const struct sweep *sweep)
{
    struct answer a;
    if (sweep->kicked == 0)
        return fault_set(&q->fault, FAULT_NOT_FOUND, 0, "there is no such session");
    log_normal("control", "%llu sessions ended by an administrator", (unsigned long long)sweep->kicked);
    answer_init(&a, &q->out, q->json, q->all);
    answer_number(&a, "ended", sweep->kicked);
    answer_fini(&a);
    return 0;
}

static void sweep_ended(void *arg)
{
    struct sweep *sweep = arg;
    struct question *q = sweep->question;
    if (sweep->id != 0 || sweep->user != NULL) {
        q->result = say_kicked(q, sweep);
        question_answered(q);
        return;
    }
    q->task = (struct pool_task){ .work = print_work, .done = print_done };
    pool_submit(q->gateway->look_ups, &q->task);
}

static struct sweep *sweep_new(struct question *q)
{
    struct sweep *sweep = MEM_NEW(struct sweep);
    sweep->question = q;
    sweep->wall = clock_wall();
    sweep->now_ms = clock_monotonic_ms();
    q->sweep = sweep;
    return sweep;
}

void sessions_list(struct question *q)
{
    sweep_part(sweep_new(q));
}

/* The argument: "id N" or "user NAME". */
void sessions_kick(struct question *q)
{
    struct sweep *sweep = sweep_new(q);
    struct slice argument = q->argument;
    if (slice_starts_with(argument, "user ")) {
        sweep->user = slice_to_string(slice_trim(slice_from(argument, strlen("user "))));
    } else if (!slice_starts_with(argument, "id ") ||
               !slice_to_number(slice_trim(slice_from(argument, strlen("id "))), UINT64_MAX, &sweep->id) || sweep->id == 0) {
        q->result = fault_set(&q->fault, FAULT_INVALID, 0, "not the number of a session");
        question_answered(q);
        return;
    }
    sweep_part(sweep);
}

void sessions_forget(struct question *q)
{
    struct sweep *sweep = q->sweep;
    if (sweep == NULL)
        return;
    for (size_t i = 0; i < sweep->count; i++)
        mem_free(&sweep->rows[i].user);
    mem_free(&sweep->rows);
    mem_free(&sweep->user);
    mem_release(sweep);
    q->sweep = NULL;
}
