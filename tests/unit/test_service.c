/* Unit tests of src/service: the order of steps, sessions over real sockets with a small protocol, the supervisor. The directory, the
 * mail store and the queue are faked here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/service/crash_notes.h"
#include "../../src/service/intruders.h"
#include "../../src/service/login_gate.h"
#include "../../src/service/pool.h"
#include "../../src/service/supervisor_wire.h"
#include "fake_poa.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/changes.h"
#include "postern/config/config.h"
#include "postern/config/gateways.h"
#include "postern/config/links.h"
#include "postern/config/report.h"
#include "postern/config/rights.h"
#include "postern/directory/watch.h"
#include "postern/net/listener.h"
#include "postern/queue/queue.h"
#include "postern/service/service.h"
#include "postern/service/supervisor.h"
#include "postern/store/mailbox.h"
#include "run.h"

enum { DEADLINE_MS = 10000 };

/* Polls until the condition holds or the time is over. */
#define EVENTUALLY(condition) \
    do { \
        uint64_t until_ = clock_monotonic_ms() + DEADLINE_MS; \
        while (!(condition) && clock_monotonic_ms() < until_) \
            usleep(1000); \
        CU_ASSERT(condition); \
    } while (0)

/* --- fakes ------------------------------------------------------------------------------------------------------------------ */

static pthread_mutex_t fake_lock = PTHREAD_MUTEX_INITIALIZER;
static struct snapshot *newest;
static _Atomic bool directory_away;

struct snapshot *snapshot_ref(struct snapshot *snapshot)
{
    atomic_fetch_add(&snapshot->references, 1);
    return snapshot;
}

void snapshot_unref(struct snapshot **snapshot)
{
    struct snapshot *s = *snapshot;
    *snapshot = NULL;
    if (s != NULL && atomic_fetch_sub(&s->references, 1) == 1)
        mem_free(&s);
}

struct snapshot *snapshot_current(void)
{
    pthread_mutex_lock(&fake_lock);
    struct snapshot *s = newest ? snapshot_ref(newest) : NULL;
    pthread_mutex_unlock(&fake_lock);
    return s;
}

uint64_t snapshot_current_serial(void)
{
    pthread_mutex_lock(&fake_lock);
    uint64_t serial = newest ? newest->serial : 0;
    pthread_mutex_unlock(&fake_lock);
    return serial;
}

void config_directory_state(struct directory_watch_state *out)
{
    *out = (struct directory_watch_state){ .mode = WATCH_POLL };
}

const char *directory_watch_mode_word(enum directory_watch_mode mode)
{
    return mode == WATCH_POLL ? "poll" : "other";
}

struct link_rows *link_rows_new(const struct snapshot *snapshot)
{
    (void)snapshot;
    return MEM_NEW(struct link_rows);
}

void link_rows_free(struct link_rows **rows)
{
    mem_free(rows);
}

const char *access_mode_word(enum access_mode mode)
{
    (void)mode;
    return "direct";
}

int config_explain_user(struct slice name, struct rights_report **out, struct fault *fault)
{
    (void)name;
    (void)out;
    return fault_set(fault, FAULT_NOT_FOUND, 0, "no such user");
}

void rights_report_free(struct rights_report **report)
{
    (void)report;
}

const char *rights_level_word(enum rights_level level)
{
    (void)level;
    return "user";
}

static _Atomic unsigned reloads;

void config_refresh(void)
{
    atomic_fetch_add(&reloads, 1);
}

struct settings_report *settings_report_new(const struct snapshot *snapshot)
{
    (void)snapshot;
    return MEM_NEW(struct settings_report);
}

void settings_report_free(struct settings_report **report)
{
    mem_free(report);
}

const char *setting_source_word(enum setting_source source)
{
    (void)source;
    return "default";
}

/* So much that it fills a socket. */
static char big_reason[100000];
static const struct config_fault big_fault = { .dn = (char *)"cn=big", .reason = big_reason }, *big_fault_at = &big_fault;
static _Atomic bool with_big_fault;

struct snapshot_changes *snapshot_compare(const struct snapshot *before, const struct snapshot *after)
{
    (void)before;
    (void)after;
    struct snapshot_changes *changes = MEM_NEW(struct snapshot_changes);
    changes->faults = &big_fault_at;
    changes->fault_count = with_big_fault ? 1 : 0;
    return changes;
}

void snapshot_changes_free(struct snapshot_changes **changes)
{
    mem_free(changes);
}

const char *object_change_word(enum object_change_kind kind)
{
    (void)kind;
    return "changed";
}

static struct post_office office = { .dn = (char *)"cn=po", .name = (char *)"po", .uuid = "u-1", .path = (char *)"/po" };

const struct post_office *snapshot_domain(const struct snapshot *snapshot, struct slice domain)
{
    (void)snapshot;
    return slice_is_nocase(domain, "here.example") ? &office : NULL;
}

struct user *user_ref(struct user *user)
{
    atomic_fetch_add(&user->references, 1);
    return user;
}

void user_unref(struct user **user)
{
    struct user *u = *user;
    *user = NULL;
    if (u == NULL || atomic_fetch_sub(&u->references, 1) != 1)
        return;
    mem_free(&u->id);
    mem_free(&u->dn);
    mem_free(&u);
}

/* What becomes of the user "joe" when the directory is asked again; all others stay as they are. */
enum fate { FATE_SAME, FATE_GONE, FATE_DISABLED, FATE_DENIED, FATE_MOVED, FATE_HOMELESS, FATE_DAYS };
static _Atomic int fate;
static _Atomic uint64_t users_version;
static _Atomic unsigned refreshes;

bool config_user_is_current(const struct user *user)
{
    return user->built_ms == atomic_load(&users_version);
}

int config_refresh_user(const struct user *old, struct user **out, struct fault *fault)
{
    atomic_fetch_add(&refreshes, 1);
    uint64_t version = atomic_load(&users_version);
    if (strcmp(old->id, "joe-ill") == 0)
        return fault_set(fault, FAULT_UNREACHABLE, 0, "never");
    if (config_find_user(slice_from_string(old->id), out, fault) < 0)
        return -1;
    (*out)->built_ms = version;
    if (strcmp(old->id, "joe") != 0 && strcmp(old->uuid, "old") != 0)
        return 0;
    if (fate == FATE_GONE) {
        user_unref(out);
        return fault_set(fault, FAULT_NOT_FOUND, 0, "gone");
    }
    (*out)->disabled = fate == FATE_DISABLED;
    (*out)->pop3.allowed = fate != FATE_DENIED;
    (*out)->pop3.days = fate == FATE_DAYS ? 7 : 0;
    if (fate == FATE_MOVED)
        (*out)->mailbox_dir = (char *)"elsewhere";
    if (fate == FATE_HOMELESS)
        (*out)->post_office = NULL;
    return 0;
}

int config_find_user(struct slice name, struct user **out, struct fault *fault)
{
    if (atomic_load(&directory_away))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "away");
    if (!slice_starts_with(name, "joe") && !slice_starts_with(name, "off") && !slice_starts_with(name, "lost"))
        return fault_set(fault, FAULT_NOT_FOUND, 0, "nobody");
    struct user *u = MEM_NEW(struct user);
    u->references = 1;
    u->id = slice_to_string(name);
    u->dn = slice_to_string(name);
    if (slice_starts_with(name, "joe-twin-")) {
        u->dn[8] = '\0';
        snprintf(u->uuid, sizeof(u->uuid), "%s", u->id + 9);
    }
    u->mailbox_dir = (char *)"here";
    u->built_ms = atomic_load(&users_version);
    u->imap4_allowed = slice_is(name, "joe2") || slice_is(name, "joe3");
    u->imap4_connections = slice_is(name, "joe2") ? 2 : 0;
    u->post_office = slice_starts_with(name, "lost") ? NULL : &office;
    u->pop3.allowed = u->smtp_incoming_allowed = true;
    u->disabled = slice_starts_with(name, "off");
    *out = u;
    return 0;
}

static void wait_for_gate(void);

int config_verify_user(const struct user *user, struct slice password, struct fault *fault)
{
    (void)user;
    if (slice_starts_with(password, "slow"))
        wait_for_gate();
    return slice_ends_with(password, "good") ? 0 : fault_set(fault, FAULT_AUTHENTICATION, 0, "invalid credentials");
}

static _Atomic bool address_is_trusted;

bool agent_trusts_address(const struct agent_settings *agent, struct slice ip)
{
    (void)agent;
    return slice_is(ip, "127.0.0.1") && atomic_load(&address_is_trusted);
}

const char *agent_find_gateway(const struct agent_settings *agent, struct slice name)
{
    return slice_is(name, "gate") && agent->trusted_gateways.count > 0 ? "cn=gate" : NULL;
}

int config_verify_gateway(const char *dn, struct slice password, struct fault *fault)
{
    CU_ASSERT_STRING_EQUAL(dn, "cn=gate");
    if (slice_is(password, "away"))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "away");
    return slice_is(password, "open") ? 0 : fault_set(fault, FAULT_AUTHENTICATION, 0, "invalid credentials");
}

int config_find_keys(struct slice name, struct sasl_keys *out, char **dn_out, struct fault *fault)
{
    if (atomic_load(&directory_away))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "away");
    *out = (struct sasl_keys){ .iterations = 4096, .salt_len = 1 };
    *dn_out = slice_starts_with(name, "joe") ? slice_to_string(name) : NULL;
    return 0;
}

static _Atomic int remembered;

uint64_t config_remember_begin(void)
{
    return 5;
}

void config_remember(struct slice name, struct user *user, struct slice password, uint64_t begun)
{
    (void)name, (void)user, (void)password;
    CU_ASSERT_EQUAL(begun, 5);
    atomic_fetch_add(&remembered, 1);
}

/* "joe4 good" was a short time ago. */
int config_recall(struct slice name, struct slice password, struct user **out)
{
    if (!slice_is(name, "joe4"))
        return 0;
    struct user *u = MEM_NEW(struct user);
    u->references = 1;
    u->id = slice_to_string(name);
    u->dn = slice_to_string(name);
    u->mailbox_dir = (char *)"here";
    u->built_ms = atomic_load(&users_version);
    u->post_office = &office;
    u->pop3.allowed = true;
    *out = u;
    return slice_is(password, "good") ? 1 : -1;
}

void config_forget(struct slice name, struct slice password)
{
    (void)name, (void)password;
}

bool config_find_kept_user(struct slice name, struct user **out)
{
    (void)name;
    (void)out;
    return false;
}

struct directory_bind *config_verify_begin(const struct user *user, struct slice password)
{
    (void)user;
    (void)password;
    return NULL;
}

int config_verify_fd(const struct directory_bind *bind)
{
    (void)bind;
    return -1;
}

