/* A fake service, directory, store and queue around one SMTP session, for tests/unit/test_smtp.c and tests/fuzz/fuzz_smtp.c. */
#ifndef TESTS_UNIT_SMTP_FAKE_H
#define TESTS_UNIT_SMTP_FAKE_H

#include <stdio.h>
#include <string.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"
#include "postern/config/gateways.h"
#include "postern/config/rights.h"
#include "postern/config/snapshot.h"
#include "postern/config/user.h"
#include "postern/queue/inbox.h"
#include "postern/queue/queue.h"
#include "postern/session/session.h"
#include "postern/smtp/smtp.h"

static struct {
    int inbox_fails;            /* bit i: the i-th writer cannot be opened */
    int inbox_opened, inbox_open;
    bool deliver_fails, queue_open_fails, queue_commit_fails;
    char inboxes[8][32];        /* who got mail */
    int inbox_count;
    struct buf mail;            /* what the last one got */
    void (*slow)(void);         /* something that happens while a copy is written */
    int queue_open, committed;
    struct buf queued, queued_recipients;
    char client[256];           /* whose message was queued last */
    int users;
    const char *refused_party;  /* an address, a host or an IP address whose mail nobody takes, and to which nobody sends */
    const char *trusted;        /* an address that mail is taken from by LMTP */
    const char *refused_client; /* likewise, but already when it connects or names its sender */
} world;

static bool is_party(const char *name, const struct mail_party *party)
{
    return name != NULL && (slice_is(party->ip, name) || slice_is(party->host, name) || slice_is(party->address, name));
}

bool user_may_receive_from(const struct user *user, const struct mail_party *sender)
{
    return user->smtp_incoming_allowed && !is_party(world.refused_party, sender);
}

bool user_may_send_to(const struct user *user, const struct mail_party *recipient)
{
    return user->smtp_outgoing_allowed && !is_party(world.refused_party, recipient);
}

bool snapshot_takes_mail_from(const struct snapshot *at, const struct mail_party *sender)
{
    return at == NULL || !is_party(world.refused_client, sender);
}

bool agent_trusts_address(const struct agent_settings *agent, struct slice ip)
{
    (void)agent;
    return world.trusted != NULL && slice_is(ip, world.trusted);
}

struct inbox_writer { const struct user *user; struct buf bytes; };
struct queue_message { struct buf bytes, recipients; };

int inbox_writer_open(const struct user *user, struct inbox_writer **out, struct fault *fault)
{
    if (world.inbox_fails & (1 << world.inbox_opened++))
        return fault_set(fault, FAULT_UNREACHABLE, 0, "not mounted");
    *out = MEM_NEW(struct inbox_writer);
    (*out)->user = user;
    world.inbox_open++;
    return 0;
}

int inbox_writer_write(struct inbox_writer *writer, struct slice bytes, struct fault *fault)
{
    (void)fault;
    if (world.slow != NULL)
        world.slow();
    buf_append(&writer->bytes, bytes);
    return 0;
}

int inbox_writer_deliver(struct inbox_writer *writer, struct fault *fault)
{
    if (world.deliver_fails)
        return fault_set(fault, FAULT_NO_SPACE, 0, "full");
    snprintf(world.inboxes[world.inbox_count++ % 8], 32, "%s", writer->user->id);
    buf_swap(&world.mail, &writer->bytes);
    return 0;
}

void inbox_writer_free(struct inbox_writer **writer)
{
    if (*writer == NULL)
        return;
    buf_fini(&(*writer)->bytes);
    mem_free(writer);
    world.inbox_open--;
}

int queue_message_open(struct slice sender, const struct slice *recipients, size_t recipient_count, bool eight_bit,
                       struct queue_message **out, struct fault *fault)
{
    (void)recipients, (void)sender, (void)eight_bit;
    CHECK(recipient_count == 0);
    if (world.queue_open_fails)
        return fault_set(fault, FAULT_NO_SPACE, 0, "full");
    *out = MEM_NEW(struct queue_message);
    world.queue_open++;
    return 0;
}

