/* The words between us and a POA before a session is relayed. Called by opening.c; must believe nothing that came in clear text once TLS is up, and never send a
 * password before the agent's TLS mode is satisfied. */
#include "dialogue.h"

#include <string.h>

#include "postern/net/proxy_header.h"
#include "postern/sasl/sasl.h"

enum { LINES_MAX = 64, LITERAL_MAX = 65536, INITIAL_MAX = 1800, TEXT_SHOWN = 120 };

enum state {
    STATE_GREETING,
    STATE_CAPABILITY,      /* asked for, "c" */
    STATE_STARTTLS,        /* "s" */
    STATE_HANDSHAKE,
    STATE_CONTINUE,        /* "a" AUTHENTICATE without an initial response: waits for "+" */
    STATE_LITERALS,        /* "a" LOGIN by literals: waits for "+" */
    STATE_LOGIN,           /* "a" */
    STATE_LOGIN_PROBE,     /* "a": a login that is begun and given up when the POA asks for more */
    STATE_CAPABILITY_AFTER,   /* "b" */
    STATE_LOGOUT,          /* "l": of a probe */
};

void dialogue_init(struct dialogue *d, const struct post_office_agent *agent, const struct dialogue_who *who, bool probe)
{
    memset(d, 0, sizeof(*d));
    d->agent = agent;
    d->who = who;
    d->probe = probe;
    d->tls = agent->tls == POA_TLS_IMPLICIT;
    buf_init(&d->capability, DIALOGUE_IN_MAX);
}

void dialogue_fini(struct dialogue *d)
{
    buf_fini(&d->capability);
}

enum dialogue_phase dialogue_phase(const struct dialogue *d)
{
    return d->state == STATE_GREETING ? PHASE_GREETING : d->state < STATE_CONTINUE ? PHASE_PREPARING : PHASE_LOGIN;
}

void dialogue_begin(struct dialogue *d, struct buf *out)
{
    const struct dialogue_who *w = d->who;
    if (d->agent->proxy_header)
        proxy_header_write(out, d->probe ? NULL : w->client, w->client_port, w->local, w->local_port);
}

/* --- what the POA says of itself ------------------------------------------------------------------------------------------------- */

static bool can(const struct dialogue *d, const char *word)
{
    struct slice rest = buf_slice(&d->capability), part;
    while (slice_split(&rest, ' ', &part))
        if (slice_is_nocase(part, word))
            return true;
    return false;
}

static void take_capability(struct dialogue *d, struct slice words)
{
    struct slice part;
    buf_clear(&d->capability);
    while (slice_split(&words, ' ', &part)) {
        if (part.len == 0)
            continue;
        if (d->capability.len > 0)
            buf_append_byte(&d->capability, ' ');
        buf_append(&d->capability, part);
    }
    d->has_capability = d->capability.len > 0;
}

/* "[CODE rest] text": the code with its arguments, or an empty slice. */
static struct slice code_of(struct slice text)
{
    ptrdiff_t end = text.len > 0 && text.data[0] == '[' ? slice_find(text, ']') : -1;
    return end > 0 ? slice_part(text, 1, (size_t)end - 1) : SLICE_LITERAL("");
}

static void take_code(struct dialogue *d, struct slice text)
{
    struct slice code = code_of(text);
    if (slice_starts_with_nocase(code, "CAPABILITY "))
        take_capability(d, slice_from(code, 11));
}

/* --- what we say --------------------------------------------------------------------------------------------------------------- */

static enum dialogue_result fail(struct dialogue *d, enum fault_class class, const char *what, struct slice said)
{
    said = slice_part(said, 0, TEXT_SHOWN);
    fault_set(&d->fault, class, 0, said.len > 0 ? "%s: %.*s" : "%s", what, SLICE_ARG(said));
    return DIALOGUE_FAILED;
}

static void append_quoted_port(struct buf *out, const char *name, uint16_t port)
{
    if (port != 0)
        buf_printf(out, " \"%s\" \"%u\"", name, port);
}

/* As Dovecot understands them, from networks that it trusts. The addresses are ours, made from sockets. */
static void append_id(const struct dialogue *d, struct buf *out)
{
    const struct dialogue_who *w = d->who;
    if (w->client == NULL || !can(d, "ID"))
        return;
    buf_printf(out, "i ID (\"x-originating-ip\" \"%s\"", w->client);
    append_quoted_port(out, "x-originating-port", w->client_port);
    if (w->local != NULL)
        buf_printf(out, " \"x-connected-ip\" \"%s\"", w->local);
    append_quoted_port(out, "x-connected-port", w->local_port);
    buf_printf(out, " \"x-session-id\" \"postern-%llu\" \"x-proxy-ttl\" \"4\")\r\n", (unsigned long long)w->session_id);
}

