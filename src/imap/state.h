/* state: one IMAP session and the command that it works on; shared by the files of this folder, except the parsers.
 * A command is parsed on the loop, then its `run` is called on the loop until it has given a reply; what may wait for a disk is
 * handed to a thread with imap_step. Then news of the mailbox is written, then the tagged reply. One command at a time, in the
 * order of arrival (RFC 3501 5.5). */
#ifndef POSTERN_IMAP_STATE_H
#define POSTERN_IMAP_STATE_H

#include "parser.h"
#include "postern/config/user.h"
#include "postern/session/session.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"
#include "reader.h"

struct imap;
struct command;
struct relay;

/* Flags of a row of commands.h. */
enum command_flag {
    IN_NOT_AUTHENTICATED = 1, IN_AUTHENTICATED = 2, IN_SELECTED = 4,   /* states it is valid in; the values of enum imap_state */
    IN_LOGGED_IN = 6, IN_ANY = 7,
    SECRET = 8,         /* its text is wiped */
    NO_EXPUNGE = 16,    /* no EXPUNGE is sent at its end (RFC 3501 7.4.1) */
    POLL = 32,          /* looks for news on disk even if nothing was heard of any */
    UID_KEYWORD = 64,   /* a UID command: responses carry the UID */
    PLAIN_END = 128,    /* no news at its end */
    READ_WRITE = 256,   /* not in a mailbox opened with EXAMINE */
    OWN_RESULT = 512,   /* run sees for itself to ACTION_UNAVAILABLE; for the others it is the reply */
};

enum imap_state { STATE_NOT_AUTHENTICATED = 1, STATE_AUTHENTICATED = 2, STATE_SELECTED = 4 };
enum imap_phase { PHASE_READ, PHASE_COMMAND, PHASE_SYNC, PHASE_NEWS };
enum imap_await { AWAIT_NONE, AWAIT_STEP, AWAIT_LOGIN, AWAIT_TLS };
enum reply { REPLY_NONE, REPLY_OK, REPLY_NO, REPLY_BAD };

/* A part of a command that runs in a thread. It replies, or leaves that to run. */
typedef enum step_result imap_work(struct imap *imap, struct command *command);

struct command_row {
    const char *name;
    unsigned flags;
    /* Reads the arguments, the space before them included. False: BAD. */
    bool (*parse)(struct imap *imap, struct command *command);
    /* Goes on as far as it can. False: it waits for an action, input or room. */
    bool (*run)(struct imap *imap, struct command *command);
    imap_work *work;    /* for imap_run_work */
};

struct command {
    struct arena arena;
    struct slice tag;
    const struct command_row *row;
    struct imap_parser parser;       /* what is left of the text */
    struct literal literal;          /* APPEND: its message, not in the text */
    bool has_literal;
    unsigned stage;                  /* run's own */
    void *data;                      /* the command family's own, in the arena */
    void (*release)(struct command *command);   /* frees what data holds outside the arena */
    enum reply reply;
    const char *text;                /* in the arena or static: "[CODE] Words" */
};

struct imap {
    struct session *session;
    struct account *account;         /* after login */
    struct view *view;               /* while selected */
    struct command *command;
    imap_work *work;                 /* what the step under way does */
    struct reader reader;
    uint64_t keywords_version;       /* that the client has been told of */
    enum imap_state state;
    enum imap_phase phase;
    enum imap_await await;
    enum action_result result;       /* of the action that ended last */
    enum close_reason close_reason;  /* if close_after */
    uint8_t login_failures;
    uint8_t bad_commands;
    bool read_only;
    bool gone;                       /* the selected mailbox is: close */
    bool close_after;                /* the reply of the command */
    bool start_tls;                  /* after the reply */
    struct relay *relay;             /* while the mailbox is reached through a POA */
};

/* --- imap.c ---------------------------------------------------------------------------------------------------------- */

/* From run, as its last act: `return imap_step(...)`. */
bool imap_step(struct imap *imap, imap_work *work);
/* The run of commands that consist of row->work and no more. */
bool imap_run_work(struct imap *imap, struct command *command);
/* run waits for input: if none can come any more the session ends. Returns false. */
bool imap_wait_input(struct imap *imap);
void imap_close_after(struct imap *imap, enum close_reason reason);

