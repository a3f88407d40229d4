/* Questions to the running gateway over its control socket. Called by the commands; must never show half an answer as a whole one. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "ctl.h"

enum { ANSWER_MAX = 256 * 1024 * 1024, ANSWER_SECONDS = 30, CONNECT_SECONDS = 5, HEAD_MAX = 64, READ_SIZE = 64 * 1024 };

int ctl_complain(const char *what, const char *why)
{
    fprintf(stderr, "posternctl: %s: %s\n", what, why);
    return CTL_FAILED;
}

static int complain_of_connection(const char *control)
{
    if (errno == ENOENT || errno == ECONNREFUSED)
        return ctl_complain(control, "no gateway answers here: posternd does not run, or has another --control");
    if (errno == EAGAIN)
        return ctl_complain(control, "the gateway does not answer");
    return ctl_complain(control, errno == EACCES ? "only the user that posternd runs as may ask" : strerror(errno));
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = { .tv_sec = ANSWER_SECONDS }, most = { .tv_sec = CONNECT_SECONDS };
    if (fd >= 0) {
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &most, sizeof(most));   /* a gateway that takes nobody has no room for more, either */
    }
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* The descriptor, or -1 after a complaint. */
static int put_question(const struct ctl *ctl, const char *word, const char *argument)
{
    if (argument != NULL && strchr(argument, '\n') != NULL) {
        ctl_complain(argument, "line breaks cannot be asked for");
        return -1;
    }
    int fd = connect_to(ctl->control);
    if (fd < 0) {
        complain_of_connection(ctl->control);
        return -1;
    }
    struct buf line = { .cap = 0 };
    buf_printf(&line, "%s%s%s%s%s\n", ctl->json ? "json " : "", ctl->all ? "all " : "", word, argument != NULL ? " " : "",
               argument != NULL ? argument : "");
    ssize_t sent = send(fd, line.data, line.len, MSG_NOSIGNAL);
    bool whole = sent == (ssize_t)line.len;
    buf_fini(&line);
    if (whole)
        return fd;
    ctl_complain(ctl->control, "the gateway does not listen");
    close(fd);
    return -1;
}

/* Appends what is there; false at the end, or when nothing comes. */
static bool read_more(int fd, struct buf *in)
{
    char *room = buf_reserve(in, READ_SIZE);
    ssize_t n;
    do
        n = room != NULL ? read(fd, room, READ_SIZE) : 0;
    while (n < 0 && errno == EINTR);
    if (n > 0)
        buf_extend(in, (size_t)n);
    return n > 0;
}

/* The first line, taken off; its length is that of what follows. */
static bool read_head(int fd, struct buf *in, bool *good_out, uint64_t *len_out)
{
    ptrdiff_t end;
    while ((end = slice_find(buf_slice(in), '\n')) < 0)
        if (in->len > HEAD_MAX || !read_more(fd, in))
            return false;
    struct slice head = slice_part(buf_slice(in), 0, (size_t)end);
    *good_out = slice_starts_with(head, "ok ");
    bool known = (*good_out || slice_starts_with(head, "error ")) &&
                 slice_to_number(slice_from(head, *good_out ? strlen("ok ") : strlen("error ")), ANSWER_MAX, len_out);
    buf_consume(in, (size_t)end + 1);
    return known;
}

int ctl_ask(const struct ctl *ctl, const char *word, const char *argument, struct buf *answer)
{
    int fd = put_question(ctl, word, argument);
    if (fd < 0)
        return CTL_FAILED;
    struct buf in;
    bool good = false;
    uint64_t len = 0;
    buf_init(&in, ANSWER_MAX + HEAD_MAX + READ_SIZE);
    bool whole = read_head(fd, &in, &good, &len);
    while (whole && in.len < len)
        whole = read_more(fd, &in);
    close(fd);
    int code = 0;
    if (!whole)
        code = ctl_complain(ctl->control, "the gateway does not answer");
    else if (!good)
        code = ctl_complain(argument != NULL ? argument : word, buf_text(&in));
    else
        buf_append(answer, slice_part(buf_slice(&in), 0, len));
    buf_fini(&in);
    return code;
}

static int print(struct slice text)
{
    if (fwrite(text.data != NULL ? text.data : "", 1, text.len, stdout) != text.len || fflush(stdout) != 0)
        return ctl_complain("standard output", strerror(errno));
    return 0;
}

int ctl_show(const struct ctl *ctl, const char *word, const char *argument)
{
    struct buf answer = { .cap = 0 };
    int code = ctl_ask(ctl, word, argument, &answer);
    if (code == 0)
        code = print(buf_slice(&answer));
    buf_fini(&answer);
    return code;
}

int ctl_follow(const struct ctl *ctl, const char *word)
{
    int fd = put_question(ctl, word, NULL);
    if (fd < 0)
        return CTL_FAILED;
    struct timeval none = { .tv_sec = 0 };
    struct buf in;
    buf_init(&in, 64 * 1024 * 1024);
    bool begun = read_more(fd, &in) && slice_starts_with(buf_slice(&in), "follow\n");
    int code = 0;
    if (begun)
        buf_consume(&in, strlen("follow\n"));
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &none, sizeof(none));
    while (begun && code == 0) {
        /* Whole lines only: who reads them may stop at any. */
        ptrdiff_t end = slice_find_last(buf_slice(&in), '\n');
        if (end >= 0) {
            code = print(slice_part(buf_slice(&in), 0, (size_t)end + 1));
            buf_consume(&in, (size_t)end + 1);
        }
        if (code == 0 && !read_more(fd, &in))
            code = ctl_complain(ctl->control, "the gateway has ended");
    }
    if (!begun)
        code = ctl_complain(ctl->control, "the gateway does not answer");
    buf_fini(&in);
    close(fd);
    return code;
}
