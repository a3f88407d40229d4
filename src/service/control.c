/* The socket of posternctl. Called on the first loop; must never tell more than the one user hears who may open the socket, and
 * never wait: what may take time goes to a thread, and who reads too slowly is told less. */
#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "following.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "postern/net/listener.h"
#include "postern/net/stream.h"

enum { LINE_LIMIT = 8192, CLIENTS_MAX = 32, ANSWER_MAX = 256 * 1024 * 1024 };

struct control {
    struct gateway *gateway;
    struct listener *listener;
    struct list clients;
    struct followers followers;
    unsigned count;
    char *path;
};

struct client_line {
    struct question question;     /* first */
    struct list link;
    struct control *control;
    struct stream stream;
    struct buf in;
    bool asked;
    bool under_way;               /* a thread or another loop has the question */
    bool following;
    bool ending;
    bool leaving;                 /* the message that frees it is under way */
    struct follow_state follow;
};

/* --- the short answers ----------------------------------------------------------------------------------------------------- */

static struct slice without_end_slashes(struct slice path)
{
    while (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    return path;
}

static int post_office_answer(struct question *q)
{
    struct snapshot *snapshot = snapshot_current();
    struct slice path = without_end_slashes(q->argument);
    const struct post_office *found = NULL;
    for (size_t i = 0; snapshot != NULL && found == NULL && i < snapshot->post_office_count; i++) {
        const struct post_office *office = snapshot->post_offices[i];
        if (office->path != NULL && slice_is_equal(path, without_end_slashes(slice_from_string(office->path))))
            found = office;
    }
    if (found != NULL)
        buf_append_text(&q->out, found->uuid);
    snapshot_unref(&snapshot);
    return found != NULL ? 0 : fault_set(&q->fault, FAULT_NOT_FOUND, 0, "no post office has this path in the directory");
}

static int reload_answer(struct question *q)
{
    struct answer a;
    atomic_store(&q->gateway->tls_again, true);
    config_refresh();
    service_changed(q->gateway);
    log_normal("control", "the directory and the certificates are read again");
    answer_init(&a, &q->out, q->json, q->all);
    answer_flag(&a, "reloading", true);
    answer_fini(&a);
    return 0;
}

/* --- questions ------------------------------------------------------------------------------------------------------------- */

enum way { ON_LOOP, IN_THREAD, ON_ALL_LOOPS, FOLLOWING };

static const struct command {
    const char *word;
    enum way way;
    bool argument;
    question_handler *handler;
    void (*start)(struct question *q);
} commands[] = {
    { "status", ON_LOOP, false, status_answer, NULL },
    { "post-office", ON_LOOP, true, post_office_answer, NULL },
    { "reload", ON_LOOP, false, reload_answer, NULL },
    { "sessions", ON_ALL_LOOPS, false, NULL, sessions_list },
    { "kick", ON_ALL_LOOPS, true, NULL, sessions_kick },
    { "config", IN_THREAD, false, settings_answer, NULL },
    { "links", IN_THREAD, false, links_answer, NULL },
    { "access", IN_THREAD, true, access_answer, NULL },
    { "locate", IN_THREAD, true, locate_answer, NULL },
    { "lockouts", IN_THREAD, false, lockouts_answer, NULL },
    { "unlock", IN_THREAD, true, unlock_answer, NULL },
    { "watch", FOLLOWING, false, NULL, NULL },
};

static void end_client(struct client_line *c);

static bool take_word(struct slice *line, const char *word)
{
    size_t len = strlen(word);
    if (!slice_starts_with(*line, word) || line->len <= len || line->data[len] != ' ')
        return false;
    *line = slice_trim(slice_from(*line, len));
    return true;
}

static const struct command *find_command(struct question *q)
{
    struct slice line = slice_trim(buf_slice(&q->line));
    q->json = take_word(&line, "json");
    q->all = take_word(&line, "all");
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        struct slice rest = line;
        if (commands[i].argument ? take_word(&rest, commands[i].word) : slice_is(line, commands[i].word)) {
            q->argument = commands[i].argument ? rest : SLICE_NONE;
            return &commands[i];
        }
    }
    return NULL;
}

static void send_answer(struct client_line *c)
{
    struct question *q = &c->question;
    struct buf head = { .cap = 0 };
    if (q->result == 0 && q->out.overflowed)
        q->result = fault_set(&q->fault, FAULT_LIMIT, 0, "the answer is too long");
    struct slice text = q->result == 0 ? buf_slice(&q->out) : slice_from_string(q->fault.text);
    buf_printf(&head, "%s %zu\n", q->result == 0 ? "ok" : "error", text.len);
    if (q->result != 0)
        buf_append(&head, text);
    stream_send(&c->stream, &head);
    if (q->result == 0)
        stream_send(&c->stream, &q->out);
    buf_fini(&head);
}

void question_answered(struct question *q)
{
    struct client_line *c = (struct client_line *)q;
    c->under_way = false;
    sessions_forget(q);
    if (c->ending) {
        end_client(c);
        return;
    }
    send_answer(c);
    /* What the kernel took at once makes no event. */
    if (c->stream.eof && stream_pending(&c->stream) == 0)
        end_client(c);
}

static void answered_in_thread(void *arg)
{
    question_answered(arg);
}

static enum step_result question_work(struct pool_task *task)
{
    struct question *q = LIST_ITEM(task, struct question, task);
    q->result = q->handler(q);
    return STEP_DONE;
}

