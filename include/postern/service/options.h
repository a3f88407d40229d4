/* options: the command line of posternd. */
#ifndef POSTERN_SERVICE_OPTIONS_H
#define POSTERN_SERVICE_OPTIONS_H

#include <stdint.h>

#include "postern/base/arena.h"
#include "postern/base/log.h"
#include "postern/config/switches.h"
#include "postern/directory/directory.h"

enum { URIS_MAX = 8, ALLOWED_PORTS_MAX = 32, SWITCHES_MAX = 128, TOKEN_URLS_MAX = 8 };

struct options {
    struct directory_options directory;
    char *uris[URIS_MAX];
    const char *agent_dn;
    const char *state_dir;
    const char *mail_root;
    const char *tls_dir;
    const char *credentials_dir;
    const char *pid_file;
    char *control;                 /* owned */
    uint16_t allowed_ports[ALLOWED_PORTS_MAX];
    size_t allowed_port_count;
    const char *token_urls[TOKEN_URLS_MAX];
    size_t token_url_count;
    enum log_level log_level;
    struct config_switch switches[SWITCHES_MAX];
    size_t switch_count;
    const char *switched_level;    /* by --loglevel; or NULL */
    struct arena texts;            /* what the pointers lead to */
};

/* -1: go on; else the exit code: 0 after --help and --version, 2 after a bad option (told on standard error). Texts live until options_fini. */
int options_parse(struct options *options, int argc, char **argv);
void options_fini(struct options *options);

#endif
