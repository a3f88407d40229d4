/* Which ports are open. Called when the configuration changes and by the clock; must never touch a port that stays, and never wait
 * for the supervisor. */
#include "listeners.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "conn.h"
#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "postern/net/listener.h"
#include "supervisor_wire.h"

enum { RETRY_MS = 10 * 1000 };

struct opening {
    struct list link;
    struct gateway *gateway;
    struct endpoint address;
    enum service service;
    enum listener_kind kind;
    struct listener *listener;   /* NULL: not open (yet) */
    bool wanted;
    bool asked;                  /* of the supervisor, no answer yet */
    bool told;                   /* its failure is in the log */
    uint64_t retry_ms;
};

struct listeners {
    struct gateway *gateway;
    struct list openings;
    struct loop_watch watch;     /* the supervisor's socket */
    bool settled;
};

static void accepted(void *context, int fd)
{
    struct opening *o = context;
    conn_open(o->gateway, &o->gateway->rooms[o->service], o->kind, fd);
}

static void describe(const struct opening *o, char *text)
{
    endpoint_format(&o->address, text);
}

static void opened(struct opening *o, int fd)
{
    char text[ENDPOINT_TEXT];
    describe(o, text);
    o->listener = listener_new(o->gateway->homes[0].loop, fd, accepted, o);
    o->told = false;
    log_normal("service", "%s listens on %s port %u", service_word(o->service), text, endpoint_port(&o->address));
}

static void not_opened(struct opening *o, const char *reason)
{
    char text[ENDPOINT_TEXT];
    describe(o, text);
    o->retry_ms = clock_monotonic_ms() + RETRY_MS;
    if (!o->told)
        log_error("service", "%s cannot listen on %s port %u: %s", service_word(o->service), text,
                  endpoint_port(&o->address), reason);
    o->told = true;
}

static void open_port(struct opening *o)
{
    int supervisor = o->gateway->options->supervisor_fd;
    struct supervisor_message message = { .word = WORD_BIND, .address = o->address };
    if (supervisor >= 0) {
        o->asked = supervisor_send(supervisor, &message, -1) == 0;
        if (!o->asked)
            not_opened(o, "the supervisor does not answer");
        return;
    }
    struct fault fault;
    int fd = listener_bind(&o->address, &fault);
    if (fd >= 0)
        opened(o, fd);
    else
        not_opened(o, fault.text);
}

static void close_port(struct opening *o)
{
    char text[ENDPOINT_TEXT];
    describe(o, text);
    struct supervisor_message message = { .word = WORD_RELEASE, .address = o->address };
    if (o->gateway->options->supervisor_fd >= 0)
        supervisor_send(o->gateway->options->supervisor_fd, &message, -1);
    if (o->listener != NULL)
        log_normal("service", "%s no longer listens on %s port %u", service_word(o->service), text,
                   endpoint_port(&o->address));
    listener_free(&o->listener);
    list_remove(&o->link);
    mem_free(&o);
}

static struct opening *find(struct listeners *l, const struct endpoint *address)
{
    LIST_FOR_EACH (&l->openings, at) {
        struct opening *o = LIST_ITEM(at, struct opening, link);
        if (endpoint_is_equal(&o->address, address))
            return o;
    }
    return NULL;
}

static void want(struct listeners *l, const struct endpoint *address, enum service service, enum listener_kind kind)
{
    struct opening *o = find(l, address);
    if (o != NULL && !o->wanted && (o->service != service || o->kind != kind)) {
        close_port(o);   /* the port changes hands */
        o = NULL;
    }
    if (o == NULL) {
        o = MEM_NEW(struct opening);
        list_init(&o->link);
        list_append(&l->openings, &o->link);
        o->gateway = l->gateway;
        o->address = *address;
        o->service = service;
        o->kind = kind;
    }
    o->wanted = true;
    if (o->listener == NULL && !o->asked && clock_monotonic_ms() >= o->retry_ms)
        open_port(o);
}

static void want_port(struct listeners *l, const struct snapshot *snapshot, uint64_t port, enum service service,
                      enum listener_kind kind)
{
    struct service_settings settings;
    service_settings_of(snapshot, service, &settings);
    bool tls = listener_begins_with_tls(kind);
    if (!settings.enabled || port == 0 || l->gateway->rooms[service].protocol == NULL ||
        (tls && (settings.tls == TLS_DISABLED || !atomic_load(&l->gateway->tls_ready))))
        return;
    const struct text_list *addresses = &snapshot->agent.bind_addresses;
    struct endpoint address;
    for (size_t i = 0; i < addresses->count; i++) {
        if (endpoint_parse(slice_from_string(addresses->values[i]), (uint16_t)port, &address))
            want(l, &address, service, kind);
        else
            log_error("service", "\"%s\" is not an IP address to bind", addresses->values[i]);
    }
    if (addresses->count == 0 && endpoint_parse(SLICE_NONE, (uint16_t)port, &address))
        want(l, &address, service, kind);
}

