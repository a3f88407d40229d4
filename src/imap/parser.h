/* parser: the tokens of an IMAP command (RFC 3501 section 9). The text is the whole command without its last CRLF; literals
 * stand in it as "{n}CRLF" or "{n+}CRLF" followed by their n bytes (the reader has already collected them and knows that n
 * fits). All functions return false and leave `rest` where it was when the token is not there. */
#ifndef POSTERN_IMAP_PARSER_H
#define POSTERN_IMAP_PARSER_H

#include "postern/base/arena.h"
#include "postern/base/slice.h"

struct imap_parser {
    struct slice rest;
    struct arena *arena;       /* of the command: unescaped strings live there */
};

bool parse_end(const struct imap_parser *p);
/* Exactly one SP. */
bool parse_space(struct imap_parser *p);
bool parse_byte(struct imap_parser *p, char byte);
/* The keyword without regard to case, ended by a byte that cannot be in an atom (or the end). */
bool parse_keyword(struct imap_parser *p, const char *keyword);
/* 1*ATOM-CHAR */
bool parse_atom(struct imap_parser *p, struct slice *out);
/* quoted or literal; NUL never. */
bool parse_string(struct imap_parser *p, struct slice *out);
bool parse_astring(struct imap_parser *p, struct slice *out);
bool parse_nstring(struct imap_parser *p, struct slice *out);      /* NIL gives data NULL */
/* list-mailbox: wildcards allowed. */
bool parse_list_mailbox(struct imap_parser *p, struct slice *out);
/* nz or not: 0..max. */
bool parse_number(struct imap_parser *p, uint64_t max, uint64_t *out);
/* flag: "\Seen" or a keyword (flag-extension and "\*" are accepted as text). */
bool parse_flag(struct imap_parser *p, struct slice *out);
/* A date-time in quotes (RFC 3501: "dd-mon-yyyy hh:mm:ss +zzzz") as seconds since the epoch. */
bool parse_date_time(struct imap_parser *p, int64_t *seconds_out);

/* sequence-set as written: '*' is 0 in first or last until it is resolved. */
struct sequence_range { uint32_t first; uint32_t last; };
struct sequence_set { struct sequence_range *ranges; size_t count; };   /* in the arena */
bool parse_sequence_set(struct imap_parser *p, struct sequence_set *out);

#endif
