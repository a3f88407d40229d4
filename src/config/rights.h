/* rights: what the classes of service of a snapshot allow one user, setting by setting. Pure: asks no directory. */
#ifndef CONFIG_RIGHTS_H
#define CONFIG_RIGHTS_H

#include "build.h"
#include "postern/config/user.h"

/* Whom the classes may name. */
struct membership {
    const char *user;                   /* normal DN */
    char *const *lists;                 /* normal DNs of the distribution lists the user is in, directly or not */
    size_t list_count;
    const char *post_office;            /* normal DN, or NULL */
    const struct text_list *addresses;  /* lower case; their domains count */
};

/* Fills the rights of `user`. */
void rights_apply(const struct snapshot *snapshot, const struct membership *m, struct user *user);
/* Whether some class names a DN that is neither this user nor a post office: only then the lists matter. */
bool rights_need_lists(const struct snapshot *snapshot, const char *user_ndn);

#endif
