/* status: the gateway's own entry in the directory: cn=<host> under its agent object, class posternAgentStatus. Written by a thread of its own: at
 * once for a fault that comes or goes, otherwise at most every ten seconds, and only what changed. */
#ifndef POSTERN_CONFIG_STATUS_H
#define POSTERN_CONFIG_STATUS_H

#include "postern/base/buf.h"
#include "postern/config/snapshot.h"

/* How each post office of the snapshot is reached now: appends lines "DN: words", each ended by LF, such as "cn=Sales,ou=mail,dc=x: client/server
 * mail1:143". When each line became true is added by the status. Two hundred lines
 * are kept and the others counted: those that somebody should see come first. Called from the status thread; must not wait for the outside world. NULL: what
 * the configuration says. Set before config_start. */
void config_set_link_report(void (*report)(const struct snapshot *snapshot, struct buf *out, void *context), void *context);
/* A post office is reached another way than before. Any thread, also without a running status. */
void config_links_changed(void);

#endif
