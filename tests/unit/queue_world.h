/* What the unit tests of src/queue share: a fake configuration, a fake store and a fake way to the agents, and a state directory for each test. */
#ifndef TESTS_UNIT_QUEUE_WORLD_H
#define TESTS_UNIT_QUEUE_WORLD_H

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/config/status.h"
#include "postern/poa/poa.h"
#include "postern/queue/inbox.h"
#include "postern/queue/queue.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"
#include "../../src/queue/agents.h"
#include "../../src/queue/attempt.h"
#include "../../src/queue/gate.h"
#include "../../src/queue/lane.h"
#include "../../src/queue/relay.h"
#include "../../src/queue/schedule.h"
#include "../../src/queue/seek.h"
#include "../../src/queue/spool.h"
#include "run.h"

/* --- neighbours --------------------------------------------------------------------------------------------------------- */

/* What is left of a process that is killed. */
struct delivered {
    int count;
    char mail[8192];
};

static struct {
    pthread_mutex_t lock;
    struct delivered *shared;  /* NULL: nobody is killed */
    bool directory_down, office_down;
    bool compared;             /* POA and path show the same: the path may stand in */
    enum poa_looked looked;    /* what a look through the agent finds */
    int looks;
    const char *stored;        /* the messages of the mailbox, the newest last, with a line of dashes after each */
    time_t stored_at;
    atomic_int links_changed;
    int delivered, writers;
    struct buf mail;
} world = { .lock = PTHREAD_MUTEX_INITIALIZER };

static bool envelope_holds(const char *wanted);

struct account { int unused; };
struct mailbox { int unused; };
struct message_writer { struct buf bytes; };

static struct account the_account;
static struct mailbox the_mailbox;
static char path_text[] = "/mail", empty[] = "", id_text[] = "joe", domain_text[] = "example.com";
static char *domains[] = { domain_text };
static struct post_office office = { .path = path_text, .control_dir = empty, .prefix = empty, .separator = '.', .domains = { domains, 1 } };
static struct user joe = { .post_office = &office, .id = id_text, .mailbox_dir = id_text, .smtp_incoming_allowed = true };
/* Another post office, whose agent is not there. */
static char nowhere[] = "127.0.0.1", far_name[] = "far";
static struct post_office_agent far_agent = { .host = nowhere, .lmtp_port = 1, .timeout_ms = 1000, .login_timeout_ms = 1000 };
static struct post_office far_office = { .uuid = "00000000-0000-0000-0000-000000000002", .name = far_name, .agents = &far_agent, .agent_count = 1 };
static struct user far = { .post_office = &far_office, .id = id_text, .mailbox_dir = id_text, .smtp_incoming_allowed = true };
static struct user gone = { .post_office = &office, .id = id_text, .disabled = true };
static struct snapshot snapshot;

static bool is_down(const bool *flag)
{
    pthread_mutex_lock(&world.lock);
    bool down = *flag;
    pthread_mutex_unlock(&world.lock);
    return down;
}

static inline void set_flag(bool *flag, bool value)
{
    pthread_mutex_lock(&world.lock);
    *flag = value;
    pthread_mutex_unlock(&world.lock);
}

int account_open(const struct account_where *where, bool create, struct account **out, struct fault *fault)
{
    CU_ASSERT(slice_is(where->path, "/mail") && create == (office.agent_count == 0));
    if (is_down(&world.office_down))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "not mounted");
    *out = &the_account;
    return 0;
}

void account_unref(struct account **account)
{
    *account = NULL;
}

int account_mailbox(struct account *account, struct slice name, struct mailbox **out, struct fault *fault)
{
    (void)account, (void)fault;
    CU_ASSERT(slice_is(name, "INBOX"));
    *out = &the_mailbox;
    return 0;
}

void mailbox_unref(struct mailbox **mailbox)
{
    *mailbox = NULL;
}

enum poa_path poa_fallback(const struct post_office *post_office)
{
    CU_ASSERT(post_office == &office || post_office == &far_office);
    return is_down(&world.compared) && post_office->path != NULL ? PATH_DIRECT : PATH_NONE;   /* the flag is read under the lock */
}

void config_links_changed(void)
{
    atomic_fetch_add(&world.links_changed, 1);
}

int poa_keys_get(const struct post_office_agent *agent, struct poa_keys *out, struct fault *fault)
{
    (void)fault;
    *out = (struct poa_keys){ .name = agent->credentials != NULL ? mem_strdup("gate") : NULL, .secret = agent->credentials != NULL ? mem_strdup("s3 cret") : NULL };
    return 0;
}

void poa_keys_fini(struct poa_keys *keys)
{
    mem_free(&keys->name);
    mem_free(&keys->secret);
}

