/* rights: what the classes of service say of a user beyond plain values (user.h): whose mail is taken, where mail may go, and which class each
 * setting comes from. */
#ifndef POSTERN_CONFIG_RIGHTS_H
#define POSTERN_CONFIG_RIGHTS_H

#include "postern/base/fault.h"
#include "postern/config/user.h"

/* The other side of a message, as far as it is known: the sender of a message that comes in, or the recipient of one that goes out. */
struct mail_party {
    struct slice ip;         /* of the client, in text form; or SLICE_NONE */
    struct slice host;       /* what the client called itself in EHLO, not verified; or SLICE_NONE */
    struct slice address;    /* empty: the null path, or not known yet */
};

/* Where a setting was decided, from the top level down. */
enum rights_level {
    RIGHTS_USER, RIGHTS_LIST, RIGHTS_POST_OFFICE, RIGHTS_DOMAIN, RIGHTS_DEFAULT,
    RIGHTS_BUILT_IN,         /* no class says anything */
};

/* One setting of a user. */
struct rights_row {
    const char *attribute;   /* "posternPop3Access" */
    const char *doc;
    const char *value;       /* in force, in the words of the directory: "allow", "TRUE", "10"; exceptions: separated by ", ", "" for none */
    enum rights_level level;
    const char *class_dn;    /* NULL: built in */
    const char *member;      /* what makes the user a member: the normal DN of the user, list or post office, or a domain; NULL for the default class */
};

struct rights_report {
    const char *user_id;
    const char *user_dn;
    bool disabled;           /* or expired */
    const struct rights_row *rows;
    size_t row_count;        /* settings with exceptions that several classes decide have a row for each of these classes */
};

/* [T] As config_find_user, and then why. The report is the caller's. */
int config_explain_user(struct slice name, struct rights_report **out, struct fault *fault);
void rights_report_free(struct rights_report **report);
/* "user", "distribution list", "post office", "domain", "default class", "built in". */
const char *rights_level_word(enum rights_level level);

/* Whether mail of that sender may come in for the user, exceptions considered; by what is known: rules that need more do not refuse. */
bool user_may_receive_from(const struct user *user, const struct mail_party *sender);
/* Whether the user may send to that recipient elsewhere. */
bool user_may_send_to(const struct user *user, const struct mail_party *recipient);
/* False if no member of any class, nor anybody else, may receive mail of that sender: it can be turned away before a recipient is named. */
bool snapshot_takes_mail_from(const struct snapshot *snapshot, const struct mail_party *sender);

#endif
