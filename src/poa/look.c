/* Has this message come into a user's INBOX? Asked by the queue's threads before a second try (RFC 1047). The looking is done on poa's loop, with the gateway's own
 * credentials; it reads headers only, changes nothing, and never waits for ever. */
#include "look.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <time.h>

#include "postern/base/clock.h"
#include "postern/base/list.h"
#include "postern/base/memory.h"

enum { ANSWER_MS = 10000, WAIT_S = 45, SAID_MAX = 8 << 20, BATCH = 100, BATCHES_MAX = 50 };

struct look {
    struct list link;
    struct loop *loop;
    struct poa_open_request request;   /* user is owned */
    struct slice wanted;               /* owned */
    bool (*is_it)(struct slice header, struct slice wanted);
    int64_t since;
    struct poa_opening *opening;
    struct stream stream;
    struct buf said, out;
    struct loop_timer timer;
    uint64_t first;                    /* sequence number of the oldest message that was asked for; 0: INBOX is not open yet */
    unsigned batches;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool ending;                       /* on the loop: the result is known */
    bool ended;
    enum poa_looked result;
    unsigned holds;                    /* under the lock: who asks, and the loop */
};

static struct list looks = { &looks, &looks };   /* on the loop */

static void release(struct look *l)
{
    pthread_mutex_lock(&l->lock);
    bool last = --l->holds == 0;
    pthread_mutex_unlock(&l->lock);
    if (!last)
        return;
    snapshot_unref(&l->request.snapshot);
    mem_release((char *)(uintptr_t)l->request.user);
    mem_release((char *)(uintptr_t)l->wanted.data);
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
    mem_release(l);
}

/* Never from within a callback of the stream. */
static void end_with(struct look *l, enum poa_looked result)
{
    poa_open_cancel(&l->opening);
    stream_fini(&l->stream);
    buf_fini(&l->said);
    buf_fini(&l->out);
    loop_timer_cancel(&l->timer);
    list_remove(&l->link);
    pthread_mutex_lock(&l->lock);
    l->result = result;
    l->ended = true;
    pthread_cond_signal(&l->changed);
    pthread_mutex_unlock(&l->lock);
    release(l);
}

static void end_now(void *arg)
{
    struct look *l = arg;
    end_with(l, l->result);
}

static void end_soon(struct look *l, enum poa_looked result)
{
    l->result = result;
    l->ending = true;
    if (l->stream.loop != NULL)
        stream_want_input(&l->stream, false);
    loop_timer_cancel(&l->timer);
    loop_timer_init(&l->timer, l->loop, end_now, l);
    loop_timer_set(&l->timer, 0);
}

/* --- what the POA says ----------------------------------------------------------------------------------------------------------- */

/* A whole response from the front of *rest, literals and all: its text, and the last literal. False: there is more to come. */
static bool take_response(struct slice *rest, struct slice *text_out, struct slice *literal_out)
{
    struct slice all = *rest, at = all;
    uint64_t octets;
    *literal_out = SLICE_NONE;
    for (;;) {
        ptrdiff_t end = slice_find(at, '\n');
        if (end < 0)
            return false;
        struct slice line = slice_trim(slice_part(at, 0, (size_t)end));
        at = slice_from(at, (size_t)end + 1);
        ptrdiff_t open = slice_ends_with(line, "}") ? slice_find_last(line, '{') : -1;
        if (open < 0 || !slice_to_number(slice_part(line, (size_t)open + 1, line.len - (size_t)open - 2), SAID_MAX, &octets))
            break;
        if (at.len < octets)
            return false;
        *literal_out = slice_part(at, 0, (size_t)octets);
        at = slice_from(at, (size_t)octets);
    }
    *text_out = slice_part(all, 0, all.len - at.len);
    *rest = at;
    return true;
}

