/* A password from a file or from the terminal. Called by `posternctl check`; never from the command line. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#include "check.h"
#include "postern/base/secret.h"

static bool take_line(int fd, struct buf *out)
{
    char byte;
    ssize_t n;
    while ((n = read(fd, &byte, 1)) == 1 && byte != '\n' && out->len < 1024)
        buf_append_byte(out, byte);
    if (out->len > 0 && out->data[out->len - 1] == '\r')
        buf_truncate(out, out->len - 1);
    return n >= 0;
}

static int ask(const char *whose, struct buf *out)
{
    int fd = open("/dev/tty", O_RDWR | O_CLOEXEC);
    struct termios before, silent;
    if (fd < 0 || tcgetattr(fd, &before) < 0) {
        if (fd >= 0)
            close(fd);
        return ctl_complain(whose, "a password file is needed: there is no terminal to ask at");
    }
    silent = before;
    silent.c_lflag &= ~(tcflag_t)ECHO;
    dprintf(fd, "Password of %s: ", whose);
    tcsetattr(fd, TCSAFLUSH, &silent);
    bool good = take_line(fd, out);
    tcsetattr(fd, TCSAFLUSH, &before);
    dprintf(fd, "\n");
    close(fd);
    return good ? 0 : ctl_complain(whose, strerror(errno));
}

int ctl_read_password(const char *file, const char *whose, struct buf *out)
{
    int code = 0;
    if (file != NULL) {
        int fd = open(file, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || !take_line(fd, out))
            code = ctl_complain(file, strerror(errno));
        if (fd >= 0)
            close(fd);
    } else
        code = ask(whose, out);
    if (code == 0 && out->len == 0)
        code = ctl_complain(file != NULL ? file : whose, "the password is empty");
    return code;
}