int config_verify_take(struct directory_bind **bind, struct fault *fault)
{
    (void)bind;
    return fault_set(fault, FAULT_UNREACHABLE, 0, "not faked");
}

void config_verify_drop(struct directory_bind **bind)
{
    *bind = NULL;
}

int store_watch_fd(void)
{
    return -1;
}

void store_watch_read(void)
{
}

void store_keep_idle(uint64_t milliseconds)
{
    (void)milliseconds;
}

size_t queue_length(void)
{
    return 0;
}

/* --- who may try a password ---------------------------------------------------------------------------------------------------- */

static struct login_ticket *gone[64];
static unsigned gone_count;

static void note_gone(struct login_ticket *ticket)
{
    gone[gone_count++] = ticket;
}

static void test_login_gate(void)
{
    struct login_gate *gate = login_gate_new(note_gone);
    struct login_ticket many[20], same[3], other = { .client = 2, .name = 900 };
    gone_count = 0;
    /* One client: half of the slots, in the order of coming. */
    unsigned at_once = 0;
    for (unsigned i = 0; i < 20; i++) {
        many[i] = (struct login_ticket){ .client = 1, .name = 100 + i };
        at_once += login_gate_enter(gate, &many[i]);
    }
    CU_ASSERT_EQUAL(at_once, LOGIN_GATE_SLOTS / 2);
    CU_ASSERT(login_gate_enter(gate, &other));
    login_gate_leave(gate, &many[3]);
    CU_ASSERT_EQUAL(gone_count, 1);
    CU_ASSERT_PTR_EQUAL(gone[0], &many[LOGIN_GATE_SLOTS / 2]);
    /* One name at a time; the other names of the client go past it. */
    for (unsigned i = 0; i < 3; i++) {
        same[i] = (struct login_ticket){ .client = 3, .name = 500 };
        CU_ASSERT_EQUAL(login_gate_enter(gate, &same[i]), i == 0);
    }
    struct login_ticket beside = { .client = 3, .name = 501 };
    CU_ASSERT(login_gate_enter(gate, &beside));
    login_gate_leave(gate, &beside);
    CU_ASSERT_EQUAL(gone_count, 1);
    login_gate_leave(gate, &same[0]);
    CU_ASSERT_EQUAL(gone_count, 2);
    CU_ASSERT_PTR_EQUAL(gone[1], &same[1]);
    /* All slots: clients take turns, however many of one wait. */
    struct login_ticket fill[LOGIN_GATE_SLOTS];
    unsigned filled = 0;
    for (unsigned i = 0; i < LOGIN_GATE_SLOTS; i++) {
        fill[i] = (struct login_ticket){ .client = 10 + i, .name = 700 + i };
        if (!login_gate_enter(gate, &fill[i]))
            break;
        filled++;
    }
    CU_ASSERT_EQUAL(filled, LOGIN_GATE_SLOTS - LOGIN_GATE_SLOTS / 2 - 2);
    struct login_ticket late = { .client = 40, .name = 800 };
    CU_ASSERT_FALSE(login_gate_enter(gate, &late));
    login_gate_leave(gate, &many[4]);
    login_gate_leave(gate, &many[5]);
    login_gate_leave(gate, &many[6]);
    bool late_went = false;
    for (unsigned i = 2; i < gone_count; i++)
        late_went = late_went || gone[i] == &late;
    CU_ASSERT_EQUAL(gone_count, 5);
    CU_ASSERT(late_went);
    login_gate_free(&gate);
}

/* --- the pool ----------------------------------------------------------------------------------------------------------------- */

struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool open;
    int now;
    int most;
    int ran;
    int done;
    int refused;
    int order[64];
    int again;        /* how often a job says STEP_AGAIN first */
};

struct job {
    struct pool_task task;
    struct gate *gate;
    int number;
    bool waits;
};

static enum step_result job_work(struct pool_task *task)
{
    struct job *job = LIST_ITEM(task, struct job, task);
    struct gate *g = job->gate;
    pthread_mutex_lock(&g->lock);
    if (g->again > 0) {
        g->again--;
        pthread_mutex_unlock(&g->lock);
        return STEP_AGAIN;
    }
    g->now++;
    if (g->now > g->most)
        g->most = g->now;
    g->order[g->ran++ % 64] = job->number;
    while (job->waits && !g->open)
        pthread_cond_wait(&g->moved, &g->lock);
    g->now--;
    pthread_mutex_unlock(&g->lock);
    return STEP_DONE;
}

static void job_done(struct pool_task *task, bool ran)
{
    struct job *job = LIST_ITEM(task, struct job, task);
    struct gate *g = job->gate;
    pthread_mutex_lock(&g->lock);
    g->done++;
    if (!ran)
        g->refused++;
    pthread_mutex_unlock(&g->lock);
}

static void gate_init(struct gate *g)
{
    memset(g, 0, sizeof(*g));
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->moved, NULL);
}

static int gate_get(struct gate *g, const int *value)
{
    pthread_mutex_lock(&g->lock);
    int v = *value;
    pthread_mutex_unlock(&g->lock);
    return v;
}

