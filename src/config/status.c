/* The status thread. Nobody waits for it: a directory that is slow or says no costs only the status. */
#include "status.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "build.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/directory/write.h"

#define WRITE_MS 3000
#define REMOVE_MS 1000
#define EVERY_MS 10000          /* between two writes */
#define FAULT_EVERY_MS 300      /* when faults come or go */
#define AGAIN_MS 2000           /* after the directory did not answer */
#define REFUSED_MS 600000       /* after it said no */
#define NEVER UINT64_MAX

struct status {
    struct directory_writer *writer;
    struct status_identity identity;
    pthread_t thread;
    pthread_mutex_t mutex;      /* what follows, up to the thread's own */
    pthread_cond_t rung;
    bool news;
    bool stopping;
    bool reconnected;
    int64_t change_time;
    /* The thread's own: */
    struct map since;
    struct directory_entry *written;   /* NULL: nothing yet, or not known */
    uint64_t attempt_ms;
    bool refused;               /* said in the log */
    uint64_t blocked_ms;        /* not before this */
};

/* The bell also rings for those who do not know the status: one process has one. */
static pthread_mutex_t bell = PTHREAD_MUTEX_INITIALIZER;
static struct status *running;
static void (*link_report)(const struct snapshot *snapshot, struct buf *out, void *context);
static void *link_context;

void config_set_link_report(void (*report)(const struct snapshot *snapshot, struct buf *out, void *context), void *context)
{
    pthread_mutex_lock(&bell);
    link_report = report;
    link_context = context;
    pthread_mutex_unlock(&bell);
}

static void ring(struct status *s)
{
    s->news = true;
    pthread_cond_signal(&s->rung);
}

void config_links_changed(void)
{
    pthread_mutex_lock(&bell);
    if (running != NULL) {
        pthread_mutex_lock(&running->mutex);
        ring(running);
        pthread_mutex_unlock(&running->mutex);
    }
    pthread_mutex_unlock(&bell);
}

void status_changed(struct status *s)
{
    pthread_mutex_lock(&s->mutex);
    s->change_time = clock_wall().tv_sec;
    ring(s);
    pthread_mutex_unlock(&s->mutex);
}

void status_reconnected(struct status *s)
{
    pthread_mutex_lock(&s->mutex);
    s->reconnected = true;
    ring(s);
    pthread_mutex_unlock(&s->mutex);
}

/* Without a report of its own: what the configuration says. */
static void report_paths(const struct snapshot *snapshot, struct buf *out)
{
    for (size_t i = 0; i < snapshot->post_office_count; i++) {
        const struct post_office *office = snapshot->post_offices[i];
        if (office->path != NULL)
            buf_printf(out, "%s: direct %s\n", office->dn, office->path);
        else
            buf_printf(out, "%s: not reachable\n", office->dn);
    }
}

/* The whole entry, or without the links, of which there may be many. */
static struct directory_entry *describe(struct status *s, const struct snapshot *snapshot, bool whole)
{
    struct buf links;
    buf_init(&links, 0);
    pthread_mutex_lock(&s->mutex);
    int64_t change_time = s->change_time;
    pthread_mutex_unlock(&s->mutex);
    if (!whole)
        return status_entry_new(&s->identity, snapshot, change_time, NULL, &s->since, 0);
    if (link_report != NULL)
        link_report(snapshot, &links, link_context);
    else
        report_paths(snapshot, &links);
    struct slice lines = buf_slice(&links);
    struct directory_entry *entry = status_entry_new(&s->identity, snapshot, change_time, &lines, &s->since, clock_wall().tv_sec);
    buf_fini(&links);
    return entry;
}

static bool faults_differ(const struct directory_entry *a, const struct directory_entry *b)
{
    return !directory_attribute_is_equal(directory_entry_find(a, "posternFault"), directory_entry_find(b, "posternFault"));
}

/* When there is to be looked whether all of the entry is still true: soon if its faults are not. */
static uint64_t due_at(struct status *s, const struct snapshot *snapshot)
{
    uint64_t due = 0;
    if (s->written != NULL) {
        struct directory_entry *entry = describe(s, snapshot, false);
        due = s->attempt_ms + (faults_differ(s->written, entry) ? FAULT_EVERY_MS : EVERY_MS);
        directory_entry_free(&entry);
    }
    return due > s->blocked_ms ? due : s->blocked_ms;
}

static void note_failure(struct status *s, const struct fault *fault)
{
    bool refused = fault->class == FAULT_DENIED || fault->class == FAULT_NOT_FOUND;
    log_write(refused && !s->refused ? LOG_WARNING : LOG_VERBOSE, "status", "%s is not written: %s%s", s->identity.dn, fault->text,
              refused ? "; tried again every ten minutes" : "");
    s->refused = s->refused || refused;
    s->blocked_ms = clock_monotonic_ms() + (refused ? REFUSED_MS : AGAIN_MS);
}

