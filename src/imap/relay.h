/* relay: an IMAP session after a login whose mailbox is reached through a POA. Used by auth.c, imap.c and response.c. */
#ifndef POSTERN_IMAP_RELAY_H
#define POSTERN_IMAP_RELAY_H

#include "state.h"

/* After the login; also writes the text of the login's reply into text. */
void relay_begin(struct imap *imap, struct buf *text);
/* Moves what there is. True: the session goes on directly; imap->relay is NULL then. */
bool relay_run(struct imap *imap);
/* The pass of struct protocol. */
bool relay_pass(struct imap *imap, bool from_client, struct buf *bytes, struct buf *onward);
/* May the client be sent a response now? */
bool relay_is_between_responses(const struct relay *relay);
void relay_free(struct relay **relay);

#endif
