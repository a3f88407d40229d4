/* rights: what the classes of service of a snapshot allow one user, setting by setting. Pure: asks no directory. */
#ifndef CONFIG_RIGHTS_H
#define CONFIG_RIGHTS_H

#include "build.h"
#include "postern/config/rights.h"

/* Whom the classes may name. */
struct membership {
    const char *user;                   /* normal DN */
    char *const *lists;                 /* normal DNs of the distribution lists the user is in, directly or not */
    size_t list_count;
    const char *post_office;            /* normal DN, or NULL */
    const struct text_list *addresses;  /* lower case; their domains count */
};

/* The classes of service in force and whom they name: what the functions below look up. Immutable and counted, since it is shared by all snapshots until one
 * of the classes changes, or which post offices there are. */
struct class_index *class_index_new(struct object *const *objects, size_t count, const struct slots *offices);
struct class_index *class_index_ref(struct class_index *index);
void class_index_unref(struct class_index **index);
/* Fills the snapshot's classes. */
void class_index_show(const struct class_index *index, struct snapshot *snapshot);
/* Fills the rights of `user`, who holds the snapshot: they point into it. */
void rights_apply(const struct snapshot *snapshot, const struct membership *m, struct user *user);
/* Frees what rights_apply gave the user. */
void rights_fini(struct user *user);
/* Why: the rows of a report about the user, who was given the rights by that membership. */
struct rights_report *rights_explain(const struct snapshot *snapshot, const struct membership *m, const struct user *user);
/* Whether some class names a DN that is neither this user nor a post office: only then the lists matter. */
bool rights_need_lists(const struct snapshot *snapshot, const char *user_ndn);
/* Whether some class names the DN. */
bool rights_is_named(const struct snapshot *snapshot, const char *ndn);

#endif
