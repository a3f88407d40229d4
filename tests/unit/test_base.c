/* Unit tests of src/base. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/arena.h"
#include "postern/base/buf.h"
#include "postern/base/fault.h"
#include "postern/base/list.h"
#include "postern/base/log.h"
#include "postern/base/map.h"
#include "postern/base/memory.h"
#include "postern/base/secret.h"
#include "run.h"

static void test_slice_numbers(void)
{
    static const struct { const char *text; uint64_t max; bool good; uint64_t number; } rows[] = {
        { "0", 10, true, 0 }, { "10", 10, true, 10 }, { "11", 10, false, 0 }, { "", 10, false, 0 },
        { "-1", 10, false, 0 }, { "+1", 10, false, 0 }, { " 1", 10, false, 0 }, { "1x", 10, false, 0 },
        { "007", 10, true, 7 }, { "18446744073709551615", UINT64_MAX, true, UINT64_MAX },
        { "18446744073709551616", UINT64_MAX, false, 0 }, { "99999999999999999999999999", UINT64_MAX, false, 0 },
        { "5", 3, false, 0 }, { "4294967295", UINT32_MAX, true, UINT32_MAX }, { "4294967296", UINT32_MAX, false, 0 },
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        uint64_t number = 0;
        bool good = slice_to_number(slice_from_string(rows[i].text), rows[i].max, &number);
        CU_ASSERT_EQUAL(good, rows[i].good);
        if (good)
            CU_ASSERT_EQUAL(number, rows[i].number);
    }
}

static void test_slice_split(void)
{
    struct slice rest = SLICE_LITERAL("a,,b,"), part;
    CU_ASSERT(slice_split(&rest, ',', &part) && slice_is(part, "a"));
    CU_ASSERT(slice_split(&rest, ',', &part) && slice_is(part, ""));
    CU_ASSERT(slice_split(&rest, ',', &part) && slice_is(part, "b"));
    CU_ASSERT(slice_split(&rest, ',', &part) && slice_is(part, ""));
    CU_ASSERT_FALSE(slice_split(&rest, ',', &part));
}

static void test_slice_find(void)
{
    struct slice s = SLICE_LITERAL("ababac");
    CU_ASSERT_EQUAL(slice_find_text(s, SLICE_LITERAL("abac")), 2);
    CU_ASSERT_EQUAL(slice_find_text(s, SLICE_LITERAL("abad")), -1);
    CU_ASSERT_EQUAL(slice_find_text(s, SLICE_LITERAL("")), 0);
    CU_ASSERT_EQUAL(slice_find_text(s, SLICE_LITERAL("ababacx")), -1);
    CU_ASSERT_EQUAL(slice_find_text_nocase(s, SLICE_LITERAL("BAC")), 3);
    CU_ASSERT_EQUAL(slice_find_last(s, 'b'), 3);
    CU_ASSERT_EQUAL(slice_find(s, 'x'), -1);
    CU_ASSERT(slice_is(slice_part(s, 4, 100), "ac"));
    CU_ASSERT(slice_is(slice_part(s, 100, 1), ""));
    CU_ASSERT(slice_is(slice_trim(SLICE_LITERAL(" \t x y\r\n")), "x y"));
}

static void test_slice_compare(void)
{
    CU_ASSERT(slice_compare(SLICE_LITERAL("a"), SLICE_LITERAL("ab")) < 0);
    CU_ASSERT(slice_compare(SLICE_LITERAL("b"), SLICE_LITERAL("ab")) > 0);
    CU_ASSERT_EQUAL(slice_compare(SLICE_NONE, SLICE_LITERAL("")), 0);
    CU_ASSERT(slice_is_equal_nocase(SLICE_LITERAL("aZ["), SLICE_LITERAL("Az[")));
    CU_ASSERT_FALSE(slice_is_equal_nocase(SLICE_LITERAL("@"), SLICE_LITERAL("`")));
}

static void test_buf_cap(void)
{
    struct buf b;
    buf_init(&b, 8);
    CU_ASSERT(buf_append(&b, SLICE_LITERAL("12345678")));
    CU_ASSERT_FALSE(buf_append_byte(&b, '9'));
    CU_ASSERT(b.overflowed);
    CU_ASSERT(slice_is(buf_slice(&b), "12345678"));
    CU_ASSERT(strcmp(buf_text(&b), "12345678") == 0);
    buf_consume(&b, 3);
    CU_ASSERT(slice_is(buf_slice(&b), "45678"));
    buf_clear(&b);
    CU_ASSERT_FALSE(b.overflowed);
    buf_shrink(&b);
    CU_ASSERT_PTR_NULL(b.data);
    buf_fini(&b);
}

static void test_buf_print(void)
{
    struct buf b = { 0 };
    CU_ASSERT(buf_printf(&b, "%s-%d", "x", 7));
    CU_ASSERT(buf_append_number(&b, UINT64_MAX));
    CU_ASSERT(buf_append_number(&b, 0));
    CU_ASSERT(slice_is(buf_slice(&b), "x-7184467440737095516150"));
    buf_wipe(&b);
    CU_ASSERT_EQUAL(b.len, 0);
    /* Whatever room there is: text of every length behind text of every length; and a cap is kept to the byte. */
    for (int before = 0; before < 140; before++)
        for (int len = 0; len < 140; len++) {
            CU_ASSERT(buf_printf(&b, "%0*d", before + 1, 1));
            CU_ASSERT(buf_printf(&b, "%0*d", len + 1, 2));
            CU_ASSERT(b.len == (size_t)(before + len) + 2 && b.data[before] == '1' && b.data[b.len - 1] == '2');
            CU_ASSERT(len == 0 || (b.data[before + 1] == '0' && b.data[b.len - 2] == '0'));
            buf_fini(&b);
        }
    buf_init(&b, 8);
    CU_ASSERT(buf_printf(&b, "%s", "1234567"));
    buf_clear(&b);
    CU_ASSERT(buf_printf(&b, "%s", "1"));
    CU_ASSERT_FALSE(buf_printf(&b, "%s", "2345678"));
    CU_ASSERT(b.overflowed && slice_is(buf_slice(&b), "1"));
    buf_fini(&b);
}

