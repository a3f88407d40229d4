/* posternctl: the admin's command. Wiring only: asks the running gateway over its control socket, or marks a post office. */
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

enum { EXIT_FAILED = 1, EXIT_USAGE = 2, ANSWER_MAX = 16 * 1024 * 1024 };

static const char usage_text[] =
    "Usage: posternctl [--control SOCKET] COMMAND\n"
    "  status                              what the running gateway does\n"
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

static int connect_to(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    if (strlen(path) >= sizeof(address.sun_path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        close(fd);
        return -1;
    }
    return fd;
}

/* The answer without the empty line at its end. */
static int ask(const char *control, struct slice question, struct buf *answer)
{
    int fd = connect_to(control);
    if (fd < 0)
        return complain(control, strerror(errno));
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
        return complain(control, "no complete answer");
    buf_truncate(answer, answer->len - 1);
    return 0;
}

static int say_status(const char *control)
{
    struct buf answer;
    buf_init(&answer, ANSWER_MAX);
    int code = ask(control, SLICE_LITERAL("status\n"), &answer);
    if (code == 0)
        fwrite(answer.data, 1, answer.len, stdout);
    buf_fini(&answer);
    return code;
}

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
        fprintf(stderr, "posternctl: %s: %.*s\n", path, SLICE_ARG(line));
        code = EXIT_FAILED;
    }
    buf_fini(&question);
    buf_fini(&answer);
    return code;
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
    if (uuid != NULL)
        buf_append_text(&asked, uuid);
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
        { NULL, 0, NULL, 0 },
    };
    const char *control = "/var/lib/postern/control", *uuid = NULL;
    int code;
    while ((code = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (code == 'c')
            control = optarg;
        else if (code == 'u')
            uuid = optarg;
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
        return say_status(control);
    if (count == 3 && strcmp(words[0], "postoffice") == 0 && strcmp(words[1], "init") == 0)
        return init_post_office(control, words[2], uuid);
    return usage();
}
