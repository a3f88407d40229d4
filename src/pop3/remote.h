/* remote: a maildrop behind a Post Office Agent: POP3 translated to IMAP (RFC 9051) over session->remote. Everything is on the loop; nothing waits.
 * The conversation's maildrop holds the entries as in direct mode. */
#ifndef POP3_REMOTE_H
#define POP3_REMOTE_H

#include "postern/session/session.h"
#include "postern/store/uidset.h"
#include "remote_plain.h"
#include "remote_reader.h"
#include "views.h"

struct conversation;
struct entry;

/* BODY: one message, or a part of it; AHEAD: some that may be wanted next. */
enum remote_kind { REMOTE_CAPABILITY, REMOTE_SELECT, REMOTE_LIST, REMOTE_VIEW, REMOTE_BODY, REMOTE_AHEAD, REMOTE_UPDATE };

/* A command that the POA has not answered yet. */
struct remote_command {
    enum remote_kind kind;
    uint32_t tag;
    uint32_t first;          /* of BODY and AHEAD: entries of the maildrop, */
    uint32_t end;            /* up to this one */
    bool in_vain;            /* nobody wants them any more */
};

/* What QUIT does, in this order: nothing is removed before what comes first is done. */
enum remote_stage { STAGE_BEGIN, STAGE_SEEN, STAGE_VIEW, STAGE_TRASH, STAGE_MARK, STAGE_SEARCH, STAGE_EXPUNGE, STAGE_DONE };

enum {
    REMOTE_COMMANDS = 3,    /* SELECT and what goes with it; a message and twice some more */
    REMOTE_WINDOW = 4,      /* half of the messages that are asked for ahead at first */
};

struct remote_drop {
    struct remote_reader reader;
    struct remote_command commands[REMOTE_COMMANDS];    /* the one answered next first */
    unsigned count;
    uint32_t tag;
    uint32_t texts;           /* read since the last command was answered */
    bool has_uidplus;
    bool has_move;
    bool doubted;             /* nothing came for long: it has a little while more */
    bool broken;              /* it is no IMAP, or the POA said BYE */
    uint64_t news_ms;         /* when something came or was sent last */
    uint64_t wake_ms;         /* when run is called for being told so; 0: not asked for */
    struct fetched fetched;
    bool in_fetch;
    bool in_body;             /* the literal is the message that is wanted, */
    bool in_message;          /* and so is the response */
    uint32_t exists;
    uint32_t room;            /* of the maildrop's entries */
    bool requested;           /* what the conversation wants was asked for, */
    bool alone;               /* by a command of its own; */
    bool answered;            /* its answer has begun, */
    bool came;                /* and the command under way has brought some of it: */
    bool in_parts;            /* in parts: from this octet on, */
    uint64_t from;
    uint64_t left;            /* as many as there are, at most that many, */
    uint64_t got;             /* and that many have come of the last one */
    bool beginning;           /* that is the first one of a big message, mostly enough for the option n */
    struct remote_plain *reading;    /* option n: what it is and where its text lies is not known yet; then */
    struct slice text;        /* of it, as it lies there: what is still to be sent */
    struct buf sink;          /* what is measured and not sent, */
    uint64_t measured;        /* and its octets, */
    uint32_t measure_at;      /* of this entry */
    uint64_t *octets;         /* option n: of each entry, as the POA has it */
    bool uid_first;           /* the POA says which message it is before the message */
    uint64_t asked;           /* octets of the messages that were asked for and have not begun, */
    unsigned asked_count;     /* and how many these are */
    unsigned window;          /* how many may be: rises with each message that is wanted in turn, falls when some were asked for in vain */
    uint32_t ahead_end;       /* the entry behind the last one that was asked for ahead */
    struct buf held;          /* the text before a message that nobody has asked for yet: nothing is read behind it; */
    struct entry *held_entry; /* that message, */
    uint64_t held_ms;         /* and since when */
    enum remote_stage stage;
    struct uidset uids;       /* of the stage */
    size_t range;             /* the first that is not asked for, */
    size_t batch;             /* and the first of the last command */
    bool searched;
    bool others;              /* messages are marked as deleted that are not ours */
    bool creating;
    bool created;
    bool has_metadata;        /* and it has not refused ours */
    bool has_literals;        /* that need no asking: LITERAL+ */
    bool in_view;             /* the literal is the view's record */
    bool only_view;           /* the POA is asked for that only: the mailbox is opened directly then */
    bool kept_far;            /* the POA has taken the record */
    bool stepped;             /* the step for the view's record is over, and nobody has gone on yet */
    struct buf view_text;     /* the record as METADATA has it, until the list is whole; */
    struct view_record view;  /* the one of the state directory until then, then both */
};

/* After the login: with session->remote. Asks for the list of messages. */
void remote_begin(struct session *session);
/* Does what can be done; true: what the conversation does waits for the POA. */
bool remote_run(struct session *session);
void remote_free(struct remote_drop **link);
/* [T] ACTIVITY_RECORD: reads or writes the view's record in the state directory. False: it is busy. */
bool remote_view_step(struct session *session);

/* For remote_update.c and remote.c: */
/* Begins a command: its tag and a blank. The rest follows, with CRLF. first and end: entries, of BODY and AHEAD. */
void remote_command(struct session *session, enum remote_kind kind, uint32_t first, uint32_t end);
/* RETR and TOP, in remote_body.c: asks for what the conversation wants, as soon as it can; */
void remote_body_request(struct session *session);
/* takes the beginning of a message's text, in a FETCH response: false: its time has not come, nothing must be read on; */
bool remote_body_begin(struct session *session, const struct fetched *fetched);
/* such a one still has to wait; */
bool remote_body_is_held(const struct conversation *c);
/* takes a piece of the text that is wanted, */
void remote_body_write(struct session *session, struct slice piece);
/* the end of the response that had it, */
void remote_body_end(struct session *session, const struct fetched *fetched);
/* and the answer to BODY or AHEAD. */
void remote_body_take(struct session *session, const struct remote_command *command, bool ok);
/* Goes on with what is in memory, and asks for the next part; */
void remote_body_continue(struct session *session);
/* with the option n: looks for the size of the next message, and opens when all are known. */
void remote_body_measure(struct session *session);
/* The list is whole: the client is let in. */
void remote_opened(struct session *session);
/* Whatever is under way will pass unseen. */
void remote_body_give_up(struct conversation *c);
/* The option v, in remote_view.c: asks for the record, */
void remote_view_ask(struct session *session);
/* takes what is behind the word METADATA of a response, */
void remote_view_take(struct session *session, struct slice text);
/* reads it when it is whole, into a zeroed record, */
void remote_view_read(struct session *session, struct view_record *record);
/* takes what was downloaded out of the list, */
void remote_view_filter(struct session *session);
/* and keeps what link->uids were retrieved: with the POA if it takes that, then a copy by the step. */
void remote_view_keep(struct session *session);
void remote_view_kept(struct session *session, bool ok);
/* QUIT: asks for the next thing that is to be done, or ends the conversation. */
void remote_update_next(struct session *session);
/* The tagged response to it. */
void remote_update_take(struct session *session, bool ok, struct slice text);
/* Numbers of a SEARCH response. */
void remote_update_found(struct remote_drop *link, struct slice numbers);

#endif
