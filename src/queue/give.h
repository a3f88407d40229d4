/* give: one message to some of its recipients in an open conversation: MAIL, RCPT, and DATA or BDAT. Used by relay.c and agents.c; blocks. */
#ifndef POSTERN_QUEUE_GIVE_H
#define POSTERN_QUEUE_GIVE_H

#include "spool.h"
#include "talk.h"

struct give_job {
    const struct envelope *envelope;
    int message;                             /* descriptor, read from its beginning */
    struct envelope_recipient **recipients;  /* each gets outcome, status, text; WAITING: not now. Their order may change */
    size_t count;
    /* LMTP: called right before the last octets go out: from then on those who were accepted, which are marked unknown, may have the message. False: it was not
     * written down, and they do not go out. NULL: not called. */
    bool (*before_end)(void *context);
    /* Some have it, by what the peer has answered: called before the peer is waited for again, and after its last answer. */
    void (*answered)(void *context);
    void *context;
    bool try_again_soon;                     /* out: the host took some and no more at once (RFC 5321 4.5.3.1.10) */
    bool unheard;                            /* out: the host was gone, or about to go (421), before it heard of the message */
};

/* The conversation can be used for another message if it is not lost. */
void give(struct talk *talk, struct give_job *job);
/* The reply as the outcome of one recipient: 4yz, a lost connection, and what of LMTP is a failed access: not now. */
void give_set_outcome(const struct talk *talk, struct envelope_recipient *to);

#endif
