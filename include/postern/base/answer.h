/* answer: what posternctl says, written once and shown in one of two forms: JSON for programs, aligned lines and tables for people. The writer says
 * the names of the fields as people read them ("sessions now"); in JSON blanks and commas become underscores ("sessions_now").
 * Bytes from outside never break the form: JSON is valid UTF-8 with everything escaped, text has no control characters. */
#ifndef POSTERN_BASE_ANSWER_H
#define POSTERN_BASE_ANSWER_H

#include "postern/base/buf.h"

enum { ANSWER_DEPTH = 8, ANSWER_COLUMNS = 20 };

struct answer {
    struct buf *out;
    bool json;
    bool all;                  /* text: counters that are 0, too */
    unsigned depth;            /* of what is open */
    struct answer_level {
        char kind;             /* o: object, l: list of objects, t: table, r: row of a table, x: list of texts */
        bool filled;
        unsigned indent;
        const char *title;     /* text: of a table */
    } levels[ANSWER_DEPTH];
    struct buf cells;          /* text: the table that is open: each cell ends with NUL */
    const char *columns[ANSWER_COLUMNS];
    size_t column_count;
    size_t column;             /* the next one in the row that is open */
    size_t row_count;
};

/* Opens the outermost object. out is borrowed and appended to. */
void answer_init(struct answer *a, struct buf *out, bool json, bool all);
/* Closes everything that is open. A text that has nothing to say becomes "none". */
void answer_fini(struct answer *a);

/* Fields of the open object or row. NULL: null in JSON, "-" in a table, left out elsewhere. In a table the names live until it is closed. */
void answer_text(struct answer *a, const char *name, const char *text);
void answer_slice(struct answer *a, const char *name, struct slice text);
void answer_number(struct answer *a, const char *name, uint64_t number);
/* As a number, but left out of the text when it is 0, unless `all`. */
void answer_count(struct answer *a, const char *name, uint64_t number);
void answer_flag(struct answer *a, const char *name, bool flag);
/* A list of texts; in text one value, separated by commas. */
void answer_texts(struct answer *a, const char *name, char *const *texts, size_t count);
/* Seconds since the epoch, in UTC as RFC 3339 writes it; 0 as NULL. */
void answer_time(struct answer *a, const char *name, int64_t seconds);

/* An object in the open one; in text a section with that title. */
void answer_object(struct answer *a, const char *name);
/* A list of objects, each of which is opened by answer_item; in text each is a section with its title. */
void answer_list(struct answer *a, const char *name);
void answer_item(struct answer *a, const char *title);
/* A list of objects with the same fields in the same order, each opened by answer_row; in text a table, with its name as title if something stands
 * before it. */
void answer_table(struct answer *a, const char *name);
void answer_row(struct answer *a);
/* Closes what was opened last. */
void answer_close(struct answer *a);

/* A string of JSON with its quotes. Bytes that are not UTF-8 become U+FFFD. */
void json_append_string(struct buf *out, struct slice text);
/* Text of one line: control characters become question marks. */
void text_append_clean(struct buf *out, struct slice text);

#endif
