/* The circuits of POAs. Called by openings, by the prober and by who reports; must never wait, and calls back under its lock only what posts a message. */
#include "circuit.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/config/found.h"
#include "postern/config/status.h"

enum { BACK_OFF_FIRST_S = 1, BACK_OFF_MOST_S = 30, BACK_OFF_ALONE_S = 5, STEADY_MS = 60 * 1000, COMPARE_AGAIN_MS = 60 * 1000 };

enum state { STATE_CLOSED, STATE_AWAY, STATE_ON_TRIAL };

/* One host of a post office. */
struct target {
    struct list link;
    char *host;
    uint16_t port;
    enum poa_tls tls;
    enum state state;
    unsigned back_off_s;
    uint64_t until_ms;          /* AWAY: not asked before */
    uint64_t closed_ms;         /* when it came back */
    bool probing;
    bool doubted;               /* somebody waits for it: to be probed now */
    uint64_t proof_ms;          /* when it last showed that it is well */
    uint64_t answered_ms;       /* when it last answered a login */
    bool proven;                /* since the last probe began */
    bool trial;                 /* ON_TRIAL: somebody is trying */
    char *suspect;              /* the user of the last failure that may be of a user */
    struct list waiters;
    bool seen;
};

struct office {
    char uuid[37];
    char *name;
    struct list targets;
    enum poa_path path;         /* as last noted; PATH_POA at first, if it has one */
    bool noted;
    int64_t since;
    char *difference;           /* see circuit_set_compared; NULL: not compared */
    uint64_t fingerprint;       /* of what was compared */
    uint64_t compared_ms;
    uint64_t comparing;         /* the fingerprint of what is compared now; 0: nothing */
    char failure[sizeof(((struct fault *)0)->text)];
    int64_t failed_at;
    uint64_t switches, opened, failures, refused;
    bool seen;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map offices;      /* uuid to struct office */
static size_t troubled;         /* targets that are not closed, and doubts */
static bool has_prober;

/* --- finding ---------------------------------------------------------------------------------------------------------------- */

static struct office *office_of(const struct post_office *po)
{
    struct office *o = map_get(&offices, slice_from_string(po->uuid));
    if (o == NULL) {
        o = MEM_NEW(struct office);
        snprintf(o->uuid, sizeof(o->uuid), "%s", po->uuid);
        o->name = mem_strdup(po->name);
        list_init(&o->targets);
        map_put(&offices, slice_from_string(po->uuid), o);
    }
    return o;
}

/* A host that is named anew begins anew. */
static struct target *target_of(struct office *o, const struct post_office_agent *agent)
{
    LIST_FOR_EACH (&o->targets, at) {
        struct target *t = LIST_ITEM(at, struct target, link);
        if (strcmp(t->host, agent->host) == 0 && t->port == agent->port && t->tls == agent->tls)
            return t;
    }
    struct target *t = MEM_NEW(struct target);
    t->host = mem_strdup(agent->host);
    t->port = agent->port;
    t->tls = agent->tls;
    list_init(&t->waiters);
    list_append(&o->targets, &t->link);
    return t;
}

static void set_state(struct target *t, enum state state)
{
    troubled += (state != STATE_CLOSED) - (t->state != STATE_CLOSED);
    t->state = state;
    t->trial = false;
}

static void set_doubted(struct target *t, bool doubted)
{
    troubled += (size_t)doubted - (size_t)t->doubted;
    t->doubted = doubted;
}

static void free_target(struct target *t)
{
    CHECK(list_is_empty(&t->waiters));
    set_state(t, STATE_CLOSED);
    set_doubted(t, false);
    list_remove(&t->link);
    mem_free(&t->host);
    mem_free(&t->suspect);
    mem_free(&t);
}

static void free_office(struct office *o)
{
    LIST_FOR_EACH (&o->targets, at)
        free_target(LIST_ITEM(at, struct target, link));
    mem_free(&o->name);
    mem_free(&o->difference);
    mem_free(&o);
}

/* --- the way ---------------------------------------------------------------------------------------------------------------- */

static void end_back_off(struct target *t)
{
    if (t->state == STATE_AWAY && !has_prober && clock_monotonic_ms() >= t->until_ms)
        set_state(t, STATE_ON_TRIAL);
}

static bool may_be_asked(struct target *t)
{
    end_back_off(t);
    return t->state == STATE_CLOSED || (t->state == STATE_ON_TRIAL && !t->trial);
}

/* NULL: not compared, or only what it was before. */
static const char *difference_of(const struct office *o, const struct post_office *po)
{
    return o->difference != NULL && o->fingerprint == circuit_fingerprint(po) ? o->difference : NULL;
}

static enum poa_path fallback_of(const struct office *o, const struct post_office *po)
{
    if (po->path == NULL)
        return PATH_NONE;
    if (po->agent_count == 0)
        return PATH_DIRECT;
    const char *difference = difference_of(o, po);
    return difference != NULL && *difference == '\0' ? PATH_DIRECT : PATH_NONE;
}

static enum poa_path path_of(struct office *o, const struct post_office *po)
{
    for (size_t i = 0; i < po->agent_count; i++)
        if (may_be_asked(target_of(o, &po->agents[i])))
            return PATH_POA;
    return fallback_of(o, po);
}

static const char *path_word(enum poa_path path)
{
    return path == PATH_POA ? "client/server" : path == PATH_DIRECT ? "direct" : "not reachable";
}

/* A trial is no change: it is known only when it has ended. */
static bool is_undecided(struct office *o, const struct post_office *po)
{
    for (size_t i = 0; i < po->agent_count; i++)
        if (target_of(o, &po->agents[i])->state == STATE_ON_TRIAL)
            return o->path != PATH_POA;
    return false;
}

/* True: the way is another now; the status is to be told when the lock is free. */
static bool note_path(struct office *o, const struct post_office *po)
{
    enum poa_path path = path_of(o, po);
    if (!o->noted) {
        o->noted = true;
        o->path = path;
        return false;
    }
    if (path == o->path || is_undecided(o, po))
        return false;
    log_warning("poa", "post office %s: %s now, %s before%s%s", po->name, path_word(path), path_word(o->path), path != PATH_POA && o->failure[0] != '\0' ? ": " : "",
                path != PATH_POA ? o->failure : "");
    o->path = path;
    o->switches++;
    o->since = clock_wall().tv_sec;
    return true;
}

static void unlock_and_tell(bool changed)
{
    pthread_mutex_unlock(&lock);
    if (changed)
        config_links_changed();
}

enum poa_path poa_choose(const struct post_office *post_office)
{
    if (post_office->agent_count == 0)
        return post_office->path != NULL ? PATH_DIRECT : PATH_NONE;
    pthread_mutex_lock(&lock);
    struct office *o = office_of(post_office);
    bool changed = note_path(o, post_office);
    enum poa_path path = path_of(o, post_office);
    unlock_and_tell(changed);
    return path;
}

enum poa_path poa_fallback(const struct post_office *post_office)
{
    pthread_mutex_lock(&lock);
    enum poa_path path = fallback_of(office_of(post_office), post_office);
    pthread_mutex_unlock(&lock);
    return path;
}

bool poa_is_away(const struct post_office *post_office, size_t agent, uint64_t since_ms)
{
    return circuit_doubt(post_office, agent, since_ms);
}

bool poa_is_used(const struct post_office *post_office)
{
    return post_office->agent_count > 0;
}

/* --- failures --------------------------------------------------------------------------------------------------------------- */

static void dismiss(struct target *t, int phase)
{
    LIST_FOR_EACH (&t->waiters, at) {
        struct waiter *w = LIST_ITEM(at, struct waiter, link);
        if (w->phase <= phase)
            w->gone(w);
    }
}

unsigned circuit_back_off(unsigned before, bool other_way)
{
    unsigned most = other_way ? BACK_OFF_MOST_S : BACK_OFF_ALONE_S, next = before == 0 ? BACK_OFF_FIRST_S : before * 2;
    return next < most ? next : most;
}

static void go_away(struct office *o, const struct post_office *po, struct target *t, int phase)
{
    uint64_t now = clock_monotonic_ms();
    bool steady = t->state == STATE_CLOSED && now - t->closed_ms >= STEADY_MS;
    t->back_off_s = circuit_back_off(steady ? 0 : t->back_off_s, po->agent_count > 1 || fallback_of(o, po) == PATH_DIRECT);
    t->until_ms = now + t->back_off_s * 1000;
    set_state(t, STATE_AWAY);
    mem_free(&t->suspect);
    dismiss(t, phase);
}

static void note_failure(struct office *o, const struct fault *fault)
{
    o->failures++;
    o->failed_at = clock_wall().tv_sec;
    snprintf(o->failure, sizeof(o->failure), "%s", fault->text);
}

static void come_back(struct target *t)
{
    if (t->state != STATE_CLOSED)
        t->closed_ms = clock_monotonic_ms();
    set_state(t, STATE_CLOSED);
    mem_free(&t->suspect);
}

/* True: it is the second user in a row. */
static bool suspect(struct target *t, struct slice user)
{
    if (t->suspect != NULL && !slice_is_equal(slice_from_string(t->suspect), user))
        return true;
    if (t->suspect == NULL)
        t->suspect = slice_to_string(user);
    return false;
}

enum circuit_answer circuit_begin(const struct post_office *office, size_t agent, struct waiter *waiter)
{
    pthread_mutex_lock(&lock);
    struct target *t = target_of(office_of(office), &office->agents[agent]);
    bool may = may_be_asked(t);
    list_init(&waiter->link);
    waiter->trial = may && t->state == STATE_ON_TRIAL;
    if (may) {
        t->trial = waiter->trial;
        list_append(&t->waiters, &waiter->link);
    }
    pthread_mutex_unlock(&lock);
    return may ? CIRCUIT_GO : CIRCUIT_AWAY;
}

void circuit_ended(const struct post_office *office, size_t agent, struct waiter *waiter, enum circuit_outcome outcome, struct slice user,
                   const struct fault *fault)
{
    pthread_mutex_lock(&lock);
    struct office *o = office_of(office);
    struct target *t = target_of(o, &office->agents[agent]);
    list_remove(&waiter->link);
    if (waiter->trial && t->state == STATE_ON_TRIAL)
        t->trial = false;
    if (outcome == OUTCOME_OPEN || outcome == OUTCOME_REFUSED) {
        *(outcome == OUTCOME_OPEN ? &o->opened : &o->refused) += 1;
        t->proof_ms = t->answered_ms = clock_monotonic_ms();
        t->proven = true;
        /* What began before it went away says nothing of now. */
        if (t->state == STATE_CLOSED || waiter->trial)
            come_back(t);
    } else if (outcome != OUTCOME_NONE) {
        note_failure(o, fault);
        if (t->state != STATE_AWAY && (outcome == OUTCOME_FAILED || suspect(t, user)))
            go_away(o, office, t, waiter->phase);
    }
    unlock_and_tell(note_path(o, office));
}

/* --- probes ------------------------------------------------------------------------------------------------------------------ */

void circuit_set_prober(bool there)
{
    pthread_mutex_lock(&lock);
    has_prober = there;
    pthread_mutex_unlock(&lock);
}

bool circuit_doubt(const struct post_office *office, size_t agent, uint64_t since_ms)
{
    pthread_mutex_lock(&lock);
    struct target *t = target_of(office_of(office), &office->agents[agent]);
    bool away = t->state == STATE_AWAY;
    if (has_prober && t->proof_ms < since_ms)
        set_doubted(t, true);
    pthread_mutex_unlock(&lock);
    return away;
}

static bool waits_in_silence(const struct target *t, const struct waiter *w, uint64_t since_ms)
{
    return w->login_ms != 0 && w->login_ms <= since_ms && w->login_ms > t->answered_ms;
}

bool circuit_is_silent(const struct post_office *office, size_t agent, unsigned patience_ms)
{
    const char *user = NULL;
    bool silent = false;
    pthread_mutex_lock(&lock);
    const struct target *t = target_of(office_of(office), &office->agents[agent]);
    uint64_t since_ms = clock_monotonic_ms() - patience_ms;
    LIST_FOR_EACH (&t->waiters, at) {
        const struct waiter *w = LIST_ITEM(at, struct waiter, link);
        if (!waits_in_silence(t, w, since_ms))
            continue;
        silent = silent || (user != NULL && strcmp(user, w->user) != 0);
        user = w->user;
    }
    pthread_mutex_unlock(&lock);
    return silent;
}

static bool claim_probe(const struct post_office *po, const struct post_office_agent *agent, bool *doubted)
{
    struct target *t = target_of(office_of(po), agent);
    uint64_t now = clock_monotonic_ms();
    bool due = !t->probing && (t->doubted || (t->state == STATE_AWAY && now >= t->until_ms));
    *doubted = t->doubted;
    if (due) {
        t->probing = true;
        t->proven = false;
    }
    return due;
}

void circuit_for_each_due(const struct snapshot *snapshot, void (*visit)(const struct post_office *office, size_t agent, bool doubted, void *context),
                          void *context)
{
    pthread_mutex_lock(&lock);
    size_t left = troubled;
    pthread_mutex_unlock(&lock);
    for (size_t i = 0; left > 0 && i < snapshot->post_office_count; i++) {
        const struct post_office *po = snapshot->post_offices[i];
        for (size_t j = 0; j < po->agent_count; j++) {
            pthread_mutex_lock(&lock);
            bool doubted, due = claim_probe(po, &po->agents[j], &doubted);
            pthread_mutex_unlock(&lock);
            if (due)
                visit(po, j, doubted, context);
        }
    }
}

void circuit_probed(const struct post_office *office, size_t agent, bool well, const struct fault *fault)
{
    pthread_mutex_lock(&lock);
    struct office *o = office_of(office);
    struct target *t = target_of(o, &office->agents[agent]);
    uint64_t now = clock_monotonic_ms();
    bool doubted = t->doubted, due = t->state == STATE_AWAY && now >= t->until_ms;
    t->probing = false;
    set_doubted(t, false);
    if (well) {
        t->proof_ms = now;
        if (due)
            set_state(t, STATE_ON_TRIAL);
    } else if (due) {
        snprintf(o->failure, sizeof(o->failure), "%s", fault->text);
        go_away(o, office, t, doubted ? PHASE_LOGIN : PHASE_GREETING);
    } else if (!t->proven) {
        if (t->state != STATE_AWAY) {
            note_failure(o, fault);
            go_away(o, office, t, PHASE_LOGIN);
        } else
            dismiss(t, PHASE_LOGIN);
    }
    unlock_and_tell(note_path(o, office));
}

/* --- following the configuration ----------------------------------------------------------------------------------------------- */

static void unsee(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    struct office *o = value;
    o->seen = false;
    LIST_FOR_EACH (&o->targets, at)
        LIST_ITEM(at, struct target, link)->seen = false;
}

static void forget_targets(struct office *o)
{
    LIST_FOR_EACH (&o->targets, at) {
        struct target *t = LIST_ITEM(at, struct target, link);
        if (!t->seen && !t->probing && list_is_empty(&t->waiters))
            free_target(t);
    }
}

static void forget_unseen(struct slice key, void *value, void *context)
{
    (void)key;
    struct office *o = value;
    struct buf *gone = context;
    forget_targets(o);
    if (!o->seen && list_is_empty(&o->targets))
        buf_append(gone, slice_make((const char *)&o, sizeof(o)));
}

void circuit_follow(const struct snapshot *snapshot)
{
    struct buf gone = { .cap = 0 };
    bool changed = false;
    pthread_mutex_lock(&lock);
    map_for_each(&offices, unsee, NULL);
    for (size_t i = 0; i < snapshot->post_office_count; i++) {
        const struct post_office *po = snapshot->post_offices[i];
        struct office *o = office_of(po);
        o->seen = true;
        for (size_t j = 0; j < po->agent_count; j++)
            target_of(o, &po->agents[j])->seen = true;
        changed = note_path(o, po) || changed;
    }
    map_for_each(&offices, forget_unseen, &gone);
    for (size_t at = 0; at < gone.len; at += sizeof(struct office *)) {
        struct office *o;
        memcpy(&o, gone.data + at, sizeof(o));
        map_remove(&offices, slice_from_string(o->uuid));
        free_office(o);
    }
    unlock_and_tell(changed);
    buf_fini(&gone);
}

static void collect(struct slice key, void *value, void *context)
{
    (void)key;
    buf_append(context, slice_make((const char *)&value, sizeof(value)));
}

void circuit_clear(void)
{
    struct buf all = { .cap = 0 };
    pthread_mutex_lock(&lock);
    map_for_each(&offices, collect, &all);
    for (size_t at = 0; at < all.len; at += sizeof(struct office *)) {
        struct office *o;
        memcpy(&o, all.data + at, sizeof(o));
        free_office(o);
    }
    map_fini(&offices);
    map_init(&offices);
    pthread_mutex_unlock(&lock);
    buf_fini(&all);
}

/* --- the comparison ------------------------------------------------------------------------------------------------------------- */

void circuit_set_compared(const struct post_office *office, uint64_t fingerprint, const char *difference)
{
    pthread_mutex_lock(&lock);
    struct office *o = office_of(office);
    bool changed = o->difference == NULL || o->fingerprint != fingerprint || strcmp(o->difference, difference) != 0;
    mem_free(&o->difference);
    o->difference = mem_strdup(difference);
    o->fingerprint = fingerprint;
    unlock_and_tell(note_path(o, office) || changed);
}

bool circuit_wants_comparison(const struct post_office *office)
{
    if (office->path == NULL || office->agent_count == 0)
        return false;
    pthread_mutex_lock(&lock);
    struct office *o = office_of(office);
    const char *difference = difference_of(o, office);
    bool again = difference != NULL && *difference != '\0' && clock_monotonic_ms() - o->compared_ms >= COMPARE_AGAIN_MS;
    uint64_t fingerprint = circuit_fingerprint(office);
    bool wanted = o->comparing != fingerprint && (difference == NULL || again);
    if (wanted)
        o->comparing = fingerprint;
    pthread_mutex_unlock(&lock);
    return wanted;
}

bool circuit_is_compared(const struct post_office *office)
{
    pthread_mutex_lock(&lock);
    bool is = office_of(office)->comparing == circuit_fingerprint(office);
    pthread_mutex_unlock(&lock);
    return is;
}

void circuit_comparison_ended(const struct post_office *office)
{
    pthread_mutex_lock(&lock);
    struct office *o = office_of(office);
    if (o->comparing == circuit_fingerprint(office))
        o->comparing = 0;
    o->compared_ms = clock_monotonic_ms();
    pthread_mutex_unlock(&lock);
}

/* --- reports -------------------------------------------------------------------------------------------------------------------- */

static void fill_report(struct office *o, const struct post_office *po, struct poa_report *report)
{
    enum poa_path path = path_of(o, po);
    bool broken = po->path != NULL && po->path_from != NULL && config_is_found(FOUND_BY_PATHS, po->path_from);
    if (path == PATH_DIRECT && broken)
        path = PATH_NONE;   /* a login tries it all the same: it may be cured */
    *report = (struct poa_report){ .post_office = po, .now = is_undecided(o, po) ? o->path : path, .since = o->since, .failed_at = o->failed_at,
                                   .switches = o->switches, .opened = o->opened, .failures = o->failures, .refused = o->refused };
    for (size_t i = 0; i < po->agent_count && report->host == NULL; i++)
        if (target_of(o, &po->agents[i])->state == STATE_CLOSED) {
            report->host = po->agents[i].host;
            report->port = po->agents[i].port;
        }
    report->state = report->now == PATH_POA ? "client/server" : report->now == PATH_NONE ? "not reachable" : po->agent_count > 0 ? "direct access, the POA is away" : "direct access";
    const char *difference = difference_of(o, po);
    report->difference = difference != NULL ? difference : "";
    report->fallback = po->agent_count == 0 || po->path == NULL ? "none" : difference == NULL ? "off until POA and path are compared"
                       : *difference == '\0' && !broken ? "ready" : "off";
}

void poa_describe(const struct post_office *post_office, void (*visit)(const struct poa_report *report, void *context), void *context)
{
    struct poa_report report;
    struct fault failure, difference;
    pthread_mutex_lock(&lock);
    struct office *o = office_of(post_office);
    fill_report(o, post_office, &report);
    snprintf(failure.text, sizeof(failure.text), "%s", o->failure);
    snprintf(difference.text, sizeof(difference.text), "%s", report.difference);
    pthread_mutex_unlock(&lock);
    report.failure = failure.text;
    report.difference = difference.text;
    visit(&report, context);
}
