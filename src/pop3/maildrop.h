/* maildrop: the messages of one POP3 session: a fixed list taken at login (RFC 1939 section 4), what was done with each, and the update at QUIT.
 * Everything marked [T] may wait for disk or lock: in a step only. */
#ifndef POP3_MAILDROP_H
#define POP3_MAILDROP_H

#include "options.h"
#include "postern/base/fault.h"
#include "postern/store/mailbox.h"
#include "views.h"

struct user;

enum entry_flag {
    ENTRY_DELETED = 1,      /* DELE */
    ENTRY_RETRIEVED = 2,    /* RETR was sent to its end */
    ENTRY_MIME_UTF8 = 4,    /* MIME fields are added: 8-bit text that is UTF-8 */
    ENTRY_MIME_UNKNOWN = 8, /* the same, of a charset that nobody knows (RFC 1428 section 3) */
    ENTRY_PROBED = 16,      /* the two above are known */
    ENTRY_SEEN = 32,        /* has \Seen already */
    ENTRY_ASKED = 64,       /* a Post Office Agent was asked for it, and its text has not begun */
};

struct entry {
    uint64_t size;          /* octets that RETR sends, without dot-stuffing and the last line */
    uint32_t uid;
    uint32_t flags;
};

enum maildrop_stage { MAILDROP_CLOSED, MAILDROP_LISTED, MAILDROP_OPEN };
enum update_stage { UPDATE_NONE, UPDATE_SEEN, UPDATE_VIEW, UPDATE_TRASH, UPDATE_EXPUNGE, UPDATE_DONE };

struct maildrop {
    struct account *account;
    struct mailbox *mailbox;
    struct view *view;      /* while it is being opened */
    struct entry *entries;
    uint32_t count;
    uint32_t loaded;        /* entries looked at, and */
    uint32_t kept;          /* of these, young enough: while it is being opened */
    time_t oldest;          /* option t: internal dates before this are not listed */
    uint32_t uid_validity;
    struct view_record known;    /* option v: what the POA has said of the view; may be of another UIDVALIDITY, */
    struct uidset downloaded;    /* and all that the view has downloaded: not listed */
    uint32_t left;          /* without the deleted ones, */
    uint64_t left_size;     /* and their octets: STAT */
    enum maildrop_stage stage;
    enum update_stage update;
    struct pop3_options options;
};

enum { MAILDROP_SMALL_SIZE = 1024 };   /* what is reported for every message with the option s */

/* [T] Does a part of the work of opening; call until stage is MAILDROP_OPEN. After FAULT_BUSY it can be called again. drop->options must be
 * in force before. */
int maildrop_open(struct maildrop *drop, const struct user *user, struct fault *fault);
/* NULL if there is no message of that number, or it is deleted. */
struct entry *maildrop_find(struct maildrop *drop, uint64_t number);
/* NULL if no message has that UID. */
struct entry *maildrop_find_uid(struct maildrop *drop, uint32_t uid);
/* [T] The MIME fields that are added to the message's header, or NULL. */
const char *maildrop_fields(struct maildrop *drop, struct entry *entry);
/* The option t: sets drop->oldest. */
void maildrop_set_oldest(struct maildrop *drop);
/* The list is whole: the option l, and the sums. stage is MAILDROP_OPEN then. */
void maildrop_finish_opening(struct maildrop *drop);
/* UIDs of the entries whose `mask` flags are exactly `flags`; the caller's. */
struct uidset maildrop_with(const struct maildrop *drop, unsigned mask, unsigned flags);
/* Retrieved, and not deleted by the client. */
struct uidset maildrop_retrieved(const struct maildrop *drop);
void maildrop_delete(struct maildrop *drop, struct entry *entry);
void maildrop_undelete_all(struct maildrop *drop);
/* True if QUIT has something to write. */
bool maildrop_needs_update(const struct maildrop *drop);
/* [T] Removes what was deleted and notes what was retrieved; flushed when it returns 0. After FAULT_BUSY it can be called again. */
int maildrop_update(struct maildrop *drop, const struct user *user, struct fault *fault);
void maildrop_close(struct maildrop *drop);

#endif
