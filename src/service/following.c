/* What changes, told to those who watch. Called by control.c; a follower who does not read is told later how much it missed, and costs at most
 * PENDING_MOST and one change. */
#include "following.h"

#include <string.h>

#include "postern/base/answer.h"
#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/changes.h"

enum { PENDING_MOST = 256 * 1024 };

static void say_fault_row(struct answer *a, const struct config_fault *fault)
{
    answer_row(a);
    answer_text(a, "dn", fault->dn);
    answer_text(a, "attribute", fault->attribute);
    answer_text(a, "reason", fault->reason);
    answer_close(a);
}

static void say_faults_json(struct answer *a, const char *name, const struct config_fault **faults, size_t count)
{
    answer_table(a, name);
    for (size_t i = 0; i < count; i++)
        say_fault_row(a, faults[i]);
    answer_close(a);
}

static void say_objects_json(struct answer *a, const struct snapshot_changes *changes)
{
    answer_list(a, "objects");
    for (size_t i = 0; i < changes->object_count; i++) {
        const struct object_change *o = &changes->objects[i];
        answer_item(a, o->dn);
        answer_text(a, "change", object_change_word(o->kind));
        answer_text(a, "dn", o->dn);
        answer_text(a, "class", o->class);
        answer_list(a, "settings");
        for (size_t j = 0; j < o->count; j++) {
            answer_item(a, o->settings[j].attribute);
            answer_text(a, "attribute", o->settings[j].attribute);
            answer_texts(a, "before", o->settings[j].before.values, o->settings[j].before.count);
            answer_texts(a, "after", o->settings[j].after.values, o->settings[j].after.count);
            answer_close(a);
        }
        answer_close(a);
        answer_close(a);
    }
    answer_close(a);
}

static void say_json(struct buf *out, const char *event, uint64_t serial, const struct snapshot_changes *changes)
{
    struct answer a;
    answer_init(&a, out, true, true);
    answer_text(&a, "event", event);
    answer_time(&a, "time", clock_wall().tv_sec);
    answer_number(&a, "snapshot", serial);
    say_objects_json(&a, changes);
    say_faults_json(&a, "faults", changes->faults, changes->fault_count);
    say_faults_json(&a, "cured", changes->cured, changes->cured_count);
    answer_fini(&a);
}

static void say_values(struct buf *out, const struct text_list *values)
{
    if (values->count == 0)
        buf_append_text(out, "(none)");
    for (size_t i = 0; i < values->count; i++) {
        if (i > 0)
            buf_append_text(out, ", ");
        text_append_clean(out, slice_from_string(values->values[i]));
    }
}

static void say_object(struct buf *out, const struct object_change *o)
{
    buf_printf(out, "  %-8s ", object_change_word(o->kind));
    text_append_clean(out, slice_from_string(o->dn));
    buf_append_byte(out, '\n');
    for (size_t i = 0; o->kind == OBJECT_CHANGED && i < o->count; i++) {
        buf_printf(out, "    %s: ", o->settings[i].attribute);
        say_values(out, &o->settings[i].before);
        buf_append_text(out, " -> ");
        say_values(out, &o->settings[i].after);
        buf_append_byte(out, '\n');
    }
}

static void say_fault(struct buf *out, const char *word, const struct config_fault *fault)
{
    buf_printf(out, "  %-8s ", word);
    text_append_clean(out, slice_from_string(fault->dn));
    if (fault->attribute != NULL)
        buf_printf(out, " %s", fault->attribute);
    buf_append_text(out, ": ");
    text_append_clean(out, slice_from_string(fault->reason));
    buf_append_byte(out, '\n');
}

static void say_text(struct buf *out, const char *event, uint64_t serial, const struct snapshot_changes *changes)
{
    struct tm tm;
    char when[32] = "";
    time_t now = clock_wall().tv_sec;
    if (gmtime_r(&now, &tm) != NULL)
        (void)!strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%SZ", &tm);
    buf_printf(out, "%s %s: snapshot %llu\n", when, event, (unsigned long long)serial);
    for (size_t i = 0; i < changes->object_count; i++)
        say_object(out, &changes->objects[i]);
    for (size_t i = 0; i < changes->fault_count; i++)
        say_fault(out, "fault", changes->faults[i]);
    for (size_t i = 0; i < changes->cured_count; i++)
        say_fault(out, "cured", changes->cured[i]);
}

static void say(struct buf *out, bool json, const char *event, uint64_t serial, const struct snapshot_changes *changes)
{
    if (json)
        say_json(out, event, serial, changes);
    else
        say_text(out, event, serial, changes);
}

/* --- followers ------------------------------------------------------------------------------------------------------------- */

struct follow_job {
    struct pool_task task;
    struct followers *followers;
    struct snapshot *before;
    struct snapshot *after;
    struct buf words[2];       /* as text, as JSON */
    bool ran;
};

