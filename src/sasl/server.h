/* server: one exchange as the mechanisms of this folder see it. */
#ifndef SASL_SERVER_H
#define SASL_SERVER_H

#include <gsasl.h>

#include "postern/sasl/sasl.h"

struct mechanism;

struct sasl_server {
    const struct mechanism *mechanism;
    struct sasl_offer offer;
    Gsasl_session *session;     /* NULL: a mechanism of our own */
    char *name;
    char *password;             /* or token */
    char *acts_as;              /* PLAIN; NULL: the name itself */
    char *held;                 /* SCRAM: the client's first message, while its keys are asked for */
    bool started;
    bool over;                  /* DONE, BAD or REFUSED was said */
    bool refused;
    bool shown;                 /* SCRAM: the proof was right; OAUTH: the error was told */
    unsigned steps;
};

struct mechanism {
    const char *name;
    enum sasl_proof proof;
    bool (*is_offered)(const struct sasl_offer *offer);
    const char *first;          /* challenge when there is no initial response */
    /* Takes the client's bytes (NUL-terminated beyond their end); appends the challenge, not in base64. */
    enum sasl_result (*step)(struct sasl_server *server, struct slice bytes, struct buf *challenge);
    bool own;                   /* not GNU SASL's */
};

/* sasl.c */
Gsasl *sasl_library(void);
/* One step of GNU SASL; appends what it answers. */
int sasl_library_step(Gsasl_session *session, struct slice bytes, struct buf *answer);
/* GNU SASL does not wipe its properties before it frees them. */
void sasl_wipe_property(Gsasl_session *session, Gsasl_property property);

/* scram.c */
enum sasl_result scram_step(struct sasl_server *server, struct slice bytes, struct buf *challenge);
/* Goes on with the message that is held. */
enum sasl_result scram_give_keys(struct sasl_server *server, const struct sasl_keys *keys, struct buf *challenge);
int scram_callback(struct sasl_server *server, Gsasl_session *session, Gsasl_property property);
/* oauth.c */
enum sasl_result oauth_bearer_step(struct sasl_server *server, struct slice bytes, struct buf *challenge);
enum sasl_result oauth_xoauth2_step(struct sasl_server *server, struct slice bytes, struct buf *challenge);

#endif
