/* Connections of each user. Called by look_up.c and conn.c on every loop; holds only users who have a connection. */
#include "user_counts.h"

#include "postern/base/map.h"
#include "postern/base/memory.h"

struct user_counts {
    pthread_mutex_t mutex;
    struct map by_user;        /* entryUUID, else DN, to the number itself */
};

struct user_counts *user_counts_new(void)
{
    struct user_counts *counts = MEM_NEW(struct user_counts);
    pthread_mutex_init(&counts->mutex, NULL);
    map_init(&counts->by_user);
    return counts;
}

void user_counts_free(struct user_counts **counts)
{
    struct user_counts *c = *counts;
    if (c == NULL)
        return;
    map_fini(&c->by_user);
    pthread_mutex_destroy(&c->mutex);
    mem_free(counts);
}

/* Under the mutex. */
static void set(struct user_counts *counts, struct slice key, uintptr_t number)
{
    if (number > 0)
        map_put(&counts->by_user, key, (void *)number);
    else
        map_remove(&counts->by_user, key);
}

bool user_counts_enter(struct conn *conn, const struct user *user)
{
    struct user_counts *counts = conn->gateway->user_counts;
    if (conn->room->service != SERVICE_IMAP4 || conn->counted_user != NULL)
        return true;
    struct slice key = slice_from_string(user->uuid[0] != '\0' ? user->uuid : user->dn);
    pthread_mutex_lock(&counts->mutex);
    uintptr_t now = (uintptr_t)map_get(&counts->by_user, key);
    bool admitted = user->imap4_connections == 0 || now < user->imap4_connections;
    if (admitted)
        set(counts, key, now + 1);
    pthread_mutex_unlock(&counts->mutex);
    if (admitted)
        conn->counted_user = slice_to_string(key);
    return admitted;
}

void user_counts_leave(struct conn *conn)
{
    struct user_counts *counts = conn->gateway->user_counts;
    if (conn->counted_user == NULL)
        return;
    struct slice key = slice_from_string(conn->counted_user);
    pthread_mutex_lock(&counts->mutex);
    set(counts, key, (uintptr_t)map_get(&counts->by_user, key) - 1);
    pthread_mutex_unlock(&counts->mutex);
    mem_free(&conn->counted_user);
}
