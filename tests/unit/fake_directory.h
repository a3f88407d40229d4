/* fake_directory: a directory of a few lines on a port of loopback, that offers content synchronisation (RFC 4533) of the context dc=x. What a reading gets is
 * decided by the test, so that notices, ends and answers that are missing come as they seldom do from a real one. */
#ifndef FAKE_DIRECTORY_H
#define FAKE_DIRECTORY_H

#include <lber.h>
#include <ldap.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "src/directory/sync.h"

enum { FAKE_CONNECTIONS = 16 };

struct fake_directory {
    /* Set by the test: puts the answer to the search, of which `number` came before. */
    void (*read)(struct fake_directory *d, BerElement *out, int id, unsigned number);
    const char *_Atomic csn;         /* NULL: it has none */
    int write_result;                /* what it answers to who writes */
    atomic_uint writes;
    char uri[64];
    atomic_uint csns_asked;
    atomic_uint reads;
    int read_id;                     /* of the last search */
    Sockbuf *read_socket;
    int listener;
    pthread_t thread;
    struct pollfd fds[FAKE_CONNECTIONS + 1];
    Sockbuf *sockets[FAKE_CONNECTIONS + 1];
    nfds_t count;
};

/* A port of its own, at which nobody answers before fake_directory_start. */
void fake_directory_init(struct fake_directory *d);
void fake_directory_start(struct fake_directory *d);
void fake_directory_stop(struct fake_directory *d);

/* The attributes: a class, and one with one value. */
void fake_put_object(BerElement *out, int id, const char *dn, char number, enum sync_state state, const char *class, const char *attribute, const char *value);
void fake_put_refreshed(BerElement *out, int id);
void fake_put_result(BerElement *out, int id, ber_tag_t tag, int code);
/* On the connection of the last search. Takes the message. */
void fake_directory_say(struct fake_directory *d, BerElement *out);
/* Waits for the number to reach what it should. */
bool fake_reaches(atomic_uint *number, unsigned least);

#endif
