/* Logins and local addresses: what is asked of the directory, in threads of its own. Called by connections; must never tell a
 * client why a login was refused, neither in words nor by the time it takes. */
#include "conn.h"

#include "crash_notes.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/config/config.h"
#include "revoke.h"
#include "user_counts.h"

enum { BUCKETS = 4096, WAIT_MS = 10 * 1000 };

/* Their addresses are the keys: one client's look-ups take at most half of the threads, and one at a time tries the passwords of a
 * name from one client, so that who guesses against slow hashes holds up nobody else. */
static const char logins[BUCKETS], addresses[BUCKETS], names[BUCKETS];

void look_up_free(struct look_up **look_up)
{
    struct look_up *l = *look_up;
    if (l == NULL)
        return;
    buf_wipe(&l->password);
    buf_fini(&l->name);
    user_unref(&l->user);
    mem_free(look_up);
}

static void note_login(const struct conn *c, enum counter which, const char *cause, const char *detail)
{
    counter_add(c->session.counters, which, 1);
    log_normal("login", "%s session %llu: login of \"%.*s\" from %s failed: %s%s%s", service_word(c->room->service),
               (unsigned long long)c->session.id, SLICE_ARG(buf_slice(&c->look_up->name)), c->session.peer, cause,
               detail[0] != '\0' ? ": " : "", detail);
}

static enum action_result fault_result(struct conn *c, const struct fault *fault)
{
    if (fault->class == FAULT_NOT_FOUND) {
        note_login(c, COUNTER_UNKNOWN_USER, "unknown user", fault->text);
        return ACTION_REFUSED;
    }
    if (fault->class == FAULT_AUTHENTICATION || fault->class == FAULT_INVALID || fault->class == FAULT_DENIED) {
        note_login(c, COUNTER_BAD_PASSWORD, "bad password", fault->text);
        return ACTION_REFUSED;
    }
    log_warning("login", "%s session %llu: login of \"%.*s\": directory: %s", service_word(c->room->service),
                (unsigned long long)c->session.id, SLICE_ARG(buf_slice(&c->look_up->name)), fault->text);
    return ACTION_UNAVAILABLE;
}

static enum action_result log_in(struct conn *c, struct look_up *l)
{
    struct fault fault = { .class = FAULT_NONE };
    if (l->name.len == 0 || l->password.len == 0 || slice_has_nul(buf_slice(&l->name))) {
        note_login(c, COUNTER_BAD_PASSWORD, "name or password empty or too long", "");
        return ACTION_REFUSED;
    }
    if (config_find_user(buf_slice(&l->name), &l->user, &fault) < 0 ||
        config_verify_user(l->user, buf_slice(&l->password), &fault) < 0)
        return fault_result(c, &fault);
    if (l->user->disabled || !revoke_is_allowed(l->user, c->room->service)) {
        note_login(c, COUNTER_ACCESS_DENIED, l->user->disabled ? "disabled or expired" : "class of service", "");
        return ACTION_REFUSED;
    }
    if (crash_notes_is_refused(c->gateway->options->notes, l->user->id, clock_monotonic_ms())) {
        note_login(c, COUNTER_STORE_LOGIN_ERROR, "this mailbox made the gateway abort twice", "refused for ten minutes");
        return ACTION_UNAVAILABLE;
    }
    if (l->user->post_office == NULL) {
        note_login(c, COUNTER_STORE_LOGIN_ERROR, "post office unknown", "");
        return ACTION_UNAVAILABLE;
    }
    return ACTION_OK;
}

static enum action_result resolve(struct look_up *l)
{
    struct slice address = buf_slice(&l->name);
    ptrdiff_t at = slice_find_last(address, '@');
    struct snapshot *snapshot = snapshot_current();
    bool ours = at > 0 && snapshot_domain(snapshot, slice_from(address, (size_t)at + 1)) != NULL;
    snapshot_unref(&snapshot);
    if (!ours)
        return at > 0 ? ACTION_REMOTE : ACTION_REFUSED;
    struct fault fault;
    if (config_find_user(address, &l->user, &fault) < 0)
        return fault.class == FAULT_NOT_FOUND || fault.class == FAULT_INVALID ? ACTION_REFUSED : ACTION_UNAVAILABLE;
    /* Whose mail the user may receive is the protocol's to ask: it knows the sender. */
    if (l->user->disabled)
        return ACTION_REFUSED;
    return l->user->post_office != NULL ? ACTION_OK : ACTION_UNAVAILABLE;
}