static void test_arena(void)
{
    struct arena a;
    arena_init(&a);
    char *big = arena_alloc(&a, 100000);
    char *small = arena_alloc(&a, 3);
    CU_ASSERT_EQUAL((uintptr_t)small % sizeof(void *), 0);
    CU_ASSERT(big[0] == 0 && big[99999] == 0 && small[2] == 0);
    struct slice copy = arena_copy(&a, SLICE_LITERAL("text"));
    CU_ASSERT(strcmp(copy.data, "text") == 0);
    CU_ASSERT(strcmp(arena_printf(&a, "%05d", 42), "00042") == 0);
    arena_wipe(&a);
    CU_ASSERT_EQUAL(a.used, 0);
}

static void count_entry(struct slice key, void *value, void *context)
{
    (void)key;
    *(size_t *)context += *(int *)value;
}

static void check_map(struct map given)
{
    struct map m = given;
    int one = 1, two = 2;
    char key[16];
    for (int i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        CU_ASSERT_PTR_NULL(map_put(&m, slice_from_string(key), &one));
    }
    CU_ASSERT_PTR_EQUAL(map_put(&m, SLICE_LITERAL("k7"), &two), &one);
    CU_ASSERT_PTR_EQUAL(map_get(&m, SLICE_LITERAL("k7")), &two);
    CU_ASSERT_PTR_NULL(map_get(&m, SLICE_LITERAL("k1000")));
    size_t sum = 0;
    map_for_each(&m, count_entry, &sum);
    CU_ASSERT_EQUAL(sum, 1001);
    CU_ASSERT_PTR_EQUAL(map_remove(&m, SLICE_LITERAL("k7")), &two);
    CU_ASSERT_PTR_NULL(map_remove(&m, SLICE_LITERAL("k7")));
    CU_ASSERT_EQUAL(m.count, 999);
    map_fini(&m);
}