void queue_message_set_client(struct queue_message *message, const struct queue_client *client)
{
    (void)message;
    snprintf(world.client, sizeof(world.client), "%s %u %s %s %s %s", client->address, client->port, client->local, client->helo, client->protocol,
             client->login != NULL ? client->login : "-");
}

void queue_message_add(struct queue_message *message, struct slice recipient)
{
    buf_append(&message->recipients, recipient);
    buf_append_byte(&message->recipients, ' ');
}

int queue_message_write(struct queue_message *message, struct slice bytes, struct fault *fault)
{
    (void)fault;
    buf_append(&message->bytes, bytes);
    return 0;
}

int queue_message_commit(struct queue_message *message, struct fault *fault)
{
    if (world.queue_commit_fails)
        return fault_set(fault, FAULT_IO, 0, "broken");
    buf_swap(&world.queued, &message->bytes);
    buf_swap(&world.queued_recipients, &message->recipients);
    world.committed++;
    return 0;
}

void queue_message_free(struct queue_message **message)
{
    if (*message == NULL)
        return;
    buf_fini(&(*message)->bytes);
    buf_fini(&(*message)->recipients);
    mem_free(message);
    world.queue_open--;
}

struct user *user_ref(struct user *user)
{
    user->references++;
    return user;
}

void user_unref(struct user **user)
{
    if (*user == NULL)
        return;
    (*user)->references--;
    world.users--;
    *user = NULL;
}

static char domain_text[] = "example.com", host_text[] = "mx.example.com", relay_text[] = "relay.example.net";
static char path_text[] = "/mail", joe_id[] = "joe", ann_id[] = "ann", out_id[] = "gone", deaf_id[] = "deaf", mute_id[] = "mute";
static char *domains[] = { domain_text };
static struct post_office office = { .path = path_text, .domains = { domains, 1 } };
static char joe_address[] = "joe@example.com", joe_alias[] = "joseph@example.com", ann_address[] = "ann@example.com";
static char *joe_addresses[] = { joe_address, joe_alias }, *ann_addresses[] = { ann_address };
static struct user joe = { .post_office = &office, .id = joe_id, .dn = joe_id, .addresses = { joe_addresses, 2 },
                           .smtp_incoming_allowed = true, .smtp_outgoing_allowed = true };
static struct user ann = { .post_office = &office, .id = ann_id, .dn = ann_id, .addresses = { ann_addresses, 1 }, .smtp_incoming_allowed = true };
static struct user gone = { .post_office = &office, .id = out_id, .dn = out_id, .disabled = true, .smtp_incoming_allowed = true };
static struct user deaf = { .post_office = &office, .id = deaf_id, .dn = deaf_id };
static struct user nowhere = { .id = mute_id, .dn = mute_id, .smtp_incoming_allowed = true };
static struct snapshot snapshot;

const struct post_office *snapshot_post_office(const struct snapshot *at, const char *dn)
{
    return at == &snapshot && dn == office.dn ? &office : NULL;
}

static struct {
    struct session session;
    struct counters counters;
    enum step_result (*work)(struct session *);
    bool pending;
    enum action_result outcome;
    bool directory_down;
    enum close_reason reason;
    bool tls_started;
    const void *fair_key_seen;
} fake;

static void fake_step(struct session *s, enum step_result (*work)(struct session *))
{
    CHECK(!s->busy);
    s->busy = fake.pending = true;
    fake.work = work;
    fake.fair_key_seen = s->fair_key != NULL ? s->fair_key : fake.fair_key_seen;
}

static void fake_login(struct session *s, struct slice name, struct slice password)
{
    bool good = slice_is(name, "joe") && slice_is(password, "secret");
    s->busy = fake.pending = true;
    fake.outcome = fake.directory_down ? ACTION_UNAVAILABLE : good ? ACTION_OK : ACTION_REFUSED;
    if (fake.outcome == ACTION_OK)
        s->user = &joe;
}

