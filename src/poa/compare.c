/* The comparison of POA and path. At a login through the POA of a post office that is not compared yet, the same user's mailboxes are looked at by a second
 * connection and in the Maildir; what came of it is kept on disk. Runs on poa's loop, the disk in a thread of its own; nobody waits for it. */
#include "compare.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "circuit.h"
#include "opening.h"
#include "picture.h"
#include "postern/base/list.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"

/* Mail that comes in between makes a difference that is none: only what differs again and again counts. */
enum { TRIES = 4, AGAIN_MS = 700, ANSWER_MS = 10000, SAID_MAX = 4 << 20, KEPT_MAX = 1 << 20 };

struct comparer {
    struct loop *loop;
    const char *state_dir;
    struct map results;          /* uuid to struct result */
    struct list jobs;
    bool stopping;
};

struct result {
    uint64_t fingerprint;        /* of what was compared */
    char *difference;            /* "": they agree */
};

struct job {
    struct list link;
    struct comparer *comparer;
    struct poa_open_request request;   /* its texts are owned */
    struct poa_opening *opening;
    size_t agent;                /* of the post office: the one that answered */
    struct stream stream;
    struct buf said, out;
    struct loop_timer timer;
    bool asked_messages;
    unsigned tries;
    pthread_t thread;
    bool has_thread;
    struct buf poa, path;
    bool has_path;
    struct fault fault;
};

static struct comparer *_Atomic current;

/* --- what is compared ----------------------------------------------------------------------------------------------------------- */

static uint64_t mix(uint64_t hash, const char *text)
{
    for (; *text != '\0'; text++)
        hash = (hash ^ (unsigned char)*text) * 1099511628211u;
    return (hash ^ 0xff) * 1099511628211u;
}

uint64_t circuit_fingerprint(const struct post_office *office)
{
    uint64_t hash = 14695981039346656037u;
    const char *const parts[] = { office->path, office->mailbox_template, office->prefix, office->control_dir };
    char number[32];
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        hash = mix(hash, parts[i] != NULL ? parts[i] : "");
    for (size_t i = 0; i < office->agent_count; i++) {
        snprintf(number, sizeof(number), "%u%c", office->agents[i].port, office->separator);
        hash = mix(mix(hash, office->agents[i].host), number);
    }
    return hash;
}

/* --- what is known -------------------------------------------------------------------------------------------------------------- */

static void set_result(struct comparer *c, struct slice uuid, uint64_t fingerprint, struct slice difference)
{
    struct result *r = map_get(&c->results, uuid);
    if (r == NULL) {
        r = MEM_NEW(struct result);
        map_put(&c->results, uuid, r);
    }
    mem_free(&r->difference);
    r->fingerprint = fingerprint;
    r->difference = slice_to_string(difference);
}

static void parse_results(struct comparer *c, struct slice text)
{
    struct slice line;
    while (slice_split(&text, '\n', &line)) {
        struct slice uuid, print;
        uint64_t fingerprint;
        if (slice_split(&line, ' ', &uuid) && uuid.len == 36 && slice_split(&line, ' ', &print) && slice_to_number(print, UINT64_MAX, &fingerprint))
            set_result(c, uuid, fingerprint, line.data != NULL ? line : SLICE_LITERAL(""));
    }
}

static void read_results(struct comparer *c)
{
    struct buf path = { .cap = 0 }, text = { .cap = 0 };
    if (c->state_dir == NULL)
        return;
    buf_printf(&path, "%s/compared", c->state_dir);
    int fd = open(buf_text(&path), O_RDONLY | O_CLOEXEC);
    for (ssize_t n = 1; fd >= 0 && n > 0 && text.len < KEPT_MAX;) {
        n = read(fd, buf_reserve(&text, 65536), 65536);
        if (n > 0)
            buf_extend(&text, (size_t)n);
    }
    if (fd >= 0)
        close(fd);
    parse_results(c, buf_slice(&text));
    buf_fini(&text);
    buf_fini(&path);
}

static void write_result(struct slice key, void *value, void *context)
{
    const struct result *r = value;
    buf_printf(context, "%.*s %" PRIu64 " %s\n", SLICE_ARG(key), r->fingerprint, r->difference);
}

static int replace_file(const char *state_dir, struct slice text)
{
    int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd = -1, rc = -1;
    if (dir >= 0)
        fd = openat(dir, "compared.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0 && write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0 && renameat(dir, "compared.tmp", dir, "compared") == 0)
        rc = 0;
    if (fd >= 0)
        close(fd);
    if (dir >= 0)
        close(dir);
    return rc;
}

/* A result that is lost is found again at the next login. */
static void write_results(struct comparer *c)
{
    struct buf text = { .cap = 0 };
    if (c->state_dir == NULL)
        return;
    map_for_each(&c->results, write_result, &text);
    if (replace_file(c->state_dir, buf_slice(&text)) < 0)
        log_warning("poa", "%s/compared cannot be written: %s", c->state_dir, strerror(errno));
    buf_fini(&text);
}

void comparer_follow(struct comparer *comparer, const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->post_office_count; i++) {
        const struct post_office *po = snapshot->post_offices[i];
        if (po->path == NULL || po->agent_count == 0)
            continue;
        const struct result *r = map_get(&comparer->results, slice_from_string(po->uuid));
        if (r != NULL)
            circuit_set_compared(po, r->fingerprint, r->difference);
    }
}

