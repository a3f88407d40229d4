/* The command line of posternd: its own options, and the switches that override settings of the directory, as --name VALUE, --name=VALUE or
 * /name-VALUE, case ignored. Called once by main; no option carries a secret. */
#include "postern/service/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "config.h"
#include "option_words.h"
#include "postern/base/buf.h"
#include "postern/base/memory.h"
#include "postern/net/https.h"

static const uint16_t usual_ports[] = { 24, 25, 110, 143, 465, 587, 993, 995 };

enum option_code {
    OPTION_URI = 256, OPTION_AGENT_DN, OPTION_BIND_DN, OPTION_PASSWORD_FILE, OPTION_EXTERNAL, OPTION_START_TLS, OPTION_CA_FILE,
    OPTION_CERT_FILE, OPTION_KEY_FILE, OPTION_GSSAPI, OPTION_KEYTAB,
    OPTION_STATE_DIR, OPTION_MAIL_ROOT, OPTION_TLS_DIR, OPTION_CREDENTIALS_DIR, OPTION_ALLOW_PORT, OPTION_ALLOW_TOKEN_URL, OPTION_CONTROL, OPTION_PID_FILE, OPTION_LOG_LEVEL,
    OPTION_VERSION, OPTION_HELP,
};

static const struct {
    const char *name;
    int code;
    const char *argument;   /* NULL: none */
    const char *doc;
} table[] = {
    { "uri", OPTION_URI, "URI", "directory server: ldap://, ldaps:// or ldapi://; may be repeated" },
    { "agent-dn", OPTION_AGENT_DN, "DN", "the Internet Agent object that holds the settings, or the Post Office Agent to serve as" },
    { "bind-dn", OPTION_BIND_DN, "DN", "whom to bind as" },
    { "password-file", OPTION_PASSWORD_FILE, "FILE", "file whose first line is the password of --bind-dn" },
    { "external", OPTION_EXTERNAL, NULL, "bind by SASL EXTERNAL (ldapi:// or client certificate)" },
    { "start-tls", OPTION_START_TLS, NULL, "require StartTLS on ldap:// URIs" },
    { "ca-file", OPTION_CA_FILE, "FILE", "certificate authorities of the directory (PEM)" },
    { "cert-file", OPTION_CERT_FILE, "FILE", "client certificate shown to the directory (PEM); needs --key-file" },
    { "key-file", OPTION_KEY_FILE, "FILE", "its key (PEM)" },
    { "gssapi", OPTION_GSSAPI, NULL, "bind by SASL GSSAPI (Kerberos)" },
    { "keytab", OPTION_KEYTAB, "FILE", "keys for --gssapi; default: the tickets and keys that the environment names" },
    { "state-dir", OPTION_STATE_DIR, "DIR", "last good configuration and mail queue; default /var/lib/postern" },
    { "mail-root", OPTION_MAIL_ROOT, "DIR", "post offices must lie below it; default /srv/mail" },
    { "tls-dir", OPTION_TLS_DIR, "DIR", "certificates and keys must lie below it; default /etc/postern/tls" },
    { "credentials-dir", OPTION_CREDENTIALS_DIR, "DIR", "the gateway's credentials at Post Office Agents and authorization servers; default /etc/postern/credentials" },
    { "allow-port", OPTION_ALLOW_PORT, "N", "a port below 1024 that may be bound; may be repeated; default 24 25 110 143 465 587 993 995" },
    { "allow-token-url", OPTION_ALLOW_TOKEN_URL, "URL", "what posternTokenIntrospectionUrl may begin with (https://HOST); may be repeated; default: nothing" },
    { "control", OPTION_CONTROL, "SOCKET", "socket of posternctl; default STATE-DIR/control" },
    { "pid-file", OPTION_PID_FILE, "FILE", "where the process ID is written" },
    { "log-level", OPTION_LOG_LEVEL, "WORD", "error, warning, normal, verbose or debug, until the directory has been read" },
    { "version", OPTION_VERSION, NULL, "say the version and end" },
    { "help", OPTION_HELP, NULL, "say this and end" },
};

enum { OPTIONS_COUNT = sizeof(table) / sizeof(table[0]) };

static void help_line(const char *name, const char *argument, const char *doc)
{
    char text[48];
    snprintf(text, sizeof(text), "--%s%s%s", name, argument != NULL ? " " : "", argument != NULL ? argument : "");
    printf("  %-30s %s\n", text, doc);
}

static void help_switch(const struct switch_rule *rule)
{
    char doc[512];
    if (rule->form == SWITCH_NOTHING)
        snprintf(doc, sizeof(doc), "%s", rule->doc);
    else if (rule->form == SWITCH_FIXED)
        snprintf(doc, sizeof(doc), "%s: %s", rule->attribute, rule->value);
    else
        snprintf(doc, sizeof(doc), "%s: %s%s", rule->attribute, rule->doc, rule->many ? " May be repeated." : "");
    help_line(rule->name, rule->argument, doc);
}

