/* What the agent has given up, tried in a process of its own: a filter of system calls is for ever. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../src/service/system_calls.h"
#include "postern/service/supervisor.h"
#include "run.h"

enum { NO_FILTER = 101, NOT_CONFINED = 102, NO_THREAD = 103, A_PROCESS = 104, NO_SELF = 105, FAILED_CALL = 1 };

/* With arguments that would do no harm: without the filter they give another error, or none. */
static const struct {
    const char *name;
    long number;
    long first;
} refused[] = {
    { "execve", SYS_execve, 0 },             { "execveat", SYS_execveat, -1 },        { "ptrace", SYS_ptrace, 9999 },
    { "process_vm_readv", SYS_process_vm_readv, 0 }, { "setuid", SYS_setuid, -1 },    { "setresuid", SYS_setresuid, -1 },
    { "setgid", SYS_setgid, -1 },            { "setresgid", SYS_setresgid, -1 },      { "setgroups", SYS_setgroups, -1 },
    { "unshare", SYS_unshare, 0 },           { "setns", SYS_setns, -1 },              { "mount", SYS_mount, 0 },
    { "umount2", SYS_umount2, 0 },           { "chroot", SYS_chroot, 0 },             { "pivot_root", SYS_pivot_root, 0 },
    { "open_by_handle_at", SYS_open_by_handle_at, -1 }, { "bpf", SYS_bpf, -1 },       { "perf_event_open", SYS_perf_event_open, 0 },
    { "io_uring_setup", SYS_io_uring_setup, 0 }, { "init_module", SYS_init_module, 0 }, { "finit_module", SYS_finit_module, -1 },
    { "settimeofday", SYS_settimeofday, 0 }, { "capset", SYS_capset, 0 },
};
enum { REFUSED_COUNT = sizeof(refused) / sizeof(refused[0]) };

static void *set_flag(void *context)
{
    *(int *)context = 1;
    return NULL;
}

static int try_allowed(void)
{
    pthread_t thread;
    int flag = 0;
    if (pthread_create(&thread, NULL, set_flag, &flag) != 0 || pthread_join(thread, NULL) != 0 || flag != 1)
        return NO_THREAD;
    int fd = open("/dev/null", O_WRONLY), other = socket(AF_INET, SOCK_STREAM, 0);
    struct stat stat;
    if (fd < 0 || other < 0 || fstat(fd, &stat) < 0 || write(fd, "x", 1) != 1 || raise(0) != 0)
        return NO_SELF;
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    return child < 0 && errno == EPERM ? 0 : A_PROCESS;
}

static int try_refused(void)
{
    if (prctl(PR_GET_SECCOMP) != 2)
        return NO_FILTER;
    for (int i = 0; i < REFUSED_COUNT; i++) {
        errno = 0;
        if (syscall(refused[i].number, refused[i].first, 0, 0, 0, 0) != -1 || errno != EPERM)
            return FAILED_CALL + i;
    }
#ifdef __x86_64__
    errno = 0;
    if (syscall(0x40000000 | SYS_getppid) != -1 || errno != EPERM)
        return NO_FILTER;
#endif
    return try_allowed();
}

/* With the capabilities that the test has: most of the calls would be refused without them anyway. */
static int filtered(void)
{
    struct fault fault;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || system_calls_deny(&fault) < 0)
        return NOT_CONFINED;
    return try_refused();
}

static int confined(void)
{
    struct fault fault;
    if (agent_confine(&fault) < 0)
        return NOT_CONFINED;
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1 || prctl(PR_GET_DUMPABLE) != 0 || umask(0) != 077)
        return NOT_CONFINED;
    return try_refused();
}

/* 0, one of the words above, or FAILED_CALL and the index of the call that was not refused. */
static void run(int (*try)(void))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(try());
    int status = -1;
    CU_ASSERT_EQUAL_FATAL(waitpid(pid, &status, 0), pid);
    CU_ASSERT_FATAL(WIFEXITED(status));
    int code = WEXITSTATUS(status);
    CU_ASSERT_EQUAL(code, 0);
    if (code != 0)
        fprintf(stderr, "%d: %s\n", code, code >= FAILED_CALL && code < FAILED_CALL + REFUSED_COUNT ? refused[code - FAILED_CALL].name : "");
}

static void test_filter(void)
{
    run(filtered);
}

static void test_confine(void)
{
    run(confined);
}

/* Nothing but the filter refuses these. */
static void test_without(void)
{
    CU_ASSERT_EQUAL(prctl(PR_GET_SECCOMP), 0);
    errno = 0;
    CU_ASSERT_EQUAL(syscall(SYS_execve, 0, 0, 0), -1);
    CU_ASSERT_NOT_EQUAL(errno, EPERM);
    CU_ASSERT_EQUAL(syscall(SYS_unshare, 0), 0);
}

static const struct unit_test tests[] = {
    { "filter", test_filter },
    { "confine", test_confine },
    { "without", test_without },
};

UNIT_MAIN("confine", tests)
