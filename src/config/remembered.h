/* remembered: users whose passwords were verified a short time ago, for the time that the directory is away. Internal to src/config. */
#ifndef CONFIG_REMEMBERED_H
#define CONFIG_REMEMBERED_H

#include "postern/base/slice.h"
#include "postern/net/keyed_hash.h"

/* The directory tells of some change of that entry: more than users.c looks at, such as the password. */
void remembered_note(const char *uuid);
/* Forgets everything. */
void remembered_clear(void);

/* What stands for a password under a DN in memory: nobody can read it from there, and no other process would know it again. Any thread. */
void remembered_hash(const char *dn, struct slice password, unsigned char out[KEYED_HASH_SIZE]);

#endif
