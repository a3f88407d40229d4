/* Unit tests of remembered passwords, on a clock of their own; whether a user has changed is the test's to say. */
#include "run.h"

#include <stdio.h>
#include <string.h>

#include "postern/base/clock.h"
#include "postern/config/config.h"
#include "src/config/remembered.h"
#include "src/config/users.h"

/* --- fakes ------------------------------------------------------------------------------------------------------------------- */

static uint64_t now_ms = 1000;
static bool changed;

uint64_t clock_monotonic_ms(void)
{
    return now_ms;
}

uint64_t clock_monotonic_us(void)
{
    return now_ms * 1000;
}

struct timespec clock_wall(void)
{
    return (struct timespec){ .tv_sec = 0 };
}

bool users_is_known_changed(const struct user *user)
{
    (void)user;
    return changed;
}

struct user *user_ref(struct user *user)
{
    user->references++;
    return user;
}

void user_unref(struct user **user)
{
    if (*user != NULL)
        (*user)->references--;
    *user = NULL;
}

/* --- tests ------------------------------------------------------------------------------------------------------------------- */

static struct snapshot snapshot = { .agent.remember_seconds = 60 };
static char dn[] = "uid=joe", other_dn[] = "uid=ann", uuid[] = "00000000-0000-0000-0000-000000000001";

static struct user new_user(char *name, char last)
{
    struct user user = { .snapshot = &snapshot, .dn = name, .references = 1 };
    memcpy(user.uuid, uuid, sizeof(uuid));
    user.uuid[sizeof(uuid) - 2] = last;
    return user;
}

static void keep(const char *name, struct user *user, const char *password)
{
    config_remember(slice_from_string(name), user, slice_from_string(password), config_remember_begin());
}

/* 1, 0 or -1, as config_recall; only the right user ever comes. */
static int recall(const char *name, const char *password, const struct user *expected)
{
    struct user *found = NULL;
    int result = config_recall(slice_from_string(name), slice_from_string(password), &found);
    CU_ASSERT_EQUAL(found != NULL, result != 0);
    CU_ASSERT(found == NULL || found == expected);
    user_unref(&found);
    return result;
}

static void test_recall(void)
{
    struct user joe = new_user(dn, '1'), ann = new_user(other_dn, '2');
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    keep("Joe", &joe, "secret");
    keep("ann", &ann, "secret2");
    CU_ASSERT_EQUAL(recall("joe", "secret", &joe), 1);
    CU_ASSERT_EQUAL(recall("JOE", "secret", &joe), 1);
    CU_ASSERT_EQUAL(recall("joe", "Secret", &joe), -1);
    CU_ASSERT_EQUAL(recall("joe", "secret2", &joe), -1);
    CU_ASSERT_EQUAL(recall("joe", "", &joe), -1);
    CU_ASSERT_EQUAL(recall("ann", "secret2", &ann), 1);
    CU_ASSERT_EQUAL(recall("jo", "secret", NULL), 0);
    /* by one name at a time */
    keep("joe@example.org", &joe, "secret");
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    CU_ASSERT_EQUAL(recall("joe@example.org", "secret", &joe), 1);
    remembered_clear();
    CU_ASSERT_EQUAL(recall("ann", "secret2", NULL), 0);
    CU_ASSERT_EQUAL(joe.references, 1);
    CU_ASSERT_EQUAL(ann.references, 1);
}

static void test_end(void)
{
    struct user joe = new_user(dn, '1');
    struct slice name = SLICE_LITERAL("joe"), password = SLICE_LITERAL("secret");
    keep("joe", &joe, "secret");
    now_ms += 59999;
    CU_ASSERT_EQUAL(recall("joe", "secret", &joe), 1);
    now_ms += 1;
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    keep("joe", &joe, "secret");
    changed = true;
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    changed = false;
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);   /* for good */
    keep("joe", &joe, "secret");
    remembered_note("00000000-0000-0000-0000-000000000002");
    CU_ASSERT_EQUAL(recall("joe", "secret", &joe), 1);
    remembered_note(joe.uuid);
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    keep("joe", &joe, "secret");
    config_forget(name, SLICE_LITERAL("guess"));
    CU_ASSERT_EQUAL(recall("joe", "secret", &joe), 1);
    config_forget(name, password);
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    /* switched off, and an entry that no notice could name */
    snapshot.agent.remember_seconds = 0;
    keep("joe", &joe, "secret");
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    snapshot.agent.remember_seconds = 60;
    joe.uuid[0] = '\0';
    keep("joe", &joe, "secret");
    CU_ASSERT_EQUAL(recall("joe", "secret", NULL), 0);
    CU_ASSERT_EQUAL(joe.references, 1);
}

/* What is told of between the question and the answer: the password may be the one of before. */
static void test_change_meanwhile(void)
{
    struct user joe = new_user(dn, '1'), ann = new_user(other_dn, '2');
    struct slice name = SLICE_LITERAL("joe"), password = SLICE_LITERAL("old");
    uint64_t begun = config_remember_begin();
    remembered_note(joe.uuid);
    config_remember(SLICE_LITERAL("ann"), &ann, password, begun);
    config_remember(name, &joe, password, begun);
    CU_ASSERT_EQUAL(recall("ann", "old", &ann), 1);
    CU_ASSERT_EQUAL(recall("joe", "old", NULL), 0);
    /* more than are held */
    begun = config_remember_begin();
    for (unsigned i = 0; i < 256; i++)
        remembered_note("00000000-0000-0000-0000-000000000003");
    config_remember(name, &joe, password, begun);
    CU_ASSERT_EQUAL(recall("joe", "old", &joe), 1);
    remembered_note("00000000-0000-0000-0000-000000000003");
    config_remember(name, &joe, password, begun);
    CU_ASSERT_EQUAL(recall("joe", "old", NULL), 0);
    /* all in doubt */
    begun = config_remember_begin();
    remembered_clear();
    config_remember(name, &joe, password, begun);
    CU_ASSERT_EQUAL(recall("joe", "old", NULL), 0);
    keep("joe", &joe, "new");
    CU_ASSERT_EQUAL(recall("joe", "new", &joe), 1);
    remembered_clear();
}

static void test_bound(void)
{
    static struct user many[12000];
    char name[32];
    for (unsigned i = 0; i < 12000; i++) {
        many[i] = new_user(dn, '1');
        snprintf(many[i].uuid, sizeof(many[i].uuid), "%u", i + 1);
        snprintf(name, sizeof(name), "user%u", i);
        keep(name, &many[i], "x");
    }
    CU_ASSERT_EQUAL(recall("user0", "x", &many[0]), 1);
    CU_ASSERT_EQUAL(recall("user11999", "x", NULL), 0);
    now_ms += 60000;
    keep("user11999", &many[11999], "x");   /* the others' time is over */
    CU_ASSERT_EQUAL(recall("user11999", "x", &many[11999]), 1);
    CU_ASSERT_EQUAL(many[5].references, 1);
    remembered_clear();
}

static const struct unit_test tests[] = {
    { "recall", test_recall },
    { "end", test_end },
    { "change meanwhile", test_change_meanwhile },
    { "bound", test_bound },
};

UNIT_MAIN("remembered", tests)
