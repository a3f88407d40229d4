/* The socket of posternctl. Called on the first loop; must never tell more than the one user hears who may open the socket, and
 * never wait. */
#include "control.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/net/listener.h"
#include "postern/net/stream.h"

enum { LINE_LIMIT = 8192, CLIENTS_MAX = 32 };

struct control {
    struct gateway *gateway;
    struct listener *listener;
    struct list clients;
    unsigned count;
    char *path;
};

struct client_line {
    struct list link;
    struct control *control;
    struct stream stream;
    struct buf in;
    struct buf out;
    bool ending;
};

static struct slice without_end_slashes(struct slice path)
{
    while (path.len > 1 && path.data[path.len - 1] == '/')
        path.len--;
    return path;
}

static void answer_post_office(struct slice path, struct buf *out)
{
    struct snapshot *snapshot = snapshot_current();
    path = without_end_slashes(path);
    for (size_t i = 0; snapshot != NULL && i < snapshot->post_office_count; i++) {
        const struct post_office *office = &snapshot->post_offices[i];
        if (office->path != NULL && slice_is_equal(path, without_end_slashes(slice_from_string(office->path)))) {
            buf_printf(out, "uuid: %s\n\n", office->uuid);
            snapshot_unref(&snapshot);
            return;
        }
    }
    snapshot_unref(&snapshot);
    buf_append_text(out, "error: no post office has this path in the directory\n\n");
}

static void answer(struct control *control, struct slice line, struct buf *out)
{
    if (slice_is(line, "status")) {
        gateway_status(control->gateway, out);
        buf_append_byte(out, '\n');
    } else if (slice_starts_with(line, "post-office "))
        answer_post_office(slice_from(line, strlen("post-office ")), out);
    else
        buf_append_text(out, "error: unknown command\n\n");
}

static void free_client(void *arg)
{
    struct client_line *c = arg;
    stream_fini(&c->stream);
    buf_fini(&c->in);
    buf_fini(&c->out);
    list_remove(&c->link);
    c->control->count--;
    mem_free(&c);
}

static void end_client(struct client_line *c)
{
    if (c->ending)
        return;
    c->ending = true;
    stream_want_input(&c->stream, false);
    loop_post(c->control->gateway->homes[0].loop, free_client, c);
}

static void client_news(struct stream *stream, enum stream_event event, void *context)
{
    struct client_line *c = context;
    ptrdiff_t end;
    if (c->ending)
        return;
    while ((end = slice_find(buf_slice(&c->in), '\n')) >= 0) {
        answer(c->control, slice_trim(slice_part(buf_slice(&c->in), 0, (size_t)end)), &c->out);
        buf_consume(&c->in, (size_t)end + 1);
    }
    stream_send(stream, &c->out);
    if (event == STREAM_FAILED || c->in.len >= LINE_LIMIT || stream_pending(stream) > (1u << 20) ||
        (stream->eof && stream_pending(stream) == 0))
        end_client(c);
    else
        stream_want_input(stream, true);
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
    list_init(&c->link);
    list_append(&control->clients, &c->link);
    control->count++;
    stream_init(&c->stream, control->gateway->homes[0].loop, fd, &c->in, LINE_LIMIT, client_news, c);
    stream_want_input(&c->stream, true);
}

static int bind_path(const char *path, struct fault *fault)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path))
        return fault_set(fault, FAULT_INVALID, 0, "the path of the control socket is too long: %s", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(path);   /* left by an agent before this one */
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
    listener_free(&c->listener);
    unlink(c->path);
    mem_free(&c->path);
    mem_free(control);
}
