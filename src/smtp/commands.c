/* SMTP's commands: one table with what each needs, and those that are answered at once. RCPT is in recipient.c, AUTH in auth.c, the bytes
 * after DATA in receive.c. Called by smtp.c with one line at a time. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/base/secret.h"
#include "state.h"

enum command_flags {
    GREETED = 1,         /* EHLO or HELO first (RFC 5321 4.1.4) */
    ENCRYPTED = 2,       /* STARTTLS first, if TLS is required (RFC 3207 section 4) */
    AUTHENTICATED = 4,   /* AUTH first, on the submission ports (RFC 6409 4.3) */
    TRANSACTION = 8,     /* MAIL first */
    NO_ARGUMENT = 16,    /* RFC 5321 4.3.2: 501 if there is one */
    SECRET = 32,         /* the line may hold a password */
    SMTP_ONLY = 64,
    LMTP_ONLY = 128,     /* RFC 2033 section 4.1: so that who takes the one for the other hears of it */
};

struct command {
    const char *name;
    unsigned flags;
    void (*run)(struct session *session, struct slice arguments);
};

void smtp_command_set_host(struct session *session)
{
    struct smtp *st = session->state;
    const char *name = session->snapshot->agent.host_name;
    if (name != NULL && name[0] != '\0')
        snprintf(st->host, sizeof(st->host), "%.*s", SMTP_NAME_MAX, name);
    else if (gethostname(st->host, sizeof(st->host) - 1) != 0 || st->host[0] == '\0')
        snprintf(st->host, sizeof(st->host), "localhost");
}

/* The largest message that this client may send now. */
static uint64_t size_limit(const struct session *session)
{
    uint64_t limit = session->snapshot->agent.smtp_max_message_size;
    uint64_t own = session->user != NULL ? session->user->smtp_outgoing_max_size : 0;
    return own != 0 && own < limit ? own : limit;
}

bool smtp_command_is_helo_name(struct slice name)
{
    if (name.len == 0 || name.len > SMTP_NAME_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = name.data[i];
        if (!ascii_is_alpha(c) && !ascii_is_digit(c) && (c == '\0' || strchr("-._:[]", c) == NULL))
            return false;
    }
    return true;
}

static bool greet(struct session *session, struct slice name, bool extended)
{
    struct smtp *st = session->state;
    name = slice_trim(name);
    if (!smtp_command_is_helo_name(name)) {
        smtp_error(session, "501 5.5.4 Your host name or address literal, please");
        return false;
    }
    transaction_reset(&st->transaction);   /* RFC 5321 4.1.4 */
    if (st->told_helo[0] != '\0')
        name = slice_from_string(st->told_helo);
    snprintf(st->helo, sizeof(st->helo), "%.*s", SLICE_ARG(name));
    st->extended = extended;
    smtp_command_set_host(session);
    return true;
}

static void run_helo(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    if (greet(session, arguments, false))
        smtp_reply(session, "250 %s", st->host);
}

/* Only what works now is listed: STARTTLS not under TLS, AUTH only where a password may be sent. */
static void run_ehlo(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    if (!greet(session, arguments, true))
        return;
    smtp_reply(session, "250-%s", st->host);
    smtp_reply(session, "250-PIPELINING");
    smtp_reply(session, "250-8BITMIME");
    smtp_reply(session, "250-SIZE %llu", (unsigned long long)size_limit(session));
    if (session->tls_offered && session->user == NULL)
        smtp_reply(session, "250-STARTTLS");
    if (smtp_auth_is_offered(session)) {
        struct buf mechanisms = { .cap = 0 };
        exchange_write_mechanisms(session, &mechanisms);
        smtp_reply(session, "250-AUTH %.*s", SLICE_ARG(buf_slice(&mechanisms)));
        buf_fini(&mechanisms);
    }
    if (smtp_is_lmtp(session) && lmtp_may_speak_for_others(session))
        smtp_reply(session, "250-XCLIENT ADDR PORT NAME HELO PROTO LOGIN SESSION");
    smtp_reply(session, "250 ENHANCEDSTATUSCODES");
}

static bool take_mail_parameter(struct session *session, struct slice key, struct slice value)
{
    struct smtp *st = session->state;
    uint64_t size = 0;
    if (slice_is_nocase(key, "SIZE")) {
        if (value.len == 0 || value.len > 20 || (!slice_to_number(value, UINT64_MAX, &size) && value.data[0] == '-')) {
            smtp_error(session, "501 5.5.4 SIZE is a number of octets");
            return false;
        }
        bool fits = slice_to_number(value, UINT64_MAX, &size);
        st->transaction.declared = fits;
        st->transaction.declared_size = size;
        if (!fits || size > st->transaction.max_size) {
            smtp_reply(session, "552 5.3.4 Message too big, at most %llu octets", (unsigned long long)st->transaction.max_size);
            return false;
        }
        return true;
    }
    if (slice_is_nocase(key, "BODY")) {
        st->transaction.eight_bit = slice_is_nocase(value, "8BITMIME");
        if (st->transaction.eight_bit || slice_is_nocase(value, "7BIT"))
            return true;
        smtp_error(session, "501 5.5.4 BODY is 7BIT or 8BITMIME");
        return false;
    }
    /* RFC 4954 section 5: taken, and not believed. */
    if (slice_is_nocase(key, "AUTH") && (session->user != NULL || smtp_auth_is_offered(session)) && value.len != 0)
        return true;
    smtp_error(session, "555 5.5.4 Parameter not known");
    return false;
}

