/* internal: what the files of src/store share with each other about a mailbox: how an account makes one, its lock, its
 * directories. Only src/store includes it. Nothing here is called on a loop unless marked [L]. */
#ifndef STORE_INTERNAL_H
#define STORE_INTERNAL_H

#include "postern/base/fault.h"
#include "postern/store/mailbox.h"

/* Where a mailbox lies. mailbox_new_at takes over everything in it, whatever its result: it closes the two descriptors that it owns
 * and calls release(owner) once, at the latest when the last reference to the mailbox is dropped (from any thread, no lock held). */
struct mailbox_place {
    int folder;                     /* owned: the directory that has cur/, new/, tmp/ and our postern-* files */
    int control;                    /* owned: the directory of dovecot-uidlist and dovecot-keywords; may be the same number as folder */
    int validity;                   /* borrowed, kept open by owner: the directory of dovecot-uidvalidity (the account's control root) */
    const char *disk;               /* name of the folder's directory in the account, "" for INBOX; copied; NULL: never found by name */
    void *owner;                    /* one counted reference, usually the account; may be NULL */
    void (*release)(void *owner);   /* may be NULL */
};

/* [T] Makes or finds the process's one object for the folder (device and inode of the directory). Reads nothing of the folder. */
int mailbox_new_at(const struct mailbox_place *place, struct mailbox **out, struct fault *fault);

/* [L] The object of that owner and name, if a sync would find nothing in it; else NULL. Counted. */
struct mailbox *mailbox_find_settled(const void *owner, const char *disk);

/* [L] Whether there is an object of that owner and name, settled or not. */
bool mailbox_is_known(const void *owner, const char *disk);

/* [L] store_keep_idle for mailboxes alone. */
void mailbox_keep_idle(uint64_t milliseconds);

/* [L] After a folder was deleted by us, or before its directory is emptied: if the process has an object for that directory,
 * everything further on it is FAULT_GONE and its views are woken. */
void mailbox_mark_gone(int folder_fd);

/* The lock of the folder: the process's own first, then dovecot-uidlist.lock (maildir.md, rule 1). FAULT_BUSY at once if anybody holds either.
 * Never hold two. Not recursive: functions of mailbox.h marked "under the uidlist lock" take it themselves. */
int mailbox_lock(struct mailbox *mailbox, struct fault *fault);
void mailbox_unlock(struct mailbox *mailbox);
/* Keeps the lock file fresh during long work; cheap, call it as often as you like. Fails if somebody took the lock away. */
int mailbox_lock_touch(struct mailbox *mailbox, struct fault *fault);

/* [L] The descriptors stay the mailbox's. */
int mailbox_folder_fd(const struct mailbox *mailbox);
int mailbox_control_fd(const struct mailbox *mailbox);
/* [L] UIDVALIDITY as of the last mailbox_sync; 0 before the first one. */
uint32_t mailbox_uid_validity(struct mailbox *mailbox);
/* [L] Adds the UIDs of all messages that exist, as of the last sync. */
void mailbox_uids(struct mailbox *mailbox, struct uidset *uids_out);

/* The next UIDVALIDITY of an account, shared with Dovecot (maildir.md, rule 7): dovecot-uidvalidity and dovecot-uidvalidity.%08x in that
 * directory. Needs no lock: the rename is what makes it safe. */
int uidvalidity_next(int control_root_fd, uint32_t *uid_validity_out, struct fault *fault);

/* Names of files in the control directory and in the folder. */
#define NAME_UIDLIST "dovecot-uidlist"
#define NAME_UIDLIST_TMP "dovecot-uidlist.tmp"
#define NAME_UIDLIST_LOCK "dovecot-uidlist.lock"
#define NAME_KEYWORDS "dovecot-keywords"
#define NAME_INDEX "postern-index"
#define NAME_CACHE "postern-cache"

#endif
