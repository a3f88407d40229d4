/* The result of an attempt on its way to the disk. The order makes that nobody is told twice, whenever the process is killed: the notice comes into the spool, and from
 * then on what it tells of has been told; then the envelope is rewritten; only then the notice may be sent, and be gone. Called by attempt.c and queue.c. */
#include "result.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/clock.h"
#include "postern/base/list.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"

enum { TROUBLE_SECONDS = 300 };   /* until the next go when our own disk makes trouble */

/* Until it is written down nobody is given the message again. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct list unwritten = { &unwritten, &unwritten };

struct unwritten {
    struct list link;
    struct envelope envelope;
    char notice[SPOOL_ID_MAX];
    bool notice_away;
};

static void keep(struct envelope *envelope, const struct attempt_result *held)
{
    struct unwritten *kept = MEM_NEW(struct unwritten);
    kept->envelope = *envelope;
    memcpy(kept->notice, held->notice, sizeof(kept->notice));
    kept->notice_away = held->notice_away;
    *envelope = (struct envelope){ .sender = NULL };
    pthread_mutex_lock(&lock);
    list_append(&unwritten, &kept->link);
    pthread_mutex_unlock(&lock);
}

static struct unwritten *take(const char *id)
{
    struct unwritten *found = NULL;
    pthread_mutex_lock(&lock);
    LIST_FOR_EACH (&unwritten, at) {
        struct unwritten *kept = LIST_ITEM(at, struct unwritten, link);
        if (strcmp(kept->envelope.id, id) == 0)
            found = kept;
    }
    if (found != NULL)
        list_remove(&found->link);
    pthread_mutex_unlock(&lock);
    return found;
}

static bool is_done(const struct envelope *envelope)
{
    for (size_t i = 0; i < envelope->count; i++)
        if (envelope->recipients[i].outcome == OUTCOME_WAITING)
            return false;
    return true;
}

/* out->notice is that of this result, and stays only if it may be sent now. */
static void put(struct spool *spool, struct envelope *envelope, struct attempt_result *out)
{
    struct fault fault;
    bool done = is_done(envelope);
    out->next = done ? 0 : envelope->next;
    if ((done ? spool_remove(spool, envelope->id, &fault) : spool_store(spool, envelope, &fault)) == 0)
        return;
    log_error("queue", "%s: %s", envelope->id, fault.text);
    out->next = clock_wall().tv_sec + TROUBLE_SECONDS;
    keep(envelope, out);
    out->notice[0] = '\0';
}

void result_write(struct spool *spool, struct envelope *envelope, const struct envelope *notice, const struct snapshot *snapshot, struct attempt_result *out)
{
    if (notice != NULL) {
        snprintf(out->notice, sizeof(out->notice), "%s", notice->id);
        out->notice_away = attempt_is_away(notice, snapshot);
    }
    out->away = attempt_is_away(envelope, snapshot);
    put(spool, envelope, out);
}

bool result_retry(struct spool *spool, const char *id, const struct snapshot *snapshot, struct attempt_result *out)
{
    struct unwritten *found = take(id);
    if (found == NULL)
        return false;
    memcpy(out->notice, found->notice, sizeof(out->notice));
    out->notice_away = found->notice_away;
    out->away = attempt_is_away(&found->envelope, snapshot);
    put(spool, &found->envelope, out);
    queue_envelope_fini(&found->envelope);
    mem_release(found);
    return true;
}

/* --- after a crash -------------------------------------------------------------------------------------------------------- */

static bool tells_of(const struct envelope *notice, const char *address)
{
    for (size_t i = 0; i < notice->told_count; i++)
        if (strcmp(notice->told[i], address) == 0)
            return true;
    return false;
}

static void finish(struct spool *spool, const struct envelope *notice, struct envelope *envelope)
{
    struct attempt_result result = { .notice_away = true };
    bool told = false;
    for (size_t i = 0; i < envelope->count; i++) {
        struct envelope_recipient *to = &envelope->recipients[i];
        if (!tells_of(notice, to->address))
            continue;
        to->outcome = OUTCOME_FAILED;
        told = true;
    }
    if (!told)
        return;
    log_normal("queue", "%s: the notice %s tells of it", envelope->id, notice->id);
    snprintf(result.notice, sizeof(result.notice), "%s", notice->id);
    put(spool, envelope, &result);
}

void result_finish(const char *id, void *context)
{
    struct spool *spool = context;
    struct envelope notice, envelope;
    struct fault fault;
    if (spool_load(spool, id, &notice, &fault) < 0)
        return;
    if (notice.of[0] != '\0' && spool_load(spool, notice.of, &envelope, &fault) == 0) {
        finish(spool, &notice, &envelope);
        queue_envelope_fini(&envelope);
    }
    queue_envelope_fini(&notice);
}

bool result_is_held(const char *id)
{
    bool held = false;
    pthread_mutex_lock(&lock);
    LIST_FOR_EACH (&unwritten, at)
        held = held || strcmp(LIST_ITEM(at, struct unwritten, link)->notice, id) == 0;
    pthread_mutex_unlock(&lock);
    return held;
}

void result_clear(void)
{
    pthread_mutex_lock(&lock);
    LIST_FOR_EACH (&unwritten, at) {
        struct unwritten *kept = LIST_ITEM(at, struct unwritten, link);
        list_remove(at);
        queue_envelope_fini(&kept->envelope);
        mem_release(kept);
    }
    pthread_mutex_unlock(&lock);
}
