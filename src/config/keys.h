/* keys: what SCRAM compares with, of users. Internal to src/config. */
#ifndef CONFIG_KEYS_H
#define CONFIG_KEYS_H

#include "postern/directory/pool.h"

/* state_dir: holds the secret that the salts of names without keys are made with, file "salt-key"; written when it is missing. The strings outlive it. */
void keys_start(struct directory_pool *look_ups, const char *state_dir);

#endif
