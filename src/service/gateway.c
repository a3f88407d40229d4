/* The agent's loops and services as one whole: starts them, follows the configuration, ends them. Called by posternd; must never
 * wait for disk or directory on a loop. */
#include "gateway.h"

#include <limits.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "conn.h"
#include "control.h"
#include "listeners.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "paths.h"
#include "postern/config/found.h"
#include "postern/store/mailbox.h"
#include "revoke.h"
#include "user_counts.h"

enum { TICK_MS = 250, KEEP_TICKS = 4, KEEP_MS = 10 * 1000, TLS_TICKS = 20, RETRY_TICKS = 8, STOP_TICK_MS = 20, STOP_MS = 10 * 1000 };

void service_settings_of(const struct snapshot *snapshot, enum service service, struct service_settings *out)
{
    const struct agent_settings *a = &snapshot->agent;
    switch (service) {
    case SERVICE_POP3:
        *out = (struct service_settings){ a->pop3_enabled, (unsigned)a->pop3_threads, a->pop3_max_connections,
                                          (enum tls_mode)a->pop3_tls };
        return;
    case SERVICE_IMAP4:
        *out = (struct service_settings){ a->imap4_enabled, (unsigned)a->imap4_threads, a->imap4_max_connections,
                                          (enum tls_mode)a->imap4_tls };
        return;
    default:
        *out = (struct service_settings){ a->smtp_enabled, (unsigned)a->smtp_receive_threads, a->smtp_max_connections,
                                          (enum tls_mode)a->smtp_tls };
    }
}

/* --- closing many ------------------------------------------------------------------------------------------------------------ */

struct closing {
    struct home *home;
    struct room *room;    /* NULL: all */
    enum close_reason reason;
};

static void close_on_home(void *arg)
{
    struct closing *closing = arg;
    LIST_FOR_EACH (&closing->home->conns, at) {
        struct conn *c = LIST_ITEM(at, struct conn, link);
        if (closing->room == NULL || c->room == closing->room)
            conn_close(c, closing->reason);
    }
    mem_free(&closing);
}

static void close_sessions(struct gateway *g, struct room *room, enum close_reason reason)
{
    for (unsigned i = 0; i < g->home_count; i++) {
        struct closing *closing = MEM_NEW(struct closing);
        *closing = (struct closing){ &g->homes[i], room, reason };
        loop_post(g->homes[i].loop, close_on_home, closing);
    }
}

/* --- TLS files --------------------------------------------------------------------------------------------------------------- */

char *gateway_tls_path(const struct gateway *g, const char *name)
{
    struct slice dir = slice_from_string(g->options->tls_dir), file = slice_from_string(name), part;
    if (name == NULL || dir.len == 0)
        return NULL;
    struct slice rest = file;
    while (slice_split(&rest, '/', &part))
        if (slice_is(part, ".."))
            return NULL;
    struct buf path = { .cap = 0 };
    if (file.len > 0 && file.data[0] != '/')
        buf_printf(&path, "%s/%s", g->options->tls_dir, name);
    else if (slice_starts_with(file, g->options->tls_dir) && file.len > dir.len &&
             (file.data[dir.len] == '/' || dir.data[dir.len - 1] == '/'))
        buf_append(&path, file);
    char *text = path.len > 0 ? slice_to_string(buf_slice(&path)) : NULL;
    buf_fini(&path);
    return text;
}

/* The files that the snapshot names; NULL: none, or not below the TLS directory. */
struct tls_files {
    char *certificate;
    char *key;
    char *client_ca;
};

static const char *misplaced(const struct agent_settings *a, const struct tls_files *files)
{
    if (a->tls_certificate != NULL && files->certificate == NULL)
        return "posternTlsCertificate";
    if (a->tls_key != NULL && files->key == NULL)
        return "posternTlsKey";
    return a->tls_client_ca != NULL && files->client_ca == NULL ? "posternTlsClientCa" : NULL;
}

/* The fault of a file begins with its name. */
static const char *broken(const struct tls_files *files, const struct fault *fault)
{
    struct slice text = slice_from_string(fault->text);
    if (files->client_ca != NULL && slice_starts_with(text, files->client_ca))
        return "posternTlsClientCa";
    return files->key != NULL && slice_starts_with(text, files->key) ? "posternTlsKey" : "posternTlsCertificate";
}

