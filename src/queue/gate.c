/* Back-off and free connections by host, LMTP port and TLS. Called by the queue's threads; what it says of the way to a Post Office Agent holds for delivery alone, logins
 * have their own (src/poa). */
#include "gate.h"

#include <pthread.h>

#include "postern/base/clock.h"
#include "postern/base/list.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/config/status.h"

enum { BACK_OFF_MOST_S = 30, FREE_MAX = 4 };

struct gate {
    unsigned back_off_s;     /* 0: it works, as far as is known */
    uint64_t until_ms;       /* not asked before */
    bool trial;              /* somebody is trying whether it is back */
    struct list free;        /* the longest free one first */
    size_t free_count;
};

struct free_talk {
    struct list link;
    struct talk talk;
    uint64_t since_ms;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct map gates;
static size_t away;          /* those with a back-off */

static struct gate *gate_of(const struct post_office_agent *agent)
{
    struct buf key = { .cap = 0 };
    buf_printf(&key, "%s %u %d %s %s %d %d %s", agent->host, agent->lmtp_port, (int)agent->tls, agent->ca_file != NULL ? agent->ca_file : "",
               agent->certificate != NULL ? agent->certificate : "", (int)agent->login, agent->proxy_header, agent->credentials != NULL ? agent->credentials : "");
    struct gate *gate = map_get(&gates, buf_slice(&key));
    if (gate == NULL) {
        gate = MEM_NEW(struct gate);
        list_init(&gate->free);
        map_put(&gates, buf_slice(&key), gate);
    }
    buf_fini(&key);
    return gate;
}

static void take_free(struct gate *gate, struct talk *talk)
{
    struct free_talk *taken = LIST_ITEM(gate->free.prev, struct free_talk, link);
    list_remove(&taken->link);
    gate->free_count--;
    *talk = taken->talk;
    mem_release(taken);
}

bool gate_enter(const struct post_office_agent *agent, struct talk *talk)
{
    *talk = (struct talk){ .client = NULL };
    pthread_mutex_lock(&lock);
    struct gate *gate = gate_of(agent);
    bool go = gate->back_off_s == 0 || (!gate->trial && clock_monotonic_ms() >= gate->until_ms);
    gate->trial = gate->trial || (go && gate->back_off_s != 0);
    if (go && gate->free_count != 0)
        take_free(gate, talk);
    pthread_mutex_unlock(&lock);
    if (talk->client != NULL && !client_is_quiet(talk->client))
        talk_close(talk);
    return go;
}

bool gate_well(const struct post_office_agent *agent, const char *office, struct talk *talk)
{
    pthread_mutex_lock(&lock);
    struct gate *gate = gate_of(agent);
    bool back = gate->back_off_s != 0;
    away -= back;
    gate->back_off_s = 0;
    gate->trial = false;
    if (talk->client != NULL && gate->free_count < FREE_MAX) {
        struct free_talk *kept = MEM_NEW(struct free_talk);
        kept->talk = *talk;
        kept->since_ms = clock_monotonic_ms();
        list_append(&gate->free, &kept->link);
        gate->free_count++;
        *talk = (struct talk){ .client = NULL };
    }
    pthread_mutex_unlock(&lock);
    talk_close(talk);
    if (back)
        log_normal("queue", "post office %s: LMTP at %s port %u is there again", office, agent->host, agent->lmtp_port);
    if (back)
        config_links_changed();
    return back;
}

void gate_failed(const struct post_office_agent *agent, const char *office, const char *why)
{
    pthread_mutex_lock(&lock);
    struct gate *gate = gate_of(agent);
    uint64_t now = clock_monotonic_ms();
    bool worked = gate->back_off_s == 0;
    away += worked;
    /* Others that began before say nothing new. */
    if (worked || gate->trial || now >= gate->until_ms) {
        gate->back_off_s = worked ? 1 : gate->back_off_s * 2 < BACK_OFF_MOST_S ? gate->back_off_s * 2 : BACK_OFF_MOST_S;
        gate->until_ms = now + gate->back_off_s * 1000;
        gate->trial = false;
    }
    pthread_mutex_unlock(&lock);
    if (worked)
        log_warning("queue", "post office %s: LMTP at %s port %u is away: %s", office, agent->host, agent->lmtp_port, why);
    if (worked)
        config_links_changed();
}

bool gate_any_is_away(void)
{
    pthread_mutex_lock(&lock);
    bool any = away != 0;
    pthread_mutex_unlock(&lock);
    return any;
}

bool gate_is_away(const struct post_office_agent *agent)
{
    pthread_mutex_lock(&lock);
    bool is = gate_of(agent)->back_off_s != 0;
    pthread_mutex_unlock(&lock);
    return is;
}

void gate_unknown(const struct post_office_agent *agent)
{
    pthread_mutex_lock(&lock);
    gate_of(agent)->trial = false;
    pthread_mutex_unlock(&lock);
}

static void collect_free(struct slice key, void *value, void *context)
{
    struct gate *gate = value;
    struct list *old = context;
    (void)key;
    LIST_FOR_EACH (&gate->free, at) {
        struct free_talk *talk = LIST_ITEM(at, struct free_talk, link);
        if (clock_monotonic_ms() - talk->since_ms < GATE_IDLE_MS)
            break;
        list_remove(at);
        list_append(old, at);
        gate->free_count--;
    }
}

static void count_free(struct slice key, void *value, void *context)
{
    (void)key;
    *(size_t *)context += ((struct gate *)value)->free_count;
}

static void close_all(struct list *talks)
{
    LIST_FOR_EACH (talks, at) {
        struct free_talk *talk = LIST_ITEM(at, struct free_talk, link);
        list_remove(at);
        talk_close(&talk->talk);
        mem_release(talk);
    }
}

bool gate_close_idle(void)
{
    struct list old;
    size_t left = 0;
    list_init(&old);
    pthread_mutex_lock(&lock);
    map_for_each(&gates, collect_free, &old);
    map_for_each(&gates, count_free, &left);
    pthread_mutex_unlock(&lock);
    close_all(&old);
    return left != 0;
}

static void free_gate(struct slice key, void *value, void *context)
{
    (void)key, (void)context;
    struct gate *gate = value;
    close_all(&gate->free);
    mem_release(gate);
}

void gate_clear(void)
{
    pthread_mutex_lock(&lock);
    map_for_each(&gates, free_gate, NULL);
    map_fini(&gates);
    map_init(&gates);
    away = 0;
    pthread_mutex_unlock(&lock);
}
