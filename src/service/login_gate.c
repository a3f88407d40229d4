/* Who may try a password now. Called by look_up.c. What is hashed alike shares its turn, which costs time and nothing else. */
#include "login_gate.h"

#include <pthread.h>

#include "postern/base/memory.h"

/* Names of one client looked at for one that is not under way: behind so many of one name nothing else of this client is likely. */
enum { LOOK_AT_MOST = 32 };

struct waiting_line {
    struct list link;         /* in lines, while somebody waits */
    struct list tickets;
    unsigned busy;
};

struct login_gate {
    void (*may_go)(struct login_ticket *ticket);
    pthread_mutex_t mutex;
    unsigned busy;
    struct list lines;
    struct waiting_line clients[LOGIN_GATE_BUCKETS];
    bool name_busy[LOGIN_GATE_BUCKETS];
};

struct login_gate *login_gate_new(void (*may_go)(struct login_ticket *ticket))
{
    struct login_gate *g = MEM_NEW(struct login_gate);
    g->may_go = may_go;
    pthread_mutex_init(&g->mutex, NULL);
    list_init(&g->lines);
    for (unsigned i = 0; i < LOGIN_GATE_BUCKETS; i++) {
        list_init(&g->clients[i].link);
        list_init(&g->clients[i].tickets);
    }
    return g;
}

void login_gate_free(struct login_gate **gate)
{
    if (*gate != NULL)
        pthread_mutex_destroy(&(*gate)->mutex);
    mem_free(gate);
}

static struct waiting_line *line_of(struct login_gate *g, const struct login_ticket *ticket)
{
    return &g->clients[ticket->client % LOGIN_GATE_BUCKETS];
}

static bool try_to_go(struct login_gate *g, const struct login_ticket *ticket)
{
    struct waiting_line *line = line_of(g, ticket);
    bool *name = &g->name_busy[ticket->name % LOGIN_GATE_BUCKETS];
    if (g->busy == LOGIN_GATE_SLOTS || line->busy == LOGIN_GATE_SLOTS / 2 || *name)
        return false;
    g->busy++;
    line->busy++;
    *name = true;
    return true;
}

bool login_gate_enter(struct login_gate *gate, struct login_ticket *ticket)
{
    struct waiting_line *line = line_of(gate, ticket);
    pthread_mutex_lock(&gate->mutex);
    /* Where a slot is free, nobody waits who could take it. */
    bool now = try_to_go(gate, ticket);
    if (!now) {
        if (list_is_empty(&line->tickets))
            list_append(&gate->lines, &line->link);
        list_append(&line->tickets, &ticket->link);
    }
    pthread_mutex_unlock(&gate->mutex);
    return now;
}

static struct login_ticket *first_of(struct login_gate *g, struct waiting_line *line)
{
    unsigned looked = 0;
    LIST_FOR_EACH (&line->tickets, at) {
        struct login_ticket *ticket = LIST_ITEM(at, struct login_ticket, link);
        if (looked++ == LOOK_AT_MOST || line->busy == LOGIN_GATE_SLOTS / 2)
            return NULL;
        if (try_to_go(g, ticket)) {
            list_remove(at);
            return ticket;
        }
    }
    return NULL;
}

/* The next one that may go. Its client goes to the end of the row. */
static struct login_ticket *next(struct login_gate *g)
{
    if (g->busy == LOGIN_GATE_SLOTS)
        return NULL;
    LIST_FOR_EACH (&g->lines, at) {
        struct waiting_line *line = LIST_ITEM(at, struct waiting_line, link);
        struct login_ticket *ticket = first_of(g, line);
        if (ticket == NULL)
            continue;
        list_remove(at);
        if (!list_is_empty(&line->tickets))
            list_append(&g->lines, at);
        return ticket;
    }
    return NULL;
}

void login_gate_leave(struct login_gate *gate, const struct login_ticket *ticket)
{
    pthread_mutex_lock(&gate->mutex);
    gate->busy--;
    line_of(gate, ticket)->busy--;
    gate->name_busy[ticket->name % LOGIN_GATE_BUCKETS] = false;
    struct list going;
    list_init(&going);
    for (struct login_ticket *go = next(gate); go != NULL; go = next(gate))
        list_append(&going, &go->link);
    pthread_mutex_unlock(&gate->mutex);
    LIST_FOR_EACH (&going, at)
        gate->may_go(LIST_ITEM(at, struct login_ticket, link));
}
