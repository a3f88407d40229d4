/* counter: one set per service; increments are atomic and cheap, readable from any thread. */
#ifndef POSTERN_BASE_COUNTER_H
#define POSTERN_BASE_COUNTER_H

#include <stdatomic.h>
#include <stdint.h>

enum counter {
#define X(name, word, meaning) COUNTER_##name,
#include "postern/tbl/counters.h"
#undef X
    COUNTER_COUNT
};

struct counters {
    _Atomic uint64_t value[COUNTER_COUNT];
};

static inline void counter_add(struct counters *c, enum counter which, uint64_t by)
{
    atomic_fetch_add_explicit(&c->value[which], by, memory_order_relaxed);
}

static inline uint64_t counter_get(const struct counters *c, enum counter which)
{
    return atomic_load_explicit(&c->value[which], memory_order_relaxed);
}

const char *counter_word(enum counter which);

#endif