static void job_free(struct follow_job **job)
{
    struct follow_job *j = *job;
    if (j == NULL)
        return;
    snapshot_unref(&j->before);
    snapshot_unref(&j->after);
    buf_fini(&j->words[0]);
    buf_fini(&j->words[1]);
    mem_free(job);
}

void followers_init(struct followers *f, struct gateway *gateway)
{
    *f = (struct followers){ .gateway = gateway };
    list_init(&f->list);
}

void followers_fini(struct followers *f)
{
    job_free(&f->job);
    snapshot_unref(&f->seen);
}

/* The faults that there are already; no object has changed yet. */
static void say_beginning(struct buf *out, bool json, const struct snapshot *snapshot)
{
    size_t count = snapshot != NULL ? snapshot->fault_count : 0;
    struct snapshot_changes now = { .fault_count = count, .faults = MEM_NEW_ARRAY(const struct config_fault *, count + 1) };
    for (size_t i = 0; i < count; i++)
        now.faults[i] = &snapshot->faults[i];
    say(out, json, "watching", snapshot != NULL ? snapshot->serial : 0, &now);
    mem_free(&now.faults);
}

void follow_begin(struct followers *f, struct follow_state *state, struct stream *stream, bool json, struct snapshot *snapshot)
{
    struct buf words = { .cap = 0 };
    state->stream = stream;
    state->json = json;
    state->missed = 0;
    list_init(&state->link);
    list_append(&f->list, &state->link);
    if (f->seen == NULL && snapshot != NULL)
        f->seen = snapshot_ref(snapshot);
    say_beginning(&words, json, f->seen);
    stream_send(stream, &words);
    buf_fini(&words);
}

void follow_end(struct followers *f, struct follow_state *state)
{
    list_remove(&state->link);
    if (list_is_empty(&f->list))
        snapshot_unref(&f->seen);
}

void follow_drained(struct follow_state *state)
{
    if (state->missed == 0 || stream_pending(state->stream) > 0)
        return;
    struct buf words = { .cap = 0 };
    if (state->json)
        buf_printf(&words, "{\"event\":\"missed\",\"changes\":%llu}\n", (unsigned long long)state->missed);
    else
        buf_printf(&words, "missed: %llu\n", (unsigned long long)state->missed);
    state->missed = 0;
    stream_send(state->stream, &words);
    buf_fini(&words);
}

static void tell(struct follow_state *state, const struct buf *words)
{
    if (state->missed > 0 || stream_pending(state->stream) > PENDING_MOST) {
        state->missed++;
        return;
    }
    struct buf copy = { .cap = 0 };
    buf_append(&copy, buf_slice(words));
    stream_send(state->stream, &copy);
    buf_fini(&copy);
}

static void job_ended(void *arg)
{
    struct followers *f = arg;
    struct follow_job *job = f->job;
    f->job = NULL;
    /* Those who began meanwhile were told of what was before, or begin with something newer. */
    if (job->ran && !list_is_empty(&f->list) && f->seen == job->before) {
        LIST_FOR_EACH (&f->list, at) {
            struct follow_state *state = LIST_ITEM(at, struct follow_state, link);
            tell(state, &job->words[state->json ? 1 : 0]);
        }
        snapshot_unref(&f->seen);
        f->seen = snapshot_ref(job->after);
    }
    bool again = job->ran;
    job_free(&job);
    struct snapshot *newest = again ? snapshot_current() : NULL;
    if (newest != NULL)
        follow_tell(f, newest);
    snapshot_unref(&newest);
}

static enum step_result job_work(struct pool_task *task)
{
    struct follow_job *job = LIST_ITEM(task, struct follow_job, task);
    struct snapshot_changes *changes = snapshot_compare(job->before, job->after);
    for (unsigned json = 0; json < 2; json++)
        say(&job->words[json], json != 0, "applied", job->after->serial, changes);
    snapshot_changes_free(&changes);
    return STEP_DONE;
}

static void job_done(struct pool_task *task, bool ran)
{
    struct follow_job *job = LIST_ITEM(task, struct follow_job, task);
    job->ran = ran;
    loop_post(job->followers->gateway->homes[0].loop, job_ended, job->followers);
}

void follow_tell(struct followers *f, struct snapshot *snapshot)
{
    if (list_is_empty(&f->list) || f->job != NULL || (f->seen != NULL && f->seen->serial == snapshot->serial))
        return;
    f->job = MEM_NEW(struct follow_job);
    f->job->followers = f;
    f->job->before = f->seen != NULL ? snapshot_ref(f->seen) : NULL;
    f->job->after = snapshot_ref(snapshot);
    f->job->task = (struct pool_task){ .work = job_work, .done = job_done };
    pool_submit(f->gateway->look_ups, &f->job->task);
}