/* RFC 3501 section 9, quoted: no CR, LF, NUL or 8-bit octets. */
static bool can_be_quoted(struct slice text)
{
    for (size_t i = 0; i < text.len; i++)
        if ((unsigned char)text.data[i] < ' ' || (unsigned char)text.data[i] >= 127)
            return false;
    return text.len < 1000;
}

static void append_quoted(struct buf *out, struct slice text)
{
    buf_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] == '"' || text.data[i] == '\\')
            buf_append_byte(out, '\\');
        buf_append_byte(out, text.data[i]);
    }
    buf_append_byte(out, '"');
}

static bool plain_message(const struct dialogue *d, struct buf *out)
{
    const struct dialogue_who *w = d->who;
    struct buf name = { .cap = 0 };
    bool made;
    switch (d->agent->login) {
    case POA_LOGIN_AUTHORIZATION:
        return sasl_client_plain(w->user, w->name, w->secret, out);
    case POA_LOGIN_MASTER_USER:
        buf_append(&name, w->user);
        buf_append_byte(&name, '*');
        buf_append(&name, w->name);
        made = sasl_client_plain(SLICE_NONE, buf_slice(&name), w->secret, out);
        buf_fini(&name);
        return made;
    default:
        return sasl_client_plain(SLICE_NONE, w->user, w->password, out);
    }
}

/* RFC 7628, section 3.1; XOAUTH2 is Google's form before it. In base64 at once: no copy is left behind. */
static bool bearer_message(const struct dialogue *d, bool old_form, struct buf *out)
{
    const struct dialogue_who *w = d->who;
    struct buf message = { .cap = 0 };
    if (slice_find(w->password, '\1') >= 0 || slice_find(w->user, '\1') >= 0 || slice_has_nul(w->password))
        return false;
    buf_reserve(&message, w->user.len * 3 + w->password.len + 40);
    buf_append_text(&message, old_form ? "user=" : "n,a=");
    for (size_t i = 0; i < w->user.len; i++) {
        char c = w->user.data[i];
        if (!old_form && (c == ',' || c == '='))
            buf_append_text(&message, c == ',' ? "=2C" : "=3D");   /* RFC 5801, section 4 */
        else
            buf_append_byte(&message, c);
    }
    buf_append_text(&message, old_form ? "\1auth=Bearer " : ",\1auth=Bearer ");
    buf_append(&message, w->password);
    buf_append_text(&message, "\1\1");
    sasl_client_base64(buf_slice(&message), out);
    buf_wipe(&message);
    return true;
}

static bool is_bearer(const struct dialogue *d)
{
    return d->agent->login == POA_LOGIN_PASS_THROUGH && d->who->token;
}

/* NULL: the POA offers none that would do. */
static const char *mechanism_of(const struct dialogue *d)
{
    if (d->agent->login == POA_LOGIN_EXTERNAL)
        return can(d, "AUTH=EXTERNAL") ? "EXTERNAL" : NULL;
    if (is_bearer(d))
        return can(d, "AUTH=OAUTHBEARER") ? "OAUTHBEARER" : can(d, "AUTH=XOAUTH2") ? "XOAUTH2" : NULL;
    return can(d, "AUTH=PLAIN") ? "PLAIN" : NULL;
}

static bool append_message(const struct dialogue *d, struct buf *out)
{
    if (d->agent->login == POA_LOGIN_EXTERNAL) {
        sasl_client_base64(d->who->user, out);   /* the identity to act as (RFC 4422, appendix A) */
        return true;
    }
    return is_bearer(d) ? bearer_message(d, !can(d, "AUTH=OAUTHBEARER"), out) : plain_message(d, out);
}

static enum dialogue_result begin_authenticate(struct dialogue *d, const char *mechanism, struct buf *out)
{
    struct buf message = { .cap = 0 };
    if (!append_message(d, &message)) {
        buf_wipe(&message);
        d->of_user = true;
        return fail(d, FAULT_INVALID, "the name or the secret cannot be sent to a POA", SLICE_NONE);
    }
    bool at_once = can(d, "SASL-IR") && message.len <= INITIAL_MAX;
    buf_printf(out, "a AUTHENTICATE %s", mechanism);
    if (at_once) {
        buf_append_byte(out, ' ');
        buf_append(out, buf_slice(&message));
    }
    buf_append_text(out, "\r\n");
    buf_wipe(&message);
    d->state = at_once ? STATE_LOGIN : STATE_CONTINUE;
    return DIALOGUE_MORE;
}

