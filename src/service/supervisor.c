/* The parent process. Called by posternd before any thread; must never read what a client sent, nor block on its agent. */
#include "postern/service/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "postern/base/clock.h"
#include "postern/base/log.h"
#include "postern/net/listener.h"
#include "crash_notes.h"
#include "supervisor_wire.h"

enum { PORTS_MAX = 128, BACK_OFF_MOST = 30, LIFE_MS = 60 * 1000, STOP_MS = 30 * 1000, LOCK_MS = 5 * 1000, EXIT_SENSELESS = 2 };

struct bound {
    struct endpoint address;
    int fd;
    bool asked;               /* by the agent that runs now */
};

struct supervisor {
    const struct supervisor_options *options;
    int signals;              /* signalfd */
    sigset_t before;          /* the mask that the agent gets back */
    int socket;               /* to the agent; -1: none */
    pid_t agent;              /* 0: none runs */
    uint64_t started_ms;
    uint64_t start_at_ms;     /* when the next one is started */
    uint64_t kill_at_ms;      /* 0: not stopping */
    unsigned back_off;
    bool settled;             /* an agent has worked with these options */
    struct bound ports[PORTS_MAX];
    size_t port_count;
    int exit_code;
    bool done;
};

/* --- ports ------------------------------------------------------------------------------------------------------------------ */

static bool is_allowed(const struct supervisor *s, const struct endpoint *address)
{
    uint16_t port = endpoint_port(address);
    for (size_t i = 0; i < s->options->allowed_port_count; i++)
        if (s->options->allowed_ports[i] == port)
            return true;
    return port >= 1024;
}

static struct bound *find_port(struct supervisor *s, const struct endpoint *address)
{
    for (size_t i = 0; i < s->port_count; i++)
        if (endpoint_is_equal(&s->ports[i].address, address))
            return &s->ports[i];
    return NULL;
}

static void release_port(struct supervisor *s, struct bound *port)
{
    close(port->fd);
    *port = s->ports[--s->port_count];
}

/* errno value, or 0 with *port_out. */
static int bind_port(struct supervisor *s, const struct endpoint *address, struct bound **port_out)
{
    struct fault fault;
    *port_out = find_port(s, address);
    if (*port_out != NULL)
        return 0;
    if (!is_allowed(s, address)) {
        log_error("supervisor", "port %u is not among those of --allow-port", endpoint_port(address));
        return EACCES;
    }
    if (s->port_count == PORTS_MAX)
        return ENOSPC;
    int fd = listener_bind(address, &fault);
    if (fd < 0)
        return fault.error ? fault.error : EIO;
    *port_out = &s->ports[s->port_count++];
    (*port_out)->address = *address;
    (*port_out)->fd = fd;
    return 0;
}

static void release_unasked(struct supervisor *s)
{
    for (size_t i = s->port_count; i-- > 0;)
        if (!s->ports[i].asked)
            release_port(s, &s->ports[i]);
}

static void agent_speaks(struct supervisor *s)
{
    struct supervisor_message message;
    struct bound *port;
    int fd, got;
    while ((got = supervisor_receive(s->socket, &message, &fd)) > 0) {
        if (fd >= 0)
            close(fd);
        if (message.word == WORD_SETTLED) {
            s->settled = true;
            release_unasked(s);
        } else if (message.word == WORD_RELEASE && (port = find_port(s, &message.address)) != NULL)
            release_port(s, port);
        else if (message.word == WORD_BIND) {
            message.word = WORD_BOUND;
            message.error = bind_port(s, &message.address, &port);
            if (port != NULL)
                port->asked = true;
            supervisor_send(s->socket, &message, port ? port->fd : -1);
        }
    }
    if (got < 0) {   /* it has ended, SIGCHLD will say how */
        close(s->socket);
        s->socket = -1;
    }
}

/* --- the agent -------------------------------------------------------------------------------------------------------------- */

static int run_agent(struct supervisor *s, int fd, pid_t parent)
{
    for (size_t i = 0; i < s->port_count; i++)
        close(s->ports[i].fd);
    close(s->signals);
    sigprocmask(SIG_SETMASK, &s->before, NULL);
    /* The supervisor tells the agent when to stop, also when a service manager signals all processes. */
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    struct fault fault;
    if (agent_confine(&fault) < 0) {
        log_error("agent", "%s", fault.text);
        return EXIT_SENSELESS;
    }
    if (getppid() != parent)   /* it died before PR_SET_PDEATHSIG */
        return 1;
    return s->options->agent(fd, s->options->context);
}

static void start_agent(struct supervisor *s)
{
    int pair[2] = { -1, -1 };
    pid_t parent = getpid();
    s->started_ms = clock_monotonic_ms();
    if (s->socket >= 0)
        close(s->socket);
    s->socket = -1;
    for (size_t i = 0; i < s->port_count; i++)
        s->ports[i].asked = false;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) < 0 || (s->agent = fork()) < 0) {
        log_error("supervisor", "the agent cannot be started: %s", strerror(errno));
        if (pair[0] >= 0) {
            close(pair[0]);
            close(pair[1]);
        }
        s->agent = 0;
        s->start_at_ms = s->started_ms + 1000;
        return;
    }
    if (s->agent == 0) {
        close(pair[0]);
        int code = run_agent(s, pair[1], parent);
        fflush(NULL);
        _exit(code);
    }
    close(pair[1]);
    s->socket = pair[0];
    log_verbose("supervisor", "agent %ld started", (long)s->agent);
}

