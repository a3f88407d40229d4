/* introduce: what a Post Office Agent hears of who a message comes from, and of who gives it: the PROXY header, XCLIENT (as Postfix documents it and Dovecot takes it), and AUTH
 * (RFC 4954). Used by talk.c and agents.c; blocks. */
#ifndef POSTERN_QUEUE_INTRODUCE_H
#define POSTERN_QUEUE_INTRODUCE_H

#include "talk.h"

/* The first octets of a connection. */
bool introduce_connection(struct talk *talk, const struct talk_peer *peer);
/* A word of the reply to LHLO, with its arguments. */
void introduce_note_extension(struct talk *talk, struct slice text);
/* After LHLO and TLS: tells the client where it can be told, and logs in where it is asked for. False: no mail can be given; reply says why. */
bool introduce(struct talk *talk, const struct talk_peer *peer);
/* A connection that was free: does it speak for this client now? False: it is of no use for that. */
bool introduce_again(struct talk *talk, const struct talk_peer *peer);

#endif
