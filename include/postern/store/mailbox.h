/* mailbox: one folder of a Maildir++ account, one object per process, shared by all sessions that have it open (maildir.md).
 * Marks: [T] may wait for disk or lock, only in a step; [L] never waits longer than a few microseconds. All are thread-safe.
 * A [T] function that finds the uidlist lock held by somebody else gives FAULT_BUSY at once: the step returns STEP_AGAIN, and the same call
 * goes on where it was (flags and expunges of very many messages work in parts, a MOVE may wait for its source). FAULT_GONE: the folder was removed, or its UIDVALIDITY changed: the session must end or reselect. */
#ifndef POSTERN_STORE_MAILBOX_H
#define POSTERN_STORE_MAILBOX_H

#include <time.h>

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/store/uidset.h"

struct account;
struct mailbox;
struct view;
struct message_writer;

enum message_flag {
    MESSAGE_SEEN = 1, MESSAGE_ANSWERED = 2, MESSAGE_FLAGGED = 4, MESSAGE_DELETED = 8, MESSAGE_DRAFT = 16,
    MESSAGE_RECENT = 32,        /* only in what a view reads; never stored */
    MESSAGE_STORED_FLAGS = 31
};

enum { KEYWORDS_MAX = 26, KEYWORD_LENGTH_MAX = 255 };

struct message {
    uint32_t uid;
    uint8_t flags;             /* enum message_flag */
    uint32_t keywords;         /* bit i: keyword number i of the mailbox ('a' + i on disk) */
    uint64_t size;             /* octets as sent: every line ends in CRLF (RFC822.SIZE); 0 = not known yet: mailbox_load */
    time_t internal_date;      /* 0 = not known yet: mailbox_load */
};

struct mailbox *mailbox_ref(struct mailbox *mailbox);
/* [L] */
void mailbox_unref(struct mailbox **mailbox);

/* [L] Mailboxes and accounts that nobody has open any more stay in memory for this long (bounded in number); 0, as at the start of the process: not at
 * all. To be called each second: ends those whose time is over. */
void store_keep_idle(uint64_t milliseconds);

/* [T] Reads what changed on disk since the last call (nothing to do: two stats): new mail gets UIDs and moves to cur/, flags and
 * removals of others are taken in. Wakes the listeners of views with news. */
int mailbox_sync(struct mailbox *mailbox, struct fault *fault);
/* [T] Makes size and internal_date of these messages known (from names, cache or stat and read). Vanished ones are skipped. */
int mailbox_load(struct mailbox *mailbox, const struct uidset *uids, struct fault *fault);
/* [L] True if a sync is known to be needed (inotify said so): a session in IDLE then runs mailbox_sync in a step. */
bool mailbox_is_dirty(struct mailbox *mailbox);

/* [L] True if mailbox_sync would find nothing: every directory is watched, on a file system that only this machine changes, and no event
 * has come since the last sync. May call views back. */
bool mailbox_is_settled(struct mailbox *mailbox);

struct mailbox_status {
    uint32_t uid_validity;
    uint32_t uid_next;
    uint32_t messages;
    uint32_t unseen;           /* number of messages without \Seen */
    uint32_t recent;           /* messages that no session has been told of yet */
    uint64_t size;             /* sum of RFC822.SIZE; messages of unknown size count 0 (mailbox_load first; STATUS=SIZE, RFC 8438) */
};
/* [L] As of the last sync. */
void mailbox_get_status(struct mailbox *mailbox, struct mailbox_status *status_out);

/* [L] Name of keyword `number`, copied into name_out with NUL (KEYWORD_LENGTH_MAX + 1 bytes); false if the number has none. */
bool mailbox_keyword_name(struct mailbox *mailbox, unsigned number, char *name_out);
/* [L] Number of a keyword compared without case, or -1. */
int mailbox_keyword_number(struct mailbox *mailbox, struct slice name);
/* [L] True if another keyword could still be made (PERMANENTFLAGS \*). */
bool mailbox_has_keyword_room(struct mailbox *mailbox);
/* [L] Rises with every change of the set of keywords: a session then sends FLAGS and PERMANENTFLAGS anew. */
uint64_t mailbox_keywords_version(struct mailbox *mailbox);

