/* What the agent's process gives up before it reads the first byte. Called once in the agent; a failure to give up privileges is
 * a failure to start. */
#include "postern/service/supervisor.h"

#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "system_calls.h"

static int drop_capabilities(struct fault *fault)
{
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);   /* kernels before 4.3 have none */
    /* Without CAP_SETPCAP this is refused; no_new_privs then keeps the bounding set from mattering. */
    for (int i = 0; i <= CAP_LAST_CAP; i++)
        prctl(PR_CAPBSET_DROP, i, 0, 0, 0);
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3];
    memset(none, 0, sizeof(none));
    if (syscall(SYS_capset, &header, none) < 0)
        return fault_set_errno(fault, errno, "giving up capabilities");
    return 0;
}

int agent_confine(struct fault *fault)
{
    umask(077);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return fault_set_errno(fault, errno, "prctl");
    if (drop_capabilities(fault) < 0)
        return -1;
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
        return fault_set_errno(fault, errno, "prctl");
    return system_calls_deny(fault);
}