static enum dialogue_result begin_login_command(struct dialogue *d, struct buf *out)
{
    const struct dialogue_who *w = d->who;
    if (d->agent->login == POA_LOGIN_EXTERNAL || d->agent->login == POA_LOGIN_AUTHORIZATION)
        return fail(d, FAULT_PROTOCOL, "the POA does not offer the mechanism that its object asks for", SLICE_NONE);
    bool master = d->agent->login == POA_LOGIN_MASTER_USER;
    struct slice secret = master ? w->secret : w->password;
    struct buf name = { .cap = 0 };
    buf_append(&name, w->user);
    if (master) {
        buf_append_byte(&name, '*');
        buf_append(&name, w->name);
    }
    if (can_be_quoted(buf_slice(&name)) && can_be_quoted(secret)) {
        buf_append_text(out, "a LOGIN ");
        append_quoted(out, buf_slice(&name));
        buf_append_byte(out, ' ');
        append_quoted(out, secret);
        buf_append_text(out, "\r\n");
        d->state = STATE_LOGIN;
    } else {
        buf_printf(out, "a LOGIN {%zu}\r\n", name.len);
        d->state = STATE_LITERALS;
    }
    buf_fini(&name);
    return DIALOGUE_MORE;
}

static enum dialogue_result begin_login(struct dialogue *d, struct buf *out)
{
    bool own = d->agent->login == POA_LOGIN_PASS_THROUGH;
    if (own && (d->who->password.len == 0 || slice_has_nul(d->who->password))) {
        d->of_user = true;
        return fail(d, FAULT_INVALID, "there is no password that could be passed on", SLICE_NONE);
    }
    const char *mechanism = mechanism_of(d);
    if (mechanism == NULL && is_bearer(d)) {
        d->of_user = true;
        return fail(d, FAULT_INVALID, "the POA takes no bearer tokens, and there is no password that could be passed on", SLICE_NONE);
    }
    if (mechanism == NULL && can(d, "LOGINDISABLED"))
        return fail(d, FAULT_PROTOCOL, "the POA takes no login on this connection (LOGINDISABLED)", SLICE_NONE);
    append_id(d, out);
    return mechanism != NULL ? begin_authenticate(d, mechanism, out) : begin_login_command(d, out);
}

static enum dialogue_result end_probe(struct dialogue *d, struct buf *out)
{
    buf_append_text(out, "l LOGOUT\r\n");
    d->state = STATE_LOGOUT;
    return DIALOGUE_OPEN;
}

/* A POA that greets may still be unable to log anybody in: does the part of it that looks at passwords answer? */
static enum dialogue_result probe_login(struct dialogue *d, struct buf *out)
{
    bool external = d->agent->login == POA_LOGIN_EXTERNAL;
    if (can(d, external ? "AUTH=EXTERNAL" : "AUTH=PLAIN"))
        buf_append_text(out, external ? "a AUTHENTICATE EXTERNAL\r\n" : "a AUTHENTICATE PLAIN\r\n");
    else if (!external && !can(d, "LOGINDISABLED"))
        buf_append_text(out, "a LOGIN {1}\r\n");
    else
        return end_probe(d, out);
    d->state = STATE_LOGIN_PROBE;
    return DIALOGUE_MORE;
}

/* The capabilities are known: on to TLS, to the login, or to the end of a probe. */
static enum dialogue_result go_on(struct dialogue *d, struct buf *out)
{
    bool wanted = d->agent->tls == POA_TLS_ENABLED || d->agent->tls == POA_TLS_REQUIRED;
    if (!d->has_capability) {
        buf_append_text(out, "c CAPABILITY\r\n");
        d->state = STATE_CAPABILITY;
        return DIALOGUE_MORE;
    }
    if (wanted && !d->tls && can(d, "STARTTLS")) {
        buf_append_text(out, "s STARTTLS\r\n");
        d->state = STATE_STARTTLS;
        return DIALOGUE_MORE;
    }
    if (d->agent->tls == POA_TLS_REQUIRED && !d->tls)
        return fail(d, FAULT_PROTOCOL, "the POA does not offer STARTTLS, which its object requires", SLICE_NONE);
    return d->probe ? probe_login(d, out) : begin_login(d, out);
}

