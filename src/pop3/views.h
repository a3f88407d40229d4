/* views: what one view of a user has downloaded, as text and as a file of the state directory: there it is when the agent keeps no METADATA, and as a copy
 * of what the agent or the mailbox keeps (postern/store/mailbox.h) for a time when the other way leads to the mailbox. */
#ifndef POP3_VIEWS_H
#define POP3_VIEWS_H

#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/store/uidset.h"

struct user;

enum { VIEW_TEXT_MAX = 32 * 1024 };

/* Zeroed: nothing was downloaded. */
struct view_record {
    uint32_t uid_validity;    /* of the mailbox that the UIDs are of */
    struct uidset uids;
};

/* At most VIEW_TEXT_MAX octets, letters that need no quoting: of a record that is longer the lowest UIDs are left out, and listed again. */
void view_record_write(const struct view_record *record, struct buf *out);
/* Into a zeroed record; false if it is none: nothing is in it then. */
bool view_record_parse(struct slice text, struct view_record *record);
/* Adds what the other one has of the same mailbox. */
void view_record_add(struct view_record *record, const struct view_record *other);
void view_record_fini(struct view_record *record);

/* Where records are kept; NULL: nowhere. At the start, before there are sessions. */
void views_configure(const char *state_dir);
/* [T] Into a zeroed record. No file, or a broken one: an empty record. */
int views_load(const struct user *user, unsigned view, struct view_record *record, struct fault *fault);
/* [T] Adds the record to the one that is kept, if that is of the same mailbox, or takes its place. FAULT_BUSY: another session writes. */
int views_save(const struct user *user, unsigned view, const struct view_record *record, struct fault *fault);

#endif