static bool is_own_address(const struct user *user, struct slice address)
{
    for (size_t i = 0; i < user->addresses.count; i++)
        if (slice_is_nocase(address, user->addresses.values[i]))
            return true;
    return false;
}

/* Users send as themselves; the null path is for notices that clients send (RFC 6409 5.1, RFC 8098). */
static bool may_send_as(const struct session *session, const struct mail_path *sender)
{
    return session->user == NULL || sender->len == 0 || is_own_address(session->user, mail_path_text(sender));
}

static void make_id(char *id, size_t size)
{
    uint32_t random;
    secret_random(&random, sizeof(random));
    snprintf(id, size, "%08llx%08x", (unsigned long long)clock_wall().tv_sec, (unsigned)random);
}

static void run_mail(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    struct transaction *t = &st->transaction;
    if (t->open) {
        smtp_error(session, "503 5.5.1 A transaction is open, RSET ends it");
        return;
    }
    struct slice rest = slice_trim(slice_from(arguments, 5));
    struct mail_path sender;
    if (!slice_starts_with_nocase(arguments, "FROM:") || !address_parse_path(&rest, &sender)) {
        smtp_error(session, "501 5.1.7 MAIL FROM:<address> is what is understood");
        return;
    }
    if (sender.len != 0 && sender.at == sender.len) {
        smtp_error(session, "553 5.1.7 The sender needs a domain");
        return;
    }
    if (!may_send_as(session, &sender)) {
        smtp_reply(session, "550 5.7.1 Not one of your addresses");
        return;
    }
    struct mail_party party = smtp_sender(session, &sender);
    if (smtp_is_lmtp(session) && !lmtp_is_welcome(session)) {
        /* It was when it connected. */
        counter_add(session->counters, COUNTER_ACCESS_DENIED, 1);
        smtp_reply(session, "554 5.7.1 No mail is taken from your address any more");
        return;
    }
    if (session->user == NULL && !snapshot_takes_mail_from(session->snapshot, &party)) {
        counter_add(session->counters, COUNTER_ACCESS_DENIED, 1);
        smtp_reply(session, "550 5.7.1 No mail is taken from this sender");
        return;
    }
    transaction_reset(t);
    t->max_size = t->client_max_size = size_limit(session);
    if (!smtp_parameters_read(session, rest, take_mail_parameter))
        return;
    t->open = true;
    t->sender = sender;
    header_watch_init(&t->header);
    make_id(t->id, sizeof(t->id));
    smtp_reply(session, "250 2.1.0 Sender accepted");
}

static void run_data(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    (void)arguments;
    if (st->transaction.recipient_count == 0 && smtp_is_lmtp(session)) {
        smtp_reply(session, "503 5.5.1 No valid recipients");   /* RFC 2033 section 4.2 */
        return;
    }
    if (st->transaction.recipient_count == 0) {
        /* RFC 2920 3.1: after a pipelined RCPT that was refused this is usual, and no error of the client. */
        smtp_reply(session, "554 5.5.1 No valid recipients");
        return;
    }
    smtp_reply(session, "354 End data with <CRLF>.<CRLF>");
    receive_begin(session);
}

static void run_rset(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    (void)arguments;
    transaction_reset(&st->transaction);
    smtp_reply(session, "250 2.0.0 Forgotten");
}

static void run_noop(struct session *session, struct slice arguments)
{
    (void)arguments;
    smtp_reply(session, "250 2.0.0 OK");
}

static void run_help(struct session *session, struct slice arguments)
{
    (void)arguments;
    smtp_reply(session, smtp_is_lmtp(session) ? "214 2.0.0 LHLO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP STARTTLS"
                                              : "214 2.0.0 EHLO HELO MAIL RCPT DATA RSET NOOP QUIT VRFY HELP STARTTLS AUTH");
}

/* RFC 5321 3.5.3, 7.3: who exists here is not told. */
static void run_vrfy(struct session *session, struct slice arguments)
{
    if (slice_trim(arguments).len == 0)
        smtp_error(session, "501 5.5.4 VRFY needs an address");
    else
        smtp_reply(session, "252 2.1.5 Cannot verify, will take a message and try");
}