static void fake_resolve(struct session *s, struct slice address)
{
    static const struct { const char *address; struct user *user; } rows[] = {
        { "joe@example.com", &joe }, { "joseph@example.com", &joe }, { "ann@example.com", &ann }, { "gone@example.com", &gone },
        { "deaf@example.com", &deaf }, { "nowhere@example.com", &nowhere },
    };
    s->busy = fake.pending = true;
    fake.outcome = fake.directory_down ? ACTION_UNAVAILABLE : slice_ends_with(address, "@example.com") ? ACTION_REFUSED : ACTION_REMOTE;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]) && !fake.directory_down; i++)
        if (slice_is_nocase(address, rows[i].address)) {
            fake.outcome = ACTION_OK;
            s->recipient = user_ref(rows[i].user);
            world.users++;
        }
}

static void fake_start_tls(struct session *s)
{
    buf_clear(&s->in);
    fake.tls_started = s->tls = s->clear_login = true;
    s->tls_offered = false;
}

static void fake_close(struct session *s, enum close_reason reason)
{
    s->closing = true;
    fake.reason = reason;
}

static void fake_nothing(struct session *s)
{
    (void)s;
}

static void fake_wake_after(struct session *s, unsigned milliseconds)
{
    (void)s, (void)milliseconds;
}

static const struct session_ops ops = {
    .step = fake_step, .login = fake_login, .resolve = fake_resolve, .start_tls = fake_start_tls, .close = fake_close, .wake = fake_nothing,
    .wake_after = fake_wake_after, .refresh = fake_nothing,
};

static const char *refused_client, *trusted;   /* for the next begin, as the next one */
static bool here_is_loopback;

static void begin(enum listener_kind listener)
{
    memset(&fake, 0, sizeof(fake));
    memset(&world, 0, sizeof(world));
    memset(&snapshot, 0, sizeof(snapshot));
    snapshot.agent.host_name = host_text;
    snapshot.agent.smtp_max_message_size = 1000000;
    snapshot.agent.smtp_max_recipients = 100;
    snapshot.agent.smtp_command_minutes = 5;
    snapshot.agent.smtp_data_minutes = 3;
    snapshot.agent.smtp_tls = TLS_ENABLED;
    static const struct post_office *offices[] = { &office };
    snapshot.post_offices = offices;
    snapshot.post_office_count = 1;
    joe.smtp_outgoing_max_size = 0;
    joe.smtp_outgoing_allowed = joe.smtp_outgoing_replies = true;
    joe.smtp_outgoing_forwards = false;
    joe.smtp_incoming_max_size = ann.smtp_incoming_max_size = 0;
    world.refused_client = refused_client;
    world.trusted = trusted;
    fake.session = (struct session){ .ops = &ops, .protocol = &smtp_protocol, .listener = listener, .snapshot = &snapshot, .counters = &fake.counters,
                                     .tls_offered = true, .clear_login = false, .loopback = here_is_loopback, .peer = "192.0.2.1", .local = "192.0.2.9" };
    smtp_protocol.init(&fake.session);
}

static void pump(void)
{
    struct session *s = &fake.session;
    s->result = ACTION_NONE;
    for (;;) {
        if (!s->closing)
            smtp_protocol.run(s);
        if (!fake.pending)
            return;
        if (fake.work != NULL) {
            while (fake.work(s) == STEP_AGAIN)
                ;
            fake.outcome = ACTION_OK;
        }
        s->result = fake.outcome;
        s->busy = fake.pending = false;
        fake.work = NULL;
    }
}

static void give(struct slice bytes)
{
    buf_append(&fake.session.in, bytes);
    pump();
}

static void end(void)
{
    smtp_protocol.fini(&fake.session);
    CHECK(fake.session.state == NULL && world.users == 0 && world.inbox_open == 0 && world.queue_open == 0);
    buf_fini(&fake.session.in);
    buf_fini(&fake.session.out);
    buf_fini(&world.mail);
    buf_fini(&world.queued);
    buf_fini(&world.queued_recipients);
}

#endif
