/* fetch: FETCH's arguments and responses, and SEARCH (search.h). Used by the command table in imap.c. */
#ifndef POSTERN_IMAP_FETCH_H
#define POSTERN_IMAP_FETCH_H

#include "parser.h"
#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/store/mailbox.h"

struct fetch;

enum progress { PROGRESS_DONE, PROGRESS_MORE /* out has reached SESSION_OUT_CHUNK: call again when it drained */, PROGRESS_FAILED };

/* Parses what follows "FETCH set SP" (macro, item or list); with_uid: UID FETCH, whose responses always carry UID. NULL if it is malformed.
 * Lives in p->arena. set: already resolved to the UIDs of the view (rising); the caller keeps it alive. */
struct fetch *fetch_parse(struct imap_parser *p, bool with_uid);
/* True if everything asked for is in memory (FLAGS, UID; sizes and dates once loaded): fetch_step may then run on the loop. */
bool fetch_is_in_memory(const struct fetch *fetch);
/* True if \Seen is to be set (BODY[...] without PEEK, RFC822, RFC822.TEXT): done by fetch_step itself unless read_only. */
bool fetch_sets_seen(const struct fetch *fetch);
void fetch_begin(struct fetch *fetch, struct view *view, const struct uidset *uids, bool read_only);
/* [T], or [L] if fetch_is_in_memory. Appends responses until all are written or out is full. BUSY of the lock when setting \Seen is not a
 * failure of the fetch: FAULT_BUSY is returned through fault with PROGRESS_FAILED only if nothing was written by this call; call again. Messages
 * expunged by others: no response, and fetch_had_expunged is true afterwards (the command ends NO [EXPUNGEISSUED], RFC 5530). */
enum progress fetch_step(struct fetch *fetch, struct buf *out, struct fault *fault);
/* True while a response is only written in part: nothing else may be said. */
bool fetch_is_writing(const struct fetch *fetch);
bool fetch_had_expunged(const struct fetch *fetch);
/* Frees descriptors and what is not in the arena; NULL is accepted. Call it also when the session ends midway. */
void fetch_end(struct fetch *fetch);

/* "FLAGS (\Seen $Forwarded)" of one message, as in FETCH responses; also for unsolicited ones. */
void fetch_write_flags(struct buf *out, struct mailbox *mailbox, const struct message *message);

#endif
