/* connection: one bound libldap handle, used by one thread at a time. Internal to src/directory. */
#ifndef DIRECTORY_CONNECTION_H
#define DIRECTORY_CONNECTION_H

#include <ldap.h>
#include <stdbool.h>
#include <stdint.h>

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

struct connection {
    LDAP *ld;
    int fd;
    unsigned at;                        /* which of the options' URIs */
    struct directory_choice *choice;    /* the options' */
    enum directory_vendor vendor;       /* if it is known: compare.c asks */
    bool vendor_known;
};

/* Connects to one URI within about `ms` milliseconds, with TLS as the options say. Not bound: anonymous. */
int connection_open(struct connection *c, const struct directory_options *options, const char *uri, uint64_t ms, struct fault *fault);
/* One URI by its number, bound with the options' credentials if `bind`, and seen to answer if there are others that could. */
int connection_open_one(struct connection *c, const struct directory_options *options, unsigned at, bool bind, uint64_t deadline,
                        struct fault *fault);
/* The first server that answers, beginning with the options' choice or, without one, with *preferred, which is set to the one that answered;
 * then binds with the options' credentials if `bind`. All together within about `ms`. */
int connection_open_any(struct connection *c, const struct directory_options *options, _Atomic unsigned *preferred, bool bind,
                        uint64_t ms, struct fault *fault);
/* Whether another server is the one to use now: a connection that is idle is closed then, and opened anew. */
bool connection_is_left(const struct connection *c);
/* Frees the handle without sending anything. NULL inside is accepted. */
void connection_close(struct connection *c);
/* Waits for the result of one operation, whose message becomes the caller's (ldap_msgfree); abandons the operation when the time is over, or when the
 * server is found to have failed. all: with every entry before it. */
int connection_wait(struct connection *c, int id, bool all, uint64_t ms, LDAPMessage **out, struct fault *fault);
/* Simple bind; the bind's result and text go to *code and the fault's text. 0 only if the directory said success. */
int connection_bind(struct connection *c, const char *dn, struct slice password, bool policy, uint64_t ms, struct fault *fault);
/* Sends it only; the answer to *id_out is connection_bind_result's. fault may be NULL. */
int connection_bind_begin(struct connection *c, const char *dn, struct slice password, int *id_out, struct fault *fault);
/* Binds with the options' own credentials. */
int connection_bind_own(struct connection *c, const struct directory_options *options, uint64_t deadline, struct fault *fault);
/* The outcome of a bind. */
int connection_bind_result(struct connection *c, LDAPMessage *message, struct fault *fault);
/* The fault that a result code speaks of; returns -1. */
int connection_fault(struct connection *c, int code, const char *doing, struct fault *fault);
/* One entry by its DN, with some attributes; NULL with a fault if it cannot be read. */
struct directory_entry *connection_read(struct connection *c, const char *dn, const char *const *attributes, uint64_t ms, struct fault *fault);
/* The entry of one message, or NULL if it is broken. */
struct directory_entry *connection_entry(struct connection *c, LDAPMessage *message);

#endif