enum poa_looked poa_look_for(const struct poa_look *look)
{
    CU_ASSERT(strcmp(look->user, "joe") == 0 && look->wanted.len != 0);
    pthread_mutex_lock(&world.lock);
    enum poa_looked result = world.looked;
    world.looks++;
    pthread_mutex_unlock(&world.lock);
    return result;
}

/* --- a mailbox to look through */

static struct slice stored_message(uint32_t number)
{
    struct slice rest = slice_from_string(world.stored);
    for (uint32_t i = 1; rest.len != 0; i++) {
        ptrdiff_t end = slice_find_text(rest, SLICE_LITERAL("----\n"));
        if (i == number)
            return slice_part(rest, 0, (size_t)end);
        rest = slice_from(rest, (size_t)end + 5);
    }
    return SLICE_NONE;
}

struct view { int unused; };
static struct view the_view;

int mailbox_sync(struct mailbox *mailbox, struct fault *fault)
{
    static int calls;
    (void)mailbox;
    return calls++ % 2 == 0 ? fault_set(fault, FAULT_BUSY, 0, "locked") : 0;
}

struct view *view_open(struct mailbox *mailbox, bool read_only, void (*notify)(void *context), void *context)
{
    (void)mailbox, (void)context;
    CU_ASSERT(read_only && notify == NULL);
    return &the_view;
}

void view_close(struct view **view)
{
    *view = NULL;
}

uint32_t view_count(struct view *view)
{
    uint32_t count = 0;
    (void)view;
    while (stored_message(count + 1).data != NULL)
        count++;
    return count;
}

size_t view_read(struct view *view, uint32_t first, struct message *out, size_t most)
{
    (void)view;
    CU_ASSERT(first >= 1 && most == 1);
    *out = (struct message){ .uid = first };
    return 1;
}

int mailbox_open_message(struct mailbox *mailbox, uint32_t uid, int *fd_out, uint64_t *size_out, struct fault *fault)
{
    (void)mailbox;
    struct slice text = stored_message(uid);
    struct timespec when[2] = { { .tv_sec = world.stored_at }, { .tv_sec = world.stored_at } };
    if (slice_is(text, "gone\n"))
        return fault_set(fault, FAULT_GONE, 0, "gone");
    FILE *file = tmpfile();
    fwrite(text.data, 1, text.len, file);
    rewind(file);
    *fd_out = dup(fileno(file));
    *size_out = text.len;
    fclose(file);
    futimens(*fd_out, when);
    return 0;
}

int message_writer_open(struct mailbox *mailbox, struct message_writer **out, struct fault *fault)
{
    (void)mailbox, (void)fault;
    *out = MEM_NEW(struct message_writer);
    pthread_mutex_lock(&world.lock);
    world.writers++;
    pthread_mutex_unlock(&world.lock);
    return 0;
}

int message_writer_write(struct message_writer *writer, struct slice bytes, struct fault *fault)
{
    (void)fault;
    buf_append(&writer->bytes, bytes);
    return 0;
}

int message_writer_deliver(struct message_writer *writer, struct fault *fault)
{
    (void)fault;
    CU_ASSERT(envelope_holds("\nunknown joe@example.com\n"));   /* so that a crash from here on makes no second copy */
    pthread_mutex_lock(&world.lock);
    buf_swap(&world.mail, &writer->bytes);
    world.delivered++;
    if (world.shared != NULL) {
        snprintf(world.shared->mail, sizeof(world.shared->mail), "%.*s----\n", SLICE_ARG(buf_slice(&world.mail)));
        world.shared->count++;
    }
    pthread_mutex_unlock(&world.lock);
    return 0;
}

void message_writer_free(struct message_writer **writer)
{
    if (*writer == NULL)
        return;
    buf_fini(&(*writer)->bytes);
    mem_free(writer);
    pthread_mutex_lock(&world.lock);
    world.writers--;
    pthread_mutex_unlock(&world.lock);
}

int config_find_user(struct slice name, struct user **out, struct fault *fault)
{
    if (is_down(&world.directory_down))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "down");
    static const char *const names[] = { "joe@example.com", "amy@example.com", "no@example.com", "later@example.com", "gone@example.com", "hangup@example.com", "far@example.com" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (slice_is(name, names[i])) {
            *out = slice_starts_with(name, "gone") ? &gone : slice_starts_with(name, "far") ? &far : &joe;
            return 0;
        }
    return fault_set(fault, FAULT_NOT_FOUND, 0, "nobody");
}

void user_unref(struct user **user)
{
    *user = NULL;
}

struct snapshot *snapshot_current(void)
{
    return &snapshot;
}

void snapshot_unref(struct snapshot **at)
{
    *at = NULL;
}

