/* Unit tests of the table of failed logins, on a clock of their own. */
#include <stdio.h>
#include <string.h>

#include "../../src/service/intruders.h"
#include "run.h"

enum { MINUTE = 60000, SPRAYED = 100000 };

static const struct agent_settings usual = {
    .intruder_detection = true, .intruder_attempts = 5, .intruder_reset_minutes = 15, .intruder_lockout_minutes = 30,
};

static const struct slice joe = { "joe", 3 };

/* The last one's answer. */
static bool fail(struct intruders *t, const struct agent_settings *rules, struct slice name, bool known, unsigned times, uint64_t now_ms)
{
    bool locks = false;
    for (unsigned i = 0; i < times; i++)
        locks = intruder_note_failure(t, rules, name, known, now_ms);
    return locks;
}

static void count_rows(void *context, const struct intruder_row *row)
{
    (void)row;
    ++*(unsigned *)context;
}

static unsigned locks_of(struct intruders *t, const struct agent_settings *rules, uint64_t now_ms)
{
    unsigned count = 0;
    intruder_list(t, rules, now_ms, count_rows, &count);
    return count;
}

static void test_lock(void)
{
    for (int known = 0; known < 2; known++) {
        struct intruders *t = intruders_new();
        CU_ASSERT_FALSE(fail(t, &usual, joe, known, 4, 1000));
        CU_ASSERT_FALSE(intruder_is_locked(t, &usual, joe, 1000));
        CU_ASSERT_TRUE(fail(t, &usual, SLICE_LITERAL("JOE"), known, 1, 2000));
        CU_ASSERT_TRUE(intruder_is_locked(t, &usual, SLICE_LITERAL("Joe"), 2000));
        CU_ASSERT_FALSE(intruder_is_locked(t, &usual, SLICE_LITERAL("jo"), 2000));
        /* What comes in while it is locked does not make it longer, nor does it lock again. */
        CU_ASSERT_FALSE(fail(t, &usual, joe, known, 1, 2000 + 29 * MINUTE));
        CU_ASSERT_EQUAL(locks_of(t, &usual, 2000 + 30 * MINUTE - 1), 1);
        CU_ASSERT_FALSE(intruder_is_locked(t, &usual, joe, 2000 + 30 * MINUTE));
        CU_ASSERT_EQUAL(locks_of(t, &usual, 2000 + 30 * MINUTE), 0);
        /* It begins at none again. */
        CU_ASSERT_FALSE(fail(t, &usual, joe, known, 4, 2000 + 31 * MINUTE));
        CU_ASSERT_TRUE(fail(t, &usual, joe, known, 1, 2000 + 31 * MINUTE));
        intruders_free(&t);
        CU_ASSERT_PTR_NULL(t);
    }
}

static void test_reset(void)
{
    struct intruders *t = intruders_new();
    fail(t, &usual, joe, true, 4, 1000);
    CU_ASSERT_FALSE(fail(t, &usual, joe, true, 1, 1000 + 15 * MINUTE));   /* the first again */
    fail(t, &usual, joe, true, 3, 1000 + 15 * MINUTE);
    CU_ASSERT_TRUE(fail(t, &usual, joe, true, 1, 1000 + 30 * MINUTE - 1));
    CU_ASSERT_TRUE(intruder_unlock(t, joe));
    CU_ASSERT_FALSE(intruder_unlock(t, joe));
    CU_ASSERT_FALSE(intruder_is_locked(t, &usual, joe, 1000 + 30 * MINUTE));
    fail(t, &usual, joe, true, 4, 1000);
    CU_ASSERT_TRUE(intruder_note_success(t, &usual, SLICE_LITERAL("JOE"), 1000));
    CU_ASSERT_FALSE(fail(t, &usual, joe, true, 4, 1000));
    CU_ASSERT_TRUE(fail(t, &usual, joe, true, 1, 1000));
    /* A right password that comes too late. */
    CU_ASSERT_FALSE(intruder_note_success(t, &usual, joe, 1001));
    CU_ASSERT_TRUE(intruder_is_locked(t, &usual, joe, 1001));
    CU_ASSERT_TRUE(intruder_note_success(t, &usual, joe, 1000 + 30 * MINUTE));
    CU_ASSERT_TRUE(intruder_note_success(NULL, &usual, joe, 1000));
    intruders_free(&t);
}

static void test_rules(void)
{
    struct intruders *t = intruders_new();
    struct agent_settings rules = usual;
    rules.intruder_detection = false;
    CU_ASSERT_FALSE(fail(t, &rules, joe, true, 10, 1000));
    CU_ASSERT_FALSE(fail(t, &usual, joe, true, 1, 1000));   /* nothing was counted */
    rules = usual;
    rules.intruder_attempts = 2;
    CU_ASSERT_TRUE(fail(t, &rules, joe, true, 1, 1000));
    rules.intruder_lockout_minutes = 0;
    CU_ASSERT_TRUE(intruder_is_locked(t, &rules, joe, UINT64_MAX - 1));
    CU_ASSERT_EQUAL(locks_of(t, &rules, UINT64_MAX - 1), 1);
    rules.intruder_detection = false;
    CU_ASSERT_FALSE(intruder_is_locked(t, &rules, joe, 1000));
    CU_ASSERT_EQUAL(locks_of(t, &rules, 1000), 0);
    intruders_free(&t);
    CU_ASSERT_FALSE(fail(NULL, &usual, joe, true, 10, 1000));
    CU_ASSERT_FALSE(intruder_is_locked(NULL, &usual, joe, 1000));
}

/* Threads read the clock before they have the mutex. */
static void test_late_clock(void)
{
    struct intruders *t = intruders_new();
    fail(t, &usual, joe, true, 4, 1001);
    CU_ASSERT_TRUE(fail(t, &usual, joe, true, 1, 1000));
    CU_ASSERT_TRUE(intruder_is_locked(t, &usual, joe, 999));
    intruders_free(&t);
}

/* Names of nobody, as many as one likes, push no user's lock out, and take no more room than there is. */
static void test_spray(void)
{
    struct intruders *t = intruders_new();
    char name[32];
    fail(t, &usual, joe, true, 5, 1000);
    for (unsigned i = 0; i < SPRAYED; i++) {
        int len = snprintf(name, sizeof(name), "nobody%u", i);
        fail(t, &usual, slice_make(name, (size_t)len), false, 5, 2000);
    }
    CU_ASSERT_TRUE(intruder_is_locked(t, &usual, joe, 3000));
    CU_ASSERT_TRUE(locks_of(t, &usual, 3000) < SPRAYED);
    /* A user's failures are still counted. */
    CU_ASSERT_TRUE(fail(t, &usual, SLICE_LITERAL("jane"), true, 5, 3000));
    char longest[400];
    memset(longest, 'x', sizeof(longest));
    CU_ASSERT_FALSE(fail(t, &usual, slice_make(longest, sizeof(longest)), false, 10, 3000));
    CU_ASSERT_FALSE(fail(t, &usual, SLICE_NONE, false, 10, 3000));
    intruders_free(&t);
}

static const struct unit_test tests[] = {
    { "lock", test_lock },   { "reset", test_reset }, { "rules", test_rules }, { "late clock", test_late_clock },
    { "spray", test_spray },
};

UNIT_MAIN("intruders", tests)
