/* build: all objects put together into one snapshot, from the snapshot before and what has changed since. Internal to src/config; the snapshot's body is
 * known to snapshot.c, rights.c, user.c and what compares and reports. */
#ifndef CONFIG_BUILD_H
#define CONFIG_BUILD_H

#include "found.h"
#include "objects.h"
#include "parts.h"

/* In force for its members. Points into its version. */
struct class_of_service {
    struct version *version;
    const struct class_of_service_settings *settings;
    bool broken;             /* never was valid: it prevents, for the members it names */
};

struct snapshot_body {
    struct snapshot public;  /* first: they are the same pointer */
    struct arena arena;
    struct generation *generation;
    struct slots *offices;   /* by entryUUID */
    struct slots *by_name;   /* normal DN */
    struct slots *by_domain; /* lower case */
    struct class_index *classes;     /* rights.c */
    char *base;              /* naming context: where users are looked up by default */
    struct version *agent;           /* in force; NULL: there is none */
    struct version *agent_present;   /* as the directory has it, valid or not */
    const struct overlay *overlay;   /* the switches; until config_stop */
    struct found *found[FOUND_BY_COUNT];   /* by others than the configuration; their faults stand last */
};

struct build_options {
    const char *agent_dn;    /* as given */
    const char *agent_ndn;   /* the same for all builds of the objects */
    const char *base;        /* may be NULL: not known yet */
    bool from_cache;
    const struct overlay *overlay;   /* or NULL */
};

/* A new snapshot with one reference and serial 0. */
struct snapshot *build_snapshot(struct objects *objects, const struct build_options *options);
/* From objects_fini: what is kept from build to build. NULL inside is accepted. */
void assembly_free(struct assembly **assembly, struct objects *objects);
const struct snapshot_body *snapshot_body(const struct snapshot *snapshot);
/* The objects that are in force, and the agent as it is present; one of the same entryUUID that comes later counts. */
void snapshot_for_each_version(const struct snapshot *snapshot, void (*visit)(struct version *version, void *context), void *context);
/* Makes it the current one and gives it the next serial; takes the reference. NULL takes the current one away. */
void snapshot_publish(struct snapshot *snapshot);

#endif