static void question_done(struct pool_task *task, bool ran)
{
    struct question *q = LIST_ITEM(task, struct question, task);
    if (!ran)
        q->result = fault_set(&q->fault, FAULT_UNREACHABLE, 0, "the gateway is ending");
    loop_post(q->gateway->homes[0].loop, answered_in_thread, q);
}

static void begin_following(struct client_line *c)
{
    struct buf head = { .cap = 0 };
    buf_append_text(&head, "follow\n");
    stream_send(&c->stream, &head);
    buf_fini(&head);
    c->following = true;
    struct snapshot *snapshot = snapshot_current();
    follow_begin(&c->control->followers, &c->follow, &c->stream, c->question.json, snapshot);
    snapshot_unref(&snapshot);
}

static void ask(struct client_line *c)
{
    struct question *q = &c->question;
    const struct command *command = find_command(q);
    c->asked = true;
    if (command == NULL) {
        q->result = fault_set(&q->fault, FAULT_INVALID, 0, "unknown command");
        send_answer(c);
        return;
    }
    q->handler = command->handler;
    c->under_way = command->way == IN_THREAD || command->way == ON_ALL_LOOPS;
    switch (command->way) {
    case ON_LOOP:
        q->result = q->handler(q);
        send_answer(c);
        return;
    case IN_THREAD:
        q->task = (struct pool_task){ .work = question_work, .done = question_done };
        pool_submit(q->gateway->look_ups, &q->task);
        return;
    case ON_ALL_LOOPS: command->start(q); return;
    case FOLLOWING: begin_following(c); return;
    }
}

/* --- clients --------------------------------------------------------------------------------------------------------------- */

static void free_client(void *arg)
{
    struct client_line *c = arg;
    if (c->following)
        follow_end(&c->control->followers, &c->follow);
    sessions_forget(&c->question);
    stream_fini(&c->stream);
    buf_fini(&c->in);
    buf_fini(&c->question.line);
    buf_fini(&c->question.out);
    list_remove(&c->link);
    c->control->count--;
    mem_free(&c);
}

static void end_client(struct client_line *c)
{
    if (!c->ending)
        stream_want_input(&c->stream, false);
    c->ending = true;
    if (c->under_way || c->leaving)
        return;
    c->leaving = true;
    loop_post(c->control->gateway->homes[0].loop, free_client, c);
}

static void client_news(struct stream *stream, enum stream_event event, void *context)
{
    struct client_line *c = context;
    if (c->ending)
        return;
    ptrdiff_t end = c->asked ? -1 : slice_find(buf_slice(&c->in), '\n');
    if (end >= 0) {
        buf_append(&c->question.line, slice_part(buf_slice(&c->in), 0, (size_t)end));
        ask(c);
    }
    if (c->asked)
        buf_clear(&c->in);
    bool done = c->asked && !c->under_way && stream_pending(stream) == 0;
    if (event == STREAM_FAILED || c->in.len >= LINE_LIMIT || (stream->eof && (done || !c->asked)))
        end_client(c);
    else {
        if (c->following)
            follow_drained(&c->follow);
        stream_want_input(stream, true);
    }
}

static void accepted(void *context, int fd)
{
    struct control *control = context;
    if (control->count >= CLIENTS_MAX) {
        close(fd);
        return;
    }
    struct client_line *c = MEM_NEW(struct client_line);
    c->control = control;
    c->question.gateway = control->gateway;
    buf_init(&c->question.out, ANSWER_MAX);
    list_init(&c->link);
    list_append(&control->clients, &c->link);
    control->count++;
    stream_init(&c->stream, control->gateway->homes[0].loop, fd, &c->in, LINE_LIMIT, client_news, c);
    stream_want_input(&c->stream, true);
}

void control_follow(struct control *control, struct snapshot *snapshot)
{
    if (control != NULL)
        follow_tell(&control->followers, snapshot);
}

/* --- the socket ------------------------------------------------------------------------------------------------------------ */

/* Taken away from another posternd, that one could not be asked any more, and would take ours away at its end. */
static bool somebody_answers(const struct sockaddr_un *address)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    bool answers = fd >= 0 && (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN);
    if (fd >= 0)
        close(fd);
    return answers;
}

static int bind_path(const char *path, struct fault *fault)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path))
        return fault_set(fault, FAULT_INVALID, 0, "the path of the control socket is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode)) {
        if (somebody_answers(&address))
            return fault_set(fault, FAULT_EXISTS, 0, "control socket %s: another posternd answers there", path);
        unlink(path);   /* left by an agent before this one */
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fault_set_errno(fault, errno, "socket");
    mode_t old = umask(0177);
    int result = bind(fd, (struct sockaddr *)&address, sizeof(address));
    umask(old);
    if (result < 0 || listen(fd, 16) < 0) {
        int error = errno;
        close(fd);
        return fault_set_errno(fault, error, "control socket %s", path);
    }
    return fd;
}

int control_new(struct gateway *gateway, const char *path, struct control **out, struct fault *fault)
{
    int fd = bind_path(path, fault);
    if (fd < 0)
        return -1;
    struct control *control = MEM_NEW(struct control);
    control->gateway = gateway;
    control->path = mem_strdup(path);
    list_init(&control->clients);
    followers_init(&control->followers, gateway);
    control->listener = listener_new(gateway->homes[0].loop, fd, accepted, control);
    *out = control;
    return 0;
}

void control_free(struct control **control)
{
    struct control *c = *control;
    if (c == NULL)
        return;
    LIST_FOR_EACH (&c->clients, at)
        free_client(LIST_ITEM(at, struct client_line, link));
    followers_fini(&c->followers);
    listener_free(&c->listener);
    unlink(c->path);
    mem_free(&c->path);
    mem_free(control);
}
