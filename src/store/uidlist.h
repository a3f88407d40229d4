/* uidlist: the file dovecot-uidlist: read as a whole or from where it grew, appended to in place, or rewritten (maildir.md, rules 4 and 5). */
#ifndef STORE_UIDLIST_H
#define STORE_UIDLIST_H

#include <sys/stat.h>

#include "postern/base/buf.h"
#include "postern/base/fault.h"

/* Enough of a stat to see that a file or directory is what it was. */
struct file_state {
    uint64_t device, inode, size;
    int64_t seconds, nanoseconds;
};
void file_state_set(struct file_state *state, const struct stat *st);
bool file_state_is(const struct file_state *state, const struct stat *st);

struct uidlist {
    struct file_state state;    /* zero: there is no file */
    uint64_t read_to;           /* behind the last whole line read */
    uint64_t mark;              /* hash of bytes near the start and before read_to: a reused inode is not a file that grew */
    uint32_t uid_validity;
    uint32_t next_uid;          /* max(N, last UID + 1); above every number on a broken line */
    uint32_t last_uid;
    uint32_t lines;
    bool broken;                /* lines or the header are not as Dovecot wants them: kept aside and rewritten before anything else */
    bool stale;                 /* to be rewritten, though good */
};

typedef void uidlist_record_fn(void *context, uint32_t uid, struct slice base, uint64_t size);

/* Reads what is new. *replaced_out: the file is another one (or the first): the records that follow are all there are. The whole line is
 * the unit: a last line without LF does not exist yet. No file is no fault: state becomes zero. */
int uidlist_read(struct uidlist *list, int control, bool *replaced_out, uidlist_record_fn *record, void *context, struct fault *fault);
/* Appends whole lines and flushes them. After a failure some may stand there: their UIDs are spent, and the list must be read again. The
 * list must have been read to its end under the lock. */
int uidlist_append(struct uidlist *list, int control, struct slice lines, struct fault *fault);
/* Writes the file anew: every good line for which keep() is true, byte for byte (keep NULL: all), then `more`. Unknown keys of the
 * header stay. A broken file is copied aside first. */
int uidlist_rewrite(struct uidlist *list, int control, int folder, bool (*keep)(void *context, uint32_t uid, struct slice base),
                    void *context, struct slice more, struct fault *fault);
/* One line as append and rewrite want it. */
void uidlist_line(struct buf *out, uint32_t uid, struct slice base);

#endif
