/* The command line of posternd. Called once by main; no option carries a secret. */
#include "postern/service/options.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "postern/base/buf.h"
#include "postern/base/memory.h"

static const uint16_t usual_ports[] = { 25, 110, 143, 465, 587, 993, 995 };

enum option_code {
    OPTION_URI = 256, OPTION_AGENT_DN, OPTION_BIND_DN, OPTION_PASSWORD_FILE, OPTION_EXTERNAL, OPTION_START_TLS, OPTION_CA_FILE,
    OPTION_STATE_DIR, OPTION_MAIL_ROOT, OPTION_TLS_DIR, OPTION_ALLOW_PORT, OPTION_CONTROL, OPTION_PID_FILE, OPTION_LOG_LEVEL,
    OPTION_VERSION, OPTION_HELP,
};

static const struct {
    const char *name;
    int code;
    const char *argument;   /* NULL: none */
    const char *doc;
} table[] = {
    { "uri", OPTION_URI, "URI", "directory server: ldap://, ldaps:// or ldapi://; may be repeated" },
    { "agent-dn", OPTION_AGENT_DN, "DN", "the Internet Agent object that holds the settings" },
    { "bind-dn", OPTION_BIND_DN, "DN", "whom to bind as" },
    { "password-file", OPTION_PASSWORD_FILE, "FILE", "file whose first line is the password of --bind-dn" },
    { "external", OPTION_EXTERNAL, NULL, "bind by SASL EXTERNAL (ldapi:// or client certificate)" },
    { "start-tls", OPTION_START_TLS, NULL, "require StartTLS on ldap:// URIs" },
    { "ca-file", OPTION_CA_FILE, "FILE", "certificate authorities of the directory (PEM)" },
    { "state-dir", OPTION_STATE_DIR, "DIR", "last good configuration and mail queue; default /var/lib/postern" },
    { "mail-root", OPTION_MAIL_ROOT, "DIR", "post offices must lie below it; default /srv/mail" },
    { "tls-dir", OPTION_TLS_DIR, "DIR", "certificates and keys must lie below it; default /etc/postern/tls" },
    { "allow-port", OPTION_ALLOW_PORT, "N", "a port below 1024 that may be bound; may be repeated; default 25 110 143 465 587 993 995" },
    { "control", OPTION_CONTROL, "SOCKET", "socket of posternctl; default STATE-DIR/control" },
    { "pid-file", OPTION_PID_FILE, "FILE", "where the process ID is written" },
    { "log-level", OPTION_LOG_LEVEL, "WORD", "error, warning, normal, verbose or debug, until the directory has been read" },
    { "version", OPTION_VERSION, NULL, "say the version and end" },
    { "help", OPTION_HELP, NULL, "say this and end" },
};

enum { OPTIONS_COUNT = sizeof(table) / sizeof(table[0]) };

static void help(void)
{
    printf("Usage: posternd --uri URI --agent-dn DN [OPTION]...\n"
           "POP3/IMAP4/SMTP gateway that is configured in an LDAP directory.\n\n");
    for (size_t i = 0; i < OPTIONS_COUNT; i++) {
        char name[40];
        snprintf(name, sizeof(name), "--%s%s%s", table[i].name, table[i].argument ? " " : "",
                 table[i].argument ? table[i].argument : "");
        printf("  %-22s %s\n", name, table[i].doc);
    }
}

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs("posternd: ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry 'posternd --help'.\n", stderr);
    va_end(args);
    return 2;
}

static int take_level(struct options *o, const char *word)
{
    static const char *const words[] = { "error", "warning", "normal", "verbose", "debug" };
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
        if (strcmp(word, words[i]) == 0) {
            o->log_level = (enum log_level)i;
            return -1;
        }
    return complain("--log-level: \"%s\" is not error, warning, normal, verbose or debug", word);
}

static int take_uri(struct options *o, char *uri)
{
    if (strncmp(uri, "ldap://", 7) != 0 && strncmp(uri, "ldaps://", 8) != 0 && strncmp(uri, "ldapi://", 8) != 0)
        return complain("--uri: \"%s\" does not begin with ldap://, ldaps:// or ldapi://", uri);
    if (o->directory.uri_count == URIS_MAX)
        return complain("--uri: at most %d", URIS_MAX);
    o->uris[o->directory.uri_count++] = uri;
    return -1;
}

