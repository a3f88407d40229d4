/* access: how one post office is reached: its own settings, its Post Office Agents and its link put together. Internal to src/config. */
#ifndef CONFIG_ACCESS_H
#define CONFIG_ACCESS_H

#include "parse.h"

/* The objects that have a say. */
struct access_say {
    const struct version *office;
    const struct version *link;            /* NULL: none */
    const struct version *const *agents;   /* Post Office Agents under it, in the order in which they are tried */
    size_t agent_count;
    bool served_here;                      /* this process is its Post Office Agent: there is no other way than its path */
};

/* Fills mode, path, agents and where they come from; dn is set before. What the arena and the versions hold is not copied. A fault is told for each thing that
 * is missing. */
void access_apply(struct post_office *po, const struct access_say *say, struct arena *arena,
                  void (*fault)(void *context, const char *dn, const char *attribute, const char *reason), void *context);

#endif