static void gate_open(struct gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void submit(struct pool *pool, struct job *job, struct gate *gate, int number, const void *serial, const void *fair,
                   bool waits)
{
    *job = (struct job){ .gate = gate, .number = number, .waits = waits };
    job->task.serial_key = serial;
    job->task.fair_key = fair;
    job->task.work = job_work;
    job->task.done = job_done;
    pool_submit(pool, &job->task);
}

static unsigned pool_busy(struct pool *pool)
{
    struct pool_status status;
    pool_get_status(pool, &status);
    return status.busy;
}

static void test_serial_keys(void)
{
    struct gate g, other;
    struct job jobs[10], free_job;
    gate_init(&g);
    gate_init(&other);
    struct pool *pool = pool_new("test", 4);
    for (int i = 0; i < 10; i++)
        submit(pool, &jobs[i], &g, i, "mailbox", NULL, i == 0);
    submit(pool, &free_job, &other, 0, "another", NULL, false);
    EVENTUALLY(gate_get(&other, &other.ran) == 1);   /* does not wait for the first mailbox */
    CU_ASSERT_EQUAL(gate_get(&g, &g.ran), 1);
    gate_open(&g);
    EVENTUALLY(gate_get(&g, &g.ran) == 10);
    CU_ASSERT_EQUAL(g.most, 1);
    for (int i = 0; i < 10; i++)
        CU_ASSERT_EQUAL(g.order[i], i);
    pool_free(&pool);
}

/* Four steps of one key at once, if this machine starts them before the first of them is slow. */
static int run_four(struct pool *pool, const void *fair)
{
    struct gate g;
    struct job jobs[4];
    gate_init(&g);
    for (int i = 0; i < 4; i++)
        submit(pool, &jobs[i], &g, i, NULL, fair, true);
    for (int i = 0; i < 100 && gate_get(&g, &g.now) < 4; i++)
        usleep(1000);
    gate_open(&g);
    EVENTUALLY(gate_get(&g, &g.done) == 4);
    return g.most;
}

/* While all goes quickly one fair key has all threads but one. */
static void test_fair_keys(void)
{
    static const char one[] = "one";
    struct pool *pool = pool_new("test", 5);
    int most = 0;
    for (int i = 0; i < 100 && most < 4; i++)
        most = run_four(pool, one);
    CU_ASSERT_EQUAL(most, 4);
    pool_free(&pool);
}

static unsigned pool_threads(struct pool *pool)
{
    struct pool_status status;
    pool_watch(pool, 60000);
    pool_get_status(pool, &status);
    return status.idle + status.busy;
}

/* One that is slow has half of them, rounded up; what it has beyond that the others get in threads of their own. */
static void test_slow_fair_key(void)
{
    struct gate g, other;
    struct job jobs[10], others[3];
    static const char one[] = "one", two[] = "two";
    gate_init(&g);
    gate_init(&other);
    struct pool *pool = pool_new("test", 5);
    for (int i = 0; i < 10; i++)
        submit(pool, &jobs[i], &g, i, NULL, one, true);
    EVENTUALLY(gate_get(&g, &g.now) >= 3);
    submit(pool, &others[0], &other, 0, NULL, two, false);
    EVENTUALLY(gate_get(&other, &other.ran) == 1);
    EVENTUALLY(pool_threads(pool) == 2 + (unsigned)gate_get(&g, &g.now));
    CU_ASSERT(g.most <= 4);
    submit(pool, &others[1], &other, 1, NULL, two, true);
    submit(pool, &others[2], &other, 2, NULL, two, true);
    EVENTUALLY(pool_threads(pool) >= 5 && gate_get(&other, &other.now) == 2);
    gate_open(&other);
    gate_open(&g);
    EVENTUALLY(gate_get(&g, &g.ran) == 10);
    EVENTUALLY(pool_threads(pool) == 5);
    CU_ASSERT(g.most <= 4);
    pool_free(&pool);
}

static void test_fewest_go_first(void)
{
    struct gate g, other;
    struct job blocker, at_work, at_work_too, more, quick;
    static const char a[] = "a", b[] = "b", x[] = "x", y[] = "y";
    gate_init(&g);
    gate_init(&other);
    struct pool *pool = pool_new("test", 3);
    submit(pool, &blocker, &other, 0, NULL, x, true);
    submit(pool, &at_work, &g, 0, NULL, a, true);
    submit(pool, &at_work_too, &g, 0, NULL, y, true);
    EVENTUALLY(pool_busy(pool) == 3);
    submit(pool, &more, &g, 1, NULL, a, true);       /* would hold the thread that becomes free */
    submit(pool, &quick, &other, 1, NULL, b, false);
    gate_open(&other);
    EVENTUALLY(gate_get(&other, &other.ran) == 2);
    gate_open(&g);
    EVENTUALLY(gate_get(&g, &g.ran) == 3);
    pool_free(&pool);
}

static void test_again(void)
{
    struct gate g;
    struct job jobs[2];
    gate_init(&g);
    g.again = 3;
    struct pool *pool = pool_new("test", 1);
    submit(pool, &jobs[0], &g, 0, "mailbox", NULL, false);
    submit(pool, &jobs[1], &g, 1, "mailbox", NULL, false);
    EVENTUALLY(gate_get(&g, &g.ran) == 2);
    CU_ASSERT_EQUAL(g.order[0], 0);
    CU_ASSERT_EQUAL(g.refused, 0);
    CU_ASSERT_EQUAL(jobs[0].task.tries, 3);
    /* While one waits to be tried again, the only thread serves others. */
    struct gate busy, other;
    struct job again, quick;
    gate_init(&busy);
    gate_init(&other);
    busy.again = 1000000;
    submit(pool, &again, &busy, 0, NULL, NULL, false);
    submit(pool, &quick, &other, 0, NULL, NULL, false);
    EVENTUALLY(gate_get(&other, &other.ran) == 1);
    pool_free(&pool);
    CU_ASSERT_EQUAL(busy.refused, 1);
    CU_ASSERT_EQUAL(busy.ran, 0);
}

static void count_stalled(const char *label, void *context)
{
    (void)label;
    ++*(int *)context;
}

static int stalled(struct pool *pool)
{
    int count = 0;
    pool_for_each_stalled(pool, count_stalled, &count);
    return count;
}

static void test_stall(void)
{
    struct gate g, other;
    struct job stuck, queued, late, free_job, after;
    static const char one[] = "one", two[] = "two";
    gate_init(&g);
    gate_init(&other);
    struct pool *pool = pool_new("test", 1);
    submit(pool, &stuck, &g, 0, "mailbox", one, true);
    submit(pool, &queued, &other, 1, "mailbox", one, false);
    EVENTUALLY(pool_busy(pool) == 1);
    pool_watch(pool, 60000);
    CU_ASSERT_EQUAL(stalled(pool), 0);
    pool_watch(pool, 0);
    CU_ASSERT_EQUAL(stalled(pool), 1);
    CU_ASSERT_EQUAL(gate_get(&other, &other.refused), 1);
    submit(pool, &late, &other, 2, NULL, one, false);
    CU_ASSERT_EQUAL(gate_get(&other, &other.refused), 2);
    submit(pool, &free_job, &other, 3, NULL, two, false);   /* by the replacement of the only thread */
    EVENTUALLY(gate_get(&other, &other.ran) == 1);
    gate_open(&g);
    EVENTUALLY(stalled(pool) == 0);
    submit(pool, &after, &other, 4, "mailbox", one, false);
    EVENTUALLY(gate_get(&other, &other.ran) == 2);
    struct pool_status status;
    EVENTUALLY((pool_get_status(pool, &status), status.idle + status.busy == 1));
    pool_free(&pool);
}

static void test_resize(void)
{
    struct gate g;
    struct job jobs[8];
    gate_init(&g);
    struct pool *pool = pool_new("test", 2);
    for (int i = 0; i < 8; i++)
        submit(pool, &jobs[i], &g, i, NULL, NULL, true);
    EVENTUALLY(gate_get(&g, &g.now) == 2);
    pool_resize(pool, 5);
    EVENTUALLY(gate_get(&g, &g.now) == 5);
    pool_resize(pool, 1);
    gate_open(&g);
    EVENTUALLY(gate_get(&g, &g.ran) == 8);
    struct pool_status status;
    EVENTUALLY((pool_get_status(pool, &status), status.idle + status.busy == 1));
    CU_ASSERT_EQUAL(gate_get(&g, &g.most), 5);
    pool_free(&pool);
}

/* --- sessions ------------------------------------------------------------------------------------------------------------------- */

/* A line protocol: "login NAME PASSWORD", "resolve ADDRESS", "step", "big N", "stuck", "quit"; anything else is echoed. */
struct echo {
    struct buf doing;
    uint64_t left;
};

static struct gate stuck_gate;
static _Atomic int echoes;

static void echo_init(struct session *s)
{
    s->state = MEM_NEW(struct echo);
    s->idle_seconds = 60;
    atomic_fetch_add(&echoes, 1);
    buf_append_text(&s->out, s->tls ? "hello tls\r\n" : "hello\r\n");
}

static enum step_result echo_step(struct session *s)
{
    buf_append_text(&s->out, "from a thread\r\n");
    return STEP_DONE;
}

static void wait_for_gate(void)
{
    pthread_mutex_lock(&stuck_gate.lock);
    stuck_gate.now++;
    while (!stuck_gate.open)
        pthread_cond_wait(&stuck_gate.moved, &stuck_gate.lock);
    pthread_mutex_unlock(&stuck_gate.lock);
}

static enum step_result echo_stuck(struct session *s)
{
    (void)s;
    wait_for_gate();
    return STEP_DONE;
}

/* "USER GATEWAY PASSWORD" */
static void echo_gateway(struct session *s, struct slice rest)
{
    struct slice user;
    char secret[64] = "";
    CU_ASSERT_FATAL(slice_split(&rest, ' ', &user) && rest.len < sizeof(secret));
    memcpy(secret, rest.data, rest.len);
    char *blank = strchr(secret, ' ');
    if (blank != NULL)
        *blank = '\0';
    session_authenticate(s, PROOF_GATEWAY, user, slice_make(secret, rest.len));
}

static void echo_line(struct session *s, struct slice line)
{
    struct echo *e = s->state;
    struct slice word, rest = line;
    slice_split(&rest, ' ', &word);
    buf_clear(&e->doing);
    buf_append(&e->doing, word);
    if (slice_is(word, "login")) {
        struct slice name;
        slice_split(&rest, ' ', &name);
        session_login(s, name, rest);
    } else if (slice_is(word, "keys"))
        session_authenticate(s, PROOF_KEYS, rest, SLICE_NONE);
    else if (slice_is(word, "shown"))
        session_authenticate(s, PROOF_SHOWN, rest, SLICE_NONE);
    else if (slice_is(word, "wrong"))
        session_authenticate(s, PROOF_WRONG, rest, SLICE_NONE);
    else if (slice_is(word, "certificate"))
        session_authenticate(s, PROOF_CERTIFICATE, rest, SLICE_NONE);
    else if (slice_is(word, "gateway"))
        echo_gateway(s, rest);
    else if (slice_is(word, "claim"))
        session_claim_peer(s, rest, 99);
    else if (slice_is(word, "who"))
        buf_printf(&s->out, "%s %s\r\n", s->peer, s->sasl.acting ? "acting" : "-");
    else if (slice_is(word, "resolve"))
        session_resolve(s, rest);
    else if (slice_is(word, "step"))
        session_step(s, echo_step);
    else if (slice_is(word, "stuck"))
        session_step(s, echo_stuck);
    else if (slice_is(word, "big"))
        slice_to_number(rest, 1u << 30, &e->left);
    else if (slice_is(word, "twice"))
        session_step(s, echo_stuck);
    else if (slice_is(word, "days"))
        buf_printf(&s->out, "%u\r\n", (unsigned)s->user->pop3.days);
    else if (slice_is(word, "quit")) {
        buf_append_text(&s->out, "bye\r\n");
        session_close(s, CLOSE_LOGOUT);
    } else
        buf_printf(&s->out, "%.*s\r\n", SLICE_ARG(line));
}

static void echo_result(struct session *s)
{
    static const char *const words[] = {
        [ACTION_OK] = "ok", [ACTION_REFUSED] = "refused", [ACTION_REMOTE] = "remote", [ACTION_UNAVAILABLE] = "unavailable",
    };
    struct echo *e = s->state;
    if (slice_is(buf_slice(&e->doing), "twice")) {
        buf_clear(&e->doing);
        buf_append_text(&e->doing, "second");
        session_step(s, echo_step);
        return;
    }
    if (slice_is(buf_slice(&e->doing), "keys"))
        CU_ASSERT_EQUAL(s->keys != NULL && s->keys->iterations == 4096, s->result == ACTION_OK);
    buf_printf(&s->out, "%.*s %s\r\n", SLICE_ARG(buf_slice(&e->doing)), words[s->result]);
    user_unref(&s->recipient);
}

/* With a POA: bytes go to and fro. */
static void echo_relay(struct session *s)
{
    struct remote *remote = s->remote;
    if (!remote->out_full) {
        buf_append(&remote->out, buf_slice(&s->in));
        buf_clear(&s->in);
    }
    if (!s->out_full) {
        buf_append(&s->out, buf_slice(&remote->in));
        buf_clear(&remote->in);
    }
    if (remote->end_wanted)
        session_close(s, remote->end_reason);
    else if (remote->eof) {
        buf_append_text(&s->out, "lost\r\n");
        session_drop_remote(s);
    } else if (s->eof)
        session_close(s, CLOSE_CLIENT);
}

static void echo_run(struct session *s)
{
    struct echo *e = s->state;
    if (s->result != ACTION_NONE)
        echo_result(s);
    if (s->remote != NULL) {
        echo_relay(s);
        return;
    }
    while (e->left > 0 && !s->out_full && session_out_has_room(s)) {
        buf_append_text(&s->out, "0123456789abcde\n");
        e->left--;
    }
    ptrdiff_t end;
    while (e->left == 0 && !s->busy && !s->closing && (end = slice_find(buf_slice(&s->in), '\n')) >= 0) {
        struct slice line = slice_trim(slice_part(buf_slice(&s->in), 0, (size_t)end));
        char copy[512];
        CU_ASSERT_FATAL(line.len < sizeof(copy));
        if (line.len > 0)
            memcpy(copy, line.data, line.len);
        size_t len = line.len;
        buf_consume(&s->in, (size_t)end + 1);
        echo_line(s, slice_make(copy, len));
        if (e->left > 0)
            session_wake(s);
    }
}

static struct slice echo_farewell(const struct session *s, enum close_reason reason)
{
    (void)s;
    switch (reason) {
    case CLOSE_SHUTDOWN: return SLICE_LITERAL("shutdown\r\n");
    case CLOSE_SERVICE_DISABLED: return SLICE_LITERAL("disabled\r\n");
    case CLOSE_STALLED: return SLICE_LITERAL("stalled\r\n");
    case CLOSE_ACCESS_REVOKED: return SLICE_LITERAL("revoked\r\n");
    case CLOSE_MAILBOX_MOVED: return SLICE_LITERAL("moved\r\n");
    case CLOSE_TOO_MANY_CONNECTIONS: return SLICE_LITERAL("too many\r\n");
    case CLOSE_LOGIN_TIMEOUT: return SLICE_LITERAL("no login\r\n");
    default: return SLICE_NONE;
    }
}

static void echo_fini(struct session *s)
{
    struct echo *e = s->state;
    if (e == NULL)
        return;
    buf_fini(&e->doing);
    mem_free(&e);
    s->state = NULL;
    atomic_fetch_sub(&echoes, 1);
}

static const struct protocol echo_pop3 = {
    .service = SERVICE_POP3, .init = echo_init, .run = echo_run, .farewell = echo_farewell, .fini = echo_fini,
};
static const struct protocol echo_imap = {
    .service = SERVICE_IMAP4, .init = echo_init, .run = echo_run, .farewell = echo_farewell, .fini = echo_fini, .uses_remote = true,
};

static const struct protocol echo_smtp = {
    .service = SERVICE_SMTP, .init = echo_init, .run = echo_run, .farewell = echo_farewell, .fini = echo_fini,
};

struct site {
    struct service_options options;
    uint16_t smtp_port;
    struct gateway *gateway;
    pthread_t thread;
    uint16_t pop3_port;
    uint16_t imap_port;
    uint64_t serial;
    char dir[64];
    char control[96];
};

static int claims[16];
static size_t claim_count;

static void release_ports(void)
{
    while (claim_count > 0)
        close(claims[--claim_count]);
}

/* A name of an abstract Unix socket has one owner, until that ends (unix(7)): no test that runs beside this one takes the port while nobody listens.
   The end-to-end tests do the same. Nor does the kernel give it to a client: it lies outside that range. */
static bool claim_port(uint16_t port)
{
    struct sockaddr_un name = { .sun_family = AF_UNIX };
    int length = snprintf(name.sun_path + 1, sizeof(name.sun_path) - 1, "postern-test-port-%d", port);
    int claim = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(claim, (struct sockaddr *)&name, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length)) != 0) {
        close(claim);
        return false;
    }
    struct endpoint a;
    struct fault fault;
    endpoint_parse(SLICE_LITERAL("127.0.0.1"), port, &a);
    int fd = listener_bind(&a, &fault);
    close(fd >= 0 ? fd : claim);
    if (fd >= 0)
        claims[claim_count++] = claim;
    return fd >= 0;
}

