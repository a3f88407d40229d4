/* seek: has a message whose fate is unknown come into the user's INBOX (RFC 1047)? Used by attempt.c; blocks. */
#ifndef POSTERN_QUEUE_SEEK_H
#define POSTERN_QUEUE_SEEK_H

#include "postern/base/buf.h"
#include "postern/config/user.h"
#include "spool.h"

enum seek_result {
    SEEK_FOUND,
    SEEK_ABSENT,
    SEEK_LATER,     /* there is a way to look, and it did not work now */
    SEEK_NO_WAY,
};

/* Directly where the path shows what the agent shows, else by IMAP with the gateway's own credentials. */
enum seek_result seek_message(const struct user *user, const struct envelope *envelope, int message);

/* The top Received field of a header, on one line: ours, of a message in the spool. False: there is none. */
bool seek_read_received(struct slice head, struct buf *out);
/* Is it also on top of this header, apart from what the agent itself has put above it on the way by LMTP? */
bool seek_is_on_top(struct slice head, struct slice received);

#endif
