/* intruders: failed logins by name, for directories without a password policy of their own: after so many a name is locked for a time. In memory
 * shared with the supervisor, so that a new agent knows the locks. A name that is nobody's is counted and locked as any other. All
 * functions accept NULL intruders; any thread. */
#ifndef SERVICE_INTRUDERS_H
#define SERVICE_INTRUDERS_H

#include <stdbool.h>
#include <stdint.h>

#include "postern/base/slice.h"
#include "postern/config/snapshot.h"
#include "postern/service/supervisor.h"

/* now_ms: clock_monotonic_ms, which all processes of the machine share. */
bool intruder_is_locked(struct intruders *intruders, const struct agent_settings *rules, struct slice name, uint64_t now_ms);
/* known: the name is a user's, and its record stays when there is no room for all. True: locked by this one. */
bool intruder_note_failure(struct intruders *intruders, const struct agent_settings *rules, struct slice name, bool known, uint64_t now_ms);
/* The password was right. False: others have locked the name meanwhile; it stays so, and the login has to be refused: else who tries many
 * passwords at a time has more attempts. */
bool intruder_note_success(struct intruders *intruders, const struct agent_settings *rules, struct slice name, uint64_t now_ms);
/* False: it was not known. */
bool intruder_unlock(struct intruders *intruders, struct slice name);

struct intruder_row {
    struct slice name;       /* valid during the call only */
    unsigned failures;
    uint64_t since_ms;       /* of the lock */
    uint64_t until_ms;       /* UINT64_MAX: until it is unlocked */
    bool known;
};
/* Every lock that is in force. */
void intruder_list(struct intruders *intruders, const struct agent_settings *rules, uint64_t now_ms,
                   void (*row)(void *context, const struct intruder_row *row), void *context);

#endif
