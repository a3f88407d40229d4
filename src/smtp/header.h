/* header: what SMTP must know of a message's header, learned while the message passes by in pieces. Pure. */
#ifndef POSTERN_SMTP_HEADER_H
#define POSTERN_SMTP_HEADER_H

#include "postern/base/buf.h"

enum { HEADER_FROM_MAX = 64 * 1024, HEADER_AUTO_MAX = 512, HEADER_NAME_MAX = 15 };

enum header_place { HEADER_LINE_START, HEADER_EMPTY_CR, HEADER_NAME, HEADER_VALUE, HEADER_DONE };

struct header_watch {
    enum header_place place;
    char name[HEADER_NAME_MAX];
    size_t name_len;           /* HEADER_NAME_MAX + 1: longer than any name of interest */
    bool in_from;              /* the field under way is From */
    bool has_date;
    bool has_message_id;
    unsigned received;         /* Received fields (RFC 5321 6.3) */
    unsigned from_count;
    struct buf from;           /* the bodies of From; overflowed if too long */
    bool in_auto;              /* the field under way is Auto-Submitted */
    struct buf automatic;      /* the bodies of Auto-Submitted, each after a NUL; as far as they fit */
};

/* Who wrote or sent the message on: a rule, as Auto-Submitted says (RFC 3834 section 5; auto-forwarded is a value of many rule engines). */
enum header_rule { HEADER_NO_RULE, HEADER_REPLY, HEADER_FORWARD };

void header_watch_init(struct header_watch *watch);
void header_watch_fini(struct header_watch *watch);
/* The next bytes of the message. The header goes on until the first empty line, also past lines that are no fields: some readers do so. */
void header_watch_read(struct header_watch *watch, struct slice bytes);
/* When the header is over. */
enum header_rule header_watch_rule(const struct header_watch *watch);

#endif