/* --- the end of a job ------------------------------------------------------------------------------------------------------------- */

static void close_poa(struct job *j)
{
    poa_open_cancel(&j->opening);
    stream_fini(&j->stream);
    buf_fini(&j->said);
    buf_fini(&j->out);
    loop_timer_cancel(&j->timer);
}

static void free_job(struct job *j)
{
    if (j->has_thread)
        pthread_join(j->thread, NULL);
    close_poa(j);
    buf_fini(&j->poa);
    buf_fini(&j->path);
    list_remove(&j->link);
    if (j->request.password.data != NULL)
        secret_wipe((char *)(uintptr_t)j->request.password.data, j->request.password.len);
    mem_release((char *)(uintptr_t)j->request.password.data);
    mem_release((char *)(uintptr_t)j->request.user);
    mem_release((char *)(uintptr_t)j->request.mailbox_dir);
    snapshot_unref(&j->request.snapshot);
    mem_release(j);
}

static void give_up(struct job *j)
{
    const struct post_office *po = j->request.post_office;
    log_warning("poa", "post office %s: POA and path could not be compared: %s", po->name, j->fault.text);
    circuit_comparison_ended(po);
    free_job(j);
}

static void conclude(struct job *j, struct slice difference)
{
    const struct post_office *po = j->request.post_office;
    const struct post_office_agent *agent = &po->agents[j->agent];
    if (!circuit_is_compared(po)) {
        free_job(j);
        return;
    }
    set_result(j->comparer, slice_from_string(po->uuid), circuit_fingerprint(po), difference);
    write_results(j->comparer);
    const struct result *r = map_get(&j->comparer->results, slice_from_string(po->uuid));
    circuit_set_compared(po, r->fingerprint, r->difference);
    circuit_comparison_ended(po);
    if (difference.len > 0)
        log_error("poa", "post office %s: POA (%s port %u) and path do not show the same mailboxes, the path does not stand in for the POA: %.*s (user %s)", po->name,
                  agent->host, agent->port, SLICE_ARG(difference), j->request.user);
    else
        log_normal("poa", "post office %s: POA (%s port %u) and path show the same mailboxes: the path stands in when the POA is away", po->name, agent->host,
                   agent->port);
    free_job(j);
}

static void begin(void *arg);

static void try_again(struct job *j)
{
    close_poa(j);
    buf_clear(&j->poa);
    buf_clear(&j->path);
    j->asked_messages = false;
    loop_timer_init(&j->timer, j->comparer->loop, begin, j);
    loop_timer_set(&j->timer, AGAIN_MS);
}

/* --- the path ----------------------------------------------------------------------------------------------------------------------- */

static void both_seen(void *arg)
{
    struct job *j = arg;
    struct buf difference = { .cap = 200 };
    pthread_join(j->thread, NULL);
    j->has_thread = false;
    if (j->comparer->stopping)
        return;
    if (!j->has_path)
        buf_append_text(&j->path, "nothing\n");
    if (!j->has_path && j->fault.class != FAULT_UNREACHABLE && j->fault.class != FAULT_NOT_FOUND) {
        give_up(j);
        return;
    }
    bool same = j->has_path && picture_is_same(buf_slice(&j->poa), buf_slice(&j->path), &difference);
    if (!j->has_path)
        buf_printf(&difference, "the path cannot be opened: %.150s", j->fault.text);
    if (!same && ++j->tries < TRIES)
        try_again(j);
    else
        conclude(j, same ? SLICE_LITERAL("") : buf_slice(&difference));
    buf_fini(&difference);
}

static void *look_at_path(void *arg)
{
    struct job *j = arg;
    j->has_path = picture_of_path(j->request.post_office, j->request.mailbox_dir, &j->path, &j->fault) == 0;
    loop_post(j->comparer->loop, both_seen, j);
    return NULL;
}

static void go_to_path(void *arg)
{
    struct job *j = arg;
    stream_fini(&j->stream);
    int error = pthread_create(&j->thread, NULL, look_at_path, j);
    j->has_thread = error == 0;
    if (error != 0) {
        fault_set_errno(&j->fault, error, "a thread");
        give_up(j);
    }
}

/* --- the POA ------------------------------------------------------------------------------------------------------------------------- */

static void later(struct job *j, void (*fn)(void *arg), unsigned milliseconds)
{
    loop_timer_cancel(&j->timer);
    loop_timer_init(&j->timer, j->comparer->loop, fn, j);
    loop_timer_set(&j->timer, milliseconds);
}

static void fail(void *arg)
{
    struct job *j = arg;
    if (j->fault.class == FAULT_NONE)
        fault_set(&j->fault, FAULT_TIMEOUT, 0, "the POA does not answer");
    give_up(j);
}

