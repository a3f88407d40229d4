/* Unit tests of the command line: spellings, startup files, what each switch stands for, and what is refused with which words. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "postern/base/buf.h"
#include "postern/base/memory.h"
#include "postern/service/options.h"
#include "run.h"

static char dir[] = "/tmp/postern-options-XXXXXX";

static char *file_of(const char *name, const char *content)
{
    static char path[4][128];
    static unsigned turn;
    char *out = path[turn++ % 4];
    snprintf(out, sizeof(path[0]), "%s/%s", dir, name);
    FILE *file = fopen(out, "we");
    CU_ASSERT_PTR_NOT_NULL_FATAL(file);
    fputs(content, file);
    fclose(file);
    return out;
}

/* Parses "--uri ... --agent-dn ..." and the words, which are separated by '|'. What it says on standard error goes to `said`. */
static int parse(struct options *o, const char *words, char *said, size_t size)
{
    static char copy[4096];
    char *argv[64];
    int argc = 0;
    snprintf(copy, sizeof(copy), "posternd|--uri|ldap://x|--agent-dn|cn=a|%s", words);
    for (char *at = copy; *at != '\0' && argc < 63;) {
        argv[argc++] = at;
        at += strcspn(at, "|");
        if (*at != '\0')
            *at++ = '\0';
    }
    char path[128];
    snprintf(path, sizeof(path), "%s/stderr", dir);
    int old = dup(2), fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    dup2(fd, 2);
    int code = options_parse(o, argc, argv);
    fflush(stderr);
    dup2(old, 2);
    close(old);
    ssize_t got = pread(fd, said, size - 1, 0);
    said[got > 0 ? got : 0] = '\0';
    close(fd);
    return code;
}

static void print_switches(const struct options *o, struct buf *out)
{
    for (size_t i = 0; i < o->switch_count; i++)
        buf_printf(out, "%s%s=%s", i > 0 ? "|" : "", o->switches[i].attribute + strlen("postern"), o->switches[i].value);
}

static void test_spellings(void)
{
    static const struct { const char *words; const char *switches; } rows[] = {
        { "", "" },
        { "--pt|20", "Pop3Threads=20" },
        { "--pt=20", "Pop3Threads=20" },
        { "/pt-20", "Pop3Threads=20" },
        { "/pt=20", "Pop3Threads=20" },
        { "/PT-20|--It|7", "Pop3Threads=20|Imap4Threads=7" },
        { "--pop3|/noimap4|--NOSMTP", "Pop3Enabled=TRUE|Imap4Enabled=FALSE|SmtpEnabled=FALSE" },
        { "--nopop3|--imap4|--smtp", "Pop3Enabled=FALSE|Imap4Enabled=TRUE|SmtpEnabled=TRUE" },
        { "--rd|3|--sd|4", "SmtpReceiveThreads=3|SmtpSendThreads=4" },
        { "--popport|1110|--popsport|1995", "Pop3Port=1110|Pop3sPort=1995" },
        { "--imapport|1143|--imapsport|1993", "Imap4Port=1143|Imap4sPort=1993" },
        { "--smtpport|1025|--submissionport|1587|--submissionsport|1465", "SmtpPort=1025|SubmissionPort=1587|SubmissionsPort=1465" },
        { "--popssl|enable|--imapssl|REQUIRED|--smtpssl|disable", "Pop3Tls=enabled|Imap4Tls=REQUIRED|SmtpTls=disabled" },
        { "--nopopversion|--noimapversion|--nosmtpversion", "Pop3HideVersion=TRUE|Imap4HideVersion=TRUE|SmtpHideVersion=TRUE" },
        { "--imapreadlimit|5", "Imap4ReadLimit=5000" },
        { "--imapreadnew", "" },
        { "--popconnections|5|--imapconnections|6|--smtpconnections|7", "Pop3MaxConnections=5|Imap4MaxConnections=6|SmtpMaxConnections=7" },
        { "--tc|1|--td|2|--te|3|--tg|4|--tr|5",
          "SmtpCommandMinutes=1|SmtpDataMinutes=2|SmtpConnectMinutes=3|SmtpGreetingMinutes=4|SmtpReadMinutes=5" },
        { "--mh|relay.example.com:26", "RelayHost=relay.example.com:26" },
        { "--maxdeferhours|48|--msgdeferinterval|10,10,60", "DeferHours=48|DeferMinutes=10 10 60" },
        { "/hn-mail.example.com|/ip-127.0.0.1|--ip=::1", "HostName=mail.example.com|BindAddress=127.0.0.1|BindAddress=::1" },
        { "--cleartextlogin|always", "ClearTextLogin=always" },
        { "--popintruderdetect|--incorrectloginattempts|3|/attemptsresetinterval-20|--lockoutresetinterval=0",
          "IntruderDetection=TRUE|IntruderAttempts=3|IntruderResetMinutes=20|IntruderLockoutMinutes=0" },
        { "--intruderlockout", "IntruderDetection=TRUE" },
        { "--nointruderlockout", "IntruderDetection=FALSE" },
        { "--loglevel|diagnostic", "LogLevel=debug" },
        { "--loglevel|off", "LogLevel=error" },
        { "--loglevel|verbose", "LogLevel=verbose" },
    };
    char said[2048];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct options o;
        struct buf got = { .cap = 0 };
        int code = parse(&o, rows[i].words, said, sizeof(said));
        print_switches(&o, &got);
        if (code != -1 || strcmp(buf_text(&got), rows[i].switches) != 0)
            fprintf(stderr, "%s: %d \"%s\" %s\n", rows[i].words, code, buf_text(&got), said);
        CU_ASSERT_EQUAL(code, -1);
        CU_ASSERT_STRING_EQUAL(buf_text(&got), rows[i].switches);
        buf_fini(&got);
        options_fini(&o);
    }
}

