/* A fake session and a fake store for the tests of src/pop3: everything happens at once, in one thread, and every fault can be asked for. */
#ifndef TESTS_UNIT_POP3_FAKE_H
#define TESTS_UNIT_POP3_FAKE_H

#include "postern/base/buf.h"
#include "postern/config/user.h"
#include "postern/session/session.h"
#include "postern/store/mailbox.h"

enum { FAKE_MESSAGES = 64 };

struct fake_message {
    uint32_t uid;
    const char *text;
    size_t len;
    uint8_t flags;
    time_t date;
    uint64_t shrunk;      /* the file lacks that many of its last bytes */
    bool gone;            /* expunged by somebody else after login */
    bool unreadable;      /* FAULT_IO */
    bool expunged;        /* by the session */
    bool trashed;
};

struct fake {
    struct session session;
    struct agent_settings agent;
    struct snapshot snapshot;
    struct post_office office;
    struct user user;
    struct counters counters;
    struct fake_message messages[FAKE_MESSAGES];
    size_t count;
    struct uidset views[32];
    bool trash_exists;
    bool account_fails;
    bool uncompared;          /* the path may not take the place of the POA */
    bool expunge_fails;
    bool step_fails;          /* the next step is not run: UNAVAILABLE */
    unsigned busy_reads;      /* that many openings of a message find the lock held */
    unsigned busy;            /* that many calls find the lock held */
    unsigned steps;
    unsigned steps_again;
    unsigned tls_starts;
    unsigned wakes;           /* wake_after was called */
    struct remote *remote;    /* what a login brings, or NULL */
    enum step_result (*work)(struct session *);
    bool login_pending;
    bool closed;
    enum close_reason reason;
    enum action_result login_result;
    struct buf sent;
    size_t most_out;          /* the fullest that the output ever was */
};

extern struct fake fake;

/* A new connection with the greeting dropped from sent; three messages; login "joe" "secret". */
void fake_start(void);
void fake_stop(void);
/* A message whose text is a string literal's; the oldest UID first. */
struct fake_message *fake_add(uint32_t uid, const char *text, size_t len);
/* Bytes from the client; then everything that follows from them. */
void fake_feed(const char *bytes, size_t len);
void fake_feed_text(const char *text);
/* As after news from the POA. */
void fake_run(void);
void fake_eof(void);
/* What the client has received since the last call, as text. */
const char *fake_sent(void);

#endif
