/* CA files, certificates and credentials of POAs. The reading is done by poa's own thread alone; a login takes copies. No secret comes into a log. */
#include "material.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/buf.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"

enum { FILES = 4, CREDENTIALS_MAX = 4096 };

/* What one combination of settings needs. */
struct kept {
    char *files[FILES];          /* CA, certificate, key, credentials: whole paths, or NULL */
    struct stat states[FILES];   /* when they were last read */
    bool tls_wanted;
    bool verify;
    bool read;                   /* at least once, well or not */
    bool ready;
    struct poa_keys material;
    struct fault fault;
    bool seen;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;   /* the map, and what of a kept is used by logins */
static struct map all;                                     /* key to struct kept */
static const struct poa_options *options;

static void key_of(const struct post_office_agent *agent, struct buf *key)
{
    const char *const parts[FILES] = { agent->ca_file, agent->certificate, agent->key, agent->credentials };
    buf_printf(key, "%d", (int)agent->tls);
    for (size_t i = 0; i < FILES; i++)
        buf_printf(key, "\n%s", parts[i] != NULL ? parts[i] : "");
}

enum material_state material_get(const struct post_office_agent *agent, struct poa_keys *out, struct fault *fault)
{
    struct buf key = { .cap = 0 };
    enum material_state state = MATERIAL_UNKNOWN;
    *out = (struct poa_keys){ NULL, NULL, NULL };
    if (agent->tls == POA_TLS_DISABLED && agent->credentials == NULL)
        return MATERIAL_READY;
    key_of(agent, &key);
    pthread_mutex_lock(&lock);
    const struct kept *k = map_get(&all, buf_slice(&key));
    if (k != NULL && k->ready) {
        out->tls = k->material.tls != NULL ? tls_client_ref(k->material.tls) : NULL;
        out->name = mem_strdup(k->material.name);
        out->secret = mem_strdup(k->material.secret);
        state = MATERIAL_READY;
    } else if (k != NULL && k->read) {
        *fault = k->fault;
        state = MATERIAL_BROKEN;
    }
    pthread_mutex_unlock(&lock);
    buf_fini(&key);
    return state;
}

int poa_keys_get(const struct post_office_agent *agent, struct poa_keys *out, struct fault *fault)
{
    switch (material_get(agent, out, fault)) {
    case MATERIAL_UNKNOWN:
        return fault_set(fault, FAULT_BUSY, 0, "the CA file or the credentials are not read yet");
    case MATERIAL_BROKEN:
        return -1;
    default:
        return 0;
    }
}

void poa_keys_fini(struct poa_keys *keys)
{
    tls_client_unref(&keys->tls);
    mem_free(&keys->name);
    secret_free(&keys->secret);
}

/* --- reading ------------------------------------------------------------------------------------------------------------------ */

static char *path_in(const char *dir, const char *file)
{
    struct buf path = { .cap = 0 };
    if (file == NULL)
        return NULL;
    buf_printf(&path, "%s/%s", dir != NULL ? dir : "/nonexistent", file);
    char *text = slice_to_string(buf_slice(&path));
    buf_fini(&path);
    return text;
}

static struct kept *kept_new(const struct post_office_agent *agent)
{
    struct kept *k = MEM_NEW(struct kept);
    const char *tls_dir = options != NULL ? options->tls_dir : NULL;
    k->files[0] = path_in(tls_dir, agent->ca_file);
    k->files[1] = path_in(tls_dir, agent->certificate);
    k->files[2] = path_in(tls_dir, agent->key);
    k->files[3] = path_in(options != NULL ? options->credentials_dir : NULL, agent->credentials);
    k->tls_wanted = agent->tls != POA_TLS_DISABLED;
    k->verify = agent->tls == POA_TLS_REQUIRED || agent->tls == POA_TLS_IMPLICIT || agent->ca_file != NULL;
    return k;
}

static void kept_free(struct kept *k)
{
    for (size_t i = 0; i < FILES; i++)
        mem_free(&k->files[i]);
    poa_keys_fini(&k->material);
    mem_free(&k);
}

static bool has_changed(struct kept *k)
{
    bool changed = !k->read;
    for (size_t i = 0; i < FILES; i++) {
        struct stat now;
        memset(&now, 0, sizeof(now));
        if (k->files[i] == NULL || stat(k->files[i], &now) < 0)
            memset(&now, 0, sizeof(now));
        changed = changed || now.st_ino != k->states[i].st_ino || now.st_size != k->states[i].st_size || now.st_mtim.tv_sec != k->states[i].st_mtim.tv_sec ||
                  now.st_mtim.tv_nsec != k->states[i].st_mtim.tv_nsec;
        k->states[i] = now;
    }
    return changed;
}

static bool take_line(struct slice *rest, char **out)
{
    struct slice line;
    if (!slice_split(rest, '\n', &line))
        return false;
    if (slice_ends_with(line, "\r"))
        line.len--;
    if (line.len == 0 || slice_has_nul(line))
        return false;
    *out = slice_to_string(line);
    return true;
}

/* The name on the first line, the password on the second. */
static int read_credentials(const char *path, struct poa_keys *out, struct fault *fault)
{
    char bytes[CREDENTIALS_MAX];
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return fault_set_errno(fault, errno, "%s", path);
    ssize_t n = read(fd, bytes, sizeof(bytes));
    int error = errno;
    close(fd);
    if (n < 0)
        return fault_set_errno(fault, error, "%s", path);
    struct slice rest = slice_make(bytes, (size_t)n);
    bool good = (size_t)n < sizeof(bytes) && take_line(&rest, &out->name) && take_line(&rest, &out->secret);
    secret_wipe(bytes, sizeof(bytes));
    return good ? 0 : fault_set(fault, FAULT_INVALID, 0, "%s: not a name on the first line and a password on the second", path);
}

static void read_files(struct kept *k)
{
    struct poa_keys next = { NULL, NULL, NULL };
    struct fault fault = { .class = FAULT_NONE };
    int rc = k->tls_wanted ? tls_client_new(k->files[0], k->verify, k->files[1], k->files[2], &next.tls, &fault) : 0;
    if (rc == 0 && k->files[3] != NULL)
        rc = read_credentials(k->files[3], &next, &fault);
    pthread_mutex_lock(&lock);
    if (rc == 0) {
        struct poa_keys old = k->material;
        k->material = next;
        next = old;
        k->ready = true;
    }
    k->fault = fault;
    k->read = true;
    pthread_mutex_unlock(&lock);
    poa_keys_fini(&next);
    if (rc < 0)
        log_error("poa", "what it takes to log in at a POA cannot be read: %s%s", fault.text, k->ready ? "; what was read before stays in use" : "");
}

static void unsee(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    ((struct kept *)value)->seen = false;
}

static void see_agent(const struct post_office_agent *agent)
{
    struct buf key = { .cap = 0 };
    if (agent->tls == POA_TLS_DISABLED && agent->credentials == NULL)
        return;
    key_of(agent, &key);
    struct kept *k = map_get(&all, buf_slice(&key));
    if (k == NULL) {
        k = kept_new(agent);
        pthread_mutex_lock(&lock);
        map_put(&all, buf_slice(&key), k);
        pthread_mutex_unlock(&lock);
    }
    if (!k->seen && has_changed(k))
        read_files(k);
    k->seen = true;
    buf_fini(&key);
}

static void collect_unseen(struct slice key, void *value, void *context)
{
    if (!((struct kept *)value)->seen) {
        buf_append(context, key);
        buf_append_byte(context, '\0');
    }
}

static void collect_all(struct slice key, void *value, void *context)
{
    (void)value;
    buf_append(context, key);
    buf_append_byte(context, '\0');
}

static void forget(struct slice keys)
{
    struct slice key;
    while (slice_split(&keys, '\0', &key)) {
        pthread_mutex_lock(&lock);
        struct kept *k = key.len > 0 ? map_remove(&all, key) : NULL;
        pthread_mutex_unlock(&lock);
        if (k != NULL)
            kept_free(k);
    }
}

void material_follow(const struct snapshot *snapshot)
{
    struct buf gone = { .cap = 0 };
    map_for_each(&all, unsee, NULL);
    for (size_t i = 0; i < snapshot->post_office_count; i++)
        for (size_t j = 0; j < snapshot->post_offices[i]->agent_count; j++)
            see_agent(&snapshot->post_offices[i]->agents[j]);
    map_for_each(&all, collect_unseen, &gone);
    forget(buf_slice(&gone));
    buf_fini(&gone);
}

void material_start(const struct poa_options *given)
{
    options = given;
}

void material_stop(void)
{
    struct buf keys = { .cap = 0 };
    map_for_each(&all, collect_all, &keys);
    forget(buf_slice(&keys));
    buf_fini(&keys);
    map_fini(&all);
    map_init(&all);
    options = NULL;
}
