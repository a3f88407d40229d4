/* check: objects and users of a directory judged as the gateway would judge them, without a gateway. One thread. */
#ifndef POSTERN_CONFIG_CHECK_H
#define POSTERN_CONFIG_CHECK_H

#include "postern/config/snapshot.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

struct config_check_options {
    const char *agent_dn;
    const char *base;          /* the naming context that holds it */
    const char *mail_root;     /* NULL: post offices may lie anywhere */
    const uint16_t *allowed_ports;
    size_t allowed_port_count;
    enum directory_vendor vendor;   /* whose directory it is decides about some settings */
};

struct config_check;
/* The options are copied, but for allowed_ports. NULL: the agent's DN is not one. */
struct config_check *config_check_new(const struct config_check_options *options);
void config_check_free(struct config_check **check);
/* The entry is copied; one of no class that is known here, or of none any more, counts for nothing. One that is put again and is not valid keeps its last valid
 * version, as in the gateway. Its uuid must not be empty. */
void config_check_put(struct config_check *check, const struct directory_entry *entry);
void config_check_remove(struct config_check *check, const char *uuid);
/* What the gateway would publish now: the caller's. */
struct snapshot *config_check_build(struct config_check *check);

/* What is read of the directory; both lists end with NULL and are the caller's. */
const char **config_check_attributes(void);
const char *config_check_filter(void);
extern const char *const config_check_user_attributes[];
/* Where the users of a snapshot lie. */
const char *config_check_user_base(const struct snapshot *snapshot, const char *base);

/* Users one after the other; names that were seen before are told. */
struct user_check;
struct user_check *user_check_new(const struct snapshot *snapshot);
void user_check_free(struct user_check **check);
void user_check_entry(struct user_check *check, const struct directory_entry *entry,
                      void (*fault)(void *context, const char *dn, const char *attribute, const char *reason), void *context);

/* The attributes that only mail administrators should be able to write, for asking the directory who can: by position; false after the last. kind: an example
 * of two values that the attribute could have and certainly does not have both. */
struct protected_attribute {
    const char *class;
    const char *attribute;
    char one[64];
    char other[64];
};
bool config_check_protected(size_t n, struct protected_attribute *out);

#endif
