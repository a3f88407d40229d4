/* lexer: the tokens of structured header fields (RFC 5322 3.2, RFC 2045 5.1). For address.c and content.c only. All functions
 * give LEX_MORE when bytes follow, LEX_END at the end, LEX_BROKEN when the token is not there or not whole; text
 * taken so far is appended to `out` without quotes and comments. */
#ifndef POSTERN_MIME_LEXER_H
#define POSTERN_MIME_LEXER_H

#include "postern/base/buf.h"

enum lex { LEX_BROKEN = -1, LEX_END = 0, LEX_MORE = 1 };

struct lexer {
    const char *at;
    const char *end;
    struct buf *comment;    /* receives the text of the last comment; may be NULL */
};

bool lexer_is_atext(char c);
bool lexer_has(const struct lexer *l, char c);
/* Blanks, line ends and comments. */
enum lex lexer_skip(struct lexer *l);
enum lex lexer_atom(struct lexer *l, struct buf *out);
/* Atoms joined by dots, with blanks around the dots (RFC 822). */
enum lex lexer_dot_atom(struct lexer *l, struct buf *out);
/* A MIME token, which may be empty. */
enum lex lexer_token(struct lexer *l, struct buf *out);
/* `at` stands on the opening quote. */
enum lex lexer_quoted(struct lexer *l, struct buf *out);
/* Words and dots of a display name, joined by one space. */
enum lex lexer_phrase(struct lexer *l, struct buf *out);
/* `at` stands on '@'. */
enum lex lexer_domain(struct lexer *l, struct buf *out);

#endif
