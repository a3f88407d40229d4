/* tree: the directories of direct post offices as src/store sees them: safe opening beneath a descriptor, the marked post office,
 * the account, and the mapping of folder names to directories. Only the account's files include it; nothing here runs on a loop. */
#ifndef STORE_TREE_H
#define STORE_TREE_H

#include <limits.h>
#include <pthread.h>
#include <sys/stat.h>

#include "postern/base/buf.h"
#include "postern/base/list.h"
#include "postern/store/account.h"

/* Directories of ours that are being made or removed: without a leading dot, so that nobody takes them for folders. */
#define TREE_ASIDE "postern-aside."
#define TREE_MARKER "postern-postoffice"

enum { TREE_NAME_SIZE = NAME_MAX + 1, TREE_FOLDERS_MAX = 20000 };

/* Opens a path below `dir`; a symbolic link anywhere on the way is FAULT_DENIED. Returns the descriptor or -1. */
int tree_open(int dir, const char *path, int flags, struct fault *fault);
/* FAULT_DENIED unless the file belongs to the uid and to a gid of this process. */
int tree_check_owner(int fd, const char *path, struct fault *fault);
/* Flushes a directory. */
int tree_sync(int fd, const char *path, struct fault *fault);
/* Makes a directory with exactly this mode and group, and opens it. -1 with errno EEXIST kept in fault->error if it is there. */
int tree_make_directory(int parent, const char *name, const struct stat *like, struct fault *fault);
/* Makes what is missing of tmp/, new/ and cur/, in this order (who has cur/ has all), and maildirfolder if is_folder. */
int tree_complete_maildir(int dir, const struct stat *like, bool is_folder, struct fault *fault);
/* A whole Maildir appears under this name at once, flushed; FAULT_EXISTS. */
int tree_make_maildir(int parent, const char *name, const struct stat *like, bool is_folder, struct fault *fault);
/* rename that replaces nothing. */
int tree_rename(int dir, const char *from, const char *to, struct fault *fault);
/* Renames a directory aside and flushes the parent: from here on it is gone. aside_out has TREE_NAME_SIZE bytes. */
int tree_put_aside(int dir, const char *name, char *aside_out, struct fault *fault);
/* Removes a directory with what is in it. Failures are logged: what is left over is swept later. */
void tree_remove(int parent, const char *name);
/* Removes directories put aside that a crash left more than an hour ago. */
void tree_sweep(int dir);
/* A second DIR-able descriptor of the same directory, at its beginning. */
int tree_reopen(int dir, struct fault *fault);

struct postoffice {
    struct list link;
    unsigned refs;
    char *path;
    char *uuid;
    int fd;
    struct stat directory;   /* identity when the marker was read */
    struct stat marker;
};

/* An open and verified post office, one per path in the process, counted. */
struct postoffice *postoffice_get(struct slice path, struct slice uuid, struct fault *fault);
void postoffice_unref(struct postoffice **postoffice);

struct account {
    unsigned refs;           /* 0: it is only kept */
    struct list idle_link;   /* while it is only kept */
    uint64_t idle_ms;        /* since when */
    uint64_t opened_ms;      /* when its directories were last opened and found good */
    struct buf key;          /* the `where` it was opened with, as found by account_find */
    struct postoffice *postoffice;
    int root;                /* the Maildir */
    int control;             /* root of the control files; the same number as root if they lie in the Maildir */
    struct stat like;        /* mode and group that new directories and files get */
    char *path;              /* for faults */
    char *control_dir;       /* "" if none */
    char *prefix;
    char separator;
    pthread_mutex_t mutex;   /* changes of folders and subscriptions by this process, one at a time */
    char *inbox_target;      /* directory that a RENAME of INBOX made and has not filled yet */
};

struct tree_namespace {
    struct slice prefix;
    char separator;
};
struct tree_namespace account_namespace(const struct account *account);

/* The directory of a folder name with its leading dot, "" for INBOX, into disk_out (TREE_NAME_SIZE). FAULT_INVALID. */
int folder_name_to_disk(struct tree_namespace space, struct slice name, char *disk_out, struct fault *fault);
/* The folder name of a directory or subscription (without the leading dot); false if no name leads back to it. */
bool folder_name_from_disk(struct tree_namespace space, struct slice disk, struct arena *arena, struct slice *name_out);
/* Modified UTF-7 in its one right form. */
bool folder_name_is_utf7(struct slice name);

/* The process's object of the folder in this directory ("" for INBOX). */
int account_mailbox_at(struct account *account, const char *disk, struct mailbox **out, struct fault *fault);
/* Where the control files lie elsewhere: takes them along if a crash came between the two renames of an account_rename. */
void folder_finish_rename(struct account *account, const char *disk, int folder);
/* Calls back for each directory that could be a folder, with its name after the dot; stops at the first call that gives -1. */
int account_each_folder(struct account *account, int (*visit)(struct slice disk, void *context), void *context, struct fault *fault);
/* Calls back with each subscribed name as it lies on disk, without a leading dot. */
int subscriptions_each(struct account *account, void (*visit)(struct slice disk, void *context), void *context, struct fault *fault);

#endif
