/* conversation: the state of one POP3 session (session->state), and what the files of this folder give each other. */
#ifndef POP3_CONVERSATION_H
#define POP3_CONVERSATION_H

#include "ahead.h"
#include "maildrop.h"
#include "options.h"
#include "postern/base/buf.h"
#include "postern/session/exchange.h"
#include "remote.h"
#include "retrieve.h"


/* RFC 1939 section 3; UPDATE is the end of QUIT. */
enum pop3_state { POP3_AUTHORIZATION, POP3_TRANSACTION, POP3_OVER };

/* What must go on before the next line is read. */
enum pop3_activity {
    ACTIVITY_NONE,
    ACTIVITY_SASL,         /* the next line belongs to the AUTH exchange */
    ACTIVITY_LOGIN,        /* session_login is under way */
    ACTIVITY_OPENING,      /* the maildrop is being opened, in steps */
    ACTIVITY_RECORD,       /* before OPENING goes on, or in the midst of UPDATING, over a POA: the record of a view, in a step */
    ACTIVITY_MEASURING,    /* the end of opening over a POA, with the option n: the sizes are looked for */
    ACTIVITY_LISTING,      /* LIST or UIDL goes on */
    ACTIVITY_FINDING,      /* RETR or TOP opens its message, in a step: the lock may be held */
    ACTIVITY_RETRIEVING,   /* RETR or TOP goes on, in steps */
    ACTIVITY_UPDATING,     /* QUIT, in steps */
};

struct conversation {
    enum pop3_state state;
    enum pop3_activity activity;
    enum close_reason ending;        /* in POP3_OVER */
    bool stepping;                   /* the action under way is a step */
    bool skipping;                   /* the rest of a line that was too long */
    unsigned errors;                 /* wrong commands one after another */
    unsigned failed_logins;
    struct counters *counters;
    uint64_t id;                     /* the session's, for logs */
    char *login;                     /* of USER: name and options */
    struct pop3_options options;     /* of the login under way */
    struct exchange exchange;
    const char *name_error;          /* what is wrong with the options behind a name; or NULL */
    struct maildrop drop;
    uint32_t listing_at;             /* index of the next entry */
    bool listing_uids;
    struct entry *wanted;            /* what FINDING opens */
    bool wanted_top;
    uint64_t wanted_lines;           /* of TOP */
    struct retrieval retrieval;
    struct ahead ahead;
    struct remote_drop *link;        /* the maildrop is behind a POA; or NULL */
    char *scratch;                   /* for reading messages, while a step works */
};

enum { POP3_LINE_MAX = 255 };   /* RFC 2449 section 4: a command line with its CRLF */

/* What a command's handler gets: the argument without the blank before it; trailing blanks are gone unless the command carries a secret. */
typedef void pop3_handler(struct session *session, struct slice argument);

enum command_flag {
    COMMAND_AUTHORIZATION = 1,   /* allowed before login */
    COMMAND_TRANSACTION = 2,     /* allowed after login */
    COMMAND_ON_LOOP = 4,         /* reads the session or asks it for an action: never in a step */
    COMMAND_IN_STEP = 8,         /* reads or writes mail files: only in a step */
    COMMAND_SECRET = 16,         /* its line is wiped */
    COMMAND_BARE = 32,           /* takes no argument */
};

struct command {
    const char *word;
    unsigned flags;
    pop3_handler *handle;
};

/* NULL if the word is not known. */
const struct command *command_find(struct slice word);
/* A command of COMMAND_IN_STEP whose answer is in memory nevertheless. */
bool command_is_ready(struct conversation *c, const struct command *command, struct slice argument);

pop3_handler auth_handle_user, auth_handle_pass, auth_handle_auth, auth_handle_stls;
/* A line of the AUTH exchange. */
void auth_take_line(struct session *session, struct slice line);
/* The result of session_login. */
void auth_take_result(struct session *session, enum action_result result);
/* Forgets name, options and exchange. */
void auth_forget(struct conversation *c);

/* For reading messages, while a step works. */
char *conversation_scratch(struct conversation *c);

/* Opens the message that RETR or TOP wants and answers; false: a lock is held, nothing was done. In a step. */
bool command_begin_retrieval(struct session *session);

/* The first line of the answer to RETR or TOP. */
void command_answer_retrieval(struct session *session);
/* RETR or TOP was answered to its end. */
void conversation_finish_retrieval(struct conversation *c);

/* Goes on with LIST or UIDL until it is over or out is full. */
void command_continue_listing(struct session *session);

/* A wrong command: answered and counted; too many end the session. */
void conversation_refuse(struct session *session, const char *reply);
/* Nothing more is read; run closes. */
void conversation_end(struct conversation *c, enum close_reason reason);

#endif