static enum step_result work(struct pool_task *task)
{
    struct conn *c = LIST_ITEM(task, struct conn, task);
    struct look_up *l = c->look_up;
    if (clock_monotonic_ms() - c->arrived_ms > WAIT_MS) {
        log_warning("login", "%s session %llu: the directory is too slow", service_word(c->room->service),
                    (unsigned long long)c->session.id);
        l->result = ACTION_UNAVAILABLE;
    } else
        l->result = c->action == CONN_LOGIN ? log_in(c, l) : resolve(l);
    buf_wipe(&l->password);
    return STEP_DONE;
}

static void login_ended(struct conn *c)
{
    struct look_up *l = c->look_up;
    if (l->result == ACTION_OK && !user_counts_enter(c, l->user)) {
        note_login(c, COUNTER_ACCESS_DENIED, "as many connections as the class of service allows", "");
        conn_turn_away(c, CLOSE_TOO_MANY_CONNECTIONS);
        return;
    }
    if (l->result == ACTION_OK) {
        user_unref(&c->session.user);
        c->session.user = l->user;
        l->user = NULL;
        c->session.fair_key = fair_key_of(c->session.user->post_office);
        log_verbose("login", "%s session %llu: %s from %s logged in", service_word(c->room->service),
                    (unsigned long long)c->session.id, c->session.user->id, c->session.peer);
        revoke_logged_in(c);
        conn_action_ended(c, ACTION_OK);
        return;
    }
    /* Whatever the cause, the answer comes at the same time after the question. */
    uint64_t due = c->arrived_ms + c->session.snapshot->agent.login_failure_milliseconds, now = clock_monotonic_ms();
    c->failing = true;
    loop_timer_set(&c->later, due > now ? due - now : 0);
}

static void ended(void *arg)
{
    struct conn *c = arg;
    c->under_way = false;
    if (!conn_take(c))
        return;
    if (c->state != CONN_OPEN)
        conn_action_ended(c, ACTION_NONE);
    else if (c->action == CONN_LOGIN)
        login_ended(c);
    else {
        user_unref(&c->session.recipient);
        c->session.recipient = c->look_up->user;
        c->look_up->user = NULL;
        if (c->look_up->result != ACTION_OK)
            user_unref(&c->session.recipient);
        conn_action_ended(c, c->look_up->result);
    }
}

static void done(struct pool_task *task, bool ran)
{
    struct conn *c = LIST_ITEM(task, struct conn, task);
    if (!ran)
        c->look_up->result = ACTION_UNAVAILABLE;
    conn_post(c, ended);
}

/* FNV-1a, without regard to case: names are compared so. */
static uint32_t hash_more(uint32_t hash, struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        hash = (hash ^ (unsigned char)ascii_lower(text.data[i])) * 16777619u;
    return hash;
}

/* An IPv4 address as a whole; of an IPv6 address the first four groups, since a host has all the others to choose from. */
static struct slice network_of(struct slice address)
{
    unsigned colons = 0;
    for (size_t i = 0; i < address.len; i++)
        if (address.data[i] == ':' && (++colons == 4 || (i > 0 && address.data[i - 1] == ':')))
            return slice_part(address, 0, i);
    return address;
}

void look_up_start(struct conn *conn)
{
    struct pool_task *task = &conn->task;
    uint32_t peer = hash_more(2166136261u, network_of(slice_from_string(conn->session.peer)));
    bool login = conn->action == CONN_LOGIN;
    task->serial_key = login ? &names[hash_more(peer, buf_slice(&conn->look_up->name)) % BUCKETS] : NULL;
    task->fair_key = login ? &logins[peer % BUCKETS] : &addresses[peer % BUCKETS];
    task->label = login ? "logins" : "addresses";
    task->work = work;
    task->done = done;
    task->stuck = NULL;
    pool_submit(conn->gateway->look_ups, task);
}
