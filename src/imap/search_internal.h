/* search_internal: what the SEARCH files share: the tree of keys and the message being looked at. */
#ifndef POSTERN_IMAP_SEARCH_INTERNAL_H
#define POSTERN_IMAP_SEARCH_INTERNAL_H

#include "fetch_internal.h"
#include "search.h"

enum key_kind {
    KEY_ALL,
    KEY_AND, KEY_OR, KEY_NOT,                               /* of children */
    KEY_FLAG, KEY_NO_FLAG, KEY_NEW, KEY_KEYWORD, KEY_NO_KEYWORD,
    KEY_SEQUENCE, KEY_UID,
    KEY_LARGER, KEY_SMALLER, KEY_BEFORE, KEY_ON, KEY_SINCE,
    KEY_SENT_BEFORE, KEY_SENT_ON, KEY_SENT_SINCE, KEY_HEADER,
    KEY_BODY, KEY_TEXT,
};

struct key {
    struct key *next;
    struct key *children;
    enum key_kind kind;
    uint8_t flag;
    uint64_t number;              /* size */
    int64_t day;                  /* since 1970-01-01 */
    struct slice name;            /* of a header field or keyword */
    struct slice text;            /* UTF-8, folded */
    struct sequence_set set;      /* as written */
    struct uidset resolved;       /* owned */
    int keyword;                  /* its number, or -1 */
};

enum { SEARCH_DEPTH_MAX = 50, SEARCH_KEYS_MAX = 1000 };

struct search {
    struct arena *arena;
    struct key *root;             /* KEY_AND */
    size_t key_count;
    bool with_uid;
    bool wants_load;              /* size or date */
    bool in_memory;

    struct view *view;
    struct mailbox *mailbox;
    uint32_t next;                /* sequence number */
    struct message *batch;
    struct buf result;

    /* The message being looked at: */
    bool opened, gone;
    int fd;                       /* -1 */
    uint64_t stored_size;
    bool header_read, digest_read, body_read;
    struct buf header, digest;
    struct arena work;
    struct part *root_part;
};

/* --- search_text.c --- */
/* 1 matches, 0 does not (or the message is gone), -1 fault. */
int search_text_match(struct search *search, const struct key *key, uint32_t uid, struct fault *fault);
void search_text_close(struct search *search);

#endif
