/* A step of a connection: its way to a thread of its service and back. Called by conn.c on the loop; while a step is under way, nothing here touches
 * what belongs to it. */
#include "conn.h"
#include "crash_notes.h"

static enum step_result step_work(struct pool_task *task)
{
    struct conn *c = LIST_ITEM(task, struct conn, task);
    struct crash_notes *notes = c->gateway->options->notes;
    int ticket = c->session.user != NULL ? crash_notes_begin(notes, c->session.user->id) : -1;
    enum step_result result = c->work(&c->session);
    crash_notes_end(notes, ticket);
    return result;
}

static void step_ended(void *arg)
{
    struct conn *c = arg;
    enum action_result result = c->session.result;
    c->under_way = false;
    if (conn_take(c))
        conn_action_ended(c, result);
}

static void step_done(struct pool_task *task, bool ran)
{
    struct conn *c = LIST_ITEM(task, struct conn, task);
    c->session.result = ran ? ACTION_OK : ACTION_UNAVAILABLE;
    conn_post(c, step_ended);
}

static void stuck_on_loop(void *arg)
{
    struct conn *c = arg;
    if (conn_take(c) && c->under_way && c->state == CONN_OPEN)
        conn_close(c, CLOSE_STALLED);
}

static void step_stuck(struct pool_task *task)
{
    conn_post(LIST_ITEM(task, struct conn, task), stuck_on_loop);
}

void step_start(struct conn *conn)
{
    struct conn *c = conn;
    const struct session *s = &c->session;
    c->task.serial_key = s->serial_key;
    c->task.label = NULL;
    if (s->user != NULL && s->user->post_office != NULL && s->fair_key == fair_key_of(s->user->post_office))
        c->task.label = s->fair_key;
    c->task.fair_key = c->task.label != NULL ? s->fair_key : fair_key_stable(s->snapshot, s->fair_key, &c->task.label);
    c->task.work = step_work;
    c->task.done = step_done;
    c->task.stuck = step_stuck;
    c->under_way = true;
    pool_submit(c->room->pool, &c->task);
}
