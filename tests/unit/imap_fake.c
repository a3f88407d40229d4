/* The fake session of the IMAP tests. */
#include "imap_fake.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "postern/base/check.h"
#include "postern/base/clock.h"
#include "postern/imap/imap.h"
#include "postern/store/account.h"
#include "postern/store/mailbox.h"

#define UUID "5d1e6c0a-0001-4000-8000-00805f9b34fb"

static char root[64];
static char empty[] = "";
static char user_id[] = "joe";
static char mailbox_dir[] = "joe/Maildir";
static struct post_office office;
static struct snapshot snapshot;
static struct user user;
static struct counters counters;

/* --- the clock: in place of src/base/clock.c ------------------------------------------------------------------------------ */

static uint64_t passed_ms;

void fake_time_passes(unsigned milliseconds)
{
    passed_ms += milliseconds;
}

uint64_t clock_monotonic_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 + passed_ms * 1000;
}

uint64_t clock_monotonic_ms(void)
{
    return clock_monotonic_us() / 1000;
}

struct timespec clock_wall(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now;
}

/* --- the post office --------------------------------------------------------------------------------------------------- */

static void make_directory(const char *below)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", root, below);
    CHECK(mkdir(path, 0700) == 0);
}

void fake_write(const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/joe/Maildir/%s", root, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    CHECK(fd >= 0);
    CHECK(write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    close(fd);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    (void)info;
    (void)kind;
    (void)ftw;
    return remove(path);
}

void fake_remove(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/joe/Maildir/%s", root, name);
    nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

const char *fake_root(void)
{
    return root;
}

struct user *fake_user(void)
{
    return &user;
}

struct agent_settings *fake_agent(void)
{
    return &snapshot.agent;
}

static void ignore(void *context)
{
    (void)context;
}

/* Another session has seen what is there: it is not recent any more. */
static void see_messages(void)
{
    struct account_where where = {
        .path = slice_from_string(root), .uuid = SLICE_LITERAL(UUID), .mailbox_dir = slice_from_string(mailbox_dir), .separator = '.',
    };
    struct account *account;
    struct mailbox *mailbox;
    struct fault fault;
    CHECK(account_open(&where, true, &account, &fault) == 0);
    CHECK(account_mailbox(account, SLICE_LITERAL("INBOX"), &mailbox, &fault) == 0);
    CHECK(mailbox_sync(mailbox, &fault) == 0);
    struct view *view = view_open(mailbox, false, ignore, NULL);
    view_close(&view);
    mailbox_unref(&mailbox);
    account_unref(&account);
}

void fake_set_up(void)
{
    const char *temporary = getenv("TMPDIR");
    struct fault fault;
    snprintf(root, sizeof(root), "%.40s/imap-XXXXXX", temporary ? temporary : "/tmp");
    CHECK(mkdtemp(root) != NULL);
    CHECK(postoffice_init(root, SLICE_LITERAL(UUID), &fault) == 0);
    make_directory("joe");
    make_directory("joe/Maildir");
    make_directory("joe/Maildir/new");
    make_directory("joe/Maildir/cur");
    make_directory("joe/Maildir/tmp");
    fake_write("cur/1000.M1.host:2,S", "Subject: one\n\nHello\n");
    fake_write("cur/1001.M2.host:2,", "Subject: two\n\nWorld\n");
    office = (struct post_office){ .path = root, .prefix = empty, .control_dir = empty, .separator = '.' };
    snprintf(office.uuid, sizeof(office.uuid), "%s", UUID);
    snapshot = (struct snapshot){ 0 };
    snapshot.agent.imap4_idle_minutes = 30;
    snapshot.agent.imap4_max_append_size = 100000;
    snapshot.agent.login_seconds = 60;
    user = (struct user){ .snapshot = &snapshot, .post_office = &office, .id = user_id, .mailbox_dir = mailbox_dir, .imap4_allowed = true };
    see_messages();
    fake_write("new/1002.M3.host", "Subject: three\n\nEnd\n");
}

void fake_tear_down(void)
{
    nftw(root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- the session ------------------------------------------------------------------------------------------------------- */

static struct client *client_of(struct session *s)
{
    return (struct client *)s;
}

static void op_step(struct session *s, enum step_result (*work)(struct session *))
{
    CHECK(!s->busy && !s->closing);
    s->busy = true;
    client_of(s)->work = work;
}

static void op_login(struct session *s, struct slice name, struct slice password)
{
    CHECK(!s->busy && !s->closing && s->clear_login);
    s->busy = true;
    if (slice_is(name, "down"))
        client_of(s)->login_result = ACTION_UNAVAILABLE;
    else
        client_of(s)->login_result = slice_is(name, "joe") && slice_is(password, "se\"cret") ? ACTION_OK : ACTION_REFUSED;
}

static void op_start_tls(struct session *s)
{
    CHECK(!s->busy && !s->tls);
    buf_clear(&s->in);
    s->tls = true;
    s->tls_offered = false;
    s->clear_login = true;
}

static void op_close(struct session *s, enum close_reason reason)
{
    CHECK(!s->closing && !s->busy);
    s->closing = true;
    client_of(s)->closed = true;
    client_of(s)->reason = reason;
    if (reason != CLOSE_LOGOUT && reason != CLOSE_CLIENT)
        buf_append(&s->out, imap_protocol.farewell(s, reason));
}

static void op_wake(struct session *s)
{
    (void)s;
}

static void op_wake_after(struct session *s, unsigned milliseconds)
{
    client_of(s)->wake_after = milliseconds;
}

static void op_refresh(struct session *s)
{
    CHECK(!s->busy);
}

static void op_drop_remote(struct session *s)
{
    CHECK(s->remote != NULL);
    s->remote = NULL;
    s->fallback = true;
}

static void op_claim_peer(struct session *s, struct slice address, uint16_t port)
{
    struct client *client = client_of(s);
    snprintf(client->claimed, sizeof(client->claimed), "%.*s %u", (int)(address.len < 60 ? address.len : 60), address.data, (unsigned)port);
}

static bool op_may_go_directly(const struct session *s)
{
    return !((const struct client *)s)->uncompared;
}

static const struct session_ops ops = {
    .step = op_step, .login = op_login, .start_tls = op_start_tls, .close = op_close, .wake = op_wake,
    .wake_after = op_wake_after, .refresh = op_refresh, .drop_remote = op_drop_remote,
    .may_go_directly = op_may_go_directly, .claim_peer = op_claim_peer,
};

void client_init(struct client *client)
{
    *client = (struct client){ 0 };
    struct session *s = &client->session;
    s->ops = &ops;
    s->protocol = &imap_protocol;
    s->in_limit = 16384;
    s->clear_login = true;
    s->snapshot = &snapshot;
    s->counters = &counters;
    imap_protocol.init(s);
}

void client_fini(struct client *client)
{
    client->hold = false;
    client->stuck = false;
    client_pump(client);
    imap_protocol.fini(&client->session);
    buf_fini(&client->session.in);
    buf_fini(&client->session.out);
    buf_fini(&client->sent);
}

static void drain(struct client *client)
{
    struct buf *out = &client->session.out;
    if (out->len > client->most_out)
        client->most_out = out->len;
    if (client->stuck)
        return;
    buf_append(&client->sent, buf_slice(out));
    buf_clear(out);
}

static enum action_result end_action(struct client *client)
{
    enum action_result result = ACTION_OK;
    unsigned again = 0;
    if (client->work != NULL) {
        if (client->step_fails)
            result = ACTION_UNAVAILABLE;
        while (result == ACTION_OK && client->work(&client->session) == STEP_AGAIN)
            if (++again == 100)
                result = ACTION_UNAVAILABLE;    /* the lock stayed busy too long */
        client->again += again;
        client->step_fails = false;
        client->work = NULL;
    } else {
        result = client->login_result;
        if (result == ACTION_OK)
            client->session.user = &user;
    }
    client->session.busy = false;
    return result;
}

void client_pump(struct client *client)
{
    struct session *s = &client->session;
    enum action_result result = ACTION_NONE;
    while (!client->closed) {
        if (s->busy) {
            if (client->hold)
                return;
            result = end_action(client);
        }
        s->result = result;
        s->out_full = client->stuck && s->out.len >= SESSION_OUT_CHUNK;
        imap_protocol.run(s);
        bool drained = s->out.len != 0 && !client->stuck;
        result = ACTION_NONE;
        if (client->closed || !s->busy) {
            drain(client);
            if (!drained && !s->busy)
                return;
        }
    }
    drain(client);
}

void client_feed(struct client *client, const char *bytes, size_t len)
{
    unsigned tries = 0;
    while (len != 0 && !client->closed && tries++ < 1000000) {
        size_t room = client->session.in_limit > client->session.in.len ? client->session.in_limit - client->session.in.len : 0;
        size_t taken = len < room ? len : room;
        buf_append(&client->session.in, slice_make(bytes, taken));
        bytes += taken;
        len -= taken;
        client_pump(client);
    }
}

void client_say(struct client *client, const char *text)
{
    client_feed(client, text, strlen(text));
}

/* The number after the word is replaced by "V". */
static void hide_number(struct buf *text, const char *word)
{
    size_t at = 0;
    struct slice needle = slice_from_string(word);
    for (;;) {
        ptrdiff_t found = slice_find_text(slice_from(buf_slice(text), at), needle);
        if (found < 0)
            return;
        at += (size_t)found + needle.len;
        size_t end = at;
        while (end < text->len && ascii_is_digit(text->data[end]))
            end++;
        if (end > at) {
            memmove(text->data + at + 1, text->data + end, text->len - end);
            text->data[at] = 'V';
            text->len -= end - at - 1;
        }
    }
}

const char *client_heard(struct client *client)
{
    static struct buf text;
    buf_clear(&text);
    buf_append(&text, buf_slice(&client->sent));
    buf_clear(&client->sent);
    hide_number(&text, "UIDVALIDITY ");
    hide_number(&text, "APPENDUID ");
    hide_number(&text, "COPYUID ");
    return buf_text(&text);
}
