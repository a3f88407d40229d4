/* build: all objects put together into one snapshot. Internal to src/config; the snapshot's body is known to snapshot.c, rights.c and user.c. */
#ifndef CONFIG_BUILD_H
#define CONFIG_BUILD_H

#include "objects.h"

/* In force for its members. Points into its version. */
struct class_of_service {
    struct version *version;
    const struct class_of_service_settings *settings;
    bool broken;             /* never was valid: it prevents, for the members it names */
};

struct snapshot_body {
    struct snapshot public;  /* first: they are the same pointer */
    struct arena arena;
    struct map offices;      /* normal DN to struct post_office */
    struct map domains;      /* lower case to struct post_office */
    struct map class_members;                  /* rights.c: normal DN or domain to the classes that name it */
    const struct class_node *default_classes;
    size_t class_people;                       /* members that are DNs, but no post offices */
    struct version **versions;
    size_t version_count;
    char *base;              /* naming context: where users are looked up by default */
    struct version *agent;           /* in force; NULL: there is none */
    struct version *agent_present;   /* as the directory has it, valid or not */
    const struct overlay *overlay;   /* the switches; until config_stop */
};

struct build_options {
    const char *agent_dn;    /* as given */
    const char *agent_ndn;
    const char *base;        /* may be NULL: not known yet */
    bool from_cache;
    const struct overlay *overlay;   /* or NULL */
};

/* A new snapshot with one reference and serial 0. */
struct snapshot *build_snapshot(struct objects *objects, const struct build_options *options);
const struct snapshot_body *snapshot_body(const struct snapshot *snapshot);
/* Makes it the current one and gives it the next serial; takes the reference. NULL takes the current one away. */
void snapshot_publish(struct snapshot *snapshot);

#endif
