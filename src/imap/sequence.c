/* Sequence sets and UID sets of commands against a view. What a hostile client repeats is merged before any message is looked at. */
#include "state.h"

#include <stdlib.h>

enum { BATCH = 256 };

static int compare_ranges(const void *a, const void *b)
{
    const struct sequence_range *left = a, *right = b;
    return left->first < right->first ? -1 : left->first > right->first;
}

/* '*' and "9:7" are put right; ranges are sorted, so that adding them is cheap. */
static void normalise(struct sequence_range *ranges, size_t count, uint32_t highest)
{
    for (size_t i = 0; i < count; i++) {
        struct sequence_range *range = &ranges[i];
        if (range->first == 0)
            range->first = highest;
        if (range->last == 0)
            range->last = highest;
        if (range->first > range->last)
            *range = (struct sequence_range){ range->last, range->first };
    }
    qsort(ranges, count, sizeof(*ranges), compare_ranges);
}

static void add_uids(struct view *view, const struct uid_range *range, struct uidset *uids_out)
{
    struct message messages[BATCH];
    for (uint32_t at = range->first; at <= range->last;) {
        uint32_t most = range->last - at + 1 < BATCH ? range->last - at + 1 : BATCH;
        size_t got = view_read(view, at, messages, most);
        for (size_t i = 0; i < got; i++)
            uidset_add(uids_out, messages[i].uid);
        if (got < most)
            return;
        at += most;
    }
}

static uint32_t highest_uid(struct view *view, uint32_t count)
{
    struct message last;
    return count > 0 && view_read(view, count, &last, 1) == 1 ? last.uid : 0;
}

/* The sequence numbers of a range; nothing for UIDs that are not there. */
static void add_sequence(struct view *view, const struct sequence_range *range, bool are_uids, uint32_t count,
                         struct uidset *numbers)
{
    uint32_t first = range->first, last = range->last;
    if (are_uids) {
        first = view_sequence_at_or_above(view, first);
        last = last == UINT32_MAX ? count : view_sequence_at_or_above(view, last + 1) - 1;
    }
    if (first <= last)
        uidset_add_range(numbers, first, last);
}

bool imap_resolve_set(struct view *view, const struct sequence_set *set, bool are_uids, struct uidset *uids_out)
{
    uint32_t count = view_count(view);
    if (count == 0 && !are_uids) {
        /* Only "*" can be meant well in an empty mailbox. */
        for (size_t i = 0; i < set->count; i++)
            if (set->ranges[i].first != 0 && set->ranges[i].last != 0)
                return false;
        return true;
    }
    if (count == 0)
        return true;
    normalise(set->ranges, set->count, are_uids ? highest_uid(view, count) : count);
    struct uidset numbers = { 0 };
    bool good = true;
    for (size_t i = 0; i < set->count && good; i++) {
        good = are_uids || set->ranges[i].last <= count;
        if (good)
            add_sequence(view, &set->ranges[i], are_uids, count, &numbers);
    }
    for (size_t i = 0; i < numbers.count && good; i++)
        add_uids(view, &numbers.ranges[i], uids_out);
    uidset_fini(&numbers);
    return good;
}
