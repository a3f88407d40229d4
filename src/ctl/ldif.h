/* ldif: change records of RFC 2849, read a piece at a time. Pure: no file and no directory is touched. */
#ifndef CTL_LDIF_H
#define CTL_LDIF_H

#include "postern/base/arena.h"
#include "postern/base/buf.h"
#include "postern/base/fault.h"

enum ldif_change { LDIF_ADD, LDIF_DELETE, LDIF_MODIFY, LDIF_RENAME };
enum ldif_operation { LDIF_PUT, LDIF_REMOVE, LDIF_REPLACE };

struct ldif_value {
    struct slice value;
    struct ldif_value *next;
};

/* One attribute of an added entry (LDIF_PUT), or one part of a modification. */
struct ldif_part {
    enum ldif_operation operation;
    const char *attribute;
    struct ldif_value *values;
    struct ldif_value *last;
    struct ldif_part *next;
};

struct ldif_record {
    enum ldif_change change;
    unsigned line;               /* of its dn */
    const char *dn;
    struct ldif_part *parts;
    const char *new_rdn;         /* LDIF_RENAME */
    const char *new_superior;    /* or NULL */
    bool delete_old_rdn;
    struct ldif_record *next;
};

struct ldif {
    struct arena arena;          /* everything that was read */
    struct buf physical;         /* the line under way, as far as it has come */
    struct buf logical;          /* the line before it, which may go on */
    unsigned line;               /* number of the line under way */
    unsigned logical_line;
    bool has_logical;
    bool seen;                   /* anything but comments */
    int state;
    struct ldif_record *records; /* in their order */
    struct ldif_record *record;  /* under way */
    struct ldif_part *part;      /* under way */
};

void ldif_init(struct ldif *l);
void ldif_fini(struct ldif *l);
/* -1: not LDIF; the fault says where and why. */
int ldif_feed(struct ldif *l, struct slice bytes, struct fault *fault);
/* After the last byte. */
int ldif_end(struct ldif *l, struct fault *fault);

#endif