void dialogue_tls_up(struct dialogue *d, struct buf *out)
{
    d->tls = true;
    d->has_capability = false;
    buf_clear(&d->capability);
    go_on(d, out);
}

/* --- what the POA answers ------------------------------------------------------------------------------------------------------- */

static enum dialogue_result take_greeting(struct dialogue *d, struct slice line, struct buf *out)
{
    if (slice_starts_with_nocase(line, "* OK")) {
        take_code(d, slice_trim(slice_from(line, 4)));
        return go_on(d, out);
    }
    if (slice_starts_with_nocase(line, "* BYE"))
        return fail(d, FAULT_UNREACHABLE, "the POA says goodbye", slice_trim(slice_from(line, 5)));
    if (slice_starts_with_nocase(line, "* PREAUTH"))
        return fail(d, FAULT_PROTOCOL, "the POA greets with PREAUTH: nobody can be logged in", SLICE_NONE);
    return fail(d, FAULT_PROTOCOL, "the greeting is not IMAP", line);
}

/* RFC 5530 and RFC 3501 section 7.1: refusals that say nothing about the password. */
static bool is_temporary(struct slice code)
{
    static const char *const codes[] = { "UNAVAILABLE", "INUSE", "LIMIT", "SERVERBUG", "CONTACTADMIN", "PRIVACYREQUIRED", "CORRUPTION", "OVERQUOTA",
                                         "CLIENTBUG" };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++)
        if (slice_is_nocase(code, codes[i]))
            return true;
    return false;
}

static enum dialogue_result login_answered(struct dialogue *d, struct slice answer, struct buf *out)
{
    if (slice_starts_with_nocase(answer, "OK")) {
        d->has_capability = false;
        take_code(d, slice_trim(slice_from(answer, 2)));
        if (d->has_capability)
            return DIALOGUE_OPEN;
        buf_append_text(out, "b CAPABILITY\r\n");
        d->state = STATE_CAPABILITY_AFTER;
        return DIALOGUE_MORE;
    }
    if (!slice_starts_with_nocase(answer, "NO"))
        return fail(d, FAULT_PROTOCOL, "the POA does not understand the login", answer);
    d->of_user = true;
    if (is_temporary(code_of(slice_trim(slice_from(answer, 2)))))
        return fail(d, FAULT_UNREACHABLE, "the POA cannot serve the user", answer);
    fail(d, FAULT_AUTHENTICATION, "the POA refuses the login", answer);
    return d->agent->login == POA_LOGIN_PASS_THROUGH ? DIALOGUE_REFUSED : DIALOGUE_FAILED;
}

static enum dialogue_result take_tagged(struct dialogue *d, char tag, struct slice answer, struct buf *out)
{
    bool ok = slice_starts_with_nocase(answer, "OK");
    switch (d->state) {
    case STATE_CAPABILITY:
        if (tag != 'c' || !ok || !d->has_capability)
            break;
        return go_on(d, out);
    case STATE_STARTTLS:
        if (tag != 's')
            break;
        if (!ok)
            return fail(d, FAULT_UNREACHABLE, "the POA refuses STARTTLS", answer);
        d->state = STATE_HANDSHAKE;
        return DIALOGUE_START_TLS;
    case STATE_CONTINUE:
    case STATE_LITERALS:
    case STATE_LOGIN:
        if (tag == 'i')
            return DIALOGUE_MORE;
        if (tag != 'a' || (ok && d->state != STATE_LOGIN))
            break;
        return login_answered(d, answer, out);
    case STATE_LOGIN_PROBE:
        if (tag != 'a' || ok)
            break;
        if (is_temporary(code_of(slice_trim(slice_from(answer, 2)))))
            return fail(d, FAULT_UNREACHABLE, "the POA takes no logins", answer);
        return end_probe(d, out);
    case STATE_CAPABILITY_AFTER:
        if (tag != 'b' || !ok || !d->has_capability)
            break;
        return DIALOGUE_OPEN;
    default:
        break;
    }
    return fail(d, FAULT_PROTOCOL, "the POA answers what was not asked", answer);
}