/* Every row of the table has a switch that is taken with some value. */
static void test_every_switch(void)
{
    static const char *const values[] = { "5", "5000", "enabled", "normal", "never", "127.0.0.1", "mail.example.com" };
    const struct switch_rule *rule;
    char words[128], said[2048];
    for (size_t i = 0; (rule = switch_at(i)) != NULL; i++) {
        unsigned taken = 0;
        for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
            struct options o;
            snprintf(words, sizeof(words), "--%s%s%s", rule->name, rule->argument != NULL ? "|" : "", rule->argument != NULL ? values[j] : "");
            int code = parse(&o, words, said, sizeof(said));
            taken += code == -1;
            if (code == -1 && rule->form != SWITCH_NOTHING)
                CU_ASSERT_EQUAL(o.switch_count, 1);
            options_fini(&o);
        }
        CU_ASSERT(taken > 0);
        CU_ASSERT(rule->form == SWITCH_NOTHING || rule->attribute != NULL);
        CU_ASSERT_PTR_EQUAL(switch_find(slice_from_string(rule->name)), rule);
    }
}

static void test_refusals(void)
{
    static const struct { const char *words; const char *said; } rows[] = {
        { "--pt", "--pt needs a value: N" },
        { "/pt", "/pt needs a value: N" },
        { "--pt|--it|5", "--pt needs a value: N" },
        { "--pt|", "--pt needs a value: N" },
        { "--pt|0", "--pt 0: 0 is not a number from 1 to 1000" },
        { "--pt|1001", "--pt 1001: 1001 is not a number from 1 to 1000" },
        { "--pt|-1", "is not a number from 1 to 1000" },
        { "--pt=5x", "is not a number from 1 to 1000" },
        { "/pt-99999999999999999999", "is not a number from 1 to 1000" },
        { "--pt=", "is not a number from 1 to 1000" },
        { "--pt|5|--pt|5", "--pt: posternPop3Threads is given already by --pt 5" },
        { "--pop3|--nopop3", "--nopop3: posternPop3Enabled is given already by --pop3" },
        { "--pop3=yes", "--pop3 takes no value" },
        { "/pop3-yes", "/pop3 takes no value" },
        { "--popssl|maybe", "maybe is not one of disabled enabled required" },
        { "--loglevel|loud", "loud is not one of" },
        { "--cleartextlogin|off", "off is not one of" },
        { "--popport|111", "--popport 111: the port is below 1024 and not among the allowed ports" },
        { "--popport|65536", "is not a number from 0 to 65535" },
        { "--popport|2000|--imapport|2000", "the same port as posternPop3Port" },
        { "--ip|nowhere", "nowhere is not an IP address" },
        { "--hn|a\tb", "control characters" },
        { "--msgdeferinterval|10,x", "not numbers from 1 to 43200" },
        { "--msgdeferinterval|10|--msgdeferinterval|20", "is given already by" },
        { "--imapreadlimit|many", "is not a number" },
        { "--imapreadlimit|18446744073709551615", "is not a number" },
        { "--xyz", "\"--xyz\" is not an option" },
        { "--p|5", "\"--p\" is not an option" },
        { "--", "\"--\" is not an option" },
        { "-pt", "\"-pt\" is not an option" },
        { "/etc/passwd", "\"/etc/passwd\" is not an option" },
        { "word", "\"word\" is not an option" },
        { "--agent-dn|cn=b", "--agent-dn is given twice" },
        { "--external=1", "--external takes no value" },
        { "--uri|http://x", "does not begin with ldap://" },
        { "--log-level|loud", "is not error, warning" },
        { "--state-dir|relative", "is not an absolute path" },
        { "--gssapi|--external", "--gssapi goes without --external" },
        { "--gssapi|--bind-dn|cn=b|--password-file|/x", "--gssapi goes without" },
        { "--keytab|/x", "--keytab needs --gssapi" },
        { "--cert-file|/x", "--cert-file and --key-file go together" },
        { "--key-file|/x", "--cert-file and --key-file go together" },
        { "@/nonexistent/file", "@/nonexistent/file: " },
    };
    char said[2048];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct options o;
        int code = parse(&o, rows[i].words, said, sizeof(said));
        if (code != 2 || strstr(said, rows[i].said) == NULL)
            fprintf(stderr, "%s: %d %s\n", rows[i].words, code, said);
        CU_ASSERT_EQUAL(code, 2);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, rows[i].said));
        options_fini(&o);
    }
}

