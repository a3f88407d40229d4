/* The one configuration of the process: the watch feeds the objects, each commit builds and publishes a snapshot, a keeper thread writes the
 * last good state to disk. Wiring only: what a setting means is decided elsewhere. */
#include "postern/config/config.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

#include "build.h"
#include "cache.h"
#include "found.h"
#include "keys.h"
#include "lookup.h"
#include "path.h"
#include "postern/base/buf.h"
#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/gateways.h"
#include "postern/config/rights.h"
#include "postern/directory/dn.h"
#include "postern/directory/watch.h"
#include "remembered.h"
#include "status.h"
#include "verify.h"

#define LOOK_UP_CONNECTIONS 8
#define BIND_CONNECTIONS 16
/* Changes come in bursts: the file is written once for those of this time. */
#define KEEP_AFTER_MS 200
/* And with very many objects at most this part of one core's time goes there. */
#define KEEP_SHARE 30
/* But a disk that is slow once does not put off the next time for long. */
#define KEEP_PAUSE_MAX_MS 10000

struct config {
    struct directory_options directory;
    char *agent_dn;
    char *agent_ndn;
    char *state_dir;
    char *mail_root;
    uint16_t ports[32];
    void (*changed)(void *context);
    void (*users_changed)(void *context);
    void *context;
    struct directory_watch *watch;
    struct status *status;
    struct directory_pool *look_ups;
    struct directory_pool *binds;
    pthread_mutex_t mutex;         /* objects, base, and what follows */
    struct overlay *overlay;       /* the switches; constant */
    struct objects objects;
    char *base;
    bool from_cache;
    bool whole;                    /* the objects go together: no reading of everything is under way or due after a rename */
    bool must_publish;             /* even if no object changed: first time, or the base became known */
    bool lost;
    unsigned server;               /* that was read last */
    struct fault why;              /* the reason logged last */
    pthread_t keeper;
    pthread_cond_t kept;
    bool dirty;
    bool stopping;
};

static struct config *config;
static pthread_mutex_t publishing = PTHREAD_MUTEX_INITIALIZER;   /* snapshots are published in the order in which they are built */

static struct map fault_set_of(const struct config_fault *faults, size_t count)
{
    struct map set;
    map_init(&set);
    for (size_t i = 0; i < count; i++) {
        const struct config_fault *f = &faults[i];
        struct buf key;
        buf_init(&key, 0);
        buf_printf(&key, "%s: %s%s%s", f->dn, f->attribute != NULL ? f->attribute : "", f->attribute != NULL ? ": " : "", f->reason);
        map_put(&set, buf_slice(&key), (void *)(uintptr_t)f);
        buf_fini(&key);
    }
    return set;
}

struct fault_news {
    const struct map *other;
    enum log_level level;
    const char *words;
};

static void log_if_new(struct slice key, void *value, void *context)
{
    const struct fault_news *news = context;
    (void)value;
    if (map_get(news->other, key) == NULL)
        log_write(news->level, "config", "%s%.*s", news->words, SLICE_ARG(key));
}

/* Once when a fault comes, once when it goes. */
static void log_faults(const struct snapshot *before, const struct snapshot *now)
{
    size_t old_count = before != NULL ? before->fault_count : 0, new_count = now->fault_count, head = 0;
    /* Those of objects that nothing changed for are the very same, in the same order. */
    while (head < old_count && head < new_count && before->faults[head].reason == now->faults[head].reason)
        head++;
    while (old_count > head && new_count > head && before->faults[old_count - 1].reason == now->faults[new_count - 1].reason)
        old_count--, new_count--;
    struct map old = fault_set_of(before != NULL ? &before->faults[head] : NULL, old_count - head);
    struct map new = fault_set_of(&now->faults[head], new_count - head);
    map_for_each(&new, log_if_new, &(struct fault_news){ &old, LOG_WARNING, "" });
    map_for_each(&old, log_if_new, &(struct fault_news){ &new, LOG_NORMAL, "no longer: " });
    map_fini(&old);
    map_fini(&new);
}