static uint16_t free_port(void)
{
    static uint32_t next;
    if (next == 0)
        next = (uint32_t)getpid() * 61;
    uint16_t port;
    if (claim_count == sizeof(claims) / sizeof(claims[0]))
        release_ports();
    do
        port = (uint16_t)(11000 + next++ % 21000);
    while (!claim_port(port));
    return port;
}

static char *loopback_only[] = { (char *)"127.0.0.1" };

static bool serves_one_office;
static const struct post_office the_office = { .uuid = "po" };
static const struct post_office *the_offices[] = { &the_office };

/* change may be NULL: edits the next snapshot before it is published. */
static void publish(struct site *site, void (*change)(struct agent_settings *a))
{
    struct snapshot *s = MEM_NEW(struct snapshot);
    s->serial = ++site->serial;
    s->is_post_office_agent = serves_one_office;
    s->post_offices = the_offices;
    s->post_office_count = serves_one_office;
    s->references = 1;
    s->agent = (struct agent_settings){
        .pop3_enabled = true, .pop3_threads = 2, .pop3_port = site->pop3_port,
        .smtp_enabled = true, .smtp_receive_threads = 2, .smtp_port = site->smtp_port,
        .imap4_enabled = true, .imap4_threads = 2, .imap4_port = site->imap_port,
        .clear_text_login = CLEAR_TEXT_ALWAYS, .login_failure_milliseconds = 150, .login_seconds = 60, .stall_seconds = 1,
        .log_level = LOG_ERROR, .bind_addresses = { loopback_only, 1 },
    };
    if (change != NULL)
        change(&s->agent);
    pthread_mutex_lock(&fake_lock);
    struct snapshot *old = newest;
    newest = s;
    pthread_mutex_unlock(&fake_lock);
    snapshot_unref(&old);
    service_changed(site->gateway);
}

static void *site_main(void *arg)
{
    service_run(arg);
    return NULL;
}

static unsigned descriptors;   /* of the next site; 0: as usual */

static void site_start(struct site *site, void (*change)(struct agent_settings *a))
{
    const char *tmp = getenv("TMPDIR");
    memset(site, 0, sizeof(*site));
    snprintf(site->dir, sizeof(site->dir), "%s/postern-XXXXXX", tmp && strlen(tmp) < 40 ? tmp : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(site->dir));
    snprintf(site->control, sizeof(site->control), "%s/control", site->dir);
    log_set_level(LOG_ERROR);
    gate_init(&stuck_gate);
    site->pop3_port = free_port();
    site->imap_port = free_port();
    site->smtp_port = free_port();
    site->options = (struct service_options){
        .protocols = { [SERVICE_POP3] = &echo_pop3, [SERVICE_IMAP4] = &echo_imap, [SERVICE_SMTP] = &echo_smtp },
        .tls_dir = site->dir, .control_path = site->control, .supervisor_fd = -1, .loops = 2, .descriptors = descriptors,
    };
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(service_new(&site->options, &site->gateway, &fault), 0);
    publish(site, change);
    pthread_create(&site->thread, NULL, site_main, site->gateway);
}

static void site_stop(struct site *site)
{
    gate_open(&stuck_gate);
    service_stop(site->gateway);
    pthread_join(site->thread, NULL);
    service_free(&site->gateway);
    snapshot_unref(&newest);
    CU_ASSERT_EQUAL(atomic_load(&echoes), 0);
    CU_ASSERT_EQUAL(rmdir(site->dir), 0);
    release_ports();
}

static int try_connect(uint16_t port)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0)
        return fd;
    close(fd);
    return -1;
}

static int open_session(uint16_t port)
{
    int fd = -1;
    EVENTUALLY(fd >= 0 || (fd = try_connect(port)) >= 0);
    return fd;
}

/* Reads one line, without CRLF, into line (256 bytes); "" at the end. */
static const char *get_line(int fd, char *line)
{
    size_t len = 0;
    while (len < 255 && recv(fd, line + len, 1, 0) == 1 && line[len] != '\n')
        len++;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    line[len] = '\0';
    return line;
}

