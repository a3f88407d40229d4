/* config: follows the directory and publishes snapshots; looks users up and verifies them. The only user of src/directory.
 * One config per process. */
#ifndef POSTERN_CONFIG_CONFIG_H
#define POSTERN_CONFIG_CONFIG_H

#include "postern/base/fault.h"
#include "postern/config/snapshot.h"
#include "postern/config/switches.h"
#include "postern/config/user.h"
#include "postern/sasl/sasl.h"

struct directory_bind;
struct directory_options;     /* postern/directory/directory.h: URIs, bind DN, password file, EXTERNAL, CA file */
struct directory_watch_state; /* postern/directory/watch.h */

struct config_options {
    const struct directory_options *directory;   /* copied; its strings outlive config_stop */
    const char *agent_dn;
    const char *state_dir;     /* the last good state is kept here, file "configuration" */
    const char *mail_root;     /* post office paths outside are a fault (architecture, decision 11) */
    uint16_t allowed_ports[32];      /* --allow-port: ports below 1024 other than these are a fault, also the attributes' own defaults */
    size_t allowed_port_count;
    const char *const *token_urls;   /* --allow-token-url: posternTokenIntrospectionUrl must begin with one; outlive config_stop; NULL: not bounded */
    size_t token_url_count;
    const struct config_switch *switches;   /* stand over the agent object's values: switches.h */
    size_t switch_count;
    /* Some users are not current any more (config_user_is_current). Called with config_start's context, from a thread of config's own, at most
     * each 100 ms; may be NULL. It must not wait. */
    void (*users_changed)(void *context);
};

/* Starts the watching thread. Publishes the last good state from disk at once, if there is one, then the directory's as soon as it can
 * be read, then every change. `changed` is called from the watching thread after each publication. Fails only if options make no sense. */
int config_start(const struct config_options *options, void (*changed)(void *context), void *context, struct fault *fault);
/* Nobody may be in config_find_user or config_verify_user. Users and snapshots still held stay good. */
void config_stop(void);

/* [T] blocks at most about 5 s (the directory's time limits). name: user ID or any address. FAULT_NOT_FOUND: nobody, or more than one;
 * FAULT_UNREACHABLE or FAULT_TIMEOUT: the directory, or nothing could be read yet. The user is the caller's: user_unref. */
int config_find_user(struct slice name, struct user **out, struct fault *fault);
/* [L] The same from memory: false if the directory must be asked. Users that were asked for of late are kept as long as the directory tells of their
 * changes. A modification that has succeeded before the call is seen as soon as its notice has arrived: normally less than a millisecond. */
bool config_find_kept_user(struct slice name, struct user **out);
/* [T] Bind as the user on a connection of the bounded pool. An empty password is refused here. FAULT_AUTHENTICATION: refused, also under the DN that the user
 * has now, which is asked for first (text: what the directory said, ppolicy included, for the log only); FAULT_UNREACHABLE or FAULT_TIMEOUT:
 * not known. */
int config_verify_user(const struct user *user, struct slice password, struct fault *fault);

/* [L] The same without waiting: sends it, if a connection is open and free; NULL: config_verify_user must be called in a thread. Then as directory_bind_take
 * says: 1 is not yet, to be asked when the descriptor is readable and each second; after FAULT_UNREACHABLE config_verify_user may know more: of a refused bind,
 * which it does not repeat, whether the user has another DN now. */
struct directory_bind *config_verify_begin(const struct user *user, struct slice password);
int config_verify_fd(const struct directory_bind *bind);
int config_verify_take(struct directory_bind **bind, struct fault *fault);
void config_verify_drop(struct directory_bind **bind);
/* [T] What SCRAM compares with: the name's authPassword (RFC 5803), *dn_out then the DN, the caller's. A name that has none, or is nobody's, gets keys that
 * nobody can tell from others, and *dn_out is NULL. Faults: the directory. */
int config_find_keys(struct slice name, struct sasl_keys *out, char **dn_out, struct fault *fault);

/* [L] The password of that name is right: remembered for as long as the agent's settings say, by default not at all. begun: from before it was verified; a user
 * that has changed since is not remembered. */
uint64_t config_remember_begin(void);
void config_remember(struct slice name, struct user *user, struct slice password, uint64_t begun);
/* [L] While the directory is not reachable: 1: it was right a short time ago, and nothing of the user is known to have changed; -1: another one was; 0: nothing
 * is known. The user, unless 0, is the caller's. */
int config_recall(struct slice name, struct slice password, struct user **out);
/* [L] The directory has refused it. */
void config_forget(struct slice name, struct slice password);

/* [L] Cheap. False once something of the user changed since it was built: its entry, its distribution lists, the snapshot, or its time
 * is over. An ldapmodify is known here as soon as its notice has arrived, normally within a millisecond of its answer; from a directory that
 * gives no notices of users, any user is out of date after a minute. */
bool config_user_is_current(const struct user *user);
/* [T] The same user (by entryUUID, else DN) as the directory has it now. FAULT_NOT_FOUND: gone; other faults as config_find_user. */
int config_refresh_user(const struct user *old, struct user **out, struct fault *fault);

/* [L] How the directory is followed now: its mode, server, heartbeat. */
void config_directory_state(struct directory_watch_state *out);
/* [L] Has everything read anew from the directory. */
void config_refresh(void);

#endif