/* --- views: what one session has been told ------------------------------------------------------------------------- */

/* [L] After a mailbox_sync. read_only claims no \Recent (EXAMINE). notify is called from any thread when mailbox has news for this
 * view or is dirty; never after view_close returned. Holds a reference to the mailbox. */
struct view *view_open(struct mailbox *mailbox, bool read_only, void (*notify)(void *context), void *context);
/* [L] Right after view_open: the view shows only its newest `most` messages (0: all), and what arrives later. Not for a view that was read. */
void view_limit(struct view *view, uint32_t most);
/* [L] */
void view_close(struct view **view);
struct mailbox *view_mailbox(struct view *view);
/* [L] Messages in the view; sequence numbers are 1..count. */
uint32_t view_count(struct view *view);
uint32_t view_recent(struct view *view);
/* [L] Sequence number of the first message without \Seen, or 0. */
uint32_t view_first_unseen(struct view *view);
/* [L] Copies messages from sequence number `first` on, at most `most` (at most 4,096 a call); returns how many. A message that others
 * have expunged and this view was not told of yet is still there, as it was last known. */
size_t view_read(struct view *view, uint32_t first, struct message *messages_out, size_t most);
/* [L] Sequence number of that UID, or 0; and of the first message with a UID not below it, or count + 1. */
uint32_t view_sequence_of(struct view *view, uint32_t uid);
uint32_t view_sequence_at_or_above(struct view *view, uint32_t uid);

enum view_change_kind { VIEW_EXPUNGED, VIEW_EXISTS, VIEW_RECENT, VIEW_FLAGS };
struct view_change {
    enum view_change_kind kind;
    uint32_t number;           /* EXPUNGED, FLAGS: sequence number at that moment; EXISTS, RECENT: the count */
    struct message message;    /* FLAGS: as it is now */
};
/* [L] The next thing that the client must be told, taken over into the view; false when there is no more. Expunges only if
 * expunges_allowed (RFC 3501 7.4.1): they come first, highest number first, and later news waits for none of it. */
bool view_next_change(struct view *view, bool expunges_allowed, struct view_change *change_out);
/* [L] */
bool view_has_news(struct view *view);
/* [L] The flags of these messages as they are now are what the client knows: after STORE.SILENT. */
void view_forget_flag_changes(struct view *view, const struct uidset *uids);

/* --- changes: all [T], under the uidlist lock ------------------------------------------------------------------------ */

enum flag_change { FLAGS_ADD, FLAGS_REMOVE, FLAGS_REPLACE };
struct flag_update {
    enum flag_change change;
    uint8_t flags;
    const struct slice *keywords;   /* names; new ones are made when added; FAULT_LIMIT for the 27th */
    size_t keyword_count;
};
/* Vanished messages are skipped and become expunged. Survives kill -9 when it returns. Very many messages are worked on in parts, the lock
 * free in between: FAULT_BUSY may come after some, and the call repeated does the rest. So with mailbox_expunge. */
int mailbox_update_flags(struct mailbox *mailbox, const struct uidset *uids, const struct flag_update *update, struct fault *fault);
/* Removes the messages of `uids` (NULL: all) that have \Deleted, or, if forced, whether they have it or not (POP3). Flushed.
 * expunged_out (may be NULL) receives the UIDs. */
