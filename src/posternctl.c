/* posternctl: the admin's command. Wiring only: the command line, and which command it means. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "ctl/check.h"
#include "ctl/ctl.h"
#include "schema/forms.h"

static const char usage_text[] =
    "Usage: posternctl [--control SOCKET] [--json] COMMAND\n"
    "  status [--all]                      what the running gateway does; with --all counters that are 0, too\n"
    "  sessions                            every session: who, from where, since when\n"
    "  kick ID | kick --user USER          ends a session, or all sessions of a user\n"
    "  config                              every setting: its value, where it comes from, what it would be without\n"
    "  links                               every post office and how it is reached\n"
    "  access USER                         what a user may do, and which class of service says so\n"
    "  locate USER                         post office and mailbox of a user\n"
    "  lockouts                            names that are locked after failed logins\n"
    "  unlock USER                         lets a locked name try again\n"
    "  watch                               follows what changes in the configuration until Ctrl-C\n"
    "  reload                              reads the directory and the certificates again\n"
    "  postoffice init [--uuid UUID] PATH  mark PATH as the directory of a post office; without --uuid the\n"
    "                                      running gateway is asked whose path it is\n"
    "  schema openldap|upgrade|389ds       prints the schema for that kind of directory (--dn DN: its entry, for upgrade)\n"
    "  check --uri URI --agent-dn DN       every fault of a directory, as the gateway would see it; needs no gateway\n"
    "      --bind-dn DN [--password-file FILE] | --external | --gssapi   whose rights are used\n"
    "      --start-tls, --ca-file FILE, --cert-file FILE, --key-file FILE, --keytab FILE, --mail-root DIR,\n"
    "      --allow-port N                                     as posternd has them\n"
    "      --ldif FILE [--verbose]                            what this edit would change; nothing is written\n"
    "      --as-user DN [--user-password-file FILE]           what this user may write and should not\n"
    "      --no-users                                         objects only\n"
    "  version                             say the version\n"
    "--control SOCKET   default /var/lib/postern/control\n";

struct arguments {
    struct ctl ctl;
    const char *uuid;
    const char *user;
    const char *dn;
    struct check_options check;
    char **words;       /* after the command */
    int count;
};

static int point_to_help(void)
{
    fputs("Usage: posternctl [--control SOCKET] [--json] COMMAND\nTry 'posternctl --help'.\n", stderr);
    return CTL_USAGE;
}

static int usage(const char *what, const char *why)
{
    ctl_complain(what, why);
    return point_to_help();
}

static int say_version(const struct arguments *a)
{
    return printf(a->ctl.json ? "{\"version\":\"%s\"}\n" : "posternctl %s\n", PACKAGE_VERSION) < 0;
}

static int watch(const struct arguments *a)
{
    return ctl_follow(&a->ctl, "watch");
}

static int kick(const struct arguments *a)
{
    if ((a->user != NULL) == (a->count == 1))
        return usage("kick", "needs the number of a session, or --user USER");
    char argument[1100];
    int len = snprintf(argument, sizeof(argument), "%s %s", a->user != NULL ? "user" : "id", a->user != NULL ? a->user : a->words[0]);
    if (len < 0 || (size_t)len >= sizeof(argument))
        return ctl_complain("kick", "the name is too long");
    return ctl_show(&a->ctl, "kick", argument);
}

static int post_office(const struct arguments *a)
{
    if (strcmp(a->words[0], "init") != 0)
        return usage(a->words[0], "postoffice knows init only");
    return ctl_init_post_office(&a->ctl, a->words[1], a->uuid);
}

static int schema(const struct arguments *a)
{
    static const struct { const char *word; const char *form; } forms[] = {
        { "openldap", "openldap" }, { "upgrade", "openldap-upgrade" }, { "389ds", "rfc4512" },
    };
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++)
        if (strcmp(a->words[0], forms[i].word) == 0)
            return schema_print(forms[i].form, a->dn);
    return usage(a->words[0], "not openldap, upgrade or 389ds");
}

