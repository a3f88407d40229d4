/* uidset: sorted ranges of UIDs. Called from everywhere that handles UIDs; touches no disk and no lock. */
#include "postern/store/uidset.h"

#include <string.h>

#include "postern/base/buf.h"
#include "postern/base/check.h"
#include "postern/base/memory.h"

void uidset_fini(struct uidset *set)
{
    mem_free(&set->ranges);
    *set = (struct uidset){ 0 };
}

void uidset_clear(struct uidset *set)
{
    set->count = 0;
}

/* Index of the first range that ends at or after uid. */
static size_t range_at_or_after(const struct uidset *set, uint32_t uid)
{
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->ranges[middle].last < uid)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void range_insert(struct uidset *set, size_t at, struct uid_range range)
{
    if (set->count == set->size) {
        set->size = set->size ? set->size * 2 : 4;
        CHECK(set->size <= SIZE_MAX / sizeof(range));
        set->ranges = mem_resize(set->ranges, set->size * sizeof(range));
    }
    memmove(set->ranges + at + 1, set->ranges + at, (set->count - at) * sizeof(range));
    set->ranges[at] = range;
    set->count++;
}

void uidset_add(struct uidset *set, uint32_t uid)
{
    uidset_add_range(set, uid, uid);
}

void uidset_add_range(struct uidset *set, uint32_t first, uint32_t last)
{
    CHECK(first <= last);
    size_t at = set->count;
    if (at > 0 && set->ranges[at - 1].last >= (first ? first - 1 : 0))
        at = range_at_or_after(set, first ? first - 1 : 0);
    size_t end = at;
    while (end < set->count && (last == UINT32_MAX || set->ranges[end].first <= last + 1))
        end++;
    if (end == at) {
        range_insert(set, at, (struct uid_range){ first, last });
        return;
    }
    struct uid_range *into = &set->ranges[at];
    if (first < into->first)
        into->first = first;
    into->last = set->ranges[end - 1].last > last ? set->ranges[end - 1].last : last;
    memmove(into + 1, set->ranges + end, (set->count - end) * sizeof(*into));
    set->count -= end - at - 1;
}

bool uidset_has(const struct uidset *set, uint32_t uid)
{
    size_t at = range_at_or_after(set, uid);
    return at < set->count && set->ranges[at].first <= uid;
}

uint64_t uidset_size(const struct uidset *set)
{
    uint64_t size = 0;
    for (size_t i = 0; i < set->count; i++)
        size += (uint64_t)set->ranges[i].last - set->ranges[i].first + 1;
    return size;
}

void uidset_write(const struct uidset *set, struct buf *out)
{
    for (size_t i = 0; i < set->count; i++) {
        if (i > 0)
            buf_append_byte(out, ',');
        buf_append_number(out, set->ranges[i].first);
        if (set->ranges[i].last != set->ranges[i].first) {
            buf_append_byte(out, ':');
            buf_append_number(out, set->ranges[i].last);
        }
    }
}

/* Behind what the set has: whoever wrote it must not make us sort it. */
static bool parse_range(struct slice text, struct uidset *set)
{
    uint32_t highest = set->count == 0 ? 0 : set->ranges[set->count - 1].last;
    struct slice first, last = text;
    uint64_t from, to;
    bool is_range = slice_find(text, ':') >= 0;
    if (!slice_split(&last, ':', &first) || !slice_to_number(first, UINT32_MAX, &from) || from <= highest)
        return false;
    to = from;
    if (is_range && (!slice_to_number(last, UINT32_MAX, &to) || to < from))
        return false;
    uidset_add_range(set, (uint32_t)from, (uint32_t)to);
    return true;
}

bool uidset_parse(struct slice text, struct uidset *set)
{
    struct slice range;
    while (slice_split(&text, ',', &range))
        if (!parse_range(range, set))
            return false;
    return true;
}
