/* posternctl's questions about names that are locked after failed logins: which, and let this one in again. Called by control.c in a thread. */
#include "control.h"
#include "intruders.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/config/config.h"

struct listing {
    struct answer answer;
    uint64_t now_ms;
    int64_t now;
};

static void say_lock(void *context, const struct intruder_row *row)
{
    struct listing *l = context;
    struct answer *a = &l->answer;
    bool place = row->name.data[row->name.len - 1] == '\0';   /* where a gateway's password was guessed at, or a remembered one: look_up.c */
    answer_row(a);
    answer_slice(a, "name", slice_part(row->name, 0, row->name.len - place));
    answer_flag(a, "known", row->known);
    answer_number(a, "failures", row->failures);
    answer_time(a, "since", l->now - (int64_t)((l->now_ms - row->since_ms) / 1000));
    answer_time(a, "until", row->until_ms != UINT64_MAX ? l->now + (int64_t)((row->until_ms - l->now_ms) / 1000) : 0);
    answer_close(a);
}

int lockouts_answer(struct question *q)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL)
        return fault_set(&q->fault, FAULT_UNREACHABLE, 0, "the configuration has not been read yet");
    struct listing l = { .now_ms = clock_monotonic_ms(), .now = clock_wall().tv_sec };
    answer_init(&l.answer, &q->out, q->json, q->all);
    answer_table(&l.answer, "lockouts");
    intruder_list(q->gateway->options->intruders, &snapshot->agent, l.now_ms, say_lock, &l);
    answer_fini(&l.answer);
    snapshot_unref(&snapshot);
    return 0;
}

static bool unlock(const struct question *q, struct slice name)
{
    struct buf place = { .cap = 0 };
    buf_append(&place, name);
    buf_append_byte(&place, '\0');
    bool unlocked = intruder_unlock(q->gateway->options->intruders, name);
    unlocked = intruder_unlock(q->gateway->options->intruders, buf_slice(&place)) || unlocked;
    buf_fini(&place);
    return unlocked;
}

/* By any of the user's names; also a name that is nobody's. */
int unlock_answer(struct question *q)
{
    struct user *user = NULL;
    bool unlocked = unlock(q, q->argument);
    if (config_find_user(q->argument, &user, NULL) == 0)
        unlocked = unlock(q, slice_from_string(user->id)) || unlocked;
    user_unref(&user);
    if (!unlocked)
        return fault_set(&q->fault, FAULT_NOT_FOUND, 0, "nothing is noted against this name");
    log_normal("control", "\"%.*s\" is unlocked", SLICE_ARG(q->argument));
    struct answer a;
    answer_init(&a, &q->out, q->json, q->all);
    answer_slice(&a, "unlocked", q->argument);
    answer_fini(&a);
    return 0;
}