static int check(const struct arguments *a)
{
    static const uint16_t usual_ports[] = { 24, 25, 110, 143, 465, 587, 993, 995 };
    struct check_options options = a->check;
    if (options.directory.uri_count == 0 || options.agent_dn == NULL)
        return usage("check", "needs --uri and --agent-dn");
    if (options.directory.external + options.directory.gssapi + (options.directory.bind_dn != NULL) > 1)
        return usage("check", "--bind-dn, --external and --gssapi exclude each other");
    if (options.directory.keytab != NULL && !options.directory.gssapi)
        return usage("check", "--keytab needs --gssapi");
    if ((options.directory.cert_file != NULL) != (options.directory.key_file != NULL))
        return usage("check", "--cert-file and --key-file go together");
    if (options.directory.password_file != NULL && options.directory.bind_dn == NULL)
        return usage("check", "--password-file needs --bind-dn");
    if (options.port_count == 0) {
        memcpy(options.ports, usual_ports, sizeof(usual_ports));
        options.port_count = sizeof(usual_ports) / sizeof(usual_ports[0]);
    }
    return ctl_check(&a->ctl, &options);
}

static const struct command {
    const char *word;
    int least;          /* words after it */
    int most;
    int (*run)(const struct arguments *a);   /* NULL: the gateway is asked for the word, with the argument */
} commands[] = {
    { "status", 0, 0, NULL }, { "sessions", 0, 0, NULL },     { "kick", 0, 1, kick },          { "config", 0, 0, NULL },
    { "links", 0, 0, NULL },  { "locate", 1, 1, NULL }, { "access", 1, 1, NULL },       { "watch", 0, 0, watch },        { "reload", 0, 0, NULL },
    { "lockouts", 0, 0, NULL }, { "unlock", 1, 1, NULL },
    { "postoffice", 2, 2, post_office }, { "schema", 1, 1, schema }, { "check", 0, 0, check }, { "version", 0, 0, say_version },
};

static int run(struct arguments *a, char **words, int count)
{
    for (size_t i = 0; count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct command *c = &commands[i];
        if (strcmp(words[0], c->word) != 0)
            continue;
        a->words = words + 1;
        a->count = count - 1;
        if (a->count < c->least)
            return usage(c->word, "something is missing after it");
        if (a->count > c->most)
            return usage(words[1 + c->most], "too much");
        return c->run != NULL ? c->run(a) : ctl_show(&a->ctl, c->word, a->count > 0 ? a->words[0] : NULL);
    }
    return usage(count > 0 ? words[0] : "COMMAND", count > 0 ? "there is no such command" : "is missing");
}

enum { OPTION_CONTROL = 256, OPTION_UUID, OPTION_USER, OPTION_HELP, OPTION_VERSION, OPTION_ALL, OPTION_JSON, OPTION_DN, OPTION_URI, OPTION_BIND_DN,
       OPTION_PASSWORD_FILE, OPTION_EXTERNAL, OPTION_START_TLS, OPTION_CA_FILE, OPTION_AGENT_DN, OPTION_MAIL_ROOT, OPTION_ALLOW_PORT, OPTION_LDIF,
       OPTION_AS_USER, OPTION_USER_PASSWORD_FILE, OPTION_NO_USERS, OPTION_CERT_FILE, OPTION_KEY_FILE, OPTION_GSSAPI, OPTION_KEYTAB, OPTION_VERBOSE };

