/* sasl: the server's role of PLAIN (RFC 4616) and LOGIN, for POP3 (RFC 5034), IMAP (RFC 4959) and SMTP (RFC 4954). It learns
 * a name and a password; whether they are right is session_login's business. One exchange per object. Not thread-safe.
 *
 * The first step takes the initial response: an empty slice if the command had none, "=" for an empty one (RFC 5034 section 4). The
 * caller handles "*" (cancel) itself. A challenge is text in base64 without a line end or "+ ". */
#ifndef POSTERN_SASL_SASL_H
#define POSTERN_SASL_SASL_H

#include "postern/base/buf.h"
#include "postern/base/slice.h"

struct sasl_server;

enum sasl_result {
    SASL_MORE,   /* send base64_out as the challenge, then step with the client's line */
    SASL_DONE,   /* name and password are known */
    SASL_BAD,      /* not base64, malformed or too long: the exchange is over */
    SASL_REFUSED,  /* understood, and a login that cannot be: no name, no password, an authorization identity that is not the name */
};

/* Longest line of base64 that a step takes, without its line end (RFC 4954 section 4 asks for 12,288 octets with it). */
enum { SASL_LINE_MAX = 12286 };

/* NULL if the mechanism is not known; case is ignored. */
struct sasl_server *sasl_server_new(struct slice mechanism);
/* Replaces the content of base64_out, with SASL_MORE only. */
enum sasl_result sasl_server_step(struct sasl_server *server, struct slice base64_in, struct buf *base64_out);
/* After SASL_DONE; owned by the server. The name is never empty; neither holds NUL. */
struct slice sasl_server_name(const struct sasl_server *server);
struct slice sasl_server_password(const struct sasl_server *server);
/* Wipes name and password. NULL inside is accepted. */
void sasl_server_free(struct sasl_server **server);
/* "PLAIN LOGIN", for CAPA, CAPABILITY and EHLO. */
const char *sasl_mechanisms(void);

/* --- as client ---------------------------------------------------------------------------------------------------------- */

enum { SASL_CLIENT_PART_MAX = 2048 };

/* Appends the message of PLAIN (RFC 4616), in base64. authorize_as: the user to act as, SLICE_NONE for `name` itself. False: a part is too long or holds NUL,
 * or there is no name. */
bool sasl_client_plain(struct slice authorize_as, struct slice name, struct slice password, struct buf *base64_out);
/* Appends bytes in base64: the message of EXTERNAL (RFC 4422, appendix A) is the name to act as. */
void sasl_client_base64(struct slice bytes, struct buf *base64_out);

#endif