static void say(int fd, const char *text)
{
    CU_ASSERT_EQUAL(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

#define EXPECT(fd, text) CU_ASSERT_STRING_EQUAL(get_line((fd), (char[256]){ 0 }), (text))

static void test_session(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    say(fd, "a\r\nb\r\nstep\r\nc\r\n");
    EXPECT(fd, "a");
    EXPECT(fd, "b");
    EXPECT(fd, "from a thread");
    EXPECT(fd, "step ok");
    EXPECT(fd, "c");
    say(fd, "quit\r\nnever\r\n");
    EXPECT(fd, "bye");
    EXPECT(fd, "");
    close(fd);
    EVENTUALLY(atomic_load(&echoes) == 0);
    site_stop(&site);
}

static int log_in_at(uint16_t port, const char *name)
{
    char line[64];
    int fd = open_session(port);
    EXPECT(fd, "hello");
    snprintf(line, sizeof(line), "login %s good\r\n", name);
    say(fd, line);
    return fd;
}

static int log_in_as(struct site *site, const char *name)
{
    int fd = log_in_at(site->pop3_port, name);
    EXPECT(fd, "login ok");
    return fd;
}

/* So many IMAP4 connections of one user, and as many more of others and of other services as there may be. */
static void test_user_connections(void)
{
    struct site site;
    int fds[4], most = 0;
    site_start(&site, NULL);
    for (int i = 0; i < 4; i++) {
        fds[i] = log_in_at(i < 3 ? site.imap_port : site.pop3_port, i < 2 || i == 3 ? "joe2" : "joe3");
        EXPECT(fds[i], "login ok");
    }
    int extra = log_in_at(site.imap_port, "joe2");
    EXPECT(extra, "too many");
    EXPECT(extra, "");
    close(extra);
    close(fds[0]);
    char line[256] = "";
    for (uint64_t until = clock_monotonic_ms() + DEADLINE_MS; most == 0 && clock_monotonic_ms() < until; close(extra)) {
        extra = log_in_at(site.imap_port, "joe2");
        most = strcmp(get_line(extra, line), "login ok") == 0;
    }
    CU_ASSERT(most);   /* the place is free again */
    for (int i = 1; i < 4; i++)
        close(fds[i]);
    site_stop(&site);
}

static void change_users(struct site *site, enum fate what)
{
    fate = what;
    users_version++;
    service_users_changed(site->gateway);
}

/* The session ends with the words of its protocol; nobody else's does. */
static void test_revocation(void)
{
    static const struct { enum fate fate; const char *words; } rows[] = {
        { FATE_GONE, "revoked" }, { FATE_DISABLED, "revoked" }, { FATE_DENIED, "revoked" }, { FATE_MOVED, "moved" }, { FATE_HOMELESS, "moved" },
    };
    struct site site;
    unsigned in_time = 0;   /* a machine may be busy for a moment */
    site_start(&site, NULL);
    int other = log_in_as(&site, "joe2");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fate = FATE_SAME;
        int fd = log_in_as(&site, "joe");
        uint64_t begin = clock_monotonic_ms();
        change_users(&site, rows[i].fate);
        EXPECT(fd, rows[i].words);
        EXPECT(fd, "");
        in_time += clock_monotonic_ms() - begin < 1000;
        close(fd);
    }
    CU_ASSERT(in_time > sizeof(rows) / sizeof(rows[0]) / 2);
    say(other, "still\r\n");
    EXPECT(other, "still");
    close(other);
    fate = FATE_SAME;
    site_stop(&site);
}

/* Deleted, and another user made with the same DN: sessions of the first one are not the second one's. */
static void test_revocation_same_dn(void)
{
    struct site site;
    site_start(&site, NULL);
    int fds[4];
    for (int i = 0; i < 4; i++)   /* two of each, so that one of each shares a loop with one of the other */
        fds[i] = log_in_as(&site, i < 2 ? "joe-twin-new" : "joe-twin-old");
    change_users(&site, FATE_GONE);
    for (int i = 2; i < 4; i++)
        EXPECT(fds[i], "revoked");
    for (int i = 0; i < 2; i++) {
        say(fds[i], "still\r\n");
        EXPECT(fds[i], "still");
    }
    for (int i = 0; i < 4; i++)
        close(fds[i]);
    fate = FATE_SAME;
    site_stop(&site);
}

/* New limits count from the next command on; a step under way has the old ones to its end. */
static void test_new_limits(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = log_in_as(&site, "joe"), busy = log_in_as(&site, "joe"), late = log_in_as(&site, "joe");
    char line[256];
    say(busy, "stuck\r\ndays\r\n");
    EVENTUALLY(gate_get(&stuck_gate, &stuck_gate.now) == 1);
    change_users(&site, FATE_DAYS);
    EVENTUALLY((say(fd, "days\r\n"), strcmp(get_line(fd, line), "7") == 0));
    gate_open(&stuck_gate);
    EXPECT(busy, "stuck ok");
    get_line(busy, line);   /* the other loop may not have asked yet */
    EVENTUALLY((say(busy, "days\r\n"), strcmp(get_line(busy, line), "7") == 0));
    /* A right that goes while a step is under way ends the session after its answer. */
    gate_init(&stuck_gate);
    say(busy, "stuck\r\nnever\r\n");
    EVENTUALLY(gate_get(&stuck_gate, &stuck_gate.now) == 1);
    unsigned before = refreshes;
    change_users(&site, FATE_GONE);
    EXPECT(fd, "revoked");
    EXPECT(late, "revoked");
    CU_ASSERT(refreshes - before <= 2);   /* once, or once for each loop */
    gate_open(&stuck_gate);
    EXPECT(busy, "stuck ok");
    get_line(busy, line);
    if (strcmp(line, "never") == 0)   /* what was read together with the answer */
        get_line(busy, line);
    CU_ASSERT_STRING_EQUAL(line, "revoked");
    close(fd);
    close(busy);
    close(late);
    fate = FATE_SAME;
    site_stop(&site);
}

/* An unreachable directory takes nothing away; what it says when it is back counts, although nobody tells of a change. */
static void test_revocation_away(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = log_in_as(&site, "joe");
    directory_away = true;
    unsigned before = refreshes;
    change_users(&site, FATE_GONE);
    EVENTUALLY(refreshes > before + 1);   /* asked again, and again */
    say(fd, "still\r\n");
    EXPECT(fd, "still");
    directory_away = false;
    EXPECT(fd, "revoked");
    close(fd);
    fate = FATE_SAME;
    site_stop(&site);
}

/* What takes several steps, as storing a message for several recipients does, is finished and answered by SMTP; POP3 ends after the step. */
static void test_revocation_between_steps(void)
{
    struct site site;
    site_start(&site, NULL);
    int smtp = log_in_at(site.smtp_port, "joe"), pop3 = log_in_as(&site, "joe");
    EXPECT(smtp, "login ok");
    say(smtp, "twice\r\n");
    say(pop3, "twice\r\n");
    EVENTUALLY(gate_get(&stuck_gate, &stuck_gate.now) == 2);
    unsigned before = refreshes;
    /* Connections go to the loops in turn: each of the two has heard of it when these have. */
    int idle = log_in_as(&site, "joe"), idle_too = log_in_as(&site, "joe");
    change_users(&site, FATE_GONE);
    EVENTUALLY(refreshes > before);
    EXPECT(idle, "revoked");
    EXPECT(idle_too, "revoked");
    gate_open(&stuck_gate);
    EXPECT(smtp, "from a thread");
    EXPECT(smtp, "second ok");
    EXPECT(smtp, "revoked");
    char line[256];
    while (strcmp(get_line(pop3, line), "revoked") != 0 && line[0] != '\0')
        CU_ASSERT_STRING_NOT_EQUAL(line, "second ok");
    CU_ASSERT_STRING_EQUAL(line, "revoked");
    close(smtp);
    close(pop3);
    close(idle);
    close(idle_too);
    fate = FATE_SAME;
    site_stop(&site);
}

/* How long it takes those who stand behind a user of whom nothing can be learned. */
static uint64_t revocation_behind_one(void)
{
    enum { BETWEEN = 20 };
    int fds[BETWEEN];
    char name[16];
    struct site site;
    site_start(&site, NULL);
    int ill = log_in_as(&site, "joe-ill"), ill_too = log_in_as(&site, "joe-ill");
    for (int i = 0; i < BETWEEN; i++) {
        snprintf(name, sizeof(name), "joe%d", 1000 + i);
        fds[i] = log_in_as(&site, name);
    }
    int fd = log_in_as(&site, "joe"), fd_too = log_in_as(&site, "joe");
    uint64_t begin = clock_monotonic_ms();
    change_users(&site, FATE_GONE);
    EXPECT(fd, "revoked");
    EXPECT(fd_too, "revoked");
    uint64_t took = clock_monotonic_ms() - begin;
    say(ill, "still\r\n");
    EXPECT(ill, "still");
    for (int i = 0; i < BETWEEN; i++)
        close(fds[i]);
    close(ill);
    close(ill_too);
    close(fd);
    close(fd_too);
    fate = FATE_SAME;
    site_stop(&site);
    return took;
}

/* It holds up nobody: not each time, however busy the machine is. */
static void test_revocation_of_one(void)
{
    uint64_t took = 900;
    for (int i = 0; i < 5 && took >= 900; i++)
        took = revocation_behind_one();
    CU_ASSERT(took < 900);
}

/* Many sessions: one question for each user, all heard. */
static void test_revocation_many(void)
{
    enum { EACH = 150 };
    int fds[EACH], others[EACH];
    char name[16];
    struct site site;
    site_start(&site, NULL);
    for (int i = 0; i < EACH; i++) {
        fds[i] = log_in_as(&site, "joe");
        snprintf(name, sizeof(name), "joe%d", 1000 + i % 50);
        others[i] = log_in_as(&site, name);
    }
    unsigned before = refreshes;
    uint64_t begin = clock_monotonic_ms();
    change_users(&site, FATE_DENIED);
    for (int i = 0; i < EACH; i++)
        EXPECT(fds[i], "revoked");
    CU_ASSERT(clock_monotonic_ms() - begin < 10000);
    EVENTUALLY(refreshes - before >= 51);
    CU_ASSERT(refreshes - before <= 2 * 51);   /* once, or once for each loop */
    for (int i = 0; i < EACH; i++) {
        say(others[i], "still\r\n");
        EXPECT(others[i], "still");
        close(fds[i]);
        close(others[i]);
    }
    fate = FATE_SAME;
    site_stop(&site);
}

static void test_login(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    static const struct { const char *line, *answer; bool slow; } rows[] = {
        { "login joe bad\r\n", "login refused", true },     { "login nobody good\r\n", "login refused", true },
        { "login off good\r\n", "login refused", true },    { "login joe \r\n", "login refused", true },
        { "login lost good\r\n", "login unavailable", true }, { "login joe good\r\n", "login ok", false },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = clock_monotonic_ms();
        say(fd, rows[i].line);
        EXPECT(fd, rows[i].answer);
        uint64_t took = clock_monotonic_ms() - before;
        if (rows[i].slow)
            CU_ASSERT(took >= 140);
    }
    say(fd, "resolve x@elsewhere.example\r\nresolve joe@here.example\r\nresolve nobody@here.example\r\n");
    EXPECT(fd, "resolve remote");
    EXPECT(fd, "resolve ok");
    EXPECT(fd, "resolve refused");
    atomic_store(&directory_away, true);
    say(fd, "resolve joe@here.example\r\n");
    EXPECT(fd, "resolve unavailable");
    atomic_store(&directory_away, false);
    close(fd);
    int imap = open_session(site.imap_port);   /* class of service: POP3 only */
    EXPECT(imap, "hello");
    say(imap, "login joe good\r\n");
    EXPECT(imap, "login refused");
    close(imap);
    site_stop(&site);
}

/* Logins without a password: only who was shown keys of a user gets in, and only as that user. */
static void test_proofs(void)
{
    struct site site;
    site_start(&site, NULL);
    static const struct { const char *line, *answer; bool slow; } rows[] = {
        { "shown joe\r\n", "shown refused", true },       { "keys nobody\r\n", "keys ok", false },
        { "shown nobody\r\n", "shown refused", true },    { "keys joe\r\n", "keys ok", false },
        { "shown joe2\r\n", "shown refused", true },      { "keys joe\r\n", "keys ok", false },
        { "wrong joe\r\n", "wrong refused", true },       { "shown joe\r\n", "shown refused", true },
        { "certificate \r\n", "certificate refused", true }, { "certificate joe\r\n", "certificate refused", true },
        { "keys off\r\n", "keys ok", false },             { "shown off\r\n", "shown refused", true },
        { "keys joe\r\n", "keys ok", false },             { "shown joe\r\n", "shown ok", false },
    };
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = clock_monotonic_ms();
        say(fd, rows[i].line);
        EXPECT(fd, rows[i].answer);
        CU_ASSERT_EQUAL(clock_monotonic_ms() - before >= 140, rows[i].slow);
    }
    say(fd, "keys joe\r\n");   /* nobody logs in twice */
    EXPECT(fd, "");
    close(fd);
    site_stop(&site);
}

/* With the directory away, only a password that was right a short time ago opens. */
static void test_remembered(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    atomic_store(&remembered, 0);
    say(fd, "login joe bad\r\nlogin joe good\r\n");
    EXPECT(fd, "login refused");
    EXPECT(fd, "login ok");
    CU_ASSERT_EQUAL(atomic_load(&remembered), 1);
    close(fd);
    fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    atomic_store(&directory_away, true);
    say(fd, "keys joe\r\nlogin joe good\r\nlogin joe4 bad\r\nlogin joe4 good\r\n");
    EXPECT(fd, "keys unavailable");
    EXPECT(fd, "login unavailable");
    EXPECT(fd, "login unavailable");
    EXPECT(fd, "login ok");
    atomic_store(&directory_away, false);
    close(fd);
    site_stop(&site);
}

/* Who guesses the password of one name from many connections, against a directory that takes its time, holds up nobody else. */
static void test_guessers(void)
{
    struct site site;
    int guessers[20];
    site_start(&site, NULL);
    for (size_t i = 0; i < 20; i++) {
        guessers[i] = open_session(site.pop3_port);
        EXPECT(guessers[i], "hello");
        say(guessers[i], i % 2 ? "login joe slow\r\n" : "login JOE slow\r\n");
    }
    EVENTUALLY(gate_get(&stuck_gate, &stuck_gate.now) > 0);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    say(fd, "login joe2 good\r\n");
    EXPECT(fd, "login ok");
    CU_ASSERT_EQUAL(gate_get(&stuck_gate, &stuck_gate.now), 1);
    gate_open(&stuck_gate);
    for (size_t i = 0; i < 20; i++) {
        EXPECT(guessers[i], "login refused");
        close(guessers[i]);
    }
    close(fd);
    site_stop(&site);
}

