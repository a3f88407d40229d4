/* address: the paths of MAIL and RCPT (RFC 5321 4.1.2) and the mailboxes of a From field (RFC 5322 3.4). Pure. */
#ifndef POSTERN_SMTP_ADDRESS_H
#define POSTERN_SMTP_ADDRESS_H

#include "postern/base/slice.h"

enum { MAIL_LOCAL_MAX = 255, MAIL_DOMAIN_MAX = 255 };

/* A mailbox in its shortest spelling: quotes that the local part does not need are gone. Empty: the null path "<>". */
struct mail_path {
    char text[2 * MAIL_LOCAL_MAX + MAIL_DOMAIN_MAX + 4];
    size_t len;
    size_t at;        /* index of the '@' before the domain; len if there is no domain (<postmaster>) */
    bool literal;     /* the domain is an address literal */
};

struct slice mail_path_text(const struct mail_path *path);
struct slice mail_path_local(const struct mail_path *path);
struct slice mail_path_domain(const struct mail_path *path);
bool mail_path_is_postmaster(const struct mail_path *path);

/* Takes "<...>" from the front of *rest; false (and *rest as it was) if it is malformed. A source route is checked and dropped
 * (RFC 5321 appendix C). Bytes above 127 are refused: SMTPUTF8 is not offered. A local part alone is taken as it is. */
bool address_parse_path(struct slice *rest, struct mail_path *out);
/* local@domain without brackets, all of text. */
bool address_parse_mailbox(struct slice text, struct mail_path *out);

/* Calls visit for each mailbox of a From field's body (unfolded or not). False if the text is not a list of at least one mailbox, or if
 * visit said false. Comments, display names, quoted strings and groups (RFC 6854) are understood. */
bool address_list_for_each(struct slice body, bool (*visit)(const struct mail_path *mailbox, void *context), void *context);

#endif
