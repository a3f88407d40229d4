/* relay_scan: what lies between a client and its Post Office Agent after the login. It knows where lines and literals begin and end
 * (RFC 3501 section 4.3, RFC 7888, RFC 3516 section 4.2.1), the names of the clients' commands, and what is said of capabilities; all
 * else passes unseen. Used by relay.c; pure: bytes in, bytes out. A command that is refused here goes on as a NOOP with the same tag, and the
 * POA's answer to that is replaced: so answers keep their order and stand at the ends of lines by themselves. */
#ifndef POSTERN_IMAP_RELAY_SCAN_H
#define POSTERN_IMAP_RELAY_SCAN_H

#include "postern/base/buf.h"
#include "postern/base/list.h"

enum {
    RELAY_LINE_MAX = 64 * 1024,          /* of a client; longer ones are BAD */
    RELAY_IN_LIMIT = RELAY_LINE_MAX + 8, /* what must fit into the buffers handed over, for each side */
};

struct relay_rules {
    bool hide_modseq;          /* CONDSTORE and QRESYNC are not offered (RFC 7162) */
    uint64_t append_max;       /* octets of a literal of a client */
};

enum relay_up {
    UP_COMMAND,            /* a command begins here */
    UP_MORE,               /* a command's line goes on after a literal */
    UP_LITERAL,
    UP_AWAIT,              /* nothing is taken before the POA has said "+" or has ended the command */
    UP_DONE,               /* a line that ends IDLE (RFC 2177) */
    UP_SKIP,               /* the rest of a command that does not go on to the POA */
    UP_SKIP_LITERAL,
};

enum relay_down {
    DOWN_START,            /* a response begins here */
    DOWN_LINE,
    DOWN_TEXT,             /* a line that cannot end in a literal */
    DOWN_LITERAL,
};

struct relay_scan {
    struct relay_rules rules;
    struct list pending;          /* commands under way, in their order */
    unsigned pending_count;
    struct relay_command *spare;  /* the last one that ended: the next one's memory; or NULL */
    enum relay_up up;
    enum relay_down down;
    struct relay_command *current;   /* that the bytes of the client belong to; NULL: one without a tag */
    uint64_t up_left;             /* of a literal */
    uint64_t down_left;
    size_t seen;                  /* of an unfinished line of the client: no end in these */
    char up_tail[32];             /* the last bytes of an unfinished line */
    char down_tail[32];
    uint8_t up_tail_len;
    uint8_t down_tail_len;
    bool begun;                   /* UP_SKIP: the POA has read the beginning of the command */
    bool await_done;              /* UP_AWAIT is for an IDLE */
    bool stop;                    /* no new command is taken */
    bool selected;                /* a mailbox is, or may be */
    bool sticky;                  /* the POA keeps more for this client than the selected mailbox: ENABLE, NOTIFY */
    bool logging_out;
    bool logged_out;              /* the answer to LOGOUT has passed */
    bool bye;                     /* the POA has said that it will close; the client has not heard so */
};

void relay_scan_init(struct relay_scan *scan, struct relay_rules rules);
void relay_scan_fini(struct relay_scan *scan);
/* Moves what can go on: from the client to the POA. */
void relay_scan_client(struct relay_scan *scan, struct buf *in, struct buf *out);
/* From the POA to the client. -1: this is no IMAP, or a line that must be read is too long. */
int relay_scan_poa(struct relay_scan *scan, struct buf *in, struct buf *out);
/* So many of the next octets of the POA pass as they are; and so many have, without having been seen here. */
uint64_t relay_scan_bulk(const struct relay_scan *scan);
void relay_scan_passed(struct relay_scan *scan, uint64_t count);
/* What the client has been sent ends with a response. */
bool relay_scan_is_between_responses(const struct relay_scan *scan);
/* Every command has been answered, and no part of another was passed on. */
bool relay_scan_is_quiet(const struct relay_scan *scan);
bool relay_scan_is_idling(const struct relay_scan *scan);
/* It is the POA's turn to say something. */
bool relay_scan_is_owed(const struct relay_scan *scan);
/* The words of a CAPABILITY response as the client may hear them, each with a space before it. */
void relay_scan_capability(const struct relay_rules *rules, struct slice words, struct buf *out);

#endif