int mailbox_expunge(struct mailbox *mailbox, const struct uidset *uids, bool forced, struct uidset *expunged_out, struct fault *fault);
/* Copies (hard links where the file system allows) or moves messages with flags, keywords and internal date: all or none.
 * sources_out[i] became targets_out[i], both in rising order; vanished messages are skipped. Caller owns and uidset_fini's the sets.
 * MOVE links into the target, flushes, records, then unlinks (RFC 6851). FAULT_BUSY with targets_out filled: the targets are safe, the lock of
 * the source is held; called again with the same sets it goes on there. A caller that does not come back leaves that to the next sync. */
int mailbox_copy(struct mailbox *from, const struct uidset *uids, struct mailbox *to, bool move,
                 struct uidset *sources_out, struct uidset *targets_out, struct fault *fault);

/* --- reading: [T] ------------------------------------------------------------------------------------------------------- */

/* Opens the message file for reading, following renames by others. The caller closes *fd_out. Bytes are as stored: line ends may
 * be LF or CRLF. FAULT_GONE if it was expunged. */
int mailbox_open_message(struct mailbox *mailbox, uint32_t uid, int *fd_out, uint64_t *stored_size_out, struct fault *fault);

/* Things computed from a message, kept in a cache file that may be deleted at any time. kind: a small number that the caller chooses. */
enum cache_kind { CACHE_ENVELOPE = 1, CACHE_BODY = 2, CACHE_BODYSTRUCTURE = 3, CACHE_HEADER = 4 };
/* [T] Appends to out; false if not cached. The first call for a mailbox reads the cache file. */
bool mailbox_cache_get(struct mailbox *mailbox, uint32_t uid, enum cache_kind kind, struct buf *out);
/* [L] No more values are wanted for now: what was read ahead of the cache file is freed. */
void mailbox_cache_rest(struct mailbox *mailbox);
/* [T] Values over 64 KiB are ignored; written to disk in bulk, later. */
void mailbox_cache_put(struct mailbox *mailbox, uint32_t uid, enum cache_kind kind, struct slice value);

/* --- writing new messages ----------------------------------------------------------------------------------------------- */

/* [T] A new file in tmp/ of the mailbox. The caller gives the bytes as on the wire (lines end in CRLF); they are stored with LF.
 * A CR without LF and a LF without CR are stored as they are. */
int message_writer_open(struct mailbox *mailbox, struct message_writer **out, struct fault *fault);
/* [T] */
int message_writer_write(struct message_writer *writer, struct slice bytes, struct fault *fault);
/* [T] Delivery: flush, tmp/ -> new/, flush of the directory. Takes no lock, never FAULT_BUSY. When it returns 0 the message survives a power loss.
 * The writer is spent whatever the result; free it. */
int message_writer_deliver(struct message_writer *writer, struct fault *fault);
/* [T] APPEND: flags, keywords, internal date (0: now), UID assigned. After FAULT_BUSY it can be called again with the same writer. */
int message_writer_append(struct message_writer *writer, uint8_t flags, const struct slice *keywords, size_t keyword_count,
                          time_t internal_date, uint32_t *uid_out, uint32_t *uid_validity_out, struct fault *fault);
/* [T] Removes the file in tmp/ unless delivered. NULL inside is accepted. */
void message_writer_free(struct message_writer **writer);

/* --- POP3 views (behaviour.md, POP3 login options): `postern-pop3views` beside the uidlist, under its lock -------------- */

/* [T] UIDs that view 1..31 has downloaded; empty if none or if UIDVALIDITY changed. */
int pop3view_load(struct mailbox *mailbox, unsigned view, struct uidset *uids_out, struct fault *fault);
/* [T] Adds uids to the view and drops those that no longer exist. */
int pop3view_add(struct mailbox *mailbox, unsigned view, const struct uidset *uids, struct fault *fault);

/* --- the process's watcher of directories (inotify) ---------------------------------------------------------------------- */

/* [L] One descriptor for the process, readable when a watched folder changed (only folders with views are watched); -1 if there is none:
 * then sessions poll. The service watches it and calls store_watch_read. */
int store_watch_fd(void);
void store_watch_read(void);

#endif
