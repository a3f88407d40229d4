/* A message that fails, and a process that is killed before each of its calls that change the spool: the sender is told once, whenever that was. */
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "queue_world.h"

/* --- calls that change something, in the place of the C library's --------------------------------------------------------- */

static _Atomic long calls;
static long killed_at;   /* 0: never */

static void count_call(void)
{
    if (++calls == killed_at)
        kill(getpid(), SIGKILL);
}

int openat(int dir, const char *path, int flags, ...)
{
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & O_CREAT ? (mode_t)va_arg(more, unsigned) : 0;
    va_end(more);
    if (flags & O_CREAT)
        count_call();
    return (int)syscall(SYS_openat, dir, path, flags, mode);
}

int fsync(int fd)
{
    count_call();
    return (int)syscall(SYS_fsync, fd);
}

int renameat(int from_dir, const char *from, int to_dir, const char *to)
{
    count_call();
    return (int)syscall(SYS_renameat2, from_dir, from, to_dir, to, 0);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags)
{
    count_call();
    return (int)syscall(SYS_linkat, from_dir, from, to_dir, to, flags);
}

int unlinkat(int dir, const char *path, int flags)
{
    count_call();
    return (int)syscall(SYS_unlinkat, dir, path, flags);
}

/* --- one life of the process ---------------------------------------------------------------------------------------------- */

enum { LEFT_ALIVE = 7 };

static bool until_one_waits(void)
{
    for (uint64_t deadline = clock_monotonic_ms() + 10000; clock_monotonic_ms() < deadline; poll(NULL, 0, 2))
        if (count_files("") == 2 && envelope_holds("attempts 1\n") && queue_length() == 1)
            return true;
    return false;
}

/* Until nothing can be done any more; one recipient may wait. */
static void live(bool one_waits)
{
    struct fault fault;
    world.stored = world.shared->mail;
    world.stored_at = clock_wall().tv_sec;
    bool good = queue_start(state_dir, &fault) == 0 && (one_waits ? until_one_waits() : until_length(0));
    queue_stop();
    _exit(good ? LEFT_ALIVE : 1);
}

/* True: it was killed. */
static bool live_until(long call, bool one_waits)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        killed_at = call;
        live(one_waits);
    }
    CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT(WIFSIGNALED(status) ? WTERMSIG(status) == SIGKILL && call != 0 : WIFEXITED(status) && WEXITSTATUS(status) == LEFT_ALIVE);
    return WIFSIGNALED(status);
}

/* So much later that nobody can be at work any more on what may have been delivered: the digits of "given N" become those of the year 2001. */
static void let_time_pass(void)
{
    char name[600], text[4096];
    snprintf(name, sizeof(name), "%s/queue", state_dir);
    DIR *list = opendir(name);
    for (struct dirent *at = readdir(list); at != NULL; at = readdir(list)) {
        FILE *file = NULL;
        snprintf(name, sizeof(name), "%s/queue/%s", state_dir, at->d_name);
        if (strstr(at->d_name, ".envelope") == NULL || (file = fopen(name, "r+")) == NULL)
            continue;
        text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
        char *given = strstr(text, "\ngiven ");
        if (given != NULL && fseek(file, given + 7 - text, SEEK_SET) == 0)
            fputc('1', file), fputc('0', file);
        fclose(file);
    }
    closedir(list);
}

static void put_failing(const char *sender, const char *other)
{
    struct buf text = { .cap = 0 };
    struct spool spool;
    struct fault fault;
    CU_ASSERT_EQUAL_FATAL(spool_init(&spool, state_dir, &fault), 0);
    spool_fini(&spool);
    buf_printf(&text, "postern-queue 1\nsender %s\narrived 9999999999\nattempts 0\nnext 7\nbody 7bit\nrecipient nobody@example.com\n%srecipient gone@example.com\nend\n", sender,
               other);
    put_file("7.envelope", buf_text(&text));
    put_file("7.message", "Subject: lost\r\n\r\n");
    buf_fini(&text);
}

static void check_left(const char *sender, bool one_waits)
{
    bool notice = sender[0] != '\0';
    CU_ASSERT_EQUAL(world.shared->count, notice);
    CU_ASSERT(!notice || (strstr(world.shared->mail, "<nobody@example.com>: ") != NULL && strstr(world.shared->mail, "<gone@example.com>: ") != NULL));
    CU_ASSERT_EQUAL(count_files(""), one_waits ? 2 : 0);
    CU_ASSERT_EQUAL(count_files("/bad"), notice ? 0 : 2);
    CU_ASSERT(!one_waits || (envelope_holds("\nrecipient bob@example.org\nend\n") && !envelope_holds("nobody@")));
}

static void test_killed_at_each_call(void)
{
    static const struct { const char *sender, *other; long least; } rows[] = {
        { "joe@example.com", "", 14 }, { "joe@example.com", "recipient bob@example.org\n", 14 }, { "", "", 7 }, { "", "recipient bob@example.org\n", 7 },
    };
    world.shared = mmap(NULL, sizeof(*world.shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CU_ASSERT_FATAL(world.shared != MAP_FAILED);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        bool killed = true, one_waits = rows[i].other[0] != '\0';
        long call = 0;
        while (killed) {
            begin();
            memset(world.shared, 0, sizeof(*world.shared));
            put_failing(rows[i].sender, rows[i].other);
            killed = live_until(++call, one_waits);
            if (killed) {
                let_time_pass();
                live_until(0, one_waits);
            }
            check_left(rows[i].sender, one_waits);
            end();
        }
        CU_ASSERT(call > rows[i].least);
        printf("%ld places ", call - 1);
    }
    munmap(world.shared, sizeof(*world.shared));
    world.shared = NULL;
}

static const struct unit_test tests[] = { { "killed at each call", test_killed_at_each_call } };

UNIT_MAIN("queue_crash", tests)
