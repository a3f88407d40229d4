/* retrieve: one RETR or TOP, from the message file to the session's output, in pieces. */
#ifndef POP3_RETRIEVE_H
#define POP3_RETRIEVE_H

#include "postern/base/fault.h"
#include "wire.h"

struct entry;
struct maildrop;
struct plain;

struct retrieval {
    struct entry *entry;
    int fd;
    uint64_t left;         /* stored bytes to be read */
    struct wire wire;
    struct plain *plain;   /* login option n; or NULL: its header comes first */
    struct buf text;       /* of plain: a decoded piece */
};

enum retrieve_result {
    RETRIEVE_DONE,
    RETRIEVE_FULL,       /* the output is full: go on when it has drained */
    RETRIEVE_BROKEN,     /* the message changed or cannot be read on, in the midst of the reply: only closing is honest */
};

enum { RETRIEVE_SCRATCH_SIZE = 65536 };

/* [T] Opens the message, and writes nothing. scratch: RETRIEVE_SCRATCH_SIZE bytes, for this call only. */
int retrieve_begin(struct retrieval *retrieval, struct maildrop *drop, struct entry *entry, char *scratch, struct fault *fault);
/* Before the first retrieve_continue: TOP. */
void retrieve_only_top(struct retrieval *retrieval, uint64_t body_lines);
/* [T] */
enum retrieve_result retrieve_continue(struct retrieval *retrieval, char *scratch, struct buf *out, struct fault *fault);
/* What is sent for a piece of the stored message, or of the part that the option n sends, or for its end (NULL data). */
void retrieve_write(struct retrieval *retrieval, struct slice piece, struct buf *out);
/* Closes the file; harmless when none is open (a zeroed retrieval has none: fd 0 is never a message). */
void retrieve_end(struct retrieval *retrieval);
/* [T] The octets that RETR will send, found by sending them nowhere. */
int retrieve_measure(struct maildrop *drop, struct entry *entry, char *scratch, uint64_t *size_out, struct fault *fault);

#endif
