/* The fake session of the POP3 tests; the store is pop3_fake_store.c or the real one. */
#include "pop3_fake.h"

#include <string.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/pop3/pop3.h"

struct fake fake;

/* --- the session ------------------------------------------------------------------------------------------------------- */

static void op_step(struct session *s, enum step_result (*work)(struct session *))
{
    CHECK(!s->busy && !fake.closed);
    s->busy = true;
    fake.work = work;
}

static void op_login(struct session *s, struct slice name, struct slice password)
{
    CHECK(!s->busy && s->clear_login);
    s->busy = true;
    fake.login_pending = true;
    if (slice_is(name, "down"))
        fake.login_result = ACTION_UNAVAILABLE;
    else
        fake.login_result = slice_is(name, "joe") && slice_is(password, "secret") ? ACTION_OK : ACTION_REFUSED;
}

static void op_start_tls(struct session *s)
{
    CHECK(!s->busy && !s->tls);
    fake.tls_starts++;
    buf_clear(&s->in);
    s->tls = true;
    s->tls_offered = false;
    s->clear_login = true;
}

static void op_close(struct session *s, enum close_reason reason)
{
    CHECK(!fake.closed && !s->busy);
    s->closing = true;
    fake.closed = true;
    fake.reason = reason;
}

static void op_refresh(struct session *s)
{
    CHECK(!s->busy);
}

static void op_wake_after(struct session *s, unsigned milliseconds)
{
    CHECK(!s->busy && milliseconds != 0);
    fake.wakes++;
}

static void op_drop_remote(struct session *s)
{
    CHECK(s->remote != NULL);
    s->remote = NULL;
    s->fallback = true;
}

static bool op_may_go_directly(const struct session *s)
{
    (void)s;
    return !fake.uncompared;
}

static const struct session_ops ops = {
    .step = op_step, .login = op_login, .start_tls = op_start_tls, .close = op_close, .refresh = op_refresh, .wake_after = op_wake_after,
    .drop_remote = op_drop_remote, .may_go_directly = op_may_go_directly,
};

static void send_out(void)
{
    if (fake.session.out.len > fake.most_out)
        fake.most_out = fake.session.out.len;
    buf_append(&fake.sent, buf_slice(&fake.session.out));
    buf_clear(&fake.session.out);
}

static enum action_result finish_action(void)
{
    struct session *s = &fake.session;
    enum action_result result = ACTION_OK;
    if (fake.work != NULL) {
        if (fake.step_fails)
            result = ACTION_UNAVAILABLE;
        else
            while (fake.work(s) == STEP_AGAIN)
                CHECK(++fake.steps_again < 100000);
        fake.step_fails = false;
        fake.steps++;
        fake.work = NULL;
    } else {
        result = fake.login_result;
        fake.login_pending = false;
        if (result == ACTION_OK) {
            s->user = &fake.user;
            s->remote = fake.remote;
        }
    }
    s->busy = false;
    return result;
}

/* As long as anything goes on by itself. */
static void pump(void)
{
    struct session *s = &fake.session;
    enum action_result result = ACTION_NONE;
    for (;;) {
        if (fake.closed)
            return;
        s->result = result;
        pop3_protocol.run(s);
        bool drained = s->out.len != 0;
        send_out();
        result = ACTION_NONE;
        if (s->busy)
            result = finish_action();
        else if (!drained)
            return;
    }
}

void fake_feed(const char *bytes, size_t len)
{
    while (len != 0 && !fake.closed) {
        size_t room = fake.session.in.cap - fake.session.in.len;
        size_t taken = len < room ? len : room;
        buf_append(&fake.session.in, (struct slice){ bytes, taken });
        bytes += taken;
        len -= taken;
        pump();
    }
}

void fake_run(void)
{
    pump();
}

void fake_feed_text(const char *text)
{
    fake_feed(text, strlen(text));
}

void fake_eof(void)
{
    fake.session.eof = true;
    pump();
}

const char *fake_sent(void)
{
    static struct buf text;
    buf_clear(&text);
    buf_append(&text, buf_slice(&fake.sent));
    buf_clear(&fake.sent);
    return buf_text(&text);
}

struct fake_message *fake_add(uint32_t uid, const char *text, size_t len)
{
    CHECK(fake.count < FAKE_MESSAGES);
    struct fake_message *message = &fake.messages[fake.count++];
    *message = (struct fake_message){ .uid = uid, .text = text, .len = len, .date = clock_wall().tv_sec };
    return message;
}

#define ADD(uid, text) fake_add((uid), (text), sizeof(text) - 1)

void fake_start(void)
{
    static char id[] = "joe", path[] = "/mail", dir[] = "joe/Maildir", prefix[] = "INBOX.", control[] = "";
    fake = (struct fake){ 0 };
    ADD(5, "Subject: one\n\nHello\n.dot\n");
    ADD(7, "Subject: two\n\nno end");
    ADD(9, "Subject: three\r\n\r\nCRLF\r\n");
    fake.office = (struct post_office){ .path = path, .prefix = prefix, .control_dir = control, .separator = '.' };
    fake.user = (struct user){ .id = id, .mailbox_dir = dir, .post_office = &fake.office };
    fake.snapshot.agent.pop3_idle_minutes = 10;
    fake.snapshot.agent.pop3_hide_version = true;
    struct session *s = &fake.session;
    *s = (struct session){ .ops = &ops, .protocol = &pop3_protocol, .snapshot = &fake.snapshot, .clear_login = true,
                           .counters = &fake.counters, .in_limit = 16384 };
    buf_init(&s->in, s->in_limit);
    pop3_protocol.init(s);
    send_out();
}

void fake_stop(void)
{
    if (fake.session.busy)
        finish_action();
    pop3_protocol.fini(&fake.session);
    CHECK(fake.session.state == NULL);
    buf_fini(&fake.session.in);
    buf_fini(&fake.session.out);
    buf_fini(&fake.sent);
    for (size_t i = 0; i < 32; i++)
        uidset_fini(&fake.views[i]);
}