static const struct option longs[] = {
    { "control", required_argument, NULL, OPTION_CONTROL }, { "uuid", required_argument, NULL, OPTION_UUID },
    { "user", required_argument, NULL, OPTION_USER }, { "help", no_argument, NULL, OPTION_HELP },
    { "version", no_argument, NULL, OPTION_VERSION }, { "all", no_argument, NULL, OPTION_ALL }, { "json", no_argument, NULL, OPTION_JSON },
    { "dn", required_argument, NULL, OPTION_DN }, { "uri", required_argument, NULL, OPTION_URI },
    { "bind-dn", required_argument, NULL, OPTION_BIND_DN }, { "password-file", required_argument, NULL, OPTION_PASSWORD_FILE },
    { "external", no_argument, NULL, OPTION_EXTERNAL }, { "start-tls", no_argument, NULL, OPTION_START_TLS },
    { "ca-file", required_argument, NULL, OPTION_CA_FILE }, { "agent-dn", required_argument, NULL, OPTION_AGENT_DN },
    { "mail-root", required_argument, NULL, OPTION_MAIL_ROOT }, { "allow-port", required_argument, NULL, OPTION_ALLOW_PORT },
    { "ldif", required_argument, NULL, OPTION_LDIF }, { "as-user", required_argument, NULL, OPTION_AS_USER },
    { "user-password-file", required_argument, NULL, OPTION_USER_PASSWORD_FILE }, { "no-users", no_argument, NULL, OPTION_NO_USERS },
    { "cert-file", required_argument, NULL, OPTION_CERT_FILE }, { "key-file", required_argument, NULL, OPTION_KEY_FILE },
    { "gssapi", no_argument, NULL, OPTION_GSSAPI }, { "keytab", required_argument, NULL, OPTION_KEYTAB },
    { "verbose", no_argument, NULL, OPTION_VERBOSE },
    { NULL, 0, NULL, 0 },
};

static bool take_check(struct check_options *check, int code, char *value)
{
    uint64_t port = 0;
    switch (code) {
    case OPTION_URI:
        if (check->directory.uri_count == CHECK_URIS_MAX)
            return false;
        check->uris[check->directory.uri_count++] = value;
        return true;
    case OPTION_ALLOW_PORT:
        if (check->port_count == CHECK_PORTS_MAX || !slice_to_number(slice_from_string(value), 65535, &port) || port == 0)
            return false;
        check->ports[check->port_count++] = (uint16_t)port;
        return true;
    case OPTION_BIND_DN: check->directory.bind_dn = value; return true;
    case OPTION_PASSWORD_FILE: check->directory.password_file = value; return true;
    case OPTION_EXTERNAL: return check->directory.external = true;
    case OPTION_START_TLS: return check->directory.start_tls = true;
    case OPTION_CA_FILE: check->directory.ca_file = value; return true;
    case OPTION_AGENT_DN: check->agent_dn = value; return true;
    case OPTION_MAIL_ROOT: check->mail_root = value; return true;
    case OPTION_LDIF: check->ldif = value; return true;
    case OPTION_AS_USER: check->as_user = value; return true;
    case OPTION_USER_PASSWORD_FILE: check->user_password_file = value; return true;
    case OPTION_NO_USERS: return check->no_users = true;
    case OPTION_CERT_FILE: check->directory.cert_file = value; return true;
    case OPTION_KEY_FILE: check->directory.key_file = value; return true;
    case OPTION_GSSAPI: return check->directory.gssapi = true;
    case OPTION_KEYTAB: check->directory.keytab = value; return true;
    case OPTION_VERBOSE: return check->verbose = true;
    default: return false;
    }
}

int main(int argc, char **argv)
{
    struct arguments a = { .ctl = { .control = "/var/lib/postern/control" }, .check = { .mail_root = "/srv/mail" } };
    int code;
    signal(SIGPIPE, SIG_IGN);   /* libldap's and standard output's errors are told in words */
    while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (code) {
        case OPTION_CONTROL: a.ctl.control = optarg; break;
        case OPTION_UUID: a.uuid = optarg; break;
        case OPTION_USER: a.user = optarg; break;
        case OPTION_ALL: a.ctl.all = true; break;
        case OPTION_JSON: a.ctl.json = true; break;
        case OPTION_DN: a.dn = optarg; break;
        case OPTION_HELP: return fputs(usage_text, stdout) < 0;
        case OPTION_VERSION: return say_version(&a);
        default:
            if (code == '?')    /* getopt_long has said which */
                return point_to_help();
            if (!take_check(&a.check, code, optarg))
                return usage(optarg, "not a port, or too many of this option");
        }
    }
    return run(&a, argv + optind, argc - optind);
}
