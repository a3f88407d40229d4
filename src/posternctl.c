/* posternctl: the admin's command: asks the running gateway over its control socket and shows the answer, or marks a post office. */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "config.h"
#include "postern/base/buf.h"
#include "postern/store/account.h"

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, ANSWER_MAX = 16 * 1024 * 1024, ANSWER_SECONDS = 10 };

static const char usage_text[] =
    "Usage: posternctl [--control SOCKET] COMMAND\n"
    "  status [--all]                      what the running gateway does; with --all counters that are 0, too\n"
    "  postoffice init [--uuid UUID] PATH  mark PATH as the directory of a post office; without --uuid the\n"
    "                                      running gateway is asked whose path it is\n"
    "  version                             say the version\n"
    "--control SOCKET   default /var/lib/postern/control\n";

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "posternctl: %s: %s\n", what, why);
    return EXIT_FAILED;
}

static int usage(void)
{
    fputs(usage_text, stderr);
    return EXIT_USAGE;
}

static int complain_of_connection(const char *control)
{
    if (errno == ENOENT || errno == ECONNREFUSED)
        return complain(control, "no gateway answers here: posternd does not run, or has another --control");
    return complain(control, errno == EACCES ? "only the user that posternd runs as may ask" : strerror(errno));
}

static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval limit = { .tv_sec = ANSWER_SECONDS };
    if (fd >= 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

/* The answer without the empty line at its end. */
static int ask(const char *control, struct slice question, struct buf *answer)
{
    int fd = connect_to(control);
    if (fd < 0)
        return complain_of_connection(control);
    ssize_t n = send(fd, question.data, question.len, MSG_NOSIGNAL);
    if (n == (ssize_t)question.len)
        shutdown(fd, SHUT_WR);
    while (n > 0) {
        char *room = buf_reserve(answer, 4096);
        n = room ? read(fd, room, 4096) : 0;
        if (n > 0)
            buf_extend(answer, (size_t)n);
    }
    close(fd);
    if (!slice_ends_with(buf_slice(answer), "\n\n"))
        return complain(control, "the gateway does not answer");
    buf_truncate(answer, answer->len - 1);
    return 0;
}

/* --- status ---------------------------------------------------------------------------------------------------------------- */

static const char *const sections[] = { "gateway", "pop3", "imap4", "smtp" };
enum { SECTIONS = sizeof(sections) / sizeof(sections[0]) };

/* Takes the section's word off the front of the line; 0: the line speaks of the whole gateway. */
static size_t section_of(struct slice *line, size_t before)
{
    struct slice rest = *line;
    bool listener = slice_starts_with(rest, "listener: ");
    if (listener)
        rest = slice_from(rest, strlen("listener: "));
    for (size_t i = 1; i < SECTIONS; i++) {
        size_t len = strlen(sections[i]);
        if (!slice_starts_with(rest, sections[i]) || rest.len == len || (rest.data[len] != ' ' && rest.data[len] != ':'))
            continue;
        if (!listener)
            *line = slice_from(rest, len + 1);
        return i;
    }
    return slice_starts_with(*line, "stalled: ") ? before : 0;
}

static void say_line(size_t section, struct slice line, bool all)
{
    ptrdiff_t colon = slice_find(line, ':');
    struct slice key = colon < 0 ? line : slice_part(line, 0, (size_t)colon);
    struct slice value = colon < 0 ? SLICE_NONE : slice_trim(slice_from(line, (size_t)colon + 1));
    if (section > 0 && slice_is(key, "listener"))
        value = slice_from(value, strlen(sections[section]) + 1);
    if (all || !slice_is(value, "0") || slice_is(key, "faults") || slice_is(key, "sessions now"))
        printf("  %-36.*s %.*s\n", SLICE_ARG(key), SLICE_ARG(value));
}

/* The answer has a line for each value; here they stand under their service, those that are 0 only if asked for. */
static void say_section(size_t section, struct slice answer, bool all)
{
    struct slice line;
    size_t here = 0;
    printf("%s%s", section > 0 ? "\n" : "", sections[section]);
    for (unsigned pass = 0; pass < 2; pass++) {
        struct slice rest = answer;
        while (slice_split(&rest, '\n', &line)) {
            here = section_of(&line, here);
            bool title = here > 0 && line.len > 0 && line.data[0] == ' ' && slice_find(line, ':') < 0;
            if (here == section && line.len > 0 && title == (pass == 0)) {
                if (title)
                    printf(" %.*s", SLICE_ARG(slice_trim(line)));
                else
                    say_line(section, slice_trim(line), all);
            }
        }
        if (pass == 0)
            putchar('\n');
    }
}

static int say_status(const char *control, bool all)
{
    struct buf answer;
    buf_init(&answer, ANSWER_MAX);
    int code = ask(control, SLICE_LITERAL("status\n"), &answer);
    for (size_t i = 0; code == 0 && i < SECTIONS; i++)
        say_section(i, buf_slice(&answer), all);
    buf_fini(&answer);
    return code;
}

/* --- post offices ---------------------------------------------------------------------------------------------------------- */

static int ask_uuid(const char *control, const char *path, struct buf *uuid_out)
{
    struct buf question, answer;
    buf_init(&question, 0);
    buf_init(&answer, ANSWER_MAX);
    buf_printf(&question, "post-office %s\n", path);
    int code = ask(control, buf_slice(&question), &answer);
    struct slice line = slice_trim(buf_slice(&answer));
    if (code == 0 && slice_starts_with(line, "uuid: "))
        buf_append(uuid_out, slice_from(line, strlen("uuid: ")));
    else if (code == 0) {
        if (slice_starts_with(line, "error: "))
            line = slice_from(line, strlen("error: "));
        fprintf(stderr, "posternctl: %s: %.*s\n", path, SLICE_ARG(line));
        code = EXIT_FAILED;
    }
    buf_fini(&question);
    buf_fini(&answer);
    return code;
}

/* 32 hexadecimal digits, wherever the hyphens stand (389-DS has them elsewhere), in the form that the gateway compares. */
static bool take_uuid(const char *text, struct buf *out)
{
    size_t digits = 0;
    for (; *text != '\0'; text++) {
        char c = ascii_lower(*text);
        if (c == '-')
            continue;
        if (digits == 32 || !(ascii_is_digit(c) || (c >= 'a' && c <= 'f')))
            return false;
        if (digits == 8 || digits == 12 || digits == 16 || digits == 20)
            buf_append_byte(out, '-');
        buf_append_byte(out, c);
        digits++;
    }
    return digits == 32;
}

static int init_post_office(const char *control, const char *given, const char *uuid)
{
    /* The gateway knows post offices by absolute path as the directory has it; a relative one is made absolute. */
    char resolved[PATH_MAX];
    const char *path = given;
    if (given[0] != '/' && (path = realpath(given, resolved)) == NULL)
        return complain(given, strerror(errno));
    struct buf asked;
    buf_init(&asked, 256);
    int code = 0;
    if (uuid != NULL && !take_uuid(uuid, &asked))
        code = complain(uuid, "not a UUID, which is 32 hexadecimal digits and hyphens");
    else if (uuid != NULL)
        ;
    else if (strchr(path, '\n') != NULL)
        code = complain(given, "a path without line breaks is needed");
    else
        code = ask_uuid(control, path, &asked);
    struct fault fault;
    if (code == 0 && postoffice_init(path, buf_slice(&asked), &fault) < 0)
        code = complain(given, fault.text);
    if (code == 0)
        printf("%s is the directory of post office %.*s\n", path, SLICE_ARG(buf_slice(&asked)));
    buf_fini(&asked);
    return code;
}

int main(int argc, char **argv)
{
    static const struct option longs[] = {
        { "control", required_argument, NULL, 'c' }, { "uuid", required_argument, NULL, 'u' },
        { "help", no_argument, NULL, 'h' },          { "version", no_argument, NULL, 'v' },
        { "all", no_argument, NULL, 'a' },           { NULL, 0, NULL, 0 },
    };
    const char *control = "/var/lib/postern/control", *uuid = NULL;
    bool all = false;
    int code;
    while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (code == 'c')
            control = optarg;
        else if (code == 'u')
            uuid = optarg;
        else if (code == 'a')
            all = true;
        else if (code == 'h')
            return fputs(usage_text, stdout) < 0;
        else if (code == 'v')
            return printf("posternctl %s\n", PACKAGE_VERSION) < 0;
        else
            return usage();
    }
    char **words = argv + optind;
    int count = argc - optind;
    if (count == 1 && strcmp(words[0], "version") == 0)
        return printf("posternctl %s\n", PACKAGE_VERSION) < 0;
    if (count == 1 && strcmp(words[0], "status") == 0)
        return say_status(control, all);
    if (count == 3 && strcmp(words[0], "postoffice") == 0 && strcmp(words[1], "init") == 0)
        return init_post_office(control, words[2], uuid);
    return usage();
}