static enum dialogue_result take_continuation(struct dialogue *d, struct buf *out)
{
    const struct dialogue_who *w = d->who;
    bool master = d->agent->login == POA_LOGIN_MASTER_USER;
    struct slice secret = master ? w->secret : w->password;
    if (d->state == STATE_CONTINUE) {
        append_message(d, out);
        buf_append_text(out, "\r\n");
        d->state = STATE_LOGIN;
        return DIALOGUE_MORE;
    }
    if (d->state == STATE_LOGIN && is_bearer(d) && !d->name_sent) {
        buf_append_text(out, can(d, "AUTH=OAUTHBEARER") ? "AQ==\r\n" : "\r\n");   /* why it is refused is read, then it is (RFC 7628 section 3.2.3) */
        d->name_sent = true;
        return DIALOGUE_MORE;
    }
    if (d->state == STATE_LOGIN_PROBE) {
        buf_append_text(out, "*\r\n");   /* gives AUTHENTICATE up (RFC 3501 section 6.2.2), and is no user name's end for LOGIN */
        return end_probe(d, out);
    }
    if (d->state != STATE_LITERALS)
        return fail(d, FAULT_PROTOCOL, "the POA asks to go on where nothing follows", SLICE_NONE);
    if (d->name_sent) {
        buf_append(out, secret);
        buf_append_text(out, "\r\n");
        d->state = STATE_LOGIN;
        return DIALOGUE_MORE;
    }
    buf_append(out, w->user);
    if (master) {
        buf_append_byte(out, '*');
        buf_append(out, w->name);
    }
    buf_printf(out, " {%zu}\r\n", secret.len);
    d->name_sent = true;
    return DIALOGUE_MORE;
}

static enum dialogue_result take_untagged(struct dialogue *d, struct slice line)
{
    if (slice_starts_with_nocase(line, "* BYE"))
        return fail(d, FAULT_UNREACHABLE, "the POA says goodbye", slice_trim(slice_from(line, 5)));
    if (slice_starts_with_nocase(line, "* CAPABILITY "))
        take_capability(d, slice_from(line, 13));
    return ++d->lines > LINES_MAX ? fail(d, FAULT_PROTOCOL, "the POA says too much", SLICE_NONE) : DIALOGUE_MORE;
}

static enum dialogue_result take_line(struct dialogue *d, struct slice line, struct buf *out)
{
    if (d->state == STATE_GREETING)
        return take_greeting(d, line, out);
    if (slice_starts_with(line, "* "))
        return take_untagged(d, line);
    if (line.len > 0 && line.data[0] == '+')
        return take_continuation(d, out);
    if (line.len < 2 || line.data[1] != ' ')
        return fail(d, FAULT_PROTOCOL, "the POA does not speak IMAP", line);
    return take_tagged(d, line.data[0], slice_from(line, 2), out);
}

/* "...{12}": octets that follow the line, or 0. */
static bool ends_in_literal(struct slice line, uint64_t *octets)
{
    ptrdiff_t open = slice_find_last(line, '{');
    return open >= 0 && slice_ends_with(line, "}") && slice_to_number(slice_part(line, (size_t)open + 1, line.len - (size_t)open - 2), LITERAL_MAX, octets);
}

static enum dialogue_result step(struct dialogue *d, struct buf *in, size_t end, struct buf *out)
{
    uint64_t octets;
    struct slice line = slice_part(buf_slice(in), 0, end);
    if (line.len > 0 && line.data[line.len - 1] == '\r')
        line.len--;
    bool part = d->skip_line, more = d->state != STATE_GREETING && (part || slice_starts_with(line, "* ")) && ends_in_literal(line, &octets);
    enum dialogue_result result = part ? DIALOGUE_MORE : take_line(d, line, out);
    d->skip_line = more;
    d->skip = more ? octets : 0;
    buf_consume(in, end + 1);
    return result;
}

enum dialogue_result dialogue_run(struct dialogue *d, struct buf *in, struct buf *out)
{
    enum dialogue_result result = DIALOGUE_MORE;
    while (result == DIALOGUE_MORE && d->state != STATE_HANDSHAKE) {
        if (d->skip > 0) {
            size_t now = in->len < d->skip ? in->len : (size_t)d->skip;
            buf_consume(in, now);
            d->skip -= now;
        }
        ptrdiff_t end = d->skip == 0 ? slice_find(buf_slice(in), '\n') : -1;
        if (end < 0)
            return in->len >= DIALOGUE_IN_MAX ? fail(d, FAULT_PROTOCOL, "a line of the POA is too long", SLICE_NONE) : DIALOGUE_MORE;
        result = step(d, in, (size_t)end, out);
    }
    if (result == DIALOGUE_START_TLS && in->len > 0)
        return fail(d, FAULT_PROTOCOL, "the POA said more in clear text after STARTTLS", SLICE_NONE);
    return result;
}
