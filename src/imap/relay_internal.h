/* relay_internal: what relay_client.c and relay_poa.c share: the commands under way, and bytes that pass. */
#ifndef POSTERN_IMAP_RELAY_INTERNAL_H
#define POSTERN_IMAP_RELAY_INTERNAL_H

#include "relay_scan.h"

enum relay_kind { RELAY_OTHER, RELAY_SELECT, RELAY_DESELECT, RELAY_LOGOUT, RELAY_KEEPS, RELAY_REFUSED };

struct relay_command {
    struct list link;
    enum relay_kind kind;
    const char *text;      /* REFUSED: what the client hears in place of the POA's answer */
    bool no_tag;           /* it came without a valid one */
    uint8_t tag_len;
    char tag[];
};

/* Input that is being looked at: what lies between from and at goes on as it is. */
struct relay_pass {
    struct buf *in;
    struct buf *out;
    size_t from;
    size_t at;
};

extern const char relay_none_enabled[];    /* the text of an ENABLE of which nothing is left */

struct slice relay_without_end(struct slice line);
size_t relay_at_most(uint64_t a, size_t b);
void relay_keep_tail(char *tail, uint8_t *tail_len, struct slice bytes);
bool relay_is_tag(struct slice tag);
struct slice relay_take_word(struct slice *rest);
struct relay_command *relay_note(struct relay_scan *scan, struct slice tag, enum relay_kind kind, const char *text);
void relay_forget(struct relay_scan *scan, struct relay_command *command);
struct relay_command *relay_find(struct relay_scan *scan, struct slice tag);
struct slice relay_rest(const struct relay_pass *pass);
void relay_let_pass(struct relay_pass *pass);
void relay_leave_out(struct relay_pass *pass, size_t count);
void relay_end_pass(struct relay_pass *pass);
bool relay_is_hidden(const struct relay_rules *rules, struct slice word);

#endif
