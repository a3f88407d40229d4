/* spool: the queue's directory STATE-DIR/queue. A message ID is two files: ID.message (bytes as on the wire, never changed) and ID.envelope
 * (who from, who for, when next), which makes it count: it comes last into being and goes first. Both are made in tmp/,
 * flushed, and renamed. What cannot be delivered nor returned is kept in bad/. Used by the files of src/queue only. All may wait for the disk. */
#ifndef POSTERN_QUEUE_SPOOL_H
#define POSTERN_QUEUE_SPOOL_H

#include <time.h>

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/queue/queue.h"

enum { SPOOL_ID_MAX = 32, ENVELOPE_MAX = 64 * 1024 * 1024 };

struct spool {
    int dir, tmp, bad;
};

enum outcome { OUTCOME_WAITING, OUTCOME_SENT, OUTCOME_FAILED };

struct envelope_recipient {
    char *address;
    bool unknown;         /* a server may have it: it did not answer, or has not yet (RFC 1047); stored */
    bool silent;          /* if unknown: that server said nothing for so long that nobody waited any more: it may still be at work on it; stored */
    time_t given;         /* if unknown: when it was given to that server; stored */
    /* Of the attempt under way, not stored. */
    enum outcome outcome;
    char status[12];      /* RFC 3463; empty: none yet */
    char text[256];       /* what the peer or we said */
    bool answered;        /* the text is a relay host's reply */
    const char *user_id;  /* what the agent of a user here knows this user by in any case; borrowed; NULL: nothing */
    bool other_way;       /* waits, and is certainly not with the server: it may go another way at once */
};

struct envelope {
    char id[SPOOL_ID_MAX];
    char *sender;         /* empty: the null path */
    bool eight_bit;
    struct queue_client client;   /* its texts are owned */
    time_t arrived, next;
    uint64_t attempts;
    time_t given;         /* while it is read: of the unknown recipients that follow */
    bool under_way;       /* in the middle of an attempt: those who FAILED have not been told of */
    char of[SPOOL_ID_MAX];   /* of a notice: the message that it tells of, for as long as that has not been rewritten; stored */
    char **told;          /* and whom of its recipients */
    size_t told_count;
    struct envelope_recipient *recipients;
    size_t count, size;
};

/* So much of it is random that no two messages share one, and the later one replaces no other. id has SPOOL_ID_MAX bytes. */
void spool_make_id(char *id);
int spool_init(struct spool *spool, const char *state_dir, struct fault *fault);
void spool_fini(struct spool *spool);
/* Clears tmp/ and messages without an envelope; then visit for each envelope. Only before anything else uses the spool. */
int spool_recover(struct spool *spool, void (*visit)(const char *id, void *context), void *context, struct fault *fault);

void queue_envelope_fini(struct envelope *envelope);
/* False: the address holds control characters or is empty. */
bool queue_envelope_add(struct envelope *envelope, struct slice address);
/* What cannot stand in an envelope is left out. */
void queue_envelope_set_client(struct envelope *envelope, const struct queue_client *client);
/* Of a notice: whom it tells of. */
void queue_envelope_tell(struct envelope *notice, const char *address);
/* Text form, and back: FAULT_CORRUPT if it is not whole. */
void queue_envelope_write(const struct envelope *envelope, struct buf *out);
int queue_envelope_parse(struct slice text, struct envelope *out, struct fault *fault);

int spool_load(struct spool *spool, const char *id, struct envelope *out, struct fault *fault);
/* Replaces the envelope: recipients that are WAITING stay, the others are gone, but those who FAILED stay while it is under way. */
int spool_store(struct spool *spool, const struct envelope *envelope, struct fault *fault);
/* In the middle of an attempt: what is known so far; also before those who are marked unknown may have the message. */
int spool_store_under_way(struct spool *spool, struct envelope *envelope, struct fault *fault);
int spool_remove(struct spool *spool, const char *id, struct fault *fault);
int spool_open_message(struct spool *spool, const char *id, int *fd_out, struct fault *fault);
/* Moves both files to bad/. */
int spool_set_aside(struct spool *spool, const char *id, struct fault *fault);
/* A copy of the message in bad/ with an envelope of its FAILED recipients: one, also if it is kept once more after a crash. */
int spool_keep_failed(struct spool *spool, const struct envelope *envelope, struct fault *fault);

/* A new message: a file in tmp/, and its way into the spool. */
int spool_create_message(struct spool *spool, const char *id, int *fd_out, struct fault *fault);
int spool_write_message(int fd, struct slice bytes, struct fault *fault);
int spool_commit_message(struct spool *spool, const struct envelope *envelope, int fd, struct fault *fault);
void spool_discard_message(struct spool *spool, const char *id);

#endif
