/* Notes of the users at work, in memory that outlives an agent. Called around steps, at logins and by the supervisor; must never
 * trust more of it than that each text ends: a crashing agent may have written anything. */
#include "crash_notes.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>

#include "postern/base/check.h"
#include "postern/base/log.h"

enum { AT_WORK_MAX = 1024, BLAMED_MAX = 64, USER_TEXT = 120 };

struct blamed {
    char user[USER_TEXT];
    unsigned crashes;
    uint64_t until_ms;       /* forgotten after that */
};

struct crash_notes {
    struct {
        _Atomic int taken;
        char user[USER_TEXT];
    } at_work[AT_WORK_MAX];
    _Atomic unsigned next;
    struct blamed blamed[BLAMED_MAX];   /* written by the supervisor while no agent runs */
};

struct crash_notes *crash_notes_new(void)
{
    struct crash_notes *notes = mmap(NULL, sizeof(*notes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(notes != MAP_FAILED);
    return notes;
}

void crash_notes_free(struct crash_notes **notes)
{
    if (*notes != NULL)
        munmap(*notes, sizeof(**notes));
    *notes = NULL;
}

static void set_user(char *to, const char *user)
{
    size_t len = strnlen(user, USER_TEXT - 1);
    memcpy(to, user, len);
    to[len] = '\0';
}

int crash_notes_begin(struct crash_notes *notes, const char *user)
{
    if (notes == NULL)
        return -1;
    for (int i = 0; i < AT_WORK_MAX; i++) {
        unsigned slot = atomic_fetch_add(&notes->next, 1) % AT_WORK_MAX;
        int free_slot = 0;
        if (!atomic_compare_exchange_strong(&notes->at_work[slot].taken, &free_slot, 1))
            continue;
        set_user(notes->at_work[slot].user, user);
        return (int)slot;
    }
    return -1;
}

void crash_notes_end(struct crash_notes *notes, int ticket)
{
    if (notes != NULL && ticket >= 0 && ticket < AT_WORK_MAX)
        atomic_store(&notes->at_work[ticket].taken, 0);
}

bool crash_notes_is_refused(const struct crash_notes *notes, const char *user, uint64_t now_ms)
{
    for (int i = 0; notes != NULL && i < BLAMED_MAX; i++) {
        const struct blamed *b = &notes->blamed[i];
        if (b->crashes >= CRASHES_MOST && now_ms < b->until_ms && strncmp(b->user, user, USER_TEXT - 1) == 0)
            return true;
    }
    return false;
}

/* The note of that user, or else the one that is forgotten first. */
static struct blamed *note_of(struct crash_notes *notes, const char *user, uint64_t now_ms)
{
    struct blamed *oldest = &notes->blamed[0];
    for (int i = 0; i < BLAMED_MAX; i++) {
        struct blamed *b = &notes->blamed[i];
        if (now_ms < b->until_ms && strncmp(b->user, user, USER_TEXT - 1) == 0)
            return b;
        if (b->until_ms < oldest->until_ms)
            oldest = b;
    }
    oldest->crashes = 0;
    set_user(oldest->user, user);
    return oldest;
}

void crash_notes_agent_ended(struct crash_notes *notes, bool aborted, uint64_t now_ms)
{
    char counted[BLAMED_MAX][USER_TEXT];
    size_t count = 0;
    for (int i = 0; notes != NULL && i < AT_WORK_MAX; i++) {
        if (atomic_exchange(&notes->at_work[i].taken, 0) == 0 || !aborted || count == BLAMED_MAX)
            continue;
        char *user = notes->at_work[i].user;
        user[USER_TEXT - 1] = '\0';
        bool seen = false;   /* several steps of one user are one crash */
        for (size_t k = 0; k < count; k++)
            seen = seen || strcmp(counted[k], user) == 0;
        if (seen)
            continue;
        set_user(counted[count++], user);
        struct blamed *b = note_of(notes, user, now_ms);
        b->crashes++;
        b->until_ms = now_ms + CRASH_REFUSED_MS;
        log_error("supervisor", "the agent aborted while it worked for %s%s", user,
                  b->crashes >= CRASHES_MOST ? ": refused for ten minutes" : "");
    }
}
