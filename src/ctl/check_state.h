/* What the two files of `posternctl check` share: what was read and found. */
#ifndef CTL_CHECK_STATE_H
#define CTL_CHECK_STATE_H

#include "check.h"
#include "edit.h"
#include "postern/config/check.h"

struct fault_list {
    struct config_fault *faults;
    size_t count;
    size_t room;
    size_t more;               /* beyond FAULTS_MOST */
    struct arena arena;
};

struct check {
    const struct ctl *ctl;
    struct check_options *options;
    struct directory_reader *reader;
    struct config_check *config;
    char *base;
    enum directory_vendor vendor;
    struct edit edit;
    struct ldif ldif;
    struct snapshot *before;
    struct snapshot *after;          /* with the edit; NULL without */
    struct user_check *users[2];     /* by before and by after */
    struct fault_list faults[2];
    size_t objects;
    size_t user_count;
    struct fault read_fault;
    size_t denied;                   /* of the probes */
    size_t unknown;
    struct fault_list writable;
};

/* check_say.c: prints everything; returns the exit code. */
int check_say(struct check *c);

#endif
