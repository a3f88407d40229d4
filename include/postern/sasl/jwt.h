/* jwt: a bearer token as a signed JSON Web Token (RFC 7519, RFC 7515): taken apart, and its claims judged. Pure: the signature is for who has the keys. */
#ifndef POSTERN_SASL_JWT_H
#define POSTERN_SASL_JWT_H

#include <stdint.h>

#include "postern/base/buf.h"

enum jwt_algorithm { JWT_RS256, JWT_ES256 };

struct jwt {
    enum jwt_algorithm algorithm;
    struct slice text;          /* what is signed: a part of the token */
    struct buf signature;
    struct buf claims;          /* JSON, a well-formed object */
};

/* NULL, or why it is none that could be verified: for the log. Either way jwt_fini has to follow. */
const char *jwt_read(struct slice token, struct jwt *out);
void jwt_fini(struct jwt *jwt);

struct jwt_rules {
    const char *issuer;         /* NULL: any, for answers only */
    const char *audience;
    const char *claim;          /* that names the user */
    const char *scope;          /* NULL: any */
    int64_t now;                /* seconds since the epoch */
};
/* After the signature was found good: NULL and the name is appended, or why the token does not count here. */
const char *jwt_judge(const struct jwt *jwt, const struct jwt_rules *rules, struct buf *name_out);

/* What the authorization server says of a token (RFC 7662, section 2.2): the same; *seconds_out: how long it will say so, at most. The audience must be
 * told: a token for another service is active too. */
const char *introspection_judge(struct slice answer, const struct jwt_rules *rules, struct buf *name_out, int64_t *seconds_out);

#endif