static void help(void)
{
    const struct switch_rule *rule;
    printf("Usage: posternd --uri URI --agent-dn DN [OPTION]... [SWITCH]... [@FILE]...\n"
           "POP3/IMAP4/SMTP gateway that is configured in an LDAP directory.\n\n");
    for (size_t i = 0; i < OPTIONS_COUNT; i++)
        help_line(table[i].name, table[i].argument, table[i].doc);
    printf("\nSwitches override a setting of the directory; --pt 10, --pt=10 and /pt-10 are the same.\n"
           "@FILE stands for the words in FILE, whose lines that begin with ; # or * are comments.\n\n");
    for (size_t i = 0; (rule = switch_at(i)) != NULL; i++)
        help_switch(rule);
}

/* Where the word at work stands, for complain. */
static const char *line;

static int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
static int complain(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "posternd: %s%s", line != NULL ? line : "", line != NULL ? ": " : "");
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

static int take_token_url(struct options *o, const char *url)
{
    if (!https_url_is_safe(url))
        return complain("--allow-token-url: \"%s\" is neither an https URL nor http to an address of this machine", url);
    if (o->token_url_count == TOKEN_URLS_MAX)
        return complain("--allow-token-url: at most %d", TOKEN_URLS_MAX);
    o->token_urls[o->token_url_count++] = url;
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
    case OPTION_CERT_FILE: o->directory.cert_file = value; return -1;
    case OPTION_KEY_FILE: o->directory.key_file = value; return -1;
    case OPTION_GSSAPI: o->directory.gssapi = true; return -1;
    case OPTION_KEYTAB: o->directory.keytab = value; return -1;
    case OPTION_STATE_DIR: return take_dir(&o->state_dir, "state-dir", value);
    case OPTION_MAIL_ROOT: return take_dir(&o->mail_root, "mail-root", value);
    case OPTION_TLS_DIR: return take_dir(&o->tls_dir, "tls-dir", value);
    case OPTION_CREDENTIALS_DIR: return take_dir(&o->credentials_dir, "credentials-dir", value);
    case OPTION_ALLOW_PORT: return take_port(o, value);
    case OPTION_ALLOW_TOKEN_URL: return take_token_url(o, value);
    case OPTION_CONTROL: o->control = mem_strdup(value); return -1;
    case OPTION_PID_FILE: o->pid_file = value; return -1;
    case OPTION_LOG_LEVEL: return take_level(o, value);
    case OPTION_VERSION: printf("posternd %s\n", PACKAGE_VERSION); return 0;
    case OPTION_HELP: help(); return 0;
    default: return complain("--%s is not known", value);
    }
}

/* A word of the command line, taken apart. */
struct named {
    size_t option;                    /* in the table, or OPTIONS_COUNT */
    const struct switch_rule *rule;   /* or NULL */
    char *value;                      /* that came with the name; NULL: none */
};

static void find_name(struct slice name, struct named *out)
{
    out->option = 0;
    while (out->option < OPTIONS_COUNT && !slice_is_nocase(name, table[out->option].name))
        out->option++;
    out->rule = out->option == OPTIONS_COUNT ? switch_find(name) : NULL;
}

static bool is_found(const struct named *named)
{
    return named->option < OPTIONS_COUNT || named->rule != NULL;
}

static const char *name_of(const struct named *named)
{
    return named->rule != NULL ? named->rule->name : table[named->option].name;
}

static const char *argument_of(const struct named *named)
{
    return named->rule != NULL ? named->rule->argument : table[named->option].argument;
}

/* /name-VALUE or /name=VALUE: names may have hyphens, so the longest one counts. */
static void read_slash_word(char *word, struct named *out)
{
    struct slice text = slice_from_string(word + 1);
    out->value = NULL;
    for (size_t len = text.len; len > 0; len--) {
        bool whole = len == text.len;
        if (!whole && text.data[len] != '-' && text.data[len] != '=')
            continue;
        find_name(slice_part(text, 0, len), out);
        if (is_found(out)) {
            out->value = whole ? NULL : word + 1 + len + 1;
            return;
        }
    }
}

static int read_name(char *word, struct named *out)
{
    *out = (struct named){ OPTIONS_COUNT, NULL, NULL };
    if (strncmp(word, "--", 2) == 0 && word[2] != '\0') {
        struct slice text = slice_from_string(word + 2);
        ptrdiff_t equals = slice_find(text, '=');
        find_name(equals < 0 ? text : slice_part(text, 0, (size_t)equals), out);
        out->value = equals < 0 ? NULL : word + 2 + equals + 1;
    } else if (word[0] == '/') {
        read_slash_word(word, out);
    }
    return is_found(out) ? -1 : complain("\"%s\" is not an option", word);
}