/* An edit of a setting that the command line overrides changes nothing, and somebody may wonder. */
static void log_overridden_edits(const struct snapshot *before, const struct snapshot *now)
{
    const struct version *old = before != NULL ? snapshot_body(before)->agent_present : NULL, *new = snapshot_body(now)->agent_present;
    const struct overlay *overlay = snapshot_body(now)->overlay;
    for (size_t i = 0; overlay != NULL && old != NULL && new != NULL && old != new && i < overlay->entry->count; i++) {
        const char *name = overlay->entry->attributes[i].name;
        const struct directory_attribute *a = directory_entry_find(old->entry, name), *b = directory_entry_find(new->entry, name);
        if ((a == NULL) != (b == NULL) || (a != NULL && !directory_attribute_is_equal(a, b)))
            log_verbose("config", "%s: %s was edited: this changes nothing, since the command line has %s", new->entry->dn, name, overlay->given[i]);
    }
}

static void build_and_publish(struct config *c)
{
    pthread_mutex_lock(&c->mutex);
    if (!c->whole || (!c->objects.changed && !c->must_publish)) {
        pthread_mutex_unlock(&c->mutex);
        return;
    }
    struct status *status = c->status;
    struct build_options options = { c->agent_dn, c->agent_ndn, c->base, c->from_cache, c->overlay };
    struct snapshot *snapshot = build_snapshot(&c->objects, &options);
    c->objects.changed = false;
    c->must_publish = false;
    if (!c->from_cache) {
        c->dirty = true;
        pthread_cond_signal(&c->kept);
    }
    pthread_mutex_unlock(&c->mutex);
    struct snapshot *before = snapshot_current();
    snapshot_publish(snapshot_ref(snapshot));
    users_follow_snapshot(before, snapshot);
    log_faults(before, snapshot);
    log_overridden_edits(before, snapshot);
    if (c->changed != NULL)
        c->changed(c->context);
    if (status != NULL)
        status_changed(status);
    snapshot_unref(&before);
    snapshot_unref(&snapshot);
}

static void publish(struct config *c)
{
    pthread_mutex_lock(&publishing);
    build_and_publish(c);
    pthread_mutex_unlock(&publishing);
}

void config_set_found(enum found_by by, const struct config_fault *faults, size_t count)
{
    struct config *c = config;
    if (!found_set(by, faults, count) || c == NULL)
        return;
    pthread_mutex_lock(&c->mutex);
    c->must_publish = true;   /* now, or when the objects are whole */
    pthread_mutex_unlock(&c->mutex);
    publish(c);
}

static void on_refresh_begin(void *context, const char *base, enum directory_vendor vendor)
{
    struct config *c = context;
    pthread_mutex_lock(&c->mutex);
    c->objects.bounds.vendor = vendor;
    c->whole = false;
    objects_refresh_begin(&c->objects);
    if (c->base == NULL || strcmp(c->base, base) != 0) {
        mem_free(&c->base);
        c->base = mem_strdup(base);
        c->must_publish = true;
    }
    pthread_mutex_unlock(&c->mutex);
}

static bool on_entry(void *context, struct directory_entry *entry)
{
    struct config *c = context;
    pthread_mutex_lock(&c->mutex);
    bool renamed = objects_put(&c->objects, entry);
    c->whole = c->whole && !renamed;
    pthread_mutex_unlock(&c->mutex);
    return renamed;
}

static void on_gone(void *context, const char *uuid)
{
    struct config *c = context;
    pthread_mutex_lock(&c->mutex);
    objects_remove(&c->objects, uuid);
    pthread_mutex_unlock(&c->mutex);
}

static void on_refresh_end(void *context, unsigned server)
{
    struct config *c = context;
    pthread_mutex_lock(&c->mutex);
    objects_refresh_end(&c->objects);
    c->whole = true;
    pthread_cond_signal(&c->kept);
    if (c->from_cache) {
        c->from_cache = false;
        c->must_publish = true;
    }
    bool again = c->lost, another = c->server != server;
    c->lost = false;
    c->server = server;
    pthread_mutex_unlock(&c->mutex);
    if (again)
        log_normal("config", "the directory is back");
    if (again || another)
        status_reconnected(c->status);
}

