/* A binary heap of message IDs by the time they are due. Used by queue.c. Pure. */
#include "schedule.h"

#include <stdio.h>

#include "postern/base/check.h"
#include "postern/base/memory.h"

void schedule_fini(struct schedule *schedule)
{
    mem_free(&schedule->items);
    schedule->count = schedule->size = 0;
}

static void exchange(struct schedule *s, size_t a, size_t b)
{
    struct schedule_item other = s->items[a];
    s->items[a] = s->items[b];
    s->items[b] = other;
}

static void rise(struct schedule *s, size_t at)
{
    for (; at > 0 && s->items[at].due < s->items[(at - 1) / 2].due; at = (at - 1) / 2)
        exchange(s, at, (at - 1) / 2);
}

void schedule_put(struct schedule *s, const char *id, uint32_t mark, time_t due)
{
    if (s->count == s->size) {
        s->size = s->size ? s->size * 2 : 16;
        s->items = mem_resize(s->items, s->size * sizeof(s->items[0]));
    }
    size_t at = s->count++;
    s->items[at].due = due;
    s->items[at].mark = mark;
    snprintf(s->items[at].id, sizeof(s->items[at].id), "%s", id);
    rise(s, at);
}

const struct schedule_item *schedule_first(const struct schedule *s)
{
    return s->count != 0 ? &s->items[0] : NULL;
}

void schedule_remove_first(struct schedule *s)
{
    CHECK(s->count != 0);
    s->items[0] = s->items[--s->count];
    for (size_t at = 0, child = 1; child < s->count; at = child, child = 2 * at + 1) {
        if (child + 1 < s->count && s->items[child + 1].due < s->items[child].due)
            child++;
        if (s->items[at].due <= s->items[child].due)
            return;
        exchange(s, at, child);
    }
}

void schedule_hurry(struct schedule *s, time_t now)
{
    /* Cutting all times at one value keeps the heap's order. */
    for (size_t i = 0; i < s->count; i++)
        if (s->items[i].due > now)
            s->items[i].due = now;
}

void schedule_hurry_marked(struct schedule *s, uint32_t mark, time_t now)
{
    for (size_t i = 0; i < s->count; i++) {
        struct schedule_item *item = &s->items[i];
        if (item->mark != 0 && (mark == 0 || item->mark == mark)) {
            item->due = item->due > now ? now : item->due;
            item->mark = 0;
        }
        rise(s, i);   /* those before it are a heap */
    }
}