static void note_misplaced(struct gateway *g, const char *attribute, bool again)
{
    bool news = again || !g->tls_misplaced || g->tls_attribute != attribute;
    fault_set(&g->tls_fault, FAULT_INVALID, 0, "must be a file below %s", g->options->tls_dir);
    g->tls_attribute = attribute;
    g->tls_misplaced = true;
    if (news)
        log_error("tls", "certificates and keys must be files below %s; those in use stay", g->options->tls_dir);
}

static void load_files(struct gateway *g, const struct agent_settings *a, const struct tls_files *files)
{
    struct fault fault;
    bool again = atomic_exchange(&g->tls_again, false), was_misplaced = g->tls_misplaced;
    const char *attribute = misplaced(a, files);
    if (attribute != NULL) {
        note_misplaced(g, attribute, again);
        return;
    }
    g->tls_misplaced = false;
    tls_context_set_client_ca(g->tls, files->client_ca);
    int result = tls_context_load(g->tls, files->certificate, files->key, again || was_misplaced, &fault);
    if (result < 0) {
        log_error("tls", "certificate and key are not taken: %s%s", fault.text, tls_context_is_ready(g->tls) ? "; those in use stay" : "");
        g->tls_fault = fault;
        g->tls_attribute = broken(files, &fault);
    } else if (result > 0 || files->certificate == NULL)
        g->tls_fault = (struct fault){ .class = FAULT_NONE };
    if (result > 0)
        log_normal("tls", files->certificate ? "certificate and key are in use" : "no certificate");
}

static bool load_tls(struct gateway *g)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL)
        return false;
    const struct agent_settings *a = &snapshot->agent;
    struct tls_files files = { gateway_tls_path(g, a->tls_certificate), gateway_tls_path(g, a->tls_key), gateway_tls_path(g, a->tls_client_ca) };
    load_files(g, a, &files);
    mem_free(&files.certificate);
    mem_free(&files.key);
    mem_free(&files.client_ca);
    snapshot_unref(&snapshot);
    bool ready = tls_context_is_ready(g->tls);
    return atomic_exchange(&g->tls_ready, ready) != ready;
}

/* As the object of this gateway has it. */
static char *own_attribute(const struct snapshot *snapshot, const char *attribute)
{
    if (snapshot->is_post_office_agent && strcmp(attribute, "posternTlsCertificate") == 0)
        attribute = "posternPoaCertificate";
    else if (snapshot->is_post_office_agent && strcmp(attribute, "posternTlsKey") == 0)
        attribute = "posternPoaKey";
    return (char *)(uintptr_t)attribute;
}

static bool is_out_of_date(struct gateway *g, struct fault *fault)
{
    int64_t from, until, now = clock_wall().tv_sec;
    if (!tls_context_validity(g->tls, &from, &until) || (now >= from && now <= until))
        return false;
    struct tm tm;
    time_t then = (time_t)(now > until ? until : from);
    char text[32] = "";
    if (gmtime_r(&then, &tm) != NULL)
        (void)!strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    fault_set(fault, FAULT_INVALID, 0, "the certificate in use %s %s", now > until ? "has expired:" : "is not valid before", text);
    return true;
}

/* [T] What is wrong with the files stands among the faults of the configuration. */
static void report_tls(struct gateway *g)
{
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL)
        return;
    struct config_fault faults[2];
    struct fault date;
    size_t count = 0;
    if (g->tls_fault.class != FAULT_NONE)
        faults[count++] = (struct config_fault){ snapshot->agent.dn, own_attribute(snapshot, g->tls_attribute), g->tls_fault.text };
    if (is_out_of_date(g, &date))
        faults[count++] = (struct config_fault){ snapshot->agent.dn, own_attribute(snapshot, "posternTlsCertificate"), date.text };
    config_set_found(FOUND_BY_TLS, faults, count);
    snapshot_unref(&snapshot);
}