static void test_token_urls(void)
{
    struct options o;
    char said[2048];
    CU_ASSERT_EQUAL(parse(&o, "--allow-token-url|https://a|/allow-token-url-http://[::1]:8", said, sizeof(said)), -1);
    CU_ASSERT_EQUAL(o.token_url_count, 2);
    CU_ASSERT_STRING_EQUAL(o.token_urls[1], "http://[::1]:8");
    options_fini(&o);
    CU_ASSERT_EQUAL(parse(&o, "--allow-token-url|http://a", said, sizeof(said)), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "--allow-token-url"));
    options_fini(&o);
}

/* One port for two services is the directory's affair as long as it has a say in one of them. */
static void test_port_of_another_default(void)
{
    struct options o;
    char said[2048];
    CU_ASSERT_EQUAL(parse(&o, "--popport|143", said, sizeof(said)), -1);
    options_fini(&o);
    CU_ASSERT_EQUAL(parse(&o, "--allow-port|111|--popport|111", said, sizeof(said)), -1);
    options_fini(&o);
}

static void test_startup_file(void)
{
    char words[512], said[2048];
    struct options o;
    struct buf got = { .cap = 0 };
    char *inner = file_of("inner", "/rd-3\r\n");
    snprintf(words, sizeof(words), "; comment\n# comment\n* comment --pt 99\n\n  --pt 20\t/it-7  \n--hn \"mail  example\"\n@%s\n--mail-root \"/srv/x\"", inner);
    char *outer = file_of("outer", words);
    snprintf(words, sizeof(words), "--sd|4|@%s|--nopop3", outer);
    CU_ASSERT_EQUAL(parse(&o, words, said, sizeof(said)), -1);
    print_switches(&o, &got);
    CU_ASSERT_STRING_EQUAL(buf_text(&got), "SmtpSendThreads=4|Pop3Threads=20|Imap4Threads=7|HostName=mail  example|SmtpReceiveThreads=3|Pop3Enabled=FALSE");
    CU_ASSERT_STRING_EQUAL(o.mail_root, "/srv/x");
    CU_ASSERT_STRING_EQUAL(o.agent_dn, "cn=a");
    buf_fini(&got);
    options_fini(&o);
}

