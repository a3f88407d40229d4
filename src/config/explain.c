/* Why a user may do what it may: config_explain_user. Called for posternctl; asks the directory for the user's lists as a login does. */
#include "lookup.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"

static struct rights_report *explain(const struct user *user, const struct list_name *lists, size_t list_count)
{
    char **names = MEM_NEW_ARRAY(char *, list_count + 1);
    for (size_t i = 0; i < list_count; i++)
        names[i] = lists[i].ndn;
    char *ndn = dn_normalise(slice_from_string(user->dn));
    struct membership m = { ndn != NULL ? ndn : "", names, list_count, user->office, &user->addresses };
    struct rights_report *report = rights_explain(user->snapshot, &m, user);
    mem_free(&ndn);
    mem_free(&names);
    return report;
}

int lookup_explain(struct directory_pool *pool, struct slice name, struct rights_report **out, struct fault *fault)
{
    struct user *user;
    struct list_name *lists;
    size_t count;
    unsigned server;
    *out = NULL;
    if (lookup_user(pool, name, &user, fault) != 0)
        return -1;
    int rc = lookup_lists(pool, user->snapshot, user->dn, &server, &lists, &count, fault);
    if (rc == 0) {
        *out = explain(user, lists, count);
        list_names_free(&lists, count);
    }
    user_unref(&user);
    return rc;
}
