/* verify: passwords of users, by bind or compare. A user kept in memory may bear a DN of before, since nothing tells of what lies below an entry that was renamed: before a
 * password is refused, the DN is asked for once more. Internal to src/config; any thread. */
#ifndef CONFIG_VERIFY_H
#define CONFIG_VERIFY_H

#include "postern/config/user.h"
#include "postern/directory/pool.h"

/* As config_verify_user. */
int verify_user(struct directory_pool *binds, struct directory_pool *look_ups, const struct user *user, struct slice password, struct fault *fault);
/* As config_verify_begin, config_verify_take and config_verify_drop: never wait. */
struct directory_bind *verify_begin(struct directory_pool *binds, const struct user *user, struct slice password);
int verify_take(struct directory_bind **bind, struct fault *fault);
void verify_drop(struct directory_bind **bind);
/* Nobody may be in a call. */
void verify_clear(void);

#endif
