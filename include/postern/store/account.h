/* account: one user's mailboxes in a direct post office: a Maildir++ tree (maildir.md), its folders and subscriptions.
 * Marks: [T] may wait for the disk, call it in a step; [L] never blocks, may be called on a loop. All are thread-safe.
 * Folder names are IMAP mailbox names: modified UTF-7 (RFC 3501 5.1.3), with the post office's separator and namespace
 * prefix; INBOX in any case. Names that cannot be a directory (empty levels, '/', NUL, the separator of the disk, over 255 bytes) are FAULT_INVALID. */
#ifndef POSTERN_STORE_ACCOUNT_H
#define POSTERN_STORE_ACCOUNT_H

#include "postern/base/arena.h"
#include "postern/base/fault.h"
#include "postern/base/slice.h"

struct account;
struct mailbox;

/* Where a user's mail lies. All slices are borrowed for the call. */
struct account_where {
    struct slice path;          /* the post office's directory, absolute, holding `postern-postoffice` */
    struct slice uuid;          /* the post office's entryUUID in text form: must be what the marker says */
    struct slice mailbox_dir;   /* relative to path: the user's Maildir, template already expanded */
    struct slice control_dir;   /* "" or where Dovecot's CONTROL= moved uidlist, keywords, subscriptions: absolute, per mailbox */
    struct slice prefix;        /* namespace prefix, e.g. "" or "INBOX." */
    char separator;             /* '.' or '/' */
};

/* [T] Opens (openat2 RESOLVE_BENEATH|NO_SYMLINKS|NO_MAGICLINKS from the post office's descriptor); makes the Maildir and INBOX at
 * first use, if create. The same account opened twice in a process is one object, counted. FAULT_UNREACHABLE: the path
 * is not there or not marked with this uuid (nothing is created in it); FAULT_NOT_FOUND: no Maildir and not create. */
int account_open(const struct account_where *where, bool create, struct account **out, struct fault *fault);
/* [L] The account, if it was opened with the same `where` within the last two seconds; else NULL: account_open tells. */
struct account *account_find(const struct account_where *where);
struct account *account_ref(struct account *account);
/* [L] */
void account_unref(struct account **account);
char account_separator(const struct account *account);
struct slice account_prefix(const struct account *account);

/* RFC 6154 special use by name: "Drafts", "Sent", "Trash", "Junk"/"Spam", "Archive". */
enum folder_use { FOLDER_PLAIN, FOLDER_DRAFTS, FOLDER_SENT, FOLDER_TRASH, FOLDER_JUNK, FOLDER_ARCHIVE };

struct folder {
    struct slice name;       /* in the caller's arena */
    bool exists;             /* false: only a parent of others (\NonExistent \Noselect), or only subscribed */
    bool has_children;
    bool subscribed;
    enum folder_use use;
};

/* [T] All folders sorted by name, INBOX first, with parents that are no folders themselves, and subscribed names that do not exist. */
int account_list(struct account *account, struct arena *arena, struct folder **folders_out, size_t *count_out, struct fault *fault);
/* [T] Makes the folder (parents need none of their own in Maildir++). FAULT_EXISTS. A trailing separator is allowed and dropped. */
int account_create(struct account *account, struct slice name, struct fault *fault);
/* [T] FAULT_NOT_FOUND; INBOX is FAULT_DENIED. Children stay. Sessions that have it open find FAULT_GONE. */
int account_delete(struct account *account, struct slice name, struct fault *fault);
/* [T] With its children; V and G are kept. INBOX: its messages move to the new folder and INBOX stays (RFC 3501 6.3.5). */
int account_rename(struct account *account, struct slice from, struct slice to, struct fault *fault);
/* [T] Version 1 and 2 of `subscriptions`, under its lock. Unsubscribing what is not subscribed is no fault. */
int account_subscribe(struct account *account, struct slice name, bool on, struct fault *fault);

/* [T] The shared object of one folder (one per process, counted); FAULT_NOT_FOUND. Does not read the folder yet: mailbox_sync does. */
int account_mailbox(struct account *account, struct slice name, struct mailbox **out, struct fault *fault);

/* [L] The same, counted, if it is in memory and mailbox_is_settled; else NULL: account_mailbox and mailbox_sync tell. */
struct mailbox *account_mailbox_settled(struct account *account, struct slice name);
/* [L] Whether the process has it in memory, settled or not: it was there a moment ago. */
bool account_has_mailbox(struct account *account, struct slice name);

/* [T] `posternctl postoffice init`: writes PATH/postern-postoffice with the uuid; FAULT_EXISTS if another uuid is there. */
int postoffice_init(const char *path, struct slice uuid, struct fault *fault);
/* [T] Is the path there and marked with this uuid? own: and does it belong to the user and group of this process? Opens and makes nothing else. */
int postoffice_check(const char *path, struct slice uuid, bool own, struct fault *fault);

#endif