static int take_port(struct options *o, const char *text)
{
    uint64_t port;
    if (!slice_to_number(slice_from_string(text), 65535, &port) || port == 0)
        return complain("--allow-port: \"%s\" is not a port", text);
    if (o->allowed_port_count == ALLOWED_PORTS_MAX)
        return complain("--allow-port: at most %d", ALLOWED_PORTS_MAX);
    o->allowed_ports[o->allowed_port_count++] = (uint16_t)port;
    return -1;
}

static int take_dir(const char **out, const char *option, const char *path)
{
    if (path[0] != '/')
        return complain("--%s: \"%s\" is not an absolute path", option, path);
    *out = path;
    return -1;
}

static int take(struct options *o, int code, char *value)
{
    switch (code) {
    case OPTION_URI: return take_uri(o, value);
    case OPTION_AGENT_DN: o->agent_dn = value; return -1;
    case OPTION_BIND_DN: o->directory.bind_dn = value; return -1;
    case OPTION_PASSWORD_FILE: o->directory.password_file = value; return -1;
    case OPTION_EXTERNAL: o->directory.external = true; return -1;
    case OPTION_START_TLS: o->directory.start_tls = true; return -1;
    case OPTION_CA_FILE: o->directory.ca_file = value; return -1;
    case OPTION_STATE_DIR: return take_dir(&o->state_dir, "state-dir", value);
    case OPTION_MAIL_ROOT: return take_dir(&o->mail_root, "mail-root", value);
    case OPTION_TLS_DIR: return take_dir(&o->tls_dir, "tls-dir", value);
    case OPTION_ALLOW_PORT: return take_port(o, value);
    case OPTION_CONTROL: o->control = mem_strdup(value); return -1;
    case OPTION_PID_FILE: o->pid_file = value; return -1;
    case OPTION_LOG_LEVEL: return take_level(o, value);
    case OPTION_VERSION: printf("posternd %s\n", PACKAGE_VERSION); return 0;
    case OPTION_HELP: help(); return 0;
    default: fputs("Try 'posternd --help'.\n", stderr); return 2;
    }
}

static int check(const struct options *o)
{
    if (o->directory.uri_count == 0)
        return complain("--uri is missing");
    if (o->agent_dn == NULL || o->agent_dn[0] == '\0')
        return complain("--agent-dn is missing");
    if (o->directory.external && (o->directory.bind_dn != NULL || o->directory.password_file != NULL))
        return complain("--external goes without --bind-dn and --password-file");
    if (o->directory.bind_dn != NULL && o->directory.password_file == NULL)
        return complain("--bind-dn needs --password-file");
    if (o->directory.password_file != NULL && o->directory.bind_dn == NULL)
        return complain("--password-file needs --bind-dn");
    return -1;
}

static void set_defaults(struct options *o)
{
    if (o->allowed_port_count == 0) {
        memcpy(o->allowed_ports, usual_ports, sizeof(usual_ports));
        o->allowed_port_count = sizeof(usual_ports) / sizeof(usual_ports[0]);
    }
    if (o->control == NULL) {
        struct buf path = { .cap = 0 };
        buf_printf(&path, "%s/control", o->state_dir);
        o->control = slice_to_string(buf_slice(&path));
        buf_fini(&path);
    }
}

int options_parse(struct options *options, int argc, char **argv)
{
    struct option longs[OPTIONS_COUNT + 1];
    memset(longs, 0, sizeof(longs));
    for (size_t i = 0; i < OPTIONS_COUNT; i++)
        longs[i] = (struct option){ table[i].name, table[i].argument ? required_argument : no_argument, NULL, table[i].code };
    *options = (struct options){
        .state_dir = "/var/lib/postern", .mail_root = "/srv/mail", .tls_dir = "/etc/postern/tls", .log_level = LOG_NORMAL,
    };
    options->directory.uris = options->uris;
    int code, result = -1;
    while (result < 0 && (code = getopt_long(argc, argv, "", longs, NULL)) != -1)
        result = take(options, code, optarg);
    if (result >= 0)
        return result;
    if (optind < argc)
        return complain("\"%s\" is not an option", argv[optind]);
    result = check(options);
    if (result < 0)
        set_defaults(options);
    return result;
}

void options_fini(struct options *options)
{
    mem_free(&options->control);
}
