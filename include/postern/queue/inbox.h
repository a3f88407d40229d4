/* inbox: the INBOX of one user, opened directly: one message into it (account, mailbox and message writer in one), or a look whether one is there. Used by
 * SMTP for recipients here, and by the queue for those whose mailbox was not reachable at first. All but free: [T], may wait for the disk. */
#ifndef POSTERN_QUEUE_INBOX_H
#define POSTERN_QUEUE_INBOX_H

#include <time.h>

#include "postern/base/fault.h"
#include "postern/base/slice.h"

struct user;
struct inbox_writer;

/* Makes the Maildir at first use, but not in the place of a Post Office Agent. FAULT_UNREACHABLE also if the user's post office is not known or has no path. */
int inbox_writer_open(const struct user *user, struct inbox_writer **out, struct fault *fault);
/* Bytes as on the wire, lines ending in CRLF. */
int inbox_writer_write(struct inbox_writer *writer, struct slice bytes, struct fault *fault);
/* 0: the message survives a power loss. Spent whatever the result. */
int inbox_writer_deliver(struct inbox_writer *writer, struct fault *fault);
/* Removes what was not delivered. NULL inside is accepted. */
void inbox_writer_free(struct inbox_writer **writer);

struct inbox_search {
    time_t since;              /* of the messages that are older, only those among the newest 100 are looked at */
    struct slice wanted;
    bool (*is_it)(struct slice head, struct slice wanted);   /* the beginning of a message as stored, its header in it */
};
/* 1: it is there; 0: it is not; -1: a fault. */
int inbox_search(const struct user *user, const struct inbox_search *search, struct fault *fault);

#endif
