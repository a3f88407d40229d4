/* remembered: users whose passwords were verified a short time ago, for the time that the directory is away. Internal to src/config. */
#ifndef CONFIG_REMEMBERED_H
#define CONFIG_REMEMBERED_H

/* The directory tells of some change of that entry: more than users.c looks at, such as the password. */
void remembered_note(const char *uuid);
/* Forgets everything. */
void remembered_clear(void);

#endif