static void test_big_answer(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    say(fd, "big 200000\r\nafter\r\n");   /* 3.2 MB to a client that begins to read late */
    usleep(50000);
    char bytes[4096];
    size_t got = 0;
    while (got < 3200000) {
        ssize_t n = recv(fd, bytes, sizeof(bytes) < 3200000 - got ? sizeof(bytes) : 3200000 - got, 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    CU_ASSERT_EQUAL(got, 3200000);
    EXPECT(fd, "after");
    close(fd);
    site_stop(&site);
}

static void pop3_off(struct agent_settings *a)
{
    a->pop3_enabled = false;
}

static void test_disable(void)
{
    struct site site;
    site_start(&site, NULL);
    int pop3 = open_session(site.pop3_port), imap = open_session(site.imap_port);
    EXPECT(pop3, "hello");
    EXPECT(imap, "hello");
    publish(&site, pop3_off);
    EXPECT(pop3, "disabled");
    EXPECT(pop3, "");
    int fd = 0;
    EVENTUALLY(fd < 0 || (close(fd), fd = try_connect(site.pop3_port)) < 0);
    say(imap, "still here\r\n");
    EXPECT(imap, "still here");
    publish(&site, NULL);
    close(pop3);
    pop3 = open_session(site.pop3_port);
    EXPECT(pop3, "hello");
    service_stop(site.gateway);
    EXPECT(pop3, "shutdown");
    EXPECT(imap, "shutdown");
    close(pop3);
    close(imap);
    site_stop(&site);
}

static void smtp_off(struct agent_settings *a)
{
    a->smtp_enabled = false;
}

/* A message that is being stored has all its recipients, whatever ends the session: sent again it would come twice to some. */
static void test_end_between_steps(void)
{
    for (int way = 0; way < 2; way++) {
        static const char *const words[] = { "disabled", "shutdown" };
        struct site site;
        site_start(&site, NULL);
        int busy = open_session(site.smtp_port), idle[2];
        EXPECT(busy, "hello");
        say(busy, "twice\r\n");
        EVENTUALLY(gate_get(&stuck_gate, &stuck_gate.now) == 1);
        for (int i = 0; i < 2; i++) {   /* on either loop */
            idle[i] = open_session(site.smtp_port);
            EXPECT(idle[i], "hello");
        }
        if (way == 0)
            publish(&site, smtp_off);
        else
            service_stop(site.gateway);
        for (int i = 0; i < 2; i++) {
            EXPECT(idle[i], words[way]);
            close(idle[i]);
        }
        gate_open(&stuck_gate);
        EXPECT(busy, "from a thread");
        EXPECT(busy, "second ok");
        EXPECT(busy, words[way]);
        close(busy);
        site_stop(&site);
    }
}

static void two_connections(struct agent_settings *a)
{
    a->pop3_max_connections = 2;
}

static void test_too_many(void)
{
    struct site site;
    site_start(&site, two_connections);
    int one = open_session(site.pop3_port), two = open_session(site.pop3_port);
    EXPECT(one, "hello");
    EXPECT(two, "hello");
    int three = open_session(site.pop3_port);
    EXPECT(three, "too many");
    EXPECT(three, "");
    close(three);
    close(one);
    int four = -1;
    char line[256] = "";
    EVENTUALLY(strcmp(line, "hello") == 0 || (close(four), four = try_connect(site.pop3_port)) < 0 ||
               strcmp(get_line(four, line), "hello") == 0);
    close(two);
    close(four);
    site_stop(&site);
}

/* Out of the way of the descriptors that the gateway counts: they are those of this process. */
static int set_aside(int fd)
{
    int high = fcntl(fd, F_DUPFD, 2000);
    CU_ASSERT_FATAL(high >= 0);
    close(fd);
    return high;
}

/* Those who only connect do not keep out those who log in, however many they are; nor do they end a session. */
static void test_strangers(void)
{
    enum { STRANGERS = 1500 };
    static int fds[STRANGERS];
    struct site site;
    char line[256], byte;
    descriptors = 400;
    site_start(&site, NULL);
    descriptors = 0;
    int known = set_aside(open_session(site.imap_port));
    EXPECT(known, "hello");
    say(known, "login joe2 good\r\n");
    EXPECT(known, "login ok");
    for (int i = 0; i < STRANGERS; i++) {
        fds[i] = set_aside(open_session(i % 2 ? site.imap_port : site.pop3_port));
        CU_ASSERT_STRING_EQUAL(get_line(fds[i], line), "hello");
    }
    CU_ASSERT(recv(fds[0], &byte, 1, 0) <= 0);   /* the oldest have made way */
    CU_ASSERT(recv(fds[STRANGERS - 1], &byte, 1, MSG_DONTWAIT) < 0 && errno == EAGAIN);
    say(known, "still\r\n");
    EXPECT(known, "still");
    int late = open_session(site.pop3_port);
    EXPECT(late, "hello");
    say(late, "login joe2 good\r\n");
    EXPECT(late, "login ok");
    close(late);
    close(known);
    for (int i = 0; i < STRANGERS; i++)
        close(fds[i]);
    site_stop(&site);
}

static int open_control(const struct site *site)
{
    int control = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un { sa_family_t family; char path[108]; } address = { .family = AF_UNIX };
    memcpy(address.path, site->control, strlen(site->control) + 1);
    CU_ASSERT_EQUAL_FATAL(connect(control, (struct sockaddr *)&address, sizeof(address)), 0);
    return control;
}

/* The answer's text, with its first word in *word. */
static struct buf ask_control(const struct site *site, const char *question, char word[8])
{
    int control = open_control(site);
    for (const char *at = question; *at != '\0'; at++) {
        char byte[2] = { *at, '\0' };
        say(control, byte);
    }
    char head[256];
    unsigned length = 0;
    CU_ASSERT_EQUAL_FATAL(sscanf(get_line(control, head), "%7s %u", word, &length), 2);
    struct buf answer = { .cap = 0 };
    char *room = buf_reserve(&answer, length + 1);
    ssize_t n = length > 0 ? recv(control, room, length, MSG_WAITALL) : 0;
    CU_ASSERT_EQUAL(n, (ssize_t)length);
    buf_extend(&answer, n > 0 ? (size_t)n : 0);
    close(control);
    return answer;
}

static bool control_says(const struct site *site, const char *question, const char *head, const char *words)
{
    char word[8];
    struct buf answer = ask_control(site, question, word);
    bool found = strcmp(word, head) == 0 && slice_find_text(buf_slice(&answer), slice_from_string(words)) >= 0;
    if (!found)
        fprintf(stderr, "%s says %s: %s\n", question, word, buf_text(&answer));
    buf_fini(&answer);
    return found;
}

static void test_stalled_session(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = open_session(site.pop3_port), other = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    EXPECT(other, "hello");
    say(other, "login joe2 good\r\n");
    EXPECT(other, "login ok");
    say(fd, "login joe good\r\nstuck\r\n");
    EXPECT(fd, "login ok");
    EXPECT(fd, "stalled");        /* after stall_seconds */
    EXPECT(fd, "");
    close(fd);
    say(other, "step\r\n");       /* of the same post office */
    EXPECT(other, "step unavailable");
    CU_ASSERT_EQUAL(atomic_load(&echoes), 2);   /* the step still has its session */
    CU_ASSERT(control_says(&site, "json locate joe\n", "ok", "\"directory\":\"/po/here\",\"reached\":\"does not answer\"}"));
    CU_ASSERT(control_says(&site, "json status\n", "ok", "\"stalled\":[\"po\"]"));
    gate_open(&stuck_gate);
    EVENTUALLY(atomic_load(&echoes) == 1);
    CU_ASSERT(control_says(&site, "json locate joe\n", "ok", "\"reached\":\"direct access\"}"));
    say(other, "step\r\n");
    EXPECT(other, "from a thread");
    close(other);
    site_stop(&site);
}

static void short_login(struct agent_settings *a)
{
    a->login_seconds = 1;
}

static void test_login_timeout(void)
{
    struct site site;
    site_start(&site, short_login);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    EXPECT(fd, "no login");
    EXPECT(fd, "");
    close(fd);
    site_stop(&site);
}

/* --- the supervisor ------------------------------------------------------------------------------------------------------------ */

struct shared {
    _Atomic int starts;
    _Atomic int bound;
    _Atomic int refused;
    _Atomic int stopped;
    _Atomic int crash;
    _Atomic int senseless;   /* once: an agent that cannot start */
    uint16_t port;
};

/* Asks for an allowed and a forbidden port, then crashes or waits to be stopped. */
static int fake_agent(int fd, void *context)
{
    struct shared *shared = context;
    if (atomic_fetch_add(&shared->starts, 1) > 0 && atomic_exchange(&shared->senseless, 0))
        return 2;
    struct supervisor_message message = { .word = WORD_SETTLED };
    supervisor_send(fd, &message, -1);
    message.word = WORD_BIND;
    endpoint_parse(SLICE_LITERAL("127.0.0.1"), shared->port, &message.address);
    supervisor_send(fd, &message, -1);
    endpoint_parse(SLICE_LITERAL("127.0.0.1"), 79, &message.address);
    supervisor_send(fd, &message, -1);
    for (;;) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        poll(&p, 1, -1);
        int got = -1;
        if (supervisor_receive(fd, &message, &got) < 0)
            return 1;
        if (message.word == WORD_STOP) {
            atomic_store(&shared->stopped, 1);
            return 0;
        }
        atomic_fetch_add(got >= 0 ? &shared->bound : &shared->refused, 1);
        if (got < 0 && message.error == EACCES && atomic_exchange(&shared->crash, 0))
            kill(getpid(), SIGKILL);
    }
}

static void test_supervisor(void)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(shared != MAP_FAILED);
    shared->port = free_port();
    shared->crash = 1;
    static const uint16_t allowed[] = { 25 };
    struct supervisor_options options = { .allowed_ports = allowed, .allowed_port_count = 1, .agent = fake_agent, .context = shared };
    pid_t pid = fork();
    if (pid == 0)
        _exit(supervisor_run(&options));
    EVENTUALLY(atomic_load(&shared->starts) == 2 && atomic_load(&shared->bound) == 2 && atomic_load(&shared->refused) == 2);
    /* The port was never closed in between: a connection waits in its backlog. */
    int fd = try_connect(shared->port);
    CU_ASSERT(fd >= 0);
    close(fd);
    kill(pid, SIGTERM);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    CU_ASSERT_EQUAL(atomic_load(&shared->stopped), 1);
    munmap(shared, sizeof(*shared));
}

/* What keeps an agent from starting may be over soon, such as a full disk, once another one has worked with the same options. */
static void test_supervisor_insists(void)
{
    struct shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(shared != MAP_FAILED);
    shared->port = free_port();
    shared->crash = shared->senseless = 1;
    static const uint16_t allowed[] = { 25 };
    struct supervisor_options options = { .allowed_ports = allowed, .allowed_port_count = 1, .agent = fake_agent, .context = shared };
    pid_t pid = fork();
    if (pid == 0)
        _exit(supervisor_run(&options));
    EVENTUALLY(atomic_load(&shared->starts) == 3 && atomic_load(&shared->bound) == 2);
    kill(pid, SIGTERM);
    int status = -1;
    CU_ASSERT_EQUAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    munmap(shared, sizeof(*shared));
}