/* Our own bug, and not somebody's kill. */
static bool is_abort(int status)
{
    if (!WIFSIGNALED(status))
        return false;
    int number = WTERMSIG(status);
    return number == SIGABRT || number == SIGSEGV || number == SIGBUS || number == SIGILL || number == SIGFPE;
}

static void agent_ended(struct supervisor *s, int status)
{
    uint64_t now = clock_monotonic_ms();
    s->agent = 0;
    crash_notes_agent_ended(s->options->notes, is_abort(status), now);
    /* What keeps a later agent from starting, such as a full disk, may end; nobody would start the service again. */
    if (s->kill_at_ms != 0 || (!s->settled && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SENSELESS)) {
        s->done = true;
        s->exit_code = s->kill_at_ms != 0 ? 0 : EXIT_SENSELESS;
        return;
    }
    /* SIGKILL comes from outside (an operator, the kernel), never from a bug of the agent's own: no back-off. */
    bool from_outside = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
    if (from_outside || now - s->started_ms >= LIFE_MS)
        s->back_off = 0;
    s->start_at_ms = now + s->back_off * 1000ull;
    log_error("supervisor", "the agent ended by %s %d; it is started again in %u s",
              WIFSIGNALED(status) ? "signal" : "exit code", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
              s->back_off);
    if (!from_outside && s->back_off < BACK_OFF_MOST)
        s->back_off++;
}

static void tell(struct supervisor *s, enum supervisor_word word)
{
    struct supervisor_message message = { .word = word };
    if (s->socket >= 0)
        supervisor_send(s->socket, &message, -1);
}

static void stop(struct supervisor *s)
{
    if (s->kill_at_ms != 0)
        return;
    log_normal("supervisor", "stopping");
    s->kill_at_ms = clock_monotonic_ms() + STOP_MS;   /* with a directory that is frozen it needs 10 s for its sessions and up to 10 for its threads */
    if (s->agent == 0)
        s->done = true;
    tell(s, WORD_STOP);
}

static void take_signal(struct supervisor *s)
{
    struct signalfd_siginfo info;
    if (read(s->signals, &info, sizeof(info)) != sizeof(info))
        return;
    if (info.ssi_signo == SIGCHLD) {
        int status;
        pid_t pid;
        while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
            if (pid == s->agent)
                agent_ended(s, status);
    } else if (info.ssi_signo == SIGHUP)
        tell(s, WORD_RELOAD);
    else
        stop(s);
}

/* --- the loop ------------------------------------------------------------------------------------------------------------- */

static int next_timeout(const struct supervisor *s)
{
    uint64_t now = clock_monotonic_ms(), at = s->kill_at_ms;
    if (s->agent == 0)
        at = s->start_at_ms;
    if (at == 0)
        return -1;
    return at > now ? (int)(at - now) : 0;
}

static void supervise(struct supervisor *s)
{
    while (!s->done) {
        if (s->agent == 0 && clock_monotonic_ms() >= s->start_at_ms)
            start_agent(s);
        struct pollfd fds[2] = { { .fd = s->signals, .events = POLLIN }, { .fd = s->socket, .events = POLLIN } };
        if (poll(fds, 2, next_timeout(s)) < 0 && errno != EINTR)
            continue;
        if (fds[1].revents != 0)
            agent_speaks(s);
        if (fds[0].revents != 0)
            take_signal(s);
        if (s->kill_at_ms != 0 && s->agent > 0 && clock_monotonic_ms() >= s->kill_at_ms) {
            log_warning("supervisor", "the agent does not end: it is killed");
            kill(s->agent, SIGKILL);
            s->kill_at_ms = clock_monotonic_ms() + STOP_MS;
        }
    }
}

static int write_pid_file(const char *path)
{
    if (path == NULL)
        return 0;
    FILE *file = fopen(path, "we");
    if (file == NULL || fprintf(file, "%ld\n", (long)getpid()) < 0 || fclose(file) != 0) {
        log_error("supervisor", "pid file %s: %s", path, strerror(errno));
        return -1;
    }
    return 0;
}

/* A descriptor that holds the lock, which the agent inherits, or -1. The agent of a supervisor that was killed takes a moment to die. */
static int lock_state(const char *dir)
{
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        log_error("supervisor", "state directory %s: %s", dir, strerror(errno));
        return -1;
    }
    uint64_t until = clock_monotonic_ms() + LOCK_MS;
    while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK || clock_monotonic_ms() >= until) {
            log_error("supervisor", "state directory %s: %s", dir,
                      errno == EWOULDBLOCK ? "another posternd works with it" : strerror(errno));
            close(fd);
            return -1;
        }
        poll(NULL, 0, 20);
    }
    return fd;
}

int supervisor_run(const struct supervisor_options *options)
{
    struct supervisor s = { .options = options, .socket = -1 };
    sigset_t set;
    int lock = options->state_dir != NULL ? lock_state(options->state_dir) : -1;
    if (options->state_dir != NULL && lock < 0)
        return EXIT_SENSELESS;
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, &s.before);
    s.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s.signals < 0 || write_pid_file(options->pid_file) < 0) {
        if (lock >= 0)
            close(lock);
        return 1;
    }
    supervise(&s);
    for (size_t i = 0; i < s.port_count; i++)
        close(s.ports[i].fd);
    if (s.socket >= 0)
        close(s.socket);
    close(s.signals);
    if (options->pid_file != NULL)
        unlink(options->pid_file);
    if (lock >= 0)
        close(lock);
    sigprocmask(SIG_SETMASK, &s.before, NULL);
    return s.exit_code;
}
