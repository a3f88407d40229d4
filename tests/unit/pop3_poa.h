/* A fake Post Office Agent for the tests of POP3 over one: rows say what it answers; what it says comes in pieces of any size. */
#ifndef TESTS_UNIT_POP3_POA_H
#define TESTS_UNIT_POP3_POA_H

#include "pop3_fake.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define LOGIN "USER joe\r\nPASS secret\r\n"
#define LOGIN_AS(name) "USER " name "\r\nPASS secret\r\n"
#define ASKED "+OK Send your password.\r\n"
#define LOGGED ASKED "+OK Logged in.\r\n"
#define BYE "+OK Bye.\r\n"
#define NOT_REMOVED "-ERR [SYS/TEMP] Some deleted messages were not removed.\r\n"
#define LOST "-ERR [SYS/TEMP] The mailbox is not reachable at the moment.\r\n"
#define NOT_OPENED "-ERR [SYS/TEMP] The mailbox cannot be opened at the moment.\r\n"
#define ONE "Subject: one\r\n\r\nHello\r\n.dot\r\n"      /* 29 */
#define ONE_SENT "Subject: one\r\n\r\nHello\r\n..dot\r\n.\r\n"
#define TWO "Subject: two\r\n\r\nno end"                 /* 22 */
#define SELECTED "* FLAGS (\\Seen)\r\n* 3 EXISTS\r\n* OK [UNSEEN 1] {5}\r\n* OK [UIDVALIDITY 1795417200] x\r\n~ OK [READ-WRITE] x\r\n"
#define SELECTED_AS(tag) "* 3 EXISTS\r\n* OK [UIDVALIDITY 1795417200] x\r\n" tag " OK\r\n"
#define LISTED_AS(tag) "* 1 FETCH (UID 5 FLAGS () RFC822.SIZE 29)\r\n* 2 FETCH (UID 7 FLAGS () RFC822.SIZE 22)\r\n" tag " OK\r\n"
#define LIST "UID FETCH 1:* (UID FLAGS RFC822.SIZE)"
#define VIEW(n) "/private/vendor/postern/pop3-view-" #n
#define GET(n) "GETMETADATA INBOX " VIEW(n)
#define SET(n, uids) "SETMETADATA INBOX (" VIEW(n) " \"1 V1795417200 " uids "\")"
#define FETCH(...) "UID FETCH " #__VA_ARGS__ " (UID BODY.PEEK[])"
#define AHEAD_7 "* 4 EXISTS\r\n* 2 FETCH (FLAGS (\\Seen))\r\n* 2 FETCH (UID 7 BODY[] {22}\r\n" TWO ")\r\n"
#define AHEAD_9 "* 3 FETCH (UID 9 FLAGS () BODY[] \"a \\\"b\\\\\")\r\n"
#define ONE_GOT "+OK 29 octets\r\n" ONE_SENT
#define TWO_GOT "+OK 22 octets\r\n" TWO "\r\n.\r\n"
#define THREE_GOT "+OK 24 octets\r\na \"b\\\r\n.\r\n"

/* What the POA answers to a command (its tag is ~), and how often that must be asked. NULL reply: nothing, and it is lost. */
struct rule {
    const char *command;
    const char *reply;
};

enum { RULES = 10 };

struct row {
    const char *title;
    const char *capability;
    const char *in;
    const char *out;
    struct rule rules[RULES];    /* before the common ones; each must be asked exactly once, in this order */
};

extern struct remote remote;
extern struct buf speech;      /* what the POA is about to say */
extern size_t next_rule;       /* rules of the row that were asked */

/* A new connection, not logged in; the POA says of itself what it can do. */
void poa_begin(const char *capability);
void poa_end(void);
/* Answers what it was asked. */
void poa_answer(const struct row *row);
/* As long as it is asked anything; each answer arrives whole. */
void poa_talk(const struct row *row);
/* The next octets of what it says arrive. */
void poa_say(size_t len);
/* One whole conversation: first so many octets, then `piece` at a time. False, and says so: not what the row wants. */
bool poa_try(const struct row *row, size_t first, size_t piece, size_t *said_out);
/* Each row with everything at once, octet by octet, and cut once at every octet. */
void poa_try_rows(const struct row *rows, size_t count);
/* Logged in to the three messages of the common rules. */
void poa_log_in(void);
extern const struct row poa_plain_row;

#endif