static enum step_result tls_work(struct pool_task *task)
{
    struct gateway *g = LIST_ITEM(task, struct gateway, tls_task);
    if (load_tls(g))
        service_changed(g);
    report_tls(g);
    return STEP_DONE;
}

static void tls_done(struct pool_task *task, bool ran)
{
    (void)ran;
    atomic_store(&LIST_ITEM(task, struct gateway, tls_task)->tls_busy, false);
}

static void check_tls(struct gateway *g)
{
    if (atomic_exchange(&g->tls_busy, true))
        return;
    g->tls_task = (struct pool_task){ .work = tls_work, .done = tls_done };
    pool_submit(g->look_ups, &g->tls_task);
}

/* --- following the configuration ------------------------------------------------------------------------------------------- */

static void follow_room(struct gateway *g, struct room *room, const struct snapshot *snapshot)
{
    struct service_settings settings;
    service_settings_of(snapshot, room->service, &settings);
    pool_resize(room->pool, settings.threads);
    bool was = room->enabled;
    room->enabled = settings.enabled && room->protocol != NULL;
    if (was && !room->enabled) {
        log_normal("service", "%s is disabled: its sessions end", service_word(room->service));
        close_sessions(g, room, CLOSE_SERVICE_DISABLED);
    }
}

static void follow(void *arg)
{
    struct gateway *g = arg;
    struct snapshot *snapshot = snapshot_current();
    if (snapshot == NULL || g->stopping) {
        snapshot_unref(&snapshot);
        return;
    }
    if (g->applied == 0)
        load_tls(g);   /* before anybody is connected who could wait for it */
    if (g->applied != snapshot->serial || atomic_load(&g->tls_again))
        check_tls(g);
    if (g->applied != snapshot->serial)
        log_set_level((enum log_level)snapshot->agent.log_level);
    g->applied = snapshot->serial;
    listeners_follow(g->listeners, snapshot);
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        follow_room(g, &g->rooms[i], snapshot);
    control_follow(g->control, snapshot);
    paths_changed(g->paths);
    revoke_look(g);
    snapshot_unref(&snapshot);
}

void service_changed(struct gateway *gateway)
{
    loop_post(gateway->homes[0].loop, follow, gateway);
}

void service_users_changed(struct gateway *gateway)
{
    revoke_look(gateway);
}

static void end_if_quiet(struct gateway *g)
{
    if (atomic_load(&g->sessions) > 0 && clock_monotonic_ms() < g->stop_deadline)
        return;
    for (unsigned i = g->home_count; i-- > 0;)
        loop_stop(g->homes[i].loop);
}

static void tick(void *arg)
{
    struct gateway *g = arg;
    loop_timer_set(&g->tick, g->stopping ? STOP_TICK_MS : TICK_MS);
    struct snapshot *snapshot = snapshot_current();
    uint64_t stall_ms = snapshot ? snapshot->agent.stall_seconds * 1000 : 10000;
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        pool_watch(g->rooms[i].pool, stall_ms);
    if (++g->ticks % KEEP_TICKS == 0) {
        store_keep_idle(KEEP_MS);
        if (!g->stopping)
            revoke_look(g);
    }
    if (g->stopping)
        end_if_quiet(g);
    else if (g->applied != 0 && g->ticks % TLS_TICKS == 0)
        check_tls(g);
    else if (g->applied != 0 && g->ticks % RETRY_TICKS == 0)
        listeners_follow(g->listeners, snapshot);
    snapshot_unref(&snapshot);
}

static void begin_stop(void *arg)
{
    struct gateway *g = arg;
    if (g->stopping)
        return;
    log_normal("service", "shutting down: %u sessions", atomic_load(&g->sessions));
    g->stopping = true;
    g->stop_deadline = clock_monotonic_ms() + STOP_MS;
    listeners_free(&g->listeners);
    close_sessions(g, NULL, CLOSE_SHUTDOWN);
    loop_timer_set(&g->tick, STOP_TICK_MS);
}

void service_stop(struct gateway *gateway)
{
    loop_post(gateway->homes[0].loop, begin_stop, gateway);
}

/* --- start and end ------------------------------------------------------------------------------------------------------------ */

