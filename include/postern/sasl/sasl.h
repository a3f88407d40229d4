/* sasl: the server's role of PLAIN (RFC 4616), LOGIN, EXTERNAL (RFC 4422, appendix A), SCRAM-SHA-256 and -PLUS (RFC 7677), OAUTHBEARER (RFC 7628) and
 * XOAUTH2, for POP3 (RFC 5034), IMAP (RFC 4959) and SMTP (RFC 4954); and what we say as client. Pure: it learns what the client claims; whether that is
 * right is the session's business, but for SCRAM, whose proof is compared here. One exchange per object. Not thread-safe.
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
    SASL_DONE,   /* everything is known: see sasl_server_proof */
    SASL_KEYS,   /* SCRAM: the keys of sasl_server_name are needed: sasl_server_give_keys goes on */
    SASL_PROVEN, /* SCRAM: the client's proof is right; base64_out is our own, a challenge that nobody may see who is not let in: it tells that the password is right */
    SASL_BAD,      /* not base64, malformed or too long: the exchange is over */
    SASL_REFUSED,  /* understood, and a login that cannot be: no name, no password, a wrong proof, an authorization identity that is not the name */
};

/* What stands for the name after SASL_DONE. */
enum sasl_proof {
    SASL_PASSWORD,       /* sasl_server_password */
    SASL_SHOWN,          /* the client knows the secret: nothing more is to be verified */
    SASL_TOKEN,          /* sasl_server_password is a bearer token; the name may be empty */
    SASL_CERTIFICATE,    /* that of the connection; the name may be empty */
};

/* What can be used on a connection now. Zeroed: nothing. */
struct sasl_offer {
    bool clear;              /* secrets may cross it: PLAIN, LOGIN and tokens */
    bool scram;
    bool certificate;        /* EXTERNAL */
    bool token;
    bool acting;             /* PLAIN with an authorization identity that is not the name: a gateway that acts for a user */
    struct slice exporter;   /* channel binding tls-exporter (RFC 9266); empty: none */
    struct slice unique;     /* tls-unique (RFC 5929), TLS 1.2 only; empty: none */
};

/* Verifiers of one user (RFC 5803). */
enum { SASL_KEY_SIZE = 32, SASL_SALT_MAX = 128 };
struct sasl_keys {
    unsigned iterations;
    size_t salt_len;
    unsigned char salt[SASL_SALT_MAX];
    unsigned char stored_key[SASL_KEY_SIZE];
    unsigned char server_key[SASL_KEY_SIZE];
};

/* Longest line of base64 that a step takes, without its line end (RFC 4954 section 4 asks for 12,288 octets with it). */
enum { SASL_LINE_MAX = 12286 };

/* Appends the names of the mechanisms, separated by blanks, for CAPA, CAPABILITY and EHLO. */
void sasl_write_mechanisms(const struct sasl_offer *offer, struct buf *out);
/* NULL if the mechanism is not known or not offered; case is ignored. What the offer points to outlives the exchange. */
struct sasl_server *sasl_server_new(struct slice mechanism, const struct sasl_offer *offer);
/* Replaces the content of base64_out, with SASL_MORE and SASL_PROVEN only. */
enum sasl_result sasl_server_step(struct sasl_server *server, struct slice base64_in, struct buf *base64_out);
/* After SASL_KEYS: as a step. */
enum sasl_result sasl_server_give_keys(struct sasl_server *server, const struct sasl_keys *keys, struct buf *base64_out);
enum sasl_proof sasl_server_proof(const struct sasl_server *server);
/* After SASL_DONE and SASL_KEYS, and with SASL_REFUSED as far as they are known; owned by the server. Neither holds NUL. */
struct slice sasl_server_name(const struct sasl_server *server);
struct slice sasl_server_password(const struct sasl_server *server);
/* Whom the name wants to act as, by its own password, where that is offered; empty: itself. */
struct slice sasl_server_acts_as(const struct sasl_server *server);
/* Wipes name and password. NULL inside is accepted. */
void sasl_server_free(struct sasl_server **server);

/* A value of authPassword: "SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY" (RFC 5803, section 2). False: another scheme, or malformed. */
bool sasl_keys_parse(struct slice value, struct sasl_keys *out);

/* --- as client ---------------------------------------------------------------------------------------------------------- */

enum { SASL_CLIENT_PART_MAX = 2048 };

/* Appends the message of PLAIN (RFC 4616), in base64. authorize_as: the user to act as, SLICE_NONE for `name` itself. False: a part is too long or holds NUL,
 * or there is no name. */
bool sasl_client_plain(struct slice authorize_as, struct slice name, struct slice password, struct buf *base64_out);
/* Appends bytes in base64: the message of EXTERNAL (RFC 4422, appendix A) is the name to act as. */
void sasl_client_base64(struct slice bytes, struct buf *base64_out);

#endif
