/* Messages between agent and supervisor, with descriptors. Called by both; must never block. */
#include "supervisor_wire.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

union control_room {
    char bytes[CMSG_SPACE(sizeof(int))];
    struct cmsghdr align;
};

int supervisor_send(int socket, const struct supervisor_message *message, int fd)
{
    struct supervisor_message copy = *message;
    struct iovec part = { &copy, sizeof(copy) };
    struct msghdr header = { .msg_iov = &part, .msg_iovlen = 1 };
    union control_room control;
    if (fd >= 0) {
        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = sizeof(control.bytes);
        struct cmsghdr *c = CMSG_FIRSTHDR(&header);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(c), &fd, sizeof(fd));
    }
    ssize_t n;
    do
        n = sendmsg(socket, &header, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    return n == (ssize_t)sizeof(copy) ? 0 : -1;
}

int supervisor_receive(int socket, struct supervisor_message *message_out, int *fd_out)
{
    struct iovec part = { message_out, sizeof(*message_out) };
    union control_room control;
    struct msghdr header = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control.bytes),
    };
    *fd_out = -1;
    ssize_t n = recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    struct cmsghdr *c = CMSG_FIRSTHDR(&header);
    if (n > 0 && c != NULL && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
        c->cmsg_len == CMSG_LEN(sizeof(int)))
        memcpy(fd_out, CMSG_DATA(c), sizeof(*fd_out));
    if (n == (ssize_t)sizeof(*message_out))
        return 1;
    if (*fd_out >= 0)
        close(*fd_out);
    *fd_out = -1;
    return -1;
}
