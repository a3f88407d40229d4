/* user: one mail user as the directory describes it now: where the mailbox lies and what is allowed. Immutable, counted. */
#ifndef POSTERN_CONFIG_USER_H
#define POSTERN_CONFIG_USER_H

#include "postern/config/snapshot.h"

/* POP3 settings of the class of service (behaviour.md). */
struct pop3_rights {
    bool allowed;
    bool delete_after_download;   /* to Trash */
    bool purge_after_download;
    bool high_performance_size;
    uint32_t days;                /* 0 = all */
    uint32_t max_messages;        /* 0 = all */
};

struct user {
    struct snapshot *snapshot;             /* holds a reference */
    const struct post_office *post_office; /* in snapshot; NULL if it is unknown: temporary failure */
    char *id;                              /* uid */
    char *dn;
    char *mailbox_dir;                     /* template expanded, checked: no "..", no leading '/', dot or NUL in its parts */
    struct text_list addresses;            /* mail and posternMailAlias, lower case: what the user may send as */
    bool disabled;                         /* or expired */
    struct pop3_rights pop3;
    bool imap4_allowed;
    bool smtp_incoming_allowed;
    bool smtp_outgoing_allowed;
    uint64_t smtp_outgoing_max_size;       /* octets; 0 = no limit of its own */
    _Atomic unsigned references;
};

struct user *user_ref(struct user *user);
/* NULL inside is accepted. */
void user_unref(struct user **user);

#endif