static int take_switch(struct options *o, const struct switch_rule *rule, const char *value)
{
    struct config_switch *s = &o->switches[o->switch_count];
    if (rule->form == SWITCH_NOTHING)
        return -1;
    for (size_t i = 0; i < o->switch_count; i++)
        if (!rule->many && strcmp(o->switches[i].attribute, rule->attribute) == 0)
            return complain("--%s: %s is given already by %s", rule->name, rule->attribute, o->switches[i].given);
    if (o->switch_count == SWITCHES_MAX)
        return complain("more than %d switches", SWITCHES_MAX);
    struct buf text;
    buf_init(&text, 0);
    switch_translate(rule, slice_from_string(value), &text);
    *s = (struct config_switch){
        .attribute = rule->attribute,
        .value = arena_copy(&o->texts, buf_slice(&text)).data,
        .given = arena_printf(&o->texts, "--%s%s%s", rule->name, value != NULL ? " " : "", value != NULL ? value : ""),
    };
    buf_fini(&text);
    o->switch_count++;
    if (rule->form == SWITCH_LEVEL)
        o->switched_level = s->value;
    return -1;
}

static int take_named(struct options *o, const struct named *named, bool *given)
{
    if (named->rule != NULL)
        return take_switch(o, named->rule, named->value);
    int code = table[named->option].code;
    if (given[named->option] && code != OPTION_URI && code != OPTION_ALLOW_PORT && code != OPTION_ALLOW_TOKEN_URL)
        return complain("--%s is given twice", name_of(named));
    given[named->option] = true;
    return take(o, code, named->value);
}

static int take_words(struct options *o, const struct option_words *words)
{
    bool given[OPTIONS_COUNT] = { false };
    int result = -1;
    for (size_t i = 0; i < words->count && result < 0; i++) {
        struct named named;
        line = words->at[i].line;
        result = read_name(words->at[i].text, &named);
        if (result >= 0)
            break;
        bool slash = words->at[i].text[0] == '/', wanted = argument_of(&named) != NULL;
        if (wanted && named.value == NULL && !slash && i + 1 < words->count && words->at[i + 1].line == line &&
            strncmp(words->at[i + 1].text, "--", 2) != 0)
            named.value = words->at[++i].text;
        if (wanted && named.value == NULL)
            result = complain("%s%s needs a value: %s", slash ? "/" : "--", name_of(&named), argument_of(&named));
        else if (!wanted && named.value != NULL)
            result = complain("%s%s takes no value", slash ? "/" : "--", name_of(&named));
        else
            result = take_named(o, &named, given);
    }
    line = NULL;
    return result;
}

static int check(const struct options *o)
{
    if (o->directory.uri_count == 0)
        return complain("--uri is missing");
    if (o->agent_dn == NULL || o->agent_dn[0] == '\0')
        return complain("--agent-dn is missing");
    if (o->directory.external && (o->directory.bind_dn != NULL || o->directory.password_file != NULL))
        return complain("--external goes without --bind-dn and --password-file");
    if (o->directory.gssapi && (o->directory.external || o->directory.bind_dn != NULL || o->directory.password_file != NULL))
        return complain("--gssapi goes without --external, --bind-dn and --password-file");
    if (o->directory.keytab != NULL && !o->directory.gssapi)
        return complain("--keytab needs --gssapi");
    if ((o->directory.cert_file != NULL) != (o->directory.key_file != NULL))
        return complain("--cert-file and --key-file go together");
    if (o->directory.bind_dn != NULL && o->directory.password_file == NULL)
        return complain("--bind-dn needs --password-file");
    if (o->directory.password_file != NULL && o->directory.bind_dn == NULL)
        return complain("--password-file needs --bind-dn");
    return -1;
}

static int check_switches(struct options *o)
{
    struct fault fault;
    if (config_check_switches(o->switches, o->switch_count, o->allowed_ports, o->allowed_port_count, &fault) < 0)
        return complain("%s", fault.text);
    return o->switched_level != NULL ? take_level(o, o->switched_level) : -1;
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
    *options = (struct options){
        .state_dir = "/var/lib/postern", .mail_root = "/srv/mail", .tls_dir = "/etc/postern/tls", .credentials_dir = "/etc/postern/credentials", .log_level = LOG_NORMAL,
    };
    options->directory.uris = options->uris;
    struct option_words words;
    struct fault fault;
    int result = option_words_read(argc, argv, &options->texts, &words, &fault) < 0 ? complain("%s", fault.text) : take_words(options, &words);
    mem_free(&words.at);
    if (result >= 0)
        return result;
    result = check(options);
    if (result >= 0)
        return result;
    set_defaults(options);
    return check_switches(options);
}

void options_fini(struct options *options)
{
    mem_free(&options->control);
    arena_clear(&options->texts);
}
