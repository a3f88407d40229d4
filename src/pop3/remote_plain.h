/* remote_plain: the login option n over a Post Office Agent: a message that passes by once, to learn which part of it is sent. */
#ifndef POP3_REMOTE_PLAIN_H
#define POP3_REMOTE_PLAIN_H

#include "postern/base/buf.h"

struct plain;

struct remote_plain;

struct remote_plain *remote_plain_new(void);
void remote_plain_free(struct remote_plain **reading);
void remote_plain_feed(struct remote_plain *reading, struct slice piece);
enum { REMOTE_PLAIN_BEGINNING = 256 * 1024 };    /* octets of a message that are kept */

/* The message is whole, or that beginning of it: how it is sent. The caller's. */
struct plain *remote_plain_finish(struct remote_plain *reading);
/* Nothing that follows the beginning could change that. */
bool remote_plain_is_sure(const struct remote_plain *reading, const struct plain *plain);
/* The stored octets of the part, if they are in memory: they are among the first of the message. */
bool remote_plain_has(const struct remote_plain *reading, const struct plain *plain, struct slice *part_out);

#endif
