/* paths: whether the paths of post offices can be used, found out before a user comes, and told as faults of the configuration (postern/config/found.h). Any
 * thread. */
#ifndef SERVICE_PATHS_H
#define SERVICE_PATHS_H

struct paths;

/* Looks at all paths of the current snapshot, again every ten seconds, and at one that cannot be used four times a second. */
struct paths *paths_new(void);
/* There is another snapshot. [L] */
void paths_changed(struct paths *paths);
/* Waits a second at most: a thread that hangs in a path is left behind with what it uses, which is nothing of others. */
void paths_free(struct paths **paths);

#endif