static void test_bad_startup_files(void)
{
    static const struct { const char *content; const char *said; } rows[] = {
        { "--pt\n20\n", "bad:1: --pt needs a value" },
        { "\n\n--xyz\n", "bad:3: \"--xyz\" is not an option" },
        { "--hn \"open\n", "bad:1: a quote is not closed" },
        { "--pt 20\n--pt 30\n", "bad:2: --pt: posternPop3Threads is given already" },
        { "--pt 0\n", "--pt 0: 0 is not a number from 1 to 1000" },
        { "@/nonexistent/file\n", "bad:1: @/nonexistent/file: " },
    };
    char words[256], said[2048];
    struct options o;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        snprintf(words, sizeof(words), "@%s", file_of("bad", rows[i].content));
        CU_ASSERT_EQUAL(parse(&o, words, said, sizeof(said)), 2);
        if (strstr(said, rows[i].said) == NULL)
            fprintf(stderr, "%s: %s\n", rows[i].content, said);
        CU_ASSERT_PTR_NOT_NULL(strstr(said, rows[i].said));
        options_fini(&o);
    }
    snprintf(words, sizeof(words), "--pt 5\n@%s/loop\n", dir);
    snprintf(words, sizeof(words), "@%s", file_of("loop", words));
    CU_ASSERT_EQUAL(parse(&o, words, said, sizeof(said)), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "one includes itself"));
    options_fini(&o);
    char *big = mem_alloc(20000);
    memset(big, 'x', 19999);
    snprintf(words, sizeof(words), "@%s", file_of("big", big));
    CU_ASSERT_EQUAL(parse(&o, words, said, sizeof(said)), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "too long"));
    options_fini(&o);
    for (size_t i = 0; i + 2 < 19999; i += 2)
        memcpy(big + i, "a\n", 2);
    snprintf(words, sizeof(words), "@%s", file_of("many", big));
    CU_ASSERT_EQUAL(parse(&o, words, said, sizeof(said)), 2);
    CU_ASSERT_PTR_NOT_NULL(strstr(said, "more than 2000 words"));
    options_fini(&o);
    snprintf(words, sizeof(words), "@%s", dir);
    CU_ASSERT_EQUAL(parse(&o, words, said, sizeof(said)), 2);
    options_fini(&o);
    mem_free(&big);
}

static void test_levels(void)
{
    static const struct { const char *words; enum log_level level; } rows[] = {
        { "--log-level|verbose", LOG_VERBOSE }, { "--loglevel|off", LOG_ERROR }, { "--loglevel|diag|--log-level|error", LOG_DEBUG }, { "", LOG_NORMAL },
    };
    char said[2048];
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct options o;
        CU_ASSERT_EQUAL(parse(&o, rows[i].words, said, sizeof(said)), -1);
        CU_ASSERT_EQUAL(o.log_level, rows[i].level);
        options_fini(&o);
    }
}

static void tear_down(void)
{
    static const char *const names[] = { "stderr", "inner", "outer", "bad", "loop", "big", "many" };
    char path[128];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

static const struct unit_test tests[] = {
    { "spellings", test_spellings }, { "every switch", test_every_switch }, { "refusals", test_refusals },
    { "port of another default", test_port_of_another_default },
    { "token URLs", test_token_urls }, { "startup file", test_startup_file },
    { "bad startup files", test_bad_startup_files }, { "levels", test_levels },
};

int main(int argc, char **argv)
{
    if (mkdtemp(dir) == NULL)
        return 2;
    int code = unit_run("options", tests, sizeof(tests) / sizeof(tests[0]), argc, argv);
    tear_down();
    return code;
}