/* The entry is taken. */
static void write_entry(struct status *s, struct directory_entry *entry)
{
    struct fault fault;
    s->attempt_ms = clock_monotonic_ms();
    if (directory_writer_put(s->writer, entry, STATUS_FIXED, WRITE_MS, &fault) != 0) {
        note_failure(s, &fault);
        directory_entry_free(&entry);
        return;
    }
    if (s->refused)
        log_normal("status", "%s is written again", s->identity.dn);
    s->refused = false;
    s->blocked_ms = 0;
    directory_entry_free(&s->written);
    s->written = entry;
}

/* Writes if there is something to write and it is time; returns when to look again, or NEVER. */
static uint64_t work(struct status *s)
{
    struct snapshot *snapshot = snapshot_current();
    uint64_t due = NEVER;
    /* Under an agent object that is not there, or not known to be there, nothing can be put. */
    if (snapshot != NULL && !snapshot->from_cache && snapshot_body(snapshot)->agent_present != NULL)
        due = due_at(s, snapshot);
    if (due <= clock_monotonic_ms()) {
        struct directory_entry *entry = describe(s, snapshot, true);
        if (s->written == NULL || !directory_entry_is_equal(s->written, entry))
            write_entry(s, entry);
        else
            directory_entry_free(&entry);
        due = s->blocked_ms > 0 ? s->blocked_ms : NEVER;
    }
    snapshot_unref(&snapshot);
    return due;
}

/* Until the bell rings or the time is come. Under the mutex. */
static void wait_until(struct status *s, uint64_t due)
{
    struct timespec at = { (time_t)(due / 1000), (long)(due % 1000 * 1000000) };
    int rc = 0;
    while (!s->news && !s->stopping && rc == 0)
        rc = due == NEVER ? pthread_cond_wait(&s->rung, &s->mutex) : pthread_cond_timedwait(&s->rung, &s->mutex, &at);
}

static void *run(void *context)
{
    struct status *s = context;
    pthread_mutex_lock(&s->mutex);
    for (uint64_t due = NEVER; !s->stopping;) {
        wait_until(s, due);
        if (s->stopping)
            break;
        s->news = false;
        if (s->reconnected) {
            s->reconnected = false;
            s->blocked_ms = 0;
            /* An older state may have been restored: what was written is not known any more. */
            directory_entry_free(&s->written);
        }
        pthread_mutex_unlock(&s->mutex);
        due = work(s);
        pthread_mutex_lock(&s->mutex);
    }
    pthread_mutex_unlock(&s->mutex);
    return NULL;
}

static void identify(struct status_identity *identity, const char *agent_dn)
{
    char host[256] = "";
    if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
        snprintf(host, sizeof(host), "localhost");
    for (char *c = host; *c != '\0'; c++)   /* nothing that would have to be escaped in a DN */
        if (!ascii_is_alpha(*c) && !ascii_is_digit(*c) && *c != '.' && *c != '-' && *c != '_')
            *c = '-';
    struct buf dn;
    buf_init(&dn, 0);
    buf_printf(&dn, "cn=%s,%s", host, agent_dn);
    identity->host = mem_strdup(host);
    identity->dn = slice_to_string(buf_slice(&dn));
    identity->start_time = clock_wall().tv_sec;
    buf_fini(&dn);
}

struct status *status_start(const struct directory_options *options, const char *agent_dn)
{
    struct status *s = MEM_NEW(struct status);
    pthread_condattr_t attributes;
    s->writer = directory_writer_new(options);
    identify(&s->identity, agent_dn);
    s->change_time = s->identity.start_time;
    map_init(&s->since);
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&s->rung, &attributes);
    pthread_condattr_destroy(&attributes);
    CHECK(pthread_create(&s->thread, NULL, run, s) == 0);
    pthread_mutex_lock(&bell);
    running = s;
    pthread_mutex_unlock(&bell);
    return s;
}

void status_stop(struct status **status)
{
    struct status *s = *status;
    if (s == NULL)
        return;
    pthread_mutex_lock(&bell);
    running = NULL;
    pthread_mutex_unlock(&bell);
    pthread_mutex_lock(&s->mutex);
    s->stopping = true;
    pthread_cond_signal(&s->rung);
    pthread_mutex_unlock(&s->mutex);
    pthread_join(s->thread, NULL);
    struct fault fault;
    if (s->written != NULL && directory_writer_remove(s->writer, s->identity.dn, REMOVE_MS, &fault) != 0)
        log_verbose("status", "%s is not taken away: %s", s->identity.dn, fault.text);
    directory_writer_free(&s->writer);
    directory_entry_free(&s->written);
    map_fini(&s->since);
    pthread_cond_destroy(&s->rung);
    pthread_mutex_destroy(&s->mutex);
    mem_free(&s->identity.dn);
    mem_free(&s->identity.host);
    mem_free(status);
}
