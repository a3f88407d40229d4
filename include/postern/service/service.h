/* service: listeners, loops, threads and sessions of the agent process. One per process; config_start follows service_new; config_stop comes
 * after service_run, whose steps use it, and before service_free, which it tells of changes. */
#ifndef POSTERN_SERVICE_SERVICE_H
#define POSTERN_SERVICE_SERVICE_H

#include <stdbool.h>

#include "postern/base/fault.h"
#include "postern/session/session.h"

struct gateway;
struct crash_notes;
struct intruders;

struct service_options {
    const struct protocol *protocols[SERVICE_COUNT];   /* NULL: that service is not served */
    const char *tls_dir;         /* certificate and key files lie below it */
    const char *credentials_dir; /* files with the gateway's own credentials; NULL: there are none */
    const char *control_path;    /* socket of posternctl; NULL: none */
    int supervisor_fd;           /* the agent's end of the supervisor's socket; -1: ports are bound by this process */
    struct crash_notes *notes;   /* postern/service/supervisor.h; or NULL */
    struct intruders *intruders; /* likewise */
    unsigned loops;              /* 0: one for each processor, at most 16 */
    unsigned descriptors;        /* those from this one on are not for clients; 0: as many as the process may have, but for some */
};

/* options are borrowed until service_free. */
int service_new(const struct service_options *options, struct gateway **out, struct fault *fault);
/* Serves until service_stop; sessions hear a farewell and have ten seconds. False: threads that wait for a disk or the directory are
 * still at work; nothing that they use may be freed, and the process should end. */
bool service_run(struct gateway *gateway);
/* Any thread. */
void service_stop(struct gateway *gateway);
/* A new snapshot was published: takes it up soon. Any thread. */
void service_changed(struct gateway *gateway);
/* Users changed: their sessions are looked over soon. Any thread. */
void service_users_changed(struct gateway *gateway);
void service_free(struct gateway **gateway);

#endif