static void on_commit(void *context)
{
    publish(context);
}

static void on_lost(void *context, const struct fault *fault)
{
    struct config *c = context;
    pthread_mutex_lock(&c->mutex);
    /* Once for each reason: it is tried again every few seconds. */
    bool news = !c->lost || strcmp(c->why.text, fault->text) != 0;
    c->lost = true;
    c->why = *fault;
    pthread_mutex_unlock(&c->mutex);
    log_write(news ? LOG_WARNING : LOG_VERBOSE, "config", "the directory cannot be followed: %s", fault->text);
}

static void keep_state(struct config *c)
{
    struct buf bytes;
    struct fault fault;
    buf_init(&bytes, 0);
    struct cache_content content;
    pthread_mutex_lock(&c->mutex);
    cache_collect(&c->objects, &content);
    char *base = mem_strdup(c->base);
    pthread_mutex_unlock(&c->mutex);
    cache_encode(&content, c->agent_ndn, base, &bytes);
    mem_free(&base);
    if (cache_write(c->state_dir, buf_slice(&bytes), &fault) != 0)
        log_error("config", "the last good state is not kept: %s", fault.text);
    buf_fini(&bytes);
}

/* Waits for the end, at most for this time. Under the mutex. */
static void wait_for_more(struct config *c, uint64_t ms)
{
    uint64_t until = clock_monotonic_ms() + ms;
    struct timespec at = { (time_t)(until / 1000), (long)(until % 1000 * 1000000) };
    int rc = 0;
    while (!c->stopping && rc == 0)
        rc = pthread_cond_timedwait(&c->kept, &c->mutex, &at);
}

static void *run_keeper(void *context)
{
    struct config *c = context;
    uint64_t pause = 0;
    pthread_mutex_lock(&c->mutex);
    while (!c->stopping || c->dirty) {
        while (!(c->dirty && c->whole) && !c->stopping)
            pthread_cond_wait(&c->kept, &c->mutex);
        if (!c->dirty || !c->whole)
            break;
        wait_for_more(c, pause > KEEP_AFTER_MS ? pause : KEEP_AFTER_MS);
        if (!c->whole)
            continue;
        c->dirty = false;
        pthread_mutex_unlock(&c->mutex);
        uint64_t began = clock_monotonic_ms();
        keep_state(c);
        pause = (clock_monotonic_ms() - began) * KEEP_SHARE;
        pause = pause < KEEP_PAUSE_MAX_MS ? pause : KEEP_PAUSE_MAX_MS;
        pthread_mutex_lock(&c->mutex);
    }
    pthread_mutex_unlock(&c->mutex);
    return NULL;
}

static void read_kept_state(struct config *c)
{
    struct buf bytes;
    struct fault fault;
    buf_init(&bytes, 0);
    int rc = cache_read(c->state_dir, &bytes, &fault);
    if (rc == 0)
        rc = cache_decode(buf_slice(&bytes), c->agent_ndn, &c->objects, &c->base, &fault);
    buf_fini(&bytes);
    if (rc != 0) {
        if (fault.class != FAULT_NOT_FOUND)
            log_warning("config", "the last good state on disk is not used: %s", fault.text);
        return;
    }
    c->from_cache = c->whole = true;
    publish(c);
}

