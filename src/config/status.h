/* status: the thread that writes the gateway's status entry, and what it writes. Internal to src/config; config.c starts and stops it. */
#ifndef CONFIG_STATUS_H
#define CONFIG_STATUS_H

#include "postern/base/map.h"
#include "postern/config/status.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

/* Values of one attribute; more are counted in the last one. */
enum { STATUS_VALUES_MAX = 200, STATUS_VALUE_MAX = 1024, STATUS_FIXED = 2 };

/* What does not change while the gateway runs. */
struct status_identity {
    char *dn;                /* of the entry */
    char *host;
    int64_t start_time;
};

/* The first STATUS_FIXED attributes are those of a new entry. links: lines as in postern/config/status.h; NULL leaves them out. since: when each of
 * those that are listed was seen first; lines that are gone are forgotten. */
struct directory_entry *status_entry_new(const struct status_identity *identity, const struct snapshot *snapshot, int64_t change_time,
                                         const struct slice *links, struct map *since, int64_t now);

struct status;
/* options outlives it. */
struct status *status_start(const struct directory_options *options, const char *agent_dn);
/* Takes the entry away and ends the thread, within about 4 s. NULL inside is accepted. */
void status_stop(struct status **status);
/* A snapshot was published. */
void status_changed(struct status *status);
/* The directory was away and is back, or another server is used: what was refused is tried again. */
void status_reconnected(struct status *status);

#endif