static void test_crash_notes(void)
{
    struct crash_notes *notes = crash_notes_new();
    const uint64_t now = 1000000;
    crash_notes_end(notes, crash_notes_begin(notes, "innocent"));
    for (int crash = 0; crash < 2; crash++) {
        CU_ASSERT_FALSE(crash_notes_is_refused(notes, "joe", now));
        crash_notes_begin(notes, "joe");
        crash_notes_begin(notes, "joe");   /* two steps at once are one crash */
        crash_notes_agent_ended(notes, true, now);
    }
    CU_ASSERT(crash_notes_is_refused(notes, "joe", now));
    CU_ASSERT_FALSE(crash_notes_is_refused(notes, "joel", now));
    CU_ASSERT_FALSE(crash_notes_is_refused(notes, "innocent", now));
    CU_ASSERT_FALSE(crash_notes_is_refused(notes, "joe", now + CRASH_REFUSED_MS));
    /* An agent that was killed is nobody's fault; and what was forgotten counts from the beginning. */
    for (int crash = 0; crash < 3; crash++) {
        crash_notes_begin(notes, "ann");
        crash_notes_agent_ended(notes, false, now);
    }
    CU_ASSERT_FALSE(crash_notes_is_refused(notes, "ann", now));
    crash_notes_begin(notes, "joe");
    crash_notes_agent_ended(notes, true, now + CRASH_REFUSED_MS);
    CU_ASSERT_FALSE(crash_notes_is_refused(notes, "joe", now + CRASH_REFUSED_MS));
    crash_notes_free(&notes);
}

static void test_control(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    CU_ASSERT(control_says(&site, "status\n", "ok", "\n  sessions now                             1\n"));
    CU_ASSERT(control_says(&site, "json status\n", "ok", "\"service\":\"pop3\",\"enabled\":true,\"sessions_now\":1,\"threads\":2,"));
    CU_ASSERT(control_says(&site, "nonsense\n", "error", "unknown command"));
    CU_ASSERT(control_says(&site, "status more\n", "error", "unknown command"));
    CU_ASSERT(control_says(&site, "json sessions\n", "ok", "\"service\":\"pop3\",\"user\":null,\"peer\":\"127.0.0.1\""));
    CU_ASSERT(control_says(&site, "status\n", "ok", "\ndirectory\n  followed by                              poll\n"));
    CU_ASSERT(control_says(&site, "json reload\n", "ok", "{\"reloading\":true}"));
    CU_ASSERT_EQUAL(atomic_load(&reloads), 1);
    CU_ASSERT(control_says(&site, "kick id 99\n", "error", "no such session"));
    CU_ASSERT(control_says(&site, "kick id x\n", "error", "not the number"));
    CU_ASSERT(control_says(&site, "kick user nobody\n", "error", "no such session"));
    CU_ASSERT(control_says(&site, "json kick id 1\n", "ok", "{\"ended\":1}\n"));
    char line[256];
    while (get_line(fd, line)[0] != '\0')
        ;
    close(fd);
    /* One who goes in the middle of a question, and one whose question has no end. */
    int control = open_control(&site);
    say(control, "sta");
    close(control);
    control = open_control(&site);
    for (int i = 0; i < 90; i++)
        if (send(control, "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789", 100, MSG_NOSIGNAL) < 0)
            break;
    CU_ASSERT(recv(control, line, 1, 0) <= 0);
    close(control);
    site_stop(&site);
}

/* A second one with the same socket does not start, and the first one can be asked as before; a socket that nobody listens at is no obstacle. */
static void test_control_of_another(void)
{
    struct site site;
    struct gateway *second = NULL;
    struct fault fault;
    site_start(&site, NULL);
    CU_ASSERT_EQUAL(service_new(&site.options, &second, &fault), -1);
    CU_ASSERT_PTR_NULL(second);
    CU_ASSERT_PTR_NOT_NULL(strstr(fault.text, "another posternd answers there"));
    CU_ASSERT(control_says(&site, "status\n", "ok", "\ndirectory\n"));
    site_stop(&site);
    CU_ASSERT_NOT_EQUAL(access(site.control, F_OK), 0);
}

static void detect_intruders(struct agent_settings *a)
{
    a->intruder_detection = true;
    a->intruder_attempts = 3;
    a->intruder_reset_minutes = 15;
}

static void start_with_intruders(struct site *site)
{
    site_start(site, detect_intruders);
    site->options.intruders = intruders_new();
}

static void stop_with_intruders(struct site *site)
{
    site_stop(site);
    intruders_free(&site->options.intruders);
}

/* A name that is locked hears what others hear, and at the same time; it is never for a directory that is away. */
static void test_intruders(void)
{
    struct site site;
    start_with_intruders(&site);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    atomic_store(&directory_away, true);
    for (int i = 0; i < 3; i++) {
        say(fd, "login joe bad\r\n");
        EXPECT(fd, "login unavailable");
    }
    atomic_store(&directory_away, false);
    static const struct { const char *line, *answer; } rows[] = {
        { "login joe bad\r\n", "login refused" },  { "login JOE bad\r\n", "login refused" },    { "login joe \r\n", "login refused" },
        { "login joe bad\r\n", "login refused" },  { "login joe good\r\n", "login refused" },   { "login off good\r\n", "login refused" },
        { "login nobody x\r\n", "login refused" }, { "login nobody x\r\n", "login refused" },   { "login nobody x\r\n", "login refused" },
        { "login nobody x\r\n", "login refused" },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = clock_monotonic_ms();
        say(fd, rows[i].line);
        EXPECT(fd, rows[i].answer);
        CU_ASSERT(clock_monotonic_ms() - before >= 140);
    }
    CU_ASSERT(control_says(&site, "json status\n", "ok", "\"intruder\":2,"));
    CU_ASSERT(control_says(&site, "json lockouts\n", "ok", "\"name\":\"joe\",\"known\":true,\"failures\":3,"));
    CU_ASSERT(control_says(&site, "json lockouts\n", "ok", "\"name\":\"nobody\",\"known\":false,"));
    CU_ASSERT(control_says(&site, "json unlock Joe\n", "ok", "{\"unlocked\":\"Joe\"}"));
    CU_ASSERT(control_says(&site, "unlock Joe\n", "error", "nothing is noted"));
    say(fd, "login joe good\r\n");
    EXPECT(fd, "login ok");
    close(fd);
    stop_with_intruders(&site);
}

/* A remembered password cannot be guessed at without end, and a lock says no more than that the directory is away. */
static void test_guesses_at_remembered(void)
{
    struct site site;
    start_with_intruders(&site);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    atomic_store(&directory_away, true);
    for (int i = 0; i < 6; i++) {
        say(fd, i < 3 ? "login joe4 bad\r\n" : i < 5 ? "login joe4 good\r\n" : "login joe good\r\n");
        EXPECT(fd, "login unavailable");
    }
    CU_ASSERT(control_says(&site, "json lockouts\n", "ok", "\"name\":\"joe4\",\"known\":true,\"failures\":3,"));
    CU_ASSERT(control_says(&site, "json unlock JOE4\n", "ok", "{\"unlocked\":\"JOE4\"}"));
    say(fd, "login joe4 bad\r\n");
    EXPECT(fd, "login unavailable");
    say(fd, "login joe4 good\r\n");
    EXPECT(fd, "login ok");
    close(fd);
    atomic_store(&directory_away, false);
    stop_with_intruders(&site);
}

/* A right password does not count if the name was locked before its verdict came. */
static void test_intruders_at_a_time(void)
{
    struct site site;
    start_with_intruders(&site);
    int fd = open_session(site.pop3_port);
    EXPECT(fd, "hello");
    say(fd, "login joe slowgood\r\n");
    EVENTUALLY(gate_get(&stuck_gate, &stuck_gate.now) > 0);
    struct agent_settings rules = { .log_level = LOG_ERROR };
    detect_intruders(&rules);
    for (int i = 0; i < 3; i++)
        intruder_note_failure(site.options.intruders, &rules, SLICE_LITERAL("joe"), true, clock_monotonic_ms());
    gate_open(&stuck_gate);
    EXPECT(fd, "login refused");
    close(fd);
    stop_with_intruders(&site);
}

static uint16_t lmtp_port;
static bool with_addresses;

static void believe_gateways(struct agent_settings *a)
{
    static char *gateways[] = { (char *)"cn=gate" };
    detect_intruders(a);
    a->trusted_gateways = (struct text_list){ gateways, 1 };
    a->lmtp_port = lmtp_port;
    a->trusted_addresses.count = with_addresses;   /* agent_trusts_address is faked */
}

static bool answers(int fd, const char *line, const char *answer)
{
    char got[256];
    say(fd, line);
    get_line(fd, got);
    if (strcmp(got, answer) != 0)
        fprintf(stderr, "%s: %s\n", line, got);
    return strcmp(got, answer) == 0;
}

static int greeted(uint16_t port)
{
    int fd = open_session(port);
    EXPECT(fd, "hello");
    return fd;
}

/* Nobody acts for another who is not named as a gateway and knows its password; failures of a gateway lock no user. */
static void test_acting(void)
{
    static const struct { const char *line, *answer; } rows[] = {
        { "gateway joe other open\r\n", "gateway refused" },   { "gateway joe gate\r\n", "gateway refused" },     { "gateway nobody gate open\r\n", "gateway refused" },
        { "gateway off gate open\r\n", "gateway refused" },    { "gateway joe gate away\r\n", "gateway unavailable" },
        { "gateway lost gate open\r\n", "gateway refused" },   { "gateway joe gate good\r\n", "gateway refused" },  { "gateway joe other open\r\n", "gateway refused" },
        { "gateway joe gate open\r\n", "gateway refused" },    /* three wrong ones came from here */
    };
    struct site site;
    serves_one_office = true;
    start_with_intruders(&site);
    int fd = greeted(site.pop3_port);
    CU_ASSERT(answers(fd, "who\r\n", "127.0.0.1 -"));
    CU_ASSERT(answers(fd, "gateway joe gate open\r\n", "gateway refused"));
    CU_ASSERT(control_says(&site, "json lockouts\n", "ok", "[]"));
    CU_ASSERT(control_says(&site, "json unlock gateway from 127.0.0.1\n", "ok", "{\"unlocked\":\"gateway from 127.0.0.1\"}"));
    publish(&site, believe_gateways);
    close(fd);
    fd = greeted(site.pop3_port);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t before = clock_monotonic_ms();
        CU_ASSERT(answers(fd, rows[i].line, rows[i].answer));
        CU_ASSERT(clock_monotonic_ms() - before >= 140);
    }
    CU_ASSERT(answers(fd, "who\r\n", "127.0.0.1 acting"));
    CU_ASSERT(answers(fd, "login lost good\r\n", "login refused"));
    CU_ASSERT(control_says(&site, "json lockouts\n", "ok", "\"name\":\"gateway from 127.0.0.1\",\"known\":false,\"failures\":3,"));
    CU_ASSERT(answers(fd, "login joe good\r\n", "login ok"));
    close(fd);
    /* Where gateways are known by their addresses, nobody else is one, and none of them is ever kept out. */
    intruder_unlock(site.options.intruders, slice_make("gateway from 127.0.0.1", 23));
    with_addresses = true;
    publish(&site, believe_gateways);
    fd = greeted(site.pop3_port);
    CU_ASSERT(answers(fd, "gateway joe gate open\r\n", "gateway refused"));
    CU_ASSERT(control_says(&site, "json lockouts\n", "ok", "[]"));
    close(fd);
    atomic_store(&address_is_trusted, true);
    fd = greeted(site.pop3_port);
    for (int i = 0; i < 4; i++)
        CU_ASSERT(answers(fd, "gateway joe gate bad\r\n", "gateway refused"));
    CU_ASSERT(answers(fd, "gateway joe gate open\r\n", "gateway ok"));
    atomic_store(&address_is_trusted, false);
    close(fd);
    serves_one_office = with_addresses = false;
    stop_with_intruders(&site);
}

