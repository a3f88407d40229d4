/* RCPT: who a message is for, and whether it is taken (RFC 5321 3.3, RFC 6409). Called by commands.c. Whoever is not a user here is
 * for elsewhere, and only users may send there: this is no open relay. */
#include <string.h>

#include "postern/base/log.h"
#include "postern/base/memory.h"
#include "state.h"

bool smtp_parameters_read(struct session *session, struct slice text, bool (*take)(struct session *, struct slice key, struct slice value))
{
    struct slice rest = slice_trim(text), word;
    if (text.len != 0 && text.data[0] != ' ') {
        smtp_error(session, "501 5.5.4 A blank belongs after the address");
        return false;
    }
    while (slice_split(&rest, ' ', &word)) {
        ptrdiff_t equals = slice_find(word, '=');
        struct slice key = slice_part(word, 0, equals < 0 ? word.len : (size_t)equals);
        struct slice value = slice_from(word, equals < 0 ? word.len : (size_t)equals + 1);
        if (word.len != 0 && !take(session, key, value))
            return false;
    }
    return true;
}

static bool refuse_parameter(struct session *session, struct slice key, struct slice value)
{
    (void)key;
    (void)value;
    smtp_error(session, "555 5.5.4 Parameter not known");
    return false;
}

/* Refused recipients are counted for themselves: a list may have many old addresses, but not one session hundreds. */
static void refuse(struct session *session, const char *text)
{
    struct smtp *st = session->state;
    smtp_reply(session, "%s", text);
    if (++st->refused >= SMTP_REFUSED_MAX && !smtp_is_lmtp(session))
        session_close(session, CLOSE_PROTOCOL_ERRORS);
}

static void add(struct session *session, struct user *user)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    if (t->recipient_count == t->recipient_size) {
        t->recipient_size = t->recipient_size ? t->recipient_size * 2 : 4;
        t->recipients = mem_resize(t->recipients, t->recipient_size * sizeof(t->recipients[0]));
    }
    t->recipients[t->recipient_count++] = (struct recipient){ .address = slice_to_string(mail_path_text(&st->asked)), .user = user };
    smtp_reply(session, "250 2.1.5 Recipient accepted");
}

/* By a class of service; NULL: it is not. */
static const char *deny(const struct session *session, const char *problem)
{
    if (problem != NULL)
        counter_add(session->counters, COUNTER_ACCESS_DENIED, 1);
    return problem;
}

/* One message has one answer: where limits differ, and the size is not known before, each recipient with another limit has a message of its own
 * (a client that has logged in shows its answer to a person: there the least limit counts for all). */
static const char *take_size_limit(struct session *session, uint64_t own)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    uint64_t limit = own != 0 && own < t->client_max_size ? own : t->client_max_size;
    if (t->declared && t->declared_size > limit)
        return "552 5.3.4 Message too big for this recipient";
    if (!t->declared && session->user == NULL && t->recipient_count > 0 && limit != t->max_size)
        return "452 4.5.3 This recipient has another limit of size, in another transaction please";
    t->max_size = limit < t->max_size ? limit : t->max_size;
    return NULL;
}

static const char *find_incoming_problem(const struct session *session, const struct user *user)
{
    const struct smtp *st = session->state;
    struct mail_party sender = smtp_sender(session, &st->transaction.sender);
    if (user_may_receive_from(user, &sender))
        return NULL;
    return user->smtp_incoming_allowed ? "550 5.7.1 Recipient takes no mail from this sender" : "550 5.7.1 Recipient may not receive mail";
}

/* Owns user: kept or released. */
static void add_local(struct session *session, struct user *user)
{
    const char *problem = user->disabled ? "550 5.2.1 Mailbox disabled" : deny(session, find_incoming_problem(session, user));
    if (problem == NULL && (user->post_office == NULL || !post_office_is_served(user->post_office)))
        problem = "451 4.3.0 Mailbox not available now";
    if (problem == NULL)
        problem = take_size_limit(session, user->smtp_incoming_max_size);
    if (problem == NULL) {
        add(session, user);
        return;
    }
    user_unref(&user);
    refuse(session, problem);
}

/* The address inside the brackets of a domain literal, without "IPv6:"; nothing if it is none. */
static struct slice literal_address(const struct mail_path *path)
{
    struct slice inner = path->literal ? slice_from(mail_path_domain(path), 1) : SLICE_LITERAL("");
    inner = slice_part(inner, 0, inner.len > 0 ? inner.len - 1 : 0);
    return slice_starts_with_nocase(inner, "IPv6:") ? slice_from(inner, 5) : inner;
}

static bool may_send_there(const struct session *session)
{
    const struct smtp *st = session->state;
    struct mail_party recipient = { literal_address(&st->asked), SLICE_LITERAL(""), mail_path_text(&st->asked) };
    return user_may_send_to(session->user, &recipient);
}

