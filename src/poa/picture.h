/* picture: what one user's mailboxes look like, as sorted lines of text that can be compared: separator, prefix, folders, UIDVALIDITY, UIDNEXT and the newest messages of INBOX.
 * From the POA's answers, or from the path. Internal to src/poa. */
#ifndef POA_PICTURE_H
#define POA_PICTURE_H

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/config/snapshot.h"

enum { PICTURE_MESSAGES = 20 };

/* Everything that the POA said to the commands NAMESPACE, LIST "" "*", EXAMINE INBOX and FETCH (UID FLAGS RFC822.SIZE). FAULT_PROTOCOL: it cannot be read. */
int picture_of_poa(struct slice said, struct buf *out, struct fault *fault);
/* The number of messages that EXAMINE told. */
uint64_t picture_exists(struct slice said);
/* Reads the disk, and waits for locks up to five seconds: only in a thread. Makes no mailbox. */
int picture_of_path(const struct post_office *office, const char *mailbox_dir, struct buf *out, struct fault *fault);
/* False: difference_out says in what they differ first. */
bool picture_is_same(struct slice poa, struct slice path, struct buf *difference_out);

#endif