static void run_expn(struct session *session, struct slice arguments)
{
    (void)arguments;
    smtp_error(session, "502 5.5.1 Not implemented");
}

static void run_quit(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    (void)arguments;
    smtp_reply(session, "221 2.0.0 %s closes", st->host);
    session_close(session, CLOSE_LOGOUT);
}

/* RFC 3207 4.2: what was learned before is forgotten; the session drops what was already received. A login is not forgotten, so it comes
 * after TLS. */
static void run_starttls(struct session *session, struct slice arguments)
{
    struct smtp *st = session->state;
    (void)arguments;
    if (session->tls) {
        smtp_error(session, "503 5.5.1 TLS is on");
    } else if (session->user != NULL) {
        smtp_error(session, "503 5.5.1 STARTTLS comes before AUTH");
    } else if (!session->tls_offered) {
        smtp_error(session, "454 4.7.0 TLS is not available");
    } else {
        smtp_reply(session, "220 2.0.0 Ready to start TLS");
        transaction_reset(&st->transaction);
        st->helo[0] = '\0';
        st->extended = false;
        lmtp_forget_client(session);
        session_start_tls(session);
    }
}

static const struct command commands[] = {
    { "EHLO", SMTP_ONLY, run_ehlo },
    { "HELO", SMTP_ONLY, run_helo },
    { "LHLO", LMTP_ONLY, run_ehlo },
    { "MAIL", GREETED | ENCRYPTED | AUTHENTICATED, run_mail },
    { "RCPT", GREETED | ENCRYPTED | AUTHENTICATED | TRANSACTION, smtp_recipient_run },
    { "DATA", GREETED | ENCRYPTED | AUTHENTICATED | TRANSACTION | NO_ARGUMENT, run_data },
    { "RSET", NO_ARGUMENT, run_rset },
    { "NOOP", 0, run_noop },
    { "QUIT", NO_ARGUMENT, run_quit },
    { "VRFY", ENCRYPTED | AUTHENTICATED, run_vrfy },
    { "EXPN", 0, run_expn },
    { "HELP", 0, run_help },
    { "STARTTLS", GREETED | NO_ARGUMENT, run_starttls },
    { "XCLIENT", GREETED | LMTP_ONLY, lmtp_xclient_run },
    { "AUTH", GREETED | ENCRYPTED | SECRET | SMTP_ONLY, smtp_auth_run },
};

static struct slice take_verb(struct slice line, struct slice *arguments_out)
{
    ptrdiff_t space = slice_find(line, ' ');
    *arguments_out = slice_from(line, space < 0 ? line.len : (size_t)space + 1);
    return slice_part(line, 0, space < 0 ? line.len : (size_t)space);
}

static const struct command *find_command(struct slice verb)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
        if (slice_is_nocase(verb, commands[i].name))
            return &commands[i];
    return NULL;
}

bool smtp_command_is_secret(struct slice line)
{
    struct slice arguments;
    const struct command *command = find_command(take_verb(slice_part(line, 0, 10), &arguments));
    return command != NULL && (command->flags & SECRET) != 0;
}

/* True if the command may run as things are; otherwise it has been answered. */
static bool is_in_order(struct session *session, const struct command *command, struct slice arguments)
{
    const struct smtp *st = session->state;
    const char *problem = NULL;
    if (st->unwelcome && command->run != run_quit)
        problem = "503 5.7.1 No mail is taken from your address, only QUIT";
    else if ((command->flags & GREETED) && st->helo[0] == '\0')
        problem = smtp_is_lmtp(session) ? "503 5.5.1 LHLO first" : "503 5.5.1 EHLO first";
    else if ((command->flags & ENCRYPTED) && !session->tls && session->snapshot->agent.smtp_tls == TLS_REQUIRED)
        problem = "530 5.7.0 Must issue a STARTTLS command first";
    else if ((command->flags & AUTHENTICATED) && smtp_is_submission(session) && session->user == NULL)
        problem = "530 5.7.0 Authentication required";
    else if ((command->flags & TRANSACTION) && !st->transaction.open)
        problem = "503 5.5.1 MAIL first";
    else if ((command->flags & NO_ARGUMENT) && slice_trim(arguments).len != 0)
        problem = "501 5.5.4 No argument is allowed";
    if (problem != NULL)
        smtp_error(session, "%s", problem);
    return problem == NULL;
}

void smtp_command_run(struct session *session, struct slice line)
{
    struct slice arguments;
    const struct command *command = find_command(take_verb(line, &arguments));
    if (command == NULL || (command->flags & (smtp_is_lmtp(session) ? SMTP_ONLY : LMTP_ONLY)))
        smtp_error(session, "500 5.5.2 Command not known");
    else if (slice_has_nul(line))
        smtp_error(session, "501 5.5.2 NUL is not allowed");
    else if (is_in_order(session, command, arguments))
        command->run(session, arguments);
}
