/* search: works SEARCH off in slices of a few milliseconds. Called by the command table. Keys that memory answers are asked first: a message
 * is opened only when they leave it open. */
#include "search.h"

#include <string.h>
#include <time.h>

#include "postern/base/clock.h"
#include "search_internal.h"

enum { SLICE_MS = 10, SLICE_LOOP_MS = 3, CHECK_EVERY = 256 };
enum verdict { NO = 0, YES = 1, OPEN = 2, FAULT = -1 };

bool search_is_in_memory(const struct search *search)
{
    return search->in_memory;
}

/* RFC 3501 section 9, seq-number: '*' (0) is the highest there is; the ends may be in any order. */
static void resolve_set(struct key *key, uint32_t highest)
{
    for (size_t i = 0; i < key->set.count; i++) {
        uint32_t first = key->set.ranges[i].first, last = key->set.ranges[i].last;
        first = first == 0 ? highest : first;
        last = last == 0 ? highest : last;
        if (first != 0 && last != 0)
            uidset_add_range(&key->resolved, first < last ? first : last, first < last ? last : first);
    }
}

static void resolve(struct search *search, struct key *key, uint32_t count, uint32_t last_uid)
{
    if (key->kind == KEY_SEQUENCE || key->kind == KEY_UID)
        resolve_set(key, key->kind == KEY_UID ? last_uid : count);
    if (key->kind == KEY_KEYWORD || key->kind == KEY_NO_KEYWORD)
        key->keyword = mailbox_keyword_number(search->mailbox, key->name);
    for (struct key *child = key->children; child != NULL; child = child->next)
        resolve(search, child, count, last_uid);
}

static void release(struct key *key)
{
    uidset_fini(&key->resolved);
    for (struct key *child = key->children; child != NULL; child = child->next)
        release(child);
}

void search_begin(struct search *search, struct view *view)
{
    struct message last = { 0 };
    uint32_t count = view_count(view);
    search->view = view;
    search->mailbox = view_mailbox(view);
    search->next = 1;
    search->batch = ARENA_NEW_ARRAY(search->arena, struct message, BATCH_MAX);
    if (count > 0)
        (void)view_read(view, count, &last, 1);
    resolve(search, search->root, count, last.uid);
}

void search_end(struct search *search)
{
    if (search == NULL)
        return;
    search_text_close(search);
    if (search->root != NULL)
        release(search->root);
    buf_fini(&search->result);
    buf_fini(&search->header);
    buf_fini(&search->digest);
}

/* The day of the internal date as INTERNALDATE shows it: in the server's time zone. */
static int64_t local_day(time_t when)
{
    struct tm tm = { 0 };
    int64_t local = when + (localtime_r(&when, &tm) != NULL ? tm.tm_gmtoff : 0);
    return local >= 0 ? local / 86400 : -((86399 - local) / 86400);
}

static enum verdict truth(bool value)
{
    return value ? YES : NO;
}

static enum verdict ask_memory(const struct key *key, uint32_t sequence, const struct message *m)
{
    switch (key->kind) {
    case KEY_ALL:
        return YES;
    case KEY_FLAG:
        return truth(m->flags & key->flag);
    case KEY_NO_FLAG:
        return truth(!(m->flags & key->flag));
    case KEY_NEW:
        return truth((m->flags & (MESSAGE_RECENT | MESSAGE_SEEN)) == MESSAGE_RECENT);
    case KEY_KEYWORD:
        return truth(key->keyword >= 0 && m->keywords & 1u << key->keyword);
    case KEY_NO_KEYWORD:
        return truth(key->keyword < 0 || !(m->keywords & 1u << key->keyword));
    case KEY_SEQUENCE:
        return truth(uidset_has(&key->resolved, sequence));
    case KEY_UID:
        return truth(uidset_has(&key->resolved, m->uid));
    case KEY_LARGER:
        return truth(m->size > key->number);
    case KEY_SMALLER:
        return truth(m->size < key->number);
    case KEY_BEFORE:
        return truth(local_day(m->internal_date) < key->day);
    case KEY_ON:
        return truth(local_day(m->internal_date) == key->day);
    case KEY_SINCE:
        return truth(local_day(m->internal_date) >= key->day);
    default:
        return OPEN;
    }
}

static enum verdict ask(struct search *search, const struct key *key, uint32_t sequence, const struct message *m, bool look, struct fault *fault)
{
    if (key->kind != KEY_AND && key->kind != KEY_OR && key->kind != KEY_NOT) {
        enum verdict verdict = ask_memory(key, sequence, m);
        return verdict == OPEN && look ? (enum verdict)search_text_match(search, key, m->uid, fault) : verdict;
    }
    if (key->kind == KEY_NOT) {
        enum verdict verdict = ask(search, key->children, sequence, m, look, fault);
        return verdict == YES ? NO : verdict == NO ? YES : verdict;
    }
    enum verdict deciding = key->kind == KEY_AND ? NO : YES, result = key->kind == KEY_AND ? YES : NO;
    for (const struct key *child = key->children; child != NULL; child = child->next) {
        enum verdict verdict = ask(search, child, sequence, m, look, fault);
        if (verdict == deciding || verdict == FAULT)
            return verdict;
        if (verdict == OPEN)
            result = OPEN;
    }
    return result;
}

/* Sizes and dates of the batch. */
static int load(struct search *search, size_t *count, struct fault *fault)
{
    struct uidset missing = { 0 };
    for (size_t i = 0; search->wants_load && i < *count; i++)
        if (search->batch[i].size == 0 || search->batch[i].internal_date == 0)
            uidset_add(&missing, search->batch[i].uid);
    int result = missing.count > 0 ? mailbox_load(search->mailbox, &missing, fault) : 0;
    if (missing.count > 0 && result == 0)
        *count = view_read(search->view, search->next, search->batch, *count);
    uidset_fini(&missing);
    return result;
}

static int search_message(struct search *search, const struct message *m, struct fault *fault)
{
    enum verdict verdict = ask(search, search->root, search->next, m, false, fault);
    if (verdict == OPEN) {
        verdict = ask(search, search->root, search->next, m, true, fault);
        /* A message that is gone matches nothing, NOT of something neither. */
        if (search->gone)
            verdict = NO;
        search_text_close(search);
    }
    if (verdict == FAULT)
        return -1;
    if (verdict == YES) {
        buf_append_byte(&search->result, ' ');
        buf_append_number(&search->result, search->with_uid ? m->uid : search->next);
    }
    return 0;
}

enum progress search_step(struct search *search, struct buf *out, struct fault *fault)
{
    const uint64_t deadline = clock_monotonic_ms() + (search->in_memory ? SLICE_LOOP_MS : SLICE_MS);
    for (;;) {
        size_t count = view_read(search->view, search->next, search->batch, BATCH_MAX);
        if (count > 0 && load(search, &count, fault) != 0)
            return PROGRESS_FAILED;
        if (count == 0)
            break;
        for (size_t i = 0; i < count; i++) {
            if (search_message(search, &search->batch[i], fault) != 0)
                return PROGRESS_FAILED;
            search->next++;
            if ((!search->in_memory || search->next % CHECK_EVERY == 0) && clock_monotonic_ms() >= deadline)
                return PROGRESS_MORE;
        }
    }
    buf_append_text(out, "* SEARCH");
    buf_append(out, buf_slice(&search->result));
    buf_append_text(out, "\r\n");
    return PROGRESS_DONE;
}
