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
    bool plain;                   /* as the login option n */
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
    uint32_t imap4_connections;            /* at a time; 0 = no limit */
    uint64_t imap4_append_size;            /* octets; 0 = no limit of its own */
    uint64_t smtp_incoming_max_size;       /* likewise */
    bool smtp_outgoing_forwards;           /* of rules, to elsewhere */
    bool smtp_outgoing_replies;            /* likewise */
    bool console_allowed;
    struct smtp_rules *smtp_incoming_rules; /* exceptions: rights.h asks them; NULL: none, and smtp_incoming_allowed says it all */
    struct smtp_rules *smtp_outgoing_rules;
    char uuid[37];                         /* entryUUID in text form; empty if the directory gives none */
    int64_t expiration;                    /* seconds since the epoch; 0: never. disabled says whether it was over when this was built */
    uint64_t built_ms;                     /* clock_monotonic_ms */
    struct user_record *record;            /* src/config's own, as the next ones */
    uint64_t lists_asked;
    char *office;                          /* posternPostOffice in normal form, known or not; or NULL */
};

struct user *user_ref(struct user *user);
/* NULL inside is accepted. */
void user_unref(struct user **user);

#endif
