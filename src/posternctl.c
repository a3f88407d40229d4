/* posternctl: the admin's command. Wiring only: the command line, and which command it means. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "ctl/ctl.h"

static const char usage_text[] =
    "Usage: posternctl [--control SOCKET] [--json] COMMAND\n"
    "  status [--all]                      what the running gateway does; with --all counters that are 0, too\n"
    "  sessions                            every session: who, from where, since when\n"
    "  kick ID | kick --user USER          ends a session, or all sessions of a user\n"
    "  config                              every setting: its value, where it comes from, what it would be without\n"
    "  links                               every post office and how it is reached\n"
    "  locate USER                         post office and mailbox of a user\n"
    "  watch                               follows what changes in the configuration until Ctrl-C\n"
    "  reload                              reads the directory and the certificates again\n"
    "  postoffice init [--uuid UUID] PATH  mark PATH as the directory of a post office; without --uuid the\n"
    "                                      running gateway is asked whose path it is\n"
    "  version                             say the version\n"
    "--control SOCKET   default /var/lib/postern/control\n";

struct arguments {
    struct ctl ctl;
    const char *uuid;
    const char *user;
    char **words;       /* after the command */
    int count;
};

static int usage(void)
{
    fputs(usage_text, stderr);
    return CTL_USAGE;
}

static int say_version(const struct arguments *a)
{
    (void)a;
    return printf("posternctl %s\n", PACKAGE_VERSION) < 0;
}

static int watch(const struct arguments *a)
{
    return ctl_follow(&a->ctl, "watch");
}

static int kick(const struct arguments *a)
{
    if ((a->user != NULL) == (a->count == 1))
        return usage();
    char argument[1100];
    int len = snprintf(argument, sizeof(argument), "%s %s", a->user != NULL ? "user" : "id", a->user != NULL ? a->user : a->words[0]);
    if (len < 0 || (size_t)len >= sizeof(argument))
        return ctl_complain("kick", "the name is too long");
    return ctl_show(&a->ctl, "kick", argument);
}

static int post_office(const struct arguments *a)
{
    if (strcmp(a->words[0], "init") != 0)
        return usage();
    return ctl_init_post_office(&a->ctl, a->words[1], a->uuid);
}

static const struct command {
    const char *word;
    int least;          /* words after it */
    int most;
    int (*run)(const struct arguments *a);   /* NULL: the gateway is asked for the word, with the argument */
} commands[] = {
    { "status", 0, 0, NULL }, { "sessions", 0, 0, NULL },     { "kick", 0, 1, kick },          { "config", 0, 0, NULL },
    { "links", 0, 0, NULL },  { "locate", 1, 1, NULL },       { "watch", 0, 0, watch },        { "reload", 0, 0, NULL },
    { "postoffice", 2, 2, post_office }, { "version", 0, 0, say_version },
};

static int run(struct arguments *a, char **words, int count)
{
    for (size_t i = 0; count > 0 && i < sizeof(commands) / sizeof(commands[0]); i++) {
        const struct command *c = &commands[i];
        if (strcmp(words[0], c->word) != 0)
            continue;
        a->words = words + 1;
        a->count = count - 1;
        if (a->count < c->least || a->count > c->most)
            return usage();
        return c->run != NULL ? c->run(a) : ctl_show(&a->ctl, c->word, a->count > 0 ? a->words[0] : NULL);
    }
    return usage();
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "control", required_argument, NULL, 'c' }, { "uuid", required_argument, NULL, 'u' }, { "user", required_argument, NULL, 'w' },
        { "help", no_argument, NULL, 'h' },          { "version", no_argument, NULL, 'v' },    { "all", no_argument, NULL, 'a' },
        { "json", no_argument, NULL, 'j' },          { NULL, 0, NULL, 0 },
    };
    struct arguments a = { .ctl = { .control = "/var/lib/postern/control" } };
    int code;
    while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        switch (code) {
        case 'c': a.ctl.control = optarg; break;
        case 'u': a.uuid = optarg; break;
        case 'w': a.user = optarg; break;
        case 'a': a.ctl.all = true; break;
        case 'j': a.ctl.json = true; break;
        case 'h': return fputs(usage_text, stdout) < 0;
        case 'v': return say_version(&a);
        default: return usage();
        }
    }
    return run(&a, argv + optind, argc - optind);
}