/* Whether the answer to the command with this tag is there, and good. */
static bool has_answer(struct job *j, char tag)
{
    struct slice rest = buf_slice(&j->said), line;
    while (slice_split(&rest, '\n', &line))
        if (rest.data != NULL && line.len > 2 && line.data[0] == tag && line.data[1] == ' ') {
            if (!slice_starts_with_nocase(slice_from(line, 2), "OK"))
                fault_set(&j->fault, FAULT_PROTOCOL, 0, "the POA answers %.*s", (int)(line.len < 100 ? line.len : 100), line.data);
            return true;
        }
    return false;
}

static void ask_messages(struct job *j)
{
    uint64_t exists = picture_exists(buf_slice(&j->said)), first = exists > PICTURE_MESSAGES ? exists - PICTURE_MESSAGES + 1 : 1;
    j->asked_messages = true;
    if (exists > 0)
        buf_printf(&j->out, "m FETCH %" PRIu64 ":%" PRIu64 " (UID FLAGS RFC822.SIZE)\r\n", first, exists);
    else
        buf_append_text(&j->out, "m NOOP\r\n");
    stream_send(&j->stream, &j->out);
}

static void poa_news(struct stream *stream, enum stream_event event, void *context)
{
    struct job *j = context;
    fault_clear(&j->fault);
    if (event == STREAM_EOF || event == STREAM_FAILED)
        fault_set(&j->fault, FAULT_UNREACHABLE, 0, "the POA closed the connection");
    else if (event != STREAM_INPUT)
        return;
    else if (!j->asked_messages && has_answer(j, 'e') && j->fault.class == FAULT_NONE)
        ask_messages(j);
    else if (j->asked_messages && has_answer(j, 'm') && j->fault.class == FAULT_NONE &&
             picture_of_poa(buf_slice(&j->said), &j->poa, &j->fault) == 0) {
        stream_want_input(stream, false);
        later(j, go_to_path, 0);
        return;
    }
    if (j->said.len >= SAID_MAX)
        fault_set(&j->fault, FAULT_LIMIT, 0, "the POA says too much");
    bool failed = j->fault.class != FAULT_NONE;
    stream_want_input(stream, !failed);
    if (failed)
        later(j, fail, 0);
}

static void answered(void *context, enum poa_result result, const struct fault *fault)
{
    struct job *j = context;
    struct poa_opening *opening = j->opening;
    struct buf capability = { .cap = 0 };
    j->opening = NULL;
    if (result != POA_OPEN) {
        j->fault = *fault;
        later(j, fail, 0);
        return;
    }
    j->agent = poa_agent(opening);
    poa_take(opening, &j->stream, &j->said, &capability, poa_news, j);
    j->stream.in_limit = SAID_MAX;
    buf_fini(&capability);
    buf_append_text(&j->out, "n NAMESPACE\r\nf LIST \"\" \"*\"\r\ne EXAMINE INBOX\r\n");
    stream_send(&j->stream, &j->out);
    stream_want_input(&j->stream, true);
    later(j, fail, ANSWER_MS);
}

static void begin(void *arg)
{
    struct job *j = arg;
    fault_clear(&j->fault);
    j->request.answered = answered;
    j->request.context = j;
    j->opening = poa_open(&j->request);
}

static void take_job(void *arg)
{
    struct job *j = arg;
    list_append(&j->comparer->jobs, &j->link);
    begin(j);
}

/* --- logins ------------------------------------------------------------------------------------------------------------------------- */

static void login_seen(const struct poa_open_request *request, size_t agent)
{
    struct comparer *c = current;
    (void)agent;
    if (c == NULL || request->mailbox_dir == NULL || !circuit_wants_comparison(request->post_office))
        return;
    struct job *j = MEM_NEW(struct job);
    j->comparer = c;
    list_init(&j->link);
    j->request = (struct poa_open_request){
        .loop = c->loop, .snapshot = snapshot_ref(request->snapshot), .post_office = request->post_office, .user = mem_strdup(request->user),
        .mailbox_dir = mem_strdup(request->mailbox_dir), .token = request->token,
    };
    if (request->password.data != NULL)
        j->request.password = slice_make(slice_to_string(request->password), request->password.len);
    loop_post(c->loop, take_job, j);
}

struct comparer *comparer_new(struct loop *loop, const char *state_dir)
{
    struct comparer *c = MEM_NEW(struct comparer);
    c->loop = loop;
    c->state_dir = state_dir;
    list_init(&c->jobs);
    read_results(c);
    current = c;
    opening_observer = login_seen;
    return c;
}

static void free_result(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    struct result *r = value;
    mem_free(&r->difference);
    mem_free(&r);
}

void comparer_free(struct comparer **comparer)
{
    struct comparer *c = *comparer;
    if (c == NULL)
        return;
    opening_observer = NULL;
    current = NULL;
    c->stopping = true;
    LIST_FOR_EACH (&c->jobs, at)
        free_job(LIST_ITEM(at, struct job, link));
    map_for_each(&c->results, free_result, NULL);
    map_fini(&c->results);
    mem_free(comparer);
}
