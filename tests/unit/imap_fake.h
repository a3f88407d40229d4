/* A fake session for the tests of src/imap, over the real store in a temporary directory. Actions end when the fake is pumped, in
 * one thread. */
#ifndef TESTS_UNIT_IMAP_FAKE_H
#define TESTS_UNIT_IMAP_FAKE_H

#include "postern/config/user.h"
#include "postern/session/session.h"

struct client {
    struct session session;
    enum step_result (*work)(struct session *);
    enum action_result login_result;
    bool step_fails;          /* the next step is not run: UNAVAILABLE */
    bool hold;                /* steps are not run until it is false again */
    bool uncompared;          /* the path may not take the place of the POA */
    bool stuck;               /* the client reads nothing: out is not drained */
    bool closed;
    unsigned wake_after;
    unsigned again;           /* steps that found a lock held */
    size_t most_out;          /* the fullest that the output ever was */
    enum close_reason reason;
    struct buf sent;
    char claimed[80];         /* for whom it says that it speaks: address, blank, port */
};

/* The post office with joe's Maildir: three messages in INBOX. */
void fake_set_up(void);
void fake_tear_down(void);
const char *fake_root(void);
/* The monotonic clock of this program is the fake's. */
void fake_time_passes(unsigned milliseconds);
struct agent_settings *fake_agent(void);
struct user *fake_user(void);
/* A file in joe's Maildir, as another program would leave it. */
void fake_write(const char *name, const char *text);
void fake_remove(const char *name);

/* A new connection; the greeting is in sent. login "joe" "secret"; "down": the directory is not reachable. */
void client_init(struct client *client);
void client_fini(struct client *client);
void client_feed(struct client *client, const char *bytes, size_t len);
void client_say(struct client *client, const char *text);
/* Lets everything happen that follows by itself. */
void client_pump(struct client *client);
/* What the client has received since the last call, with every UIDVALIDITY replaced by "V". */
const char *client_heard(struct client *client);

#endif
