/* state: what one SMTP session knows, shared by the files of src/smtp only. smtp.c drives it; commands.c and auth.c answer lines;
 * deliver.c takes over when a message is whole. */
#ifndef POSTERN_SMTP_STATE_H
#define POSTERN_SMTP_STATE_H

#include <time.h>

#include "address.h"
#include "data.h"
#include "header.h"
#include "postern/config/rights.h"
#include "postern/config/snapshot.h"
#include "postern/config/user.h"
#include "postern/session/exchange.h"
#include "postern/session/session.h"

struct inbox_writer;
struct queue_message;

enum {
    SMTP_LINE_MAX = 4096,               /* commands; RFC 5321 4.5.3.1.4 asks for 512, extensions add to it */
    SMTP_MEMORY_MAX = 256 * 1024,       /* of a message; more goes to a file piece by piece */
    SMTP_COPY_MAX = 4 * 1024 * 1024,    /* copied in one step, so that a big message does not make a post office look stalled */
    SMTP_ERRORS_MAX = 20,               /* commands that make no sense, before the session is closed */
    SMTP_REFUSED_MAX = 200,             /* refused recipients of one session: somebody is guessing addresses */
    SMTP_LOGINS_MAX = 5,                /* failed logins of one session */
    SMTP_RECEIVED_MAX = 100,            /* RFC 5321 6.3 */
    SMTP_NAME_MAX = 255,                /* host names */
};

enum smtp_phase {
    SMTP_COMMAND,    /* a line is a command */
    SMTP_SKIP,       /* the line was refused already: nothing of it counts until its CRLF */
    SMTP_AUTH,       /* a line is an answer to a challenge (RFC 4954) */
    SMTP_DATA,       /* bytes are the message */
    SMTP_DELIVER,    /* the message is whole, steps are under way */
};

enum recipient_state { RECIPIENT_WAITING, RECIPIENT_SAFE, RECIPIENT_FAILED };

struct recipient {
    char *address;
    struct user *user;             /* NULL: for elsewhere */
    enum recipient_state state;
};

/* One mail transaction (RFC 5321 3.3), from MAIL to the reply after the data. */
struct transaction {
    bool open;
    bool eight_bit;
    bool too_big;
    struct mail_path sender;
    struct recipient *recipients;
    size_t recipient_count, recipient_size;
    uint64_t max_size;             /* of this message, for all recipients so far */
    uint64_t client_max_size;      /* the gateway's and the sender's, whoever the recipient */
    bool declared;                 /* MAIL had SIZE (RFC 1870): */
    uint64_t declared_size;
    struct data_reader reader;
    struct header_watch header;
    uint64_t size;                 /* octets of content so far */
    struct buf content;            /* not yet in the file; all of it while there is no file */
    int spool;                     /* the file, or -1 */
    uint64_t spooled;
    char id[24];                   /* for logs and Received */
    struct buf return_path;        /* put before local copies (RFC 5321 4.4) */
    struct buf trace;              /* put before all copies: Received, and what a submitted message lacked */
    uint64_t whole_ms;             /* when all of it had come */
    /* Copying, one target at a time. */
    struct inbox_writer *inbox;
    struct queue_message *outgoing;
    bool outgoing_whole;
    bool step_failed;              /* the last step could not do its work */
    bool spool_failed;
    uint64_t copied;
    size_t at;                     /* the local recipient under work */
};

struct smtp {
    enum smtp_phase phase;
    void (*after)(struct session *session, enum action_result result);   /* what a result of an action means */
    bool extended;                 /* EHLO or LHLO, not HELO */
    bool unwelcome;                /* nobody takes mail from this client: it may only QUIT (RFC 5321 3.1) */
    char helo[SMTP_NAME_MAX + 1];  /* empty: not greeted */
    char host[SMTP_NAME_MAX + 1];  /* our name */
    char gateway[48];              /* the address of an LMTP client that speaks for others, which session->peer is then; empty: it does not */
    uint16_t gateway_port;
    char told_helo[SMTP_NAME_MAX + 1];   /* what they have called themselves */
    struct buf line;
    struct exchange exchange;
    unsigned errors, refused, failed_logins;
    struct mail_path asked;        /* the recipient being looked up */
    bool asked_postmaster;         /* the agent's postmaster stands in for it */
    struct transaction transaction;
};

/* smtp.c */
void smtp_reply(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* A reply that counts as an error of the client; too many close the session. */
void smtp_error(struct session *session, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The greeting. */
void smtp_welcome(struct session *session);
bool smtp_is_submission(const struct session *session);
void transaction_reset(struct transaction *transaction);
/* A step that wants its outcome. */
void smtp_step(struct session *session, enum step_result (*work)(struct session *), void (*after)(struct session *, enum action_result));
/* A file without a name for big messages. */
int smtp_spool_open(struct fault *fault);

/* Who sends, for the exceptions of classes of service; sender: NULL if not known yet. */
struct mail_party smtp_sender(const struct session *session, const struct mail_path *sender);

/* commands.c: one command line, without its CRLF. */
void smtp_command_run(struct session *session, struct slice line);
void smtp_command_set_host(struct session *session);
/* A name that can stand in a Received field without harm (RFC 5321 4.1.1.1, 4.4). */
bool smtp_command_is_helo_name(struct slice name);
/* True if the line may carry a password: it is wiped and may be as long as RFC 4954 section 4 wants. */
bool smtp_command_is_secret(struct slice line);

/* recipient.c */
void smtp_recipient_run(struct session *session, struct slice arguments);
/* Parameters " KEY=VALUE ..." after a path; each is given to take. False: a reply was sent. */
bool smtp_parameters_read(struct session *session, struct slice text, bool (*take)(struct session *, struct slice key, struct slice value));

/* auth.c */
bool smtp_auth_is_offered(const struct session *session);
void smtp_auth_run(struct session *session, struct slice arguments);
void smtp_auth_line(struct session *session, struct slice line);

/* lmtp.c */
bool smtp_is_lmtp(const struct session *session);
/* False: no mail is taken from this host. */
bool lmtp_is_welcome(const struct session *session);
/* Whether it may say who it speaks for, and does: XCLIENT, as Postfix documents it. */
bool lmtp_may_speak_for_others(const struct session *session);
void lmtp_xclient_run(struct session *session, struct slice arguments);
/* It speaks for itself again. */
void lmtp_forget_client(struct session *session);
/* The same answer for the whole message: under LMTP as often as there are recipients. */
void smtp_answer_data(struct session *session, const char *text);
/* The client may have given up waiting by now, and give the message again. Any thread. */
bool lmtp_is_too_late(const struct session *session);
/* By each recipient's state (RFC 2033 section 4.2). */
void lmtp_answer_each(struct session *session);

/* trace.c: the protocol's name, and what fills return_path and trace. */
const char *trace_protocol(const struct session *session);
void trace_write(struct session *session);
/* "Mon, 2 Jan 2006 15:04:05 +0000" (RFC 5322 3.3). */
void trace_write_date(struct buf *out, time_t when);

/* receive.c: the bytes after DATA. True if it did something. */
void receive_begin(struct session *session);
bool receive_run(struct session *session);

/* deliver.c: the message is whole and allowed; answers when it is safe. */
void deliver_begin(struct session *session);

#endif