const struct post_office *snapshot_domain(const struct snapshot *at, struct slice domain)
{
    (void)at;
    return slice_is_nocase(domain, "example.com") ? &office : NULL;
}

/* --- a directory for each test ------------------------------------------------------------------------------------------ */

static char state_dir[256];

static void remove_tree(const char *path)
{
    DIR *list = opendir(path);
    for (struct dirent *at = list ? readdir(list) : NULL; at != NULL; at = readdir(list)) {
        char name[600];
        if (strcmp(at->d_name, ".") == 0 || strcmp(at->d_name, "..") == 0)
            continue;
        snprintf(name, sizeof(name), "%s/%s", path, at->d_name);
        if (unlink(name) < 0)
            remove_tree(name);
    }
    if (list != NULL)
        closedir(list);
    rmdir(path);
}

static inline size_t count_files(const char *below)
{
    char path[400];
    size_t count = 0;
    snprintf(path, sizeof(path), "%s/queue%s", state_dir, below);
    DIR *list = opendir(path);
    for (struct dirent *at = list ? readdir(list) : NULL; at != NULL; at = readdir(list))
        count += strchr(at->d_name, '.') != NULL && at->d_name[0] != '.';
    if (list != NULL)
        closedir(list);
    return count;
}

static inline void put_file(const char *name, const char *text)
{
    char path[600];
    snprintf(path, sizeof(path), "%s/queue/%s", state_dir, name);
    FILE *file = fopen(path, "w");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(text, file);
    fclose(file);
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(state_dir, sizeof(state_dir), "%s/postern-queue-XXXXXX", tmp != NULL ? tmp : "/tmp");
    CU_ASSERT_PTR_NOT_NULL_FATAL(mkdtemp(state_dir));
    memset(&snapshot, 0, sizeof(snapshot));
    snapshot.agent.smtp_send_threads = 2;
    snapshot.agent.defer_hours = 96;
    snapshot.agent.smtp_connect_minutes = snapshot.agent.smtp_greeting_minutes = snapshot.agent.smtp_read_minutes = 1;
    static char host[] = "mx.example.com";
    snapshot.agent.host_name = host;
    world.delivered = 0;
    world.directory_down = world.office_down = false;
    world.compared = true;
    world.looked = POA_LOOK_NO_WAY;
    world.looks = 0;
    world.stored = "";
}

static void end(void)
{
    remove_tree(state_dir);
    buf_fini(&world.mail);
    CU_ASSERT_EQUAL(world.writers, 0);
}

static inline bool until_length(size_t length)
{
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2))
        if (queue_length() == length)
            return true;
    return false;
}

static inline bool was_tried(const char *id, const char *path)
{
    char name[600], text[400] = "";
    snprintf(name, sizeof(name), "%s/%s", path, id);
    FILE *file = strstr(id, ".envelope") != NULL ? fopen(name, "r") : NULL;
    if (file == NULL)
        return false;
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
    fclose(file);
    return strstr(text, "attempts 1\n") != NULL;
}

/* Some envelope does. */
static bool envelope_holds(const char *wanted)
{
    char name[600], text[16384];
    bool holds = false;
    snprintf(name, sizeof(name), "%s/queue", state_dir);
    DIR *list = opendir(name);
    for (struct dirent *at = readdir(list); at != NULL && !holds; at = readdir(list)) {
        FILE *file = NULL;
        snprintf(name, sizeof(name), "%s/queue/%s", state_dir, at->d_name);
        if (strstr(at->d_name, ".envelope") != NULL && (file = fopen(name, "r")) != NULL) {
            text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
            fclose(file);
            holds = strstr(text, wanted) != NULL;
        }
    }
    closedir(list);
    return holds;
}

/* Until a message has one attempt behind it, written down. */
static inline bool until_tried(void)
{
    char path[300];
    snprintf(path, sizeof(path), "%s/queue", state_dir);
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2)) {
        bool tried = false;
        DIR *list = opendir(path);
        for (struct dirent *at = readdir(list); at != NULL && !tried; at = readdir(list))
            tried = was_tried(at->d_name, path);
        closedir(list);
        if (tried)
            return true;
    }
    return false;
}

static inline int put_message(const char *sender, const char *const *to, size_t count, const char *text)
{
    struct queue_message *message = NULL;
    struct slice slices[8];
    struct fault fault;
    for (size_t i = 0; i < count; i++)
        slices[i] = slice_from_string(to[i]);
    int result = queue_message_open(slice_from_string(sender), slices, count, false, &message, &fault);
    if (result == 0)
        result = queue_message_write(message, slice_from_string(text), &fault);
    if (result == 0)
        result = queue_message_commit(message, &fault);
    queue_message_free(&message);
    return result;
}

#endif
