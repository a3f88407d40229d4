/* Keys of post offices that outlive snapshots, so that the steps of one post office are counted together across changes of the
 * configuration. Called before steps; must never free a key, steps may hold it for long. */
#include "gateway.h"

#include "postern/base/map.h"
#include "postern/base/memory.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map keys;   /* entryUUID to the key: a text with the post office's name; as many as there ever were post offices */

const char *fair_key_of(const struct post_office *office)
{
    struct slice uuid = slice_from_string(office->uuid);
    pthread_mutex_lock(&lock);
    const char *key = map_get(&keys, uuid);
    if (key == NULL) {
        char *name = mem_strdup(office->name ? office->name : office->uuid);
        map_put(&keys, uuid, name);
        key = name;
    }
    pthread_mutex_unlock(&lock);
    return key;
}

const void *fair_key_stable(const struct snapshot *snapshot, const void *key, const char **label_out)
{
    for (size_t i = 0; snapshot != NULL && key != NULL && i < snapshot->post_office_count; i++)
        if (snapshot->post_offices[i] == key)
            return *label_out = fair_key_of(key);
    return key;
}