/* --- commands.c ------------------------------------------------------------------------------------------------------ */

/* Takes the tag and the command's words from the text. False: BAD has been replied. */
bool command_begin(struct imap *imap, struct command *command, struct slice text);
/* Only the tag: for a BAD to a command that is not complete. */
void command_take_tag(struct command *command, struct slice text);
bool parse_nothing(struct imap *imap, struct command *command);
/* " mailbox" in command->data: a struct slice. INBOX in any case becomes "INBOX". */
bool parse_one_mailbox(struct imap *imap, struct command *command);
bool parse_mailbox(struct imap_parser *p, struct slice *out);

/* --- response.c ------------------------------------------------------------------------------------------------------ */

/* Sets the tagged reply. "[CODE] words"; static text. */
void imap_reply(struct command *command, enum reply reply, const char *text);
void imap_replyf(struct command *command, enum reply reply, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* NO with the fault's response code (RFC 5530); logs the fault. FAULT_GONE of the selected mailbox is the caller's. */
void imap_reply_fault(struct imap *imap, struct command *command, const struct fault *fault);
/* The end of a failed piece of work: AGAIN for FAULT_BUSY, else replies. */
enum step_result imap_fail(struct imap *imap, struct command *command, const struct fault *fault);
/* Likewise where the fault is of the selected mailbox: FAULT_GONE ends the session. */
enum step_result imap_fail_selected(struct imap *imap, struct command *command, const struct fault *fault);
void imap_write_reply(struct imap *imap, const struct command *command);
/* As a quoted string, or a literal where it cannot be one. */
void imap_write_string(struct buf *out, struct slice text);
/* "FLAGS (...)" and "OK [PERMANENTFLAGS (...)]" of the selected mailbox. */
void imap_write_mailbox_flags(struct imap *imap);
/* Likewise, if the keywords have changed since the client was told. */
void imap_tell_keywords(struct imap *imap);
/* The view's news. False: out is full. */
bool imap_write_news(struct imap *imap, bool expunges_allowed, bool with_uid);
struct slice imap_farewell(const struct session *session, enum close_reason reason);

/* --- sequence.c ------------------------------------------------------------------------------------------------------ */

/* The UIDs of the view that the set names, rising. False: a sequence number is out of range (BAD). [L], but a few ms for large views. */
bool imap_resolve_set(struct view *view, const struct sequence_set *set, bool are_uids, struct uidset *uids_out);

/* --- capability.c ---------------------------------------------------------------------------------------------------- */

void imap_write_capability(const struct imap *imap, struct buf *out);
void imap_write_greeting(struct imap *imap);

/* --- auth.c ---------------------------------------------------------------------------------------------------------- */

/* The account of a user who is served directly: as it is in memory, or NULL: the work opens it. [L] */
struct account *imap_find_account(const struct user *user);
/* Sets imap->account, or logs why not. */
enum step_result imap_open_account_work(struct imap *imap, struct command *command);

/* --- append.c -------------------------------------------------------------------------------------------------------- */

/* The gateway's limit of a message, or the user's own if that is less. */
uint64_t imap_append_limit(const struct session *session);

/* --- select.c -------------------------------------------------------------------------------------------------------- */

/* Ends the selected state without a word. [L] */
void imap_deselect(struct imap *imap);
/* Work: reads what changed in the selected mailbox. */
enum step_result imap_sync_work(struct imap *imap, struct command *command);

/* --- flags: store.c -------------------------------------------------------------------------------------------------- */

struct flag_list {
    uint8_t flags;
    struct slice *keywords;    /* in the arena */
    size_t keyword_count;
};
/* "(\Seen Work)", or without parentheses if bare_allowed. */
bool parse_flag_list(struct imap_parser *p, bool bare_allowed, struct flag_list *out);
const char *imap_flag_name(unsigned bit);     /* 0: \Seen ... 4: \Draft */

#endif
