/* Who speaks, and for whom. The client's address is for the log and the rules of the Post Office Agent: one that does not take it gets the mail all the same. Credentials
 * that are refused are no reason to return mail: it waits. Called by talk.c and agents.c. */
#include "introduce.h"

#include <stdio.h>
#include <string.h>

#include "postern/net/proxy_header.h"
#include "postern/sasl/sasl.h"

enum xclient { XCLIENT_ADDR = 1, XCLIENT_PORT = 2, XCLIENT_NAME = 4, XCLIENT_HELO = 8, XCLIENT_PROTO = 16, XCLIENT_LOGIN = 32, XCLIENT_SESSION = 64 };
static const char *const xclient_words[] = { "ADDR", "PORT", "NAME", "HELO", "PROTO", "LOGIN", "SESSION" };   /* by bit */
enum { COMMAND_MAX = 500 };   /* RFC 5321 4.5.3.1.4 */

/* --- what it offers ------------------------------------------------------------------------------------------------------- */

void introduce_note_extension(struct talk *t, struct slice text)
{
    struct slice word;
    bool auth = slice_starts_with_nocase(text, "AUTH "), xclient = slice_starts_with_nocase(text, "XCLIENT ");
    while ((auth || xclient) && slice_split(&text, ' ', &word)) {
        t->auth_plain = t->auth_plain || (auth && slice_is_nocase(word, "PLAIN"));
        t->auth_external = t->auth_external || (auth && slice_is_nocase(word, "EXTERNAL"));
        for (size_t i = 0; xclient && i < sizeof(xclient_words) / sizeof(xclient_words[0]); i++)
            if (slice_is_nocase(word, xclient_words[i]))
                t->xclient |= 1u << i;
    }
}

/* --- the client ----------------------------------------------------------------------------------------------------------- */

static const struct queue_client *client_of(const struct talk_peer *peer)
{
    return peer->client != NULL && peer->client->address != NULL ? peer->client : NULL;
}

/* What tells one client from another. */
static void write_key(const struct talk_peer *peer, struct buf *out)
{
    const struct queue_client *c = client_of(peer);
    if (c != NULL)
        buf_printf(out, "%s %u %s %s %s", c->address, c->port, c->helo != NULL ? c->helo : "", c->protocol != NULL ? c->protocol : "", c->login != NULL ? c->login : "");
}

bool introduce_connection(struct talk *t, const struct talk_peer *peer)
{
    const struct queue_client *c = client_of(peer);
    struct buf header = { .cap = 0 };
    buf_clear(&t->told);
    if (!peer->proxy_header)
        return true;
    if (c != NULL)
        write_key(peer, &t->told);
    proxy_header_write(&header, c != NULL ? c->address : NULL, c != NULL ? c->port : 0, c != NULL ? c->local : NULL, 0);
    bool sent = talk_send(t, buf_slice(&header));
    buf_fini(&header);
    return sent;
}

/* RFC 3461 section 4: xtext. */
static void put_attribute(const struct talk *t, enum xclient bit, const char *prefix, const char *value, struct buf *out)
{
    size_t at = 0;
    if ((t->xclient & bit) == 0)
        return;
    while (1u << at != bit)
        at++;
    buf_printf(out, " %s=%s", xclient_words[at], value != NULL ? prefix : "[UNAVAILABLE]");
    for (; value != NULL && *value != '\0'; value++)
        if (*value > ' ' && *value <= '~' && *value != '+' && *value != '=')
            buf_append_byte(out, *value);
        else
            buf_printf(out, "+%02X", (unsigned char)*value);
}

/* False: the connection is lost, or speaks for somebody else. An agent that does not take it is not asked again. */
static bool tell_client(struct talk *t, const struct talk_peer *peer)
{
    const struct queue_client *c = client_of(peer);
    struct buf attributes = { .cap = 0 };
    char port[8];
    snprintf(port, sizeof(port), "%u", c->port);
    put_attribute(t, XCLIENT_ADDR, strchr(c->address, ':') != NULL ? "IPV6:" : "", c->address, &attributes);
    put_attribute(t, XCLIENT_PORT, "", c->port != 0 ? port : NULL, &attributes);
    put_attribute(t, XCLIENT_NAME, "", NULL, &attributes);
    put_attribute(t, XCLIENT_PROTO, "", c->protocol, &attributes);
    put_attribute(t, XCLIENT_SESSION, "", peer->session, &attributes);
    size_t before = attributes.len;
    put_attribute(t, XCLIENT_HELO, "", c->helo, &attributes);
    before = attributes.len <= COMMAND_MAX ? attributes.len : before;
    buf_truncate(&attributes, before);
    put_attribute(t, XCLIENT_LOGIN, "", c->login, &attributes);
    buf_truncate(&attributes, attributes.len <= COMMAND_MAX ? attributes.len : before);
    talk_put(t, "XCLIENT%.*s", SLICE_ARG(buf_slice(&attributes)));
    buf_fini(&attributes);
    int code = talk_hear(t);
    t->deaf = code >= 400 && code != 421;
    if (code / 100 != 2)
        return t->deaf && t->told.len == 0;
    buf_clear(&t->told);
    write_key(peer, &t->told);
    t->logged_in = false;   /* all begins anew */
    return talk_greet(t, peer);
}

static bool is_told(const struct talk *t, const struct talk_peer *peer)
{
    struct buf key = { .cap = 0 };
    write_key(peer, &key);
    bool told = slice_is_equal(buf_slice(&key), buf_slice(&t->told));
    buf_fini(&key);
    return told;
}

static bool can_tell(const struct talk *t, const struct talk_peer *peer)
{
    return client_of(peer) != NULL && (t->xclient & XCLIENT_ADDR) != 0 && !t->deaf;
}

/* --- who gives it ----------------------------------------------------------------------------------------------------------- */

static bool log_in(struct talk *t, const struct talk_peer *peer)
{
    if (t->logged_in)
        return true;
    if (peer->external && t->auth_external) {
        talk_put(t, "AUTH EXTERNAL =");
    } else if (peer->name != NULL && t->auth_plain) {
        struct buf message = { .cap = 0 };
        buf_reserve(&message, (strlen(peer->name) + strlen(peer->secret)) * 4 / 3 + 16);   /* at once, here and there: no copy is left behind */
        bool made = sasl_client_plain(SLICE_NONE, slice_from_string(peer->name), slice_from_string(peer->secret), &message);
        if (made) {
            buf_reserve(&t->out, message.len + 32);
            talk_put(t, "AUTH PLAIN %.*s", SLICE_ARG(buf_slice(&message)));
        }
        buf_wipe(&message);
        if (!made) {
            talk_lose(t, "the credentials of the gateway cannot be sent");
            return false;
        }
    } else {
        return true;
    }
    talk_send(t, SLICE_NONE);
    buf_wipe(&t->out);
    int code = talk_hear(t);
    t->logged_in = code == 235;
    t->refused = code >= 400 && code != 421;
    return t->logged_in;
}

bool introduce(struct talk *t, const struct talk_peer *peer)
{
    if (!is_told(t, peer) && can_tell(t, peer) && !tell_client(t, peer))
        return false;
    return log_in(t, peer);
}

bool introduce_again(struct talk *t, const struct talk_peer *peer)
{
    if (is_told(t, peer))
        return true;
    if (can_tell(t, peer))
        return introduce(t, peer) && t->client != NULL;
    return t->told.len == 0 && !peer->proxy_header;   /* nothing was told, and nothing can be */
}
