/* accepted: which logins POAs have accepted lately. Whose password was accepted is not refused now: if the POA says nothing, it hangs. Any thread; never waits. Internal to
 * src/poa. */
#ifndef POA_ACCEPTED_H
#define POA_ACCEPTED_H

#include "dialogue.h"

/* Stands for this host, user and secret; the same only in this process. */
uint64_t accepted_tag(const struct post_office_agent *agent, const struct dialogue_who *who);
void accepted_note(uint64_t tag);
void accepted_forget(uint64_t tag);
/* Within the last hour; a few of many are forgotten sooner. */
bool accepted_is(uint64_t tag);

#endif
