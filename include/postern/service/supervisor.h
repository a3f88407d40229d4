/* supervisor: the parent process. Binds and keeps the listening sockets, starts the agent and starts it again after a crash; reads neither
 * directory nor mail. */
#ifndef POSTERN_SERVICE_SUPERVISOR_H
#define POSTERN_SERVICE_SUPERVISOR_H

#include <stddef.h>
#include <stdint.h>

#include "postern/base/fault.h"

/* Shared with the agents: users whose mailboxes made them abort. Made before the first process is started. */
struct crash_notes;
struct crash_notes *crash_notes_new(void);
void crash_notes_free(struct crash_notes **notes);

/* Likewise: names with failed logins (src/service/intruders.h). */
struct intruders;
struct intruders *intruders_new(void);
void intruders_free(struct intruders **intruders);

struct supervisor_options {
    const uint16_t *allowed_ports;   /* below 1024 no others are bound */
    size_t allowed_port_count;
    const char *pid_file;            /* or NULL */
    const char *state_dir;           /* locked as long as supervisor or agent live: two must not send the same queue; or NULL */
    struct crash_notes *notes;       /* or NULL */
    /* The agent's process: returns its exit code. 2 means that it makes no sense to start it again. */
    int (*agent)(int supervisor_fd, void *context);
    void *context;
};

/* Until SIGTERM or SIGINT; called before any thread exists. Returns the exit code. */
int supervisor_run(const struct supervisor_options *options);

/* In the agent, before any thread: dies with its parent, no new privileges, no capabilities, no core dumps, umask 077. */
int agent_confine(struct fault *fault);

#endif