static int check_options(const struct config_options *options, struct fault *fault)
{
    const struct directory_options *d = options->directory;
    if (d == NULL || d->uri_count == 0)
        return fault_set(fault, FAULT_INVALID, 0, "no directory is named");
    if ((d->cert_file != NULL) != (d->key_file != NULL))
        return fault_set(fault, FAULT_INVALID, 0, "a client certificate needs its key, and the key its certificate");
    if (d->gssapi && (d->external || d->bind_dn != NULL))
        return fault_set(fault, FAULT_INVALID, 0, "GSSAPI goes without EXTERNAL and a bind DN");
    if (!d->external && d->bind_dn != NULL && d->password_file == NULL)
        return fault_set(fault, FAULT_INVALID, 0, "a bind DN needs a password file");
    if (options->state_dir == NULL)
        return fault_set(fault, FAULT_INVALID, 0, "no state directory is named");
    if (options->mail_root != NULL && path_check_absolute(slice_from_string(options->mail_root), "") != NULL)
        return fault_set(fault, FAULT_INVALID, 0, "the mail root %s is not an absolute path", options->mail_root);
    if (options->allowed_port_count > sizeof(options->allowed_ports) / sizeof(options->allowed_ports[0]))
        return fault_set(fault, FAULT_INVALID, 0, "too many allowed ports");
    char *normal = options->agent_dn != NULL ? dn_normalise(slice_from_string(options->agent_dn)) : NULL;
    bool good = normal != NULL && *normal != '\0';
    mem_free(&normal);
    return good ? 0 : fault_set(fault, FAULT_INVALID, 0, "the agent's DN is not a distinguished name");
}

static void copy_options(struct config *c, const struct config_options *options)
{
    c->directory = *options->directory;
    c->agent_dn = mem_strdup(options->agent_dn);
    c->agent_ndn = dn_normalise(slice_from_string(options->agent_dn));
    c->state_dir = mem_strdup(options->state_dir);
    c->mail_root = mem_strdup(options->mail_root != NULL ? options->mail_root : "");
    for (size_t len = strlen(c->mail_root); len > 0 && c->mail_root[len - 1] == '/'; len--)
        c->mail_root[len - 1] = '\0';
    memcpy(c->ports, options->allowed_ports, sizeof(c->ports));
    c->overlay = overlay_new(options->switches, options->switch_count);
    struct parse_bounds bounds = { .mail_root = c->mail_root, .allowed_ports = c->ports, .allowed_port_count = options->allowed_port_count, .overlay = c->overlay,
                                   .agent_ndn = c->agent_ndn, .token_urls = options->token_urls, .token_url_count = options->token_url_count };
    objects_init(&c->objects, &bounds);
}

/* Every attribute of the watched classes, and what names and classes objects. The list is the caller's. */
const char **objects_watched_attributes(void)
{
    static const enum object_class_id classes[] = { CLASS_AGENT, CLASS_POST_OFFICE, CLASS_POST_OFFICE_AGENT, CLASS_LINK, CLASS_CLASS_OF_SERVICE };
    const char **names = MEM_NEW_ARRAY(const char *, 512);
    size_t count = 0;
    names[count++] = "objectClass";
    names[count++] = "entryUUID";
    names[count++] = "nsUniqueId";
    for (size_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
        const struct object_class *class = &object_classes[classes[i]];
        for (size_t j = 0; j < class->rule_count; j++) {
            size_t k = 0;
            while (k < count && strcmp(names[k], class->rules[j].name) != 0)
                k++;
            CHECK(k < 510);
            if (k == count)
                names[count++] = class->rules[j].name;
        }
    }
    return names;
}

const char objects_watched_filter[] = "(|(objectClass=posternInternetAgent)(objectClass=posternPostOffice)(objectClass=posternPostOfficeAgent)"
                                     "(objectClass=posternPostOfficeLink)(objectClass=posternClassOfService))";
static const char **attribute_names;

static void start_threads(struct config *c)
{
    static const struct directory_watch_events events = {
        .refresh_begin = on_refresh_begin, .entry = on_entry, .gone = on_gone, .refresh_end = on_refresh_end, .commit = on_commit,
        .lost = on_lost,
    };
    attribute_names = objects_watched_attributes();
    struct directory_watch_options watch = { &c->directory, c->agent_dn, objects_watched_filter, attribute_names };
    CHECK(pthread_create(&c->keeper, NULL, run_keeper, c) == 0);
    struct status *status = status_start(&c->directory, c->agent_dn);
    pthread_mutex_lock(&c->mutex);   /* others may publish what they have found */
    c->status = status;
    c->must_publish = true;
    pthread_mutex_unlock(&c->mutex);
    c->watch = directory_watch_start(&watch, &events, c);
    users_start(&c->directory, c->agent_dn, c->look_ups, c->users_changed, c->context);
}