/* "INTERNALDATE "17-Jul-1996 02:44:25 -0700"" (RFC 3501 section 9) as seconds; -1 if there is none to be read. */
int64_t look_read_date(struct slice response)
{
    static const char months[] = "janfebmaraprmayjunjulaugsepoctnovdec";
    ptrdiff_t at = slice_find_text_nocase(response, SLICE_LITERAL("INTERNALDATE \""));
    struct slice text = at >= 0 ? slice_part(slice_from(response, (size_t)at + 14), 0, 26) : SLICE_NONE;
    char month[4] = "";
    uint64_t day, year, hour, minute, second, zone;
    if (text.len < 26)
        return -1;
    for (size_t i = 0; i < 3; i++)
        month[i] = ascii_lower(text.data[3 + i]);
    ptrdiff_t number = slice_find_text(slice_from_string(months), slice_make(month, 3));
    bool good = slice_to_number(slice_trim(slice_part(text, 0, 2)), 31, &day) && number >= 0 && slice_to_number(slice_part(text, 7, 4), 9999, &year) &&
                slice_to_number(slice_part(text, 12, 2), 23, &hour) && slice_to_number(slice_part(text, 15, 2), 59, &minute) &&
                slice_to_number(slice_part(text, 18, 2), 60, &second) && slice_to_number(slice_part(text, 22, 4), 2359, &zone);
    if (!good)
        return -1;
    struct tm tm = { .tm_mday = (int)day, .tm_mon = (int)number / 3, .tm_year = (int)year - 1900, .tm_hour = (int)hour, .tm_min = (int)minute, .tm_sec = (int)second };
    int64_t east = (int64_t)(zone / 100 * 3600 + zone % 100 * 60);
    return (int64_t)timegm(&tm) - (text.data[21] == '-' ? -east : east);
}

static void ask_batch(struct look *l, uint64_t last)
{
    l->first = last > BATCH ? last - BATCH + 1 : 1;
    l->batches++;
    buf_printf(&l->out, "m FETCH %" PRIu64 ":%" PRIu64 " (INTERNALDATE BODY.PEEK[HEADER.FIELDS (RECEIVED)])\r\n", l->first, last);
    stream_send(&l->stream, &l->out);
}

/* "* 23 EXISTS" */
static bool is_exists(struct slice text, uint64_t *count)
{
    struct slice rest = slice_trim(text), word;
    return slice_split(&rest, ' ', &word) && slice_is(word, "*") && slice_split(&rest, ' ', &word) && slice_to_number(word, UINT32_MAX, count) &&
           slice_is_nocase(slice_trim(rest), "EXISTS");
}

/* INBOX is open: the newest messages first. */
static bool take_opened(struct look *l)
{
    struct slice rest = buf_slice(&l->said), text, literal;
    uint64_t exists = 0, count;
    while (take_response(&rest, &text, &literal)) {
        if (is_exists(text, &count))
            exists = count;
        if (!slice_starts_with(text, "e "))
            continue;
        bool good = slice_starts_with_nocase(text, "e OK");
        buf_consume(&l->said, l->said.len - rest.len);
        if (!good)
            end_soon(l, POA_LOOK_FAILED);
        else if (exists == 0)
            end_soon(l, POA_LOOK_ABSENT);
        else
            ask_batch(l, exists);
        return true;
    }
    return false;
}

/* All of a batch is there: found, or older ones are asked for as long as they are young enough. */
static bool take_batch(struct look *l)
{
    struct slice rest = buf_slice(&l->said), text, literal;
    bool found = false, old = false;
    while (take_response(&rest, &text, &literal)) {
        if (slice_starts_with(text, "* ") && literal.data != NULL) {
            int64_t date = look_read_date(text);
            found = found || l->is_it(literal, l->wanted);
            old = old || (date >= 0 && date < l->since);
        }
        if (!slice_starts_with(text, "m "))
            continue;
        bool good = slice_starts_with_nocase(text, "m OK"), all = l->first == 1 || old || l->batches >= BATCHES_MAX;
        buf_consume(&l->said, l->said.len - rest.len);
        if (found || !good || all)
            end_soon(l, found ? POA_LOOK_FOUND : good ? POA_LOOK_ABSENT : POA_LOOK_FAILED);
        else
            ask_batch(l, l->first - 1);
        return true;
    }
    return false;
}

