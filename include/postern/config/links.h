/* links: how each post office of a snapshot is to be reached, and which object says so, for posternctl. Any thread. */
#ifndef POSTERN_CONFIG_LINKS_H
#define POSTERN_CONFIG_LINKS_H

#include "postern/base/arena.h"
#include "postern/config/snapshot.h"

struct link_value {
    const char *value;         /* NULL: none */
    const char *from;          /* DN of the object that says so; NULL: nobody, it is the default */
};

struct link_row {
    const struct post_office *office;
    const char *link_dn;       /* NULL: there is no link */
    const char *configured;    /* the link's mode; NULL: there is no link */
    const char *own;           /* the post office's mode */
    struct link_value mode;    /* in force */
    struct link_value path;
    struct link_value host;
    struct link_value port;
};

struct link_rows {
    struct arena arena;
    struct link_row *rows;
    size_t count;
};

/* Points into the snapshot, which outlives it. */
struct link_rows *link_rows_new(const struct snapshot *snapshot);
/* NULL inside is accepted. */
void link_rows_free(struct link_rows **rows);
/* "current", "direct" ... */
const char *access_mode_word(enum access_mode mode);

#endif
