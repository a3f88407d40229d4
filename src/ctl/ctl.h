/* ctl: the commands of posternctl. Each returns the exit code: 0 done, 1 not done, with the reason on standard error. */
#ifndef CTL_CTL_H
#define CTL_CTL_H

#include "postern/base/buf.h"

enum { CTL_FAILED = 1, CTL_USAGE = 2 };

/* What the command line says for all commands. */
struct ctl {
    const char *control;     /* the gateway's socket */
    bool json;
    bool all;
};

/* Says "posternctl: WHAT: WHY" and returns CTL_FAILED. */
int ctl_complain(const char *what, const char *why);

/* gateway.c: asks the running gateway; the answer is appended. A refusal is complained about. */
int ctl_ask(const struct ctl *ctl, const char *word, const char *argument, struct buf *answer);
/* Asks and prints the answer. */
int ctl_show(const struct ctl *ctl, const char *word, const char *argument);
/* Prints what comes, until the gateway or the reader goes. */
int ctl_follow(const struct ctl *ctl, const char *word);

/* postoffice.c: marks a directory; without uuid the gateway is asked whose it is. */
int ctl_init_post_office(const struct ctl *ctl, const char *path, const char *uuid);

#endif
