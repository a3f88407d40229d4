/* check: reads a directory with the caller's own credentials and says what the gateway would say of it. */
#ifndef CTL_CHECK_H
#define CTL_CHECK_H

#include "ctl.h"
#include "postern/directory/directory.h"

enum { CHECK_URIS_MAX = 8, CHECK_PORTS_MAX = 32 };

struct check_options {
    struct directory_options directory;
    char *uris[CHECK_URIS_MAX];
    const char *agent_dn;
    const char *mail_root;
    uint16_t ports[CHECK_PORTS_MAX];
    size_t port_count;
    const char *ldif;                   /* an edit to be tried; "-" is standard input; or NULL */
    const char *as_user;                /* whose rights to write are found out; or NULL */
    const char *user_password_file;     /* NULL: asked for */
    bool no_users;
    bool verbose;                       /* with ldif: also what stays as it is */
};

int ctl_check(const struct ctl *ctl, struct check_options *options);

/* password.c: the first line of the file or, without one, what is typed at the terminal. */
int ctl_read_password(const char *file, const char *whose, struct buf *out);

#endif