/* All that there are; the last ones are kept from clients, so that those who are connected can go on. */
static int raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur > INT_MAX)
        return INT_MAX;
    int most = (int)limit.rlim_cur;
    return most - (most / 8 < 1024 ? most / 8 : 1024);
}

static unsigned loop_count(const struct service_options *options)
{
    long count = options->loops ? (long)options->loops : sysconf(_SC_NPROCESSORS_ONLN);
    return count < 1 ? 1 : count > LOOPS_MAX ? LOOPS_MAX : (unsigned)count;
}

static void store_news(void *arg)
{
    (void)arg;
    store_watch_read();
}

int service_new(const struct service_options *options, struct gateway **out, struct fault *fault)
{
    struct gateway *g = MEM_NEW(struct gateway);
    g->fd_most = raise_descriptor_limit();
    if (options->descriptors > 0)
        g->fd_most = (int)options->descriptors;
    g->started = clock_wall().tv_sec;
    g->options = options;
    g->home_count = loop_count(options);
    for (unsigned i = 0; i < g->home_count; i++) {
        g->homes[i].gateway = g;
        g->homes[i].loop = loop_new();
        list_init(&g->homes[i].conns);
        list_init(&g->homes[i].strangers);
    }
    if (options->control_path != NULL && control_new(g, options->control_path, &g->control, fault) < 0) {
        for (unsigned i = 0; i < g->home_count; i++)
            loop_free(&g->homes[i].loop);
        mem_free(&g);
        return -1;
    }
    for (unsigned i = 0; i < SERVICE_COUNT; i++) {
        g->rooms[i].service = (enum service)i;
        g->rooms[i].protocol = options->protocols[i];
        g->rooms[i].pool = pool_new(service_word((enum service)i), 1);
    }
    g->look_ups = pool_new("look-ups", LOOK_UP_THREADS);
    g->login_gate = login_gate_new(look_up_may_go);
    g->token_gate = login_gate_new(look_up_may_go);
    g->tls = tls_context_new();
    g->listeners = listeners_new(g);
    g->revoker = revoker_new(g);
    g->user_counts = user_counts_new();
    g->paths = paths_new();
    loop_timer_init(&g->tick, g->homes[0].loop, tick, g);
    if (store_watch_fd() >= 0)
        loop_watch_start(&g->store_watch, g->homes[0].loop, store_watch_fd(), store_news, g);
    *out = g;
    return 0;
}

static void *home_main(void *arg)
{
    struct home *home = arg;
    loop_run(home->loop);
    return NULL;
}

static bool end_threads(struct gateway *g)
{
    bool all = pool_free(&g->look_ups);
    paths_free(&g->paths);
    for (unsigned i = 0; i < SERVICE_COUNT; i++)
        all = pool_free(&g->rooms[i].pool) && all;
    if (!all)
        log_warning("service", "some steps do not return: they are left behind");
    return all;
}

bool service_run(struct gateway *gateway)
{
    for (unsigned i = 1; i < gateway->home_count; i++) {
        struct home *home = &gateway->homes[i];
        home->threaded = pthread_create(&home->thread, NULL, home_main, home) == 0;
        if (!home->threaded) {
            log_error("service", "only %u loops could be started", i);
            gateway->home_count = i;
        }
    }
    loop_timer_set(&gateway->tick, TICK_MS);
    service_changed(gateway);
    loop_run(gateway->homes[0].loop);
    for (unsigned i = 1; i < gateway->home_count; i++)
        pthread_join(gateway->homes[i].thread, NULL);
    return end_threads(gateway);
}

void service_free(struct gateway **gateway)
{
    struct gateway *g = *gateway;
    if (g == NULL)
        return;
    control_free(&g->control);
    listeners_free(&g->listeners);
    loop_watch_stop(&g->store_watch);
    loop_timer_cancel(&g->tick);
    if (!end_threads(g))
        return;
    store_keep_idle(0);
    revoker_free(&g->revoker);
    user_counts_free(&g->user_counts);
    tls_context_free(&g->tls);
    login_gate_free(&g->login_gate);
    login_gate_free(&g->token_gate);
    for (unsigned i = 0; i < LOOPS_MAX; i++)
        loop_free(&g->homes[i].loop);
    mem_free(gateway);
}
