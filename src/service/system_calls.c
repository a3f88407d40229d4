/* The system calls that the agent never makes and that an intruder would want: refused from the start, in all its threads, until it ends. Called once by
 * agent_confine. What is not named here stays allowed: a library that begins to use another call must not stop the mail. */
#include "system_calls.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "postern/base/log.h"

#if defined(__x86_64__)
#define MACHINE AUDIT_ARCH_X86_64
#elif defined(__aarch64__) && !defined(__AARCH64EB__)
#define MACHINE AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define MACHINE AUDIT_ARCH_RISCV64
#endif

#ifdef MACHINE

#define REFUSE(number) (SECCOMP_RET_ERRNO | ((number) & SECCOMP_RET_DATA))
#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define UNLESS(number, skipped) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (number), 0, (skipped))
#define RETURN(action) BPF_STMT(BPF_RET | BPF_K, (action))
#define DENY(name) UNLESS(SYS_##name, 1), RETURN(REFUSE(EPERM)),

static struct sock_filter program[] = {
    /* Calls by the numbers of another machine would pass by all that follows. */
    LOAD(arch), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, MACHINE, 1, 0), RETURN(REFUSE(EPERM)),
    LOAD(nr),
#ifdef __x86_64__
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000u, 0, 1), RETURN(REFUSE(EPERM)),
    DENY(fork) DENY(vfork) DENY(iopl) DENY(ioperm)
#endif
    /* other programs and processes */
    DENY(execve) DENY(execveat) DENY(ptrace) DENY(process_vm_readv) DENY(process_vm_writev) DENY(pidfd_getfd)
    /* other users, capabilities, namespaces */
    DENY(setuid) DENY(setgid) DENY(setreuid) DENY(setregid) DENY(setresuid) DENY(setresgid) DENY(setfsuid) DENY(setfsgid) DENY(setgroups)
    DENY(capset) DENY(unshare) DENY(setns) DENY(personality)
    /* the tree of files */
    DENY(mount) DENY(umount2) DENY(pivot_root) DENY(chroot) DENY(move_mount) DENY(open_tree) DENY(fsopen) DENY(fsconfig) DENY(fsmount) DENY(fspick)
    DENY(open_by_handle_at) DENY(quotactl) DENY(swapon) DENY(swapoff)
    /* the kernel; io_uring would make calls that pass by this filter */
    DENY(bpf) DENY(perf_event_open) DENY(userfaultfd) DENY(io_uring_setup) DENY(io_uring_enter) DENY(io_uring_register) DENY(init_module)
    DENY(finit_module) DENY(delete_module) DENY(kexec_load) DENY(reboot) DENY(acct) DENY(syslog)
    /* the clock and the names of the host */
    DENY(settimeofday) DENY(clock_settime) DENY(clock_adjtime) DENY(adjtimex) DENY(sethostname) DENY(setdomainname)
    /* Threads yes, processes no. The flags of clone3 lie in memory, where a filter cannot look: with ENOSYS the C library takes clone. */
    UNLESS(SYS_clone3, 1), RETURN(REFUSE(ENOSYS)),
    UNLESS(SYS_clone, 3), LOAD(args[0]), BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, CLONE_THREAD, 1, 0), RETURN(REFUSE(EPERM)),
    RETURN(SECCOMP_RET_ALLOW),
};

int system_calls_deny(struct fault *fault)
{
    const struct sock_fprog filter = { .len = sizeof(program) / sizeof(program[0]), .filter = program };
    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter, 0, 0) == 0)
        return 0;
    if (errno != EINVAL)
        return fault_set_errno(fault, errno, "the filter of system calls");
    log_warning("agent", "this kernel has no filters of system calls");
    return 0;
}

#else

int system_calls_deny(struct fault *fault)
{
    (void)fault;
    log_warning("agent", "no filter of system calls is known for this machine");
    return 0;
}

#endif
