/* inbox: one message into the INBOX of one user of a direct post office (account, mailbox and message writer in one). Used by SMTP for
 * recipients here, and by the queue for those whose mailbox was not reachable at first. All but free: [T], may wait for the disk. */
#ifndef POSTERN_QUEUE_INBOX_H
#define POSTERN_QUEUE_INBOX_H

#include "postern/base/fault.h"
#include "postern/base/slice.h"

struct user;
struct inbox_writer;

/* Makes the Maildir at first use. FAULT_UNREACHABLE also if the user's post office is not known or has no path. */
int inbox_writer_open(const struct user *user, struct inbox_writer **out, struct fault *fault);
/* Bytes as on the wire, lines ending in CRLF. */
int inbox_writer_write(struct inbox_writer *writer, struct slice bytes, struct fault *fault);
/* 0: the message survives a power loss. Spent whatever the result. */
int inbox_writer_deliver(struct inbox_writer *writer, struct fault *fault);
/* Removes what was not delivered. NULL inside is accepted. */
void inbox_writer_free(struct inbox_writer **writer);

#endif