/* For whom a connection speaks: believed at once of an address that is trusted, after the login of a gateway, and never else. */
static void test_claims(void)
{
    struct site site;
    site_start(&site, believe_gateways);
    int fd = greeted(site.pop3_port);
    say(fd, "claim 192.0.2.7\r\n");
    CU_ASSERT(answers(fd, "who\r\n", "127.0.0.1 acting"));
    say(fd, "claim 192.0.2.8\r\n");
    CU_ASSERT(answers(fd, "gateway joe gate open\r\n", "gateway ok"));
    CU_ASSERT(answers(fd, "who\r\n", "192.0.2.7 acting"));
    close(fd);
    fd = greeted(site.pop3_port);
    say(fd, "claim 192.0.2.7\r\n");
    CU_ASSERT(answers(fd, "login joe good\r\n", "login ok"));
    CU_ASSERT(answers(fd, "who\r\n", "127.0.0.1 acting"));
    close(fd);
    atomic_store(&address_is_trusted, true);
    fd = greeted(site.pop3_port);
    say(fd, "claim nobody\r\nclaim\r\nclaim *\r\nclaim 2001:DB8::1\r\nclaim 192.0.2.9\r\n");
    CU_ASSERT(answers(fd, "login joe bad\r\n", "login refused"));
    CU_ASSERT(answers(fd, "who\r\n", "2001:db8::1 acting"));
    close(fd);
    /* A gateway is known by the address that it comes from, not by that of the client that it speaks for. */
    with_addresses = true;
    publish(&site, believe_gateways);
    fd = greeted(site.pop3_port);
    say(fd, "claim 192.0.2.7\r\n");
    CU_ASSERT(answers(fd, "gateway joe gate bad\r\n", "gateway refused"));
    CU_ASSERT(answers(fd, "gateway joe gate open\r\n", "gateway ok"));
    CU_ASSERT(answers(fd, "who\r\n", "192.0.2.7 acting"));
    close(fd);
    with_addresses = false;
    atomic_store(&address_is_trusted, false);
    site_stop(&site);
}

/* Whatever the domain: the directory says whose address it is. */
static void test_lmtp_recipients(void)
{
    struct site site;
    lmtp_port = free_port();
    site_start(&site, believe_gateways);
    int fd = greeted(lmtp_port);
    CU_ASSERT(answers(fd, "resolve joe@elsewhere.example\r\n", "resolve ok"));
    CU_ASSERT(answers(fd, "resolve joe\r\n", "resolve ok"));
    CU_ASSERT(answers(fd, "resolve nobody@elsewhere.example\r\n", "resolve refused"));
    CU_ASSERT(answers(fd, "resolve lost@here.example\r\n", "resolve unavailable"));
    close(fd);
    fd = greeted(site.smtp_port);
    CU_ASSERT(answers(fd, "resolve joe@elsewhere.example\r\n", "resolve remote"));
    close(fd);
    lmtp_port = 0;
    site_stop(&site);
}

/* The first line of each event, until one with these words. */
static bool follower_hears(int control, const char *words)
{
    char line[256];
    uint64_t until = clock_monotonic_ms() + DEADLINE_MS;
    while (clock_monotonic_ms() < until && get_line(control, line)[0] != '\0')
        if (strstr(line, words) != NULL)
            return true;
    return false;
}

static void test_watch(void)
{
    struct site site;
    site_start(&site, NULL);
    int control = open_control(&site), slow = open_control(&site);
    say(control, "watch\n");
    say(slow, "json watch\n");
    EXPECT(control, "follow");
    CU_ASSERT(follower_hears(control, "watching: snapshot"));
    publish(&site, NULL);
    CU_ASSERT(follower_hears(control, "applied: snapshot"));
    memset(big_reason, 'x', sizeof(big_reason) - 1);
    with_big_fault = true;
    for (unsigned i = 0; i < 12; i++) {
        publish(&site, NULL);
        CU_ASSERT(follower_hears(control, "applied: snapshot"));
    }
    with_big_fault = false;
    CU_ASSERT(control_says(&site, "status\n", "ok", "gateway"));
    /* The slow one is told how much it missed once it reads, and then goes on. */
    CU_ASSERT(follower_hears(slow, "{\"event\":\"missed\",\"changes\":"));
    publish(&site, NULL);
    CU_ASSERT(follower_hears(slow, "\"event\":\"applied\""));
    close(control);
    close(slow);
    /* Changes while somebody goes. */
    for (unsigned i = 0; i < 20; i++) {
        control = open_control(&site);
        say(control, "watch\n");
        EXPECT(control, "follow");
        publish(&site, NULL);
        close(control);
    }
    site_stop(&site);
}

/* --- the way to a mailbox ------------------------------------------------------------------------------------------------------ */

static void test_reach(void)
{
    static const struct { int path, result; bool direct, imap; const char *answer; } rows[] = {
        { PATH_DIRECT, POA_OPEN, true, true, "login ok" },         { PATH_NONE, POA_OPEN, true, true, "login unavailable" },
        { PATH_POA, POA_OPEN, false, true, "login ok" },           { PATH_POA, POA_REFUSED, true, true, "login refused" },
        { PATH_POA, POA_FAILED, true, true, "login ok" },          { PATH_POA, POA_FAILED, false, true, "login unavailable" },
        { PATH_POA, POA_OPEN, false, false, "login unavailable" }, { PATH_POA, POA_OPEN, true, false, "login ok" },
    };
    struct site site;
    char *path = office.path;
    site_start(&site, NULL);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        fake_path = rows[i].path;
        fake_result = rows[i].result;
        office.path = rows[i].direct ? path : NULL;
        uint64_t began = clock_monotonic_ms();
        int fd = log_in_at(rows[i].imap ? site.imap_port : site.pop3_port, "joe3");
        EXPECT(fd, rows[i].answer);
        CU_ASSERT(strcmp(rows[i].answer, "login ok") == 0 || clock_monotonic_ms() - began >= 145);
        close(fd);
        EVENTUALLY(atomic_load(&echoes) == 0);
        if (fake_poa >= 0)
            close(atomic_exchange(&fake_poa, -1));
    }
    fake_path = PATH_DIRECT;
    office.path = path;
    site_stop(&site);
}

static int relayed(struct site *site)
{
    fake_path = PATH_POA;
    fake_result = POA_OPEN;
    int fd = log_in_at(site->imap_port, "joe3");
    EXPECT(fd, "login ok");
    struct timeval limit = { .tv_sec = DEADLINE_MS / 1000 };
    setsockopt(fake_poa, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    fake_path = PATH_DIRECT;
    return fd;
}

static void test_relayed(void)
{
    struct site site;
    site_start(&site, NULL);
    int fd = relayed(&site);
    say(fd, "ping\r\n");
    EXPECT(fake_poa, "ping");
    say(fake_poa, "pong\r\n");
    EXPECT(fd, "pong");
    /* The POA is lost: the session goes on. */
    close(atomic_exchange(&fake_poa, -1));
    EXPECT(fd, "lost");
    say(fd, "again\r\n");
    EXPECT(fd, "again");
    close(fd);
    fd = relayed(&site);
    service_stop(site.gateway);
    EXPECT(fd, "shutdown");
    EXPECT(fake_poa, "");
    close(fd);
    close(atomic_exchange(&fake_poa, -1));
    site_stop(&site);
}

/* The client does not read: neither does the gateway from the POA. */
static void test_relayed_backpressure(void)
{
    static char bytes[64 * 1024];
    struct site site;
    size_t sent = 0, got = 0;
    site_start(&site, NULL);
    int fd = relayed(&site);
    struct pollfd room = { .fd = fake_poa, .events = POLLOUT };
    while (sent < 64u << 20 && poll(&room, 1, 300) == 1) {
        ssize_t n = send(fake_poa, bytes, sizeof(bytes), MSG_DONTWAIT);
        sent += n > 0 ? (size_t)n : 0;
    }
    CU_ASSERT(sent > 256 * 1024 && sent < 32u << 20);
    while (got < sent) {
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        if (n <= 0)
            break;
        got += (size_t)n;
    }
    CU_ASSERT_EQUAL(got, sent);
    close(fd);
    close(atomic_exchange(&fake_poa, -1));
    site_stop(&site);
}

static const struct unit_test tests[] = {
    { "reach", test_reach },
    { "relayed", test_relayed },
    { "relayed backpressure", test_relayed_backpressure },
    { "supervisor", test_supervisor },
    { "supervisor insists", test_supervisor_insists },
    { "login gate", test_login_gate },
    { "serial keys", test_serial_keys },
    { "fair keys", test_fair_keys }, { "slow fair key", test_slow_fair_key },
    { "fewest go first", test_fewest_go_first },
    { "again", test_again },
    { "stall", test_stall },
    { "resize", test_resize },
    { "session", test_session },
    { "login", test_login },
    { "proofs", test_proofs },
    { "remembered", test_remembered },
    { "revocation", test_revocation },
    { "connections of a user", test_user_connections },
    { "new limits", test_new_limits },
    { "revocation, same DN", test_revocation_same_dn },
    { "revocation, directory away", test_revocation_away },
    { "revocation of many", test_revocation_many },
    { "revocation between steps", test_revocation_between_steps },
    { "revocation beside a failure", test_revocation_of_one },
    { "guessers", test_guessers },
    { "intruders", test_intruders },
    { "guesses at remembered passwords", test_guesses_at_remembered },
    { "intruders at a time", test_intruders_at_a_time },
    { "acting", test_acting },
    { "claims", test_claims },
    { "lmtp recipients", test_lmtp_recipients },
    { "big answer", test_big_answer },
    { "disable", test_disable }, { "an end between steps", test_end_between_steps },
    { "too many", test_too_many },
    { "strangers", test_strangers },
    { "stalled session", test_stalled_session },
    { "login timeout", test_login_timeout },
    { "crash notes", test_crash_notes },
    { "control", test_control },
    { "control of another", test_control_of_another },
    { "watch", test_watch },
};

UNIT_MAIN("service", tests)
