/* users: the users that were asked for of late, kept in memory while a thread hears of every change of users and distribution lists (architecture,
 * decision 12). Bounded: the least recently asked for goes first. Internal to src/config; any thread. */
#ifndef CONFIG_USERS_H
#define CONFIG_USERS_H

#include "build.h"
#include "postern/config/user.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"
#include "postern/directory/pool.h"

/* One of the lists that a user is in. */
struct list_name {
    char *ndn;
    char uuid[DIRECTORY_UUID_SIZE];
};

/* Taken before the directory is asked: what it then says is kept only if nothing has changed meanwhile. */
struct users_ticket {
    uint64_t generation;
    uint64_t notices;
    uint64_t lists;
    unsigned server;      /* that is followed */
    bool followed;
};

/* What is missing for an answer. */
enum users_answer { USERS_FOUND, USERS_NEEDS_LISTS, USERS_UNKNOWN };

/* look_ups: for the lists of a list. changed: as users_changed in config_options, or NULL. All outlive it. */
void users_start(const struct directory_options *directory, const char *agent_dn, struct directory_pool *look_ups,
                 void (*changed)(void *context), void *context);
/* Users still held stay good, but are current no more. */
void users_stop(void);
/* After each publication. */
void users_follow_snapshot(const struct snapshot *before, const struct snapshot *now);

/* For user_changes.c, which says what is not so any more. */
bool users_entry_is_list(const struct directory_entry *entry);
/* Also one of which it may not be read what it is. */
bool users_entry_may_hold_users(const struct directory_entry *entry);
void users_note(const struct directory_entry *entry, bool gone);
/* OF_NOBODY: nothing to be done. Else nobody is given rights by lists until users_settle_lists. ASK: the directory must say whether it matters. */
enum users_list_change { USERS_LIST_OF_NOBODY, USERS_LIST_MATTERS, USERS_LIST_ASK };
enum users_list_change users_doubt_lists(const struct directory_entry *entry, bool gone);
void users_settle_lists(bool relevant);
bool users_has_news(void);
void users_take_news(void);
/* Every change from now on is told by that server; or changes may be missed. */
void users_follow(unsigned server);
void users_unfollow(void);
/* inside: whether what is told covers the base. */
void users_set_base(const char *base, bool inside, bool same_classes);
void users_clear(void);

struct users_ticket users_ticket(void);
/* FOUND: the user, current under the snapshot. NEEDS_LISTS: its entry is known; the DN is the caller's, uuid_out is filled. */
enum users_answer users_find(struct snapshot *snapshot, struct slice name, struct user **out, char **dn_out, char uuid_out[DIRECTORY_UUID_SIZE]);
/* The same by entryUUID. */
enum users_answer users_find_uuid(struct snapshot *snapshot, const char *uuid, struct user **out, char **dn_out);
/* The lists that a kept user is in, as the directory says now. They are copied. */
void users_give_lists(const struct users_ticket *ticket, const char *uuid, const struct list_name *lists, size_t count);
/* Keeps what a user was made from, and lets the user know of changes. name: as it was asked for, or SLICE_NONE. Takes the entry; copies the lists, NULL if
 * they were not asked for. False: something changed meanwhile; the user is out of date from the beginning. */
bool users_keep(const struct users_ticket *ticket, struct user *user, struct slice name, struct directory_entry *entry,
                const struct list_name *lists, size_t list_count, bool has_lists);
/* Something was found to have changed that nobody told of. */
void users_doubt_all(void);

bool users_is_current(const struct user *user);
/* The directory has told of a change, or the configuration is another one, or the user's time is over. Says less than the opposite of current: nothing may have been
 * told since. */
bool users_is_known_changed(const struct user *user);
/* From user_unref. */
void user_record_unref(struct user_record **record);

#endif
