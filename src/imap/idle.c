/* IDLE (RFC 2177): news is sent as it comes, until the client says DONE. */
#include "handlers.h"

#include "postern/base/clock.h"

enum {
    STILL_HERE_MS = 2 * 60 * 1000,
    POLL_MS = 60 * 1000,             /* looks on disk even where inotify is at work: it cannot see other machines */
    POLL_WITHOUT_INOTIFY_MS = 15 * 1000,
    DONE_MAX = 64,
};
enum { STAGE_BEGIN, STAGE_WAIT };

struct idle {
    uint64_t still_here;    /* when each is due */
    uint64_t poll;
};

static unsigned poll_ms(void)
{
    return store_watch_fd() < 0 ? POLL_WITHOUT_INOTIFY_MS : POLL_MS;
}

static void begin(struct imap *imap, struct command *command)
{
    struct idle *idle = ARENA_NEW(&command->arena, struct idle);
    uint64_t now = clock_monotonic_ms();
    command->data = idle;
    idle->still_here = now + STILL_HERE_MS;
    idle->poll = now + poll_ms();
    buf_append_text(&imap->session->out, "+ idling\r\n");
    command->stage = STAGE_WAIT;
}

static void stop(struct imap *imap, struct command *command, enum reply reply, const char *text)
{
    session_wake_after(imap->session, 0);
    imap_reply(command, reply, text);
}

/* True if the client has ended it. */
static bool take_done(struct imap *imap, struct command *command)
{
    struct slice line;
    size_t total;
    switch (reader_line(&imap->session->in, DONE_MAX, &line, &total)) {
    case LINE_MORE:
        return false;
    case LINE_TOO_LONG:
        stop(imap, command, REPLY_BAD, "Only DONE ends IDLE.");
        imap_close_after(imap, CLOSE_PROTOCOL_ERRORS);
        return true;
    default:
        break;
    }
    if (slice_is_nocase(line, "DONE"))
        stop(imap, command, REPLY_OK, "Completed.");
    else
        stop(imap, command, REPLY_BAD, "Only DONE ends IDLE.");
    buf_consume(&imap->session->in, total);
    return true;
}

static bool is_sync_due(struct imap *imap, struct idle *idle, uint64_t now)
{
    if (imap->state != STATE_SELECTED)
        return false;
    bool due = now >= idle->poll;
    if (due)
        idle->poll = now + poll_ms();
    return due || mailbox_is_dirty(view_mailbox(imap->view));
}

static void set_timer(struct imap *imap, const struct idle *idle, uint64_t now)
{
    uint64_t next = idle->still_here;
    if (imap->state == STATE_SELECTED && idle->poll < next)
        next = idle->poll;
    session_wake_after(imap->session, next > now ? (unsigned)(next - now) : 1);
}

/* The sync could not be done: the next one is tried when the poll is due, not at once. */
static bool sync_failed(struct imap *imap)
{
    bool failed = imap->result == ACTION_UNAVAILABLE;
    imap->result = ACTION_NONE;
    return failed;
}

bool idle_run(struct imap *imap, struct command *command)
{
    uint64_t now = clock_monotonic_ms();
    if (command->stage == STAGE_BEGIN) {
        imap->result = ACTION_NONE;
        begin(imap, command);
    }
    struct idle *idle = command->data;
    bool failed = sync_failed(imap);
    if (imap->view != NULL && !imap_write_news(imap, true, false))
        return false;
    if (take_done(imap, command))
        return true;
    if (now >= idle->still_here) {
        buf_append_text(&imap->session->out, "* OK Still here\r\n");
        idle->still_here = now + STILL_HERE_MS;
    }
    if (!failed && is_sync_due(imap, idle, now))
        return imap_step(imap, imap_sync_work);
    set_timer(imap, idle, now);
    return imap_wait_input(imap);
}
