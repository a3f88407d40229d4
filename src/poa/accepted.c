/* Logins that were accepted, as tags under a key that this process makes and tells nobody: no name and no password is kept. A place is one tag's alone, so that what many
 * users cost is bounded; the later one replaces the other. Called by opening.c. */
#include "accepted.h"

#include <pthread.h>
#include <string.h>

#include "postern/base/clock.h"
#include "postern/base/secret.h"
#include "postern/net/keyed_hash.h"

enum { PLACES = 8192, KEPT_MS = 3600 * 1000 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { uint64_t tag, until_ms; } places[PLACES];
static unsigned char key[KEYED_HASH_SIZE];
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void make_key(void)
{
    secret_random(key, sizeof(key));
}

uint64_t accepted_tag(const struct post_office_agent *agent, const struct dialogue_who *who)
{
    const struct slice parts[] = { slice_from_string(agent->host), who->user, who->name, agent->login == POA_LOGIN_PASS_THROUGH ? who->password : who->secret };
    unsigned char hash[KEYED_HASH_SIZE];
    struct buf text = { .cap = 0 };
    uint64_t tag;
    size_t size = 64;
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
        size += parts[i].len + 24;
    buf_reserve(&text, size);   /* at once: no copy is left behind */
    buf_printf(&text, "%u %d %d", agent->port, (int)agent->login, who->token);
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        buf_printf(&text, " %zu ", parts[i].len);
        buf_append(&text, parts[i]);
    }
    pthread_once(&key_once, make_key);
    keyed_hash(key, buf_slice(&text), hash);
    buf_wipe(&text);
    memcpy(&tag, hash, sizeof(tag));
    secret_wipe(hash, sizeof(hash));
    return tag;
}

static void put(uint64_t tag, uint64_t until_ms)
{
    pthread_mutex_lock(&lock);
    if (until_ms != 0 || places[tag % PLACES].tag == tag) {
        places[tag % PLACES].tag = tag;
        places[tag % PLACES].until_ms = until_ms;
    }
    pthread_mutex_unlock(&lock);
}

void accepted_note(uint64_t tag)
{
    put(tag, clock_monotonic_ms() + KEPT_MS);
}

void accepted_forget(uint64_t tag)
{
    put(tag, 0);
}

bool accepted_is(uint64_t tag)
{
    pthread_mutex_lock(&lock);
    bool is = places[tag % PLACES].tag == tag && clock_monotonic_ms() < places[tag % PLACES].until_ms;
    pthread_mutex_unlock(&lock);
    return is;
}