static bool is_postmaster_elsewhere(const struct smtp *st)
{
    return st->asked_postmaster && mail_path_is_postmaster(&st->asked);
}

/* Mail for elsewhere: from users, and for a postmaster who lives elsewhere (RFC 5321 4.5.1). */
static void add_remote(struct session *session)
{
    const struct smtp *st = session->state;
    const char *problem;
    if (smtp_is_lmtp(session))
        refuse(session, "550 5.1.1 No such user here");
    else if (session->user == NULL && !is_postmaster_elsewhere(st))
        refuse(session, "550 5.7.1 Relaying denied");
    else if (session->user != NULL && !session->user->smtp_outgoing_allowed)
        refuse(session, deny(session, "550 5.7.1 You may not send mail to elsewhere"));
    else if (session->user != NULL && !may_send_there(session))
        refuse(session, deny(session, "550 5.7.1 You may not send mail to this address"));
    else if (session->snapshot->agent.relay_host == NULL)
        refuse(session, "550 5.4.4 Unable to route: no relay host");
    else if ((problem = take_size_limit(session, 0)) != NULL)
        refuse(session, problem);
    else
        add(session, NULL);
}

static void look_up(struct session *session);

/* The agent's postmaster stands in for one that has no mailbox, once. */
static bool ask_postmaster(struct session *session)
{
    struct smtp *st = session->state;
    const char *name = session->snapshot->agent.postmaster;
    struct mail_path other;
    if (st->asked_postmaster || !mail_path_is_postmaster(&st->asked) || name == NULL ||
        !address_parse_mailbox(slice_from_string(name), &other))
        return false;
    st->asked = other;
    st->asked_postmaster = true;
    look_up(session);
    return true;
}

static void after_look_up(struct session *session, enum action_result result)
{
    struct user *user = session->recipient;
    session->recipient = NULL;
    switch (result) {
    case ACTION_OK:
        if (user != NULL)
            add_local(session, user);
        else
            smtp_reply(session, "451 4.3.0 Try again later");
        return;
    case ACTION_REFUSED:
        if (!ask_postmaster(session))
            refuse(session, "550 5.1.1 No such user here");
        break;
    case ACTION_REMOTE: add_remote(session); break;
    case ACTION_NONE:
    case ACTION_UNAVAILABLE: smtp_reply(session, "451 4.3.0 Directory not available now, try again later"); break;
    }
    user_unref(&user);
}

static void look_up(struct session *session)
{
    struct smtp *st = session->state;
    st->after = after_look_up;
    session_resolve(session, mail_path_text(&st->asked));
}

static const char *first_domain(const struct snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->post_office_count; i++)
        if (snapshot->post_offices[i]->domains.count != 0)
            return snapshot->post_offices[i]->domains.values[0];
    return NULL;
}

/* local@domain in place of what was asked. */
static bool set_domain(struct mail_path *path, const char *domain)
{
    char text[sizeof(path->text)];
    size_t local = path->at, len = domain != NULL ? slice_from_string(domain).len : 0;
    if (len == 0 || local + 1 + len > sizeof(text))
        return false;
    memcpy(text, path->text, local);
    text[local] = '@';
    memcpy(text + local + 1, domain, len);
    return address_parse_mailbox(slice_make(text, local + 1 + len), path);
}

/* Our own address as a literal is our own domain (RFC 5321 4.1.3). */
static bool is_our_literal(const struct session *session, const struct mail_path *path)
{
    return slice_is_nocase(literal_address(path), session->local);
}

/* RFC 5321 4.5.1: "postmaster" needs no domain. */
static bool complete(struct session *session, struct mail_path *path)
{
    struct smtp *st = session->state;
    const char *postmaster = session->snapshot->agent.postmaster;
    st->asked_postmaster = false;
    if (path->at < path->len)
        return !path->literal || !is_our_literal(session, path) || set_domain(path, first_domain(session->snapshot));
    if (!mail_path_is_postmaster(path))
        return smtp_is_lmtp(session);   /* a user ID */
    if (postmaster == NULL || !address_parse_mailbox(slice_from_string(postmaster), path))
        return set_domain(path, first_domain(session->snapshot));
    st->asked_postmaster = true;
    return true;
}

void smtp_recipient_run(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    struct slice rest = slice_trim(slice_from(arguments, 3));
    if (!slice_starts_with_nocase(arguments, "TO:") || !address_parse_path(&rest, &st->asked) || st->asked.len == 0) {
        smtp_error(session, "501 5.1.3 RCPT TO:<address> is what is understood");
        return;
    }
    if (!smtp_parameters_read(session, rest, refuse_parameter))
        return;
    if (st->transaction.recipient_count >= session->snapshot->agent.smtp_max_recipients) {
        smtp_reply(session, "452 4.5.3 Too many recipients");
        return;
    }
    if (!complete(session, &st->asked)) {
        smtp_error(session, "553 5.1.3 The recipient needs a domain");
        return;
    }
    look_up(session);
}
