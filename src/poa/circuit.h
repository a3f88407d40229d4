/* circuit: what is known of every POA: asked, left alone, or on trial; and which way a post office takes. One for the process, by entryUUID and host. Any thread.
 * Internal to src/poa. */
#ifndef POA_CIRCUIT_H
#define POA_CIRCUIT_H

#include "dialogue.h"
#include "postern/base/list.h"
#include "postern/poa/poa.h"

/* One that waits for a POA. When the POA is found to be away, all that have come no further than the one that found it end with it. */
struct waiter {
    struct list link;
    void (*gone)(struct waiter *waiter);   /* under the circuit's lock: only posts a message */
    _Atomic int phase;                     /* enum dialogue_phase */
    _Atomic uint64_t login_ms;             /* when its login was sent; 0: not yet */
    const char *user;
    bool trial;                            /* the one that is let through to a POA that came back */
};

enum circuit_answer { CIRCUIT_GO, CIRCUIT_AWAY };

/* May this host be asked? GO: the waiter is listed until circuit_ended. */
enum circuit_answer circuit_begin(const struct post_office *office, size_t agent, struct waiter *waiter);

enum circuit_outcome {
    OUTCOME_OPEN,
    OUTCOME_REFUSED,     /* it works, and said no to a user */
    OUTCOME_OF_USER,     /* a failed access that may be this user's alone */
    OUTCOME_FAILED,
    OUTCOME_NONE,        /* given up before it was known; or ended by another's failure */
};
/* user: for OUTCOME_OF_USER: two of them in a row that differ count as one failed access of all. */
void circuit_ended(const struct post_office *office, size_t agent, struct waiter *waiter, enum circuit_outcome outcome, struct slice user,
                   const struct fault *fault);

/* Somebody waits for an answer of it: unless it has shown since then that it is well, it is probed now, and who waits for it ends if it is not. True: it is
 * away. */
bool circuit_doubt(const struct post_office *office, size_t agent, uint64_t since_ms);
/* Two users at least have waited for so long, and nobody's login was answered since theirs were sent: no delay of a refusal does that. */
bool circuit_is_silent(const struct post_office *office, size_t agent, unsigned patience_ms);
/* Seconds until a POA is asked again that failed after a back-off of `before` seconds. other_way: nobody has to wait for it. */
unsigned circuit_back_off(unsigned before, bool other_way);
/* Calls back with each host that is doubted, or whose back-off is over, and that nobody probes; it is marked as being probed. */
void circuit_for_each_due(const struct snapshot *snapshot, void (*visit)(const struct post_office *office, size_t agent, bool doubted, void *context),
                          void *context);
void circuit_probed(const struct post_office *office, size_t agent, bool well, const struct fault *fault);
/* Whether somebody probes: without, a POA whose back-off is over is on trial at once. */
void circuit_set_prober(bool there);

/* After a new snapshot: forgets what is not in it any more, notes changes of the ways. */
void circuit_follow(const struct snapshot *snapshot);

/* What POA and path of a post office are: a comparison holds for that alone. */
uint64_t circuit_fingerprint(const struct post_office *office);
/* What the comparison of this fingerprint has found, now or before: "": they agree; else in what they differ. */
void circuit_set_compared(const struct post_office *office, uint64_t fingerprint, const char *difference);
/* True once for each post office that is to be compared now, and once more when POA or path are others. */
bool circuit_wants_comparison(const struct post_office *office);
/* Whether the comparison that was wanted is still of this POA and path: the outcome of another one counts for nothing. */
bool circuit_is_compared(const struct post_office *office);
/* It was made, or could not be made: another login may ask for the next. */
void circuit_comparison_ended(const struct post_office *office);

/* Forgets everything. */
void circuit_clear(void);

#endif
