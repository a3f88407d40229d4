/* parts: what each object comes to, shared by all snapshots until something that it was made of changes, and the sorted tables that find them. Internal to
 * src/config: build.c makes them, snapshot.c and others look them up. Everything here is immutable once a snapshot has it. */
#ifndef CONFIG_PARTS_H
#define CONFIG_PARTS_H

#include "parse.h"

struct part_fault {
    struct config_fault fault;
    struct part_fault *next;
};

/* A post office in force, faults, or both. */
struct part {
    struct post_office office;      /* the uuid is that of the object in any case */
    struct version *version;        /* of the post office; NULL: there is none in force */
    struct version *link;           /* or NULL */
    struct version **agents;        /* Post Office Agents, in the order in which they are tried */
    size_t agent_count;
    struct part_fault *faults;
    struct part_fault **last_fault;
    size_t fault_count;
    struct arena arena;
    struct part *next;              /* of those that were given up */
};

struct part *part_new(const char *uuid);
void part_free(struct part **part);
/* Copies the texts. attribute may be NULL. */
void part_add_fault(struct part *part, const char *dn, const char *attribute, const char *reason);

/* What one build gave up is freed when no snapshot of it or of an earlier build is left: parts need no counts of their own. */
struct generation;
/* One reference for the caller, who gives up his one of `before`; NULL before the first. retired: no longer in the new one. */
struct generation *generation_after(struct generation *before, struct part *retired);
struct generation *generation_ref(struct generation *generation);
void generation_unref(struct generation **generation);

/* Texts to parts, sorted; the texts lie in the parts. */
struct slot {
    const char *key;
    struct part *part;
};

struct slots {
    _Atomic unsigned references;
    size_t count;
    struct slot at[];
};

/* A new table with the edits made to the old one (NULL: empty), with one reference; they are sorted. An edit without a part takes its key away; one with
 * a part wins over it. *keys_changed is set if there are other keys than before, and left alone if not. */
struct slots *slots_edit(const struct slots *old, struct slot *edits, size_t count, bool *keys_changed);
struct slots *slots_ref(struct slots *slots);
void slots_unref(struct slots **slots);
/* NULL if it is not there. */
struct part *slots_get(const struct slots *slots, const char *key);

#endif