int config_start(const struct config_options *options, void (*changed)(void *context), void *context, struct fault *fault)
{
    CHECK(config == NULL);
    if (check_options(options, fault) != 0)
        return -1;
    directory_init();
    struct config *c = MEM_NEW(struct config);
    pthread_mutex_init(&c->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&c->kept, &attributes);
    pthread_condattr_destroy(&attributes);
    copy_options(c, options);
    c->changed = changed;
    c->context = context;
    c->users_changed = options->users_changed;
    c->directory.choice = directory_choice_new(c->directory.uri_count);
    c->look_ups = directory_pool_new(&c->directory, DIRECTORY_POOL_LOOK_UPS, LOOK_UP_CONNECTIONS);
    c->binds = directory_pool_new(&c->directory, DIRECTORY_POOL_BINDS, BIND_CONNECTIONS);
    keys_start(c->look_ups, c->state_dir);
    config = c;
    read_kept_state(c);
    start_threads(c);
    return 0;
}

void config_stop(void)
{
    struct config *c = config;
    if (c == NULL)
        return;
    directory_watch_stop(&c->watch);
    users_stop();
    status_stop(&c->status);
    pthread_mutex_lock(&c->mutex);
    c->stopping = true;
    pthread_cond_signal(&c->kept);
    pthread_mutex_unlock(&c->mutex);
    pthread_join(c->keeper, NULL);
    config = NULL;
    remembered_clear();
    found_clear();
    snapshot_publish(NULL);
    verify_clear();
    directory_pool_free(&c->look_ups);
    directory_pool_free(&c->binds);
    directory_choice_free(&c->directory.choice);
    objects_fini(&c->objects);
    pthread_cond_destroy(&c->kept);
    pthread_mutex_destroy(&c->mutex);
    overlay_free(&c->overlay);
    mem_free(&attribute_names);
    mem_free(&c->agent_dn);
    mem_free(&c->agent_ndn);
    mem_free(&c->state_dir);
    mem_free(&c->mail_root);
    mem_free(&c->base);
    mem_release(c);
}

int config_find_user(struct slice name, struct user **out, struct fault *fault)
{
    return lookup_user(config->look_ups, name, out, fault);
}

int config_verify_user(const struct user *user, struct slice password, struct fault *fault)
{
    return verify_user(config->binds, config->look_ups, user, password, fault);
}

int config_verify_gateway(const char *dn, struct slice password, struct fault *fault)
{
    return directory_pool_bind(config->binds, dn, password, fault);
}

struct directory_bind *config_verify_begin(const struct user *user, struct slice password)
{
    return verify_begin(config->binds, user, password);
}

int config_verify_fd(const struct directory_bind *bind)
{
    return directory_bind_fd(bind);
}

int config_verify_take(struct directory_bind **bind, struct fault *fault)
{
    return verify_take(bind, fault);
}

void config_verify_drop(struct directory_bind **bind)
{
    verify_drop(bind);
}

bool config_find_kept_user(struct slice name, struct user **out)
{
    return lookup_kept_user(name, out);
}

bool config_user_is_current(const struct user *user)
{
    return users_is_current(user);
}

int config_refresh_user(const struct user *old, struct user **out, struct fault *fault)
{
    return lookup_user_again(config->look_ups, old, out, fault);
}

int config_explain_user(struct slice name, struct rights_report **out, struct fault *fault)
{
    return lookup_explain(config->look_ups, name, out, fault);
}

void config_directory_state(struct directory_watch_state *out)
{
    directory_watch_state(config->watch, out);
}

void config_refresh(void)
{
    directory_watch_refresh(config->watch);
}
