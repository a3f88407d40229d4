/* talk: a conversation with a relay host by SMTP (RFC 5321) or with a Post Office Agent by LMTP (RFC 2033), up to where mail can be given, and its commands and
 * replies. Used by relay.c, give.c and agents.c; blocks. */
#ifndef POSTERN_QUEUE_TALK_H
#define POSTERN_QUEUE_TALK_H

#include <stdatomic.h>

#include "postern/base/buf.h"
#include "postern/net/client.h"
#include "postern/queue/queue.h"

enum talk_tls {
    TALK_TLS_NONE,
    TALK_TLS_OPPORTUNE,   /* where it is offered and works (RFC 7435) */
    TALK_TLS_OFFERED,     /* where it is offered: then it has to work */
    TALK_TLS_REQUIRED,
    TALK_TLS_IMPLICIT,    /* from the first byte */
};

struct talk_peer {
    const char *host;
    uint16_t port;
    const char *helo;
    bool lmtp;
    enum talk_tls tls;
    struct tls_client *tls_client;              /* borrowed; unless TLS is NONE */
    unsigned connect_ms, greeting_ms, reply_ms; /* reply: of each command */
    unsigned end_ms;                            /* after the end of the data */
    /* Of an agent; NULL, or false: nothing of the kind. */
    const struct queue_client *client;          /* whose message it is */
    const char *session;                        /* the message's ID, for its log */
    bool proxy_header;
    bool external;                              /* logged in by certificate */
    const char *name, *secret;                  /* the gateway's own */
};

struct talk_reply {
    int code;             /* 0: none, the connection is of no more use */
    char text[256];       /* of the last line, or what went wrong */
    char status[12];      /* RFC 3463 */
};

/* A zeroed one is closed. */
struct talk {
    struct client *client;            /* NULL: lost or closed */
    struct buf line, out;
    struct talk_reply reply;
    unsigned reply_ms, end_ms;
    const atomic_bool *stopping;      /* ends waiting for the peer early */
    bool silent;                      /* lost, because the peer said nothing for as long as it may */
    bool lmtp, starttls, eight_bit_mime, size, pipelining, chunking, auth_plain, auth_external;
    unsigned xclient;                 /* attributes that it takes: introduce.c */
    struct buf told;                  /* the client that the peer was told; empty: none */
    bool deaf;                        /* it offers XCLIENT, and refuses it */
    bool logged_in;
    bool refused;                     /* the gateway's credentials were */
};

/* False: no mail can be given; reply says why. */
bool talk_open(struct talk *talk, const struct talk_peer *peer, const atomic_bool *stopping);
/* LHLO or EHLO: what was offered before is forgotten. */
bool talk_greet(struct talk *talk, const struct talk_peer *peer);
/* With QUIT, if it is still up. */
void talk_close(struct talk *talk);
/* A command that is sent with the next reply or bytes that are wanted. */
void talk_put(struct talk *talk, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The code of the next reply, 0 if there is none. */
int talk_hear(struct talk *talk);
/* The same after the data: a stop of the queue waits for it a little, for it decides. */
int talk_hear_end(struct talk *talk);
/* Nothing of the next reply is there yet. */
bool talk_would_wait(const struct talk *talk);
/* False: lost. */
bool talk_send(struct talk *talk, struct slice bytes);
/* The peer cannot be talked to any more. */
void talk_lose(struct talk *talk, const char *why);

#endif
