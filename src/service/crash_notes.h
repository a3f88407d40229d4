/* crash_notes: memory shared by supervisor and agents: whose steps are at work, so that a user whose mailbox made two agents abort is
 * refused for ten minutes instead of a third (architecture, decision 9). All functions accept NULL notes. */
#ifndef SERVICE_CRASH_NOTES_H
#define SERVICE_CRASH_NOTES_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/service/supervisor.h"

enum { CRASH_REFUSED_MS = 10 * 60 * 1000, CRASHES_MOST = 2 };

/* [T] In the agent, around a step. The ticket goes to end; -1 if there is no room for a note. */
int crash_notes_begin(struct crash_notes *notes, const char *user);
void crash_notes_end(struct crash_notes *notes, int ticket);
/* Any thread. */
bool crash_notes_is_refused(const struct crash_notes *notes, const char *user, uint64_t now_ms);
/* In the supervisor, when no agent runs: forgets who was at work, and blames them if the agent aborted. */
void crash_notes_agent_ended(struct crash_notes *notes, bool aborted, uint64_t now_ms);

#endif
