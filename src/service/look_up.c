/* Logins and local addresses. What memory knows is answered on the loop, and so is a password that an open connection can be asked; the rest is
 * asked of the directory in threads. Called by connections; must never tell a client why a login was refused, neither in words nor
 * by the time it takes. */
#include "conn.h"

#include <string.h>

#include "claims.h"
#include "crash_notes.h"
#include "intruders.h"
#include "mechanisms.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "postern/config/config.h"
#include "postern/config/gateways.h"
#include "postern/directory/policy.h"
#include "reach.h"
#include "revoke.h"
#include "user_counts.h"

enum { BUCKETS = 4096, WAIT_MS = 10 * 1000, LOOK_EACH_MS = 500 };

/* Their addresses are the keys: when they are slow, one client's look-ups take at most half of the threads, and so do all tokens together, whose server may be. */
static const char logins[BUCKETS], addresses[BUCKETS], tokens;

void look_up_free(struct look_up **look_up)
{
    struct look_up *l = *look_up;
    if (l == NULL)
        return;
    config_verify_drop(&l->bind);
    buf_wipe(&l->password);
    secret_wipe(&l->keys, sizeof(l->keys));
    mem_free(&l->keys_dn);
    buf_fini(&l->name);
    buf_fini(&l->gateway);
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

/* A name is counted as the user that it finds, so that who has many addresses has no more attempts. */
static bool is_locked_out(const struct conn *c, struct slice name)
{
    if (!intruder_is_locked(c->gateway->options->intruders, &c->session.snapshot->agent, name, clock_monotonic_ms()))
        return false;
    note_login(c, COUNTER_INTRUDER, "the name is locked after failed logins", "");
    return true;
}

/* Tokens and certificates cannot be guessed: they neither lock a name nor are kept out by its lock. Nor is a gateway, whose own password it is. */
static bool is_guess(const struct look_up *l)
{
    return l->proof != PROOF_TOKEN && l->proof != PROOF_CERTIFICATE && l->proof != PROOF_GATEWAY;
}

static void note_intruder(const struct conn *c)
{
    const struct look_up *l = c->look_up;
    if (!is_guess(l))
        return;
    struct slice name = l->user != NULL ? slice_from_string(l->user->id) : buf_slice(&l->name);
    if (intruder_note_failure(c->gateway->options->intruders, &c->session.snapshot->agent, name, l->user != NULL, clock_monotonic_ms()))
        log_warning("login", "\"%.*s\" is locked after failed logins, the last one from %s", SLICE_ARG(name), c->session.peer);
}

/* The directory counts these itself, or the password was right. */
static bool is_policy(const struct conn *c, const struct fault *fault)
{
    static const struct { enum counter counter; const char *cause; } rows[] = {
        [POLICY_LOCKED] = { COUNTER_PASSWORD_LOCKED, "locked by the password policy" },
        [POLICY_EXPIRED] = { COUNTER_PASSWORD_EXPIRED, "the password has expired" },
        [POLICY_MUST_CHANGE] = { COUNTER_PASSWORD_MUST_CHANGE, "the password must be changed first" },
    };
    if (fault->class != FAULT_AUTHENTICATION || fault->error < POLICY_LOCKED || fault->error > POLICY_MUST_CHANGE)
        return false;
    note_login(c, rows[fault->error].counter, rows[fault->error].cause, fault->text);
    return true;
}

static enum action_result fault_result(struct conn *c, const struct fault *fault)
{
    if (is_policy(c, fault))
        return ACTION_REFUSED;
    if (fault->class == FAULT_NOT_FOUND) {
        note_login(c, COUNTER_UNKNOWN_USER, "unknown user", fault->text);
        note_intruder(c);
        return ACTION_REFUSED;
    }
    if (fault->class == FAULT_AUTHENTICATION || fault->class == FAULT_INVALID || fault->class == FAULT_DENIED) {
        note_login(c, COUNTER_BAD_PASSWORD, is_guess(c->look_up) ? "bad password" : "not accepted", fault->text);
        if (fault->class == FAULT_AUTHENTICATION)
            note_intruder(c);
        return ACTION_REFUSED;
    }
    log_warning("login", "%s session %llu: login of \"%.*s\": %s%s", service_word(c->room->service), (unsigned long long)c->session.id,
                SLICE_ARG(buf_slice(&c->look_up->name)), c->look_up->proof == PROOF_TOKEN ? "" : "directory: ", fault->text);
    return ACTION_UNAVAILABLE;
}

/* The password is right. */
static enum action_result admit(const struct conn *c, const struct look_up *l, const struct fault *policy)
{
    if (is_guess(l) && !intruder_note_success(c->gateway->options->intruders, &c->session.snapshot->agent, slice_from_string(l->user->id), clock_monotonic_ms())) {
        note_login(c, COUNTER_INTRUDER, "the name was locked while this password was verified", "");
        return ACTION_REFUSED;
    }
    if (policy->error == POLICY_GRACE) {
        counter_add(c->session.counters, COUNTER_PASSWORD_GRACE, 1);
        log_normal("login", "%s session %llu: the password of %s has expired; the directory still lets it in", service_word(c->room->service),
                   (unsigned long long)c->session.id, l->user->id);
    }
    if (l->user->disabled || !revoke_is_allowed(l->user, c->room->service)) {
        note_login(c, COUNTER_ACCESS_DENIED, l->user->disabled ? "disabled or expired" : "class of service", "");
        return ACTION_REFUSED;
    }
    if (crash_notes_is_refused(c->gateway->options->notes, l->user->id, clock_monotonic_ms())) {
        note_login(c, COUNTER_STORE_LOGIN_ERROR, "this mailbox made the gateway abort twice", "refused for ten minutes");
        return ACTION_UNAVAILABLE;
    }
    const struct snapshot *snapshot = c->session.snapshot;
    if (l->user->post_office == NULL && snapshot->is_post_office_agent && snapshot->post_office_count > 0) {
        note_login(c, COUNTER_ACCESS_DENIED, "a user of another post office", "");
        return ACTION_REFUSED;
    }
    if (l->user->post_office == NULL) {
        note_login(c, COUNTER_STORE_LOGIN_ERROR, "post office unknown", "");
        return ACTION_UNAVAILABLE;
    }
    return ACTION_OK;
}

static bool is_complete(const struct look_up *l)
{
    bool nameless = l->proof == PROOF_TOKEN || l->proof == PROOF_CERTIFICATE;
    bool secret = l->proof == PROOF_PASSWORD || l->proof == PROOF_TOKEN || l->proof == PROOF_GATEWAY;
    return (l->name.len > 0 || nameless) && (l->password.len > 0 || !secret) && !slice_has_nul(buf_slice(&l->name));
}

/* With the directory away, most names hear just that: a lock that sounded otherwise would tell who is remembered. So these guesses have a count of their
 * own, with NUL, as no client can name it. */
static bool is_guess_let_through(struct conn *c, const struct user *user, bool right)
{
    struct intruders *intruders = c->gateway->options->intruders;
    const struct agent_settings *agent = &c->session.snapshot->agent;
    uint64_t now = clock_monotonic_ms();
    struct buf name = { .cap = 0 };
    buf_append_text(&name, user->id);
    buf_append_byte(&name, '\0');
    bool through = !intruder_is_locked(intruders, agent, buf_slice(&name), now);
    if (through && right)
        through = intruder_note_success(intruders, agent, buf_slice(&name), now);
    else if (through && intruder_note_failure(intruders, agent, buf_slice(&name), true, now))
        log_warning("login", "\"%s\" is locked for remembered passwords after failed logins, the last one from %s", user->id, c->session.peer);
    buf_fini(&name);
    return through && right;
}

/* The directory is away: whoever got in a short time ago gets in. */
static enum action_result recall(struct conn *c, struct look_up *l, const struct fault *fault)
{
    struct user *user = NULL;
    int known = l->proof == PROOF_PASSWORD ? config_recall(buf_slice(&l->name), buf_slice(&l->password), &user) : 0;
    if (known == 0)
        return fault_result(c, fault);
    user_unref(&l->user);
    l->user = user;
    if (is_locked_out(c, slice_from_string(user->id)))
        return ACTION_REFUSED;
    if (!is_guess_let_through(c, user, known > 0))
        return fault_result(c, fault);
    counter_add(c->session.counters, COUNTER_REMEMBERED, 1);
    log_normal("login", "%s session %llu: the directory is not reachable: %s is let in by a remembered password", service_word(c->room->service),
               (unsigned long long)c->session.id, user->id);
    return admit(c, l, &(struct fault){ .class = FAULT_NONE });
}

static bool is_away(const struct fault *fault)
{
    return fault->class == FAULT_UNREACHABLE || fault->class == FAULT_TIMEOUT;
}

/* A password was verified, or not. */
static enum action_result password_result(struct conn *c, struct look_up *l, int rc, const struct fault *fault)
{
    if (rc == 0) {
        config_remember(buf_slice(&l->name), l->user, buf_slice(&l->password), l->begun);
        return admit(c, l, fault);
    }
    if (is_away(fault))
        return recall(c, l, fault);
    config_forget(buf_slice(&l->name), buf_slice(&l->password));
    return fault_result(c, fault);
}

static enum action_result find_keys(struct conn *c, struct look_up *l)
{
    struct fault fault;
    return config_find_keys(buf_slice(&l->name), &l->keys, &l->keys_dn, &fault) == 0 ? ACTION_OK : fault_result(c, &fault);
}

/* What the mechanism has shown. */
static enum action_result take_proof(struct conn *c, struct look_up *l)
{
    struct fault fault = { .class = FAULT_NONE };
    bool shown = !is_guess(l) || (l->proof == PROOF_SHOWN && l->keys_dn != NULL && strcmp(l->keys_dn, l->user->dn) == 0);
    if (shown)
        return admit(c, l, &fault);
    fault_set(&fault, FAULT_AUTHENTICATION, 0, "the client does not know it");
    return fault_result(c, &fault);
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

/* A gateway's password opens every mailbox. Whoever guesses at it is kept out where he guesses from, and no gateway that is known by its address. */
static int verify_gateway(struct conn *c, struct look_up *l, struct fault *fault)
{
    const struct agent_settings *agent = &c->session.snapshot->agent;
    struct intruders *intruders = c->gateway->options->intruders;
    struct slice peer = slice_from_string(c->address);
    const char *dn = agent_find_gateway(agent, buf_slice(&l->gateway));
    bool known = agent_trusts_address(agent, peer);
    struct buf guesser = { .cap = 0 };
    buf_printf(&guesser, "gateway from %.*s%c", SLICE_ARG(network_of(peer)), '\0');   /* with NUL: no client can log in by such a name, and lock it */
    int rc = 0;
    if (!known && agent->trusted_addresses.count > 0)
        rc = fault_set(fault, FAULT_DENIED, 0, "gateways log in from posternTrustedAddress only");
    else if (!known && intruder_is_locked(intruders, agent, buf_slice(&guesser), clock_monotonic_ms()))
        rc = fault_set(fault, FAULT_DENIED, 0, "too many guesses at the password of a gateway from there");
    else if (dn == NULL)
        rc = fault_set(fault, FAULT_AUTHENTICATION, 0, "\"%.*s\" is no gateway that is trusted", SLICE_ARG(buf_slice(&l->gateway)));
    else
        rc = config_verify_gateway(dn, buf_slice(&l->password), fault);
    if (rc < 0 && fault->class == FAULT_AUTHENTICATION && !known &&
        intruder_note_failure(intruders, agent, buf_slice(&guesser), false, clock_monotonic_ms()))
        log_warning("login", "the password of a gateway was guessed at from %s: no gateway is let in from there for some time", c->address);
    buf_fini(&guesser);
    buf_wipe(&l->password);   /* it is no password for a POA */
    return rc;
}

static enum action_result log_in(struct conn *c, struct look_up *l)
{
    struct fault fault = { .class = FAULT_NONE };
    if (!is_complete(l)) {
        note_login(c, COUNTER_BAD_PASSWORD, "name or password empty or too long, or a login for another user where posternTrustedGateway names nobody", "");
        return ACTION_REFUSED;
    }
    if (l->proof == PROOF_KEYS)
        return find_keys(c, l);
    if (l->proof == PROOF_GATEWAY && verify_gateway(c, l, &fault) < 0)
        return fault_result(c, &fault);
    user_unref(&l->user);
    if (mechanisms_find_user(c, &fault) < 0)
        return is_away(&fault) ? recall(c, l, &fault) : fault_result(c, &fault);
    if (is_guess(l) && is_locked_out(c, slice_from_string(l->user->id)))
        return ACTION_REFUSED;
    if (l->proof != PROOF_PASSWORD)
        return take_proof(c, l);
    fault.error = 0;
    int rc = config_verify_user(l->user, buf_slice(&l->password), &fault);
    return password_result(c, l, rc, &fault);
}

/* LMTP is for users of this directory, whatever their domain, and by user ID too. */
static bool is_ours(const struct look_up *l)
{
    struct slice address = buf_slice(&l->name);
    enum listener_kind kind = l->conn->session.listener;
    if (kind == LISTENER_LMTP || kind == LISTENER_LMTPS)
        return true;
    ptrdiff_t at = slice_find_last(address, '@');
    struct snapshot *snapshot = snapshot_current();
    bool ours = at > 0 && snapshot_domain(snapshot, slice_from(address, (size_t)at + 1)) != NULL;
    snapshot_unref(&snapshot);
    return ours;
}

static enum action_result recipient_result(const struct user *user)
{
    /* Whose mail the user may receive is the protocol's to ask: it knows the sender. */
    if (user->disabled)
        return ACTION_REFUSED;
    return user->post_office != NULL ? ACTION_OK : ACTION_UNAVAILABLE;
}

/* What needs no directory. */
static bool resolve_at_once(struct look_up *l)
{
    struct slice address = buf_slice(&l->name);
    if (!is_ours(l))
        l->result = slice_find_last(address, '@') > 0 ? ACTION_REMOTE : ACTION_REFUSED;
    else if (config_find_kept_user(address, &l->user))
        l->result = recipient_result(l->user);
    else
        return false;
    return true;
}

static enum action_result resolve(struct look_up *l)
{
    struct fault fault;
    if (config_find_user(buf_slice(&l->name), &l->user, &fault) < 0)
        return fault.class == FAULT_NOT_FOUND || fault.class == FAULT_INVALID ? ACTION_REFUSED : ACTION_UNAVAILABLE;
    return recipient_result(l->user);
}

static bool is_too_late(const struct conn *c)
{
    if (clock_monotonic_ms() - c->arrived_ms <= WAIT_MS)
        return false;
    log_warning("login", "%s session %llu: the directory is too slow", service_word(c->room->service), (unsigned long long)c->session.id);
    return true;
}

static enum step_result work(struct pool_task *task)
{
    struct conn *c = LIST_ITEM(task, struct conn, task);
    struct look_up *l = c->look_up;
    if (is_too_late(c))
        l->result = ACTION_UNAVAILABLE;
    else
        l->result = c->action == CONN_LOGIN ? log_in(c, l) : resolve(l);
    if (c->action != CONN_LOGIN || l->result != ACTION_OK)
        buf_wipe(&l->password);
    return STEP_DONE;
}

void look_up_finish(struct conn *conn)
{
    struct conn *c = conn;
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
        if (l->proof == PROOF_GATEWAY)
            claims_believe(c);
        log_verbose("login", "%s session %llu: %s from %s logged in", service_word(c->room->service),
                    (unsigned long long)c->session.id, c->session.user->id, c->session.peer);
        revoke_logged_in(c);
        look_up_free(&c->look_up);   /* a session may stay for long */
        conn_action_ended(c, ACTION_OK);
        return;
    }
    /* Whatever the cause, the answer comes at the same time after the question. */
    uint64_t due = c->arrived_ms + c->session.snapshot->agent.login_failure_milliseconds, now = clock_monotonic_ms();
    c->failing = true;
    loop_timer_set(&c->later, due > now ? due - now : 0);
}

/* The directory has verified the user, or not: now the mailbox. */
static void login_ended(struct conn *c)
{
    if (c->look_up->proof == PROOF_KEYS) {
        c->session.keys = c->look_up->result == ACTION_OK ? &c->look_up->keys : NULL;
        conn_action_ended(c, c->look_up->result);
        return;
    }
    bool asked = c->look_up->result == ACTION_OK && reach_begin(c);
    buf_wipe(&c->look_up->password);
    if (!asked)
        look_up_finish(c);
}

/* Tokens wait for a server of their own, and not before those who have a password. */
static struct login_gate *gate_of(const struct conn *c)
{
    return c->look_up->proof == PROOF_TOKEN ? c->gateway->token_gate : c->gateway->login_gate;
}

static void ended(void *arg)
{
    struct conn *c = arg;
    struct look_up *l = c->look_up;
    if (l->through_gate)
        login_gate_leave(gate_of(c), &l->ticket);
    l->through_gate = false;
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

static uint32_t client_of(const struct conn *c)
{
    return hash_more(2166136261u, network_of(slice_from_string(c->session.peer)));
}

static void ask_in_thread(struct conn *c)
{
    struct pool_task *task = &c->task;
    bool login = c->action == CONN_LOGIN;
    task->serial_key = NULL;
    bool token = login && c->look_up->proof == PROOF_TOKEN;
    task->fair_key = token ? &tokens : login ? &logins[client_of(c) % BUCKETS] : &addresses[client_of(c) % BUCKETS];
    task->label = token ? "tokens" : login ? "logins" : "addresses";
    task->work = work;
    task->done = done;
    task->stuck = NULL;
    pool_submit(c->gateway->look_ups, task);
}

/* On the loop, not from within a call of the protocol. */
static void end_here(struct conn *c)
{
    if (c->look_up->result != ACTION_OK)
        buf_wipe(&c->look_up->password);    /* else the POA may have to hear it */
    atomic_fetch_add(&c->holds, 1);
    ended(c);
}

static void bind_moved(void *arg)
{
    struct conn *c = arg;
    struct look_up *l = c->look_up;
    struct fault fault = { .class = FAULT_NONE };
    loop_timer_set(&l->timer, LOOK_EACH_MS);
    /* Before the connection is another's: its descriptor would be watched twice. */
    loop_watch_stop(&l->watch);
    int rc = config_verify_take(&l->bind, &fault);
    if (rc > 0) {
        loop_watch_start(&l->watch, c->home->loop, config_verify_fd(l->bind), bind_moved, c);
        return;
    }
    loop_timer_cancel(&l->timer);
    if (rc < 0 && fault.class == FAULT_UNREACHABLE) {
        ask_in_thread(c);
        return;
    }
    l->result = password_result(c, l, rc, &fault);
    end_here(c);
}

/* The gate is passed. True: it is under way, in a thread or on the loop. */
static bool begin_login(struct conn *c)
{
    struct look_up *l = c->look_up;
    l->result = ACTION_UNAVAILABLE;
    if (c->state != CONN_OPEN || is_too_late(c))
        return false;
    if (l->proof != PROOF_PASSWORD) {
        ask_in_thread(c);
        return true;
    }
    l->begun = config_remember_begin();
    bool kept = config_find_kept_user(buf_slice(&l->name), &l->user);
    if (is_locked_out(c, kept ? slice_from_string(l->user->id) : buf_slice(&l->name))) {
        l->result = ACTION_REFUSED;
        return false;
    }
    if (kept)
        l->bind = config_verify_begin(l->user, buf_slice(&l->password));
    if (l->bind == NULL) {
        ask_in_thread(c);
        return true;
    }
    loop_watch_start(&l->watch, c->home->loop, config_verify_fd(l->bind), bind_moved, c);
    loop_timer_init(&l->timer, c->home->loop, bind_moved, c);
    loop_timer_set(&l->timer, LOOK_EACH_MS);
    return true;
}

static void go_on(void *arg)
{
    struct conn *c = arg;
    atomic_fetch_sub(&c->holds, 1);
    if (!begin_login(c))
        end_here(c);
}

void look_up_may_go(struct login_ticket *ticket)
{
    struct look_up *l = LIST_ITEM(ticket, struct look_up, ticket);
    conn_post(l->conn, go_on);
}

void look_up_start(struct conn *conn)
{
    struct look_up *l = conn->look_up;
    l->conn = conn;
    if (conn->action != CONN_LOGIN) {
        if (resolve_at_once(l))
            conn_post(conn, ended);
        else
            ask_in_thread(conn);
        return;
    }
    claims_consider(conn);
    l->ticket.client = client_of(conn);
    l->ticket.name = hash_more(l->ticket.client, buf_slice(l->proof == PROOF_TOKEN ? &l->password : &l->name));
    l->through_gate = true;
    if (login_gate_enter(gate_of(conn), &l->ticket) && !begin_login(conn))
        conn_post(conn, ended);
}
