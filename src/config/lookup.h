/* lookup: users and lists asked of the directory. Internal to src/config; config.c owns the pools. */
#ifndef CONFIG_LOOKUP_H
#define CONFIG_LOOKUP_H

#include "postern/config/user.h"
#include "postern/directory/pool.h"
#include "users.h"

/* As config_find_user, over a pool. */
int lookup_user(struct directory_pool *pool, struct slice name, struct user **out, struct fault *fault);
/* The one entry that a user ID or address finds, with these attributes. */
int lookup_entry(struct directory_pool *pool, const char *base, struct slice name, const char *const *attributes, unsigned *server,
                 struct directory_entry **out, struct fault *fault);
/* As config_refresh_user. */
int lookup_user_again(struct directory_pool *pool, const struct user *old, struct user **out, struct fault *fault);
/* After a refused bind: the DN that the user has now, to be freed; NULL: the same, or not known. One that changed unheard of ends what is kept. */
char *lookup_moved(struct directory_pool *pool, const struct user *user);
/* explain.c: as config_explain_user. */
struct rights_report;
int lookup_explain(struct directory_pool *pool, struct slice name, struct rights_report **out, struct fault *fault);
/* Without asking the directory: false if that cannot be told from memory. Never waits. */
bool lookup_kept_user(struct slice name, struct user **out);
/* Where users are; NULL: not known yet. */
const char *lookup_user_base(const struct snapshot *snapshot);
/* The distribution lists that a user or a list is in, directly or not, from the nearest on. */
int lookup_lists(struct directory_pool *pool, const struct snapshot *snapshot, const char *dn, unsigned *server, struct list_name **out,
                 size_t *count_out, struct fault *fault);
void list_names_free(struct list_name **names, size_t count);
/* The user that the entry describes, with its rights from the snapshot; lists: normal DNs. NULL with a fault if the entry has no user ID. Takes a reference of
 * the snapshot. now: seconds since the epoch. */
struct user *user_from_entry(struct snapshot *snapshot, const struct directory_entry *entry, char *const *lists, size_t list_count,
                             int64_t now, struct fault *fault);

#endif