static void test_map(void)
{
    struct arena arena;
    struct map in_arena;
    check_map((struct map){ 0 });
    arena_init(&arena);
    map_init_in(&in_arena, &arena, 0);
    check_map(in_arena);
    map_init_in(&in_arena, &arena, 5000);
    check_map(in_arena);
    arena_clear(&arena);
    /* Keys that differ in one octet, at each place of a word of eight and after it, are all different. */
    struct map m = { 0 };
    char key[21];
    for (size_t at = 0; at < 20; at++) {
        memset(key, 'x', 20);
        key[at] = 'y';
        CU_ASSERT_PTR_NULL(map_put(&m, slice_make(key, 20), &arena));
    }
    CU_ASSERT_EQUAL(m.count, 20);
    map_fini(&m);
}

static void test_fault(void)
{
    struct fault fault;
    CU_ASSERT_EQUAL(fault_set(&fault, FAULT_BUSY, 0, "a\nb%c", 7), -1);
    CU_ASSERT(strcmp(fault.text, "a?b?") == 0);
    CU_ASSERT_EQUAL(fault_set_errno(&fault, ENOSPC, "writing"), -1);
    CU_ASSERT_EQUAL(fault.class, FAULT_NO_SPACE);
    CU_ASSERT(strcmp(fault.text, "writing: No space left on device") == 0);
    CU_ASSERT_EQUAL(fault_set(NULL, FAULT_IO, 0, "x"), -1);
}

struct item {
    int number;
    struct list link;
};

static void test_list(void)
{
    struct list head;
    struct item items[3] = { { .number = 1 }, { .number = 2 }, { .number = 3 } };
    list_init(&head);
    for (size_t i = 0; i < 3; i++)
        list_append(&head, &items[i].link);
    int sum = 0;
    LIST_FOR_EACH(&head, at) {
        sum = sum * 10 + LIST_ITEM(at, struct item, link)->number;
        list_remove(at);
    }
    CU_ASSERT_EQUAL(sum, 123);
    CU_ASSERT(list_is_empty(&head));
}

static void test_secret(void)
{
    CU_ASSERT(secret_is_equal("abc", 3, "abc", 3));
    CU_ASSERT_FALSE(secret_is_equal("abc", 3, "abd", 3));
    CU_ASSERT_FALSE(secret_is_equal("abc", 3, "ab", 2));
    char *text = mem_strdup("secret");
    secret_free(&text);
    CU_ASSERT_PTR_NULL(text);
}

/* What peers say is one line and steers no terminal. */
static void test_log_is_clean(void)
{
    int ends[2], own = dup(STDERR_FILENO);
    char line[256] = "";
    CU_ASSERT_EQUAL_FATAL(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    log_error("test", "%s", "\xc3\xa4\n\x1b[2J \xc2\x9b" "2J \x9b \xe2\x82");
    dup2(own, STDERR_FILENO);
    CU_ASSERT(read(ends[0], line, sizeof(line) - 1) > 0);
    CU_ASSERT_PTR_NOT_NULL(strstr(line, "test: \xc3\xa4??[2J ??2J ? ??\n"));
    close(own);
    close(ends[0]);
    close(ends[1]);
}

static const struct unit_test tests[] = {
    { "log is clean", test_log_is_clean },
    { "slice numbers", test_slice_numbers }, { "slice split", test_slice_split }, { "slice find", test_slice_find },
    { "slice compare", test_slice_compare }, { "buf cap", test_buf_cap }, { "buf print", test_buf_print },
    { "arena", test_arena }, { "map", test_map }, { "fault", test_fault }, { "list", test_list }, { "secret", test_secret },
};

UNIT_MAIN("base", tests)
