/* address: address lists of header fields (RFC 5322 3.4 and 4.4), as IMAP's ENVELOPE wants them (RFC 3501 7.4.2). What
 * is missing or wrong is filled with the same words that Dovecot uses, so that both paths to a mailbox answer alike. */
#ifndef POSTERN_MIME_ADDRESS_H
#define POSTERN_MIME_ADDRESS_H

#include "postern/base/arena.h"

/* A part whose data is NULL is NIL. A group begins with only `mailbox` (its name) and ends with all four NIL. */
struct address {
    struct address *next;
    struct slice name;
    struct slice route;
    struct slice mailbox;
    struct slice domain;
};

enum { ADDRESSES_MAX = 5000 };   /* of one field; more are left out */

/* NULL if there is none. The list and its text live in the arena. */
struct address *address_parse(struct arena *arena, struct slice value);

#endif
