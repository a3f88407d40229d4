/* Unit tests of the records of views, and of the dates, that come from a Post Office Agent. */
#include "run.h"

#include "remote_reader.h"
#include "views.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_no_records(void)
{
    static const char *const wrong[] = { "", "1 V", "1 V0 1", "1 V4294967296 1", "2 V1 1", "1 V1 0", "1 V1 2,1", "1 V1 1,1", "1 V1 3:2", "1 V1 1:",
                                         "1 V1 4294967296", "1 V1 1:4294967296", "1 V1 1;2", "1 V1 1,,2", "1 V1 1:*", "1 V1 1:2:3", "1 Vx 1" };
    for (size_t i = 0; i < COUNT(wrong); i++) {
        struct view_record record = { 0 };
        bool taken = view_record_parse(slice_from_string(wrong[i]), &record);
        CU_ASSERT(!taken && record.uids.count == 0 && record.uid_validity == 0);
        if (taken)
            fprintf(stderr, "taken: %s\n", wrong[i]);
        view_record_fini(&record);
    }
}

static void test_add(void)
{
    struct view_record record = { 0 }, other = { 0 };
    struct buf text = { 0 };
    CU_ASSERT(view_record_parse(SLICE_LITERAL("1 V4294967295 2:3,9,4294967295"), &record));
    CU_ASSERT(view_record_parse(SLICE_LITERAL("1 V4294967295 1,4,8"), &other));
    view_record_add(&record, &other);
    other.uid_validity = 5;
    uidset_add(&other.uids, 6);
    view_record_add(&record, &other);
    view_record_write(&record, &text);
    CU_ASSERT(slice_is(buf_slice(&text), "1 V4294967295 1:4,8:9,4294967295"));
    buf_fini(&text);
    view_record_fini(&record);
    view_record_fini(&other);
}

/* What is too long loses its lowest UIDs, and what it is read from is bounded. */
static void test_long_record(void)
{
    struct view_record record = { .uid_validity = 7 }, again = { 0 };
    struct buf text = { 0 };
    for (uint32_t uid = 1; uid < 20000; uid += 2)
        uidset_add(&record.uids, uid);
    view_record_write(&record, &text);
    CU_ASSERT(text.len <= VIEW_TEXT_MAX && text.len > VIEW_TEXT_MAX / 2);
    CU_ASSERT(view_record_parse(buf_slice(&text), &again));
    CU_ASSERT(uidset_has(&again.uids, 19999) && !uidset_has(&again.uids, 1) && again.uid_validity == 7);
    view_record_fini(&again);
    while (text.len <= VIEW_TEXT_MAX)
        buf_append_text(&text, ",99999");
    CU_ASSERT(!view_record_parse(buf_slice(&text), &again) && again.uids.count == 0);
    buf_fini(&text);
    view_record_fini(&record);
}

static void test_dates(void)
{
    static const char *const wrong[] = { "", "17-Jul-1996 02:44:25", "17-Jux-1996 02:44:25 -0700", "17-Jul-1996 24:44:25 -0700",
                                         "1x-Jul-1996 02:44:25 -0700", "17-Jul-1996 02:44:25 00700", "17 Jul-1996 02:44:25 +0700" };
    time_t date = 0;
    CU_ASSERT(fetched_take_date(SLICE_LITERAL("17-Jul-1996 02:44:25 -0700"), &date));
    CU_ASSERT_EQUAL(date, 837596665);
    CU_ASSERT(fetched_take_date(SLICE_LITERAL(" 1-Jan-1970 01:00:00 +0100"), &date));
    CU_ASSERT_EQUAL(date, 0);
    for (size_t i = 0; i < COUNT(wrong); i++)
        CU_ASSERT(!fetched_take_date(slice_from_string(wrong[i]), &date));
}

static const struct unit_test tests[] = {
    { "no records", test_no_records },
    { "records of one mailbox are added", test_add },
    { "a long record", test_long_record },
    { "dates", test_dates },
};

UNIT_MAIN("pop3_views", tests)
