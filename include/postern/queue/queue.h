/* queue: mail for elsewhere: a durable spool in STATE-DIR/queue, retries, hand-over to the relay host by the SMTP send threads,
 * and notices to the sender (RFC 3464) when it cannot be delivered. One per process. */
#ifndef POSTERN_QUEUE_QUEUE_H
#define POSTERN_QUEUE_QUEUE_H

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/base/slice.h"

struct snapshot;

/* Starts the send threads (their number follows the snapshot); what lies in the spool is taken up again. */
int queue_start(const char *state_dir, struct fault *fault);
/* Ends after the deliveries under way have reached a state that is safe to stop in (at most a few seconds). False: some have not, and what
 * they use (the configuration) has to stay until the process ends. */
bool queue_stop(void);
/* The configuration changed: takes the new number of threads and relay host. Any thread. */
void queue_changed(void);

/* Whose message it is, as its Post Office Agent may want to know; each NULL: not known. */
struct queue_client {
    const char *address;     /* in text, without port */
    uint16_t port;           /* 0: not known */
    const char *local;       /* our address that it was connected to */
    const char *helo, *protocol, *login;
};

struct queue_message;
/* [T] A message for elsewhere being written to the spool. Recipients here are allowed too: they are looked up when their turn comes. The null
 * sender is empty. recipient_count may be 0 as long as others are added before the commit. */
int queue_message_open(struct slice sender, const struct slice *recipients, size_t recipient_count, bool eight_bit,
                       struct queue_message **out, struct fault *fault);
/* [T] Bytes as on the wire, lines ending in CRLF. */
int queue_message_write(struct queue_message *message, struct slice bytes, struct fault *fault);
/* Copied. */
void queue_message_set_client(struct queue_message *message, const struct queue_client *client);
/* Another recipient. */
void queue_message_add(struct queue_message *message, struct slice recipient);
/* [T] Flushed to disk; from then on the queue is responsible (RFC 5321 4.2.5). Spent whatever the result. */
int queue_message_commit(struct queue_message *message, struct fault *fault);
/* Removes what was not committed. NULL inside is accepted. */
void queue_message_free(struct queue_message **message);

/* As for config_set_link_report: a line for each Post Office Agent whose LMTP is away. */
void queue_report_links(const struct snapshot *snapshot, struct buf *out, void *context);

/* Messages waiting. */
size_t queue_length(void);

#endif
