/* result: what an attempt has brought, written down in the envelope; what our own disk does not take is kept until it does. Notices that an attempt brought are held
 * until then: they say for good that what they tell of has been told. Used by attempt.c and queue.c; thread-safe, waits for the disk. */
#ifndef POSTERN_QUEUE_RESULT_H
#define POSTERN_QUEUE_RESULT_H

#include "attempt.h"

/* Those of the envelope who wait stay; without any the message is removed. notice: NULL, or of the FAILED ones. It is taken over if the disk does not take it: then it is
 * empty. */
void result_write(struct spool *spool, struct envelope *envelope, const struct envelope *notice, const struct snapshot *snapshot, struct attempt_result *out);
/* True: there was one of this message that was not written yet, and this was another try. */
bool result_retry(struct spool *spool, const char *id, const struct snapshot *snapshot, struct attempt_result *out);
/* After a crash, for each message of the spool: whom a notice tells of no longer waits. */
void result_finish(const char *id, void *spool);
/* A notice that is not to be sent yet: it comes with the result that it belongs to. */
bool result_is_held(const char *id);
/* Forgets all of it. */
void result_clear(void);

#endif
