/* Why a user may do what it may: config_explain_user. Called for posternctl; asks the directory for the user's lists as a login does. */
#include "lookup.h"
#include "postern/base/memory.h"
#include "postern/directory/dn.h"
#include "rights.h"

static struct rights_report *explain(const struct user *user, char *const *lists, size_t list_count)
{
    char *ndn = dn_normalise(slice_from_string(user->dn));
    char *office = user->post_office != NULL ? dn_normalise(slice_from_string(user->post_office->dn)) : NULL;
    struct membership m = { ndn != NULL ? ndn : "", lists, list_count, office, &user->addresses };
    struct rights_report *report = rights_explain(user->snapshot, &m, user);
    mem_free(&ndn);
    mem_free(&office);
    return report;
}

int lookup_explain(struct directory_pool *pool, struct slice name, struct rights_report **out, struct fault *fault)
{
    struct user *user;
    char **lists;
    size_t count;
    *out = NULL;
    if (lookup_user(pool, name, &user, fault) != 0)
        return -1;
    int rc = lookup_lists(pool, user, &lists, &count, fault);
    if (rc == 0) {
        *out = explain(user, lists, count);
        for (size_t i = 0; i < count; i++)
            mem_free(&lists[i]);
        mem_free(&lists);
    }
    user_unref(&user);
    return rc;
}
