/* What the agent and the supervisor say to each other over their socket (SOCK_SEQPACKET, one message each). */
#ifndef SERVICE_SUPERVISOR_WIRE_H
#define SERVICE_SUPERVISOR_WIRE_H

#include "postern/net/endpoint.h"

enum supervisor_word {
    WORD_BIND,       /* agent: the listening socket of this address, please */
    WORD_RELEASE,    /* agent: that address is not used any more */
    WORD_SETTLED,    /* agent: what was not asked for since the start is not needed */
    WORD_BOUND,      /* supervisor: here it is (SCM_RIGHTS), or error */
    WORD_STOP,       /* supervisor: end gracefully */
    WORD_RELOAD,     /* supervisor: read the TLS files again */
};

struct supervisor_message {
    enum supervisor_word word;
    int error;
    struct endpoint address;
};

/* fd -1: none. Returns 0 or -1 with errno. */
int supervisor_send(int socket, const struct supervisor_message *message, int fd);
/* 1: a message; 0: nothing there now; -1: the other side is gone. *fd_out is -1 or a descriptor for the caller. */
int supervisor_receive(int socket, struct supervisor_message *message_out, int *fd_out);

#endif
