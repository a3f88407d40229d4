/* pass: octets on their way from one descriptor to another inside the kernel, by a pipe. Internal to src/net. */
#ifndef NET_PASS_H
#define NET_PASS_H

#include <stddef.h>
#include <sys/types.h>

struct pass {
    int ends[2];
    size_t held;    /* octets in the pipe */
};

/* NULL if the process has as many as it may have, or no descriptors. */
struct pass *pass_new(void);
/* NULL inside is accepted. What it holds is lost. */
void pass_free(struct pass **pass);
/* What fd has, `most` at most. Octets, 0 at the end, -1 with nothing there now or no room in the pipe, -2 after a failure. */
ssize_t pass_take(struct pass *pass, int fd, size_t most);
/* With something held: octets that fd took, -1 if none now, -2 after a failure. */
ssize_t pass_give(struct pass *pass, int fd);

#endif
