/* parse: a directory entry turned into one version of a configuration object, or the reasons why it is not valid. */
#ifndef CONFIG_PARSE_H
#define CONFIG_PARSE_H

#include "attributes.h"
#include "overlay.h"
#include "postern/base/arena.h"
#include "postern/base/map.h"
#include "postern/directory/directory.h"
#include "postern/directory/entry.h"

enum { COMPLAINTS_MAX = 32 };   /* of one object; more are not told */

struct complaint {
    const char *attribute;     /* or NULL */
    const char *reason;
    struct complaint *next;
};

/* What the command line bounds (architecture, decision 11). */
struct parse_bounds {
    const char *mail_root;     /* normal form: no trailing slash, "" for none */
    const uint16_t *allowed_ports;
    size_t allowed_port_count;
    const char *const *token_urls;   /* what posternTokenIntrospectionUrl may begin with; NULL: not known, anything */
    size_t token_url_count;
    enum directory_vendor vendor;    /* of the directory */
    const struct overlay *overlay;   /* stands over every agent object's own values; NULL: no switches */
    const char *agent_ndn;     /* the object that this process serves as; NULL: none */
};

/* One state of one object. Immutable and counted: snapshots point into it. */
struct version {
    _Atomic unsigned references;
    struct arena arena;
    const struct object_class *class;
    struct directory_entry *entry;    /* owned: what it was made from, and what is kept on disk */
    char *ndn;                        /* normal form of the DN */
    void *settings;                   /* the struct of the class */
    char *name;                       /* first value of the DN, for logs */
    char *target;                     /* of a link: normal DN of its post office; NULL: none */
    struct map members;               /* of a class of service: normal DNs and lower-case domains */
    struct complaint *complaints;     /* none: valid */
    struct complaint *remarks;        /* told like complaints, but the version is valid */
    struct version *server;           /* of the Post Office Agent that this process serves as: the same as an agent; else NULL */
};

/* Always gives a version, with complaints if it is not valid; NULL only if it is of no class that is known here. Takes the entry. */
struct version *version_new(struct directory_entry *entry, const struct parse_bounds *bounds);
struct version *version_ref(struct version *version);
void version_unref(struct version **version);

/* Fills `out`, the struct of the class, from the entry; strings live in the arena. Returns what is wrong, defaults standing in its place. */
struct complaint *parse_settings(const struct object_class *class, const struct directory_entry *entry, struct arena *arena, void *out);
/* The same with a NULL or given overlay, whose values win. What is wrong with a value of the entry that is not in force goes to *remarks. */
struct complaint *parse_settings_over(const struct object_class *class, const struct directory_entry *entry, const struct overlay *overlay,
                                      struct arena *arena, void *out, struct complaint **remarks);
/* GeneralizedTime (RFC 4517, section 3.3.13) as seconds since the epoch. */
bool parse_time(struct slice text, int64_t *out);

#endif