static void poa_news(struct stream *stream, enum stream_event event, void *context)
{
    struct look *l = context;
    if (l->ending)
        return;
    if (event == STREAM_EOF || event == STREAM_FAILED)
        end_soon(l, POA_LOOK_FAILED);
    if (event != STREAM_INPUT)
        return;
    bool taken = l->first == 0 ? take_opened(l) : take_batch(l);
    if (!taken && l->said.len >= SAID_MAX)
        end_soon(l, POA_LOOK_FAILED);
    else if (!l->ending)
        stream_want_input(stream, true);
}

static void too_late(void *arg)
{
    end_with(arg, POA_LOOK_FAILED);
}

static void answered(void *context, enum poa_result result, const struct fault *fault)
{
    struct look *l = context;
    struct poa_opening *opening = l->opening;
    struct buf capability = { .cap = 0 };
    (void)fault;
    l->opening = NULL;
    if (result != POA_OPEN) {
        end_soon(l, POA_LOOK_FAILED);
        return;
    }
    poa_take(opening, &l->stream, &l->said, &capability, poa_news, l);
    l->stream.in_limit = SAID_MAX;
    buf_fini(&capability);
    buf_append_text(&l->out, "e EXAMINE INBOX\r\n");
    stream_send(&l->stream, &l->out);
    stream_want_input(&l->stream, true);
    loop_timer_init(&l->timer, l->loop, too_late, l);
    loop_timer_set(&l->timer, ANSWER_MS);
}

static void begin(void *arg)
{
    struct look *l = arg;
    list_append(&looks, &l->link);
    l->opening = poa_open(&l->request);
}

void look_cancel_all(void)
{
    LIST_FOR_EACH (&looks, at)
        end_with(LIST_ITEM(at, struct look, link), POA_LOOK_FAILED);
}

/* --- the contract -------------------------------------------------------------------------------------------------------------------- */

/* The gateway can log in for a user without the user's password. */
static bool can_log_in(const struct post_office *office)
{
    return office->agent_count > 0 && (office->agents[0].login == POA_LOGIN_EXTERNAL ||
                                       (office->agents[0].login != POA_LOGIN_PASS_THROUGH && office->agents[0].credentials != NULL));
}

static enum poa_looked wait_for(struct look *l)
{
    struct timespec until = clock_wall();
    until.tv_sec += WAIT_S;
    pthread_mutex_lock(&l->lock);
    while (!l->ended && pthread_cond_timedwait(&l->changed, &l->lock, &until) != ETIMEDOUT)
        ;
    enum poa_looked result = l->ended ? l->result : POA_LOOK_FAILED;
    pthread_mutex_unlock(&l->lock);
    release(l);
    return result;
}

enum poa_looked look_for(struct loop *loop, const struct poa_look *asked)
{
    if (loop == NULL || !can_log_in(asked->post_office))
        return POA_LOOK_NO_WAY;
    struct look *l = MEM_NEW(struct look);
    list_init(&l->link);
    l->loop = loop;
    l->request = (struct poa_open_request){ .loop = loop, .snapshot = snapshot_ref(asked->snapshot), .post_office = asked->post_office,
                                            .user = mem_strdup(asked->user), .answered = answered, .context = l };
    l->wanted = slice_make(slice_to_string(asked->wanted), asked->wanted.len);
    l->is_it = asked->is_it;
    l->since = asked->since;
    pthread_mutex_init(&l->lock, NULL);
    pthread_cond_init(&l->changed, NULL);
    l->holds = 2;
    loop_post(loop, begin, l);
    return wait_for(l);
}
