/* Pipes between connections. Called by streams on any loop; must never hold more pipes than an unprivileged process may have at full size
 * (/proc/sys/fs/pipe-user-pages-soft: 64 MiB), nor take the last descriptors for them. */
#include "pass.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <unistd.h>

#include "postern/base/memory.h"

enum { PASSES_MAX = 32, PIPE_OCTETS = 1 << 20 };

static _Atomic unsigned passes;

struct pass *pass_new(void)
{
    int ends[2] = { -1, -1 };
    if (atomic_fetch_add(&passes, 1) >= PASSES_MAX || pipe2(ends, O_NONBLOCK | O_CLOEXEC) < 0) {
        atomic_fetch_sub(&passes, 1);
        return NULL;
    }
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_OCTETS);   /* refused, it is a smaller one */
    struct pass *p = MEM_NEW(struct pass);
    p->ends[0] = ends[0];
    p->ends[1] = ends[1];
    return p;
}

void pass_free(struct pass **pass)
{
    struct pass *p = *pass;
    if (p == NULL)
        return;
    close(p->ends[0]);
    close(p->ends[1]);
    atomic_fetch_sub(&passes, 1);
    mem_free(pass);
}

ssize_t pass_take(struct pass *pass, int fd, size_t most)
{
    ssize_t n = splice(fd, NULL, pass->ends[1], NULL, most < PIPE_OCTETS ? most : PIPE_OCTETS, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : -2;
    pass->held += (size_t)n;
    return n;
}

ssize_t pass_give(struct pass *pass, int fd)
{
    ssize_t n = splice(pass->ends[0], NULL, fd, NULL, pass->held, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? -1 : -2;
    pass->held -= (size_t)n;
    return n > 0 ? n : -1;
}