void listeners_follow(struct listeners *listeners, const struct snapshot *snapshot)
{
    const struct agent_settings *a = &snapshot->agent;
    LIST_FOR_EACH (&listeners->openings, at)
        LIST_ITEM(at, struct opening, link)->wanted = false;
    want_port(listeners, snapshot, a->pop3_port, SERVICE_POP3, LISTENER_PLAIN);
    want_port(listeners, snapshot, a->pop3s_port, SERVICE_POP3, LISTENER_TLS);
    want_port(listeners, snapshot, a->imap4_port, SERVICE_IMAP4, LISTENER_PLAIN);
    want_port(listeners, snapshot, a->imap4s_port, SERVICE_IMAP4, LISTENER_TLS);
    want_port(listeners, snapshot, a->smtp_port, SERVICE_SMTP, LISTENER_PLAIN);
    want_port(listeners, snapshot, a->submission_port, SERVICE_SMTP, LISTENER_SUBMISSION);
    want_port(listeners, snapshot, a->submissions_port, SERVICE_SMTP, LISTENER_SUBMISSIONS);
    want_port(listeners, snapshot, a->lmtp_port, SERVICE_SMTP, LISTENER_LMTP);
    want_port(listeners, snapshot, a->lmtps_port, SERVICE_SMTP, LISTENER_LMTPS);
    LIST_FOR_EACH (&listeners->openings, at) {
        struct opening *o = LIST_ITEM(at, struct opening, link);
        if (!o->wanted)
            close_port(o);
    }
    struct supervisor_message message = { .word = WORD_SETTLED };
    if (!listeners->settled && listeners->gateway->options->supervisor_fd >= 0)
        supervisor_send(listeners->gateway->options->supervisor_fd, &message, -1);
    listeners->settled = true;
}

static void take_bound(struct listeners *l, const struct supervisor_message *message, int fd)
{
    struct opening *o = find(l, &message->address);
    if (o == NULL || !o->asked) {
        if (fd >= 0)
            close(fd);
        return;
    }
    o->asked = false;
    if (fd >= 0)
        opened(o, fd);
    else
        not_opened(o, strerror(message->error));
}

static void supervisor_speaks(void *arg)
{
    struct listeners *l = arg;
    struct supervisor_message message;
    int fd, got;
    while ((got = supervisor_receive(l->gateway->options->supervisor_fd, &message, &fd)) > 0) {
        if (message.word == WORD_BOUND)
            take_bound(l, &message, fd);
        else if (message.word == WORD_RELOAD) {
            atomic_store(&l->gateway->tls_again, true);
            service_changed(l->gateway);
        } else if (message.word == WORD_STOP)
            service_stop(l->gateway);
    }
    if (got < 0) {
        log_error("service", "the supervisor is gone");
        loop_watch_stop(&l->watch);
        service_stop(l->gateway);
    }
}

struct listeners *listeners_new(struct gateway *gateway)
{
    struct listeners *l = MEM_NEW(struct listeners);
    l->gateway = gateway;
    list_init(&l->openings);
    if (gateway->options->supervisor_fd >= 0)
        loop_watch_start(&l->watch, gateway->homes[0].loop, gateway->options->supervisor_fd, supervisor_speaks, l);
    return l;
}

void listeners_status(const struct listeners *listeners, enum service service, struct answer *a)
{
    answer_table(a, "listeners");
    for (const struct list *at = listeners->openings.next; at != &listeners->openings; at = at->next) {
        const struct opening *o = LIST_ITEM(at, struct opening, link);
        char text[ENDPOINT_TEXT];
        if (o->service != service)
            continue;
        describe(o, text);
        answer_row(a);
        answer_text(a, "address", text);
        answer_number(a, "port", endpoint_port(&o->address));
        answer_text(a, "state", o->listener ? "open" : o->asked ? "being opened" : "failed");
        answer_close(a);
    }
    answer_close(a);
}

void listeners_free(struct listeners **listeners)
{
    struct listeners *l = *listeners;
    if (l == NULL)
        return;
    loop_watch_stop(&l->watch);
    LIST_FOR_EACH (&l->openings, at) {
        struct opening *o = LIST_ITEM(at, struct opening, link);
        listener_free(&o->listener);
        list_remove(&o->link);
        mem_free(&o);
    }
    mem_free(listeners);
}
