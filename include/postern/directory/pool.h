/* pool: a bounded number of connections for look-ups with the gateway's own credentials, or for binds as users. Called by many threads; each
 * waits for a free connection. Every call ends within about 5 s. */
#ifndef POSTERN_DIRECTORY_POOL_H
#define POSTERN_DIRECTORY_POOL_H

#include "postern/base/fault.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

enum directory_pool_use { DIRECTORY_POOL_LOOK_UPS, DIRECTORY_POOL_BINDS };
enum directory_scope { DIRECTORY_SCOPE_BASE, DIRECTORY_SCOPE_SUBTREE };

struct directory_search {
    const char *base;
    enum directory_scope scope;
    const char *filter;
    const char *const *attributes;   /* ends with NULL */
    size_t limit;                    /* most entries wanted; more is FAULT_LIMIT, with the first ones given */
    unsigned *server;                /* out: which of the URIs has answered; may be NULL */
};

struct directory_pool;
/* Opens nothing yet. options outlives the pool. */
struct directory_pool *directory_pool_new(const struct directory_options *options, enum directory_pool_use use, unsigned size);
/* Nobody may be in a call. */
void directory_pool_free(struct directory_pool **pool);
/* entries_out has room for search->limit entries, which become the caller's, also with FAULT_LIMIT. FAULT_NOT_FOUND: no such base. FAULT_UNREACHABLE,
 * FAULT_TIMEOUT: not known. FAULT_DENIED: the gateway may not read there. */
int directory_pool_search(struct directory_pool *pool, const struct directory_search *search, struct directory_entry **entries_out,
                          size_t *count_out, struct fault *fault);
/* Simple bind as a user. FAULT_AUTHENTICATION: refused, with the directory's and its password policy's reason in the text, for the log
 * only: it tells users that exist from those that do not. An empty DN or password, or one with NUL, is refused without asking. */
int directory_pool_bind(struct directory_pool *pool, const char *dn, struct slice password, struct fault *fault);

/* The same by compare with userPassword, over a pool for look-ups; a server that would not verify a hash is not asked: FAULT_UNREACHABLE. An account that
 * eDirectory has disabled or locked is refused. */
int directory_pool_compare(struct directory_pool *pool, const char *dn, struct slice password, struct fault *fault);

/* A bind under way, for who has a loop: nothing here waits. */
struct directory_bind;
/* Sends it on an open connection that is free. NULL: there is none, or the question is not to be asked: directory_pool_bind says what it is. */
struct directory_bind *directory_bind_begin(struct directory_pool *pool, const char *dn, struct slice password);
/* Readable when the answer may be there. */
int directory_bind_fd(const struct directory_bind *bind);
/* 1: not yet; to be called again when the descriptor is readable, and each second. Otherwise the bind has ended, *bind is NULL, and it is as with
 * directory_pool_bind, but that FAULT_UNREACHABLE says only that this connection is of no use. */
int directory_bind_take(struct directory_bind **bind, struct fault *fault);
/* Gives it up. NULL inside is accepted. */
void directory_bind_drop(struct directory_bind **bind);

#endif
