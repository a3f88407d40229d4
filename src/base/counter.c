/* The counters' words. */
#include "postern/base/counter.h"

#include "postern/base/check.h"

static const char *const words[COUNTER_COUNT] = {
#define X(name, word, meaning) [COUNTER_##name] = word,
#include "postern/tbl/counters.h"
#undef X
};

const char *counter_word(enum counter which)
{
    CHECK(which < COUNTER_COUNT);
    return words[which];
}
