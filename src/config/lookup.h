/* lookup: users and lists asked of the directory. Internal to src/config; config.c owns the pools. */
#ifndef CONFIG_LOOKUP_H
#define CONFIG_LOOKUP_H

#include "postern/config/user.h"
#include "postern/directory/pool.h"

/* As config_find_user, over a pool. */
int lookup_user(struct directory_pool *pool, struct slice name, struct user **out, struct fault *fault);
/* As config_refresh_user. */
int lookup_user_again(struct directory_pool *pool, const struct user *old, struct user **out, struct fault *fault);
/* The normal DNs of the lists that the user is in now, as far as its classes of service may depend on them: each and the array are the caller's. */
int lookup_lists(struct directory_pool *pool, const struct user *user, char ***lists_out, size_t *count_out, struct fault *fault);
/* explain.c: as config_explain_user. */
struct rights_report;
int lookup_explain(struct directory_pool *pool, struct slice name, struct rights_report **out, struct fault *fault);
/* The user that the entry describes, with its rights from the snapshot; lists: normal DNs. NULL with a fault if the entry has no user ID. Takes a reference of
 * the snapshot. now: seconds since the epoch. */
struct user *user_from_entry(struct snapshot *snapshot, const struct directory_entry *entry, char *const *lists, size_t list_count,
                             int64_t now, struct fault *fault);

#endif
